"""What a snapshot holds, where it lies, and what it says of itself."""

from __future__ import annotations

import gc
import json
import logging
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.extract import reader
from include.extract.errors import ExtractError
from include.extract.raw import RawFolder
from include.extract.snapshot import COMPARED, COMPARED_DAYS, suspicions
from include.simulator.faults import Fault, FaultKind
from include.simulator.world import World

TEXT, TEXTS, TIME = pa.string(), pa.list_(pa.string()), pa.timestamp("us", "UTC")
NOW = 1_754_078_400.0

COLUMNS = {
    "id": TEXT,
    "user_id": TEXT,
    "user_login": TEXT,
    "user_name": TEXT,
    "game_id": TEXT,
    "game_name": TEXT,
    "type": TEXT,
    "title": TEXT,
    "viewer_count": pa.int64(),
    "started_at": TIME,
    "language": TEXT,
    "thumbnail_url": TEXT,
    "tag_ids": TEXTS,
    "tags": TEXTS,
    "is_mature": pa.bool_(),
    "api_extra_fields": TEXT,
    "api_pagination_cursor": TEXT,
    "api_page_number": pa.int64(),
    "fetched_at": TIME,
    "_dlt_load_id": TEXT,
    "_dlt_id": TEXT,
}


def test_every_value_of_every_stream_arrives(twitch):
    t = twitch(streams=1_234)
    snapshot = t.snapshot()

    expected = World(1_234, 0).at(NOW).rows(np.arange(1_234), None)
    for row in expected:
        row["started_at"] = datetime.fromisoformat(row["started_at"])
    table = t.table(snapshot)
    assert table.select(list(COLUMNS)[:15]).to_pylist() == expected
    assert (snapshot.rows, snapshot.pages, snapshot.duplicates) == (1_234, 13, 0)
    assert (snapshot.ended_by, snapshot.warnings, snapshot.unknown_fields) == ("no cursor", [], [])


def test_the_columns_and_types_of_raw(twitch):
    t = twitch()
    schema = t.table(t.snapshot()).schema
    assert dict(zip(schema.names, schema.types, strict=True)) == COLUMNS
    assert schema.names == list(COLUMNS)


def test_the_columns_that_helix_has_not(twitch):
    t = twitch(streams=250)
    ticks = iter([1_000.25, 2_000.5, 3_000.75])
    snapshot = t.snapshot(clock=lambda: next(ticks))

    table = t.table(snapshot).to_pydict()
    assert table["api_page_number"] == [1] * 100 + [2] * 100 + [3] * 50
    assert table["fetched_at"][::100] == [datetime.fromtimestamp(t, UTC) for t in (1_000.25, 2_000.5, 3_000.75)]
    asked = [request.cursor for request in t.simulator.requests if request.page]
    assert table["api_pagination_cursor"][::100] == [*asked[1:], None]
    assert set(table["_dlt_load_id"]) == {snapshot.load_id}
    assert len(set(table["_dlt_id"])) == 250
    assert set(table["api_extra_fields"]) == {None}


def test_a_moving_list_is_kept_as_it_was_served_and_its_duplicates_counted(twitch):
    t = twitch(streams=3_000, moving=True)
    snapshot = t.snapshot()
    served = t.served_ids()
    assert t.table(snapshot)["id"].to_pylist() == served
    assert snapshot.duplicates == len(served) - len(set(served)) > 0
    assert snapshot.pages == sum(request.page is not None for request in t.simulator.requests)


def test_names_of_the_file_and_its_commit(twitch):
    t = twitch()
    snapshot = t.snapshot()
    (file,), (commit,) = t.files, t.commits
    load_id, file_id, ext = file.name.rsplit(".", 2)
    assert (load_id, ext) == (snapshot.load_id, "parquet")
    assert file_id
    assert file.name == snapshot.file_name
    assert commit.name.endswith(f"__{load_id}.jsonl")
    assert datetime.now(UTC).timestamp() - float(load_id) < 60


def test_one_file_of_several_row_groups(twitch, monkeypatch):
    monkeypatch.setattr(reader, "ROW_GROUP_ROWS", 6_000)
    t = twitch(streams=14_000)
    t.snapshot()
    (file,) = t.files
    metadata = pq.read_metadata(file)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [6_000, 6_000, 2_000]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    ids = pq.read_table(file)["_dlt_id"].to_pylist()
    assert len(set(ids)) == 14_000


def test_a_summary_is_json_with_counts_alone(twitch):
    snapshot = twitch().snapshot()
    summary = snapshot.as_dict()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["rows"] == 950
    assert len(json.dumps(summary)) < 500


def test_snapshots_add_up_without_other_growth(twitch):
    t = twitch()
    first, second = t.snapshot(), t.snapshot()
    assert float(first.load_id) < float(second.load_id)
    assert {file.name for file in t.files} == {first.file_name, second.file_name}
    assert len(t.commits) == 2
    assert len(list((t.dataset / "_dlt_version").iterdir())) == 1
    assert {path.name for path in t.dataset.iterdir()} == {
        "init",
        "twitch_streams",
        "_dlt_loads",
        "_dlt_version",
        "_dlt_pipeline_state",
    }


def test_an_empty_snapshot_is_a_commit_without_a_file(twitch):
    t = twitch(streams=0)
    snapshot = t.snapshot()
    assert (snapshot.rows, snapshot.file_name, snapshot.pages) == (0, None, 1)
    assert t.files == []
    assert [path.name for path in t.commits] == [f"twitch_streams__{snapshot.load_id}.jsonl"]
    assert "empty" in snapshot.warnings[0]


