"""``queuectl dlq retry``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .declare import verb
from .results import show_count
from .selection import DEAD, Which, which_dead
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


@verb(
    "retry",
    examples=("queuectl dlq retry job1", "queuectl dlq retry --all --search 'connection refused'"),
)
@which_dead
def retry(session: Session, /, *, which: Which) -> None:
    """Run dead jobs again, now, with attempts counted from 0; their history is kept.

    Name jobs, or take all of them or all that match. Prints how many.
    """

    async def act(queue: Queue) -> int:
        if which.ids:
            return await queue.retry(await which.named(queue, DEAD))
        where = await which.find(session, queue)
        return await queue.retry_all(
            where, lambda done, total: session.err.bar("retrying", done, total)
        )

    show_count(session, session.run(act), "retried")
