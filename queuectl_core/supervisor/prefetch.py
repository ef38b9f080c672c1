"""Jobs claimed ahead of time, so that a worker whose job has ended starts the next at once.

While jobs are short, a worker would spend as long waiting for the commit that claims its next
job as it spends running it, and there would be a commit for every job. So a supervisor claims
ahead what its workers will run in the next ``AHEAD`` seconds and gives it to the shim, which
starts the next when one ends and tells of many at once. A reserved job is held (``processing``,
without a worker) but not started; if none of the workers comes free within ``PATIENCE`` it is
withdrawn from the shim and given back as it was, for somebody else to take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..domain.claims import ClaimSlot, PrefetchStarted
from ..domain.model import Job
from .attempt import token_of
from .attempts import Slot

AHEAD = 0.05
"""Seconds of work to hold, at least: no reserve for jobs that take longer, on average."""
TURNS = 10
"""Work for as many turns as long as they take of late: where many supervisors wait for one
another's commits, each should have more to do with one of its own."""
LONGEST = 0.5
"""Seconds of work to hold at the most."""
DEEPEST = 32
"""Jobs to hold for one worker at the most."""
PATIENCE = 0.1
"""Seconds in which a job that is held must start somewhere, or all are given back; and after
which the store is told who runs a held job, if it has not heard of its end by then."""
WEIGHT = 0.1
"""Of the newest run in the average, after the first few, which all weigh the same."""


@dataclass(slots=True)
class Prefetch:
    """The reserved jobs of a supervisor; ``wake`` wakes its pump, ``recall`` asks the shim for
    them (and to use these workers no more)."""

    wake: Callable[[], None]
    recall: Callable[[list[str]], None]
    held: dict[str, tuple[str, Job]] = field(default_factory=dict)
    """By token: the lane it is held for, and the job. The shim holds these at the most: it may
    have started some that we have not heard of."""
    released: list[Job] = field(default_factory=list)
    """Given back by the shim, and not yet in the store."""
    begun: dict[tuple[int, int], PrefetchStarted] = field(default_factory=dict)
    """Started out of the reserve: the store does not know by whom yet."""
    overdue: bool = False
    """The store should hear who runs what began a while ago, though nothing has ended."""
    recalling: int = 0
    """Withdrawals that have not been answered."""
    _average: float = 1.0
    _runs: int = 0
    _turn: float = 0.0
    _moved: bool = False
    _timer: asyncio.TimerHandle | None = None

    def ran(self, seconds: float) -> None:
        """An attempt took this long."""
        self._runs += 1
        self._average += max(WEIGHT, 1 / self._runs) * (min(seconds, 1.0) - self._average)

    def took(self, seconds: float) -> None:
        """A turn with the store took this long."""
        self._turn += WEIGHT * (seconds - self._turn)

    def openings(self, slots: Iterable[Slot]) -> list[ClaimSlot]:
        """What to claim beside jobs for idle workers."""
        ahead = min(max(AHEAD, TURNS * self._turn), LONGEST)
        depth = min(int(ahead / max(self._average, 0.001)), DEEPEST)
        if self.released or self.recalling or not depth:
            return []
        lanes = [slot.queues for slot in slots if slot.stop is None] * depth
        return [ClaimSlot("", queues) for queues in lanes[len(self.held) :]]

    def holds(self, lane: str) -> bool:
        """Whether the shim may start a job on a worker of ``lane`` without being told to."""
        return any(held == lane for held, _ in self.held.values())

    def put(self, job: Job, lane: str) -> None:
        """The shim is given a job to hold."""
        self.held[token_of(job)] = (lane, job)
        self._arm()

    def begin(self, token: str, worker: str, at: float) -> Job | None:
        """The shim started a held job; None when it is not known."""
        _, job = self.held.pop(token, ("", None))
        if job is not None:
            self.begun[job.seq, job.runs] = PrefetchStarted(job.seq, job.runs, worker, at)
            self._arm()
        return job

    def not_started(self, token: str) -> Job | None:
        """The shim could not start a held job, and holds it no more; None when it is not known."""
        _, job = self.held.pop(token, ("", None))
        return job

    def give_back(self, workers: Iterable[str] = ()) -> None:
        """Hold nothing any more, and have no held job start on these workers."""
        self._average = 1.0
        self.disarm()
        self.recalling += 1
        self.recall(list(workers))

    def recalled(self, tokens: Sequence[str]) -> None:
        """The shim answered: these were not started."""
        self.recalling = max(0, self.recalling - 1)
        found = (self.held.pop(token, None) for token in tokens)
        self.released += [job for _, job in filter(None, found)]
        self.wake()

    def orphans(self) -> list[Job]:
        """The shim is gone: what it held. Nothing is held any more."""
        jobs = [job for _, job in self.held.values()]
        self.held.clear()
        self.recalling = 0
        self.disarm()
        return jobs

    def untold(self, now: float) -> list[PrefetchStarted]:
        """What the store should hear: short jobs have ended before it is worth a word."""
        return [begun for begun in self.begun.values() if now - begun.started_at > PATIENCE / 2]

    def told(self, key: tuple[int, int]) -> None:
        """The store knows, or is being told, who runs this attempt."""
        self.begun.pop(key, None)

    def clear(self) -> None:
        """Forget everything: it has another owner."""
        self.orphans()
        self.released.clear()
        self.begun.clear()

    @property
    def empty(self) -> bool:
        """Nothing is held, or waits to be given back."""
        return not self.held and not self.released

    def _arm(self) -> None:
        """Look again in a while whether anything moves. No timer is set for each single job."""
        self._moved = True
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._look)

    def _look(self) -> None:
        self._timer = None
        if self.held and not self._moved:
            self.give_back()
        elif self.held or self.begun:
            self._arm()
            self._moved = False
        if self.begun:
            self.overdue = True
            self.wake()

    def disarm(self) -> None:
        """No timer goes off any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
