"""The heartbeats of a supervisor, and what they say of its lease."""

from __future__ import annotations

import asyncio

from ..domain.model import SupervisorRow
from ..runner import lease_clock
from .context import Context
from .lease import BEATS, renewed


class Heartbeat:
    """Renews the lease of one supervisor, and knows whether it was lost."""

    row: SupervisorRow
    """As it was last sent to the store."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.registered = False
        """The store knows us: there is a lease to renew."""
        self.lost = False
        """Set when there is reason to think that the lease was lost."""
        self._telling: asyncio.Task[None] | None = None

    @property
    def every(self) -> float:
        """Seconds between heartbeats."""
        return self._context.settings.lease / BEATS

    async def renew(self) -> None:
        """Send a heartbeat, and learn whether the lease was lost."""
        context = self._context
        asked, lease = lease_clock(), context.settings.lease
        row = self.row = renewed(self.row, lease, context.clock())
        known = await context.store.heartbeat(row)
        if row.id != context.id:
            return  # we have begun as somebody new meanwhile
        if not known:
            self.lost = True
            context.wake()
        elif context.deadline is not None:
            context.deadline.extend(asked, lease)
            if self._telling is None or self._telling.done():
                # The shims are told until when jobs may run. No slow disk delays a heartbeat.
                telling = asyncio.to_thread(context.deadline.write)
                self._telling = context.background.start(telling)

    async def holds(self) -> bool:
        """Make sure that what is claimed now may be started; False: the lease was lost."""
        deadline = self._context.deadline
        if deadline is not None and deadline.passed:
            await self.renew()
        return not self.lost
