"""``queuectl list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .declare import option, verb
from .jobs import JOBS, complete_state
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

AT_TERMINAL = 50
"""Jobs shown to a person who did not say how many."""


@verb(
    "list",
    examples=(
        "queuectl list --state dead --state failed",
        "queuectl list --search backup --limit 10",
        "queuectl list --state pending --json --show-env | queuectl --store other.db enqueue -",
        "queuectl list -q --state dead | cut -f1",
    ),
)
@option(
    "--state",
    dest="states",
    metavar="STATE",
    multiple=True,
    complete=complete_state,
    about="Only jobs in this state: pending, processing, completed, failed, dead, cancelled. "
    "May be given several times, or several with commas.",
)
@option(
    "--queue",
    dest="queues",
    metavar="NAME",
    multiple=True,
    about="Only jobs of this queue; repeatable.",
)
@option("--search", metavar="TEXT", about="Only jobs with this in id, command or error.")
@option("--limit", metavar="N", kind=int, least=0, about="At most so many.")
@option("--show-env", is_flag=True, about="With --json: the values of env, not ***.")
def list_jobs(
    session: Session,
    *,
    states: tuple[str, ...],
    queues: tuple[str, ...],
    search: str | None,
    limit: int | None,
    show_env: bool,
) -> None:
    """List jobs, newest first.

    At a terminal: the newest 50 (see --limit). In a pipe: all of them, as lines of
    tab-separated columns under a header; a tab or line break inside a value is shown as \\t
    or \\n, an empty value as -. With --json: an array of all of them.

    Values of env may be secrets and are printed as ***; with --show-env as they are, which is
    what another store can enqueue.
    """
    from queuectl_core.domain.model import Filter
    from queuectl_core.queue import check_states

    words = [word for given in states for word in given.split(",")]
    view = JOBS
    if show_env:
        view = JOBS.with_document(lambda job, now: job.to_json(show_env=True))
    names: tuple[str, ...] = ()
    if queues:
        from .selection import queue_names, tell_unknown_queues

        names = queue_names(queues)
    where = Filter(check_states(words), names, search)
    for_person = session.out.terminal and not session.json
    shown = AT_TERMINAL if limit is None and for_person else limit

    async def act(queue: Queue) -> tuple[int, int]:
        if names:
            await tell_unknown_queues(session, queue, names)
        with session.listing(view) as listing:
            async for page in queue.pages(where, shown):
                for job in page:
                    listing.add(job)
        full = for_person and listing.count == shown
        return listing.count, await queue.count_range(where) if full else listing.count

    count, total = session.run(act, read_only=True)
    if for_person:
        session.out.flush()
        if not total:
            session.err.note("no jobs match" if where != Filter() else "no jobs yet")
        elif total > count:
            session.err.note(f"{total - count:,} more; --limit N shows N, a pipe or --json all")
