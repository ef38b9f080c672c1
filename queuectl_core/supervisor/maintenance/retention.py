"""``keep-completed`` and ``keep-events``: forgetting completed jobs and events once they are old
enough, a little at a time.

One supervisor does it, the first by id of those that live; should two think they are the first,
each job is still forgotten once. Looking costs one read of an index a second, over nothing but
the attempts that grew old since the last look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ...domain.model import State
from ...operations.maintenance import forget, forget_events
from ...store.protocol import Store
from ...system.clocks import monotonic
from ...system.host import is_gone

BATCH = 100
"""Jobs forgotten in one transaction: a few milliseconds in which no job is claimed."""
SHARE = 0.2
"""Seconds of each second that may go into it, when there is much to forget."""
EVENTS_EVERY = 60.0
"""Seconds between looks for old events."""
FROM_THE_START = 600.0
"""Seconds between looks at everything: an attempt that was settled late is not overlooked."""


@dataclass(slots=True)
class Retention:
    """One supervisor's part in it. ``supervisor`` gives its id, which changes when it had lost its
    lease."""

    store: Store
    supervisor: Callable[[], str]
    _done_until: float = 0.0
    """Completed before this: seen, all of them."""
    _started: float = float("-inf")
    _events_at: float = float("-inf")
    """When to look for old events again."""

    async def turn(self, keep: float, now: float) -> None:
        """Forget jobs that completed more than ``keep`` seconds before ``now`` (0: none)."""
        if not keep or not await self._first(now):
            return
        began = monotonic()
        if began - self._started > FROM_THE_START:
            self._started, self._done_until = began, 0.0
        before = now - keep
        while monotonic() - began < SHARE:
            seqs = await self.store.expired(self._done_until, before, BATCH)
            if seqs:
                await forget(self.store, seqs, State.COMPLETED, before)
            if len(seqs) < BATCH:
                self._done_until = before
                return
            await asyncio.sleep(0)

    async def forget_events(self, keep: float, now: float) -> None:
        """Forget events from more than ``keep`` seconds before ``now`` (0: none)."""
        if monotonic() < self._events_at or not keep:
            return
        if not await self._first(now) or await forget_events(self.store, keep, now, SHARE):
            self._events_at = monotonic() + EVENTS_EVERY

    async def _first(self, now: float) -> bool:
        mono = monotonic()
        rows = await self.store.supervisors()
        host = self.store.host_identity()
        return self.supervisor() == min(
            (row.id for row in rows if not is_gone(row, now, mono, host)),
            default="",
        )
