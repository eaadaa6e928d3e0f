"""The HTTP side: Twitch's token endpoint and GET /helix/streams."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from include.simulator.auth import TokenRefusedError, Tokens
from include.simulator.config import SimulatorConfig
from include.simulator.faults import Fault, FaultKind, FaultPlan
from include.simulator.paging import Cursor, InvalidCursorError, Mode, Page, read_page
from include.simulator.rate_limit import TokenBucket, ratelimit_headers
from include.simulator.world import Row, World

_FIRST_ENDLESS_ID = 100_000_000_000
"""Below every id of the world."""
_DRIPS = 20
"""Parts of an answer that drips."""

_LOST = {
    FaultKind.CUT_CONNECTION,
    FaultKind.CUT_JSON,
    FaultKind.MISSING_DATA,
    FaultKind.NULL_DATA,
    FaultKind.OTHER_PAGINATION,
    FaultKind.RENAMED_ID,
}
"""Answers that no client can take for a page."""

_ERRORS = {
    FaultKind.INVALID_CURSOR: (400, "invalid cursor"),
    FaultKind.EXPIRED_TOKEN: (401, "Invalid OAuth token"),
    FaultKind.RATE_LIMITED: (429, "Too many requests"),
    FaultKind.SERVER_ERROR: (500, "Something went wrong"),
    FaultKind.UNAVAILABLE: (503, "Try again later"),
}
_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class ServedRequest:
    """What one request got, as far as a test needs it to compare what was served with what was stored.

    Args:
        path: of the request.
        status: of the answer.
        cursor: the request's `after`.
        page: the page's number in its chain; None where there was none to read.
        fault: what struck it.
        ids: of the streams in the answer, in order; empty where a cut answer holds none that can be read.
        viewer_counts: of the same streams; None where they are in no shape to be read.
    """

    path: str
    status: int
    cursor: str | None = None
    page: int | None = None
    fault: FaultKind | None = None
    ids: tuple[str, ...] = ()
    viewer_counts: tuple[int | None, ...] = ()


class BadRequestError(ValueError):
    """A parameter is wrong; the message is the answer's."""


