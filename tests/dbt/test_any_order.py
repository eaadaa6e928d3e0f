"""Whatever happens in whatever order, the next ordinary run makes the facts equal to the oracle's."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from campaign import IS_WHOLE, SEED, size
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from marts import assert_marts_equal_the_oracle
from states import MODELS
from warehouse import Warehouse, run_vars, streams

FIRST = date(2025, 1, 1)
DAYS = st.integers(0, 5)
HOURS = st.integers(0, 23)
# Of six days, so that some files come for days that have left the working set.
KEEP = {"keep_days": 2}


class Pipeline(RuleBasedStateMachine):
    """Raw files come and go; runs are whole, or reloads, or are killed after a model; or they take turns by model."""

    warehouse: Warehouse

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.warehouse.data_dir, ignore_errors=True)
        self.warehouse.data_dir.mkdir()
        self.files = 0
        self.has_run = False

    @initialize(day=DAYS, hour=HOURS)
    def first_file(self, day: int, hour: int) -> None:
        self.arrives(day, hour)

    @rule(day=DAYS, hour=HOURS)
    def arrives(self, day: int, hour: int) -> None:
        """A file is committed, for any hour: new, late, or another one for the same hour."""
        self.files += 1
        at = f"{FIRST + timedelta(days=day)}T{hour:02}:00:{self.files % 60:02}"
        self.warehouse.add_file(at, streams(self.files, count=12))

    @rule(model=st.sampled_from(MODELS), day=st.none() | DAYS)
    def one_model_runs(self, model: str, day: int | None) -> None:
        """A model of a run, or of the reload of a day: the run is killed after it, or another one has the next turn."""
        chosen = [model] if self.has_run else MODELS[: MODELS.index(model) + 1]
        self.run(day, "--select", *chosen)

    @rule()
    def runs(self) -> None:
        self.run(None)
        self.check()

    @rule(day=DAYS)
    def is_reloaded(self, day: int) -> None:
        self.run(day)
        self.check(FIRST + timedelta(days=day))

    @precondition(lambda self: len(self.raw_files()) > 1)
    @rule(data=st.data(), killed=st.booleans(), whole_day=st.booleans())
    def leaves(self, data: st.DataObject, killed: bool, whole_day: bool) -> None:
        """A file is removed from raw, and its day or minute reloaded; that may be cut off as soon as staging knows."""
        path = data.draw(st.sampled_from(self.raw_files()))
        path.unlink()
        taken_at = self.taken_at(path)
        first = taken_at.replace(hour=0, minute=0, second=0) if whole_day else taken_at
        last = first + (timedelta(days=1) if whole_day else timedelta(minutes=1))
        window = {"reload_start": str(first), "reload_end": str(last), "remove_empty_days": True}
        if killed and self.has_run:
            self.run(None, "--select", "stg_streams", **window)
        else:
            self.run(None, **window)
            self.check(taken_at.date())

    @precondition(lambda self: self.has_run)
    @rule(data=st.data())
    def partition_is_lost(self, data: st.DataObject) -> None:
        """Somebody removes what is published of a day that the working set still holds."""
        newest = max(self.taken_at(path).date() for path in self.raw_files())
        kept = [
            folder
            for folder in (self.warehouse.facts.iterdir() if self.warehouse.facts.exists() else [])
            if date.fromisoformat(folder.name.partition("=")[2]) >= newest
        ]
        if kept:
            shutil.rmtree(data.draw(st.sampled_from(sorted(kept))))

    def run(self, day: int | None, *arguments: str, **more: object) -> None:
        start = FIRST + timedelta(days=day) if day is not None else None
        end = start + timedelta(days=1) if start else None
        window = {"reload_start": str(start or ""), "reload_end": str(end or "")}
        # What has all models is tested as well: data tests must not raise an alarm that is false.
        is_whole = "--select" not in arguments
        command = self.warehouse.build if is_whole else self.warehouse.run
        command(*arguments, "--vars", json.dumps(KEEP), **run_vars(**{**window, **more}))
        self.has_run = self.has_run or is_whole

    def check(self, day: date | None = None) -> None:
        """All facts and marts are right, or those of one day."""
        published = self.warehouse.published() if any(self.warehouse.facts.glob("*/*")) else []
        oracle = self.warehouse.oracle()
        assert [row for row in published if day in {None, row[0]}] == [row for row in oracle if day in {None, row[0]}]
        assert_marts_equal_the_oracle(self.warehouse, day)

    def raw_files(self) -> list[Path]:
        return sorted((self.warehouse.raw / "twitch_streams").glob("*.parquet"))

    def taken_at(self, path: Path) -> datetime:
        return datetime.fromtimestamp(float(path.name.split(".", maxsplit=1)[0]), UTC).replace(tzinfo=None)

    def teardown(self) -> None:
        self.run(None)
        self.check()
        if files := self.raw_files():
            # With the next day, all that this one says comes into the dimensions.
            newest = max(map(self.taken_at, files)).date()
            self.warehouse.add_file(f"{newest + timedelta(days=1)}T00:00:00", streams(99, 12))
            self.run(None)
            self.check()


@pytest.mark.promise(
    "files arrive, change and leave in any order, runs and reloads take turns",
    "facts and marts equal oracles that share no code with the models",
)
def test_any_order_of_events_ends_equal_to_the_oracle(warehouse: Warehouse) -> None:
    Pipeline.warehouse = warehouse
    run_state_machine_as_test(
        seed(SEED)(Pipeline),
        settings=settings(
            max_examples=size(2, 12),
            stateful_step_count=6,
            deadline=None,
            derandomize=not IS_WHOLE,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
