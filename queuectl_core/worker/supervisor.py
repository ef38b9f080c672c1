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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Settings, settings
from ..errors import StoreError
from ..events import Event, Kind, Summary
from ..host import hostname
from ..lifecycle import Policy
from ..logs import log_path
from ..model import Ending, Job, Opening, Outcome, State
from ..store.base import Store
from .attempt import (
    Running,
    Why,
    command_line,
    job_environment,
    make_ending,
    outcome_of,
    token_of,
)
from .journal import Exit
from .launcher import Shim
from .lease import BEATS, make_row, new_supervisor_id, renewed
from .notify import Signals, notify_systemd, without_notify
from .output import Capture
from .upkeep import Upkeep

RETRY_AFTER = 0.5
"""Seconds until a store that failed is asked again; doubles up to ``RETRY_AT_MOST``."""
RETRY_AT_MOST = 5.0


@dataclass(slots=True)
class Slot:
    """One worker. ``stop``: None, ``drain`` or ``now``."""

    id: str
    queues: tuple[str, ...]
    running: Running | None = None
    stop: str | None = None


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
        self.env = env
        self.clock = clock
        self.slots: dict[str, Slot] = {}
        self.running: dict[str, Running] = {}
        self.until_empty = until_empty
        self.detached = detached
        self.settings: Settings
        self.shim: Shim
        self._rand = rand
        self._on_event = on_event or (lambda event: None)
        self._endings: list[Ending] = []
        self._jobs: dict[tuple[int, int], Job] = {}
        self._wake = asyncio.Event()
        self._look = True  # there may be something to claim
        self._due: asyncio.TimerHandle | None = None
        self._ending_tasks: set[asyncio.Task[None]] = set()
        self._numbered = 0
        self._done = self._failed = 0
        self._troubled = ""
        self._delay = RETRY_AFTER
        self.lost = False
        """Set when there is reason to think that the lease was lost."""

    # -- life -------------------------------------------------------------------------

    async def run(self, count: int, queues: tuple[str, ...]) -> Summary:
        """Start ``count`` workers for ``queues`` (none: all) and run until they are stopped."""
        began = time.monotonic()
        self.settings = settings(await self.store.config(), self.env)
        await self._begin(count, queues)
        upkeep = Upkeep(self)
        with Signals(self.stop):
            try:
                await upkeep.recover()
                async with upkeep:
                    self.tell(Event(Kind.UP, ", ".join(self.slots)))
                    notify_systemd(self.env, "READY=1")
                    while self.slots:
                        await self._turn()
            finally:
                await self._leave()
        return Summary(self._done, self._failed, time.monotonic() - began)

    async def _begin(self, count: int, queues: tuple[str, ...]) -> None:
        """Take a new identity, with a bell, a shim and a row in the store."""
        self.id = new_supervisor_id()
        self._numbered = 0
        self.slots = {slot.id: slot for slot in (self.new_slot(queues) for _ in range(count))}
        self.bell = self.store.bell(self.id)
        asyncio.get_running_loop().add_reader(self.bell.fileno(), self._rung)
        await self._start_shim()
        now = self.clock()
        self.row = make_row(self.id, self.detached, self.settings.lease, now)
        workers = [(slot.id, slot.queues) for slot in self.slots.values()]
        await self.store.register(self.row, workers, now)

    def new_slot(self, queues: tuple[str, ...], worker: str = "", stop: str | None = None) -> Slot:
        """A worker, called ``worker`` or the next number of this supervisor."""
        self._numbered += 1
        return Slot(worker or f"{self.id}-{self._numbered}", queues, stop=stop)

    async def _start_shim(self) -> None:
        self.shim = Shim(self._heard, self._shim_died)
        await self.shim.start(self.run_directory, self.id, without_notify(self.env))

    @property
    def run_directory(self) -> Path:
        """Where journals and bells are."""
        return self.store.directory / "run"

    async def _leave(self) -> None:
        """Everything in hand has ended (or, after an error, is left to the next supervisor)."""
        if self._due:
            self._due.cancel()
        for running in self.running.values():
            running.disarm()
        self._close_bell()
        if self.running or self._endings:
            self.shim.abandon()
            return
        await self.shim.close()
        with contextlib.suppress(StoreError):
            await self.store.deregister(self.id)
        for suffix in ("journal", "alive"):
            (self.run_directory / f"{self.id}.{suffix}").unlink(missing_ok=True)

    def _close_bell(self) -> None:
        asyncio.get_running_loop().remove_reader(self.bell.fileno())
        self.bell.close()

    async def renew(self) -> bool:
        """Send a heartbeat; False: the lease was lost and somebody else has our jobs."""
        self.row = renewed(self.row, self.settings.lease, self.clock())
        return await self.store.heartbeat(self.row)

    @property
    def beat(self) -> float:
        """Seconds between heartbeats."""
        return self.settings.lease / BEATS

    async def start_over(self) -> None:
        """After a lost lease: leave every job to its new owner and begin as somebody new."""
        self.tell(
            Event(Kind.TROUBLE, "the lease ran out while this process was stopped; starting over")
        )
        for running in self.running.values():
            running.disarm()
        self.lost = False
        keep = [slot for slot in self.slots.values() if slot.stop is None]
        self.running.clear()
        self._endings.clear()
        self._close_bell()
        self.shim.abandon()
        self.slots.clear()
        if keep:
            await self._begin(len(keep), keep[0].queues)
            self._look = True

    # -- the pump ---------------------------------------------------------------------

    async def _turn(self) -> None:
        """One round: settle what ended, claim for who is idle, or sleep until woken."""
        if self.lost and await self._is_lost():
            await self.start_over()
        self._retire()
        openings = [
            Opening(slot.id, slot.queues)
            for slot in self.slots.values()
            if slot.running is None and slot.stop is None
        ]
        if not self._endings and not (self._look and openings):
            if self.slots:
                await self._wake.wait()
                self._wake.clear()
            return
        self._wake.clear()
        self._look = False
        endings, self._endings = self._endings, []
        try:
            turn = await self.store.exchange(self.id, endings, openings, self.clock())
        except StoreError as error:
            self._endings = endings + self._endings
            await self._trouble(error)
            return
        self._untroubled()
        for ending in endings:
            self._settled(ending, refused=(ending.seq, ending.run) in turn.refused)
        for job in turn.claimed:
            self._launch(job)
        if len(turn.claimed) < len(openings):
            self._wake_when_due(turn.next_due)
            if self.until_empty and not turn.claimed and await self._empty():
                for slot in self.slots.values():
                    slot.stop = slot.stop or "drain"
        else:
            self._look = True
        if turn.refused:
            self.lost = True

    def _retire(self) -> None:
        """Drop workers that are to stop and have nothing in hand, once that is written."""
        gone = [s.id for s in self.slots.values() if s.stop and s.running is None]
        for worker in gone:
            del self.slots[worker]
        if gone and self.slots:
            self._later(self.store.workers_gone(gone))

    def _wake_when_due(self, due: float | None) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if due is not None:
            delay = max(0.0, due - self.clock())
            self._due = asyncio.get_running_loop().call_later(min(delay, 3600), self.look_again)

    def look_again(self) -> None:
        """There may be something to claim."""
        self._look = True
        self._wake.set()

    async def _is_lost(self) -> bool:
        """Whether somebody else has our jobs, as a refusal or a heartbeat made us think."""
        try:
            self.lost = not (await self.store.orders(self.id)).known
        except StoreError:
            return False
        return self.lost

    async def _empty(self) -> bool:
        """Nothing runs or waits for a retry anywhere in our lanes (nothing is due: we asked)."""
        if self.running or self._endings:
            return False
        lanes = {queue for slot in self.slots.values() for queue in slot.queues}
        every = not lanes or any(not slot.queues for slot in self.slots.values())
        holding = (State.PROCESSING, State.FAILED)
        return not any(
            number and state in holding and (every or queue in lanes)
            for (state, queue), number in (await self.store.counts()).items()
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

    # -- attempts ---------------------------------------------------------------------

    def _launch(self, job: Job) -> None:
        slot = self.slots[job.worker or ""]
        token = token_of(job)
        shim = self.shim
        path = log_path(self.store.directory, job.seq, job.runs)
        running = Running(
            job,
            slot.id,
            Capture(path, self.settings.output_limit),
            self.settings.kill_grace,
            lambda number: shim.kill(token, number),
        )
        self.take(slot, running)
        argv = command_line(job, self.settings.shell)
        shim.launch(token, argv, job.cwd, job_environment(job, slot.id), path)
        self.tell(Event(Kind.STARTED, job=job))

    def take(self, slot: Slot, running: Running) -> None:
        """``slot`` looks after ``running`` from now on."""
        slot.running = running
        self.running[token_of(running.job)] = running

    def _heard(self, event: list[Any]) -> None:
        """An event from the shim."""
        running = self.running.get(event[1])
        if running is None:
            return  # its job has another owner by now
        if event[0] == "S":
            running.begun(event[2])
        elif event[0] == "R":
            self.lost = True  # revoked: whoever did it has the job
            self._wake.set()
        else:
            self.ended(running, Exit.of(event))

    def ended(self, running: Running, exit_: Exit) -> None:
        """The leader of an attempt has ended: clear up after it, then settle."""
        running.disarm()
        clean = exit_.code == 0 and running.why is None
        if (clean or not exit_.leftover) and not running.strays and not running.capture.is_large:
            self._conclude(running, exit_, running.capture.finish())
        else:
            self._later(self._clear_and_conclude(running, exit_))

    async def _clear_and_conclude(self, running: Running, exit_: Exit) -> None:
        await running.clear_group(exit_)
        self._conclude(running, exit_, await asyncio.to_thread(running.capture.finish))

    def _conclude(self, running: Running, exit_: Exit, output: tuple[int, bytes]) -> None:
        outcome, reason = outcome_of(running, exit_, output[1])
        self.settle(running, outcome, reason, exit_, output)

    def settle(
        self,
        running: Running,
        outcome: Outcome,
        reason: str | None,
        exit_: Exit | None,
        output: tuple[int, bytes] = (0, b""),
    ) -> None:
        """Leave the ending of an attempt for the pump."""
        conf = self.settings
        ending = make_ending(
            running,
            outcome,
            reason,
            exit_,
            host=hostname(),
            policy=Policy(conf.backoff_max, conf.backoff_jitter, conf.max_crashes),
            jitter=self._rand(),
            now=self.clock(),
            output=output,
        )
        self._endings.append(ending)
        self._wake.set()

    def _settled(self, ending: Ending, *, refused: bool) -> None:
        """The store has (or has refused) an ending: its worker is free."""
        running = self.running.pop(f"{ending.seq}.{ending.run}", None)
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

    def _shim_died(self) -> None:
        """Somebody killed the shim: its jobs' exits are lost. Start another."""
        self._later(self._replace_shim())

    async def _replace_shim(self) -> None:
        from .recovery import bury

        self.tell(Event(Kind.TROUBLE, "the shim was killed; its jobs' outcomes are unknown"))
        orphans = list(self.running.values())
        await self._start_shim()
        for running in orphans:
            running.disarm()
            if any(running.job.seq == ending.seq for ending in self._endings):
                continue
            exit_, _ = await bury(running.job, self.run_directory, self.id)
            if exit_ is not None:
                self.ended(running, exit_)
            else:
                self.settle(running, Outcome.CRASHED, "its shim was killed", None)

    # -- orders -----------------------------------------------------------------------

    def _rung(self) -> None:
        self.bell.clear()
        self._later(self.obey())

    async def obey(self) -> None:
        """Read what is asked of us, and look for work."""
        try:
            orders = await self.store.orders(self.id)
            self.settings = settings(await self.store.config(), self.env)
        except StoreError:
            return  # the pump, or the next tick, meets it and says so
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
                self._stop_slot(slot, order.stop)
        for running in list(self.running.values()):
            if running.job.seq in orders.cancels:
                running.terminate(Why.CANCEL)
        self.look_again()

    def _stop_slot(self, slot: Slot, stop: str) -> None:
        slot.stop = "now" if "now" in (stop, slot.stop) else stop
        if stop == "now" and slot.running is not None:
            slot.running.terminate(Why.NOW)

    def stop(self, *, now: bool) -> None:
        """Stop all workers: after the jobs in hand, or (``now``) ending them."""
        for slot in self.slots.values():
            self._stop_slot(slot, "now" if now else "drain")
        busy = len(self.running)
        if busy:
            doing = "ending" if now else "waiting for"
            self.tell(Event(Kind.STOPPING, f"{doing} {busy} running job{'s'[: busy != 1]}"))
        notify_systemd(self.env, "STOPPING=1")
        self._later(self.store.stop_workers(list(self.slots), now))
        self._wake.set()

    # -- small things -----------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Let whoever listens know."""
        self._on_event(event)

    def _later(self, work: Any) -> None:
        """Run a coroutine beside the pump; trouble with the store is the pump's to report."""
        task = asyncio.ensure_future(_quietly(work))
        self._ending_tasks.add(task)
        task.add_done_callback(self._ending_tasks.discard)


async def _quietly(work: Any) -> None:
    with contextlib.suppress(StoreError):
        await work
