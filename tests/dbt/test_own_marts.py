"""Marts that a user adds to the project: how they follow changes, and what one that fails does to the others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
from warehouse import Warehouse, replace, streams

KEEP = {"keep_days": 2}
MARTS = Path("models/datawarehouse")

LOUD = """
{{ config(materialized='partitioned', partition_by='file_name_date') }}
-- with "quotes" in a comment, and one " alone
select
    file_name_date,
    user_id as "User's id",
    '"' || '{{ var("loudness", 'loud "and" clear') | replace("'", "''") }}' || '"' as how,
    sum(viewer_count) as viewers
from {{ ref('int_streams') }}
where {{ in_partition('file_name_date') }}
group by all
"""
VIEW = """
{{ config(materialized='view') }}
select *, viewers * 2 as twice from {{ ref('loud') }}
"""
ABOVE = """
{{ config(materialized='partitioned', partition_by='file_name_date') }}
select file_name_date, any_value(how) as how, sum(twice) as twice
from {{ ref('loud_view') }}
where {{ in_partition('file_name_date') }}
group by all
"""
BROKEN = """
{{ config(materialized='partitioned', partition_by='file_name_date') }}
select file_name_date, error('a mistake') as mistake
from {{ ref('int_streams') }}
where {{ in_partition('file_name_date') }}
"""


def run(warehouse: Warehouse, project: Path, *arguments: str, **more: object) -> str:
    command = ["run", *arguments, "--vars", json.dumps({**KEEP, **more})]
    done = warehouse.dbt(*command, project=project)
    assert done.returncode == 0, done.stdout
    return done.stdout


def made(output: str) -> dict[str, int]:
    """How many days each of the user's marts has made."""
    return {mart: int(n) for mart, n in re.findall(r"(loud|above): (\d+) of 2 loaded partitions made", output)}


def above(warehouse: Warehouse) -> list[tuple[str, int]]:
    with duckdb.connect() as database:
        files = f"{warehouse.data_dir}/above.parquet/*/data.parquet"
        return database.execute("select how, twice::bigint from read_parquet(?) order by all", [files]).fetchall()


def test_a_mart_follows_its_vars_and_the_view_below_it_and_settles(warehouse: Warehouse, project: Path) -> None:
    """With a var that has a default in the model alone, and with all kinds of quotes."""
    warehouse.built({"2025-01-08T10:00:00": 8, "2025-01-09T10:00:00": 9}, "--vars", json.dumps(KEEP))
    for name, sql in {"loud": LOUD, "loud_view": VIEW, "above": ABOVE}.items():
        (project / MARTS / f"{name}.sql").write_text(sql)
    both, none = {"loud": 2, "above": 2}, {"loud": 0, "above": 0}
    viewers = [sum(row[6] for row in warehouse.published() if row[0].day == day) for day in (8, 9)]

    def shown(how: str, factor: int) -> list[tuple[str, int]]:
        return sorted((f'"{how}"', factor * count) for count in viewers)

    select = ["--select", "loud", "loud_view", "above"]
    assert made(run(warehouse, project, *select)) == both
    assert above(warehouse) == shown('loud "and" clear', 2)
    assert made(run(warehouse, project, *select)) == none
    # A var of the model that is above both.
    output = run(warehouse, project, *select, loudness='it\'s "loud"')
    assert made(output) == both and above(warehouse) == shown('it\'s "loud"', 2)
    assert made(run(warehouse, project, *select, loudness='it\'s "loud"')) == none
    # Its default.
    replace(project / MARTS / "loud.sql", "clear", "louder")
    assert made(run(warehouse, project, *select)) == both
    # The view alone.
    replace(project / MARTS / "loud_view.sql", "* 2", "* 3")
    assert made(run(warehouse, project, *select)) == {"loud": 0, "above": 2}
    assert above(warehouse) == shown('loud "and" louder', 3)
    assert made(run(warehouse, project, *select)) == none
    # With all others in a run, days leave once these marts show them, too.
    warehouse.add_file("2025-01-12T10:00:00", streams(12))
    for states in ({"loaded": 3}, {"pruned": 2, "loaded": 1}):
        run(warehouse, project)
        assert dict(warehouse.query("select state, count(*) from stg.raw_days group by all")) == states


def test_days_leave_although_a_users_own_mart_is_broken(warehouse: Warehouse, project: Path) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-09T10:00:00": 9}, "--vars", json.dumps(KEEP))
    (project / MARTS / "mine.sql").write_text(BROKEN)
    before = warehouse.published()

    def fails() -> str:
        done = warehouse.dbt("run", "--vars", json.dumps(KEEP), project=project)
        assert done.returncode == 1 and "a mistake" in done.stdout and " ERROR=1 " in done.stdout, done.stdout
        return done.stdout

    def old_day() -> str:
        [(state,)] = warehouse.query("select state from stg.raw_days where file_name_date = '2025-01-01'")
        return str(state)

    def age(hours: int) -> None:
        warehouse.query(f"update stg.raw_files set imported_at = imported_at - interval {hours} hours", read_only=False)

    assert "leaves the working set" not in fails()
    age(95)
    assert "leaves the working set" not in fails() and old_day() == "loaded"
    age(1)
    assert (
        "2025-01-01 leaves the working set although mine was not made from it: mend the model, and then make reload "
        "START=2025-01-01 END=2025-01-01"
    ) in fails()
    assert old_day() == "pruned"
    assert warehouse.query("select count(*) from stg.stg_streams where file_name_datetime < '2025-01-09'") == [(0,)]
    assert warehouse.published() == before == warehouse.oracle()
    # Mended, and reloaded as it was told.
    replace(project / MARTS / "mine.sql", "error('a mistake')", "count(*)")
    (project / MARTS / "mine.sql").open("a").write("group by all\n")
    output = run(warehouse, project, reload_start="2025-01-01", reload_end="2025-01-02")
    assert "mine: 2 of 2 loaded partitions made" in output and "fact_streams: 0 of 2 loaded" in output
