"""How jobs are shown, and how the jobs a person names are found."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from queuectl_core.domain.model import Command, Job, State
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_duration, format_time
from queuectl_core.system.run_sync import sleep

from .declare import argument
from .output import Column, View
from .session import Session, queue_time

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

F = TypeVar("F", bound=Callable[..., Any])

TRIES = 5
"""Times that jobs which change under our hands are looked for again."""

STYLES = {
    State.PENDING: "cyan",
    State.PROCESSING: "bold yellow",
    State.COMPLETED: "green",
    State.FAILED: "magenta",
    State.DEAD: "bold red",
    State.CANCELLED: "dim",
}


def command_text(command: Command) -> str:
    """A command on one line as one would type it, cleaned."""
    if isinstance(command, str):
        return clean_line(command)
    from shlex import join

    return clean_line(join(command))


def number(value: float | None) -> str:
    """A number for a plain cell; empty for None."""
    return "" if value is None else f"{value:.12g}"


def ago(moment: float | None, now: float) -> str:
    """How long ago, or how long until, for people."""
    if moment is None:
        return ""
    return f"in {format_duration(moment - now)}" if moment > now else format_duration(now - moment)


def times_tried(job: Job) -> str:
    """Attempts of those allowed, the one that runs included: ``1/3``."""
    return f"{job.tries}/{max(1, job.max_retries)}"


def _cells(job: Job) -> list[str]:
    return [
        clean_line(job.id),
        job.state.value,
        str(job.attempts),
        str(job.max_retries),
        str(job.priority),
        clean_line(job.queue),
        format_time(job.created_at) or "",
        format_time(job.updated_at) or "",
        number(job.exit_code),
        command_text(job.command),
        clean_line(job.last_error or ""),
    ]


def _pretty(job: Job) -> list[tuple[str, str]]:
    now = queue_time()
    waits = job.state in (State.PENDING, State.FAILED) and job.run_at > now
    why = f"due {ago(job.run_at, now)}" if waits else ""
    if job.last_error and job.state in (State.FAILED, State.DEAD):
        why = clean_line(job.last_error, 200) + (f" ({why})" if why else "")
    return [
        (clean_line(job.id, 40), "bold"),
        (job.state.value, STYLES[job.state]),
        (times_tried(job), ""),
        (str(job.priority) if job.priority else "", ""),
        (clean_line(job.queue, 20), "dim"),
        (ago(job.created_at, now), "dim"),
        (command_text(job.command)[:400], ""),
        (why, "red" if job.state is State.DEAD else "magenta"),
    ]


def document(job: Job) -> dict[str, Any]:
    """The public JSON of a job."""
    return job.to_json()


def exported(job: Job) -> dict[str, Any]:
    """The same with the values of its env, so that it can be enqueued elsewhere."""
    return job.to_json(show_env=True)


JOBS: View[Job] = View(
    document,
    (
        "ID",
        "STATE",
        "ATTEMPTS",
        "MAX_RETRIES",
        "PRIORITY",
        "QUEUE",
        "CREATED_AT",
        "UPDATED_AT",
        "EXIT_CODE",
        "COMMAND",
        "LAST_ERROR",
    ),
    _cells,
    (
        Column("ID"),
        Column("STATE"),
        Column("TRIES", right=True),
        Column("PRIO", right=True, room=100),
        Column("QUEUE", room=80),
        Column("AGE", right=True, room=60),
        Column("COMMAND", flex=3),
        Column("WHY", flex=2, room=70),
    ),
    _pretty,
)


async def resolve(queue: Queue, refs: Sequence[str], *, to_change: bool = True) -> list[Job]:
    """The jobs with these ids, each once; raises for the first that is not there, before anything
    is done to the others. A prefix will do for an id that queuectl generated, and for any id where
    nothing is changed."""
    from queuectl_core.domain.errors import NotFound

    found = {}
    for ref in refs:
        try:
            job = await queue.find(ref, to_change=to_change)
        except NotFound as error:
            session = Session.current
            if to_change and ref == "all" and session is not None:
                error.hint = f"type: {session.path} --all"
            raise
        found[job.seq] = job
    return list(found.values())


async def change_named(
    queue: Queue, refs: Sequence[str], change: Callable[[Sequence[Job]], Awaitable[int]]
) -> list[Job]:
    """Find jobs by their ids and change them, all or none; the jobs as they were found.

    Nobody looked at them in between: when one changes under our hands, they are found again. So the
    answer is about the job as it is, and cancelling a job that is just being claimed ends it.
    """
    from queuectl_core.domain.errors import JobChanged

    for _ in range(TRIES):
        jobs = await resolve(queue, refs)
        try:
            await change(jobs)
        except JobChanged:
            continue
        return jobs
    jobs = await resolve(queue, refs)
    await change(jobs)
    return jobs


async def until_changed(queue: Queue, pause: float, deadline: float | None = None) -> bool:
    """Sleep until something was committed (True), or ``deadline`` (monotonic) is past (False)."""
    while True:
        if await queue.changed():
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False
        await sleep(pause)


def complete_dead(session: Session, incomplete: str) -> list[str]:
    """The same for jobs in the DLQ."""
    return complete_id(session, incomplete, (State.DEAD,))


def complete_id(session: Session, incomplete: str, states: tuple[State, ...] = ()) -> list[str]:
    """Ids that start with what has been typed, for shell completion."""

    async def newest(queue: Queue) -> list[Job]:
        from queuectl_core.domain.model import Filter

        return await queue.scan(Filter(states, search=incomplete or None), 200)

    try:
        jobs = session.run(newest, read_only=True)
    except Exception:
        return []
    return [job.id for job in jobs if job.id.startswith(incomplete)]


def complete_state(_: Session, incomplete: str) -> list[str]:
    """The states that start with what has been typed, after the last comma of several."""
    before, comma, word = incomplete.rpartition(",")
    return [f"{before}{comma}{state}" for state in State if state.value.startswith(word)]


def job_ids(*, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The argument ``ID...``."""
    name = "ID..." if required else "[ID]..."
    return argument("ids", metavar=name, many=True, required=required, complete=complete_id)
