"""Publishes by hand, with the credentials that the cloud's own tools would find: python -m include.publish."""

from __future__ import annotations

import logging
import sys

from fsspec.core import url_to_fs

from include import settings
from include.object_storage import prepare_libraries
from include.publish.errors import PublishError
from include.publish.publisher import publish, reporting_data_sets
from include.publish.target import Target


def main() -> int:
    """Returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        environment = settings.load()
        url = environment.reporting_url
        if url is None:
            raise settings.SettingsError("REPORTING_URL is not set: where should the reporting Parquet go?")
        prepare_libraries()
        try:
            fs, root = url_to_fs(url)
        except ImportError:
            raise settings.SettingsError(settings.missing_cloud(url)) from None
        publish(environment.data_dir, Target(fs, root, url), reporting_data_sets())
    except (settings.SettingsError, PublishError, FileNotFoundError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
