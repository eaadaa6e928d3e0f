"""dbt's own commands, as whoever knows dbt expects them."""

from __future__ import annotations

import json

from warehouse import Warehouse

MARKER = "'partition:file_name_date' = 'partition:file_name_date'"


def freshness(warehouse: Warehouse) -> tuple[int, str]:
    """Exit code and status of the one source with a time."""
    done = warehouse.dbt("source", "freshness", DBT_WRITE_JSON="true")
    [result] = json.loads((warehouse.target / "sources.json").read_text())["results"]
    assert result["unique_id"] == "source.twitch_bi.state.raw_files"
    return done.returncode, result["status"]


def test_source_freshness_warns_until_something_is_imported_and_when_that_is_long_ago(warehouse: Warehouse) -> None:
    assert freshness(warehouse) == (0, "warn")
    warehouse.built({"2025-01-01T10:00:00": 1})
    warehouse.query("update stg.raw_files set imported_at = now() at time zone 'UTC'", read_only=False)
    assert freshness(warehouse) == (0, "pass")
    warehouse.query("update stg.raw_files set imported_at = imported_at - interval 3 hours", read_only=False)
    assert freshness(warehouse) == (0, "warn")


def test_show_and_compile_read_all_days_and_write_nothing(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-02T10:00:00": 2})
    before = warehouse.partitions()
    done = warehouse.dbt("compile", "--select", "fact_streams")
    assert done.returncode == 0 and MARKER in done.stdout, done.stdout
    for model in ("int_streams", "fact_streams", "agg_game_viewership"):
        done = warehouse.dbt("show", "--quiet", "--select", model, "--limit=-1", "--output=json")
        assert done.returncode == 0, done.stdout
        shown = json.loads(done.stdout)["show"]
        table = f"{'int' if model == 'int_streams' else 'dwh'}.{model}"
        [(nb_rows, nb_days)] = warehouse.query(f"select count(*), count(distinct file_name_date) from {table}")
        assert len(shown) == nb_rows and len({row["file_name_date"] for row in shown}) == nb_days == 2
    done = warehouse.dbt("show", "--quiet", "--inline", "select * from {{ ref('stg_streams') }}", "--limit=3")
    assert done.returncode == 0 and "user_login" in done.stdout
    assert warehouse.partitions() == before


def test_a_model_runs_alone_and_a_full_refresh_of_it_makes_it_again(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-02T10:00:00": 2})
    facts = warehouse.published()
    run = ["run", "--select", "fact_streams"]
    assert "fact_streams: 0 of 2 loaded partitions made; they are up to date" in warehouse.dbt(*run).stdout
    assert "fact_streams: 2 of 2 loaded partitions made" in warehouse.dbt(*run, "--full-refresh").stdout
    assert warehouse.published() == facts
