"""A raw folder with everything that may go wrong with a file: the bad ones cost themselves alone, and are named."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from campaign import chance, empty_warehouse, size
from warehouse import HELIX, SNAPSHOT, Warehouse, streams

from include.settings import load
from include.tasks import report

DAY = "2025-01-01T"
HOSTILE = [
    "'); drop table stg",
    '"; select 1; --',
    "{{ env_var('HOME') }}",
    "{% raw %}",
    "$1 %s {0}",
    "#x=1&y=%20",
    "名",
]
# DuckDB takes the first three for patterns, which match the names of other files as well; the last is not UTF-8.
BAD_NAMES = ["*", "?", "[ab]", "\\", os.fsdecode(b"caf\xe9")]


def rename(path: Path, file_id: str) -> Path:
    """Gives the file another id, which is the part of its name that is not its load's."""
    return path.rename(path.with_name(f"{path.name.rsplit('.', 2)[0]}.{file_id}.parquet"))


def good_files(warehouse: Warehouse, elsewhere: Path) -> None:
    """All that a file may be without being bad."""
    warehouse.add_file(DAY + "00:00:00", streams(1))
    # The same rows under another load are another snapshot; a second may have two, and a load two files.
    for seconds in ("00:00:00.5", "01:00:00"):
        warehouse.add_file(DAY + seconds, streams(1))
    warehouse.add_file(DAY + "00:00:00", streams(2))
    warehouse.add_file(DAY + "02:00:00", [])
    warehouse.add_file(DAY + "03:00:00", streams(3), HELIX)
    needed = pa.schema([HELIX.field(name) for name in ("viewer_count", "game_id", "user_id", "id")])
    warehouse.add_file(DAY + "04:00:00", [{name: row[name] for name in needed.names} for row in narrow(4)], needed)
    wide = pa.schema([("title 2; --", pa.string()), *SNAPSHOT, ("{{ x }}", pa.map_(pa.string(), pa.int8()))])
    warehouse.add_file(DAY + "05:00:00", streams(5), wide)
    linked = warehouse.add_file(DAY + "06:00:00", streams(6))
    linked.rename(elsewhere / linked.name)
    linked.symlink_to(elsewhere / linked.name)
    # Other programs' types of columns that no file needs.
    warehouse.add_file(DAY + "08:00:00", spoiled("started_at", "yesterday"), as_text("started_at"))
    for number, name in enumerate(HOSTILE):
        rename(warehouse.add_file(f"{DAY}07:00:{number:02}", streams(number)), name)


def narrow(seed: int) -> list[dict[str, object]]:
    return [{"game_id": "", **row} for row in streams(seed)]


def bad_files(warehouse: Warehouse, chance: random.Random) -> list[Path]:
    """Committed files that cannot be read."""
    bad = [
        # A footer that is whole, and one column that cannot be what it should be.
        warehouse.add_file(DAY + "10:00:00", spoiled("viewer_count", "many"), as_text("viewer_count")),
        warehouse.add_file(DAY + "10:00:02", [], pa.schema([("viewer_count", pa.list_(pa.int64()))])),
    ]
    for number, missing in enumerate(("id", "user_id", "game_id", "viewer_count")):
        schema = SNAPSHOT.remove(SNAPSHOT.get_field_index(missing))
        rows = [{name: row.get(name) for name in schema.names} for row in streams(number)]
        bad.append(warehouse.add_file(f"{DAY}11:00:{number:02}", rows, schema))
    for number, content in enumerate((b"", b"not Parquet", b"PAR1", b"PAR1" + bytes(100) + b"PAR1")):
        bad.append(warehouse.add_file(f"{DAY}12:00:{number:02}", []))
        bad[-1].write_bytes(content)
    for number in range(size(8, 200)):
        torn = warehouse.add_file(f"{DAY}13:{number // 60:02}:{number % 60:02}", streams(number))
        bad.append(torn)
        os.truncate(torn, chance.randrange(torn.stat().st_size))
    # Each beside a file whose name a pattern matches.
    for number, name in enumerate(BAD_NAMES):
        rename(warehouse.add_file(f"{DAY}14:00:{number:02}", streams(number)), "a")
        bad.append(rename(warehouse.add_file(f"{DAY}14:00:{number:02}", streams(number)), name))
    return bad


def as_text(column: str) -> pa.Schema:
    return SNAPSHOT.set(SNAPSHOT.get_field_index(column), pa.field(column, pa.string()))


def spoiled(column: str, value: str) -> list[dict[str, object]]:
    rows = [{**row, column: "1"} if column == "viewer_count" else {**row, column: None} for row in streams(7)]
    return [*rows[:-1], {**rows[-1], column: value}]


def shown(path: Path) -> str:
    """The file's name, as messages give it."""
    return os.fsencode(path.name).decode(errors="backslashreplace")


def no_files(warehouse: Warehouse) -> list[Path]:
    """What lies among the files and is none, or is not committed."""
    folder = warehouse.raw / "twitch_streams"
    strangers = [folder / name for name in ("notes.parquet", "1735740000.parquet", ".1735740000.a.parquet")]
    for name in ("1735740000.a.parquet.part", "-1735740000.a.parquet", "0x10.a.parquet", "nan.a.parquet"):
        strangers.append(folder / name)
    for stranger in strangers:
        stranger.write_bytes(b"no snapshot")
    directory, dangling, loop = (folder / f"1735740000.{name}.parquet" for name in ("folder", "dangling", "loop"))
    (directory / "1735740000.b.parquet").mkdir(parents=True)
    dangling.symlink_to("nowhere")
    loop.symlink_to(loop.name)
    (folder / "1735740000.pipe.parquet").unlink(missing_ok=True)
    os.mkfifo(folder / "1735740000.pipe.parquet")
    for load_id in ("1735740000", "nan", "0x10", "-1735740000"):
        warehouse.commit(load_id)
    pending = warehouse.add_file(DAY + "15:00:00", streams(1), commit=False)
    return [*strangers, directory, dangling, loop, folder / "1735740000.pipe.parquet", pending]


