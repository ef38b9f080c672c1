"""The supervisor: hosts N workers in one process and keeps them busy.

One task, the pump, talks to the store about work: it hands in the attempts that ended and
claims jobs for idle workers, both in one commit. While a commit is under way more attempts
end, and the next commit takes them all: that is the group commit. Everything else (the shim's
events, the bell, timers, signals) only leaves something for the pump and wakes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence

from ..config import settings
from ..errors import StoreError
from ..events import Event, Kind, Summary
from ..model import Ending, Opening, Outcome, State
from ..store.base import Store
from .attempt import Why
from .beside import Beside
from .hands import Hands, Slot
from .lease import BEATS, make_row, new_supervisor_id, renewed
from .notify import Signals, notify_systemd, without_notify
from .upkeep import Upkeep

RETRY_AFTER = 0.5
"""Seconds until a store that failed is asked again; doubles up to ``RETRY_AT_MOST``."""
RETRY_AT_MOST = 5.0


class Supervisor:
    """Runs jobs from ``store`` until it is stopped.

    ``on_event`` hears what happens. ``until_empty``: end when there is nothing left to do.
    ``clock`` and ``rand`` (0 to 1) can be replaced by tests.
    """

    def __init__(
        self,
        store: Store,
        env: Mapping[str, str],
        *,
        on_event: Callable[[Event], None] | None = None,
        until_empty: bool = False,
        detached: bool = False,
        clock: Callable[[], float] = time.time,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.store = store
        self.clock = clock
        self.slots: dict[str, Slot] = {}
        self.hands: Hands
        self.lost = False
        """Set when there is reason to think that the lease was lost."""
        self.tell = on_event or (lambda event: None)
        self._env = env
        self._rand = rand
        self._until_empty = until_empty
        self._detached = detached
        self._wake = asyncio.Event()
        self._look = True  # there may be something to claim
        self._due: asyncio.TimerHandle | None = None
        self.beside = Beside(self._wake.set)
        self._numbered = 0
        self._done = self._failed = 0
        self._troubled = ""
        self._delay = RETRY_AFTER
        self._orders_waiting = self._obeying = False

    # -- life -------------------------------------------------------------------------

    async def run(self, count: int, queues: tuple[str, ...]) -> Summary:
        """Start ``count`` workers for ``queues`` (none: all) and run until they are stopped."""
        began = time.monotonic()
        self.hands = Hands(
            self.store.directory,
            settings(await self.store.config(), self._env),
            without_notify(self._env),
            self.clock,
            self.tell,
            self._wake.set,
            self.beside.run,
            self._rand,
        )
        await self._begin([queues] * count)
        upkeep = Upkeep(self)
        with Signals(self.stop):
            try:
                await upkeep.recover()
                async with upkeep:
                    self.tell(Event(Kind.UP, ", ".join(self.slots)))
                    notify_systemd(self._env, "READY=1")
                    while self.slots:
                        await self._turn()
            finally:
                await self._leave()
                with contextlib.suppress(StoreError):
                    await upkeep.sweep()
        return Summary(self._done, self._failed, time.monotonic() - began)

    async def _begin(self, lanes: Sequence[tuple[str, ...]]) -> None:
        """Take a new identity: a bell, a shim, a row in the store, a worker for each lane."""
        self.id = new_supervisor_id()
        self._numbered = 0
        self.lost = False
        self.slots = {slot.id: slot for slot in map(self.new_slot, lanes)}
        self._bell = self.store.bell(self.id)
        asyncio.get_running_loop().add_reader(self._bell.fileno(), self._rung)
        await self.hands.open(self.id)
        now = self.clock()
        self._row = make_row(self.id, self._detached, self.hands.settings.lease, now)
        workers = [(slot.id, slot.queues) for slot in self.slots.values()]
        await self.store.register(self._row, workers, now)

    def new_slot(self, queues: tuple[str, ...], worker: str = "", stop: str | None = None) -> Slot:
        """A worker, called ``worker`` or the next number of this supervisor."""
        if not worker:
            self._numbered += 1
            worker = f"{self.id}-{self._numbered}"
        else:
            self._numbered = max(self._numbered, int(worker.rpartition("-")[2]))
        return Slot(worker, queues, stop=stop)

    async def _leave(self) -> None:
        """Everything in hand has ended; or, after an error, is left to the next supervisor."""
        if self._due is not None:
            self._due.cancel()
        self._close_bell()
        if not self.hands.empty:
            self.hands.drop()
            return
        await self.hands.close()
        with contextlib.suppress(StoreError):
            await self.store.deregister(self.id)

    def _close_bell(self) -> None:
        asyncio.get_running_loop().remove_reader(self._bell.fileno())
        self._bell.close()

    @property
    def beat(self) -> float:
        """Seconds between heartbeats."""
        return self.hands.settings.lease / BEATS

    async def renew(self) -> None:
        """Send a heartbeat, and learn whether the lease was lost."""
        self._row = renewed(self._row, self.hands.settings.lease, self.clock())
        if not await self.store.heartbeat(self._row):
            self.lost = True
            self._wake.set()

    async def _start_over(self) -> None:
        """The lease was lost: leave every job to its new owner and begin as somebody new."""
        self.tell(
            Event(Kind.TROUBLE, "the lease ran out (was this process stopped?); starting over")
        )
        self.hands.drop()
        self._close_bell()
        lanes = [slot.queues for slot in self.slots.values() if slot.stop is None]
        await self._begin(lanes)
        self._look = True

    async def _is_lost(self) -> bool:
        """Whether somebody else has our jobs, as a refusal or a heartbeat made us think."""
        try:
            self.lost = not (await self.store.orders(self.id)).known
        except StoreError:
            return False
        return self.lost

    # -- the pump ---------------------------------------------------------------------

    async def _turn(self) -> None:
        """One round: settle what ended, claim for who is idle, or sleep until woken."""
        self.beside.check()
        if (self.lost or self.hands.revoked) and await self._is_lost():
            await self._start_over()
        self._retire()
        idle = (s for s in self.slots.values() if s.running is None and s.stop is None)
        openings = [Opening(slot.id, slot.queues) for slot in idle]
        if not self.hands.endings and not (self._look and openings):
            if self.slots:
                await self._wake.wait()
                self._wake.clear()
            return
        self._wake.clear()
        self._look = False
        endings, self.hands.endings = self.hands.endings, []
        try:
            turn = await self.store.exchange(self.id, endings, openings, self.clock())
        except StoreError as error:
            self.hands.endings = endings + self.hands.endings
            await self._trouble(error)
            return
        self._untroubled()
        for ending in endings:
            self._settled(ending, refused=(ending.seq, ending.run) in turn.refused)
        for job in turn.claimed:
            self.hands.launch(job, self.slots[job.worker or ""])
        self.lost = self.lost or bool(turn.refused)
        if len(turn.claimed) == len(openings):
            self._look = True  # there may be more than we had workers for
        else:
            self._wake_when_due(turn.next_due)
            if self._until_empty and not turn.claimed and await self._empty():
                for slot in self.slots.values():
                    slot.ask_to_stop("drain")

    def _settled(self, ending: Ending, *, refused: bool) -> None:
        """The store has (or has refused) an ending: its worker is free."""
        running = self.hands.running.pop(f"{ending.seq}.{ending.run}", None)
        if running is None:
            return
        slot = self.slots.get(running.worker)
        if slot is not None and slot.running is running:
            slot.running = None
        self._look = True
        if refused:
            return
        if ending.attempt.outcome is Outcome.COMPLETED:
            self._done += 1
        elif ending.attempt.outcome in (Outcome.FAILED, Outcome.TIMEOUT, Outcome.CRASHED):
            self._failed += 1
        after = ending.transition
        self.tell(
            Event(
                Kind.ENDED,
                job=running.job,
                attempt=ending.attempt,
                state=after.state,
                retry_at=after.run_at,
            )
        )

    def _retire(self) -> None:
        """Drop workers that are to stop and have nothing in hand."""
        gone = [slot.id for slot in self.slots.values() if slot.stop and slot.running is None]
        for worker in gone:
            del self.slots[worker]
        if gone and self.slots:  # the last ones go with the supervisor's row
            self.beside.run(self.store.workers_gone(gone))

    def _wake_when_due(self, due: float | None) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if due is not None:
            delay = min(max(0.0, due - self.clock()), 3600.0)
            self._due = asyncio.get_running_loop().call_later(delay, self.look_again)

    def look_again(self) -> None:
        """There may be something to claim."""
        self._look = True
        self._wake.set()

    async def _empty(self) -> bool:
        """Nothing runs or waits for a retry anywhere in our lanes (nothing is due: we asked)."""
        if not self.hands.empty:
            return False
        lanes = {queue for slot in self.slots.values() for queue in slot.queues}
        every = any(not slot.queues for slot in self.slots.values())
        try:
            counts = await self.store.counts()
        except StoreError:
            return False
        return not any(
            number and state in (State.PROCESSING, State.FAILED) and (every or queue in lanes)
            for (state, queue), number in counts.items()
        )

    async def _trouble(self, error: StoreError) -> None:
        """The store failed: say so once, keep everything, try again by and by."""
        if str(error) != self._troubled:
            self._troubled = str(error)
            self._delay = RETRY_AFTER
            self.tell(Event(Kind.TROUBLE, f"{error}; trying again"))
        self._look = True
        await asyncio.sleep(self._delay)
        self._delay = min(self._delay * 2, RETRY_AT_MOST)

    def _untroubled(self) -> None:
        if self._troubled:
            self._troubled = ""
            self.tell(Event(Kind.TROUBLE, "the store works again"))

    # -- orders -----------------------------------------------------------------------

    def _rung(self) -> None:
        self._bell.clear()
        self.look_again()
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
            self._wake.set()
            return
        fresh = [order for order in orders.workers if not order.up]
        for order in fresh:
            self.slots.setdefault(order.id, self.new_slot(order.queues, order.id))
        if fresh:
            await self.store.workers_up([order.id for order in fresh])
        for order in orders.workers:
            slot = self.slots.get(order.id)
            if slot is not None and order.stop is not None:
                slot.ask_to_stop(order.stop)
        for running in list(self.hands.running.values()):
            if running.job.seq in orders.cancels:
                running.terminate(Why.CANCEL)
        self._wake.set()

    def stop(self, *, now: bool) -> None:
        """Stop all workers: after the jobs in hand, or (``now``) ending them."""
        for slot in self.slots.values():
            slot.ask_to_stop("now" if now else "drain")
        busy = len(self.hands.running)
        if busy:
            doing = "ending" if now else "waiting for"
            self.tell(Event(Kind.STOPPING, f"{doing} {busy} running job{'s' * (busy != 1)}"))
        notify_systemd(self._env, "STOPPING=1")
        self.beside.run(self.store.stop_workers(list(self.slots), now))
        self._wake.set()
