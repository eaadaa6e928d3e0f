"""The Helix API over HTTP: the app token, what is retried, and whether its clock is ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import orjson
import tenacity
from urllib3 import Retry, Timeout
from urllib3.exceptions import HTTPError, InvalidHeader

from include.extract.endpoint import Answer, Endpoint, reason
from include.extract.errors import ExtractError, RefusedError
from include.extract.page import BadAnswer, Page, parse
from include.extract.paging import StreamPaginator
from include.settings import TwitchApi

logger = logging.getLogger(__name__)

CLOCK_WARNING = 300
CLOCK_ERROR = 3_600
"""Seconds between Helix's clock and ours from which on there is a warning, and no snapshot."""


@dataclass(frozen=True)
class Limits:
    """How long the extraction tries, waits and reads, and how much. Times are in seconds."""

    page_size: int = 100
    """Streams asked for in one page; 100 is the most that Helix gives."""
    barren_pages: int = 10
    """Pages in a row without a new stream that end the list."""
    attempts: int = 6
    """Times that one request is sent before the snapshot fails."""
    backoff: float = 1.0
    """The first pause between attempts; each further one is twice as long."""
    longest_wait: float = 90.0
    """The longest wait believed of `Ratelimit-Reset` (Twitch's bucket fills in 60 s) and of `Retry-After`."""
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    """The longest pause in an answer."""
    answer_timeout: float = 60.0
    """The longest time from a request to the last byte of its answer."""
    largest_answer: int = 16 * 2**20
    """Bytes, unpacked; a page has about 50,000."""


@dataclass
class Counts:
    """What the connection needed besides plain requests."""

    retries: int = 0
    token_renewals: int = 0
    rate_limit_waits: int = 0


