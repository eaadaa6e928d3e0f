"""How a simulator is set up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from include.simulator.faults import PASSING_FAULTS, Fault, FaultKind

Clock = Callable[[], datetime | float]


@dataclass(frozen=True)
class SimulatorConfig:
    """A simulator's settings.

    Args:
        client_id: the only client that gets a token.
        client_secret: its secret; stays out of `repr`.
        streams: how many streams are live, 0 to 200,000.
        seed: of the world, of its unrest and of the random faults.
        rate_limit: requests a minute; None: unthrottled, with the headers of an untouched bucket.
        moving: the list moves while it is read, and has short and empty pages; otherwise each stream comes
            exactly once.
        token_lifetime: seconds.
        clock: the time of the world, as Unix seconds or an aware datetime. Tokens and the rate limit run on
            real time, as their clients do.
        faults: faults asked for.
        fault_rate: the probability of a random fault per request, 0 to 1.
        fault_kinds: what random faults are drawn from.

    Raises:
        ValueError: a number is out of its range.
    """

    client_id: str = "simulator"
    client_secret: str = field(default="simulator-secret", repr=False)
    streams: int = 5_000
    seed: int = 0
    rate_limit: int | None = 800
    moving: bool = True
    token_lifetime: float = 5_000_000
    clock: Clock = time.time
    faults: tuple[Fault, ...] = ()
    fault_rate: float = 0.0
    fault_kinds: tuple[FaultKind, ...] = PASSING_FAULTS

    def __post_init__(self) -> None:
        if self.rate_limit is not None and self.rate_limit < 1:
            raise ValueError(f"rate_limit={self.rate_limit}: must be 1 a minute at least, or None")
        if self.token_lifetime < 0:
            raise ValueError(f"token_lifetime={self.token_lifetime}: must be 0 seconds at least")
        if not 0 <= self.fault_rate <= 1:
            raise ValueError(f"fault_rate={self.fault_rate}: must be from 0 to 1")
