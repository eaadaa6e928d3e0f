"""What the first pipeline left in a data folder."""

from __future__ import annotations

from pathlib import Path

import duckdb


def ancestor(data_set: Path, days: dict[str, int], users: int = 1) -> None:
    """What the first pipeline wrote: DuckDB's partitioned COPY, so many files a day, 32-bit ids, no newer columns."""
    for part in range(max(days.values())):
        of_part = [day for day, parts in days.items() if part < parts]
        duckdb.sql(f"""
            copy (
                select
                    unnest({of_part})::date as file_name_date,
                    {part * users} + range::integer as user_id,
                    case when range % 2 = 0 then 509658::integer end as game_id,
                    1::bigint as nb_files,
                    ['1717236000.0123456789.parquet'] as file_names,
                    2.5 as avg_viewer_count
                from range({users})
            ) to '{quoted(data_set)}'
            (format parquet, partition_by (file_name_date), filename_pattern 'part_{part}_', overwrite_or_ignore)
        """)
    for day in days:
        for number, file in enumerate(sorted((data_set / f"file_name_date={day}").glob("part_*"))):
            file.rename(file.with_name(f"data_{number}.parquet"))


def quoted(path: Path) -> str:
    return str(path).replace("'", "''")
