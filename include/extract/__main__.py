"""Takes one snapshot with the environment's settings: `python -m include.extract`."""

from __future__ import annotations

import logging
import signal
import sys

from include import settings
from include.extract.errors import ExtractError
from include.extract.snapshot import take_snapshot


def main() -> int:
    """Prints a summary; the exit code is 1 after an error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # An exception, unlike a kill, lets the snapshot clean up.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        found = settings.load()
        snapshot = take_snapshot(found.twitch_api(), found.data_dir, raw_url=found.raw_url)
    except (ExtractError, settings.SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for name, value in snapshot.as_dict().items():
        print(f"{name:18}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
