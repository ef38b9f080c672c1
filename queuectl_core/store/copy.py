"""The Copying protocol: copying one store into another, of the same kind or not.

Values are copied as they are stored, by pages, in the order of their keys. The target has a mark
from the first moment to the last. While it has the mark, nobody else can open it and no workers can
register. So no job runs there that may still change, or run, in the source.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from ..domain.errors import Conflict
from ..domain.events import Event
from ..domain.hooks import Entry, Hook
from ..domain.model import Attempt, Dependency, Job, QueueSettings
from ..domain.rollup import Rollup
from ..domain.schedule import Schedule
from .hooks import to_entry, to_hook
from .rows import first_of, to_attempt, to_dependency, to_event, to_queue, to_schedule, value_of

T = TypeVar("T")

Piece = tuple[int, int, Rollup]
"""A rollup of one span of time, after the span's length and beginning in seconds."""


class AttemptRow(NamedTuple):
    """An attempt as a store keeps it."""

    seq: int
    attempt: Attempt
    made_dead: bool

    @property
    def key(self) -> tuple[int, int]:
        """The sort key."""
        return self.seq, self.attempt.number


class Tail(NamedTuple):
    """The stored end of an attempt's output."""

    seq: int
    number: int
    tail: bytes

    @property
    def key(self) -> tuple[int, int]:
        """The sort key."""
        return self.seq, self.number


class StoredText(NamedTuple):
    """The standard input or the result of a job."""

    seq: int
    text: bytes


class Queues(NamedTuple):
    """What a store keeps of its queues and hooks."""

    settings: Sequence[QueueSettings]
    starts: Sequence[tuple[str, float, int]]
    """(queue, time, number) of the last starts in queues with a rate."""
    hooks: Sequence[Hook] = ()
    entries: Sequence[tuple[str, float, Entry]] = ()
    """(hook, time, entry) of what waits for a digest."""
    marks: Sequence[tuple[str, int | None, int | None]] = ()
    """(kind, key of the job, key of the event) of what has happened and is not delivered yet."""
    schedules: Sequence[Schedule] = ()
    """With their next times, so that no time is fired that was fired before."""


@dataclass(frozen=True, slots=True)
class CopyBatch:
    """A part of a store that is copied into another."""

    jobs: Sequence[Job] = ()
    attempts: Sequence[AttemptRow] = ()
    tails: Sequence[Tail] = ()
    inputs: Sequence[StoredText] = ()
    results: Sequence[StoredText] = ()
    dependencies: Sequence[Dependency] = ()
    """Of the jobs of this batch."""
    events: Sequence[Event] = ()
    no_events: bool = False
    """Before anything is added, remove all events."""
    emptied: tuple[int, int] | None = None
    """Before anything is added, remove the jobs with seqs from the first to the second."""


