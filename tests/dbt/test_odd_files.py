"""Raw files as other programs write them: ids as numbers, other types and names of columns, rows that cannot count."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warehouse import Warehouse, run_vars

pytestmark = pytest.mark.usefixtures("facts_only")

NAN, INF = float("nan"), float("inf")
ON_AIR = datetime(2025, 6, 1, 0, 30, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"id": "40000000000", "user_id": "101", "game_id": "509658", "viewer_count": 10},
    {"id": "40000000001", "user_id": "102", "game_id": "21779", "viewer_count": 20},
    {"id": "40000000002", "user_id": "103", "game_id": None, "viewer_count": 30},
    {"id": "40000000003", "user_id": "3000000001", "game_id": "2147452902", "viewer_count": 40},
]
PLAIN = [(101, 509658, 10), (102, 21779, 20), (103, None, 30), (3000000001, 2147452902, 40)]
Change = Callable[[pa.Table], pa.Table]


def table(rows: list[dict[str, Any]]) -> pa.Table:
    optional = {
        "user_login": "login",
        "is_mature": False,
        "started_at": ON_AIR,
        "fetched_at": ON_AIR,
        "api_page_number": 1,
    }
    return pa.Table.from_pylist([{**row, **optional} for row in rows])


def put(warehouse: Warehouse, at: str, odd: pa.Table, **options: Any) -> str:
    """Adds the table as a raw file; returns its name."""
    path = warehouse.add_file(at, [])
    pq.write_table(odd, path, **options)
    return path.name


def with_values(name: str, values: list[Any], type_: pa.DataType | None = None) -> Change:
    array = pa.array(values, type_)
    return lambda rows: rows.set_column(rows.column_names.index(name), name, array)


IDS = {
    "plain": (lambda rows: rows, PLAIN),
    "game_id double": (with_values("game_id", [509658.0, 21779.0, None, 2147452902.0]), PLAIN),
    "game_id double with nan": (with_values("game_id", [509658.0, 21779.0, NAN, 2147452902.0]), PLAIN),
    "game_id decimal": (
        with_values("game_id", [Decimal(509658), Decimal(21779), None, Decimal(2147452902)], pa.decimal128(20, 2)),
        PLAIN,
    ),
    "user_id double": (with_values("user_id", [101.0, 102.0, 103.0, 3000000001.0]), PLAIN),
    "user_id integer": (with_values("user_id", [101, 102, 103, 3000000001]), PLAIN),
    # This type has no 3000000001: the rows must not count for another channel.
    "user_id float": (with_values("user_id", [101.0, 102.0, 103.0, 3000000001.0], pa.float32()), PLAIN[:3]),
    "user_id odd": (with_values("user_id", [NAN, INF, 12.7, 3000000001.0]), PLAIN[3:]),
    "user_id odd text": (with_values("user_id", ["1e3", "509658.0", "-5", "3000000001"]), PLAIN[3:]),
    "id double": (with_values("id", [40000000000.0, 40000000001.0, 40000000002.0, 40000000003.0]), PLAIN),
    "id odd": (with_values("id", [NAN, INF, 12.7, 40000000003.0]), PLAIN[3:]),
    "viewer_count double": (with_values("viewer_count", [10.0, 20.0, 30.0, 40.0]), PLAIN),
    "viewer_count nan": (with_values("viewer_count", [NAN, 20.0, 30.0, 40.0]), PLAIN[1:]),
    "upper case": (lambda rows: rows.rename_columns([name.upper() for name in rows.column_names]), PLAIN),
    "mixed case": (lambda rows: rows.rename_columns([name.title() for name in rows.column_names]), PLAIN),
}


@pytest.mark.promise(
    "a raw file has ids as floats, other types, or other case of names",
    "ids keep their value; an optional column costs itself, and the log says how many values",
)
def test_ids_keep_their_value_whatever_their_type(warehouse: Warehouse) -> None:
    names = {
        put(warehouse, f"2025-06-01T00:{number:02}:00", change(table(ROWS))): case
        for number, (case, (change, _)) in enumerate(IDS.items())
    }
    assert "is quarantined" not in warehouse.build()
    read: dict[str, list[tuple[Any, ...]]] = {case: [] for case in IDS}
    for name, *row in warehouse.query(
        "select file_name, user_id, game_id, viewer_count from int.int_streams order by viewer_count"
    ):
        read[names[name]].append(tuple(row))
    assert read == {case: expected for case, (_, expected) in IDS.items()}
    ids = warehouse.query("select distinct id from int.int_streams order by id")
    assert ids == [(row["id"],) for row in ROWS]


def test_a_category_that_is_no_number_is_counted(warehouse: Warehouse) -> None:
    put(warehouse, "2025-06-01T00:00:00", with_values("game_id", ["Chess", "", "1e3", "5"])(table(ROWS)))
    put(warehouse, "2025-06-01T01:00:00", with_values("game_id", [12.7, None, INF, 5.0])(table(ROWS)))
    warehouse.run()
    assert warehouse.query("select nb_rejected, nb_odd_game_ids from stg.raw_files") == [(0, 2)] * 2
    assert warehouse.query("select distinct game_id from int.int_streams order by all") == [(5,), (None,)]


EPOCH = int(ON_AIR.timestamp())
OPTIONAL = {
    "started_at in nanoseconds": ("started_at", pa.array([ON_AIR] * 4, pa.timestamp("ns", "UTC")), ON_AIR),
    "started_at in nanoseconds without zone": ("started_at", pa.array([ON_AIR] * 4, pa.timestamp("ns")), ON_AIR),
    "started_at as seconds": ("started_at", pa.array([EPOCH] * 4, pa.int32()), ON_AIR),
    "started_at as seconds, long": ("started_at", pa.array([EPOCH] * 4), ON_AIR),
    "started_at as seconds, double": ("started_at", pa.array([float(EPOCH)] * 4), ON_AIR),
    "started_at as milliseconds": ("started_at", pa.array([EPOCH * 1000] * 4), None),
    "started_at as text": ("started_at", pa.array(["2025-06-01T02:30:00+02:00"] * 4), ON_AIR),
    "started_at as words": ("started_at", pa.array(["yesterday"] * 4), None),
    "fetched_at as words": ("fetched_at", pa.array(["now"] * 4), None),
    "is_mature as text": ("is_mature", pa.array(["true"] * 4), True),
    "is_mature as words": ("is_mature", pa.array(["maybe"] * 4), None),
    "is_mature as a list": ("is_mature", pa.array([[True]] * 4), None),
    "api_page_number as words": ("api_page_number", pa.array(["one"] * 4), None),
    "api_page_number too large": ("api_page_number", pa.array([2**40] * 4), None),
    "user_login as a number": ("user_login", pa.array([5] * 4), "5"),
}


@pytest.mark.promise("a raw file has ids as floats, other types, or other case of names")
def test_an_optional_column_costs_itself_and_not_the_file(warehouse: Warehouse) -> None:
    names = {}
    for number, (case, (column, array, _)) in enumerate(OPTIONAL.items()):
        odd = table(ROWS)
        odd = odd.set_column(odd.column_names.index(column), column, array)
        name = put(warehouse, f"2025-06-01T00:{number:02}:00", odd, version="2.6")
        names[name] = case
    output = warehouse.build()
    assert "is quarantined" not in output
    for name, case in names.items():
        column, _, expected = OPTIONAL[case]
        if isinstance(expected, datetime):
            expected = expected.replace(tzinfo=None)
        asked = f"select {column}, count(*) from stg.stg_streams where file_name = '{name}' group by all"
        assert warehouse.query(asked) == [(expected, 4)], case
        # What is lost is said.
        assert (f"{name}: {column} has no usable value in 4 of 4 rows: null" in output) == (expected is None), case
    assert warehouse.query("select count(*) from int.int_streams") == [(4 * len(names),)]


def rejected(count: int, of: int) -> list[dict[str, Any]]:
    return [
        {"id": str(number), "user_id": "a name" if number < count else "7", "game_id": "5", "viewer_count": 1}
        for number in range(of)
    ]


@pytest.mark.promise("most rows of a file would be rejected", "it is quarantined, with the column and the count")
@pytest.mark.parametrize("late", [False, True], ids=["new", "reloaded"])
def test_a_file_that_is_mostly_rejected_is_quarantined(warehouse: Warehouse, late: bool) -> None:
    wrong = warehouse.add_file("2025-06-01T10:00:00", rejected(51, 100))
    half = warehouse.add_file("2025-06-01T11:00:00", rejected(50, 100))
    small = warehouse.add_file("2025-06-01T12:00:00", rejected(99, 99))
    output = warehouse.run()
    if late:
        output = warehouse.run(**window("2025-06-01"))
    assert f"{wrong.name} is quarantined: 51 of 100 rows are rejected (no usable user_id in 51); to be rid of" in output
    assert output.count("is quarantined") == 1
    ledger = "select file_name, nb_rows, nb_rejected, error is null from stg.raw_files order by all"
    assert warehouse.query(ledger) == [
        (wrong.name, None, None, False),
        (half.name, 100, 50, True),
        (small.name, 99, 99, True),
    ]
    pq.write_table(pa.Table.from_pylist(rejected(0, 100)), wrong)
    assert "is quarantined" not in warehouse.run()
    assert warehouse.published() == warehouse.oracle()


def ahead(hours: float) -> str:
    return f"{datetime.now(UTC) + timedelta(hours=hours):%Y-%m-%dT%H:%M:%S}"


def window(at: str) -> dict[str, str]:
    return run_vars(reload_start=at[:10], reload_end=f"{at[:10]}T23:59:59.9")


KEEP = ["--vars", '{"keep_days": 2}']


@pytest.mark.promise(
    "a raw file is dated in the future, or the clock was put back",
    "a new file is quarantined; imported history stays; nothing is pruned for it; the page says so and is not fresh",
)
def test_a_file_dated_in_the_future_is_quarantined_and_prunes_nothing(warehouse: Warehouse) -> None:
    now = warehouse.add_file(ahead(-1), rejected(0, 5))
    nearly = warehouse.add_file(ahead(0.9), rejected(0, 5))
    far = [warehouse.add_file(at, rejected(0, 5)) for at in (ahead(1.1), "2036-01-01T00:00:00", "2999-01-01T00:00:00")]
    output = warehouse.run(*KEEP)
    for path in far:
        assert f"{path.name} is quarantined: it is dated " in output
    assert "dated 2036-01-01 00:00 UTC, in the future" in output
    kept = "select distinct file_name from stg.stg_streams order by all"
    assert warehouse.query(kept) == [(now.name,), (nearly.name,)]
    assert warehouse.published() == warehouse.oracle(*far)
    # A reload of its day does not let it in either, and another run loads nothing again.
    before = warehouse.partitions()
    warehouse.run(*KEEP, **window("2036-01-01"))
    warehouse.run(*KEEP)
    assert warehouse.partitions() == before


@pytest.fixture
def at_another_time(project: Path) -> Callable[[str], Path]:
    """Gives a copy of the dbt project another clock (UTC), by which it tells what lies in the future."""
    rules = project / "macros" / "rules.sql"
    whole, clock = rules.read_text(), "(now() at time zone 'UTC')"
    assert whole.count(clock) == 1

    def set_clock(now: str) -> Path:
        rules.write_text(whole.replace(clock, f"timestamp '{now}'"))
        return project

    return set_clock


def run(warehouse: Warehouse, project: Path, **environ: str) -> str:
    done = warehouse.dbt("run", *KEEP, project=project, **environ)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.promise("a raw file is dated in the future, or the clock was put back")
def test_a_clock_that_was_put_back_does_not_quarantine_history(
    warehouse: Warehouse, at_another_time: Callable[[str], Path]
) -> None:
    warehouse.select = ""
    for day in (1, 2):
        warehouse.add_file(f"2025-06-0{day}T10:00:00", rejected(0, 5))
    warehouse.run(*KEEP)
    late = warehouse.add_file("2025-06-02T11:00:00", rejected(0, 5))
    back = at_another_time("2025-06-01")
    for about in ({}, window("2025-06-02"), {"DBT_FULL_REFRESH": "true"}):
        assert run(warehouse, back, **about).count("is quarantined") == 1
        assert warehouse.published() == warehouse.oracle(late)
    # Once the clock is right, it counts.
    assert "is quarantined" not in warehouse.run(*KEEP)
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.promise("a raw file is dated in the future, or the clock was put back")
def test_a_file_of_the_future_that_an_earlier_version_imported_stays_and_prunes_nothing(
    warehouse: Warehouse, at_another_time: Callable[[str], Path]
) -> None:
    warehouse.select = ""
    for at in ("2025-06-01T10:00:00", "2025-06-02T10:00:00", "2036-01-01T00:00:00"):
        warehouse.add_file(at, rejected(0, 5))
    run(warehouse, at_another_time("2040-01-01"))
    pruned = "select file_name_date::varchar from stg.raw_days where state = 'pruned' order by all"
    run(warehouse, at_another_time("2040-01-02"))
    assert warehouse.query(pruned) == [("2025-06-01",), ("2025-06-02",)]
    warehouse.add_file("2025-06-02T11:00:00", rejected(0, 5))
    assert "is quarantined" not in warehouse.run(*KEEP)
    assert warehouse.query(pruned) == [("2025-06-01",)]
    assert warehouse.published() == warehouse.oracle()
