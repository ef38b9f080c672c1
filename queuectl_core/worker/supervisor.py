"""The supervisor: hosts N workers in one process, from start to end.

It holds an identity (a lease in the store, a bell, a shim) and obeys orders. The pump moves the
work, the hands hold the attempts, upkeep looks after everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from ..clocks import monotonic
from ..config import settings
from ..errors import StoreError, StoreGone
from ..events import Event, Kind, Summary
from ..host import hostname
from ..store.base import Bell, Store
from .attempt import Why
from .beside import Beside
from .fence import Fence
from .hands import Hands, Slot
from .lease import BEATS, make_row, new_supervisor_id, renewed
from .notify import Signals, notify_systemd, without_notify
from .pump import RETRY_AFTER, Pump
from .reaper import Reaper
from .resource_limits import ResourceLimits
from .shim import lease_clock
from .takeover import Takeover
from .threads import default_threads
from .upkeep import Upkeep

LEAVE_PATIENCE = 5.0
"""Seconds a store may take to hear that we leave; it finds out by itself later."""
TAKEOVER_PATIENCE = 10.0
"""Seconds that jobs of dead supervisors may keep the first claim waiting."""


class Supervisor:
    """Runs jobs from ``store`` until it is stopped.

    ``on_event`` hears what happens. ``until_empty``: end when there is nothing left to do.
    ``until_idle``: end when nothing is due or runs here.
    ``program``: this process is ours alone. It keeps the resource limits that it began with, and
    reaps orphans where it is PID 1.
    ``clock`` and ``rand`` (0 to 1) can be replaced by tests.
    """

    def __init__(
        self,
        store: Store,
        env: Mapping[str, str],
        *,
        on_event: Callable[[Event], None] | None = None,
        until_empty: bool = False,
        until_idle: bool = False,
        detached: bool = False,
        program: bool = False,
        clock: Callable[[], float] | None = None,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.store = store
        self.clock = clock or store.clock
        self.slots: dict[str, Slot] = {}
        self.stopping: str | None = None
        """``drain`` or ``now`` once all workers were told to stop."""
        self.hands: Hands
        self.lost = False
        """Set when there is reason to think that the lease was lost."""
        self.gone: StoreGone | None = None
        """Why nothing more is claimed, when the store's file was removed or replaced."""
        self.cancels: frozenset[int] = frozenset()
        """seq of jobs of ours that somebody wants cancelled, as far as we know."""
        self.tell = on_event or (lambda event: None)
        self._env = env
        self._rand = rand
        self._detached = detached
        self._program = program
        self.pump = Pump(self, until_empty=until_empty, until_idle=until_idle)
        self.beside = Beside(self.pump.wake)
        self.takeover = Takeover(self)
        self.registered = False
        """The store knows us: there is a lease to renew."""
        self._bell: Bell | None = None
        self._told = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None
        self._numbered = 0
        self._orders_waiting = self._obeying = False

    # -- life -------------------------------------------------------------------------

    async def run(self, count: int, queues: tuple[str, ...]) -> Summary:
        """Start ``count`` workers for ``queues`` (none: all) and run until they are stopped."""
        began = time.monotonic()
        with (
            Signals(self.stop),  # from the first moment
            Reaper(needed=self._program),
            default_threads(program=self._program),
        ):
            self.hands = Hands(
                hostname(self._env),
                self.store.directory,
                settings(await self.store.config(), self._env),
                self._job_environment(),
                self.clock,
                self.tell,
                self.pump.wake,
                self.pump.free,
                self.pump,
                self.beside.run,
                self._rand,
            )
            self.hands.processes.start()
            upkeep = Upkeep(self, ResourceLimits() if self._program else None)
            try:
                await self._begin([queues] * count)
                async with upkeep:
                    await self._until_told(upkeep.recover(), TAKEOVER_PATIENCE)
                    # Adopted jobs have their workers: now there is an answer to who is up.
                    self.tell(Event(Kind.UP, ", ".join(self.slots)))
                    notify_systemd(self._env, "READY=1")
                    await self.pump.run()
            finally:
                await self._leave()
                if self.gone is None:
                    await upkeep.sweep()
        if self.gone is not None:
            raise self.gone
        return Summary(self.pump.done, self.pump.failed, time.monotonic() - began)

    def _job_environment(self) -> dict[str, str]:
        """What jobs get of our environment: a job that calls queuectl means this very store,
        wherever it is called and whatever ``--store`` said here. The password is not for jobs."""
        return {**without_notify(self._env), "QUEUECTL_STORE": self.store.url}

    async def _until_told(self, work: asyncio.Task[None], patience: float) -> None:
        """Wait for ``work`` for so many seconds, or until we are told to stop; it goes on."""
        if self.stopping is None:
            told = asyncio.create_task(self._told.wait())
            await asyncio.wait({work, told}, timeout=patience, return_when="FIRST_COMPLETED")
            told.cancel()

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the next signal. One that came since the last pause
        counts: the caller may not have seen it yet."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._told.wait(), seconds)
        self._told.clear()

    async def _begin(self, lanes: Sequence[tuple[str, ...]], *, patient: bool = False) -> None:
        """Take a new identity: a bell, a shim, a row in the store, a worker for each lane.

        ``patient``: wait for a store that cannot be reached, unless we are told to stop."""
        self.id = new_supervisor_id()
        self._numbered = 0
        self.lost = False
        self.slots = {slot.id: slot for slot in map(self.new_slot, lanes)}
        while True:
            try:
                await self._announce()
                return
            except (StoreError, OSError) as error:
                if not patient:
                    raise
                self.tell(Event(Kind.TROUBLE, f"{error}; trying again"))
            await self.pause(RETRY_AFTER)
            if self.stopping is not None:
                self.slots.clear()  # nobody has heard of them
                return

    async def _announce(self) -> None:
        """Make what is missing of an identity, and tell the store. May be repeated."""
        if self._bell is None:
            self._bell = self.store.bell(self.id)
            asyncio.get_running_loop().add_reader(self._bell.fileno(), self._rung)
        if not self.hands.is_open:
            await self.hands.open(self.id, fenced=self.store.shared_by_hosts)
        now, lease = self.clock(), self.hands.settings.lease
        host = (self.hands.host, self.store.here())  # after open: there is a directory now
        self._row = make_row(self.id, host, self._detached, lease, now)
        workers = [(slot.id, slot.queues) for slot in self.slots.values()]
        await self.store.register(self._row, workers, now)
        self.registered = True

    def new_slot(self, queues: tuple[str, ...], worker: str = "", stop: str | None = None) -> Slot:
        """A worker, called ``worker`` or the next number of this supervisor."""
        if not worker:
            self._numbered += 1
            worker = f"{self.id}-{self._numbered}"
        else:
            self.number(worker)
        return Slot(worker, queues, stop=stop or self.stopping)

    def number(self, worker: str) -> None:
        """There is a worker of this name: call no other so."""
        self._numbered = max(self._numbered, int(worker.rpartition("-")[2]))

    async def _leave(self) -> None:
        """Everything in hand has ended; or, after an error, is left to the next supervisor."""
        self.pump.close()
        self._close_bell()
        if not self.pump.finished or self.takeover.pending:
            self.hands.drop()
            return
        await self.hands.close()
        with contextlib.suppress(StoreError, TimeoutError):
            await asyncio.wait_for(self.store.deregister(self.id), LEAVE_PATIENCE)

    def _close_bell(self) -> None:
        bell, self._bell = self._bell, None
        if bell is not None:
            asyncio.get_running_loop().remove_reader(bell.fileno())
            with contextlib.suppress(OSError):
                bell.close()

    @property
    def deaf(self) -> str | None:
        """Why the store cannot wake us just now; None: it can."""
        return None if self._bell is None else self._bell.trouble

    @property
    def beat(self) -> float:
        """Seconds between heartbeats."""
        return self.hands.settings.lease / BEATS

    async def renew(self) -> None:
        """Send a heartbeat, and learn whether the lease was lost."""
        asked, lease = lease_clock(), self.hands.settings.lease
        row = self._row = renewed(self._row, lease, self.clock())
        known = await self.store.heartbeat(row)
        if row.id != self.id:
            return  # we have begun as somebody new meanwhile
        if not known:
            self.lost = True
            self.pump.wake()
        elif self.hands.fence is not None:
            self.hands.fence.extend(asked, lease)
            if self._telling is None or self._telling.done():
                self._telling = self.beside.run(self._tell_shims(self.hands.fence))

    async def _tell_shims(self, fence: Fence) -> None:
        """Until when their jobs may run. No slow disk may delay the next heartbeat."""
        await asyncio.to_thread(fence.write)

    async def leased(self) -> bool:
        """Make sure that what is claimed now may be started; False: the lease was lost."""
        if self.hands.fence is not None and self.hands.fence.passed:
            await self.renew()
        return not self.lost

    async def check(self) -> None:
        """What the pump asks before each turn: is the lease still ours? StoreError when nobody
        can say."""
        if self.lost and self.gone is not None:
            # Our jobs have another owner, and there is no store to ask: nothing is left to do.
            self.hands.drop()
            self.pump.reserve.clear()
            self.slots.clear()
        elif (self.lost or self.hands.revoked) and self.gone is None:
            # A refusal or a heartbeat made us think that somebody else has our jobs.
            self.lost = not (await self.store.orders(self.id)).known
            if self.lost:
                await self._start_over("the lease ran out (was this process stopped?)")
            elif self.hands.revoked:
                # Nobody has our jobs, but the journal says so (a host that crashed leaves NULs in
                # it). Our shim starts nothing more: somebody new takes over from us. On this host
                # that is possible at once; for other hosts the lease goes on.
                row = renewed(self._row, self.hands.settings.lease, self.clock())
                await self.store.heartbeat(row._replace(lease_mono=monotonic()))
                await self._start_over("the journal says that this supervisor is no more")

    @property
    def must_stay(self) -> bool:
        """Jobs of others that we took over are still being looked into."""
        if self.gone is not None:
            return False
        return self.takeover.pending and not self.takeover.stuck and self.stopping != "now"

    def store_gone(self, error: StoreGone) -> None:
        """The store's file is not there any more: take no more jobs, finish those that run, and
        end. What ended is still written to the file, which may have been moved only."""
        if self.gone is None:
            self.gone = error
            message = f"{error.message}; no more jobs are taken, those that run are finished"
            self.tell(Event(Kind.TROUBLE, message))
            self.stop(now=False)

    async def _start_over(self, why: str) -> None:
        """The lease was lost: leave every job to its new owner and begin as somebody new."""
        self.tell(Event(Kind.TROUBLE, f"{why}; starting over"))
        self.registered = False
        ending = self.beside.run(self._end_what_left())
        await self._until_told(ending, LEAVE_PATIENCE)
        ending.cancel()
        self.hands.drop()
        self.pump.reserve.clear()
        self.pump.shortage.forget()
        self._close_bell()
        lanes = [slot.queues for slot in self.slots.values() if slot.stop is None]
        self.slots = {}
        if lanes:
            await self._begin(lanes, patient=True)
        self.pump.look()

    async def _end_what_left(self) -> None:
        """End the jobs that another host has by now: here nobody will look after them. What
        cannot be found out is left to the fence."""
        if self.hands.fence is None:
            return
        here = self.store.here()
        ours = {row.id for row in await self.store.supervisors() if row.host_key == here}
        for running in list(self.hands.running.values()):
            job = await self.store.by_seq(running.job.seq)
            if job is None or job.runs != running.job.runs or job.owner not in ours:
                running.kill(signal.SIGKILL)
        await asyncio.sleep(0)  # the shim is told at the end of the loop's turn

    # -- orders -----------------------------------------------------------------------

    def _rung(self) -> None:
        bell = self._bell
        more = bell is not None and bell.clear()
        self.pump.look()
        if bell is not None and bell.stop is not None and self.stopping != "now":
            now, bell.stop = bell.stop, None
            if now or self.stopping is None:
                self.tell(Event(Kind.TROUBLE, "told to stop, while nothing can be written"))
                self.stop(now=now)
        if not more:
            return  # new jobs: nothing is asked of us
        self._orders_waiting = True
        if not self._obeying:
            self.beside.run(self._obey_all())

    async def _obey_all(self) -> None:
        """One reading of the orders serves all rings that came before it."""
        self._obeying = True
        try:
            while self._orders_waiting:
                self._orders_waiting = False
                await self.obey()
        finally:
            self._obeying = False

    async def obey(self) -> None:
        """Read what is asked of us, and do it. StoreError when it cannot be read."""
        orders = await self.store.orders(self.id)
        self.hands.settings = settings(await self.store.config(), self._env)
        if not orders.known:
            self.lost = True
            self.pump.wake()
            return
        self.cancels = orders.cancels
        fresh = [order for order in orders.workers if not order.up]
        for order in fresh:
            if order.id not in self.slots:
                self.slots[order.id] = self.new_slot(order.queues, order.id)
                self.hands.use(self.slots[order.id])
        if fresh:
            await self.store.workers_up([order.id for order in fresh])
        for order in orders.workers:
            slot = self.slots.get(order.id)
            if slot is not None and order.stop not in (None, slot.stop):
                slot.ask_to_stop(order.stop)
                self.pump.reserve.give_back([slot.id])
        for running in list(self.hands.running.values()):
            if running.job.seq in orders.cancels:
                running.terminate(Why.CANCEL)
        if any(job.seq in orders.cancels for _, job in self.pump.reserve.held.values()):
            self.pump.reserve.give_back()  # which cancels what is to be cancelled
        self.pump.wake()

    def stop(self, *, now: bool) -> None:
        """Stop all workers: after the jobs in hand, or (``now``) ending them. At any moment."""
        self.stopping = "now" if now or self.stopping == "now" else "drain"
        self._told.set()
        for slot in self.slots.values():
            slot.ask_to_stop(self.stopping)
        notify_systemd(self._env, "STOPPING=1")
        self.pump.wake()
        if not self.registered:
            return
        self.pump.reserve.give_back(self.slots)
        busy = len(self.hands.running)
        if busy:
            doing = "ending" if now else "waiting for"
            self.tell(Event(Kind.STOPPING, f"{doing} {busy} running job{'s' * (busy != 1)}"))
        self.beside.run(self.store.stop_workers(list(self.slots), now))
