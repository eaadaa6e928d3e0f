"""The Helix API over HTTP: the app token, what is retried, and which answer is a page of streams."""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
from dlt.common.jsonpath import compile_path
from dlt.sources.helpers.requests import Client
from dlt.sources.helpers.rest_client.client import PageData, RESTClient
from dlt.sources.helpers.rest_client.paginators import BasePaginator
from requests.auth import AuthBase
from requests.exceptions import ChunkedEncodingError, ContentDecodingError

from include.extract.errors import ExtractError, RefusedError
from include.settings import TwitchApi

logger = logging.getLogger(__name__)

RETRIED = (requests.ConnectionError, requests.Timeout, ChunkedEncodingError, ContentDecodingError)
DATA = compile_path("data")
"""Compiled once: dlt would compile a string anew for each page, which costs more than parsing the page."""
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Limits:
    """How long the extraction tries, waits and reads. Waits are in seconds."""

    page_size: int = 100
    """Streams asked for in one page; 100 is the most that Helix gives."""
    page_cap: int = 5_000
    """Pages after which a chain is taken for endless; 200,000 streams are 2,000 pages."""
    barren_pages: int = 10
    """Pages in a row without a new stream that end the list."""
    attempts: int = 6
    """Times that one request is sent before the snapshot fails."""
    backoff: float = 1.0
    """The first pause between attempts; each further one is twice as long."""
    rate_limit_wait: float = 90.0
    """The longest wait believed of `Ratelimit-Reset` (Twitch's bucket fills in 60 s)."""
    connect_timeout: float = 10.0
    read_timeout: float = 30.0


@dataclass
class Counts:
    """What the connection needed besides plain requests."""

    retries: int = 0
    token_renewals: int = 0
    rate_limit_waits: int = 0


class BadAnswer(requests.HTTPError):
    """An answer that the next attempt may better."""

    response: requests.Response


