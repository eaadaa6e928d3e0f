"""The page's web app: four HTML pages, what they are made of, and their data as JSON, CSV or Parquet."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import orjson
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from include.line import LeftError, Line
from include.page.data import Asked, Data, Use
from include.page.formats import as_columns, as_csv, as_parquet
from include.page.parquet import PageError, Reader
from include.page.queries import QUERIES, SPREAD

T = TypeVar("T")

STATIC = Path(__file__).with_name("static")
TEMPLATES = Jinja2Templates(Path(__file__).with_name("templates"))
PAGES = {"/": "index.html", "/game": "game.html", "/channel": "channel.html", "/compare": "compare.html"}

# Plotly would write its styles into the page; the page's own style sheet has those that it needs.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # What is left to say for itself is asked for anew each time, which costs an empty answer: an upgrade shows at once.
    "Cache-Control": "no-cache",
}
FORMATS: dict[str, tuple[Use[Any], str]] = {
    "json": (as_columns, "application/json"),
    "csv": (as_csv, "text/csv; charset=utf-8"),
    "parquet": (as_parquet, "application/vnd.apache.parquet"),
}

# A visitor's page asks for four tables at once, and each takes milliseconds: eight visitors at the same moment.
MOST_WAITING = 32

Name = Literal[
    "hours", "coverage", "viewers", "games", "top-games", "places",
    "game", "game-days", "heatmap", "languages", "distribution", "lorenz", "channels",
    "search", "channel", "channel-days", "channel-hours", "channel-games", "channel-places", "sessions",
    "compared-games", "compared-channels",
]  # fmt: skip


def create_app(data_dir: Path, now: Callable[[], datetime] | None = None) -> FastAPI:
    """The app, to be mounted below any path.

    Args:
        data_dir: where the Parquet data sets are; it may be missing.
        now: stands in for the clock (tests): UTC, without a time zone.
    """
    # Without FastAPI's own pages, whose scripts are another host's.
    app = FastAPI(title="Twitch", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_with_headers)
    app.add_exception_handler(PageError, _told)
    app.add_exception_handler(LeftError, _left)
    app.add_exception_handler(RequestValidationError, _refused)
    for path, page in PAGES.items():
        app.add_api_route(path, _page(page))
    app.add_api_route("/static/plotly.min.js", _plotly)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.include_router(_data_routes(Data(Reader(data_dir), now or (lambda: datetime.now(UTC).replace(tzinfo=None)))))
    return app


def _page(template: str) -> Callable[[Request], Response]:
    def page(request: Request) -> Response:
        return TEMPLATES.TemplateResponse(request, template)

    return page


def _data_routes(data: Data) -> APIRouter:
    routes = APIRouter(prefix="/data")
    # Facts take long and much memory: one request at a time reads them, and holds up none that does not.
    line, line_for_facts = Line(MOST_WAITING), Line(MOST_WAITING)

    @routes.get("/status")
    async def status(request: Request) -> Response:
        return _json(await _in_turn(line, request, data.status))

    @routes.get("/spread")
    async def spread(request: Request, asked: Annotated[Asked, Depends()]) -> Response:
        about, tables = await _in_turn(line_for_facts, request, data.tables, SPREAD, asked, as_columns)
        return _json({**about, **tables})

    @routes.get("/{name}")
    async def table(
        request: Request,
        name: Name,
        asked: Annotated[Asked, Depends()],
        format: Literal["json", "csv", "parquet"] = "json",
    ) -> Response:
        use, media_type = FORMATS[format]
        in_line = line_for_facts if "fact_streams" in QUERIES[name].reads else line
        about, tables = await _in_turn(in_line, request, data.tables, (name,), asked, use)
        if format == "json":
            return _json({**about, **tables})
        of = {"game": f"-game-{asked.key}", "channel": f"-{asked.channel}"}.get(QUERIES[name].about or "", "")
        saved_as = f"twitch-{name}{of}-{about['start']}-{about['end']}.{format}"
        headers = {"Content-Disposition": f'attachment; filename="{saved_as}"', "Cache-Control": "no-store"}
        return Response(tables[name], media_type=media_type, headers=headers)

    return routes


async def _in_turn(line: Line, request: Request, work: Callable[..., T], *args: object) -> T:
    """What `work` returns, run in a thread of its own when the request's turn comes."""
    async with line.turn(request.receive):
        return await to_thread.run_sync(work, *args, limiter=CapacityLimiter(1))


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def _told(_: Request, error: Exception) -> Response:
    return _json({"detail": str(error)}, error.status if isinstance(error, PageError) else 500)


async def _left(_: Request, error: Exception) -> Response:
    return error.answer if isinstance(error, LeftError) else Response(status_code=500)


async def _refused(_: Request, error: Exception) -> Response:
    wrong = error.errors() if isinstance(error, RequestValidationError) else []
    return _json({"detail": "; ".join(f"{e['loc'][1]}: {e['msg']}" for e in wrong)}, 422)


def _json(content: object, status: int = 200) -> Response:
    # Not FastAPI's own, which fails where a number is not a number: here that is null.
    return Response(orjson.dumps(content), status, {"Cache-Control": "no-store"}, "application/json")


def _plotly(request: Request) -> Response:
    """plotly.js of the installed package, 4.8 MB, or 1.5 MB for who takes it compressed."""
    etag = f'"{version("plotly")}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=86400", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    is_gzipped = "gzip" in request.headers.get("accept-encoding", "")
    if is_gzipped:
        headers["Content-Encoding"] = "gzip"
    with _PLOTLY_LOCK:  # else each of many first requests compresses it
        return Response(_plotly_script(is_gzipped), media_type="text/javascript", headers=headers)


_PLOTLY_LOCK = threading.Lock()


@cache
def _plotly_script(is_gzipped: bool) -> bytes:
    spec = find_spec("plotly")  # finds the package without its code, which is slow to import
    if spec is None or spec.origin is None:
        raise PageError(500, "The package plotly is not installed: the page has no charts.")
    script = Path(spec.origin).with_name("package_data").joinpath("plotly.min.js").read_bytes()
    return gzip.compress(script, 6) if is_gzipped else script
