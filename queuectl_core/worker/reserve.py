"""Jobs claimed ahead of time, so that a worker whose job has ended starts the next at once.

While jobs are short, a worker would spend as long waiting for the commit that claims its next
job as it spends running it, and there would be a commit for every job. So a supervisor claims
ahead what its workers will run in the next ``AHEAD`` seconds. A reserved job is held
(``processing``, without a worker) but not started; if none of the workers comes free within
``PATIENCE`` it is given back as it was, for somebody else to take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from ..model import Begun, Job, Opening
from .hands import Slot

AHEAD = 0.025
"""Seconds of work to hold: no reserve for jobs that take longer, on average."""
DEEPEST = 8
"""Jobs to hold for one worker at the most: a commit for some thirty jobs is cheap enough."""
PATIENCE = 0.1
"""Seconds a reserved job may wait for a worker."""
WEIGHT = 0.1
"""Of the newest run in the average."""


@dataclass(slots=True)
class Reserve:
    """The reserved jobs of a supervisor; ``wake`` wakes its pump."""

    wake: Callable[[], None]
    held: list[Job] = field(default_factory=list)
    released: list[Job] = field(default_factory=list)
    """Given back, and not yet in the store."""
    begun: dict[tuple[int, int], Begun] = field(default_factory=dict)
    """Started out of the reserve: the store does not know by whom yet."""
    overdue: bool = False
    """Something waits to be told to the store though nothing has ended."""
    _average: float = 1.0
    _timer: asyncio.TimerHandle | None = None

    def ran(self, seconds: float) -> None:
        """An attempt took this long."""
        self._average += WEIGHT * (min(seconds, 1.0) - self._average)

    def openings(self, slots: Iterable[Slot]) -> list[Opening]:
        """What to claim beside jobs for idle workers."""
        depth = min(int(AHEAD / max(self._average, 0.001)), DEEPEST)
        if self.released or not depth:
            return []
        lanes = [slot.queues for slot in slots if slot.stop is None] * depth
        return [Opening("", queues) for queues in lanes[len(self.held) :]]

    def put(self, job: Job) -> None:
        """Hold a job that was claimed for no worker."""
        self.held.append(job)
        self._arm()

    def take(self, slot: Slot, now: float) -> Job | None:
        """The next job for an idle worker, begun ``now``; None when there is none for it."""
        for index, job in enumerate(self.held):
            if not slot.queues or job.queue in slot.queues:
                del self.held[index]
                self.begun[job.seq, job.runs] = Begun(job.seq, job.runs, slot.id, now)
                self._arm()
                return replace(job, worker=slot.id, started_at=now)
        return None

    def give_back(self) -> None:
        """Hold nothing any more; the pump tells the store."""
        self.released += self.held
        self.held.clear()
        self._average = 1.0
        self.overdue = bool(self.released or self.begun)
        if self.overdue:
            self.wake()

    def told(self, key: tuple[int, int]) -> None:
        """The store knows, or is being told, who runs this attempt."""
        self.begun.pop(key, None)

    def clear(self) -> None:
        """Forget everything: it has another owner."""
        self.held.clear()
        self.released.clear()
        self.begun.clear()
        self.disarm()

    @property
    def empty(self) -> bool:
        """Nothing is held, or waits to be given back."""
        return not self.held and not self.released

    def _arm(self) -> None:
        self.disarm()
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self.give_back)

    def disarm(self) -> None:
        """No timer goes off any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