def test_a_new_field_is_reported_and_kept(twitch, caplog):
    t = twitch(Fault(FaultKind.NEW_FIELD, page=2))
    snapshot = t.snapshot()
    assert snapshot.unknown_fields == ["is_simulated"]
    assert any("is_simulated" in warning and "100 rows" in warning for warning in snapshot.warnings)
    assert "is_simulated" in caplog.text
    extra = t.table(snapshot)["api_extra_fields"].to_pylist()
    assert extra[99:201] == [None, *['{"is_simulated":true}'] * 100, None]


def test_half_a_surrogate_pair_costs_itself_alone(twitch):
    t = twitch(Fault(FaultKind.LONE_SURROGATE, page=1))
    titles = t.table(t.snapshot())["title"].to_pylist()
    expected = [row["title"] for row in World(950, 0).at(NOW).rows(np.arange(950), None)]
    assert titles == [expected[0] + "\ufffd", *expected[1:]]


@pytest.mark.promise("snapshots are short for weeks")
def test_a_far_smaller_snapshot_is_committed_with_a_warning(twitch, caplog):
    for _ in range(3):
        twitch(streams=1_000).snapshot()
    usual = twitch(streams=501).snapshot()
    small = twitch(streams=300)
    snapshot = small.snapshot()
    assert usual.warnings == []
    assert len(small.files) == 5
    (warning,) = snapshot.warnings
    assert "300 rows" in warning
    assert "1,000" in warning
    assert warning in caplog.text


def test_only_whole_and_committed_files_are_the_measure(twitch):
    t = twitch(streams=1_000)
    good = t.snapshot()
    file = t.dataset / "twitch_streams" / good.file_name
    for torn in ("1900000001.5.torn.parquet", "1900000002.5.torn.parquet"):
        (file.parent / torn).write_bytes(file.read_bytes()[:5_000])
        (t.dataset / "_dlt_loads" / f"other__{torn.rsplit('.', 2)[0]}.jsonl").touch()
    for i in range(5):
        (file.parent / f"190000001{i}.5.uncommitted.parquet").write_bytes(parquet(9_000))
    snapshot = twitch(streams=100).snapshot()
    assert "where 1,000 are usual" in snapshot.warnings[0]


def parquet(rows: int) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"n": pa.nulls(rows)}), sink)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def history(tmp_path):
    """Makes a raw folder with a committed file of so many rows for each of the last hours, the newest first."""

    def make(*rows, end=NOW, step=3_600):
        raw = RawFolder(tmp_path)
        raw.files.mkdir(parents=True)
        raw.commits.mkdir()
        contents = {n: parquet(n) for n in set(rows)}
        for i, n in enumerate(rows):
            load_id = end - i * step + 0.5
            (raw.files / f"{load_id}.a.parquet").write_bytes(contents[n])
            (raw.commits / f"twitch_streams__{load_id}.jsonl").touch()
        return raw

    return make


@pytest.mark.promise(
    "snapshots are short for weeks", "each of them warns, for a month, in the log, the ping and on the page"
)
@pytest.mark.parametrize(
    ("short", "good", "is_small"),
    [
        (0, 60 * 24, True),
        (13, 60 * 24, True),
        (7 * 24, 60 * 24, True),
        (28 * 24, 60 * 24, True),
        (35 * 24, 60 * 24, False),  # These are the usual ones now.
        (5, 7, True),  # On the first day.
        (24, 24, True),
        (7 * 24, 4 * 24, True),
        (0, 0, False),
    ],
)
def test_a_short_snapshot_is_suspicious_for_a_month(history, short, good, is_small):
    sizes = history(*[400] * short, *[1_000] * good).sizes(COMPARED, COMPARED_DAYS, NOW + 3_600)
    assert bool(suspicions(400, *sizes)) is is_small
    assert not suspicions(500 if good else 200, *sizes)


def test_a_size_is_compared_with_that_of_the_same_hour_of_each_day(history):
    # At night, so many rows as the hour has; the newest file is of 20:00.
    raw = history(*[(NOW // 3_600 - i) % 24 + 1 for i in range(10 * 24)])
    recent, daily = raw.sizes(3, 5, NOW + 5 * 3_600)
    assert recent == [21, 20, 19]
    # At 01:00: of this day and those before it.
    assert daily == [2] * 5


def test_a_file_of_a_wrong_clock_is_one_of_many(history):
    raw = history(*[1_000] * 100)
    for time in ("4070908800.5", "-5.5", "nan", "x"):
        (raw.files / f"{time}.a.parquet").write_bytes(parquet(3))
        (raw.commits / f"twitch_streams__{time}.jsonl").touch()
    recent, daily = raw.sizes(24, 40, NOW)
    assert sorted(recent) == [3, *[1_000] * 23]
    assert sorted(daily) == [3, *[1_000] * 5]


def test_few_footers_are_read_whatever_the_history(history, monkeypatch):
    raw = history(*[10] * 2_000)
    read = []
    monkeypatch.setattr(RawFolder, "rows_in", lambda _, name: read.append(name) or 10)
    raw.sizes(COMPARED, COMPARED_DAYS, NOW)
    assert COMPARED_DAYS < len(read) == len(set(read)) <= COMPARED + COMPARED_DAYS


def test_progress_on_long_reads(twitch, caplog, monkeypatch):
    monkeypatch.setattr(reader, "PROGRESS_PAGES", 4)
    with caplog.at_level(logging.INFO):
        twitch().snapshot()
    assert next(line for line in caplog.messages if "rows/s" in line).startswith("4 pages, 400 rows")


def test_python_collects_garbage_as_before_once_a_snapshot_is_taken_or_failed(twitch):
    usual = gc.get_threshold()
    twitch().snapshot()
    assert gc.get_threshold() == usual
    with pytest.raises(ExtractError):
        twitch(Fault(FaultKind.UNAVAILABLE, times=None)).snapshot()
    assert gc.get_threshold() == usual