@dataclass
class Helix:
    """A client of `GET /streams`.

    Raises:
        ExtractError: a URL is none.
    """

    api: TwitchApi
    limits: Limits = field(default_factory=Limits)
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        check_url("TWITCH_API_URL", self.api.api_url)
        check_url("TWITCH_AUTH_URL", self.api.auth_url)
        self.session = Client(
            request_timeout=(self.limits.connect_timeout, self.limits.read_timeout),
            raise_for_status=False,
            # The predicate decides alone: dlt's own lists would answer before it and leave retries uncounted.
            status_codes=(),
            exceptions=(),
            retry_condition=self._is_transient,
            request_max_attempts=self.limits.attempts,
            request_backoff_factor=self.limits.backoff,
            request_max_retry_delay=self.limits.rate_limit_wait,
        ).session
        ask_environment_once(self.session, self.api.api_url, self.api.auth_url)

    def pages(self, paginator: BasePaginator) -> Iterator[PageData[Any]]:
        """Reads pages of live streams until the paginator ends the list.

        Raises:
            ExtractError: Helix is unreachable, refuses the request, or keeps answering with no page.
        """
        client = RESTClient(
            self.api.api_url,
            headers={"Client-Id": self.api.client_id},
            auth=AppToken(self),
            paginator=paginator,
            data_selector=DATA,
            session=self.session,
        )
        url = f"{public(self.api.api_url)}/streams"
        try:
            yield from client.paginate(
                "streams",
                params={"first": self.limits.page_size},
                paginator=paginator,
                hooks={"response": [self._check]},
                allow_redirects=False,
            )
        except BadAnswer as error:
            raise self.given_up(url, error) from error
        except requests.RequestException as error:
            raise unreachable(url, error, "TWITCH_API_URL") from error

    def given_up(self, url: str, error: BadAnswer) -> ExtractError:
        """The error for a request that was answered badly on every attempt."""
        return ExtractError(f"{url}: {error}, {self.limits.attempts} times in a row. Try again later.")

    def _is_transient(self, _: requests.Response | None, error: BaseException | None) -> bool:
        transient = isinstance(error, (BadAnswer, *RETRIED))
        if transient:
            self.counts.retries += 1
            logger.warning("request failed (%s)", reason(error))
        return transient

    def _check(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """A response hook: lets pages pass, and raises on everything else."""
        status = response.status_code
        if status == 200:
            # One parse, by the faster parser, for all who ask (dlt and the paginator).
            body = parse(response)
            response.json = lambda **_: body  # type: ignore[method-assign]
            return
        said = words(response)
        if status == 429:
            self._wait_for_reset(response)
        if status == 429 or status >= 500 or (status == 400 and "cursor" in said.lower()):
            # An invalid cursor is not the end of the list: the same one is often good again a moment later.
            raise BadAnswer(f"Helix answered {said}", response=response)
        if status == 401:
            raise RefusedError(
                f"{public(response.url)}: Helix answered {said}, and to a new token again. "
                "Check that CLIENT_ID and CLIENT_SECRET belong to one application that is still active."
            )
        raise RefusedError(f"{public(response.url)}: Helix answered {said}. Check CLIENT_ID and TWITCH_API_URL.")

    def _wait_for_reset(self, response: requests.Response) -> None:
        """Says in `Retry-After`, which dlt's back-off obeys, what Helix says in `Ratelimit-Reset`."""
        self.counts.rate_limit_waits += 1
        seconds = seconds_to_reset(response)
        if 0 < seconds <= self.limits.rate_limit_wait:
            response.headers["Retry-After"] = str(math.ceil(seconds))
            logger.info("rate limit reached: waiting %.0f s for Ratelimit-Reset", seconds)


class AppToken(AuthBase):
    """The app access token: asked for when first needed, and once more for each request that Helix answers 401."""

    def __init__(self, helix: Helix) -> None:
        self.helix = helix
        self.token: str | None = None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self.token = self.token or self._ask()
        request.headers["Authorization"] = f"Bearer {self.token}"
        request.register_hook("response", self._renew)  # type: ignore[no-untyped-call]
        return request

    def _renew(self, response: requests.Response, **kwargs: Any) -> requests.Response:
        if response.status_code != 401:
            return response
        logger.info("Helix answered %s: asking for a new token", words(response))
        self.helix.counts.token_renewals += 1
        self.token = self._ask()
        # Into the request itself, so that a later attempt of it carries the new token too.
        request = response.request
        request.headers["Authorization"] = f"Bearer {self.token}"
        # As HTTPDigestAuth does: the adapter runs no hooks, so a second 401 goes on to the caller.
        again: requests.Response = response.connection.send(request, **kwargs)
        return again

    def _ask(self) -> str:
        """Asks for a token.

        Raises:
            ExtractError: wrong credentials (in Twitch's words), no token in the answer, or no answer.
        """
        api, url = self.helix.api, public(self.helix.api.auth_url)
        try:
            response = self.helix.session.post(
                api.auth_url,
                # A form, not the query string: URLs end up in logs.
                data={
                    "client_id": api.client_id,
                    "client_secret": api.client_secret,
                    "grant_type": "client_credentials",
                },
                hooks={"response": self._check},
                # A redirect could carry the secret to another host.
                allow_redirects=False,
            )
        except BadAnswer as error:
            raise self.helix.given_up(url, error) from None
        except requests.RequestException as error:
            raise unreachable(url, error, "TWITCH_AUTH_URL") from None
        token: str = response.json()["access_token"]
        return token

    def _check(self, response: requests.Response, **_: Any) -> None:
        status = response.status_code
        if status == 429 or status >= 500:
            raise BadAnswer(f"Twitch answered {words(response)}", response=response)
        if status != 200:
            raise RefusedError(
                f"{public(self.helix.api.auth_url)}: Twitch gave no token: {words(response)}. "
                "Check CLIENT_ID and CLIENT_SECRET at https://dev.twitch.tv/console."
            )
        try:
            token = orjson.loads(response.content)["access_token"]
        except (ValueError, LookupError, TypeError):
            token = None
        if not isinstance(token, str) or not token:
            raise BadAnswer("Twitch answered 200 without an access_token", response=response)


def parse(response: requests.Response) -> dict[str, Any]:
    """The body of a page.

    Raises:
        BadAnswer: it is no JSON (cut, or an error page of something in between), or `data` is no list.
    """
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        # orjson refuses half a surrogate pair, which one broken title could hold: that alone is replaced.
        try:
            lenient = json.loads(response.content.decode("utf-8", "replace"))
            body = orjson.loads(LONE_SURROGATE.sub("\ufffd", json.dumps(lenient, ensure_ascii=False)))
        except (ValueError, RecursionError):
            raise BadAnswer("Helix answered 200 with JSON that does not parse", response=response) from None
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        raise BadAnswer('Helix answered 200 without a list in "data"', response=response)
    return body


def seconds_to_reset(response: requests.Response) -> float:
    """Seconds from the server's clock (`Date`; ours without it) to `Ratelimit-Reset`; 0 if it cannot be told."""
    try:
        now = parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        now = time.time()
    try:
        return float(response.headers["Ratelimit-Reset"]) - now
    except (KeyError, ValueError):
        return 0.0


def words(response: requests.Response) -> str:
    """Status and message of an error, as Twitch gave them, on one short line."""
    try:
        message = orjson.loads(response.content)["message"]
    except (ValueError, LookupError, TypeError):
        message = ""
    return " ".join(f"{response.status_code} {message or response.reason}".split())[:200]


def ask_environment_once(session: requests.Session, *urls: str) -> None:
    """Gives a session the proxies and certificates that the environment has for these hosts.

    It would go through all of the environment twice for each page, which takes as long as parsing the page. Nor does it
    look into a `.netrc` any more, whose password is none of Twitch's.
    """
    for url in urls:
        found = session.merge_environment_settings(url, {}, None, None, None)
        if proxy := requests.utils.select_proxy(url, found["proxies"]):
            session.proxies["{0.scheme}://{0.hostname}".format(urlsplit(url))] = proxy
        session.verify = found["verify"]
    session.trust_env = False


def check_url(variable: str, url: str) -> None:
    """Raises RefusedError unless it is a URL of http or https. The message leaves it out: it may hold a password."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise RefusedError(f"{variable} is no URL: it must look like https://host/path.")


def public(url: str) -> str:
    """The URL without credentials and query, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def reason(error: BaseException | None) -> str:
    """What lies at the bottom of a failed request: `Connection refused` rather than the layers around it."""
    while error and (below := error.__cause__ or error.__context__):
        error = below
    return " ".join(str(error).split())[:200]


def unreachable(url: str, error: requests.RequestException, variable: str) -> ExtractError:
    """The error for a request that got no answer; `variable` is what sets the URL."""
    return ExtractError(f"{url} cannot be reached: {reason(error)}. Check the network, a proxy, and {variable}.")
