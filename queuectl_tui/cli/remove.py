"""``queuectl remove``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from queuectl_core.model import Job

from .changed import show_changed
from .command import Session, pass_session, verb
from .jobs import job_ids, resolve

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


@verb("remove", examples=("queuectl remove job1", "queuectl remove job1 job2"))
@job_ids()
@pass_session
def remove(session: Session, ids: tuple[str, ...]) -> None:
    """Forget jobs, with their history and output. There is no way back.

    All or none: if one is unknown or running (cancel it first), nothing is removed.
    """
    done = session.run(lambda queue: _remove(queue, ids))
    show_changed(session, done, "removed")


async def _remove(queue: Queue, ids: Sequence[str]) -> list[Job]:
    jobs = await resolve(queue, ids)
    await queue.remove(jobs)
    return jobs
