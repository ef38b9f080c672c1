"""``queuectl dlq list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .declare import UsageError, option, verb
from .dlq_columns import DEAD_GROUPS, DEAD_JOBS
from .selection import JobSelection, filters_dead_jobs
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

AT_TERMINAL = 50


@verb("list", examples=("queuectl dlq list", "queuectl dlq list --group"))
@filters_dead_jobs
@option("--limit", metavar="N", kind=int, least=0, about="At most so many.")
@option("--group", is_flag=True, about="By cause: one row for each, the largest first.")
def list_dead(
    session: Session, /, *, selection: JobSelection, limit: int | None, group: bool
) -> None:
    """List the jobs in the DLQ, newest first: at a terminal 50, else all of them.

    With --group: what they died of. A reason is the exit code and the last line of the error,
    with numbers and ids shown as #. To act on one of them: dlq retry --reason TEXT, where TEXT is
    a part of the reason.
    """
    if group:
        if selection.filtered:
            raise UsageError("--group takes no filter")
        _list_groups(session, limit)
        return
    for_person = session.out.terminal and not session.json
    shown = AT_TERMINAL if limit is None and for_person else limit

    async def act(queue: Queue) -> tuple[int, int]:
        where = await selection.find(session, queue)
        with session.out.listing(DEAD_JOBS, json=session.json, header=not session.quiet) as listing:
            async for page in queue.pages(where, shown):
                for job in page:
                    listing.add(job)
        full = for_person and listing.count == shown
        return listing.count, await queue.count_range(where) if full else listing.count

    count, total = session.run(act, read_only=True)
    if for_person:
        session.out.flush()
        if not total:
            session.err.note("no dead jobs match" if selection.filtered else "no dead jobs")
        elif total > count:
            session.err.note(f"{total - count:,} more; --limit N shows N, a pipe or --json all")


def _list_groups(session: Session, limit: int | None) -> None:
    from queuectl_core.operations.queries import dead_groups

    every = 1_000_000 if limit is None else limit
    groups = session.run(lambda queue: dead_groups(queue, every), read_only=True)
    with session.out.listing(DEAD_GROUPS, json=session.json, header=not session.quiet) as listing:
        for found in groups:
            listing.add(found)
