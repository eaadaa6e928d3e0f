"""What an answer of Helix must be to count as a page of streams."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from include.extract.schema import as_text

LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class BadAnswer(Exception):
    """An answer that the next attempt may better; `wait` is how long the server asks for, in seconds."""

    remedy = "Try again later."

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class NoPage(BadAnswer):
    """A whole answer that is no page of streams.

    It is asked for again like any other: something in between may have answered, or a change of the API that has
    reached only some of Twitch's servers.
    """

    remedy = (
        "Try again later. If it stays so, Twitch has changed its API: check TWITCH_API_URL, and look for a newer "
        "version of this project."
    )


@dataclass(frozen=True)
class Page:
    """A page of streams.

    Args:
        rows: the entries of the list, as they came.
        ids: the usable stream ids among them, as text.
        cursor: where the list goes on; None where it ends.
    """

    rows: list[Any]
    ids: list[str]
    cursor: str | None


def parse(body: bytes) -> Page:
    """The page in the body of an answer.

    Raises:
        NoPage: it is no JSON (cut, or an error page of something in between), or not of the shape that Helix documents.
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        # orjson refuses half a surrogate pair, which one broken title could hold: only that is replaced.
        try:
            lenient = json.loads(body.decode("utf-8", "replace"))
            answer = orjson.loads(LONE_SURROGATE.sub("\ufffd", json.dumps(lenient, ensure_ascii=False)))
        except (ValueError, RecursionError):
            raise NoPage("Helix answered 200 with JSON that does not parse") from None
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        raise NoPage('Helix answered 200 without a list in "data"')
    return Page(answer["data"], usable_ids(answer["data"]), cursor_of(answer))


def usable_ids(rows: list[Any]) -> list[str]:
    """The ids of the rows, converted like the column `id`; a row without one costs only itself.

    Raises:
        NoPage: no row has one, or all rows have the same. Such pages must not look like pages without a new stream,
            which end the list.
    """
    ids: list[Any] = [row.get("id") for row in rows if isinstance(row, dict)]
    if set(map(type, ids)) != {str} or "" in ids:
        ids = [as_text(value) for value in ids if is_text_or_number(value)]
    if rows and not ids:
        raise NoPage(f'Helix sent a page of {len(rows)} rows without a usable "id"')
    if len(set(ids)) == 1 < len(ids):
        raise NoPage(f'Helix sent a page of {len(rows)} rows that all have the same "id"')
    return ids


def cursor_of(answer: dict[str, Any]) -> str | None:
    """Where the list goes on; None where Helix ends it: `pagination` missing or empty, or an empty cursor.

    Raises:
        NoPage: there is pagination, and it holds no cursor.
    """
    pagination = answer.get("pagination")
    if not pagination:
        # Helix may leave an empty one out. One under another name would end the list on its first page.
        others = answer.keys() - {"data"}
        if "pagination" in answer or not others:
            return None
        raise NoPage(f'Helix sent no "pagination", but {named(others)}')
    if not isinstance(pagination, dict):
        raise NoPage(f'Helix sent "pagination" as {json_type(pagination)}')
    if "cursor" not in pagination:
        raise NoPage(f'Helix sent "pagination" without a "cursor", but with {named(pagination)}')
    cursor = pagination["cursor"]
    if cursor is None or cursor == "":
        return None
    if not is_text_or_number(cursor):
        raise NoPage(f'Helix sent the "cursor" of its pagination as {json_type(cursor)}')
    return as_text(cursor)


def is_text_or_number(value: Any) -> bool:
    """Whether the value can name something: no other type can, nor can an empty text."""
    return type(value) in {str, int, float} and value != ""


def json_type(value: Any) -> str:
    """The name of a value's type in JSON, with its article."""
    return {dict: "an object", list: "a list", str: "a text", bool: "a boolean"}.get(type(value), "a number")


def named(fields: Iterable[str]) -> str:
    """Names of fields for a message, on one short line."""
    return " ".join(", ".join(f'"{field}"' for field in sorted(fields)).split())[:100]