@dataclass
class Helix:
    """A client of `GET /streams`.

    Raises:
        RefusedError: a URL, CLIENT_ID, a proxy, or the certificates are not what they must be.
    """

    api: TwitchApi
    limits: Limits = field(default_factory=Limits)
    counts: Counts = field(default_factory=Counts)
    warnings: list[str] = field(default_factory=list)
    """What a person should know of the API or of this machine, in sentences."""

    def __post_init__(self) -> None:
        if not fits_a_header(self.api.client_id):
            raise RefusedError("CLIENT_ID is none: it holds a character that is not plain text.")
        limits = self.limits
        timeout = Timeout(connect=limits.connect_timeout, read=limits.read_timeout)
        self.streams, self.tokens = (
            Endpoint(variable, url, timeout, limits.answer_timeout, limits.largest_answer)
            for variable, url in (
                ("TWITCH_API_URL", f"{self.api.api_url.rstrip('/')}/streams"),
                ("TWITCH_AUTH_URL", self.api.auth_url),
            )
        )
        self.has_compared_clocks = False
        self.token: str | None = None

    def pages(self, paginator: StreamPaginator) -> Iterator[list[Any]]:
        """Reads pages of live streams until the paginator ends the list; it learns of each before the page is given.

        Raises:
            ExtractError: Helix is unreachable, refuses the request, or keeps answering with no page; or this machine's
                clock is more than an hour off.
        """
        while not paginator.ended_by:
            page = self._page(paginator.cursor)
            paginator.add(page)
            yield page.rows

    def _page(self, after: str | None) -> Page:
        query = {"first": self.limits.page_size} | ({"after": after} if after else {})
        try:
            self.token = self.token or self._ask_token()
            return self._attempts()(self._ask_page, f"?{urlencode(query)}")
        except BadAnswer as error:
            raise self._given_up(self.streams, error) from error
        except HTTPError as error:
            raise unreachable(self.streams, error) from error

    def _ask_page(self, query: str) -> Page:
        """One attempt, with a new token if Helix does not take the old one."""
        answer = self._send(query)
        if answer.status == 401:
            logger.info("Helix answered %s: asking for a new token", words(answer))
            self.counts.token_renewals += 1
            self.token = self._ask_token()
            answer = self._send(query)
        if answer.status == 200:
            page = parse(answer.body)
            self._compare_clocks(answer.headers)
            return page
        said = words(answer)
        if answer.status == 429:
            self.counts.rate_limit_waits += 1
        if answer.status == 429 or answer.status >= 500 or (answer.status == 400 and "cursor" in said.lower()):
            # An invalid cursor is not the end of the list: the same one is often good again a moment later.
            raise BadAnswer(f"Helix answered {said}", self._wait_asked(answer))
        if answer.status == 401:
            raise RefusedError(
                f"{self.streams.url}: Helix answered {said}, and to a new token again. "
                "Check that CLIENT_ID and CLIENT_SECRET belong to one application that is still active."
            )
        raise RefusedError(f"{self.streams.url}: Helix answered {said}. Check CLIENT_ID and TWITCH_API_URL.")

    def _send(self, query: str) -> Answer:
        return self.streams.ask(
            "GET", {"Client-Id": self.api.client_id, "Authorization": f"Bearer {self.token}"}, query
        )

    def _compare_clocks(self, headers: Mapping[str, str]) -> None:
        """Compares this machine's clock with `Date` once, if there is one."""
        if self.has_compared_clocks or (theirs := date_of(headers)) is None:
            return
        self.has_compared_clocks = True
        ahead = time.time() - theirs
        if abs(ahead) <= CLOCK_WARNING:
            return
        said = f"This machine's clock is {abs(ahead) / 60:,.0f} minutes {'ahead of' if ahead > 0 else 'behind'} Helix's"
        if abs(ahead) > CLOCK_ERROR:
            raise ExtractError(
                f"{said}, and the snapshot would be filed under a wrong hour: it is not taken. Set the clock, "
                f"for instance by NTP. If it is right, check what answers at {self.streams.url}."
            )
        self.warnings.append(f"{said}: set the clock, since a snapshot is filed under its time.")

    def _ask_token(self) -> str:
        """Asks for an app access token.

        Raises:
            ExtractError: wrong credentials (in Twitch's words), no token in the answer, or no answer.
        """
        try:
            return self._attempts()(self._try_token)
        except BadAnswer as error:
            raise self._given_up(self.tokens, error) from None
        except HTTPError as error:
            raise unreachable(self.tokens, error) from None

    def _try_token(self) -> str:
        form = {
            "client_id": self.api.client_id,
            "client_secret": self.api.client_secret,
            "grant_type": "client_credentials",
        }
        # A form, not the query string: URLs end up in logs.
        answer = self.tokens.ask("POST", {"Content-Type": "application/x-www-form-urlencoded"}, body=urlencode(form))
        if answer.status == 429 or answer.status >= 500:
            raise BadAnswer(f"Twitch answered {words(answer)}", self._wait_asked(answer))
        if answer.status != 200:
            raise RefusedError(
                f"{self.tokens.url}: Twitch gave no token: {words(answer)}. "
                "Check CLIENT_ID and CLIENT_SECRET at https://dev.twitch.tv/console."
            )
        try:
            token = orjson.loads(answer.body)["access_token"]
        except (ValueError, LookupError, TypeError):
            token = None
        if not isinstance(token, str) or not token or not fits_a_header(token):
            raise BadAnswer("Twitch answered 200 without an access_token")
        return token

    def _wait_asked(self, answer: Answer) -> float:
        """Seconds to wait, as `Ratelimit-Reset` says, or `Retry-After`; 0 if what they say is not to be believed."""
        seconds = (answer.status == 429 and seconds_to_reset(answer.headers)) or retry_after(answer)
        if not 0 < seconds <= self.limits.longest_wait:
            return 0.0
        logger.info("waiting %.0f s, as the server asks", seconds)
        return seconds

    def _attempts(self) -> tenacity.Retrying:
        """New for each call: a token is asked for within an attempt to read a page."""
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((BadAnswer, HTTPError)),
            stop=tenacity.stop_after_attempt(self.limits.attempts),
            wait=self._pause,
            after=self._count,
            reraise=True,
        )

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds: what the server asks for, else `backoff`, and each time twice as long."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, BadAnswer) else 0.0
        return asked or min(self.limits.backoff * 2 ** (state.attempt_number - 1), self.limits.longest_wait)

    def _count(self, state: tenacity.RetryCallState) -> None:
        self.counts.retries += 1
        logger.warning("request failed (%s)", reason(state.outcome.exception() if state.outcome else None))

    def _given_up(self, asked: Endpoint, error: BadAnswer) -> ExtractError:
        """The error for a request that was answered badly on every attempt."""
        return ExtractError(f"{asked.url}: {error}, {self.limits.attempts} times in a row. {error.remedy}")


def date_of(headers: Mapping[str, str]) -> float | None:
    """The server's clock by `Date`, as Unix time; None if it does not say."""
    try:
        date = parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def seconds_to_reset(headers: Mapping[str, str]) -> float:
    """Seconds from the server's clock (`Date`; ours without it) to `Ratelimit-Reset`; 0 if it cannot be told."""
    now = date_of(headers)
    try:
        return float(headers["Ratelimit-Reset"]) - (time.time() if now is None else now)
    except (KeyError, ValueError):
        return 0.0


def retry_after(answer: Answer) -> float:
    """Seconds, by `Retry-After` as a number or a date; 0 if there is none."""
    try:
        return Retry().parse_retry_after(answer.headers["Retry-After"])
    except (KeyError, InvalidHeader):
        return 0.0


def words(answer: Answer) -> str:
    """Status and message of an error, as Twitch gave them, on one short line."""
    try:
        message = orjson.loads(answer.body)["message"]
    except (ValueError, LookupError, TypeError):
        message = ""
    return " ".join(f"{answer.status} {message or answer.reason}".split())[:200]


def fits_a_header(text: str) -> bool:
    """Whether a header may hold the text; else it would end in the message of an error."""
    return text.isascii() and text.isprintable()


def unreachable(asked: Endpoint, error: HTTPError) -> ExtractError:
    """The error for a request that got no answer."""
    return ExtractError(
        f"{asked.url} cannot be reached: {reason(error)}. Check the network, a proxy, and {asked.variable}."
    )
