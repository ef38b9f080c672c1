"""Services of a supervisor in the background: heartbeats, recovery, measuring, old files.

``beat`` renews the lease, independently of everything else. ``tick`` takes a number of steps once
a second: it reads commands whose notification was lost, takes over from supervisors that died,
measures running jobs, and so on. The steps are independent. A failure is reported once. A slow step
(a disk, a file system walk) goes on while others begin. Adopted jobs have a loop of their own:
their exits come through a journal, not a pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from functools import partial

from ...domain.errors import StoreError, StoreGone
from ...domain.notices import Notice, NoticeKind
from ...runner import lease_clock
from ...runner.journal_reader import abandoned, sweep
from ...store.protocol import Store
from ...system.clocks import monotonic
from .. import reports
from ..commands import CommandReader
from ..context import Context
from ..dispatcher import Dispatcher
from ..executor import Executor
from ..heartbeat import Heartbeat
from ..recovery import Recovery
from ..resource_limits import ResourceLimits
from .hooks import HookService
from .lost_attempts import LostAttempts
from .orphans import Orphans
from .progress import ProgressReader
from .retention import Retention
from .sampling import Sampler
from .schedules import ScheduleTimer
from .wakeups import WakeUps

TICK = 1.0
STEP_PATIENCE = 1.0
"""Seconds the tick waits for one of its steps before it goes on to the next."""
HASTE = 10
"""A heartbeat that failed is tried again after the time between two by this."""
LOOK_AT_SHIMS_EVERY = 1.0
ADOPTED_POLL = 0.05
SAMPLE_EVERY = 2.0
"""Seconds between samples, and how long a job must have run to be worth one."""
LOWERED = "resource limits of this supervisor were lowered, by a job perhaps; "
SWEEP_PATIENCE = 5.0
"""Seconds a supervisor that leaves looks for files that nobody needs any more."""


class Services:
    """The background loops of a supervisor. Entered while they run, from when the store knows us.

    ``limits``: the resource limits that this process keeps."""

    def __init__(
        self,
        context: Context,
        *,
        heartbeat: Heartbeat,
        executor: Executor,
        dispatcher: Dispatcher,
        commands: CommandReader,
        recovery: Recovery,
        limits: ResourceLimits | None = None,
    ) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._executor = executor
        self._dispatcher = dispatcher
        self._command_reader = commands
        self._recovery = recovery
        self._limits = limits
        self._tasks: list[asyncio.Task[None]] = []
        self._steps: dict[str, asyncio.Task[None]] = {}
        self._troubles: dict[str, str] = {}
        self._progress = ProgressReader(context, executor)
        self._sampler = Sampler()
        self._sampled = 0.0
        self._retention = Retention(context.store, lambda: context.id)
        self._lost_attempts = LostAttempts(context, executor, dispatcher)
        self._orphans = Orphans(context.store)
        self._wake_ups = WakeUps(context, dispatcher)
        self._hooks = HookService(context)
        self._changed = True
        self._schedules = ScheduleTimer(context, dispatcher, heartbeat)

    async def __aenter__(self) -> Services:
        commands = self._command_reader.apply_all()
        watchers = (self._watch_adopted(), self._watch_shims(), self._schedules.watch())
        loops = (self._beat(), self._tick(), commands, *watchers)
        self._tasks = [self._context.background.start(loop) for loop in loops]
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._tasks, *self._steps.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _beat(self) -> None:
        heartbeat = self._heartbeat
        wait = heartbeat.every
        while True:
            # On a clock that goes on while the machine is suspended: a lease does, too.
            due = lease_clock() + wait
            await asyncio.sleep(min(wait, TICK))
            wait = due - lease_clock()
            if wait > 0:
                continue
            try:
                if heartbeat.registered:
                    await heartbeat.renew()
                wait = heartbeat.every
            except StoreError:
                wait = heartbeat.every / HASTE

    # -- the tick ---------------------------------------------------------------------

    async def _tick(self) -> None:
        store = self._context.store
        while True:
            await asyncio.sleep(TICK)
            self._dispatcher.look_if_due()
            self._schedules.look_if_due()
            if not self._heartbeat.registered:
                continue
            await self._take("look at the store", store.check)
            await self._take("read commands", self._read_commands)
            await self._wake_ups.look()
            await self._take("take jobs over", self._recovery.look)
            if self._recovery.files_left:
                await self._take("remove old files", self._sweep)
            await self._take("look for lost attempts", self._lost_attempts.look)
            await self._take("read progress", self._progress.look)
            await self._take("measure jobs", self._sample)
            await self._take("deliver to hooks", self._deliver)
            await self._take("forget old jobs", self._expire)
            await self._take("look for orphaned files", self._orphans.turn)
            await self._take("tidy the store", store.checkpoint)

    async def _take(self, what: str, step: Callable[[], Awaitable[object]]) -> None:
        """Take a step, unless it is being taken still; do not wait longer than is good."""
        await asyncio.wait({self._start(what, step)}, timeout=STEP_PATIENCE)

    def _start(self, what: str, step: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
        task = self._steps.get(what)
        if task is None or task.done():
            task = self._steps[what] = self._context.background.start(self._isolated(what, step))
        return task

    async def _isolated(self, what: str, step: Callable[[], Awaitable[object]]) -> None:
        """A step. The dispatcher reports trouble with the store."""
        try:
            await step()
        except StoreGone as error:
            self._dispatcher.store_gone(error)
            return
        except StoreError:
            return
        except OSError as error:  # a full disk, most likely: the next tick tries again
            trouble = f"cannot {what}: {error.strerror or error}; trying again"
            if trouble != self._troubles.get(what):
                self._troubles[what] = trouble
                self._context.tell(Notice(NoticeKind.TROUBLE, trouble))
            return
        self._troubles.pop(what, None)

    async def _read_commands(self) -> None:
        """A change whose notification was lost, or that nobody notifies us of."""
        if await self._context.store.changed():
            self._changed = True
            self._context.rescheduled.set()
            await self._command_reader.apply()
            self._context.look()

    def recover(self) -> asyncio.Task[None]:
        """Begin to take over from every supervisor that is gone."""
        return self._start("take jobs over", self._recovery.look)

    async def _deliver(self) -> None:
        changed, self._changed = self._changed, False
        settled = self._dispatcher.done + self._dispatcher.failed
        await self._hooks.look(changed=changed, settled=settled)

    def fire(self) -> asyncio.Task[None]:
        """Fire the schedules that are due now."""
        return self._start("fire schedules", self._schedules.fire)

    async def _expire(self) -> None:
        settings, now = self._context.settings, self._context.clock()
        await self._retention.turn(settings.keep_completed, now)
        await self._retention.forget_events(settings.keep_events, now)

    async def sweep(self) -> None:
        """Remove the files of supervisors and shims that nobody needs any more."""
        with contextlib.suppress(StoreError, OSError, TimeoutError):
            async with asyncio.timeout(SWEEP_PATIENCE):
                await self._sweep()

    async def _sweep(self) -> None:
        self._recovery.files_left = False
        found = await asyncio.to_thread(abandoned, self._context.run_directory)
        if found:
            used = await used_names(self._context.store)
            await asyncio.to_thread(sweep, found, used)
        await reports.sweep(self._context.store, self._context.run_directory)

    # -- running jobs -----------------------------------------------------------------

    async def _watch_adopted(self) -> None:
        while True:
            await asyncio.sleep(ADOPTED_POLL if self._recovery.adopted else TICK)
            await self._isolated("watch adopted jobs", self._recovery.watch)

    async def _watch_shims(self) -> None:
        """See to it that we and the shims can run. No trouble with the store or a disk delays the
        look at our own shims. The shims of adopted jobs are looked at in a thread, which may wait
        for one that a slow disk holds."""
        context = self._context
        while True:
            await asyncio.sleep(LOOK_AT_SHIMS_EVERY)
            self._keep_limits()
            urgent = context.stopping == "now"
            self._executor.shims.look(urgent=urgent)
            self._start("look at shims", partial(self._recovery.look_at_shims, urgent=urgent))

    def _keep_limits(self) -> None:
        """Undo what a job did to the limits of this process. If only root may do that, no more jobs
        are taken: we could not look after them."""
        if self._limits is None:
            return
        try:
            if self._limits.restore(os.getpid()):
                self._context.tell(Notice(NoticeKind.TROUBLE, LOWERED + "they are restored"))
        except OSError:
            self._limits = None
            self._context.tell(
                Notice(NoticeKind.TROUBLE, LOWERED + "stopping after the running jobs")
            )
            self._dispatcher.stop(now=False)

    async def _sample(self) -> None:
        context = self._context
        now = monotonic()
        if now - self._sampled < SAMPLE_EVERY:
            return
        self._sampled = now
        moment = lease_clock()
        jobs = {
            one.worker: one.pid
            for one in self._executor.attempts
            if one.pid and moment - (one.since or moment) >= SAMPLE_EVERY
        }
        if jobs:
            samples = await asyncio.to_thread(self._sampler.take, jobs)
            # A job that ended meanwhile: its figures are not those of the worker's next one.
            pids = {one.worker: one.pid for one in self._executor.attempts}
            await context.store.sample([one for one in samples if pids.get(one[0]) == one[1]])


async def used_names(store: Store) -> set[str]:
    """Whose files in the run directory are needed: supervisors', and shims' that have jobs."""
    used = {row.id for row in await store.supervisors()}
    return used | await store.shims()
