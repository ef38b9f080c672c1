"""Fires schedules: enqueues their runs when they are due.

Every supervisor does this, for all schedules, whatever queues its workers serve. There is no
leader: the store lets only one of them fire each nominal time. It sleeps until the earliest
schedule is due. A change of a schedule wakes it. It reads one row of an index then, however many
schedules there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Collection

from ...domain import cron  # noqa: F401 # loaded now: an upgrade may replace the files later
from ...domain.errors import StoreDamaged, StoreError, StoreGone
from ...domain.jobspec import Defaults
from ...domain.notices import Notice, NoticeKind
from ...operations.schedules import fire_due, next_due
from ..context import Context
from ..dispatcher import Dispatcher
from ..heartbeat import Heartbeat

LONGEST_SLEEP = 3600.0
TRY_AGAIN = 60.0
"""Seconds after which a schedule is tried again that cannot fire on this host."""
STORE_FAILED = 1.0
"""Seconds after which a store that failed is asked again."""
OTHERS_FIRE = 0.2
"""Seconds, at most, to wait for another supervisor that fires the same schedules."""


class ScheduleTimer:
    """One supervisor's part in it."""

    def __init__(self, context: Context, dispatcher: Dispatcher, heartbeat: Heartbeat) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._heartbeat = heartbeat
        self._due: float | None = None
        """When to look at the store again, by its clock; None: when we are woken."""
        self._told: set[str] = set()

    async def watch(self) -> None:
        """Fire what is due, for ever."""
        context = self._context
        while True:
            await self._sleep()
            context.rescheduled.clear()
            if context.stopping is not None or not self._heartbeat.registered:
                self._due = context.clock() + STORE_FAILED
                continue
            try:
                await self.fire()
            except StoreGone as error:
                self._dispatcher.store_gone(error)
            except StoreDamaged as error:  # a schedule perhaps, which the dispatcher does not read
                self._tell([f"no schedule fires: {error}"])
                self._due = context.clock() + TRY_AGAIN
            except StoreError:  # the dispatcher reports it
                self._due = context.clock() + STORE_FAILED

    def look_if_due(self) -> None:
        """The clock says that a schedule is due. It may have been set, or this host may have been
        suspended. To be called at every tick."""
        if self._due is not None and self._context.clock() >= self._due:
            self._context.rescheduled.set()

    async def _sleep(self) -> None:
        """Until we are woken, or something is due."""
        context = self._context
        left = LONGEST_SLEEP
        if self._due is not None:
            left = min(max(0.0, self._due - context.clock()), LONGEST_SLEEP)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await context.rescheduled.wait()

    async def fire(self) -> None:
        """Fire what is due now, and read when to look again. StoreError."""
        context = self._context
        due = await context.store.next_schedule(None)
        now = context.clock()
        if due is None or due > now:
            self._due = due
            return
        problems: dict[str, str] = {}
        defaults = Defaults(context.settings, "", now)
        done = await fire_due(context.store, now, defaults, problems.__setitem__)
        self._tell(problems.values())
        due = await next_due(context.store, now, problems)
        if not done and due is not None and due <= now:
            due = now + random.uniform(0.1, 1.0) * OTHERS_FIRE
        if problems:
            due = min(due or now + TRY_AGAIN, now + TRY_AGAIN)
        self._due = due

    def _tell(self, problems: Collection[str]) -> None:
        """Report these problems, each once while it lasts."""
        for problem in problems:
            if problem not in self._told:
                self._context.tell(Notice(NoticeKind.TROUBLE, problem))
        self._told = set(problems)
