"""Loaded by each Python process of the soak: gives the extraction, and nothing else, the clock of a file."""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

execute = SourceFileLoader.exec_module


def moved_clock() -> float:
    return float(Path(os.environ["SOAK_CLOCK"]).read_text())


def with_moved_clock(take_snapshot: Any) -> Any:
    def take(*args: Any, **kwargs: Any) -> Any:
        dlt_time = sys.modules["dlt.common.time"]
        dlt_time.precise_time = moved_clock  # type: ignore[attr-defined]
        # dlt never goes back behind the time at which it was imported.
        dlt_time.increasing_precise_time._last = 0.0
        return take_snapshot(*args, clock=moved_clock, **kwargs)

    return take


def execute_and_move(self: SourceFileLoader, module: ModuleType) -> None:
    execute(self, module)
    spec: ModuleSpec | None = module.__spec__
    if spec and spec.name == "include.extract.snapshot" and "SOAK_CLOCK" in os.environ:
        module.take_snapshot = with_moved_clock(module.take_snapshot)


SourceFileLoader.exec_module = execute_and_move  # type: ignore[method-assign]