class CutResponse(Response):
    """Promises a whole body, sends half of it and closes the socket."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        # The server closes a connection whose answer ends while more is due.
        await send({"type": "http.response.body", "body": half, "more_body": True})


class DrippingResponse(Response):
    """Sends the body part by part, over `seconds`."""

    seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        size = len(self.body) // _DRIPS + 1
        for start in range(0, len(self.body), size):
            await send(
                {"type": "http.response.body", "body": bytes(self.body[start : start + size]), "more_body": True}
            )
            await asyncio.sleep(self.seconds / _DRIPS)
        await send({"type": "http.response.body"})


def create_app(config: SimulatorConfig, log: list[ServedRequest] | None = None) -> FastAPI:
    """The simulator as an ASGI app: POST /oauth2/token, GET /helix/streams and GET /health.

    Args:
        config: its settings.
        log: gets an entry for each request for a token or a page, before the answer is sent.

    Raises:
        ValueError: `streams`, `seed` or the clock is out of range.
    """
    helix = _Helix(config, log)
    app = FastAPI(openapi_url=None)
    app.add_api_route("/oauth2/token", helix.token, methods=["POST"])
    app.add_api_route("/helix/streams", helix.streams, methods=["GET"])
    app.add_api_route("/health", _health, methods=["GET"])
    return app


async def _health() -> Response:
    return _json_response({"status": "ok"})


class _Helix:
    def __init__(self, config: SimulatorConfig, log: list[ServedRequest] | None) -> None:
        self._config = config
        self._log = log
        self._world = World(config.streams, config.seed)
        # A clock out of range shows now rather than at the first request.
        self._world.at(config.clock())
        self._tokens = Tokens(config.client_id, config.client_secret, config.token_lifetime)
        self._bucket = TokenBucket(config.rate_limit)
        self._faults = FaultPlan(config.faults, config.fault_rate, config.fault_kinds, config.seed)

    async def token(self, request: Request) -> Response:
        fault = self._faults.for_token()
        answer, status = await self._token_answer(request, fault)
        self._record(ServedRequest(request.url.path, status, fault=fault.kind if fault else None))
        return _json_response(answer, status)

    async def _token_answer(self, request: Request, fault: Fault | None) -> tuple[dict[str, Any], int]:
        if fault and fault.kind is FaultKind.TOKEN_ERROR:
            return {"status": 500, "message": "internal server error"}, 500
        try:
            answer = self._tokens.issue(request.headers.get("content-type", ""), await request.body())
        except TokenRefusedError as error:
            return {"status": error.status, "message": error.message}, error.status
        if fault:
            del answer["access_token"]
        return answer, 200

    async def streams(self, request: Request) -> Response:
        after = request.query_params.get("after") or None
        path, now = request.url.path, time.time()
        objection = self._tokens.objection(request.headers)
        if objection:
            return self._refuse(ServedRequest(path, 401, after), objection)
        if not self._bucket.take(now):
            message = _ERRORS[FaultKind.RATE_LIMITED][1]
            return self._refuse(ServedRequest(path, 429, after), message, self._bucket.headers(now))
        headers = self._bucket.headers(now)
        try:
            page = self._read_page(request.query_params.get("first"), after)
        except BadRequestError as error:
            return self._refuse(ServedRequest(path, 400, after), str(error), headers)
        fault = self._faults.for_page(page.here.page, is_last=page.next is None, has_rows=page.stop > page.start)
        if fault and fault.kind in _ERRORS:
            status, message = _ERRORS[fault.kind]
            if fault.kind is FaultKind.EXPIRED_TOKEN:
                self._tokens.revoke_all()
            if fault.kind is FaultKind.RATE_LIMITED:
                headers = ratelimit_headers(self._bucket.limit, 0, now + fault.delay)
            return self._refuse(ServedRequest(path, status, after, page.here.page, fault.kind), message, headers)
        return await self._serve(path, after, page, fault, headers)

    def _read_page(self, first: str | None, after: str | None) -> Page:
        config = self._config
        try:
            here = Cursor.decode(after) if after else Cursor(self._world.at(config.clock()).time)
        except InvalidCursorError:
            raise BadRequestError("invalid cursor") from None
        return read_page(here, _first(first), config.streams, config.seed, config.moving)

    async def _serve(
        self, path: str, after: str | None, page: Page, fault: Fault | None, headers: dict[str, str]
    ) -> Response:
        kind = fault.kind if fault else None
        page = page.derailed(kind) if kind else page
        rows = self._rows(page)
        payload = {"data": rows, "pagination": {"cursor": page.next.encode()} if page.next else {}}
        shown = [] if kind in _LOST else rows
        ids = tuple(row["id"] for row in shown)
        are_read = kind is not FaultKind.NESTED_VIEWERS
        viewer_counts = tuple(row["viewer_count"] if are_read else None for row in shown)
        response_class, body = _render(payload, kind)
        self._record(ServedRequest(path, 200, after, page.here.page, kind, ids, viewer_counts))
        if fault and kind is FaultKind.SLOW:
            await asyncio.sleep(fault.delay)
        response = response_class(body, headers=headers, media_type="application/json")
        if fault and isinstance(response, DrippingResponse):
            response.seconds = fault.delay
        return response

    def _rows(self, page: Page) -> list[Row]:
        live = self._world.at(page.here.tick)
        if not len(live):
            return []
        positions = np.arange(page.start, page.stop)
        observation = page.here.page if self._config.moving else None
        rows = live.rows(positions % len(live), observation)
        if page.here.mode is Mode.ENDLESS:
            rows[0]["id"] = str(_FIRST_ENDLESS_ID + page.start)
        return rows

    def _refuse(self, served: ServedRequest, message: str, headers: dict[str, str] | None = None) -> Response:
        self._record(served)
        answer = {"error": _REASONS[served.status], "status": served.status, "message": message}
        return _json_response(answer, served.status, headers)

    def _record(self, served: ServedRequest) -> None:
        if self._log is not None:
            self._log.append(served)


def _first(text: str | None) -> int:
    malformed = 'The parameter "first" was malformed: the value must be '
    try:
        first = int(text or 20)
    except ValueError:
        raise BadRequestError(malformed + "an integer") from None
    if first < 1:
        raise BadRequestError(malformed + "greater than or equal to 1")
    if first > 100:
        raise BadRequestError(malformed + "less than or equal to 100")
    return first


def _without_data(payload: dict[str, Any]) -> None:
    del payload["data"]


def _null_data(payload: dict[str, Any]) -> None:
    payload["data"] = None


def _other_pagination(payload: dict[str, Any]) -> None:
    payload["pagination"] = {"next": payload["pagination"].get("cursor")}


def _renamed_id(payload: dict[str, Any]) -> None:
    for row in payload["data"]:
        row["stream_id"] = row.pop("id")


def _number_ids(payload: dict[str, Any]) -> None:
    for row in payload["data"]:
        row |= {name: int(row[name]) for name in ("id", "user_id", "game_id") if row[name].isdigit()}


def _nested_viewers(payload: dict[str, Any]) -> None:
    for row in payload["data"]:
        row["viewer_count"] = {"count": row["viewer_count"]}


def _new_field(payload: dict[str, Any]) -> None:
    for row in payload["data"]:
        row["is_simulated"] = True


def _lone_surrogate(payload: dict[str, Any]) -> None:
    payload["data"][0]["title"] += "\ud83d"


_SPOILERS: dict[FaultKind, Callable[[dict[str, Any]], None]] = {
    FaultKind.MISSING_DATA: _without_data,
    FaultKind.NULL_DATA: _null_data,
    FaultKind.OTHER_PAGINATION: _other_pagination,
    FaultKind.RENAMED_ID: _renamed_id,
    FaultKind.NUMBER_IDS: _number_ids,
    FaultKind.NESTED_VIEWERS: _nested_viewers,
    FaultKind.NEW_FIELD: _new_field,
    FaultKind.LONE_SURROGATE: _lone_surrogate,
}


def _render(payload: dict[str, Any], kind: FaultKind | None) -> tuple[type[Response], bytes]:
    if kind in _SPOILERS:
        _SPOILERS[kind](payload)
    # orjson refuses a lone surrogate; the standard library escapes it.
    body = json.dumps(payload).encode() if kind is FaultKind.LONE_SURROGATE else orjson.dumps(payload)
    if kind is FaultKind.CUT_JSON:
        return Response, body[: len(body) // 2]
    if kind is FaultKind.CUT_CONNECTION:
        return CutResponse, body
    return DrippingResponse if kind is FaultKind.DRIP else Response, body


def _json_response(answer: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(answer), status, headers, media_type="application/json")
