"""Jobs the store says are ours and we know nothing of: put back.

That should not be. It is so when a server failed over to a replica that had not heard of our last
commits: a job whose end we wrote down is ``processing`` again, and nobody else may touch it while
we live. A job that is unknown at two looks, with nothing under way, has been forgotten. On SQLite
this is for faults of our own only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..clocks import monotonic
from ..events import Event, Kind
from ..model import Job, Outcome
from .attempt import no_kill, token_of

if TYPE_CHECKING:
    from .supervisor import Supervisor

EVERY = 10.0
"""Seconds between looks: each reads the jobs that the store says are ours."""
REASON = "the store has lost how it ended"


class Forgotten:
    """The looks of one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self._looked = monotonic()
        self._suspects: set[str] = set()

    async def look(self) -> None:
        """Look if it is time to; to be called often. StoreError when the store cannot be read."""
        sup = self._sup
        if monotonic() - self._looked < EVERY:
            return
        self._looked = monotonic()
        ours = await self._ours()
        if sup.pump.in_turn:
            return  # jobs may have been claimed that we have not been told of yet
        unknown = {token_of(job): job for job in ours if not sup.pump.knows(job)}
        for token in self._suspects & unknown.keys():
            job = unknown.pop(token)
            running = sup.hands.take(job, job.worker or "", no_kill)
            sup.hands.settle(running, Outcome.INTERRUPTED, REASON, None)
            sup.tell(Event(Kind.RECOVERED, REASON, job=job))
        self._suspects = set(unknown)

    async def _ours(self) -> list[Job]:
        owner = self._sup.id
        found = await self._sup.store.held(owner)
        return found if owner == self._sup.id else []  # we may have begun as somebody new
