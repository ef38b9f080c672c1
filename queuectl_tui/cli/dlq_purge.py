"""``queuectl dlq purge``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .declare import option, verb
from .results import show_count
from .selection import DEAD, JobSelection, confirm, plural, selects_dead_jobs
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


@verb(
    "purge",
    examples=("queuectl dlq purge job1 -y", "queuectl dlq purge --all --exit-code 127 -y"),
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
            jobs = await selection.named(queue, DEAD)
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
        return await queue.remove_all(
            where, lambda done, total: session.err.bar("purging", done, total)
        )

    count = session.run(act)
    show_count(session, count, "purged")
    return 1 if count is None else 0
