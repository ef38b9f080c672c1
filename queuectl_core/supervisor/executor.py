"""The executor: takes each attempt from its claim to its result.

It hears from the shims what becomes of attempts, ends what is left of them, and leaves their
results in the table, for the dispatcher's next commit. What happens to an attempt is an event:
:meth:`AttemptTable.move` says whether it counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from ..domain.claims import Report
from ..domain.model import Job, Outcome
from ..domain.notices import Notice, NoticeKind
from ..operations.attempt_output import log_name
from ..runner import lease_clock
from ..runner.events import (
    Exit,
    Exited,
    NotStarted,
    Recalled,
    Revoked,
    RunnerEvent,
    Started,
    Trouble,
)
from . import reports
from .attempt import ActiveAttempt, StopReason, no_kill, token_of
from .attempt_states import AttemptEvent, AttemptState
from .attempts import AttemptTable
from .context import Context
from .maintenance.output_limit import Capture
from .prefetch import Prefetch
from .processes import Processes
from .result import make_result
from .shims import SHIM_PAUSE, Shims
from .shortage import Shortage
from .triage import RecoveryPlan, Remains, triage

SHIM_KILLED = "its shim was killed; its outcome is unknown"
NEVER_STARTED = "it was never started"


class Executor:
    """Runs the attempts of one supervisor."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._directory = str(context.directory)
        self._run_directory = str(context.run_directory)
        self.attempts = AttemptTable()
        self.shims = Shims(context, self._on_event, self._on_shim_death)
        self.prefetch = Prefetch(self.attempts, context.wake, self.shims.recall)
        self.shortage = Shortage(context.tell, context.look)
        self.processes = Processes()
        self._reports = reports.Folder(self._run_directory)
        self.revoked = False
        """The shim may start nothing more: somebody took this supervisor's jobs over."""

    async def open(self) -> None:
        """Begin as the supervisor that the context names. StoreError, OSError."""
        context = self._context
        self.revoked = False
        await asyncio.to_thread(reports.make_folder, context.run_directory)
        # A store that was made anew or restored uses the names of its attempts a second time. What
        # is there of the first time must be gone before anything starts.
        await reports.sweep(context.store, context.run_directory)
        await self.shims.open(context.id)

    def drop(self) -> None:
        """Leave everything to somebody else. The shims stay with what they run."""
        self.attempts.clear()
        self.shims.abandon()
        self.prefetch.shim_died()
        self.shortage.forget()

    @property
    def finished(self) -> bool:
        """Nothing runs, is prefetched or waits for a commit. Jobs that were taken over and are
        not resolved do not count."""
        return all(attempt.unresolved for attempt in self.attempts)

    def claim(self, job: Job, *, inherited: bool = False) -> ActiveAttempt:
        """``job`` is ours from now on. ``inherited``: it was another supervisor's."""
        settings = self._context.settings
        limit = job.output_limit or settings.output_limit
        capture = Capture(log_name(self._directory, job.seq, job.runs), limit)
        worker = (job.worker or "") if inherited else ""
        return self.attempts.add(
            ActiveAttempt(
                job,
                worker,
                capture,
                settings.kill_grace,
                no_kill,
                job.started_at,
                processes=self.processes,
                inherited=inherited,
                files=reports.base_name(self._run_directory, token_of(job)),
                progress=None if job.progress is None else (job.progress, job.progress_text),
            )
        )

    # -- what the shims tell ----------------------------------------------------------

    def _on_event(self, event: RunnerEvent) -> None:
        match event:
            case Started(token, pid, _, _, at, worker):
                attempt = self._known(token, worker, at)
                if attempt is not None and self.attempts.move(attempt, AttemptEvent.STARTED):
                    self.shortage.started()
                    attempt.begun(pid, at)
                    if attempt.rated:
                        self.to_announce(attempt, at)
            case Exited(token, exit_, worker):
                attempt = self._known(token, worker, exit_.at)
                if attempt is not None:
                    attempt.since = exit_.at if attempt.since is None else attempt.since
                    self.exited(attempt, exit_)
            case NotStarted(token, lacking):
                self._not_started(token, lacking)
            case Recalled(tokens):
                self.prefetch.recalled()
                for token in tokens:
                    attempt = self.attempts.get(token)
                    if attempt is not None:
                        self.attempts.move(attempt, AttemptEvent.RECALLED)
                self._context.wake()
            case Revoked():
                self.revoked = True
                self._context.wake()
            case Trouble(token, text):
                attempt = self.attempts.get(token or "")
                job = attempt.job if attempt is not None else None
                self._context.tell(Notice(NoticeKind.TROUBLE, text, job=job))

    def _known(self, token: str, worker: str, at: float) -> ActiveAttempt | None:
        """The attempt of an event; a prefetched one has begun on ``worker``. None: it has another
        owner by now."""
        attempt = self.attempts.get(token)
        if attempt is None:
            self.shims.forget(token)
        elif attempt.state is AttemptState.PREFETCHED:
            self._begun_ahead(attempt, worker, at)
        return attempt

    def _begun_ahead(self, attempt: ActiveAttempt, worker: str, at: float) -> None:
        """The shim started a prefetched attempt on ``worker``."""
        context, job = self._context, attempt.job
        attempt.worker = worker
        self.to_announce(attempt, at)
        slot = context.slots.get(worker)
        if slot is not None:
            slot.attempt = attempt
        if slot is None or slot.stop == "now":  # its worker was stopped meanwhile
            attempt.terminate(StopReason.NOW)
        elif job.seq in context.cancels:
            attempt.terminate(StopReason.CANCEL)
        context.tell(Notice(NoticeKind.STARTED, job=job, worker=worker))

    def to_announce(self, attempt: ActiveAttempt, at: float) -> None:
        """The store does not know that an attempt runs since ``at``, on ``lease_clock``."""
        # By the store's clock as it is now: somebody may have set it.
        attempt.started_at = self._context.clock() - (lease_clock() - at)
        self.attempts.unannounced[attempt.token] = attempt
        self.prefetch.moved()

    def _not_started(self, token: str, lacking: str) -> None:
        """The host lacks something: the job goes back, and nothing is claimed for a while."""
        attempt = self.attempts.get(token)
        if attempt is None or not self.attempts.move(attempt, AttemptEvent.LACKING):
            return
        attempt.disarm()
        self.shims.release_own(attempt.job)
        self._leave_worker(attempt)
        self.shortage.met(lacking)
        self._context.wake()

    def lacks_input(self, attempt: ActiveAttempt, lacking: str) -> None:
        """The standard input of a claimed attempt could not be written."""
        self._not_started(attempt.token, lacking)

    def _leave_worker(self, attempt: ActiveAttempt) -> None:
        """The worker of this attempt has nothing to do any more."""
        slot = self._context.slots.get(attempt.worker)
        if slot is not None and slot.attempt is attempt:
            slot.attempt = None
            if not attempt.in_shared_shim and slot.stop is None:
                self.shims.use(slot)

    # -- ending -----------------------------------------------------------------------

    def exited(
        self, attempt: ActiveAttempt, exit_: Exit, event: AttemptEvent = AttemptEvent.EXITED
    ) -> bool:
        """An attempt has ended so: end what is left of it, then make its result. False: that comes
        too late."""
        if not self.attempts.move(attempt, event):
            return False
        left = attempt.exited(exit_)
        attempt.has_reported = self._reports.any_reported(attempt.files, exit_.at)
        if left or attempt.has_reported or attempt.capture.is_large(exit_.written):
            self._context.background.start(self._clear_and_finish(attempt, exit_, left))
        else:
            self._finish(attempt, exit_, attempt.capture.finish(exit_.written))
        return True

    def give_up(self, attempt: ActiveAttempt, reason: str) -> bool:
        """How an attempt ended will never be known: a crash. False: that comes too late."""
        return self.exited(attempt, Exit.unknown(Outcome.CRASHED, reason), AttemptEvent.LOST)

    def never_started(self, attempt: ActiveAttempt, reason: str = NEVER_STARTED) -> bool:
        """Nobody started it: the job is pending again. False: that comes too late."""
        exit_ = Exit.unknown(Outcome.INTERRUPTED, reason, written=0)
        return self.exited(attempt, exit_, AttemptEvent.NEVER_STARTED)

    async def _clear_and_finish(self, attempt: ActiveAttempt, exit_: Exit, left: bool) -> None:
        if left:
            await attempt.clear_group(exit_)
        output = await asyncio.to_thread(attempt.capture.finish, exit_.written)
        # Only now, because nothing of it runs any more that could report.
        attempt.has_reported = self._reports.any_reported(attempt.files, lease_clock())
        report = None
        if attempt.has_reported:
            report = await asyncio.to_thread(reports.read_report, attempt.files, attempt.progress)
        self._finish(attempt, exit_, output, report)

    def _finish(
        self,
        attempt: ActiveAttempt,
        exit_: Exit,
        output: tuple[int, bytes],
        report: Report | None = None,
    ) -> None:
        """Leave the result of an attempt for the dispatcher. Its worker is free."""
        result = make_result(attempt, exit_, output, self._context, report)
        if not self.attempts.finish(attempt, result):
            return  # it has another owner by now
        self._leave_worker(attempt)
        self.shortage.tried(attempt.token)
        if result.attempt.finished_at is not None:
            self.prefetch.ran(result.attempt.finished_at - result.attempt.started_at)
        self._context.look()

    # -- attempts whose shim is gone, or somebody else's ------------------------------

    def _on_shim_death(self, suspect: Job | None) -> None:
        """A shim was killed, and how its jobs end is lost. ``suspect``: whose shim it was; None:
        the shared one."""
        tell = self._context.tell
        if suspect is not None:
            attempt = self.attempts.of(suspect)
            if attempt is not None and not attempt.ended:
                tell(Notice(NoticeKind.TROUBLE, "its shim was killed", job=suspect))
                self._context.background.start(self.resolve_orphans([attempt]))
            return
        for attempt in list(self.attempts.prefetched.values()):
            self.attempts.move(attempt, AttemptEvent.ORPHANED)
        orphans = [one for one in self.attempts if one.in_shared_shim and one.runs]
        self.prefetch.shim_died()
        tell(Notice(NoticeKind.TROUBLE, "the shim was killed; starting another"))
        self.shims.replace_shared()
        self._context.background.start(self.resolve_orphans(orphans))

    async def resolve_orphans(self, orphans: Sequence[ActiveAttempt]) -> None:
        """The shim of these attempts is dead: find out how they ended, and end what still runs."""
        context = self._context
        jobs = [attempt.job for attempt in orphans]
        told = False
        while True:
            try:
                run = context.run_directory
                plan = await triage(jobs, run, self.processes, shim=context.id, dead=True)
                break
            except OSError as error:  # too many open files, most likely
                if not told:
                    text = f"cannot find out how jobs ended: {error.strerror}; trying again"
                    context.tell(Notice(NoticeKind.TROUBLE, text))
                told = True
                await asyncio.sleep(SHIM_PAUSE)
        self.resolve(orphans, plan, SHIM_KILLED)

    def resolve(
        self, attempts: Iterable[ActiveAttempt], plan: RecoveryPlan, reason: str, host: str = ""
    ) -> None:
        """Carry out what triage found of ``attempts``: of our own, whose shim died, or of inherited
        ones. What still runs of them is ended in the background. ``reason``: why they have crashed,
        if they have. ``host``: where they ran, if that was another host."""
        by_token = {attempt.token: attempt for attempt in attempts}
        ends = [*plan.exited, *((job, None) for job in plan.crashed)]
        for job, exit_ in ends:
            by_token[token_of(job)].host = host
            self._resolve(by_token[token_of(job)], exit_, reason)
        for job in plan.unstarted:
            attempt = by_token[token_of(job)]
            if attempt.pid is not None:  # its shim told us of a start that it could not write down
                self._resolve(attempt, None, reason)
            elif self.never_started(attempt):
                self._tell_recovered(attempt, NEVER_STARTED)
        for one in plan.remains:
            self._context.background.start(self._end(by_token[token_of(one.job)], one, reason))

    async def _end(self, attempt: ActiveAttempt, remains: Remains, reason: str) -> None:
        """End what still runs of an attempt; only then may its job run again."""
        await remains.end(self.processes)
        self._resolve(attempt, remains.exit, reason)

    def _resolve(self, attempt: ActiveAttempt, exit_: Exit | None, reason: str) -> None:
        if exit_ is not None and self.exited(attempt, exit_):
            self._tell_recovered(attempt, "it had ended meanwhile")
        elif exit_ is None and self.give_up(attempt, reason):
            self._tell_recovered(attempt, reason)

    def _tell_recovered(self, attempt: ActiveAttempt, message: str) -> None:
        if attempt.inherited and attempt.on_shim:  # adopted ones were reported already
            self._context.tell(Notice(NoticeKind.RECOVERED, message, job=attempt.job))