class Copying(Protocol):
    """Made by :meth:`queuectl_core.store.protocol.Store.copying`. Each verb is one transaction."""

    @abstractmethod
    async def _rows(self, query: str, convert: Callable[[Any], T], **values: Any) -> list[T]:
        """As in :class:`~queuectl_core.store.protocol.Store`, without a time limit."""

    # -- of the source -------------------------------------------------------------------

    async def highest(self) -> int:
        """The highest seq ever given to a job; 0: none was."""
        [highest] = await self._rows("copy_highest", value_of)
        return int(highest)

    async def attempts(self, after: tuple[int, int], last: int, limit: int) -> list[AttemptRow]:
        """Up to ``limit`` ended attempts with keys (seq, number) above ``after``, of jobs with seqs
        up to ``last``."""

        def kept(row: Any) -> AttemptRow:
            return AttemptRow(row["job"], to_attempt(row), bool(row["made_dead"]))

        seq, number = after
        return await self._rows(
            "copy_attempts", kept, seq=seq, number=number, last=last, limit=limit
        )

    async def tails(self, after: tuple[int, int], last: int, limit: int) -> list[Tail]:
        """Up to ``limit`` tails, selected as in :meth:`attempts`. Each has up to 64 KiB."""
        seq, number = after
        return await self._rows(
            "copy_tails", lambda row: Tail(*row), seq=seq, number=number, last=last, limit=limit
        )

    async def inputs(self, after: int, last: int, limit: int) -> list[StoredText]:
        """Up to ``limit`` standard inputs of jobs with seqs above ``after`` and up to ``last``.
        Each has up to 1 MiB."""
        return await self._texts("copy_inputs", after, last, limit)

    async def results(self, after: int, last: int, limit: int) -> list[StoredText]:
        """The same for results. Each has up to 64 KiB."""
        return await self._texts("copy_results", after, last, limit)

    async def _texts(self, query: str, after: int, last: int, limit: int) -> list[StoredText]:
        return await self._rows(
            query, lambda row: StoredText(*row), after=after, last=last, limit=limit
        )

    async def pieces(self, now: float) -> list[Piece]:
        """The rollups of all attempts, one for each span. Attempts from before the store kept
        rollups are added up here."""

    async def dependencies(self, first: int, last: int) -> list[Dependency]:
        """What the jobs with seqs from ``first`` to ``last`` wait for, or waited for."""
        return await self._rows("copy_dependencies", to_dependency, first=first, last=last)

    async def queues(self) -> Queues:
        """The queues with settings, the recorded starts of queues with a rate, hooks and
        schedules."""

        def entry(row: Any) -> tuple[str, float, Entry]:
            return row["hook"], row["at"], to_entry(row)

        return Queues(
            await self._rows("queues", to_queue),
            await self._rows("copy_starts", tuple),
            await self._rows("hooks", to_hook),
            await self._rows("copy_entries", entry),
            await self._rows("copy_happened", tuple),
            await self._rows("schedules", to_schedule),
        )

    async def totals(self) -> tuple[int, int, int, int]:
        """How many attempts, tails, inputs and results there are. Reads all their keys."""
        [(attempts, tails, inputs, results)] = await self._rows("copy_totals", tuple)
        return attempts, tails, inputs, results

    async def events(self, after: int, limit: int) -> list[Event]:
        """Up to ``limit`` events with keys above ``after``, in order."""
        return await self._rows("copy_events", to_event, after=after, limit=limit)

    async def event_totals(self) -> tuple[int, int]:
        """How many events there are, and how many jobs bulk verbs changed. Reads all events."""
        [(count, jobs)] = await self._rows("copy_event_totals", tuple)
        return int(count), int(jobs)

    # -- of the target -------------------------------------------------------------------

    async def mark(self) -> str | None:
        """The mark; None if the store is complete."""
        return first_of(await self._rows("copy_mark", value_of))

    async def begin(self, mark: str, above: int) -> bool:
        """Mark a store without jobs, settings and statistics. False: it has some.

        If somebody who already had the store open enqueues meanwhile, the jobs get seqs above
        ``above``.
        """

    async def receive(self, batch: CopyBatch, old: str, new: str, now: float) -> None:
        """Write a batch, and change the mark from ``old`` to ``new``.

        Raises Conflict if the mark is not ``old``, or if an id is taken.
        """

    async def finish(
        self,
        mark: str,
        config: Mapping[str, str],
        pieces: Sequence[Piece],
        highest: int,
        queues: Queues,
    ) -> None:
        """Write configuration, queues, hooks and statistics, let new seqs start above ``highest``,
        and remove the mark.

        Raises Conflict if the mark is not ``mark``.
        """


def half_copied(url: str, mark: str) -> Conflict:
    """The error for opening a store that has a mark."""
    source = read_mark(mark).get("shown", "another store")
    return Conflict(
        f"store {url} is half a copy of {source}",
        "go on with: queuectl store copy, as it was begun; or remove it",
    )


def read_mark(mark: str) -> dict[str, Any]:
    """The content of a mark; empty if it is not ours."""
    try:
        found = json.loads(mark)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def lost_mark(url: str) -> Conflict:
    """The error for a batch when another process has begun to copy into the store."""
    return Conflict(f"somebody else is copying into store {url}", "let one of them finish")


def taken(url: str) -> Conflict:
    """The error for a batch with an id that somebody has used meanwhile."""
    return Conflict(
        f"an id that is being copied is taken in store {url}: somebody used it meanwhile",
        "remove that store and copy again",
    )
