"""Publishes by hand, with the credentials that the cloud's own tools would find: python -m include.publish."""

from __future__ import annotations

import logging
import sys

from include import settings
from include.object_storage import by_environment
from include.publish.errors import PublishError
from include.publish.publisher import publish, reporting_data_sets
from include.publish.target import target_of


def main() -> int:
    """Returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        environment = settings.load()
        url = environment.reporting_url
        if url is None:
            raise settings.SettingsError("REPORTING_URL is not set: where should the reporting Parquet go?")
        fs, _ = by_environment("REPORTING_URL", url)
        publish(environment.data_dir, target_of(fs, url), reporting_data_sets())
    except (settings.SettingsError, PublishError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
