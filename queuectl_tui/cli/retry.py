"""``queuectl retry``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from queuectl_core.domain.lifecycle import RETRYABLE
from queuectl_core.domain.model import Filter, Job, State

from ..presentation.summary import by_state
from .declare import UsageError, option, verb
from .jobs import change_named, read_again, resolve
from .results import show_changed, show_count
from .selection import JobSelection, selects_jobs
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


@verb(
    "retry",
    examples=(
        "queuectl retry job1",
        "queuectl retry --state cancelled --queue mail",
        "queuectl retry job1 --command './import.sh --force'",
    ),
)
@selects_jobs
@option(
    "--command", metavar="CMD", about="Run this instead (one job, a string); the old one is lost."
)
@option("-y", "--yes", is_flag=True, about="Do not ask, with --all or a filter.")
def retry(session: Session, /, *, selection: JobSelection, command: str | None, yes: bool) -> int:
    """Run failed, dead, cancelled or completed jobs again, now, with attempts counted from 0;
    the history of earlier attempts is kept.

    Of jobs that are named, all or none: if one is unknown, waiting or running, nothing is
    done. With --all or a filter: all that match and may be; prints how many. If completed jobs are
    among them it asks first at a terminal; in a pipe it does not. Exit code 1 when the answer was
    no.
    """
    if command is not None and len(selection.ids) != 1:
        raise UsageError("--command goes with exactly one job")
    if selection.ids:
        again = session.run(lambda queue: _named(session, queue, selection, command))
        show_changed(session, again, "runs again")
        return 0

    async def act(queue: Queue) -> int | None:
        where = (await selection.find(session, queue)).narrowed(RETRYABLE)
        if not yes and session.err.can_ask and not await _confirm_completed(session, queue, where):
            return None
        return await queue.retry_all(where, partial(session.err.bar, "retrying"))

    return show_count(session, session.run(act), "retried")


async def _confirm_completed(session: Session, queue: Queue, where: Filter) -> bool:
    states = [state for state in State if state in where.states]
    counts = {state: await queue.count_range(where._replace(states=(state,))) for state in states}
    if not counts.get(State.COMPLETED):
        return True
    jobs = "job" if sum(counts.values()) == 1 else "jobs"
    return bool(session.err.ask(f"Run these {jobs} again: {by_state(counts)}?"))


async def _named(
    session: Session, queue: Queue, selection: JobSelection, command: str | None
) -> list[Job]:
    if command is not None:
        from queuectl_core.operations.queries import amend

        jobs = await resolve(session, queue, selection.ids)
        return await read_again(session, queue, [await amend(queue, jobs[0], command)])
    found = await change_named(session, queue, selection.ids, queue.retry)
    return await read_again(session, queue, found)
