"""``queuectl dlq retry``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .declare import verb
from .results import show_count
from .selection import DEAD, JobSelection, selects_dead_jobs
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


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
            return await queue.retry(await selection.named(queue, DEAD))
        where = await selection.find(session, queue)
        return await queue.retry_all(
            where, lambda done, total: session.err.bar("retrying", done, total)
        )

    show_count(session, session.run(act), "retried")
