"""Reading events: what people did, from the events, and what attempts did, from their records.

Both are in the order of their times. The newest come first, by pages. A page is read in spans of
time: all events and attempts of a span are read and merged. So a page may begin in the middle of a
moment, and no read grows with the table.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple

from ..domain.errors import InvalidInput, NotFound
from ..domain.events import OF_ATTEMPTS, Event, EventKind
from ..domain.model import Job, State
from ..domain.text import clean_line, nearest
from ..domain.times import parse_duration, parse_time
from ..store.protocol import EVENTS_AT_ONCE, Store

PAGE = 500
"""Events read at a time."""
SEARCHED = 5000
"""The same if only some kinds are wanted."""
OF_NAME = 5000
"""Events of a queue or schedule that are read, at most."""
MAX_HINT = 80
SLACK = 2.0
"""Seconds by which the clocks of supervisors and of the store may differ."""

Kinds = frozenset[EventKind]

_CURSOR = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)_([0-3])_(\d{1,19})_(\d{1,19})", re.ASCII)


def parse_kinds(words: Iterable[str]) -> Kinds | None:
    """Kinds of events by name. ``job.*`` or ``job`` means all that begin with ``job.``; ``dead``
    means ``job.dead``. Several may be in one word, with commas. None: none is given. InvalidInput
    names the most similar kind."""
    found: set[EventKind] = set()
    given = [part.strip().lower() for word in words for part in word.split(",")]
    for name in filter(None, given):
        prefix = name.removesuffix("*").removesuffix(".")
        wanted = {
            kind
            for kind in EventKind
            if kind.value in (name, f"job.{name}") or kind.value.startswith(f"{prefix}.")
        }
        if not wanted:
            groups = sorted({kind.partition(".")[0] for kind in EventKind})
            known = [*groups, *(kind.value for kind in EventKind)]
            hint = nearest(name, known)
            if len(hint) > MAX_HINT:  # nothing is similar
                hint = f"use one of {', '.join(groups)}, or such as job.dead"
            raise InvalidInput(f"unknown kind of event '{clean_line(name, 40)}'", hint)
        found |= wanted
    if not found and given:
        raise InvalidInput("the kind of event is empty", "give one such as job.dead, or job")
    return frozenset(found) or None


def parse_since(text: str, now: float) -> float:
    """The moment that ``--since`` names: ``1h`` ago, or a time as in ``run_at``. InvalidInput
    otherwise, and for a number without a unit."""
    word = text.strip()
    if re.fullmatch(r"[0-9.]{1,9}", word):
        raise InvalidInput(
            f"since: {clean_line(word, 20)} of what?", f"write {word}h (hours) or {word}m (minutes)"
        )
    try:
        return now - parse_duration(word)
    except InvalidInput:
        try:
            return parse_time(word, now)
        except InvalidInput as error:
            hint = "give 1d (ago), 09:30, or a date such as 2026-01-31"
            raise InvalidInput(f"since: {error.message}", hint) from None


class Page(NamedTuple):
    """Some events, the newest first."""

    events: list[Event]
    after: str | None
    """Where the next page begins; None: this is the last one."""


class _Place(NamedTuple):
    """A place in the order of all events: the time, then the key."""

    at: float
    key: tuple[int, int, int] = (3, 0, 0)


def _place(event: Event) -> _Place:
    return _Place(event.at, event.key)


def _cursor(place: _Place) -> str:
    at = f"{place.at:.9f}"
    return "_".join((at, *map(str, place.key)))


def _parse_cursor(text: str) -> _Place:
    found = _CURSOR.fullmatch(text)
    if found is None:
        shown = clean_line(text, 40)
        raise InvalidInput(f"after: '{shown}' is not from the answer before", "begin without it")
    at, *key = found.groups()
    first, second, third = map(int, key)
    return _Place(float(at), (first, second, third))


class EventView:
    """The events of a store, of some kinds, back to a moment."""

    def __init__(self, store: Store, kinds: Kinds | None = None, since: float | None = None):
        self._store = store
        self._kinds = kinds
        self._since = -math.inf if since is None else since
        wanted = frozenset(EventKind) if kinds is None else kinds
        self._ends = bool(wanted & (OF_ATTEMPTS - {EventKind.STARTED}))
        self._starts = EventKind.STARTED in wanted
        self._stored = bool(wanted - (OF_ATTEMPTS - {EventKind.CANCELLED}))

    async def page(self, limit: int, after: str | None = None, spans: int | None = None) -> Page:
        """The ``limit`` newest events, or those that follow ``after``. Reads at most ``spans``
        spans of time (None: until it is full), so it may have fewer although there are more."""
        place = _Place(math.inf) if after is None else _parse_cursor(after)
        found: list[Event] = []
        while len(found) <= limit:
            if spans is not None and spans <= 0:
                return Page(found, _cursor(_Place(_finite(place.at))))
            spans = None if spans is None else spans - 1
            events, low = await self._span(place, limit)
            found += events
            if low is None:
                break
            place = _Place(math.nextafter(low, -math.inf))
        if len(found) <= limit:
            return Page(found, None)
        return Page(found[:limit], _cursor(_place(found[limit - 1])))

    async def _span(self, place: _Place, limit: int) -> tuple[list[Event], float | None]:
        """The events of one span of time up to ``place``, which is left out, and where the span
        begins; None: there is nothing before it."""
        store, high = self._store, place.at
        count = min(max(limit + 1, 50), PAGE) if self._kinds is None else SEARCHED
        floors = []
        if self._stored:
            floors.append(await store.event_floor(high, count))
        if self._ends or self._starts:
            floors.append(await store.attempt_floor(high, count))
        low = max((floor for floor in floors if floor is not None), default=-math.inf)
        whole = low <= self._since
        low = max(low, self._since)
        events: list[Event] = []
        if self._stored:
            events += await store.events_between(low, high, self._kinds)
        if self._ends:
            events += await store.ends_between(low, high)
        if self._starts:
            events += await store.starts_between(low, high)
            running = await store.running_attempts()
            events += [one for one in running if low <= one.at <= high]
        events = [one for one in events if _place(one) < place and self.wants(one)]
        events.sort(key=_place, reverse=True)
        return events, None if whole else low

    def wants(self, event: Event) -> bool:
        """Whether this kind is wanted."""
        return self._kinds is None or event.kind in self._kinds

    async def pages(self, limit: int | None) -> AsyncIterator[list[Event]]:
        """All events (at most ``limit``), the newest first."""
        after: str | None = None
        left = limit
        while left is None or left > 0:
            page = await self.page(PAGE if left is None else min(PAGE, left), after)
            yield page.events
            left = None if left is None else left - len(page.events)
            if page.after is None:
                return
            after = page.after


def _finite(at: float) -> float:
    return at if math.isfinite(at) else 1e11


def page_of(
    events: Sequence[Event],
    limit: int,
    *,
    kinds: Kinds | None = None,
    since: float | None = None,
    after: str | None = None,
) -> Page:
    """A page of a list that is in memory, the newest first."""
    place = _Place(math.inf) if after is None else _parse_cursor(after)
    since = -math.inf if since is None else since
    found = [one for one in by_kind(events, kinds) if one.at >= since and _place(one) < place]
    more = len(found) > limit
    return Page(found[:limit], _cursor(_place(found[limit - 1])) if more else None)


async def of_job(store: Store, job: Job) -> list[Event]:
    """Everything about one job, the newest first: its events, the bulk enqueue that made it, its
    attempts, and that a parent caused its end or its hold."""
    events = await store.events_of(job.id, job.seq)
    bulk = await store.bulk_enqueue_of(job.seq)
    if bulk is not None:
        events.append(bulk)
    keys = [(job.seq, one.number) for one in await store.attempts(job.seq)]
    for start, end in await store.ended_attempts(math.inf, keys):
        events += [start, end]
    if job.state is State.PROCESSING:
        running = [one for one in await store.running_attempts() if one.job == job.seq]
        events += running
    if job.cause is not None:
        cancelled = job.state is State.CANCELLED
        at = job.finished_at if cancelled else job.held_at
        events.append(
            Event(
                EventKind.CANCELLED if cancelled else EventKind.HELD,
                job.updated_at if at is None else at,
                via="worker",
                job=job.seq,
                job_id=job.id,
                detail={"cause": job.cause},
            )
        )
    unique = {one.identity: one for one in events}
    return sorted(unique.values(), key=_place, reverse=True)


async def of_removed_job(store: Store, job_id: str) -> list[Event]:
    """What is known of jobs that had this id and were removed, the newest first. NotFound if
    nothing is."""
    events = await store.events_of(job_id, None)
    if not events:
        raise NotFound(f"no such job: '{clean_line(job_id, 60)}'", "see: queuectl list")
    for seq in dict.fromkeys(one.job for one in events if one.job is not None):
        bulk = await store.bulk_enqueue_of(seq)
        if bulk is not None:
            events.append(bulk)
    return sorted(events, key=_place, reverse=True)


async def is_name(store: Store, word: str) -> bool:
    """Whether a setting, queue, schedule or hook has this name. It may have no events."""
    from ..domain.config import KEYS

    if word in KEYS:
        return True
    if "\0" in word:
        return False
    names = {queue.name for queue in await store.queues()}
    names |= {hook.name for hook in await store.hooks()}
    names |= {queue for _, queue in await store.counts()}
    return word in names or bool(await store.schedules(word))


class Follower:
    """Gives each new event once, in the order of their times as far as they are known.

    Stored events are found by the store's order of commits. Attempts have no such order. So the
    attempts that run are read each time: an attempt that ends was among them, or was started since.
    """

    def __init__(self, store: Store, kinds: Kinds | None = None, job: Job | None = None) -> None:
        """``job``: only what is about this job."""
        self._store = store
        self._view = EventView(store, kinds)
        self._job = job
        self._cursor = ""
        self._behind = False
        self._horizon = 0.0
        self._running: set[tuple[int, int]] = set()
        self._started: set[tuple[int, int]] = set()
        self._ended: dict[tuple[int, int], float] = {}

    async def begin(self, cursor: str | None = None) -> None:
        """Everything up to now is known. ``cursor``: stored events go on from there."""
        _, now = await self._store.events_since(None)
        self._cursor = cursor or now
        await self._attempts(known=True)

    @property
    def cursor(self) -> str:
        """For :meth:`begin`: where the stored events go on."""
        return self._cursor

    @property
    def behind(self) -> bool:
        """Whether :meth:`more` should be called again at once, also if it gave nothing."""
        return self._behind

    async def more(self) -> list[Event]:
        """The events since the last call, the oldest first. Not all if there are very many: see
        :attr:`behind`."""
        events, self._cursor = await self._store.events_since(self._cursor)
        self._behind = len(events) >= EVENTS_AT_ONCE
        if not self._behind:
            events += await self._attempts(known=False)
        found = [one for one in events if self._view.wants(one) and self._is_about(one)]
        return sorted(found, key=_place)

    def _is_about(self, event: Event) -> bool:
        job = self._job
        if job is None or event.job == job.seq:
            return True
        return event.last_job is not None and (event.job or 0) <= job.seq <= event.last_job

    async def _attempts(self, *, known: bool) -> list[Event]:
        now = self._store.clock()
        running = {_attempt(one): one for one in await self._store.running_attempts()}
        # If the clock was set back, the horizon goes back too. Attempts that ended between the two
        # times were reported before.
        back = self._horizon > now + SLACK
        low = min(self._horizon or now, now) - SLACK
        gone = sorted(self._running - running.keys())
        pairs = await self._store.ended_attempts(low, gone)
        ended = {_attempt(end): (start, end) for start, end in pairs}
        if back:
            for key, (_, end) in ended.items():
                if key not in self._running and end.at > now:
                    self._started.add(key)
                    self._ended[key] = end.at
        fresh: list[Event] = []
        for key, start in running.items():
            if key not in self._started:
                fresh.append(start)
                self._started.add(key)
        for key, (start, end) in ended.items():
            if key in self._ended:
                continue
            if key not in self._started:
                fresh.append(start)
                self._started.add(key)
            fresh.append(end)
            self._ended[key] = end.at
        self._running = set(running)
        self._horizon = now
        keep = now - 2 * SLACK
        self._ended = {
            key: at for key, at in self._ended.items() if at > keep or key in self._running
        }
        self._started &= self._ended.keys() | self._running
        return [] if known else fresh


def _attempt(event: Event) -> tuple[int, int]:
    return event.job or 0, int(event.detail["attempt"])


def by_kind(events: Iterable[Event], kinds: Kinds | None) -> list[Event]:
    """Those of these kinds."""
    return [one for one in events if kinds is None or one.kind in kinds]
