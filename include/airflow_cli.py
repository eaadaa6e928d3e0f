"""`airflow dags backfill`, which Airflow 2 had, as an alias of Airflow 3's `airflow backfill create`.

Airflow finds `provider_info` by the entry point in pyproject.toml. Should Airflow's internals change, the alias is
gone, with a line in the log; everything else goes on.
"""

from __future__ import annotations

import argparse
import logging
from datetime import UTC, datetime, time
from typing import Any

logger = logging.getLogger(__name__)


def provider_info() -> dict[str, Any]:
    """What this package adds to Airflow."""
    return {
        "package-name": "twitch-bi",
        "name": "Twitch BI",
        "description": "The pipeline's CLI commands.",
        "cli": ["include.airflow_cli.add_commands"],
    }


def add_commands() -> list[Any]:
    """Called by Airflow while it collects its commands: puts `backfill` into the group `dags`.

    Returns:
        No command: a group cannot be added to in any other way than by replacing it.
    """
    try:
        from airflow.cli import cli_config, cli_parser

        arg: Any = cli_config.Arg  # without types of its own
        when = "a day (2025-08-01) or a time (2025-08-01T10:00), in UTC unless it says otherwise"
        backfill = cli_config.ActionCommand(
            name="backfill",
            help="Run a Dag again for each of its intervals (alias of `backfill create`, completed runs included)",
            func=cli_config.lazy_load_command(f"{__name__}.create_backfill"),
            args=(
                arg(("dag_id",), help="the Dag to run"),
                arg(("-s", "--start-date"), help=f"the first interval: {when}", type=start, required=True),
                arg(("-e", "--end-date"), help=f"the last: {when}; a day means all of it", type=end, required=True),
                arg(("--dry-run",), help="only show which intervals would run", action="store_true"),
            ),
        )
        commands: list[Any] = cli_parser.airflow_commands
        index, dags = next((index, command) for index, command in enumerate(commands) if command.name == "dags")
        if "backfill" not in {command.name for command in dags.subcommands}:
            commands[index] = dags._replace(subcommands=(*dags.subcommands, backfill))
    except Exception as error:
        logger.warning("There is no `airflow dags backfill`, use `airflow backfill create`: %r", error)
    return []


def create_backfill(args: argparse.Namespace) -> None:
    """Hands over to Airflow's own command."""
    from airflow.cli.cli_parser import get_parser
    from airflow.sdk.exceptions import AirflowException

    command = ["backfill", "create", "--dag-id", args.dag_id, "--reprocess-behavior", "completed"]
    command += ["--from-date", args.start_date.isoformat(), "--to-date", args.end_date.isoformat()]
    native = get_parser().parse_args([*command, "--dry-run"] if args.dry_run else command)
    try:
        native.func(native)
    except AirflowException as error:
        raise SystemExit(f"Error: {error}") from None
    if not args.dry_run:
        print(
            f"Backfill of {args.dag_id} from {args.start_date} to {args.end_date} created; the web UI shows its runs."
        )


def start(text: str) -> datetime:
    """A day means its first instant."""
    return instant(text, time.min)


def end(text: str) -> datetime:
    """A day means all of it, where Airflow's own command takes its midnight."""
    return instant(text, time.max)


def instant(text: str, time_of_day: time) -> datetime:
    """The time in UTC that a text says, a bare day taken at `time_of_day`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no day (2025-08-01) and no time (2025-08-01T10:00)") from None
    if len(text) <= len("2025-08-01"):
        found = datetime.combine(found.date(), time_of_day)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