@pytest.mark.promise(
    "a raw file is torn, empty, of another schema or oddly named",
    "it is quarantined by name, in the log, the report, the ping and on the page; the others count; once it is "
    "repaired, it counts, too",
)
@pytest.mark.promise("rows are rejected, a raw file lacks its commit or has an odd name")
def test_bad_files_are_named_and_tried_again_and_stop_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    warehouse = empty_warehouse()
    monkeypatch.setenv("DATA_DIR", str(warehouse.data_dir))
    assert load().data_dir == warehouse.data_dir
    good_files(warehouse, tmp_path)
    bad = bad_files(warehouse, chance("bad files"))
    ignored = no_files(warehouse)

    output = warehouse.build()
    result = report.report()
    assert warehouse.published() == warehouse.oracle(*bad, *ignored)
    names = sorted(shown(path) for path in bad)
    assert [name for name in names if f"{name} is quarantined" not in output] == []
    assert f"Got {len(bad)} results" in output and "WARN=1" in output
    assert result["quarantined"] == names
    warnings = "\n".join(result["warnings"])
    # Each with its reason, as long as they are few.
    assert len(re.findall(r"Raw file .+ is quarantined: .+ It is tried again in each run[.]", warnings)) == report.NAMED
    assert f"{len(bad) - report.NAMED} more raw files are quarantined" in warnings
    visible = [path for path in ignored if not path.name.startswith(".")]
    assert f"{len(visible)} file(s) among the raw files are ignored: without a commit" in warnings
    assert result["unrecognised"] == len(visible)

    # Repaired, or renamed where the name was the fault: nothing else is needed.
    for number, path in enumerate(bad):
        whole = warehouse.add_file(DAY + "23:00:00", streams(number), commit=False)
        whole.rename(path)
        if path.name.split(".")[-2] in BAD_NAMES:
            rename(path, f"renamed{number}")
    output = warehouse.build()
    assert "is quarantined" not in output and "WARN=0" in output
    assert warehouse.published() == warehouse.oracle(*ignored)
    assert report.report()["quarantined"] == []
    assert "is quarantined" not in str(report.report()["warnings"])


def test_bytes_that_changed_cost_their_own_file_or_day_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw has no checksums: a changed byte may make a file unreadable, or its values any others of their types."""
    warehouse, dice = empty_warehouse(), chance("changed bytes")
    monkeypatch.setenv("DATA_DIR", str(warehouse.data_dir))
    for hour in (10, 11):
        warehouse.add_file(f"{DAY}{hour}:00:00", streams(hour))
    whole = warehouse.oracle()
    changed = []
    for number in range(size(12, 400)):
        path = warehouse.add_file(f"2025-01-02T10:{number // 60:02}:{number % 60:02}", streams(number))
        content = bytearray(path.read_bytes())
        for _ in range(dice.choice([1, 1, 2, 30])):
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(content)
        changed.append(path.name)
    # What a flipped bit of a counter gives, and Helix's own mistake could: more viewers than there are people.
    absurd = [{**row, "viewer_count": 2**63 - 1} for row in streams(1)]
    changed.append(warehouse.add_file("2025-01-02T12:00:00", absurd).name)
    warehouse.build()
    assert [row for row in warehouse.published() if row[0].day == 1] == whole
    quarantined = report.report()["quarantined"]
    read = warehouse.query("select file_name from stg.raw_files where error is null and file_name_date = '2025-01-02'")
    assert sorted(quarantined + [name for (name,) in read]) == sorted(changed)


@pytest.mark.promise(
    "bytes of a raw file change on the disk, and DuckDB itself fails on them",
    "they are read in a DuckDB of its own first: the file is quarantined, and the run goes on",
)
def test_bytes_on_which_duckdb_fails_cost_their_file_alone() -> None:
    """Such a failure ends the DuckDB that reads, with all that it has open: it must not be the one of `prod.duckdb`."""
    warehouse = empty_warehouse()
    warehouse.add_file(f"{DAY}10:00:00", streams(1))
    whole = warehouse.oracle()
    path = warehouse.add_file(f"{DAY}11:00:00", streams(2))
    # In the footer, the size of a column becomes negative: of the number there, the last bit is the sign.
    column = SNAPSHOT.names.index("user_login")
    size = pq.ParquetFile(path).metadata.row_group(0).column(column).total_compressed_size
    content, at = bytearray(path.read_bytes()), 0
    assert 64 <= size < 8192  # two bytes
    number = bytes([0x16, size * 2 & 0x7F | 0x80, size * 2 >> 7])
    while pq.ParquetFile(path).metadata.row_group(0).column(column).total_compressed_size >= 0:
        at = content.index(number, at) + 1
        path.write_bytes(content[:at] + bytes([content[at] | 1]) + content[at + 1 :])
    with duckdb.connect() as database, pytest.raises(duckdb.InternalException):
        database.execute("select user_login from read_parquet(?)", [str(path)]).fetchall()

    assert f"{path.name} is quarantined: DuckDB fails on it" in warehouse.run()
    assert warehouse.published() == whole
