"""The supervisor: hosts N workers in one process, from start to end.

It takes an identity (a lease in the store, a notifier, a shim), and makes the parts that do the
rest. Each part knows only parts that stand before it in this list:

- ``context``: what all of them share.
- ``heartbeat``: renews the lease, and knows whether it was lost.
- ``executor``: takes each attempt from its claim to its result.
- ``dispatcher``: writes results to the store, claims jobs, and gives them to the shims.
- ``commands``: what somebody asks of the supervisor.
- ``recovery``: jobs of supervisors that are gone.
- ``maintenance``: services in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from ..domain.config import settings
from ..domain.errors import StoreError
from ..domain.notices import Notice, NoticeKind, Summary
from ..store.protocol import Store
from ..system.clocks import monotonic
from ..system.systemd import notify_systemd
from .attempt import ActiveAttempt
from .attempt_states import AttemptEvent, AttemptState
from .commands import CommandReader
from .context import Context
from .dispatcher import RETRY_AFTER, Dispatcher
from .executor import Executor
from .heartbeat import Heartbeat
from .lease import make_row, new_supervisor_id, renewed
from .maintenance.reaper import reaping
from .maintenance.services import Services
from .recovery import Recovery
from .resource_limits import ResourceLimits
from .signals import stop_on_signals
from .threads import default_threads

LEAVE_PATIENCE = 5.0
"""Seconds a store may take to hear that we leave; it finds out by itself later."""
TAKEOVER_PATIENCE = 10.0
"""Seconds that jobs of dead supervisors may keep the first claim waiting."""


class Supervisor:
    """Runs jobs from ``store`` until it is stopped.

    ``on_notice`` hears what happens. ``until_empty``: end when there is nothing left to do.
    ``until_idle``: end when nothing is due or runs here.
    ``program``: this process is ours alone. It keeps the resource limits that it began with, and
    reaps orphans where it is PID 1.
    ``trace``: ``on_notice`` also hears each change of an attempt's state.
    ``clock`` and ``rand`` (0 to 1) can be replaced by tests.
    """

    def __init__(
        self,
        store: Store,
        env: Mapping[str, str],
        *,
        on_notice: Callable[[Notice], None] | None = None,
        until_empty: bool = False,
        until_idle: bool = False,
        detached: bool = False,
        program: bool = False,
        trace: bool = False,
        clock: Callable[[], float] | None = None,
        rand: Callable[[], float] = random.random,
    ) -> None:
        tell = on_notice or (lambda notice: None)
        self.context = context = Context(store, env, clock or store.clock, tell, rand)
        self.heartbeat = heartbeat = Heartbeat(context)
        self.executor = executor = Executor(context)
        self.dispatcher = Dispatcher(
            context, heartbeat, executor, until_empty=until_empty, until_idle=until_idle
        )
        self.commands = CommandReader(context, heartbeat, executor)
        self.recovery = Recovery(context, heartbeat, executor, self.commands)
        if trace:
            executor.attempts.trace = self._trace
        self._detached = detached
        self._program = program

    def _trace(self, attempt: ActiveAttempt, event: AttemptEvent, before: AttemptState) -> None:
        text = f"attempt {attempt.job.runs}: {before.value} → {attempt.state.value} ({event.value})"
        self.context.tell(Notice(NoticeKind.ATTEMPT, text, job=attempt.job))

    # -- life -------------------------------------------------------------------------

    async def run(self, count: int, queues: tuple[str, ...]) -> Summary:
        """Start ``count`` workers for ``queues`` (none: all) and run until they are stopped."""
        began = time.monotonic()
        context = self.context
        with (
            stop_on_signals(self.stop),  # from the first moment
            reaping(needed=self._program),
            default_threads(program=self._program),
        ):
            context.settings = settings(await context.store.config(), context.env)
            self.executor.processes.start()
            services = Services(
                context,
                heartbeat=self.heartbeat,
                executor=self.executor,
                dispatcher=self.dispatcher,
                commands=self.commands,
                recovery=self.recovery,
                limits=ResourceLimits() if self._program else None,
            )
            try:
                await self._begin([queues] * count)
                async with services:
                    await self._until_told(services.recover(), TAKEOVER_PATIENCE)
                    # Before the first claim: workers that end when there is nothing to do must
                    # find what is due.
                    await self._until_told(services.fire(), TAKEOVER_PATIENCE)
                    # Adopted jobs have their workers: now there is an answer to who is up.
                    context.tell(Notice(NoticeKind.UP, ", ".join(context.slots)))
                    notify_systemd(context.env, "READY=1")
                    await self._work()
            finally:
                await self._leave()
                if context.gone is None:
                    await services.sweep()
        if context.gone is not None:
            raise context.gone
        return Summary(self.dispatcher.done, self.dispatcher.failed, time.monotonic() - began)

    def stop(self, *, now: bool) -> None:
        """Stop all workers: after the jobs in hand, or (``now``) ending them. At any moment."""
        self.dispatcher.stop(now=now)

    async def _work(self) -> None:
        """Work until no worker is left and everything is written down."""
        context, dispatcher = self.context, self.dispatcher
        while True:
            context.background.check()
            dispatcher.retire()
            if not context.slots and self.executor.finished and not self._must_stay:
                return
            try:
                await self._check()
            except StoreError as error:
                await dispatcher.trouble(error)
            else:
                await dispatcher.step()

    async def _until_told(self, work: asyncio.Task[None], patience: float) -> None:
        """Wait for ``work`` for so many seconds, or until we are told to stop; it goes on."""
        if self.context.stopping is None:
            told = asyncio.create_task(self.context.told.wait())
            await asyncio.wait({work, told}, timeout=patience, return_when="FIRST_COMPLETED")
            told.cancel()

    async def _begin(self, served: Sequence[tuple[str, ...]], *, patient: bool = False) -> None:
        """Take a new identity: a notifier, a shim, a row in the store, and workers for ``served``.

        ``patient``: wait for a store that cannot be reached, unless we are told to stop."""
        context = self.context
        context.become(new_supervisor_id(), served)
        self.heartbeat.lost = False
        while True:
            try:
                await self._announce()
                return
            except (StoreError, OSError) as error:
                if not patient:
                    raise
                context.tell(Notice(NoticeKind.TROUBLE, f"{error}; trying again"))
            await context.pause(RETRY_AFTER)
            if context.stopping is not None:
                context.slots.clear()  # nobody has heard of them
                return

    async def _announce(self) -> None:
        """Make what is missing of an identity, and tell the store. May be repeated."""
        context, shims = self.context, self.executor.shims
        if context.notifier is None:
            context.notifier = context.store.notifier(context.id)
            loop = asyncio.get_running_loop()
            loop.add_reader(context.notifier.fileno(), self.dispatcher.notified)
        if not shims.is_open:
            await self.executor.open()
        now = context.clock()
        host = (context.host, context.store.host_identity())  # after open: there is a directory now
        row = make_row(context.id, host, self._detached, context.settings.lease, now)
        self.heartbeat.row = row
        workers = [(slot.id, slot.queues) for slot in context.slots.values()]
        await context.store.register(row, workers, now)
        self.heartbeat.registered = True

    async def _leave(self) -> None:
        """Everything in hand has ended; or, after an error, is left to the next supervisor."""
        context = self.context
        self.dispatcher.close()
        self._close_notifier()
        if not self.executor.finished or self.recovery.pending:
            self.executor.drop()
            return
        await self.executor.shims.close()
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(LEAVE_PATIENCE):
                await context.store.deregister(context.id)

    def _close_notifier(self) -> None:
        notifier, self.context.notifier = self.context.notifier, None
        if notifier is not None:
            asyncio.get_running_loop().remove_reader(notifier.fileno())
            with contextlib.suppress(OSError):
                notifier.close()

    async def _check(self) -> None:
        """Before each turn of the dispatcher: is the lease still ours? StoreError when it cannot be
        asked."""
        context, heartbeat = self.context, self.heartbeat
        if heartbeat.lost and context.gone is not None:
            # Our jobs have another owner, and there is no store to ask: nothing is left to do.
            self.executor.drop()
            context.slots.clear()
        elif (heartbeat.lost or self.executor.revoked) and context.gone is None:
            # A refusal or a heartbeat made us think that somebody else has our jobs.
            heartbeat.lost = not (await context.store.commands(context.id)).known
            if heartbeat.lost:
                await self._start_over("the lease ran out (was this process stopped?)")
            elif self.executor.revoked:
                # Nobody has our jobs, but the journal says so (a host that crashed leaves NULs in
                # it). Our shim starts nothing more: somebody new takes over from us. On this host
                # that is possible at once; for other hosts the lease goes on.
                row = renewed(heartbeat.row, context.settings.lease, context.clock())
                await context.store.heartbeat(row._replace(lease_mono=monotonic()))
                await self._start_over("the journal says that this supervisor is no more")

    @property
    def _must_stay(self) -> bool:
        """Jobs of others that we took over are still being looked into."""
        context = self.context
        if context.gone is not None:
            return False
        return self.recovery.pending and not self.recovery.stuck and context.stopping != "now"

    async def _start_over(self, why: str) -> None:
        """The lease was lost: leave every job to its new owner and begin as somebody new."""
        context = self.context
        context.tell(Notice(NoticeKind.TROUBLE, f"{why}; starting over"))
        self.heartbeat.registered = False
        ending = context.background.start(self._end_what_left())
        await self._until_told(ending, LEAVE_PATIENCE)
        ending.cancel()
        self.executor.drop()
        self._close_notifier()
        served = [slot.queues for slot in context.slots.values() if slot.stop is None]
        context.slots = {}
        if served:
            await self._begin(served, patient=True)
        context.look()

    async def _end_what_left(self) -> None:
        """End the jobs that another host has by now: here nobody will look after them. What
        cannot be found out is left to the deadline."""
        context = self.context
        if context.deadline is None:
            return
        here = context.store.host_identity()
        ours = {row.id for row in await context.store.supervisors() if row.host_key == here}
        for attempt in self.executor.attempts:
            job = await context.store.by_seq(attempt.job.seq)
            if job is None or job.runs != attempt.job.runs or job.owner not in ours:
                attempt.kill(signal.SIGKILL)
        await asyncio.sleep(0)  # the shim is told at the end of the loop's turn
