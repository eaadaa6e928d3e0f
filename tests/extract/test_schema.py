"""How rows become Arrow, above all rows that are not as Helix documents them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from include.extract.schema import FIELDS, RAW, BatchBuilder

GOOD: dict[str, Any] = {
    "id": "317000000001",
    "user_id": "1426250762",
    "user_login": "kato",
    "user_name": "加藤純一 ",
    "game_id": "",
    "game_name": "",
    "type": "live",
    "title": "a\nb \U000e0000 \u200f🔥",
    "viewer_count": 9_648,
    "started_at": "2025-08-01T19:30:01Z",
    "language": "zh-hk",
    "thumbnail_url": "https://example.com/{width}x{height}.jpg",
    "tag_ids": [],
    "tags": None,
    "is_mature": False,
}


def build(*rows: Any) -> tuple[dict[str, list[Any]], list[str]]:
    builder = BatchBuilder("1754078400.5")
    builder.add(rows, 1, "cursor", 1_754_078_400.25)
    batch = builder.build()
    assert batch.schema == RAW
    batch.validate(full=True)
    return batch.to_pydict(), builder.findings.warnings()


def test_a_good_row_is_kept_as_it_is():
    values, warnings = build(GOOD)
    expected = GOOD | {"started_at": datetime(2025, 8, 1, 19, 30, 1, tzinfo=UTC)}
    assert {name: values[name][0] for name in FIELDS} == expected
    assert warnings == []


def test_the_order_of_fields_does_not_matter():
    values, _ = build(dict(reversed(GOOD.items())), GOOD)
    assert all(values[name][0] == values[name][1] for name in FIELDS)


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("viewer_count", "17", 17),
        ("viewer_count", 17.0, 17),
        ("id", 317000000001, "317000000001"),
        ("title", {"a": [1]}, '{"a":[1]}'),
        ("is_mature", "true", True),
        ("is_mature", 0, False),
        ("tags", "English", ["English"]),
        ("tags", ["a", 1, None], ["a", "1", None]),
    ],
)
def test_a_value_of_another_type_is_converted_and_reported(field, value, kept):
    values, warnings = build(GOOD, GOOD | {field: value}, GOOD)
    assert values[field][1] == kept
    assert type(values[field][1]) is type(kept)
    assert values[field][0] == values[field][2] == build(GOOD)[0][field][0]
    assert warnings == [f"{field} was of another type in 1 rows: converted"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("viewer_count", "many"),
        ("viewer_count", 1.5),
        ("viewer_count", 10**30),
        ("viewer_count", []),
        ("is_mature", "perhaps"),
        ("is_mature", {}),
        ("tags", 7),
        ("tags", {"a": 1}),
        ("started_at", ""),
        ("started_at", "yesterday"),
        ("started_at", "2025-13-01T00:00:00Z"),
        ("started_at", 1_754_078_400),
        ("started_at", ["2025-08-01T19:30:01Z"]),
    ],
)
def test_a_value_without_meaning_becomes_null_and_is_reported(field, value):
    values, warnings = build(GOOD, GOOD | {field: value}, GOOD)
    assert values[field][1] is None
    assert values[field][0] == values[field][2] == build(GOOD)[0][field][0]
    assert warnings == [f"{field} had no usable value in 1 rows: null"]


def test_any_field_may_be_null():
    values, warnings = build(dict.fromkeys(FIELDS))
    assert all(values[name] == [None] for name in FIELDS)
    assert warnings == []


@pytest.mark.parametrize(
    "text", ["2025-08-01T21:30:01+02:00", "2025-08-01T19:30:01", "2025-08-01 19:30:01Z", "2025-08-01T19:30:01.000Z"]
)
def test_other_spellings_of_a_time_are_read_as_utc(text):
    values, _ = build(GOOD, GOOD | {"started_at": text})
    assert values["started_at"][0] == values["started_at"][1]


def test_a_field_that_is_left_out_is_null_and_reported():
    values, warnings = build({name: value for name, value in GOOD.items() if name != "tag_ids"}, GOOD)
    assert values["tag_ids"] == [None, []]
    assert warnings == ["Helix left out tag_ids in 1 rows: null"]


def test_a_renamed_field_is_both_new_and_left_out():
    row = GOOD | {"viewers": 3}
    del row["viewer_count"]
    values, warnings = build(row)
    assert values["viewer_count"] == [None]
    assert values["api_extra_fields"] == ['{"viewers":3}']
    assert len(warnings) == 2


def test_new_fields_of_any_type_are_kept_as_json():
    values, warnings = build(GOOD, GOOD | {"b": {"x": [1, None]}, "a": "é"})
    assert values["api_extra_fields"] == [None, '{"a":"é","b":{"x":[1,null]}}']
    assert [warning.split(",")[0] for warning in warnings] == ["Helix sends a new field a", "Helix sends a new field b"]


def test_what_is_no_object_is_left_out_and_the_rest_stays_aligned():
    values, warnings = build(None, GOOD, "text", GOOD | {"id": "2"})
    assert values["id"] == [GOOD["id"], "2"]
    assert values["api_pagination_cursor"] == ["cursor"] * 2
    assert warnings == ["2 entries of Helix's list were no streams: left out"]


def test_ids_go_on_from_batch_to_batch():
    builder = BatchBuilder("1.5")
    ids = []
    for number in (1, 2):
        builder.add([GOOD, GOOD], number, None, 0)
        ids += builder.build().to_pydict()["_dlt_id"]
    assert ids == ["1.5.0", "1.5.1", "1.5.2", "1.5.3"]
    assert builder.rows == 4
    assert builder.pending == []
