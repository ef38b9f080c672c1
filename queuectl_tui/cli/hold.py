"""``queuectl hold`` and ``queuectl release``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from queuectl_core.domain.model import Filter, Job

from .declare import verb
from .jobs import change_named, read_again
from .results import show_changed, show_count
from .selection import JobSelection, selects_live_jobs
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Progress, Queue

    Change = Callable[[Queue, Sequence[Job]], Awaitable[int]]
    ChangeAll = Callable[[Queue, Filter, Progress], Awaitable[int]]


@verb(
    "hold",
    examples=(
        "queuectl hold job1 job2",
        "queuectl hold --queue mail --search newsletter",
        "queuectl hold --all",
    ),
)
@selects_live_jobs
def hold(session: Session, /, *, selection: JobSelection) -> None:
    """Let jobs wait until somebody releases them (queuectl release): pending, waiting and failed
    ones. Jobs that run are left alone.

    Of jobs that are named, all or none. With --all or a filter: all that match and have not
    started; prints how many. To hold all jobs of a queue, also those that are added later:
    queuectl queue pause NAME.
    """
    _act(
        session,
        selection,
        ("holding", "held"),
        lambda queue, jobs: queue.hold(jobs),
        lambda queue, where, progress: queue.hold_all(where, progress),
    )


@verb(
    "release",
    examples=(
        "queuectl release job1",
        "queuectl release --all --queue mail",
    ),
)
@selects_live_jobs
def release(session: Session, /, *, selection: JobSelection) -> None:
    """Let held jobs run: those that somebody holds, and those that are held because a job that they
    waited for ended the wrong way.

    A job that still waits for other jobs goes on waiting for them. Of jobs that are named, all or
    none: if one is not held, nothing is released. With --all or a filter: all that match and are
    held; prints how many.
    """
    _act(
        session,
        selection,
        ("releasing", "released"),
        lambda queue, jobs: queue.release(jobs),
        lambda queue, where, progress: queue.release_all(where, progress),
    )


def _act(
    session: Session,
    selection: JobSelection,
    words: tuple[str, str],
    some: Change,
    every: ChangeAll,
) -> None:
    doing, done = words

    async def named(queue: Queue) -> list[Job]:
        found = await change_named(session, queue, selection.ids, partial(some, queue))
        return await read_again(session, queue, found)

    async def matching(queue: Queue) -> int:
        where = await selection.find(session, queue)
        return await every(queue, where, partial(session.err.bar, doing))

    if selection.ids:
        show_changed(session, session.run(named), done)
    else:
        show_count(session, session.run(matching), done)
