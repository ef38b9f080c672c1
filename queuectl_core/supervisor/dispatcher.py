"""The dispatcher: the one task of a supervisor that talks to the store about work.

It writes the results of attempts down and claims jobs for idle workers, both in one commit. It
gives what it has claimed to a shim. While a commit is under way more attempts end, and the next
commit takes them all: that is the group commit. Everything else (the shim's events, timers,
signals) only changes the table of attempts and wakes the dispatcher.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..domain.claims import AttemptResult, ClaimRequest, ClaimResult, ClaimSlot
from ..domain.errors import StoreDamaged, StoreError, StoreGone, StoreTooNew
from ..domain.model import Job, Outcome, State
from ..domain.notices import Notice, NoticeKind
from ..runner import lease_clock
from ..system.clocks import monotonic
from ..system.systemd import notify_systemd
from . import reports
from .attempt import ActiveAttempt, is_suspect, make_token, token_of
from .attempt_states import AttemptEvent
from .context import Context
from .executor import Executor
from .heartbeat import Heartbeat
from .workers import Slot

RETRY_AFTER = 0.5
"""Seconds until a store that failed is asked again; doubles up to ``RETRY_AT_MOST``."""
RETRY_AT_MOST = 5.0
INPUTS_AT_ONCE = 16
"""Standard inputs that are read at a time, each of up to 1 MiB."""


class Dispatcher:
    """Moves work between the store and the shims, a turn at a time.

    ``until_empty``: stop the workers when there is nothing left to do. ``until_idle``: also when
    what is left waits for its backoff, or runs elsewhere.
    """

    def __init__(
        self,
        context: Context,
        heartbeat: Heartbeat,
        executor: Executor,
        *,
        until_empty: bool = False,
        until_idle: bool = False,
    ) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._executor = executor
        self._attempts = executor.attempts
        self._prefetch = executor.prefetch
        self._shims = executor.shims
        self._until_empty = until_empty or until_idle
        self._until_idle = until_idle
        self._timer: asyncio.TimerHandle | None = None
        self.next_due: float | None = None
        """When the next job is due that was not due yet, by the wall clock."""
        self._troubled = ""
        self._troubled_at = 0.0
        self.reports = 0
        """How often trouble with the store was reported."""
        self._delay = RETRY_AFTER
        self._suspects_found = False
        """The last claim that might find suspects did: there may be more."""
        self.in_turn = False
        """Jobs may be being claimed that are not in the table yet."""
        self.done = 0
        """Attempts that completed."""
        self.failed = 0
        """Attempts that failed."""

    # -- life -------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel all timers."""
        self._prefetch.disarm()
        self._executor.shortage.disarm()
        self._disarm()

    @property
    def troubled(self) -> bool:
        """The store failed, and has not worked since."""
        return bool(self._troubled)

    async def step(self) -> None:
        """Take a turn if there is something to say to the store, or to claim; else wait until
        there is something to do."""
        context = self._context
        slots = self._slots()
        waiting = self._attempts.results or self._attempts.returned or self._prefetch.overdue
        if waiting or (context.claimable and slots):
            await self._turn(slots)
        else:
            await context.woken.wait()
            context.woken.clear()

    def notified(self) -> None:
        """The notifier was used: there are jobs, or commands."""
        context, notifier = self._context, self._context.notifier
        context.look()
        if notifier is None:
            return
        if notifier.clear():
            context.commanded.set()
            context.rescheduled.set()
        if notifier.stop is not None and context.stopping != "now":
            now, notifier.stop = notifier.stop, None
            if now or context.stopping is None:
                context.tell(
                    Notice(NoticeKind.TROUBLE, "told to stop, while nothing can be written")
                )
                self.stop(now=now)

    # -- stopping ---------------------------------------------------------------------

    def stop(self, *, now: bool) -> None:
        """Stop all workers: after the jobs that run, or (``now``) ending them. At any moment."""
        context = self._context
        context.stopping = "now" if now or context.stopping == "now" else "drain"
        context.told.set()
        for slot in context.slots.values():
            slot.ask_to_stop(context.stopping)
        notify_systemd(context.env, "STOPPING=1")
        context.wake()
        if not self._heartbeat.registered:
            return
        self._prefetch.give_back(context.slots)
        busy = sum(one.runs or one.ended for one in self._attempts)
        if busy:
            doing = "ending" if now else "waiting for"
            context.tell(
                Notice(NoticeKind.STOPPING, f"{doing} {busy} running job{'s' * (busy != 1)}")
            )
        context.background.start(context.store.stop_workers(list(context.slots), now))

    def store_gone(self, error: StoreGone) -> None:
        """The store's file is not there any more: take no more jobs, finish those that run, and
        end. What ended is still written to the file, which may have been moved only."""
        context = self._context
        if context.gone is None:
            context.gone = error
            message = f"{error.message}; no more jobs are taken, those that run are finished"
            context.tell(Notice(NoticeKind.TROUBLE, message))
            self.stop(now=False)

    # -- one turn ---------------------------------------------------------------------

    async def _turn(self, slots: list[ClaimSlot]) -> None:
        """Write the results down and claim what may be claimed."""
        context = self._context
        context.woken.clear()
        try:
            if not await self._heartbeat.holds():
                return
        except StoreError as error:
            await self.trouble(error)
            return
        context.claimable = False
        results, self._attempts.results = self._attempts.results, []
        # Where there is no room for more suspects, other jobs go on: suspects may run for hours.
        suspects = self._shims.room_for_suspects > 0
        try:
            answer = await self._settle_and_start(results, slots, suspects=suspects)
        except StoreError as error:
            self._attempts.results = results + self._attempts.results
            await self.trouble(error)
            return
        self._heartbeat.lost = self._heartbeat.lost or bool(answer.refused)
        if slots and suspects:
            self._suspects_found = any(map(is_suspect, answer.claimed))
        if len(answer.claimed) == len(slots):
            context.claimable = True  # there may be more than we had workers for
            return
        self._wake_when_due(answer.next_due)
        if not suspects:
            context.claimable = context.claimable or self._shims.room_for_suspects > 0
            return
        if answer.delayed:
            return
        if self._until_empty and not answer.claimed and await self._empty():
            for slot in context.slots.values():
                slot.ask_to_stop("drain")

    async def _settle_and_start(
        self, results: list[AttemptResult], slots: list[ClaimSlot], *, suspects: bool
    ) -> ClaimResult:
        """Write the results down, claim, and run what was claimed. StoreError: nothing is known to
        have been written."""
        self.in_turn = True
        try:
            answer = await self._settle_and_claim(results, slots, suspects=suspects)
            self._untroubled()
            for result in results:
                self._settled(result, refused=(result.seq, result.run) in answer.refused)
            await self._start_all(answer)
        finally:
            self.in_turn = False
        return answer

    async def _start_all(self, answer: ClaimResult) -> None:
        """Run the claimed jobs."""
        context = self._context
        # Suspects first: what the shim holds is recalled from their workers before it gets more.
        jobs = sorted(answer.claimed, key=is_suspect, reverse=True)
        lacking = ""
        if any(job.has_stdin for job in jobs):
            first, jobs = self._without_input(jobs)
            for job in first:
                self._start(job, rated=job.queue in answer.rated)
            lacking = await self._write_inputs(jobs)
        for job in jobs:
            if lacking and job.has_stdin:
                self._executor.lacks_input(self._executor.claim(job), lacking)
            else:
                self._start(job, rated=job.queue in answer.rated)
        if context.cancels and any(job.seq in context.cancels for job in answer.claimed):
            context.commanded.set()  # they were read before these attempts were in the table

    def _without_input(self, jobs: list[Job]) -> tuple[list[Job], list[Job]]:
        """Those of these jobs that need not wait until inputs are written, and the others.

        The shim gets none to hold while a worker waits for its job: it would start one there.
        """
        slots = self._context.slots

        def has_worker(job: Job) -> bool:
            slot = slots.get(job.worker or "")
            return slot is not None and slot.idle

        awaited = any(job.has_stdin and has_worker(job) for job in jobs)
        first: list[Job] = []
        others: list[Job] = []
        for job in jobs:
            at_once = not job.has_stdin and (has_worker(job) or not awaited)
            (first if at_once else others).append(job)
        return first, others

    async def _write_inputs(self, claimed: Sequence[Job]) -> str:
        """Write the standard input of claimed jobs to files. Returns what the host lacks for that;
        empty: nothing."""
        context = self._context
        left = [job for job in claimed if job.has_stdin]
        try:
            while left:
                part, left = left[:INPUTS_AT_ONCE], left[INPUTS_AT_ONCE:]
                inputs = await context.store.inputs_of([job.seq for job in part])
                by_token = {token_of(job): inputs[job.seq] for job in part if job.seq in inputs}
                await asyncio.to_thread(reports.write_inputs, context.run_directory, by_token)
        except OSError as error:
            return f"cannot write the standard input of jobs: {error.strerror}"
        except StoreError as error:
            return f"cannot read the standard input of jobs: {error}"
        return ""

    def _slots(self) -> list[ClaimSlot]:
        """What to claim jobs for: idle workers, and while jobs are short the prefetch.

        No job is claimed for a worker on which the shim may start a prefetched one by itself.
        """
        executor, workers = self._executor, self._context.slots.values()
        idle = [one for one in workers if one.idle and not self._prefetch.holds(one.queue_names)]
        slots = [ClaimSlot(one.id, one.queues) for one in idle]
        allowed = executor.shortage.slots
        if allowed is not None:
            return slots[:allowed]
        room = self._shims.room_for_suspects
        if self._suspects_found and 0 < room < len(slots):
            return slots[:room]  # those that were put back would be claimed again
        return slots + self._prefetch.slots(workers)

    def _start(self, job: Job, *, rated: bool = False) -> None:
        """Run a claimed job: at once on the worker it was claimed for, or prefetched. ``rated``:
        the store must hear when it starts."""
        context, attempts = self._context, self._attempts
        attempt, suspect = self._executor.claim(job), is_suspect(job)
        attempt.rated = rated
        slot = context.slots.get(job.worker or "")
        if slot is not None and slot.idle:
            if suspect and not self._shims.room_for_suspects:
                attempts.move(attempt, AttemptEvent.GIVEN_BACK)
            else:
                self._launch(attempt, slot)
        elif suspect:
            # The shim may hold no suspect. With nothing held, the next worker that comes free is
            # idle, and the suspect is claimed for it.
            attempts.move(attempt, AttemptEvent.GIVEN_BACK)
            self._prefetch.give_back()
        else:
            workers = context.slots.values()
            slot = next(
                (one for one in workers if one.stop is None and one.serves(job.queue)), None
            )
            # Meanwhile all may have been told to stop, or the queue was paused.
            if slot is None or not context.may_prefetch(job.queue):
                attempts.move(attempt, AttemptEvent.GIVEN_BACK)
            else:
                attempt.queues = slot.queue_names
                attempts.move(attempt, AttemptEvent.HELD)
                self._prefetch.moved()
                self._shims.shared.hold(attempt, context.settings.shell)

    def _launch(self, attempt: ActiveAttempt, slot: Slot) -> None:
        """Start a claimed attempt on an idle worker."""
        if is_suspect(attempt.job):
            self._prefetch.give_back([slot.id])  # the shim must start nothing else on this worker
        self._executor.shortage.tries(attempt.token)
        attempt.worker = slot.id
        attempt.since = lease_clock()
        slot.attempt = attempt
        shell = self._context.settings.shell
        self._shims.shim_of(attempt).launch(attempt, slot, shell)
        self._context.tell(Notice(NoticeKind.STARTED, job=attempt.job, worker=slot.id))

    async def _settle_and_claim(
        self, results: list[AttemptResult], slots: list[ClaimSlot], *, suspects: bool
    ) -> ClaimResult:
        """One commit with everything there is to say. ``suspects``: whether to claim any."""
        context, attempts, prefetch = self._context, self._attempts, self._prefetch
        now = context.clock()
        begun, returned = prefetch.unannounced(now), list(attempts.returned.values())
        for attempt in returned:
            if attempt.job.has_stdin:  # before others may claim it
                reports.drop_input(attempt.files)
        prefetch.overdue = False
        asked = monotonic()
        jobs = [attempt.job for attempt in returned]
        request = ClaimRequest(context.id, results, slots, now, begun, jobs, suspects)
        answer = await context.store.settle_and_claim(request)
        prefetch.took(monotonic() - asked)
        for start in begun:
            attempts.unannounced.pop(make_token(start.seq, start.run), None)
        for attempt in returned:
            attempts.move(attempt, AttemptEvent.SETTLED)
        return answer

    def _settled(self, result: AttemptResult, *, refused: bool) -> None:
        """The store has (or has refused) a result."""
        token = make_token(result.seq, result.run)
        attempt = self._attempts.get(token)
        self._shims.forget(token, attempt.job if attempt is not None else None)
        if attempt is None:
            return
        self._attempts.move(attempt, AttemptEvent.SETTLED)
        if refused:
            return  # another supervisor has it, and may need its files
        if attempt.has_reported or attempt.job.has_stdin:
            self._context.background.start(asyncio.to_thread(reports.remove, attempt.files))
        if result.attempt.outcome is Outcome.COMPLETED:
            self.done += 1
        after = result.transition
        if after.state in (State.FAILED, State.DEAD):  # not one that was put back
            self.failed += 1
        self._context.tell(
            Notice(
                NoticeKind.ENDED,
                job=attempt.job,
                attempt=result.attempt,
                state=after.state,
                retry_at=after.run_at,
            )
        )

    # -- when there is little to do ---------------------------------------------------

    def retire(self) -> None:
        """Drop workers that are to stop, and of whose attempts nothing is left to be written."""
        context = self._context
        if self._prefetch.recalling:
            return  # the shim may have started a job on one of them
        stopping = [slot.id for slot in context.slots.values() if slot.stop]
        if not stopping:
            return
        # A worker may have several attempts: the shim goes on while we clear up after one.
        busy = {attempt.worker for attempt in self._attempts}
        gone = [worker for worker in stopping if worker not in busy]
        for worker in gone:
            del context.slots[worker]
        if gone and context.slots:  # the last ones go with the supervisor's row
            context.background.start(context.store.workers_gone(gone))

    def _wake_when_due(self, due: float | None) -> None:
        self._disarm()
        self.next_due = due
        if due is not None:
            delay = min(max(0.0, due - self._context.clock()), 3600.0)
            self._timer = asyncio.get_running_loop().call_later(delay, self._context.look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look_if_due(self) -> None:
        """A job is due by the wall clock, whatever the timer says, which cannot know that somebody
        set the clock; to be called now and then."""
        if self.next_due is not None and self._context.clock() >= self.next_due:
            self._context.look()

    async def _empty(self) -> bool:
        """Nothing runs or waits for a retry in our queues, here or elsewhere. (Nothing is due: the
        claim found nothing.) In a queue that is paused without an end no job is retried."""
        if not self._executor.finished:
            return False
        if self._until_idle:
            return True
        store, now = self._context.store, self._context.clock()
        try:
            counts = await store.counts()
            queues = await store.queues()
            paused = {one.name for one in queues if one.paused(now) and one.paused_until is None}
        except StoreError:
            return False
        busy = {
            queue
            for (state, queue), number in counts.items()
            if number
            and (state is State.PROCESSING or (state is State.FAILED and queue not in paused))
        }
        slots = self._context.slots.values()
        return not any(slot.serves(queue) for slot in slots for queue in busy)

    async def trouble(self, error: StoreError) -> None:
        """The store failed: report it once, keep everything, and try again later. An error that
        waiting cannot mend is raised: the jobs go on, and the next supervisor has them."""
        if isinstance(error, StoreDamaged | StoreTooNew):
            raise error
        if isinstance(error, StoreGone) and self._context.gone is None:
            self.store_gone(error)
            return
        if str(error) != self._troubled:
            self._troubled = str(error)
            self.reports += 1
            self._delay = RETRY_AFTER
            self._troubled_at = self._troubled_at or monotonic()
            self._context.tell(Notice(NoticeKind.TROUBLE, f"{error}; trying again"))
        self._context.claimable = True
        if self._gives_up():
            raise error
        await self._context.pause(self._delay)
        self._delay = min(self._delay * 2, RETRY_AT_MOST)

    def _gives_up(self) -> bool:
        """We are to stop, all jobs have ended, and the store cannot be told how: at once if we
        are to stop at once, else when it has failed for as long as a lease. The journal says how
        they ended, for the next supervisor."""
        context = self._context
        if context.stopping is None or any(attempt.runs for attempt in self._attempts):
            return False
        waited = monotonic() - self._troubled_at
        return context.stopping == "now" or waited > context.settings.lease

    def _untroubled(self) -> None:
        if self._troubled:
            self._troubled = ""
            self._troubled_at = 0.0
            self._context.tell(Notice(NoticeKind.TROUBLE, "the store works again"))
