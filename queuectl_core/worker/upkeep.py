"""What a supervisor does beside its work: heartbeats, looking after others, measuring.

Two slow loops. ``beat`` renews the lease. ``tick`` looks once a second for supervisors that
died, for a change whose bell was lost, and at the output and use of running jobs. Adopted jobs
have a loop of their own while there are any: their exits come through a journal, not a pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import StoreError
from ..events import Event, Kind
from ..host import is_gone, monotonic
from ..logs import log_path
from ..model import Filter, Job, Outcome, State, SupervisorRow
from .attempt import Running, token_of
from .journal import Exit, Journal, sweep
from .output import Capture
from .process import signal_group
from .recovery import Verdict, bury, examine
from .sampling import Sampler

if TYPE_CHECKING:
    from .supervisor import Slot, Supervisor

TICK = 1.0
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

    async def __aenter__(self) -> Upkeep:
        loops = (self._beat(), self._tick(), self._guard(), self._watch_adopted())
        self._tasks = [asyncio.create_task(loop) for loop in loops]
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
        sup = self._sup
        while True:
            await asyncio.sleep(sup.beat)
            with contextlib.suppress(StoreError):
                if not await sup.renew():
                    sup.lost = True
                    sup.look_again()

    async def _tick(self) -> None:
        sup = self._sup
        while True:
            await asyncio.sleep(TICK)
            with contextlib.suppress(StoreError):
                if await sup.store.changed():
                    await sup.obey()
                await self.recover()
                await self._sample()
                await sup.store.tidy()

    # -- jobs of supervisors that died ------------------------------------------------

    async def recover(self) -> None:
        """Take over from every supervisor that is gone. Called once before the first claim."""
        sup = self._sup
        rows = await sup.store.supervisors()
        now, mono = sup.clock(), monotonic()
        gone = [row for row in rows if row.id != sup.id and is_gone(row, now, mono)]
        for row in gone:
            jobs = await sup.store.take_over(row, sup.id, sup.clock())
            if jobs is not None:
                await self._settle(row, jobs)
        if gone:
            processing = await sup.store.jobs(Filter((State.PROCESSING,)), 10_000)
            used = {row.id for row in rows if row not in gone} | {sup.id}
            sweep(sup.run_directory, used | {job.shim or "" for job in processing})

    async def _settle(self, dead: SupervisorRow, jobs: list[Job]) -> None:
        sup = self._sup
        verdict = await examine(dead, jobs, sup.run_directory)
        for job, exit_ in verdict.exited:
            running = self._in_hand(job)
            sup.ended(running, exit_)
            sup.tell(Event(Kind.RECOVERED, "it had ended meanwhile", job=job))
        for job, reason in verdict.crashed:
            running = self._in_hand(job)
            sup.settle(running, Outcome.CRASHED, reason, None, running.capture.finish())
            sup.tell(Event(Kind.RECOVERED, reason, job=job))
        for job in verdict.unstarted:
            sup.settle(self._in_hand(job), Outcome.INTERRUPTED, "it was never started", None)
            sup.tell(Event(Kind.RECOVERED, "it was never started", job=job))
        await self._adopt(verdict)

    def _in_hand(self, job: Job) -> Running:
        """A job of a dead supervisor as one of ours, without a slot."""
        sup = self._sup
        path = log_path(sup.store.directory, job.seq, job.runs)
        capture = Capture(path, sup.settings.output_limit)
        running = Running(
            job, job.worker or "", capture, sup.settings.kill_grace, lambda number: None
        )
        sup.running[token_of(job)] = running
        return running

    async def _adopt(self, verdict: Verdict) -> None:
        """Running jobs go to idle workers first; for the rest there are extra workers that
        leave when their job has ended."""
        sup = self._sup
        if not verdict.adopted:
            return
        idle = [slot for slot in sup.slots.values() if slot.running is None and not slot.stop]
        extra: list[Slot] = []
        workers: dict[int, str] = {}
        for job, pid, journal in verdict.adopted:
            if idle:
                slot = idle.pop(0)
            else:
                slot = sup.new_slot((), stop="drain")
                sup.slots[slot.id] = slot
                extra.append(slot)
            running = self._in_hand(job)
            running.worker = slot.id
            running.kill = lambda number, pid=pid: signal_group(pid, number)  # type: ignore[misc]
            sup.take(slot, running)
            workers[job.seq] = slot.id
            elapsed = sup.clock() - (job.started_at or sup.clock())
            running.begun(pid, elapsed)
            self._adopted[token_of(job)] = journal
            sup.tell(Event(Kind.ADOPTED, job=job))
        if extra:
            added = [(slot.id, slot.queues) for slot in extra]
            await sup.store.add_workers(sup.id, added, sup.clock(), up=True)
            await sup.store.stop_workers([slot.id for slot in extra], False)
        await sup.store.assign(sup.id, workers)
        await sup.obey()  # a cancel asked for meanwhile

    async def _watch_adopted(self) -> None:
        sup = self._sup
        while True:
            await asyncio.sleep(ADOPTED_POLL if self._adopted else TICK)
            for token, journal in list(self._adopted.items()):
                running = sup.running.get(token)
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
                    exit_, _ = await bury(running.job, sup.run_directory, journal.name)
                self._finish_adopted(running, exit_)

    def _finish_adopted(self, running: Running, exit_: Exit | None) -> None:
        if exit_ is not None:
            self._sup.ended(running, exit_)
        else:
            running.disarm()
            output = running.capture.finish()
            self._sup.settle(running, Outcome.CRASHED, "its shim was killed", None, output)

    # -- running jobs -----------------------------------------------------------------

    async def _guard(self) -> None:
        """Keep outputs within their limit: often while any grows, slowly otherwise."""
        while True:
            grew = [running.capture.guard() for running in list(self._sup.running.values())]
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
            for running in sup.running.values()
            if running.pid and wall - (running.job.started_at or wall) >= SAMPLE_EVERY
        }
        if jobs:
            await sup.store.sample(await asyncio.to_thread(self._sampler.take, jobs))
