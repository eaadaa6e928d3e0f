"""The least that a day's facts can cost: DuckDB alone, with the columns that are needed, in a process of its own.

python tests/bench/floor.py RESULT <raw files ...>
"""

from __future__ import annotations

import sys

import duckdb

DEDUPLICATED = """
select user_id, game_id, viewer_count from read_parquet(?, file_row_number = true)
where regexp_full_match(user_id, '[0-9]+')
qualify row_number() over (partition by id order by file_row_number desc) = 1
"""
FACTS = """
copy (
    select user_id, game_id, avg(viewer_count) as average, count(*) as observations, max(viewer_count) as most
    from rows group by all
) to '{path}' (format parquet, compression zstd)
"""


def main() -> None:
    result, *files = sys.argv[1:]
    with duckdb.connect() as database:
        database.execute("set enable_progress_bar = false")
        # File by file, since a key never crosses files.
        for number, file in enumerate(files):
            create = "create table rows as" if number == 0 else "insert into rows"
            database.execute(f"{create} {DEDUPLICATED}", [file])
        database.execute(FACTS.format(path=result))


if __name__ == "__main__":
    main()
