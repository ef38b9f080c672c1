"""Recovery: taking over the jobs of supervisors that are gone, and watching adopted ones.

The store gives the jobs of a dead supervisor to one successor. :func:`~.triage.triage` finds out
what became of each, and the executor carries that out. Nothing here delays a heartbeat: files are
read and processes are looked at in threads, and what is left of jobs is ended in the background.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ..domain.errors import Conflict, NotFound
from ..domain.model import Job, SupervisorRow
from ..domain.notices import Notice, NoticeKind
from ..runner.journal_reader import JournalReader, continue_shims
from ..system.clocks import monotonic
from ..system.host import context_switches, is_gone, process_start, process_state
from .attempt import ActiveAttempt
from .attempt_states import AttemptEvent
from .commands import CommandReader
from .context import Context
from .executor import Executor
from .heartbeat import Heartbeat
from .maintenance.liveness import Liveness
from .triage import RecoveryPlan, elsewhere, triage
from .workers import Slot

LOST = "its supervisor and its shim died; its outcome is unknown"


class Recovery:
    """What one supervisor takes over, and the running jobs that it adopted."""

    def __init__(
        self, context: Context, heartbeat: Heartbeat, executor: Executor, commands: CommandReader
    ) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._executor = executor
        self._commands = commands
        self._inherited: list[tuple[str, SupervisorRow, list[ActiveAttempt]]] = []
        """Taken over by us (by that id), and triage has not been done."""
        self._liveness: dict[str, Liveness] = {}
        """Of the shims of adopted jobs, by name."""
        self._switches: dict[str, int] = {}
        """How often each of them had gone to sleep when it was last looked at."""
        self.files_left = False
        """Files of a supervisor or a shim that is gone may not be needed any more."""
        self.stuck = False
        """Triage could not be done when it was last tried."""

    @property
    def pending(self) -> bool:
        """Jobs are ours by the store, and it is not known yet what became of them."""
        return any(attempt.unresolved for attempt in self._executor.attempts)

    @property
    def adopted(self) -> list[tuple[ActiveAttempt, JournalReader]]:
        """The adopted attempts that run, with the journals that will tell how they end."""
        return [
            (attempt, attempt.journal)
            for attempt in self._executor.attempts
            if attempt.journal is not None and attempt.runs
        ]

    # -- taking over ------------------------------------------------------------------

    async def look(self) -> None:
        """Take over from every supervisor that is gone.

        OSError: what became of the jobs cannot be found out now; to be called again.
        """
        context = self._context
        rows = await context.store.supervisors()
        now, mono, here = context.clock(), monotonic(), context.store.host_identity()
        gone = [row for row in rows if row.id != context.id and is_gone(row, now, mono, here)]
        deadline = context.deadline
        if deadline is not None and not deadline.steady:
            # We could not reach the store ourselves: others may be about to renew theirs.
            gone = [row for row in gone if row.host_key == here]
        for row in gone:
            successor = context.id
            jobs = await context.store.take_over(row, successor, context.clock())
            if jobs is not None and successor == context.id:
                attempts = [self._executor.claim(job, inherited=True) for job in jobs]
                self._inherited.append((successor, row, attempts))
        while self._inherited:
            successor, row, attempts = self._inherited[0]
            plan = RecoveryPlan()
            if successor == context.id:
                try:
                    plan = await self._examine(row, [one.job for one in attempts], here)
                except OSError:
                    self.stuck = True
                    raise
                self.stuck = False
            self._inherited.pop(0)
            if successor == context.id:  # else we lost our lease: they have another owner
                reason = elsewhere(row, context.host, here)
                host = row.host if reason is not None else ""
                self._executor.resolve(attempts, plan, reason or LOST, host)
                await self._adopt({one.token: one for one in attempts}, plan)
        self.files_left = self.files_left or bool(gone)
        context.wake()

    async def _examine(self, row: SupervisorRow, jobs: list[Job], here: str) -> RecoveryPlan:
        context = self._context
        if elsewhere(row, context.host, here) is not None:
            return RecoveryPlan(crashed=jobs)
        await asyncio.to_thread(continue_shims, context.run_directory, row.id)
        return await triage(jobs, context.run_directory, self._executor.processes, shim=row.id)

    # -- adopted jobs -----------------------------------------------------------------

    async def _adopt(self, attempts: Mapping[str, ActiveAttempt], plan: RecoveryPlan) -> None:
        """Running jobs go to idle workers first. For the rest there are extra workers, which leave
        when their job has ended."""
        if not plan.adopted:
            return
        context, prefetch = self._context, self._executor.prefetch
        workers = context.slots.values()
        idle = [slot for slot in workers if slot.idle and not prefetch.holds(slot.queue_names)]
        taken: list[str] = []
        extra: list[Slot] = []
        assigned: dict[int, str] = {}
        for job, started, journal in plan.adopted:
            if idle:
                slot = idle.pop(0)
                taken.append(slot.id)
            else:
                slot = context.new_slot((), stop="drain")
                context.slots[slot.id] = slot
                extra.append(slot)
            assigned[job.seq] = slot.id
            attempt = slot.attempt = attempts[started.token]
            self._executor.attempts.move(attempt, AttemptEvent.ADOPTED)
            attempt.adopted(slot.id, started, journal)
            self._executor.to_announce(attempt, started.at)
            context.tell(Notice(NoticeKind.ADOPTED, job=job))
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
                if slot.attempt is not None:
                    assigned[slot.attempt.job.seq] = slot.id
        await context.store.assign(context.id, assigned)
        await self._commands.apply()  # somebody may have cancelled one meanwhile

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
                asked = {command.id: command for command in commands.workers}
            for worker in asked:  # so that none of ours is called like one of them
                context.number(worker)
            for slot in extra:
                command = asked.get(slot.id)
                if command is None:
                    continue
                if context.slots.pop(slot.id, None) is not None:
                    named = context.new_slot((), stop="drain").id
                    context.slots[named] = slot
                    slot.id = named
                    if slot.attempt is not None:
                        slot.attempt.worker = named
                context.slots[command.id] = context.new_slot(command.queues, command.id)
                self._executor.shims.use(context.slots[command.id])

    async def _look_after(self) -> None:
        context = self._context
        self._executor.shims.look_after(journal.name for _, journal in self.adopted)
        if context.deadline is not None:
            await asyncio.to_thread(context.deadline.write)

    async def watch(self) -> None:
        """Look once whether adopted jobs have ended. OSError when that cannot be seen now."""
        adopted = self.adopted
        if not adopted:
            return
        journals = {journal.name: journal for _, journal in adopted}
        dead = await asyncio.to_thread(_refresh, list(journals.values()))
        orphans: list[ActiveAttempt] = []
        for attempt, journal in adopted:
            exit_ = journal.exits.get(attempt.token)
            if exit_ is not None:
                self._executor.exited(attempt, exit_)
            elif journal.name in dead:
                attempt.journal = None
                orphans.append(attempt)
        if orphans:
            self._context.background.start(self._executor.resolve_orphans(orphans))
        left = self.adopted
        if len(left) != len(adopted):
            self.files_left = self.files_left or not left
            await self._look_after()

    async def look_at_shims(self, *, urgent: bool) -> None:
        """See to it that the shims of adopted jobs run, or are killed. To be called once a second.
        One that owes us the end of a job, and does not wake up, does not run. It wakes up once a
        second by itself. That it does not write its journal proves nothing: a disk may be full."""
        adopted = self.adopted
        if not adopted:
            self._liveness.clear()
            self._switches.clear()
            return
        leaders: dict[str, list[int]] = {}
        for attempt, journal in adopted:
            pids = leaders.setdefault(journal.name, [])
            if attempt.pid is not None:
                pids.append(attempt.pid)
        journals = {journal.name: journal for _, journal in adopted}
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
        self._context.tell(Notice(NoticeKind.TROUBLE, text))


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
