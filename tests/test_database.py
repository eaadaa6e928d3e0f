from __future__ import annotations

import duckdb
import pytest

from include.database import memory_limit
from include.settings import duckdb_memory_limit


def test_the_memory_limit_is_the_wanted_one_or_half_of_what_there_is() -> None:
    assert memory_limit("100KB") == "100KB"
    assert memory_limit("900TB") == "50%"


def test_a_size_that_is_none_is_named() -> None:
    for wanted in ("lots", "600", "1'; drop table x"):
        with pytest.raises(ValueError, match="is no size of memory: write it like 600MB"):
            memory_limit(wanted)


def test_the_default_is_a_size() -> None:
    assert memory_limit(duckdb_memory_limit({})) == duckdb_memory_limit({"DUCKDB_MEMORY_LIMIT": " "}) == "450MB"
    with duckdb.connect(config={"memory_limit": duckdb_memory_limit({"DUCKDB_MEMORY_LIMIT": "2GB"})}) as database:
        assert database.execute("select current_setting('memory_limit')").fetchall() == [("1.8 GiB",)]
