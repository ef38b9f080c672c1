"""``queuectl dlq``: list, retry, purge."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from queuectl_core.domain.figures import DeadGroup
from queuectl_core.domain.model import Job

from ..presentation.dead_groups import GROUP_COLUMNS
from ..presentation.format import plural
from ..presentation.jobs import JOB_COLUMNS
from .declare import Noun, UsageError, option, verb
from .list_jobs import show_jobs
from .output import View
from .results import show_count
from .selection import DEAD, JobSelection, confirm, filters_dead_jobs, selects_dead_jobs
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

dlq = Noun(
    "dlq",
    {
        "list": ("dlq:list_dead", "List the jobs in the DLQ."),
        "retry": ("dlq:retry", "Run jobs of the DLQ again, now."),
        "purge": ("dlq:purge", "Remove jobs from the DLQ for good."),
    },
    about="The dead letter queue: the jobs that failed for good (state dead).",
    examples=(
        "queuectl dlq list",
        "queuectl dlq retry --all --search timeout",
        "queuectl dlq purge --all --exit-code 127 -y",
    ),
)

DEAD_JOBS: View[Job] = View(lambda job, now: job.to_json(), JOB_COLUMNS, "dead", "dead_pipe")
DEAD_GROUPS: View[DeadGroup] = View(lambda group, now: group.to_json(), GROUP_COLUMNS)


@verb("list", examples=("queuectl dlq list", "queuectl dlq list --group"))
@filters_dead_jobs
@option("--limit", metavar="N", kind=int, least=0, about="At most so many.")
@option("--group", is_flag=True, about="By cause: one row for each, the largest first.")
def list_dead(
    session: Session, /, *, selection: JobSelection, limit: int | None, group: bool
) -> None:
    """List the jobs in the DLQ, newest first: at a terminal 50, else all of them.

    With --group: what they died of. A reason is the exit code and the last line of the error,
    with numbers and ids shown as #. To act on one of them: dlq retry --reason TEXT, where TEXT is
    a part of the reason.
    """
    if group:
        from queuectl_core.operations.queries import dead_groups

        if selection.filtered:
            raise UsageError("--group takes no filter")
        every = 1_000_000 if limit is None else limit
        groups = session.run(lambda queue: dead_groups(queue, every), read_only=True)
        session.show_all(DEAD_GROUPS, groups)
        return
    nothing = "no dead jobs match" if selection.filtered else "no dead jobs"
    show_jobs(session, DEAD_JOBS, partial(selection.find, session), limit, nothing)


@verb(
    "retry",
    examples=("queuectl dlq retry job1", "queuectl dlq retry --all --search 'connection refused'"),
)
@selects_dead_jobs
def retry(session: Session, /, *, selection: JobSelection) -> None:
    """Run dead jobs again, now, with attempts counted from 0; their history is kept.

    Name jobs, or take all of them or all that match. Prints how many.
    """

    async def act(queue: Queue) -> int:
        if selection.ids:
            return await queue.retry(await selection.named(session, queue, DEAD))
        where = await selection.find(session, queue)
        return await queue.retry_all(where, partial(session.err.bar, "retrying"))

    show_count(session, session.run(act), "retried")


@verb(
    "purge", examples=("queuectl dlq purge job1 -y", "queuectl dlq purge --all --exit-code 127 -y")
)
@selects_dead_jobs
@option("-y", "--yes", is_flag=True, about="Do not ask.")
def purge(session: Session, /, *, selection: JobSelection, yes: bool) -> int:
    """Remove dead jobs for good, with their history and output.

    Name jobs, or take all of them or all that match. Asks first at a terminal; elsewhere -y
    is needed. Prints how many. Exit code 1 when the answer was no.
    """

    async def act(queue: Queue) -> int | None:
        if selection.ids:
            jobs = await selection.named(session, queue, DEAD)
            if not yes and not confirm(session, "purging", plural(len(jobs), "dead job")):
                return None
            return await queue.remove(jobs)
        where = await selection.find(session, queue)
        if not yes:
            count = await queue.count_range(where)
            if not count:
                return 0  # a job that dies from now on was in no question
            if not confirm(session, "purging", plural(count, "dead job")):
                return None
        return await queue.remove_all(where, partial(session.err.bar, "purging"))

    return show_count(session, session.run(act), "purged")
