"""Prefetch: claiming jobs ahead of time, so that a worker that comes free starts the next at once.

While jobs are short, a worker would spend as long on waiting for the commit that claims its next
job as on running it, and there would be a commit for every job. So a supervisor claims what its
workers will run in the next ``AHEAD`` seconds, and gives it to the shim. The shim starts the next
job when one ends, and tells of many at once. A prefetched job is ``processing`` in the store,
without a worker. If no worker comes free within ``PATIENCE``, the shim gives the jobs back, and
the store has them as they were, for another supervisor to take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from ..domain.claims import AttemptStarted, ClaimSlot
from .attempts import AttemptTable
from .workers import Slot

AHEAD = 0.05
"""Seconds of work to prefetch, at least. Jobs that take longer on average are not prefetched."""
TURNS = 10
"""Prefetch enough work to cover ten turns with the store. Where many supervisors wait for one
another's commits, each needs more work for one commit of its own."""
LONGEST = 0.5
"""Seconds of work to prefetch, at most."""
DEEPEST = 32
"""Jobs to prefetch for one worker, at most."""
PATIENCE = 0.1
"""Seconds in which one of the prefetched jobs must start; else all are given back. Also the time
after which the store is told which worker runs such a job, if it has not ended by then."""
WEIGHT = 0.1
"""Weight of the newest value in an average, after the first few, which all weigh the same."""


class Prefetch:
    """How many jobs to prefetch, and when to give them back.

    ``wake`` wakes the dispatcher. ``recall`` asks the shim for what it holds, and to use these
    workers no more.
    """

    def __init__(
        self,
        attempts: AttemptTable,
        wake: Callable[[], None],
        recall: Callable[[list[str]], None],
    ) -> None:
        self._attempts = attempts
        self._wake = wake
        self._recall = recall
        self.recalling = 0
        """Recalls that the shim has not answered."""
        self.overdue = False
        """The store should hear which workers run jobs, although none has ended."""
        self._average = 1.0
        """Seconds that an attempt takes."""
        self._runs = 0
        self._turn = 0.0
        """Seconds that a turn with the store takes."""
        self._moved = False
        self._timer: asyncio.TimerHandle | None = None

    def ran(self, seconds: float) -> None:
        """An attempt took this long."""
        self._runs += 1
        self._average += max(WEIGHT, 1 / self._runs) * (min(seconds, 1.0) - self._average)

    def took(self, seconds: float) -> None:
        """A turn with the store took this long."""
        self._turn += WEIGHT * (seconds - self._turn)

    def slots(self, workers: Iterable[Slot]) -> list[ClaimSlot]:
        """What to claim besides jobs for idle workers."""
        ahead = min(max(AHEAD, TURNS * self._turn), LONGEST)
        depth = min(int(ahead / max(self._average, 0.001)), DEEPEST)
        if self._attempts.returned or self.recalling or not depth:
            return []
        wanted = [slot.queues for slot in workers if slot.stop is None] * depth
        return [ClaimSlot("", queues) for queues in wanted[len(self._attempts.prefetched) :]]

    def holds(self, queues: str) -> bool:
        """Whether the shim may start a job on a worker of ``queues`` by itself."""
        return any(one.queues == queues for one in self._attempts.prefetched.values())

    def moved(self) -> None:
        """A job was prefetched, or one started of which the store must hear."""
        self._moved = True
        if self._timer is None:  # no timer is set for each single job
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._look)

    def give_back(self, workers: Iterable[str] = ()) -> None:
        """Have the shim give back what it holds, and start nothing by itself on these workers."""
        self._average = 1.0
        self.disarm()
        self.recalling += 1
        self._recall(list(workers))
        if self._attempts.unannounced:
            self.moved()

    def recalled(self) -> None:
        """The shim answered a recall."""
        self.recalling = max(0, self.recalling - 1)

    def shim_died(self) -> None:
        """The shim holds nothing any more, and answers no recall."""
        self.recalling = 0
        self.disarm()

    def unannounced(self, now: float) -> list[AttemptStarted]:
        """What the store should hear of attempts that run. It is not told of short ones: they end
        first."""
        return [
            AttemptStarted(one.job.seq, one.job.runs, one.worker, one.started_at)
            for one in self._attempts.unannounced.values()
            # A start in the future: somebody has set the clock back.
            if one.started_at is not None and not 0 <= now - one.started_at <= PATIENCE / 2
        ]

    def _look(self) -> None:
        self._timer = None
        attempts = self._attempts
        if attempts.prefetched and not self._moved:
            self.give_back()
        elif attempts.prefetched or attempts.unannounced:
            self.moved()
            self._moved = False
        if attempts.unannounced:
            self.overdue = True
            self._wake()

    def disarm(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
