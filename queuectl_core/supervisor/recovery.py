"""Taking over from supervisors that are gone: triage of their jobs, and care for adopted ones.

The store gives the jobs of a dead supervisor to one successor. What then becomes of each is found
out by :func:`~.recovery.triage`. Nothing here delays a heartbeat: files are read, processes are
looked at and large outputs are rewritten in threads, and what is left of jobs is ended beside
everything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from ..domain.errors import Conflict, NotFound
from ..domain.events import Event, Kind
from ..domain.model import Job, Outcome, SupervisorRow
from ..runner import lease_clock, signal_group
from ..runner.journal_reader import Exit, JournalReader, Started, continue_shims
from ..system.clocks import monotonic
from ..system.host import context_switches, is_gone, process_start, process_state
from .attempt import RunningAttempt, no_kill, token_of
from .attempts import Slot
from .commands import CommandReader
from .context import Context
from .dispatcher import Dispatcher
from .heartbeat import Heartbeat
from .maintenance.liveness import Liveness
from .triage import Leftover, RecoveryPlan, elsewhere, triage

LOST = "its supervisor and its shim died; its outcome is unknown"


class Recovery:
    """What one supervisor takes over, and the running jobs that it adopted."""

    def __init__(
        self,
        context: Context,
        heartbeat: Heartbeat,
        dispatcher: Dispatcher,
        commands: CommandReader,
    ) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._dispatcher = dispatcher
        self._commands = commands
        self._inherited: list[tuple[str, SupervisorRow, list[Job]]] = []
        """Taken over by us (by that id), and triage has not been done."""
        self._adopted: dict[str, JournalReader] = {}
        """By token: the journal that will tell how it ends."""
        self._liveness: dict[str, Liveness] = {}
        """Of the shims of adopted jobs, by name."""
        self._switches: dict[str, int] = {}
        """How often each of them had gone to sleep when it was last looked at."""
        self.stuck = False
        """Triage could not be done when it was last tried."""
        self._ending: set[asyncio.Task[None]] = set()
        self._left: set[str] = set()
        """Tokens of jobs of which something still runs that is being ended."""

    @property
    def pending(self) -> bool:
        """Jobs are ours by the store of which we do not know yet what became of them."""
        return bool(self._inherited or self._left)

    @property
    def adopts(self) -> bool:
        """There are adopted jobs."""
        return bool(self._adopted)

    def knows(self, token: str) -> bool:
        """Whether this attempt waits for triage, or for its processes to be gone."""
        return token in self._left or any(
            token == token_of(job) for _, _, jobs in self._inherited for job in jobs
        )

    # -- taking over ------------------------------------------------------------------

    async def look(self) -> bool:
        """Take over from every supervisor that is gone; whether there was one.

        OSError: what became of the jobs cannot be found out now; to be called again.
        """
        context = self._context
        rows = await context.store.supervisors()
        now, mono, here = context.clock(), monotonic(), context.store.host_identity()
        gone = [row for row in rows if row.id != context.id and is_gone(row, now, mono, here)]
        deadline = context.hands.deadline
        if deadline is not None and not deadline.settled:
            # We could not reach the store ourselves: others may be about to renew theirs.
            gone = [row for row in gone if row.host_key == here]
        for row in gone:
            jobs = await context.store.take_over(row, context.id, context.clock())
            if jobs is not None:
                self._inherited.append((context.id, row, jobs))
        while self._inherited:
            successor, row, jobs = self._inherited[0]
            if successor == context.id:  # else we lost our lease meanwhile: they have another owner
                try:
                    plan = await self._examine(row, jobs, here)
                except OSError:
                    self.stuck = True
                    raise
                self.stuck = False
                if successor == context.id:
                    self._inherited.pop(0)
                    await self._carry_out(plan, elsewhere(row, context.hands.host, here), row.host)
                    continue
            self._inherited.pop(0)
        return bool(gone)

    async def _examine(self, row: SupervisorRow, jobs: list[Job], here: str) -> RecoveryPlan:
        hands = self._context.hands
        if elsewhere(row, hands.host, here) is not None:
            return RecoveryPlan(crashed=jobs)
        await asyncio.to_thread(continue_shims, hands.run_directory, row.id)
        return await triage(
            jobs, hands.run_directory, hands.processes, shim=row.id, revoke=bool(jobs)
        )

    async def _carry_out(self, plan: RecoveryPlan, reason: str | None, host: str) -> None:
        context = self._context
        for job, exit_ in plan.exited:
            self._exited(job, exit_)
        for job in plan.crashed:
            self._crashed(job, reason or LOST, host if reason else "")
        for job in plan.unstarted:
            why = "it was never started"
            running = context.hands.take(job, job.worker or "", no_kill)
            context.hands.settle(running, Outcome.INTERRUPTED, why, None)
            context.tell(Event(Kind.RECOVERED, why, job=job))
        for left in plan.leftovers:
            self._left.add(token_of(left.job))
            task = context.beside.run(self._end(left))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        if plan.adopted:
            await self._adopt(plan.adopted)

    def _exited(self, job: Job, exit_: Exit) -> None:
        hands = self._context.hands
        hands.ended(hands.take(job, job.worker or "", no_kill), exit_)
        self._context.tell(Event(Kind.RECOVERED, "it had ended meanwhile", job=job))

    def _crashed(self, job: Job, reason: str, host: str = "") -> None:
        running = self._context.hands.take(job, job.worker or "", no_kill)
        running.host = host
        self._context.hands.give_up(running, reason)
        self._context.tell(Event(Kind.RECOVERED, reason, job=job))

    async def _end(self, left: Leftover) -> None:
        """End what is left of a job; only then may it run again."""
        context = self._context
        successor = context.id
        try:
            await left.end(context.hands.processes)
            if successor != context.id:
                return
            if left.exit is not None:
                self._exited(left.job, left.exit)
            else:
                self._crashed(left.job, LOST)
        finally:
            self._left.discard(token_of(left.job))
            context.wake()

    # -- adopted jobs -----------------------------------------------------------------

    async def _adopt(self, adopted: list[tuple[Job, Started, JournalReader]]) -> None:
        """Running jobs go to idle workers first; for the rest there are extra workers that
        leave when their job has ended."""
        context = self._context
        prefetch = self._dispatcher.prefetch
        idle = [slot for slot in self._dispatcher.idle() if not prefetch.holds(slot.lane)]
        taken: list[str] = []
        extra: list[Slot] = []
        workers: dict[int, str] = {}
        for job, started, journal in adopted:
            if idle:
                slot = idle.pop(0)
                taken.append(slot.id)
            else:
                slot = context.new_slot((), stop="drain")
                context.slots[slot.id] = slot
                extra.append(slot)
            running = context.hands.take(job, slot.id, partial(signal_group, started.pid))
            running.on_shim = False
            slot.running = running
            workers[job.seq] = slot.id
            running.since = started.at
            running.begun(started.pid, lease_clock() - started.at)
            self._adopted[token_of(job)] = journal
            context.tell(Event(Kind.ADOPTED, job=job))
        await self._look_after()
        if taken:
            prefetch.give_back(taken)  # the shim knows nothing of what they do now
        if extra:
            try:
                await self._announce(extra)
            except NotFound:  # we lost our lease meanwhile: these jobs have another owner
                self._heartbeat.lost = True
                context.wake()
                return
            await context.store.stop_workers([slot.id for slot in extra], False)
            for slot in extra:
                if slot.running is not None:
                    workers[slot.running.job.seq] = slot.id
        await context.store.assign(context.id, workers)
        await self._commands.apply()  # a cancel asked for meanwhile

    async def _announce(self, extra: list[Slot]) -> None:
        """Tell the store of extra workers. NotFound: we lost our lease meanwhile."""
        context = self._context
        while True:
            added = [(slot.id, slot.queues) for slot in extra]
            try:
                await context.store.add_workers(context.id, added, context.clock(), up=True)
                return
            except Conflict:  # somebody asked us for more workers, and named them so
                commands = await context.store.commands(context.id)
                asked = {order.id: order for order in commands.workers}
            for worker in asked:  # so that none of ours is called like one of them
                context.number(worker)
            for slot in extra:
                order = asked.get(slot.id)
                if order is None:
                    continue
                if context.slots.pop(slot.id, None) is not None:
                    named = context.new_slot((), stop="drain").id
                    context.slots[named] = slot
                    slot.id = named
                    if slot.running is not None:
                        slot.running.worker = named
                context.slots[order.id] = context.new_slot(order.queues, order.id)
                context.hands.use(context.slots[order.id])

    async def _look_after(self) -> None:
        hands = self._context.hands
        hands.look_after(journal.name for journal in self._adopted.values())
        if hands.deadline is not None:
            await asyncio.to_thread(hands.deadline.write)

    async def watch(self) -> None:
        """Look once whether adopted jobs have ended. OSError when that cannot be seen now."""
        hands = self._context.hands
        journals = {journal.name: journal for journal in self._adopted.values()}
        dead = await asyncio.to_thread(_refresh, list(journals.values()))
        before = len(self._adopted)
        orphans: list[RunningAttempt] = []
        for token, journal in list(self._adopted.items()):
            running = hands.running.get(token)
            exit_ = journal.exits.get(token)
            if running is None or running.settled:
                del self._adopted[token]
            elif exit_ is not None:
                del self._adopted[token]
                hands.ended(running, exit_)
            elif journal.name in dead:
                orphans.append(running)
        if orphans:
            await hands.settle_orphans(orphans)
            for running in orphans:
                self._adopted.pop(token_of(running.job), None)
        if len(self._adopted) != before:
            await self._look_after()

    async def look_at_shims(self, *, urgent: bool) -> None:
        """See to it that the shims of adopted jobs run, or are killed. To be called once a second.
        One that owes us the end of a job, and does not wake up, does not run. It wakes up once a
        second by itself. That it does not write its journal proves nothing: a disk may be full."""
        if not self._adopted:
            self._liveness.clear()
            self._switches.clear()
            return
        leaders: dict[str, list[int]] = {}
        for token, journal in self._adopted.items():
            running = self._context.hands.running.get(token)
            pids = leaders.setdefault(journal.name, [])
            if running is not None and running.pid is not None and not running.settled:
                pids.append(running.pid)
        journals = {journal.name: journal for journal in self._adopted.values()}
        found = await asyncio.to_thread(_look_at, list(journals.values()), leaders)
        known, self._liveness = self._liveness, {}
        before, self._switches = self._switches, {}
        for name, (state, owes, switches) in found.items():
            liveness = self._liveness[name] = known.get(name) or Liveness(self._tell)
            if switches is not None:
                self._switches[name] = switches
            if not owes or switches is None or switches != before.get(name):
                liveness.heard()
            number = liveness.look(state, urgent=urgent)
            if number:
                await asyncio.to_thread(journals[name].signal_shim, number)

    def _tell(self, text: str) -> None:
        self._context.tell(Event(Kind.TROUBLE, text))


def _look_at(
    journals: list[JournalReader], leaders: Mapping[str, list[int]]
) -> dict[str, tuple[str, bool, int | None]]:
    """The state of each shim, whether it owes us the end of a job, and how often it has gone to
    sleep (None: not known). Runs in a thread."""
    found = {}
    for journal in journals:
        owes = any(map(_has_ended, leaders[journal.name]))
        pid = journal.shim_pid
        state = "" if pid is None else process_state(pid)
        switches = context_switches(pid) if pid is not None and owes else None
        found[journal.name] = (state, owes, switches)
    return found


def _has_ended(pid: int) -> bool:
    try:
        return process_start(pid) is None
    except PermissionError:
        return False  # there is one, of another user: the job runs sudo, say


def _refresh(journals: list[JournalReader]) -> set[str]:
    """Read what journals say now; the names of those whose shim is dead. Runs in a thread."""
    dead = set()
    for journal in journals:
        if not journal.may_be_alive():
            dead.add(journal.name)
        journal.refresh()  # after that: one that died has written everything it will
    return dead
