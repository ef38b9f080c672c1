"""``queuectl remove``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from queuectl_core.domain.lifecycle import REMOVABLE
from queuectl_core.domain.model import Job

from ..presentation.format import plural
from .declare import UsageError, option, verb
from .jobs import change_named
from .results import show_changed, show_count
from .selection import JobSelection, confirm, selects_jobs
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


@verb(
    "remove",
    examples=(
        "queuectl remove job1 job2",
        "queuectl remove job1 --cascade",
        "queuectl remove --state cancelled -y",
    ),
)
@selects_jobs
@option("--cascade", is_flag=True, about="Remove the jobs too that wait for those that are named.")
@option("-y", "--yes", is_flag=True, about="Do not ask, with --all or a filter.")
def remove(session: Session, /, *, selection: JobSelection, cascade: bool, yes: bool) -> int:
    """Forget jobs, with their history and output. There is no way back.

    Of jobs that are named, all or none: if one is unknown or running (cancel it first), or if
    another job waits for it (see --cascade), nothing is removed. With --all or a filter: all that
    match, do not run, and for which no other job waits; asks first at a terminal, elsewhere -y is
    needed; prints how many. Exit code 1 when the answer was no.
    """
    if selection.ids:
        show_changed(session, _named(session, selection.ids, cascade), "removed")
        return 0
    if cascade:
        raise UsageError("--cascade goes with jobs that are named")

    async def act(queue: Queue) -> int | None:
        where = (await selection.find(session, queue)).narrowed(REMOVABLE)
        if not yes:
            count = await queue.count_range(where) if where.states else 0
            if not count:
                return 0  # a job that matches from now on was in no question
            if not confirm(session, "removing", plural(count)):
                return None
        return await queue.remove_all(where, partial(session.err.bar, "removing"))

    return show_count(session, session.run(act), "removed")


def _named(session: Session, ids: Sequence[str], cascade: bool) -> list[Job]:
    """Remove these jobs, and say how many that waited for them were removed, too."""
    counts: list[int] = []

    async def act(queue: Queue) -> list[Job]:
        async def change(jobs: Sequence[Job]) -> int:
            counts[:] = [await queue.remove(jobs, cascade=cascade)]
            return counts[0]

        return await change_named(session, queue, ids, change)

    jobs = session.run(act)
    more = sum(counts) - len(jobs)
    if more > 0:
        session.err.note(f"{plural(more)} that waited for them removed, too")
    return jobs
