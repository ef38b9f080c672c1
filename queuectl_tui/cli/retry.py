"""``queuectl retry``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from queuectl_core.model import Job

from .changed import show_changed
from .command import Session, pass_session, verb
from .jobs import job_ids, resolve

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


@verb("retry", examples=("queuectl retry job1", "queuectl dlq retry --all"))
@job_ids()
@pass_session
def retry(session: Session, ids: tuple[str, ...]) -> None:
    """Run failed, dead, cancelled or completed jobs again, now, with attempts counted from 0;
    the history of earlier attempts is kept.

    All or none: if one is unknown, waiting or running, nothing is done.
    """
    done = session.run(lambda queue: _retry(queue, ids))
    show_changed(session, done, "runs again")


async def _retry(queue: Queue, ids: Sequence[str]) -> list[Job]:
    jobs = await resolve(queue, ids)
    await queue.retry(jobs)
    return [await queue.get(job.seq) or job for job in jobs]
