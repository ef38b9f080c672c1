"""``queuectl worker start``."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from queuectl_core.domain.model import Attempt, Job, State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_duration, format_time
from queuectl_core.system.postcommit import after_commit

from ..presentation.format import command_text, plural
from .declare import UsageError, option, verb
from .jobs import queue_filter
from .session import Session
from .worker import WORKERS

if TYPE_CHECKING:
    from queuectl_core.domain.notices import Summary
    from queuectl_core.queue import Queue

MARKS = {
    NoticeKind.UP: ("●", "green"),
    NoticeKind.STARTED: ("▶", "cyan"),
    NoticeKind.ADOPTED: ("▶", "yellow"),
    NoticeKind.RECOVERED: ("↺", "yellow"),
    NoticeKind.STOPPING: ("■", "yellow"),
    NoticeKind.TROUBLE: ("!", "red"),
}
ENDS = {
    State.COMPLETED: ("✓", "green"),
    State.FAILED: ("✗", "yellow"),
    State.DEAD: ("✗", "red"),
    State.CANCELLED: ("■", "dim"),
    State.PENDING: ("↺", "yellow"),
}


@verb(
    "start",
    examples=(
        "queuectl worker start",
        "queuectl worker start --count 4 --queue mail --queue default",
        "queuectl worker start --count 4 --detach",
        "queuectl worker start --until-empty",
        "queuectl worker start --until-idle --quiet      # from cron",
    ),
)
@option("-c", "--count", metavar="N", kind=int, default=1, about="How many; 1 if not given.")
@option("-d", "--detach", is_flag=True, about="Run in the background; return once up.")
@queue_filter
@option("--until-empty", is_flag=True, about="End when nothing is due, running or retrying.")
@option("--until-idle", is_flag=True, about="End when nothing is due or runs here; for cron.")
def start(
    session: Session,
    /,
    *,
    count: int,
    detach: bool,
    queues: tuple[str, ...],
    until_empty: bool,
    until_idle: bool,
) -> None:
    """Run workers here until they are stopped; any number of terminals may do so.

    Ctrl-c, SIGTERM or "queuectl worker stop" let running jobs finish first; a second ctrl-c ends
    them, and they go back to pending. With --detach the workers run in the background, in this
    host's one detached process, and log to a file beside the store; repeated, it adds --count
    workers to those that are there. With --until-empty they end by themselves; jobs that are
    scheduled for later, wait for other jobs, are held, or are in a paused queue do not keep them.
    With --until-idle jobs that wait for a retry, or that other workers run, do not keep them
    either.
    """
    if until_empty and until_idle:
        raise UsageError("--until-empty and --until-idle differ: give one of them")
    if detach and (until_empty or until_idle):
        option = "--until-empty" if until_empty else "--until-idle"
        raise UsageError(f"{option} is for workers in the foreground")
    if detach:
        session.run(
            lambda queue: _start_detached(session, queue, count, queues), create=True, loop=True
        )
        return
    reporter = Reporter(session)

    async def act(queue: Queue) -> Summary:
        return await queue.run_workers(
            count,
            queues,
            until_empty=until_empty,
            until_idle=until_idle,
            program=True,
            trace=session.err.debug,
            on_notice=reporter.tell,
        )

    with session.err.never_waiting():
        summary = session.run(act, create=True, loop=True)
        session.err.note(
            f"stopped after {format_duration(summary.seconds)}: "
            f"{summary.done:,} done, {summary.failed:,} failed"
        )
    if session.json:
        session.out.json(
            {"done": summary.done, "failed": summary.failed, "seconds": round(summary.seconds, 3)}
        )


async def _start_detached(
    session: Session, queue: Queue, count: int, queues: tuple[str, ...]
) -> None:
    started = await queue.start_workers(count, queues)
    if session.json:
        session.out.json([worker.to_json(session.clock()) for worker in started])
    elif session.out.terminal:
        session.show_all(WORKERS, started)
    else:
        for worker in started:
            session.out.line(worker.id)
    stop = "queuectl worker stop"
    here = {worker.host for worker in started}
    up = plural(count, "worker")
    said = f"{up} up"
    with after_commit("looking for other workers"):
        workers = await queue.workers()
        if any(worker.host not in here for worker in workers):
            # Without --host it would stop the workers of all hosts.
            stop += "".join(f" --host {shlex.quote(clean_line(name))}" for name in here)
        process = {worker.supervisor for worker in started}
        now = sum(one.supervisor in process and one.state != "stopping" for one in workers)
        if now > count:
            said = f"added {up}; {now} now in the background"
    session.err.note(f"{said}; stop: {stop}")


class Reporter:
    """Prints a line for each notice of the supervisor, at a terminal or in a log."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.fancy = session.err.terminal

    def tell(self, notice: Notice) -> None:
        err = self.session.err
        if err.quiet and notice.kind is not NoticeKind.TROUBLE:
            return
        now = self.session.clock()
        mark, style = MARKS.get(notice.kind, ("·", "dim"))
        if notice.kind is NoticeKind.ENDED and notice.state is not None:
            mark, style = ENDS.get(notice.state, ("·", "dim"))
        text = describe(notice, now)
        if self.fancy:
            err.line(f"{err.styled(time.strftime('%X'), 'dim')} {err.styled(mark, style)} {text}")
        else:
            err.line(f"{format_time(now)} {text}")
        if notice.kind is NoticeKind.UP and self.fancy:
            err.note(
                "stop with ctrl-c (twice: end running jobs), or: queuectl worker stop; "
                "in the background: worker start --detach"
            )


def describe(notice: Notice, now: float) -> str:
    job = notice.job
    if job is None:
        message = clean_line(notice.message)
        return f"up: {message}" if notice.kind is NoticeKind.UP else message
    name = clean_line(job.id, 60)
    if notice.kind is NoticeKind.STARTED:
        command = clean_line(command_text(job.command), 80)
        return f"{name} started on {clean_line(notice.worker, 40)}: {command}"
    if notice.kind is NoticeKind.ENDED:
        return f"{name} {_end(job, notice.attempt, notice.state, notice.retry_at, now)}"
    if notice.kind is NoticeKind.ADOPTED:
        return f"{name} goes on here; its supervisor died"
    if notice.kind is NoticeKind.RECOVERED:
        return f"{name}: its supervisor died; {clean_line(notice.message)}"
    return f"{name} {clean_line(notice.message)}"


def _end(
    job: Job, attempt: Attempt | None, state: State | None, retry_at: float | None, now: float
) -> str:
    took = ""
    if attempt is not None and attempt.finished_at is not None:
        took = f" in {format_duration(attempt.finished_at - attempt.started_at)}"
    why = clean_line(attempt.reason, 200) if attempt is not None and attempt.reason else ""
    if state is State.COMPLETED:
        return f"completed{took}"
    if state is State.DEAD:
        return f"dead{took}: {why}; now in the DLQ"
    if state is State.FAILED and retry_at is not None:
        tried = f"try {job.attempts + 1} of {job.max_retries}"  # the job as it was claimed
        return f"failed{took}: {why} ({tried}); again in {format_duration(retry_at - now)}"
    if state is State.PENDING:  # not "pending in 3 s": that would be when it runs again
        return (
            f"back to pending after{took.removeprefix(' in')}: {why}" if took else f"pending: {why}"
        )
    word = state.value if state is not None else "ended"
    return f"{word}{took}{': ' if why else ''}{why}"
