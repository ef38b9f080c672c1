"""``queuectl cancel``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from queuectl_core.domain.model import Job, State
from queuectl_core.domain.text import clean_line
from queuectl_core.system.postcommit import after_commit, commits

from .declare import verb
from .jobs import change_named, until_changed
from .results import show_changed, show_count
from .selection import JobSelection, selects_live_jobs
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

PATIENCE = 5.0
"""Seconds beyond kill-grace to wait for a worker to end a job."""


@verb(
    "cancel",
    examples=(
        "queuectl cancel job1",
        "queuectl cancel job1 job2 job3",
        "queuectl cancel --all --queue mail",
        "queuectl cancel --state pending --search nightly",
    ),
)
@selects_live_jobs
def cancel(session: Session, /, *, selection: JobSelection) -> None:
    """Cancel jobs: those that wait will not run, a running one is ended (SIGTERM, after
    kill-grace SIGKILL).

    Of jobs that are named, all or none: if one is unknown or has ended already, nothing is
    cancelled. Waits until those that run have ended. With --all or a filter: all that match and
    wait or run; prints how many, and does not wait.
    """
    if selection.ids:
        done = session.run(lambda queue: _cancel(session, queue, selection.ids))
        show_changed(session, done, "cancelled")
        return

    async def act(queue: Queue) -> int:
        where = await selection.find(session, queue)
        return await queue.cancel_all(where, partial(session.err.bar, "cancelling"))

    show_count(session, session.run(act), "cancelled")


async def _cancel(session: Session, queue: Queue, ids: Sequence[str]) -> list[Job]:
    current = {job.seq: job for job in await change_named(session, queue, ids, queue.cancel)}
    with after_commit("waiting for running jobs to end"):
        await _until_ended(session, queue, current)
        if session.json:
            return await queue.with_texts(list(current.values()))
    return list(current.values())


async def _until_ended(session: Session, queue: Queue, current: dict[int, Job]) -> None:
    """Wait until none of these jobs runs, and keep them up to date."""
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
            session.err.warn(
                f"{names}: no live worker has it; it will be cancelled when a worker starts,"
                " unless it has ended by then"
            )
            break
        if time.monotonic() > deadline:
            session.err.warn(f"{names}: asked to end, but still running")
            break
        commits.goes_on(f"{names}: asked to end, but still running")
        session.err.status(f"waiting for {names} to end")
        await until_changed(queue, 0.05, deadline)
