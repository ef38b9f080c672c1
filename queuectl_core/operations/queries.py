"""Queries of a console: pages in both directions, counts, throughput, dead jobs by reason.

Each read is short, so that one connection is enough for a screen, whatever the number of jobs. A
page is read by key. A search that finds few jobs reads one range of keys after another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from ..domain.figures import DeadGroup, ThroughputSample
from ..domain.jobspec import parse_job
from ..domain.model import Command, Filter, Job, QueueSettings, State
from ..queue import Queue

RANGE = 20_000
"""Keys that one step of a search reads. It takes about 20 ms."""

SORT_LIMIT = 2_000
"""How many jobs are sorted by another column than arrival: the newest that match."""

LATE = 5.0
"""Seconds that may pass from the end of an attempt to its commit (group commit, a busy disk)."""


@dataclass(slots=True)
class JobView:
    """The jobs that match a filter, in the order of arrival, read from either end."""

    queue: Queue
    where: Filter = field(default_factory=Filter)
    oldest_first: bool = False

    async def first(self, limit: int) -> list[Job]:
        """The first page."""
        return await self._read(None, limit, up=self.oldest_first)

    async def last(self, limit: int) -> list[Job]:
        """The last page, in display order."""
        return (await self._read(None, limit, up=not self.oldest_first))[::-1]

    async def after(self, seq: int, limit: int, *, inclusive: bool = False) -> list[Job]:
        """Up to ``limit`` jobs that follow ``seq``."""
        start = seq if inclusive else seq + (1 if self.oldest_first else -1)
        return await self._read(start, limit, up=self.oldest_first)

    async def before(self, seq: int, limit: int) -> list[Job]:
        """Up to ``limit`` jobs that come just before ``seq``, in display order."""
        start = seq + (-1 if self.oldest_first else 1)
        return (await self._read(start, limit, up=not self.oldest_first))[::-1]

    async def _read(self, start: int | None, limit: int, *, up: bool) -> list[Job]:
        bounds = await self.queue.store.bounds()
        if bounds is None:
            return []
        low, high = bounds
        if start is not None:
            low, high = (max(low, start), high) if up else (low, min(high, start))
        found: list[Job] = []
        for floor, ceiling in ranges(low, high, up, RANGE if self.slow else high - low + 1):
            left = limit - len(found)
            found += await self.queue.scan(self.where, left, low=floor, high=ceiling, up=up)
            if len(found) >= limit:
                break
        return found

    async def extent(self) -> tuple[int, int]:
        """The lowest and the highest seq of all jobs, to show how far down a page is."""
        return await self.queue.store.bounds() or (0, 0)

    @property
    def slow(self) -> bool:
        """Whether a page may need many reads of jobs that do not match."""
        where = self.where
        # Dead jobs of one cause have an index, other jobs with a cause do not.
        indexed = len(where.reasons) == 1 and State.DEAD in (where.states or (State.DEAD,))
        by_text = where.search is not None or bool(where.exit_codes)
        by_lane = bool(where.queues) or bool(where.keys)
        return by_text or by_lane or (bool(where.reasons) and not indexed)

    async def counting(self) -> AsyncIterator[tuple[int, bool]]:
        """How many match: (so far, whether this is all). At once unless the filter is slow."""
        if not self.slow and not self.where.reasons:
            yield await self.queue.count_range(self.where), True
            return
        bounds = await self.queue.store.bounds()
        total = 0
        for floor, ceiling in ranges(*bounds, False, RANGE) if bounds else []:
            total += await self.queue.count_range(self.where, floor, ceiling)
            if floor > (bounds or (0, 0))[0]:
                yield total, False
        yield total, True

    async def sorted_by(self, column: str, *, descending: bool) -> list[Job]:
        """The newest :data:`SORT_LIMIT` matching jobs, sorted by a field of the job."""
        newest = JobView(self.queue, self.where)
        jobs = await newest.first(SORT_LIMIT)
        return sorted(jobs, key=lambda job: sort_key(job, column), reverse=descending)


def sort_key(job: Job, column: str) -> tuple[bool, str | float, int]:
    """Orders jobs by a field, those without a value lowest, ties by arrival."""
    value = getattr(job, column)
    if isinstance(value, State):
        value = list(State).index(value)
    if isinstance(value, tuple):
        value = " ".join(value)
    if value is None:
        return (False, 0.0, job.seq)
    return (True, value.lower() if isinstance(value, str) else float(value), job.seq)


def ranges(low: int, high: int, up: bool, size: int) -> list[tuple[int, int]]:
    """``low`` to ``high`` cut into (floor, ceiling) of ``size`` keys, in the order of reading."""
    if up:
        return [(at, min(high, at + size - 1)) for at in range(low, high + 1, max(size, 1))]
    return [(max(low, at - size + 1), at) for at in range(high, low - 1, -max(size, 1))]


@dataclass(slots=True)
class Throughput:
    """Attempts that ended in each of the last ``seconds``. Each call reads only new ones."""

    queue: Queue
    seconds: int
    _samples: dict[int, ThroughputSample] = field(default_factory=dict)
    _read_to: float = 0.0

    async def read(self) -> list[ThroughputSample]:
        """One sample for each second up to the one before now, oldest first."""
        now = self.queue.clock()
        first = int(now) - self.seconds
        since = max(float(first), self._read_to - LATE)
        fresh = await self.queue.store.throughput(float(int(since)))
        kept = {s: sample for s, sample in self._samples.items() if first <= s < int(since)}
        self._samples = kept | {sample.second: sample for sample in fresh}
        self._read_to = now
        return [self._samples.get(s) or ThroughputSample(s, 0, 0) for s in range(first, int(now))]


async def dead_groups(queue: Queue, limit: int = 500) -> list[DeadGroup]:
    """The dead jobs by reason, the largest group first."""
    return await queue.store.dead_groups(limit)


async def paused_queues(queue: Queue) -> list[QueueSettings]:
    """The queues that somebody has paused. Some of the pauses may have ended by themselves. Unlike
    :meth:`Queue.queues` this reads settings only, so that it can be asked often."""
    return [one for one in await queue.store.queues() if one.paused_at is not None]


async def amend(queue: Queue, job: Job, command: Command) -> Job:
    """Run ``job`` again with another command: a new attempt of the same job, with its history.

    InvalidInput if the command is not valid. Conflict if the job is waiting, running or gone.
    """
    spec, _ = parse_job({"command": command}, await queue.defaults())
    return await queue.store.amend(job, spec.command, queue.clock())


async def copy_job(queue: Queue, job: Job, command: Command) -> Job:
    """Enqueue a new job like ``job``, with another command, due now. It waits for no other job, and
    holds no unique value."""
    left_out = {
        *("id", "run_at", "unique", "unique_until", "unique_for", "hold"),
        *("after", "after_any", "after_failed", "on_parent_failure"),
    }
    [whole] = await queue.with_texts([job], results=False)
    source = whole.to_json(show_env=True) | {"command": command}
    source = {name: value for name, value in source.items() if name not in left_out}
    return (await queue.enqueue([source]))[0]


async def check_store(queue: Queue) -> None:
    """StoreUnreachable if the database file was deleted or replaced.

    An open file stays readable after its name is gone, so no other call fails.
    """
    await queue.store.check()


def group_filter(group: DeadGroup) -> Filter:
    """The jobs of a group."""
    return Filter(states=(State.DEAD,), reasons=(group.reason,))
