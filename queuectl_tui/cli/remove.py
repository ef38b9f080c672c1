"""``queuectl remove``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from queuectl_core.domain.lifecycle import REMOVABLE

from ..presentation.format import plural
from .declare import option, verb
from .jobs import change_named
from .results import show_changed, show_count
from .selection import JobSelection, confirm, selects_jobs
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


@verb("remove", examples=("queuectl remove job1 job2", "queuectl remove --state cancelled -y"))
@selects_jobs
@option("-y", "--yes", is_flag=True, about="Do not ask, with --all or a filter.")
def remove(session: Session, /, *, selection: JobSelection, yes: bool) -> int:
    """Forget jobs, with their history and output. There is no way back.

    Of jobs that are named, all or none: if one is unknown or running (cancel it first),
    nothing is removed. With --all or a filter: all that match and do not run; asks first at
    a terminal, elsewhere -y is needed; prints how many. Exit code 1 when the answer was no.
    """
    if selection.ids:
        removed = session.run(
            lambda queue: change_named(session, queue, selection.ids, queue.remove)
        )
        show_changed(session, removed, "removed")
        return 0

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
