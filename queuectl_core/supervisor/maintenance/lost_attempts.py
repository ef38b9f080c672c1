"""Jobs the store says are ours and we know nothing of: put back.

That should not be. It is so when a server failed over to a replica that had not heard of our last
commits: a job whose end we wrote down is ``processing`` again, and nobody else may touch it while
we live. A job that is unknown at two looks, with nothing under way, has been forgotten. On SQLite
this is for faults of our own only.
"""

from __future__ import annotations

from ...domain.notices import Notice, NoticeKind
from ...system.clocks import monotonic
from ..attempt import token_of
from ..context import Context
from ..dispatcher import Dispatcher
from ..executor import Executor

EVERY = 10.0
"""Seconds between looks: each reads the jobs that the store says are ours."""
REASON = "the store has lost how it ended"


class LostAttempts:
    """The looks of one supervisor."""

    def __init__(self, context: Context, executor: Executor, dispatcher: Dispatcher) -> None:
        self._context = context
        self._executor = executor
        self._dispatcher = dispatcher
        self._looked = monotonic()
        self._unknown: set[str] = set()

    async def look(self) -> None:
        """Look if it is time to; to be called often. StoreError when the store cannot be read."""
        context = self._context
        if monotonic() - self._looked < EVERY:
            return
        self._looked = monotonic()
        owner = context.id
        ours = await context.store.held(owner)
        if self._dispatcher.in_turn:
            return  # jobs may have been claimed that are not in the table yet
        if owner != context.id:
            ours = []  # we have begun as somebody new
        unknown = {token_of(job): job for job in ours if self._executor.attempts.of(job) is None}
        for token in self._unknown & unknown.keys():
            job = unknown.pop(token)
            self._executor.never_started(self._executor.claim(job, inherited=True), REASON)
            context.tell(Notice(NoticeKind.RECOVERED, REASON, job=job))
        self._unknown = set(unknown)
