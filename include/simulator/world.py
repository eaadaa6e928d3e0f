"""The simulated world: who is live at a time, in which category, before how many viewers.

Everything follows from the seed and the time by hashing: no state is kept, and any instant can be asked for.
A slot is a sequence of sessions without a gap, each by one of the slot's users. So the number of live streams
never changes, and nobody is live twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from include.simulator import names

TICK = 60
"""Seconds for which the world stands still."""
MOST_STREAMS = 200_000
LATEST = 4_102_444_800
"""2100-01-01 as Unix time: until then stream ids have 12 digits."""

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Row = dict[str, Any]

_FIRST_STREAM_ID = 300_000_000_000
_USERS_PER_SLOT = 3
_USER_REACH = (1.0, 0.7, 0.45)
_HIGHEST_USER_ID = 1_426_250_762
_TOP_VIEWERS = 140_000
_LAST_VIEWERS = 0.9
_CATEGORY_EXPONENT = 1.05
_UNCATEGORISED = 0.01
_GAME_CHANGE_SECONDS = 5_400

FIRST_ROW_TITLE = "2025-08-01T20:00:00Z"
"""A reader that infers types from the first row takes `title` for a timestamp."""

SPECIAL_ROWS: tuple[Mapping[str, Any], ...] = (
    {"game_id": "", "game_name": "", "title": "", "viewer_count": 9_648},
    {"user_id": "testDocumentId2", "started_at": "1970-01-01T00:00:02Z", "viewer_count": 1_000},
    {"game_id": "512953", "game_name": ""},
    {"game_id": str(names.HIGHEST_GAME_ID), "game_name": "Ultimate Obscurity Simulator"},
    {"viewer_count": 0},
    {"type": ""},
    {"tags": None},
    {"tags": ["English", "Chill", "English"]},
    {"is_mature": True},
    {"user_name": "加藤純一"},
    {"user_name": "عبدالله"},
    {"user_name": "Trailing "},
    *({"title": title} for title in names.NASTY_TITLES),
    *({"language": language} for language in ("other", "zh-hk", "tl", "asl", "notavailable")),
)
"""Rows that are live at any time, in the slots from 0 on: the fields named here, the others as they come."""

_SALTS = np.arange(20, 25)[:, np.newaxis]


def mix(*parts: int | Ints | Hashes) -> Hashes:
    """Hashes numbers to 64 bits (splitmix64), element by element.

    Args:
        parts: integers or arrays that broadcast together; order counts.

    Returns:
        Hashes of the broadcast shape, one dimension at least.
    """
    state = np.zeros(1, np.uint64)
    for part in parts:
        state = state ^ np.asarray(part).astype(np.uint64)
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def mix_below(bound: int | Ints, *parts: int | Ints | Hashes) -> Ints:
    """Hashes numbers to integers from 0 to `bound` - 1, as `mix` does."""
    return (mix(*parts) % np.asarray(bound).astype(np.uint64)).astype(np.int64)


def _fraction(hashes: Hashes) -> npt.NDArray[np.float64]:
    return (hashes >> np.uint64(11)).astype(np.float64) / 2**53


@dataclass(frozen=True)
class LiveList:
    """The live streams of one tick, most viewers first. All arrays are int64, of shape (streams,).

    `user_id` is -1 for the one row whose id is no number, `game_id` is 0 without a category; `time` and
    `started_at` are Unix seconds. `game` is an index into `categories` (-1: none); `user` and `slot` are
    indices into the world.
    """

    time: int
    id: Ints
    user_id: Ints
    game_id: Ints
    viewer_count: Ints
    started_at: Ints
    slot: Ints
    user: Ints
    game: Ints
    seed: int
    categories: Sequence[tuple[int, str]]

    def __len__(self) -> int:
        return len(self.id)

    def rows(self, indices: Sequence[int] | slice | Ints, observation: int | None = None) -> list[Row]:
        """Renders rows as Helix would.

        Args:
            indices: positions in the list, 0 for the most watched stream.
            observation: seen again under the next number, a stream has slightly other viewers;
                None: the viewers of the tick.

        Returns:
            One dict a position, with every Helix field, in that order.

        Raises:
            IndexError: a position is outside the list.
        """
        places = np.arange(len(self))[indices]
        viewers = self.viewer_count[places]
        if observation is not None:
            # Three numbers in a row never give the same count twice.
            viewers = viewers + (self.id[places] + observation) % (3 + viewers // 50)
        user = self.user[places]
        draws = mix_below(2**62, self.seed, _SALTS, np.stack([user] * 4 + [self.id[places]])).T
        started = np.datetime_as_string(self.started_at[places].astype("datetime64[s]"), timezone="UTC")
        columns = (self.slot, self.id, user, self.user_id, self.game)
        cells = np.stack([column if column is user else column[places] for column in columns], axis=1)
        rows = list(map(self._row, cells.tolist(), draws.tolist(), viewers.tolist(), started.tolist()))
        for row, place in zip(rows, places.tolist(), strict=True):
            if place == 0:
                row["title"] = FIRST_ROW_TITLE
        return rows

    def _row(self, cells: list[int], draws: list[int], viewers: int, started_at: str) -> Row:
        slot, stream_id, user, user_id, game = cells
        name, language, tags, mature, title = draws
        login, user_name = names.login_and_name(user, name)
        game_id, game_name = self.categories[game] if game >= 0 else ("", "")
        row = {
            "id": str(stream_id),
            "user_id": str(user_id),
            "user_login": login,
            "user_name": user_name,
            "game_id": str(game_id),
            "game_name": game_name,
            "type": "live",
            "title": names.title(title),
            "viewer_count": viewers,
            "started_at": started_at,
            "language": names.LANGUAGES[language % len(names.LANGUAGES)],
            "thumbnail_url": f"https://static-cdn.jtvnw.net/previews-ttv/live_user_{login}-{{width}}x{{height}}.jpg",
            "tag_ids": [],
            "tags": names.tags(tags),
            "is_mature": mature % 20 == 0,
        }
        if slot < len(SPECIAL_ROWS):
            row.update(deepcopy(SPECIAL_ROWS[slot]))
        return row


class World:
    """All slots, users and categories of one seed.

    Args:
        streams: how many streams are live at any time, 0 to 200,000. The special rows need about 40.
        seed: from 0; another seed is another world.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, streams: int, seed: int = 0) -> None:
        if not 0 <= streams <= MOST_STREAMS:
            raise ValueError(f"streams={streams}: must be from 0 to {MOST_STREAMS:,}")
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed={seed}: must be from 0 to 2^63 - 1")
        self.streams = streams
        self.seed = seed
        self.categories = names.categories()
        self._game_ids = np.array([game_id for game_id, _ in self.categories])
        popularity = np.arange(1, len(self.categories) + 1) ** -_CATEGORY_EXPONENT
        self._game_share = np.cumsum(popularity) / popularity.sum()
        self._slots = np.arange(streams)
        # Half an hour to two days, five hours at the median.
        hours = np.exp(_fraction(mix(seed, 1, self._slots)) * 2 + _fraction(mix(seed, 2, self._slots)) * 2.5 - 0.7)
        self._session_seconds = (hours * 3600).astype(np.int64)
        self._phase = mix_below(self._session_seconds, seed, 3, self._slots)
        self._base_viewers = self._viewers_by_rank()
        # The newest four ticks: a chain that began in an earlier one still reads its own.
        self._live_at_tick = lru_cache(maxsize=4)(self._live)

    def at(self, time: datetime | float) -> LiveList:
        """The live streams of the tick that holds a time.

        Args:
            time: Unix seconds or an aware datetime, from 1970 to 2100.

        Returns:
            The list, shared between callers: do not write into its arrays.

        Raises:
            ValueError: the time is out of range, or a datetime without a timezone.
        """
        seconds = epoch_seconds(time)
        if not 0 <= seconds < LATEST:
            raise ValueError(f"time={time}: must be from 1970 to 2100")
        return self._live_at_tick(int(seconds) // TICK * TICK)

    def _viewers_by_rank(self) -> npt.NDArray[np.float64]:
        order = _fraction(mix(self.seed, 4, self._slots))
        special = min(len(SPECIAL_ROWS), self.streams)
        # Special rows are spread over the list; its first row is an ordinary one, and gets its own title.
        order[:special] = np.linspace(0.15, 1, special)
        order[-1:] = -1
        rank = np.empty(self.streams)
        rank[np.argsort(order)] = self._slots + 1
        exponent = np.log(_TOP_VIEWERS / _LAST_VIEWERS) / np.log(max(self.streams, 2))
        return np.asarray(_TOP_VIEWERS * rank**-exponent)

    def _live(self, time: int) -> LiveList:
        seed = self.seed
        session, age = np.divmod(time + self._phase, self._session_seconds)
        member = mix_below(_USERS_PER_SLOT, seed, 5, self._slots, session)
        user = self._slots * _USERS_PER_SLOT + member
        viewers = self._viewers(time, age, member)
        game = self._games(user, session, age)
        game_id = np.where(game < 0, 0, self._game_ids[game])
        user_id = self._user_ids(user)
        started_at = time - age
        numbers = {"viewer_count": viewers, "game_id": game_id, "user_id": user_id, "started_at": started_at}
        for slot, special in enumerate(SPECIAL_ROWS[: self.streams]):
            for name in numbers.keys() & special.keys():
                numbers[name][slot] = _number(special[name])
        order = np.argsort(-viewers, kind="stable")
        return LiveList(
            time=time,
            id=(_FIRST_STREAM_ID + session * MOST_STREAMS + self._slots)[order],
            user_id=user_id[order],
            game_id=game_id[order],
            viewer_count=viewers[order],
            started_at=started_at[order],
            slot=order,
            user=user[order],
            game=game[order],
            seed=seed,
            categories=self.categories,
        )

    def _viewers(self, time: int, age: Ints, member: Ints) -> Ints:
        period = 3_600 + mix_below(7_200, self.seed, 7, self._slots)
        wave = _fraction(mix(self.seed, 6, self._slots)) + time / period
        drift = 1 + 0.2 * np.sin(2 * np.pi * wave)
        # An audience gathers during the first ten minutes.
        gathered = np.minimum(1, 0.5 + age / 1_200)
        viewers: Ints = (self._base_viewers * np.array(_USER_REACH)[member] * drift * gathered).astype(np.int64)
        return viewers

    def _games(self, user: Ints, session: Ints, age: Ints) -> Ints:
        home = mix(self.seed, 8, user)
        part = mix(self.seed, 9, user, session, age // _GAME_CHANGE_SECONDS)
        elsewhere = mix(self.seed, 10, part)
        game: Ints = np.searchsorted(self._game_share, _fraction(np.where(part % 4 == 0, elsewhere, home)))
        game[_fraction(mix(self.seed, 11, part)) < _UNCATEGORISED] = -1
        return game

    def _user_ids(self, user: Ints) -> Ints:
        users = max(self.streams * _USERS_PER_SLOT, 1)
        step = _HIGHEST_USER_ID // users
        ids = user * step + mix_below(step, self.seed, 12, user)
        # Ids will pass 2^31 one day; those of some slots have.
        passed: Ints = np.where(user // _USERS_PER_SLOT % 50 == 7, 2**31, 0)
        return ids + passed


def epoch_seconds(time: datetime | float) -> float:
    """Unix seconds of a time.

    Raises:
        ValueError: a datetime without a timezone.
    """
    if not isinstance(time, datetime):
        return time
    if time.tzinfo is None:
        raise ValueError(f"{time} has no timezone: use an aware datetime, such as datetime.now(UTC)")
    return time.timestamp()


def _number(value: int | str) -> int:
    if isinstance(value, int):
        return value
    if value.isdigit():
        return int(value)
    if value.endswith("Z"):
        return int(datetime.fromisoformat(value).timestamp())
    return 0 if value == "" else -1
