"""The one schema of raw, and how pages of streams become Arrow record batches of it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

TEXT = pa.string()
TEXTS = pa.list_(pa.string())
TIME = pa.timestamp("us", "UTC")

STREAM = pa.schema(
    {
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
    }
)
"""What Helix documents of a stream. Every field may be null: a bad value costs itself, not the snapshot."""

RAW = pa.schema(
    [
        *STREAM,
        # Fields that Helix has and STREAM has not, as a JSON object: kept until somebody gives them a column.
        pa.field("api_extra_fields", TEXT),
        # `pagination.cursor` as it came with the row's page; null where the list ended.
        pa.field("api_pagination_cursor", TEXT),
        pa.field("api_page_number", pa.int64(), nullable=False),
        pa.field("fetched_at", TIME, nullable=False),
        pa.field("_dlt_load_id", TEXT, nullable=False),
        pa.field("_dlt_id", TEXT, nullable=False),
    ]
)

MOST_VIEWERS = 10_000_000_000
"""More than there are people is no number of viewers."""

FIELDS = tuple(STREAM.names)
values_of = itemgetter(*FIELDS)

Row = dict[str, Any]


@dataclass
class Findings:
    """What the rows held against the schema, by field."""

    unknown: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    converted: Counter[str] = field(default_factory=Counter)
    nulled: Counter[str] = field(default_factory=Counter)
    no_objects: int = 0

    def warnings(self) -> list[str]:
        """The findings as sentences: names and counts, no values."""
        sentences = (
            (self.unknown, "Helix sends a new field {}, in {:,} rows: kept in api_extra_fields"),
            (self.missing, "Helix left out {} in {:,} rows: null"),
            (self.converted, "{} was of another type in {:,} rows: converted"),
            (self.nulled, "{} had no usable value in {:,} rows: null"),
        )
        said = [text.format(name, n) for found, text in sentences for name, n in sorted(found.items())]
        if self.no_objects:
            said.append(f"{self.no_objects:,} entries of Helix's list were no streams: left out")
        return said


@dataclass
class BatchBuilder:
    """Collects pages of one snapshot and turns them into record batches of RAW."""

    load_id: str = ""
    findings: Findings = field(default_factory=Findings)
    rows: int = 0
    """Rows turned into batches so far; numbers the next ones."""
    pending: list[Row] = field(default_factory=list)
    _cursors: list[str | None] = field(default_factory=list)
    _numbers: list[int] = field(default_factory=list)
    _times: list[int] = field(default_factory=list)

    def add(self, page: Sequence[Any], number: int, cursor: str | None, fetched_at: float) -> None:
        """Adds a page, read as the `number`th at `fetched_at` (Unix time, in seconds)."""
        rows = [row for row in page if isinstance(row, dict)]
        self.findings.no_objects += len(page) - len(rows)
        self.pending += rows
        self._cursors += [cursor] * len(rows)
        self._numbers += [number] * len(rows)
        self._times += [round(fetched_at * 1_000_000)] * len(rows)

    def build(self) -> pa.RecordBatch:
        """The rows added since the last batch; they are forgotten here."""
        n = len(self.pending)
        values, extra = split(self.pending, self.findings)
        arrays = [column(f, v, self.findings) for f, v in zip(STREAM, values, strict=True)]
        numbers = pa.array(range(self.rows, self.rows + n), pa.int64())
        arrays += [
            pa.array(extra, TEXT),
            pa.array(self._cursors, TEXT),
            pa.array(self._numbers, pa.int64()),
            pa.array(self._times, TIME),
            pa.repeat(self.load_id, n),
            # Unique like dlt's random ids, in half the time, and a megabyte smaller for 100,000 rows.
            pc.binary_join_element_wise(self.load_id, numbers.cast(TEXT), "."),
        ]
        self.rows += n
        for collected in (self.pending, self._cursors, self._numbers, self._times):
            collected.clear()
        return pa.RecordBatch.from_arrays(arrays, schema=RAW)


def rejected(rows: pa.Table) -> Counter[str]:
    """Counts the rows that staging will reject, by the rule of a valid row in include/dbt/macros/rules.sql.

    Returns:
        A count for each field that makes a row invalid, and under "rows" that of all such rows.
    """
    viewers = rows["viewer_count"]
    valid = {
        "id": pc.not_equal(rows["id"], ""),
        # 18 digits always fit a BIGINT.
        "user_id": pc.match_substring_regex(rows["user_id"], "^0*[0-9]{1,18}$"),
        "viewer_count": pc.and_(pc.greater_equal(viewers, 0), pc.less_equal(viewers, MOST_VIEWERS)),
    }
    valid = {name: pc.fill_null(is_valid, False) for name, is_valid in valid.items()}
    valid["rows"] = functools.reduce(pc.and_, valid.values())
    return Counter({name: len(rows) - (pc.sum(is_valid).as_py() or 0) for name, is_valid in valid.items()})


def split(rows: Sequence[Row], findings: Findings) -> tuple[Iterable[Sequence[Any]], list[str | None]]:
    """The values of the documented fields by column, and the other fields of each row as JSON."""
    none: list[str | None] = [None] * len(rows)
    try:
        if rows and all(len(row) == len(FIELDS) for row in rows):
            return zip(*map(values_of, rows), strict=True), none
    except KeyError:
        pass  # As many fields, but not the same.
    for i, row in enumerate(rows):
        findings.missing.update(FIELDS - row.keys())
        if unknown := row.keys() - set(FIELDS):
            findings.unknown.update(unknown)
            none[i] = orjson.dumps({name: row[name] for name in sorted(unknown)}).decode()
    return [[row.get(name) for row in rows] for name in FIELDS], none


def column(of: pa.Field, values: Sequence[Any], findings: Findings) -> pa.Array:
    """The values as Arrow, each of a wrong type converted if its meaning is plain, else null."""
    json_type, convert = JSON[of.type]
    # Arrow alone would cut 1.5 down to 1, and take a text for a list of its letters.
    if set(map(type, values)) <= {json_type, type(None)}:
        try:
            return pc.cast(pa.array(values, TEXT), TIME) if of.type == TIME else pa.array(values, of.type)
        except (pa.ArrowException, OverflowError):
            pass  # Some value does not fit: below, each for itself.
    converted = [None if value is None else convert(value) for value in values]
    for before, after in zip(values, converted, strict=True):
        if before is not None and after is None:
            findings.nulled[of.name] += 1
        elif of.type != TIME and (type(after) is not type(before) or after != before):
            findings.converted[of.name] += 1
    return pa.array(converted, of.type)


def as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    # 509658.0 is the id 509658.
    whole = as_int(value) if isinstance(value, float) else None
    return orjson.dumps(value if whole is None else whole).decode()


def as_int(value: Any) -> int | None:
    try:
        number = int(value)
        return number if number == float(value) and abs(number) < 2**63 else None
    except (TypeError, ValueError, OverflowError):
        return None


def as_bool(value: Any) -> bool | None:
    known = {"true": True, "1": True, "false": False, "0": False}
    return known.get(str(value).lower())


def as_texts(value: Any) -> list[str | None] | None:
    if isinstance(value, str):
        return [value]
    return [v if v is None else as_text(v) for v in value] if isinstance(value, list) else None


def as_time(value: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


JSON: dict[pa.DataType, tuple[type, Callable[[Any], Any]]] = {
    TEXT: (str, as_text),
    TEXTS: (list, as_texts),
    TIME: (str, as_time),
    pa.int64(): (int, as_int),
    pa.bool_(): (bool, as_bool),
}
"""By column type: the type that Helix's values have, and what makes the best of any other value."""
