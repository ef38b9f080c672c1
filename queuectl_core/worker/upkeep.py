"""What a supervisor does beside its work: heartbeats, looking after others, measuring.

Two slow loops. ``beat`` renews the lease. ``tick`` looks once a second for supervisors that
died, for a change whose bell was lost, and at the output and use of running jobs. Adopted jobs
have a loop of their own while there are any: their exits come through a journal, not a pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import NotFound, StoreError
from ..events import Event, Kind
from ..host import is_gone, monotonic
from ..model import Filter, Job, Outcome, State, SupervisorRow
from ..store.base import Store
from .attempt import no_kill, token_of
from .expiry import Expiry
from .forgotten import Forgotten
from .journal import Journal, sweep
from .litter import Litter
from .process import signal_group
from .recovery import Verdict, bury, examine
from .sampling import Sampler
from .shim import host_clock

if TYPE_CHECKING:
    from .hands import Slot
    from .supervisor import Supervisor

TICK = 1.0
HASTE = 10
"""A heartbeat that failed is tried again after the time between two by this."""
ADOPTED_POLL = 0.05
GUARD_POLL = 0.2
"""Seconds between looks at outputs while any of them grows."""
SAMPLE_EVERY = 2.0
"""Seconds between samples, and how long a job must have run to be worth one."""


class Upkeep:
    """The loops beside the pump; entered while they run."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self._tasks: list[asyncio.Task[None]] = []
        self._adopted: dict[str, Journal] = {}
        self._sampler = Sampler()
        self._sampled = 0.0
        self._expiry = Expiry(supervisor.store, lambda: supervisor.id)
        self._inherited: list[tuple[str, SupervisorRow, list[Job]]] = []
        """Taken over by us (by that id), and not yet looked into."""
        self._said = ""
        self._forgotten = Forgotten(supervisor)
        self._litter = Litter(supervisor.store)

    async def __aenter__(self) -> Upkeep:
        loops = (self._beat(), self._tick(), self._guard(), self._watch_adopted())
        self._tasks = [self._sup.beside.run(loop) for loop in loops]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _beat(self) -> None:
        wait = self._sup.beat
        while True:
            await asyncio.sleep(wait)
            try:
                await self._sup.renew()
                wait = self._sup.beat
            except StoreError:
                wait = self._sup.beat / HASTE

    async def _tick(self) -> None:
        sup = self._sup
        while True:
            await asyncio.sleep(TICK)
            sup.pump.look_if_due()
            with contextlib.suppress(StoreError):
                if await sup.store.changed():  # a change whose bell was lost, or a finish elsewhere
                    await sup.obey()
                    sup.pump.look()
                await self.recover()
                await self._forgotten.look()
                await self._sample()
                await self._expiry.turn(sup.hands.settings.keep_completed, sup.clock())
                await self._litter.turn()
                await sup.store.tidy()

    # -- jobs of supervisors that died ------------------------------------------------

    async def recover(self) -> None:
        """Take over from every supervisor that is gone. Called once before the first claim."""
        sup = self._sup
        rows = await sup.store.supervisors()
        now, mono, here = sup.clock(), monotonic(), sup.store.here()
        gone = [row for row in rows if row.id != sup.id and is_gone(row, now, mono, here)]
        fence = sup.hands.fence
        if fence is not None and not fence.settled:
            # We could not reach the store ourselves: others may be about to renew theirs.
            gone = [row for row in gone if row.host_key == here]
        for row in gone:
            jobs = await sup.store.take_over(row, sup.id, sup.clock())
            if jobs is not None:
                self._inherited.append((sup.id, row, jobs))
        while self._inherited:
            heir, row, jobs = self._inherited[0]
            if heir != sup.id:  # we lost our lease meanwhile: they have another heir
                self._inherited.pop(0)
                continue
            try:
                hands = sup.hands
                verdict = await examine(row, jobs, hands.host, here, hands.run_directory)
            except OSError as error:  # a full disk, most likely: they wait for the next round
                self._say(f"cannot take jobs over: {error.strerror}; trying again")
                return
            self._inherited.pop(0)
            self._said = ""
            await self._settle(verdict)
        if gone:
            await self.sweep()

    def _say(self, trouble: str) -> None:
        """Tell of a trouble once, however often it is met."""
        if trouble != self._said:
            self._said = trouble
            self._sup.tell(Event(Kind.TROUBLE, trouble))

    async def sweep(self) -> None:
        """Remove the files of supervisors and shims that nobody needs any more."""
        store = self._sup.store
        sweep(self._sup.hands.run_directory, await used_names(store))

    async def _settle(self, verdict: Verdict) -> None:
        sup = self._sup
        hands = sup.hands
        for job, exit_ in verdict.exited:
            hands.ended(hands.take(job, job.worker or "", no_kill), exit_)
            sup.tell(Event(Kind.RECOVERED, "it had ended meanwhile", job=job))
        for job, reason in verdict.crashed:
            running = hands.take(job, job.worker or "", no_kill)
            running.host = verdict.host
            hands.lose(running, reason)
            sup.tell(Event(Kind.RECOVERED, reason, job=job))
        for job in verdict.unstarted:
            reason = "it was never started"
            running = hands.take(job, job.worker or "", no_kill)
            hands.settle(running, Outcome.INTERRUPTED, reason, None)
            sup.tell(Event(Kind.RECOVERED, reason, job=job))
        await self._adopt(verdict)

    async def _adopt(self, verdict: Verdict) -> None:
        """Running jobs go to idle workers first; for the rest there are extra workers that
        leave when their job has ended."""
        sup = self._sup
        if not verdict.adopted:
            return
        reserve = sup.pump.reserve
        idle = [slot for slot in sup.pump.idle() if not reserve.holds(slot.lane)]
        taken: list[str] = []
        extra: list[Slot] = []
        workers: dict[int, str] = {}
        for job, started, journal in verdict.adopted:
            if idle:
                slot = idle.pop(0)
                taken.append(slot.id)
            else:
                slot = sup.new_slot((), stop="drain")
                sup.slots[slot.id] = slot
                extra.append(slot)
            running = sup.hands.take(job, slot.id, partial(signal_group, started.pid))
            running.on_shim = False
            slot.running = running
            workers[job.seq] = slot.id
            running.begun(started.pid, host_clock() - started.after)  # whatever the wall clock says
            self._adopted[token_of(job)] = journal
            self._look_after()
            sup.tell(Event(Kind.ADOPTED, job=job))
        if taken:
            reserve.give_back(taken)  # the shim knows nothing of what they do now
        if extra:
            added = [(slot.id, slot.queues) for slot in extra]
            try:
                await sup.store.add_workers(sup.id, added, sup.clock(), up=True)
            except NotFound:  # we lost our lease meanwhile: these jobs have another heir
                sup.lost = True
                sup.pump.wake()
                return
            await sup.store.stop_workers([slot.id for slot in extra], False)
        await sup.store.assign(sup.id, workers)
        await sup.obey()  # a cancel asked for meanwhile

    def _look_after(self) -> None:
        self._sup.hands.look_after(journal.name for journal in self._adopted.values())

    async def _watch_adopted(self) -> None:
        sup = self._sup
        swept = True
        while True:
            await asyncio.sleep(ADOPTED_POLL if self._adopted else TICK)
            before = len(self._adopted)
            for token, journal in list(self._adopted.items()):
                running = sup.hands.running.get(token)
                if running is None:
                    del self._adopted[token]
                    continue
                alive = journal.shim_alive()
                journal.refresh()
                exit_ = journal.exits.get(token)
                if exit_ is None and alive:
                    continue
                del self._adopted[token]
                if exit_ is None:
                    exit_, _ = await bury(running.job, journal.run, journal.name)
                if exit_ is not None:
                    sup.hands.ended(running, exit_)
                else:
                    sup.hands.lose(running, "its shim was killed; its outcome is unknown")
            if len(self._adopted) != before:
                self._look_after()
            if self._adopted:
                swept = False
            elif not swept:
                swept = True
                with contextlib.suppress(StoreError):
                    await self.sweep()

    # -- running jobs -----------------------------------------------------------------

    async def _guard(self) -> None:
        """Keep outputs within their limit: often while any grows, slowly otherwise."""
        while True:
            grew = [running.capture.guard() for running in list(self._sup.hands.running.values())]
            await asyncio.sleep(GUARD_POLL if any(grew) else TICK)

    async def _sample(self) -> None:
        sup = self._sup
        now = monotonic()
        if now - self._sampled < SAMPLE_EVERY:
            return
        self._sampled = now
        wall = sup.clock()
        jobs = {
            running.worker: running.pid
            for running in sup.hands.running.values()
            if running.pid and wall - (running.started_at or wall) >= SAMPLE_EVERY
        }
        if jobs:
            await sup.store.sample(await asyncio.to_thread(self._sampler.take, jobs))


async def used_names(store: Store) -> set[str]:
    """Whose files in the run directory are needed: supervisors', and shims' that have jobs."""
    used = {row.id for row in await store.supervisors()}
    async for page in _processing(store):
        used |= {job.shim or "" for job in page}
    return used


async def _processing(store: Store) -> AsyncIterator[list[Job]]:
    """All processing jobs, a page at a time."""
    before: int | None = None
    while page := await store.jobs(Filter((State.PROCESSING,)), 1000, before):
        yield page
        before = page[-1].seq
