"""Digests of hooks that are due, and events that no verb has delivered.

Each supervisor does it, and there is no leader: the store gives each digest to one of them. While
nothing changes and no digest is due, the store is not asked.
"""

from __future__ import annotations

from ...system.clocks import monotonic
from ..context import Context

FROM_TIME_TO_TIME = 10.0
"""Seconds after which the store is asked in any case."""


class HookService:
    """One supervisor's part in it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._due: float | None = None
        self._asked = float("-inf")
        self._settled = 0

    async def look(self, *, changed: bool, settled: int) -> None:
        """To be called at every tick. ``changed``: others have committed something. ``settled``:
        how many attempts this supervisor has settled."""
        now = self._context.clock()
        due = self._due is not None and now >= self._due
        waited = monotonic() - self._asked >= FROM_TIME_TO_TIME
        if not (changed or due or waited or settled != self._settled):
            return
        store = self._context.store
        self._asked, self._settled = monotonic(), settled
        marked, self._due = await store.hook_work()
        if not marked and (self._due is None or now < self._due):
            return
        while await store.deliver_hooks(now):
            pass
        self._due = now  # look again at the next tick
        self._context.look()
