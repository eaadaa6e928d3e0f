"""The least that the work can cost: DuckDB alone, with the columns that are needed, in a process of its own.

python tests/bench/floor.py file|day|list <raw files ...>
"""

from __future__ import annotations

import sys

import duckdb

DEDUPLICATED = """
select * from read_parquet(?, file_row_number = true, filename = true)
where regexp_full_match(user_id, '[0-9]+')
qualify row_number() over (partition by filename, id order by file_row_number desc) = 1
"""
COLUMNS = "filename, user_id, game_id, viewer_count"


def main() -> None:
    work, *files = sys.argv[1:]
    with duckdb.connect() as database:
        database.execute("set enable_progress_bar = false")
        if work == "file":
            database.execute(
                f"select count(*), sum(viewer_count) from (select {COLUMNS} from ({DEDUPLICATED}))", [files]
            )
            return
        # File by file, since a key never crosses files.
        for number, file in enumerate(files):
            create = "create table rows as" if number == 0 else "insert into rows"
            database.execute(f"{create} select {COLUMNS} from ({DEDUPLICATED})", [[file]])
        database.execute(
            "select count(*), sum(average) from (select user_id, game_id, avg(viewer_count) as average, count(*), "
            "max(viewer_count) from rows group by all)"
        )


if __name__ == "__main__":
    main()
