"""``queuectl cancel``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from queuectl_core.model import Job, State
from queuectl_core.text import clean_line

from .changed import show_changed
from .command import Session, pass_session, verb
from .jobs import job_ids, resolve, until_changed

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

PATIENCE = 5.0
"""Seconds beyond kill-grace to wait for a worker to end a job."""


@verb("cancel", examples=("queuectl cancel job1", "queuectl cancel job1 job2 job3"))
@job_ids()
@pass_session
def cancel(session: Session, ids: tuple[str, ...]) -> None:
    """Cancel jobs: those that wait will not run, a running one is ended (SIGTERM, after
    kill-grace SIGKILL), and this waits until it is.

    All or none: if one is unknown or has ended already, nothing is cancelled.
    """
    done = session.run(lambda queue: _cancel(session, queue, ids))
    show_changed(session, done, "cancelled")


async def _cancel(session: Session, queue: Queue, ids: Sequence[str]) -> list[Job]:
    jobs = await resolve(queue, ids)
    await queue.cancel(jobs)
    current = {job.seq: job for job in jobs}
    grace = (await queue.settings()).kill_grace
    deadline = time.monotonic() + grace + PATIENCE
    while True:
        await queue.changed()
        for seq, job in list(current.items()):
            current[seq] = await queue.get(seq) or job
        running = [job for job in current.values() if job.state is State.PROCESSING]
        if not running:
            break
        names = ", ".join(clean_line(job.id, 40) for job in running[:3])
        held = {worker.job for worker in await queue.workers() if worker.state != "lost"}
        if not any(job.id in held for job in running):
            session.err.warn(f"{names}: no live worker has it; cancelled when one next looks")
            break
        if time.monotonic() > deadline:
            session.err.warn(f"{names}: asked to end, but still running")
            break
        session.err.status(f"waiting for {names} to end")
        await until_changed(queue, 0.05, deadline)
    return list(current.values())
