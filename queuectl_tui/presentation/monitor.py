"""What a front end knows about the store as a whole, read again when it changes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from queuectl_core.domain.figures import DeadGroup, ThroughputSample
from queuectl_core.domain.model import Filter, Job, QueueSettings, State, Worker
from queuectl_core.operations.queries import (
    JobView,
    Throughput,
    check_store,
    dead_groups,
    paused_queues,
)

from .connections import Connections

HISTORY = 180
"""Seconds of throughput that are kept."""

AHEAD = 100
"""Jobs that are read before the first frame: enough for most screens and the first keys."""

GROUPS_EVERY = 5.0
"""Seconds between readings of the dead groups while the number of dead jobs stays the same."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole store at one moment."""

    counts: Mapping[State, int] = field(default_factory=dict)
    workers: Sequence[Worker] = ()
    groups: Sequence[DeadGroup] = ()
    ticks: Sequence[ThroughputSample] = ()
    oldest_due_at: float | None = None
    queues: Mapping[str, Mapping[State, int]] = field(default_factory=dict)
    """Counts of each queue."""
    unserved: Sequence[str] = ()
    """Queues with waiting jobs that no worker serves."""
    paused: Sequence[QueueSettings] = ()
    """Queues that somebody has paused; some of the pauses may have ended."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def matching(self, where: Filter) -> int | None:
        """How many jobs match ``where``; None when the counts by state do not tell."""
        if where == Filter(where.states):
            return sum(self.counts.get(state, 0) for state in where.states or tuple(State))
        return None

    @property
    def live_workers(self) -> Sequence[Worker]:
        return [worker for worker in self.workers if worker.state != "lost"]

    @property
    def prefetched(self) -> int:
        """Jobs in state processing that supervisors hold and no worker has started yet."""
        running = sum(worker.job is not None for worker in self.workers)
        return max(0, self.counts.get(State.PROCESSING, 0) - running)

    def rate(self, seconds: int = 10) -> tuple[float, float]:
        """(completed, failed) a second over the last ``seconds``."""
        recent = self.ticks[-seconds:]
        if not recent:
            return 0.0, 0.0
        return (
            sum(tick.completed for tick in recent) / len(recent),
            sum(tick.failed for tick in recent) / len(recent),
        )


class Monitor:
    """Reads overviews, each part as often as it may have changed."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.newest: Sequence[Job] = ()
        """The newest :data:`AHEAD` jobs, as :meth:`first` found them."""
        self.seen_at = 0.0
        """When the screen was last known to be up to date, by the queue's clock."""
        self._seen = 0.0
        self._throughput: Throughput | None = None
        self._dead: int | None = None
        self._groups_at = 0.0
        self._groups: list[DeadGroup] = []

    async def first(self) -> Overview:
        """Connect, and read the store for the first time. Raises StoreError."""
        await self.connections.connect(create=True)
        await self.connections.reader.changed()  # later changes are noticed
        # Textual is still being imported: with the jobs here, the first frame has them.
        self.newest = await JobView(self.connections.reader).first(AHEAD)
        overview = await self.overview()
        self.saw()
        return overview

    def saw(self) -> None:
        """Note that the screen is up to date now."""
        self.seen_at, self._seen = self.connections.clock(), time.monotonic()

    @property
    def unseen_for(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self._seen

    async def changed(self) -> bool:
        """Whether anything was committed since the last call. Raises StoreError when lost."""
        queue = self.connections.reader
        await check_store(queue)
        return await queue.changed()

    async def overview(self) -> Overview:
        queue = self.connections.reader
        if self._throughput is None or self._throughput.queue is not queue:
            self._throughput = Throughput(queue, HISTORY)
            self._dead = None
        status = await queue.status()
        dead = status.counts.get(State.DEAD, 0)
        if dead != self._dead or time.monotonic() - self._groups_at > GROUPS_EVERY:
            self._groups = await dead_groups(queue) if dead else []
            self._dead, self._groups_at = dead, time.monotonic()
        return Overview(
            counts=status.counts,
            workers=await queue.workers(),
            groups=self._groups,
            ticks=await self._throughput.read(),
            oldest_due_at=status.oldest_due_at,
            queues=status.queues,
            unserved=status.unserved(),
            paused=await paused_queues(queue),
        )

    async def moved_on(self, overview: Overview) -> Overview:
        """``overview`` a moment later, when no job has changed.

        What changes without a commit is read again: a supervisor may have died, a job may have
        become due, and a store on a server does not report changes of workers.
        """
        queue = self.connections.reader
        ticks = overview.ticks
        if self._throughput is not None and any(t.completed or t.failed for t in ticks):
            ticks = await self._throughput.read()
        return replace(
            overview,
            workers=await queue.workers(),
            oldest_due_at=await queue.oldest_due(),
            ticks=ticks,
        )
