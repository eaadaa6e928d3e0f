from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from include.database import DatabaseUnreadableError, connect, memory_limit
from include.settings import duckdb_memory_limit


def test_the_memory_limit_is_the_wanted_one_or_half_of_what_there_is() -> None:
    assert memory_limit("100KB") == "100KB"
    assert memory_limit("900TB") == "50%"


def test_the_default_is_a_size() -> None:
    assert memory_limit(duckdb_memory_limit({})) == duckdb_memory_limit({"DUCKDB_MEMORY_LIMIT": " "}) == "450MB"
    with duckdb.connect(config={"memory_limit": duckdb_memory_limit({"DUCKDB_MEMORY_LIMIT": "2GB"})}) as database:
        assert database.execute("select current_setting('memory_limit')").fetchall() == [("1.8 GiB",)]


@pytest.mark.parametrize("size", ["600MB", "1.5 gb", "2GiB", "50%", "100 %", "999999.9GiB", "999.9TiB"])
def test_what_settings_take_for_a_size_is_one_for_duckdb(size: str) -> None:
    memory_limit(duckdb_memory_limit({"DUCKDB_MEMORY_LIMIT": size}))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "prod.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table t as select range as a from range(200000)")
    return path


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def overwritten(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        file.write(b"\xff" * 8)


@pytest.mark.promise(
    "`prod.duckdb` is damaged, of a newer DuckDB, or another program's",
    "one line says to move it away; raw makes it again",
)
@pytest.mark.parametrize(
    "harm",
    [
        lambda path: cut(path, 0),
        lambda path: cut(path, 5000),
        lambda path: cut(path, path.stat().st_size // 2),
        lambda path: overwritten(path, 8),
        lambda path: overwritten(path, 12),
        lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(5000)),
        lambda path: path.write_text("something else\n" * 1000),
    ],
    ids=["empty", "in the header", "half", "no magic", "another version", "SQLite", "text"],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_named_with_the_way_out(
    database: Path, harm: Callable[[Path], object], read_only: bool
) -> None:
    harm(database)
    content = database.read_bytes()
    with pytest.raises(
        DatabaseUnreadableError, match=r"prod\.duckdb\.wal away: the next dbt run makes it again"
    ) as told:
        connect(database, read_only=read_only)
    assert str(database) in str(told.value) and "\n" not in str(told.value)
    assert database.read_bytes() == content


def test_what_keeps_from_the_file_is_no_reason_to_remove_it(database: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "no folder" / "prod.duckdb", tmp_path):
        with pytest.raises(duckdb.IOException, match=r"No such file|Is a directory"):
            connect(path)
    with pytest.raises(duckdb.IOException, match="does not exist"):
        connect(tmp_path / "none.duckdb", read_only=True)
    with pytest.raises(duckdb.Error) as told:
        connect(database, config={"memory_limit": "nonsense"})
    assert "away" not in str(told.value)
