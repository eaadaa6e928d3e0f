"""`python -m include.simulator`: a simulator for the command line."""

from __future__ import annotations

import argparse
import json
import re
import signal
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from include.simulator.config import Clock, SimulatorConfig
from include.simulator.faults import Fault, FaultError, FaultKind, parse_fault, parse_kind
from include.simulator.server import Simulator, serve

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"simulator: {message}\n")


def _clock(text: str) -> Clock:
    offset = re.fullmatch(r"([+-]\d+)([smhd])", text)
    if offset:
        seconds = int(offset[1]) * _UNITS[offset[2]]
        return lambda: time.time() + seconds
    try:
        pinned = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: write 2025-08-01T12:00:00Z, or an offset such as +3h or -2d"
        ) from None
    pinned = pinned if pinned.tzinfo else pinned.replace(tzinfo=UTC)
    return lambda: pinned


def _fault(text: str) -> Fault:
    try:
        return parse_fault(text)
    except FaultError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _kinds(text: str) -> tuple[FaultKind, ...]:
    try:
        return tuple(parse_kind(name) for name in text.split(","))
    except FaultError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> _Parser:
    default = SimulatorConfig()
    parser = _Parser(
        prog="python -m include.simulator",
        description="A look-alike of Twitch's Helix API. Prints one line with its URLs once it listens.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    add("--port", type=int, default=0, help="default: any free one")
    add("--ready-file", type=Path, metavar="PATH", help="write the URLs there as JSON once it listens")
    add("--client-id", default=default.client_id, help="default: %(default)s")
    add("--client-secret", default=default.client_secret, help="of that client")
    add("--streams", type=int, default=default.streams, help="live streams, to 200000 (default: %(default)s)")
    add("--seed", type=int, default=default.seed, help="another seed is another world (default: %(default)s)")
    add("--now", type=_clock, default=default.clock, metavar="TIME", help="stop the world's clock at a time "
        "(2025-08-01T12:00:00Z), or shift it (+3h, --now=-2d)")  # fmt: skip
    add("--rate-limit", type=int, default=default.rate_limit, help="requests a minute (default: %(default)s)")
    add("--unthrottled", action="store_true", help="no rate limit")
    add("--still", action="store_true", help="the list does not move while it is read")
    add("--token-lifetime", type=float, default=default.token_lifetime, metavar="SECONDS")
    add("--fault", type=_fault, action="append", default=[], metavar="KIND[@PAGE][:TIMES][~SECONDS]",
        help="such as expired_token@3, unavailable:2, invalid_cursor@5:always, repeated_cursor@last, slow~10; "
        f"kinds: {', '.join(FaultKind)}")  # fmt: skip
    add("--fault-rate", type=float, default=0.0, metavar="PROBABILITY", help="of a random fault per request")
    add("--fault-kinds", type=_kinds, default=default.fault_kinds, metavar="KIND,KIND", help="of random faults")
    return parser


def _announce(simulator: Simulator, ready_file: Path | None) -> None:
    print(f"TWITCH_API_URL={simulator.api_url} TWITCH_AUTH_URL={simulator.auth_url}", flush=True)
    if ready_file:
        # Renamed, so that whoever waits for the file never reads half of it.
        part = ready_file.with_name(f"{ready_file.name}.part")
        part.write_text(json.dumps({"api_url": simulator.api_url, "auth_url": simulator.auth_url}))
        part.replace(ready_file)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        arguments: those of the command line if None.

    Raises:
        SystemExit: an option is wrong or the address is taken (status 2, the reason on stderr).
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        config = SimulatorConfig(
            client_id=options.client_id,
            client_secret=options.client_secret,
            streams=options.streams,
            seed=options.seed,
            rate_limit=None if options.unthrottled else options.rate_limit,
            moving=not options.still,
            token_lifetime=options.token_lifetime,
            clock=options.now,
            faults=tuple(options.fault),
            fault_rate=options.fault_rate,
            fault_kinds=options.fault_kinds,
        )
        with serve(config, options.port, options.host, log_requests=False) as simulator:
            _announce(simulator, options.ready_file)
            stop.wait()
    except (OSError, OverflowError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
