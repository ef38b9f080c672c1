"""``queuectl list``, and how jobs are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuectl_core.domain.model import Filter, Job

from ..presentation.jobs import job_columns
from .declare import option, verb
from .jobs import chosen_states, key_filter, queue_filter, search_filter, state_filter
from .output import View
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from queuectl_core.domain.admission import Reason
    from queuectl_core.queue import Queue

AT_TERMINAL = 50
"""Jobs shown to a person who did not say how many."""

JOBS: View[Job] = View(lambda job, now: job.to_json(), job_columns({}), "list", "list_pipe")


@verb(
    "list",
    examples=(
        "queuectl list --state dead --state failed",
        "queuectl list --search backup --limit 10",
        "queuectl list --state pending --json --show-env | queuectl --store other.db enqueue -",
        "queuectl list -q --state dead | cut -f1",
        "queuectl list --state waiting --key db1",
    ),
)
@state_filter(
    "Only jobs in this state: pending, waiting, processing, completed, failed, dead, cancelled. "
    "May be given several times, or several with commas."
)
@queue_filter
@key_filter
@search_filter
@option("--limit", metavar="N", kind=int, least=0, about="At most so many.")
@option("--show-env", is_flag=True, about="With --json: the values of env, not ***.")
def list_jobs(
    session: Session,
    *,
    states: tuple[str, ...],
    queues: tuple[str, ...],
    keys: tuple[str, ...],
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

    WHY says in a word why a job waits; queuectl why ID says all of it, and what to do.
    """
    waits: dict[int, Reason] = {}
    view: View[Job] = View(
        lambda job, now: job.to_json(show_env=show_env), job_columns(waits), "list", "list_pipe"
    )
    names: tuple[str, ...] = ()
    if queues:
        from .selection import queue_names, tell_unknown_queues

        names = queue_names(queues)
    where = Filter(chosen_states(states), names, search, keys=keys)
    nothing = "no jobs match" if where != Filter() else "no jobs yet"

    async def find(queue: Queue) -> Filter:
        if names:
            await tell_unknown_queues(session, queue, names)
        return where

    show_jobs(session, view, find, limit, nothing, waits=None if session.json else waits)


def show_jobs(
    session: Session,
    view: View[Job],
    find: Callable[[Queue], Awaitable[Filter]],
    limit: int | None,
    nothing: str,
    *,
    waits: dict[int, Reason] | None = None,
) -> None:
    """List the jobs that match, newest first: at a terminal 50, or ``limit``. ``find`` gives the
    filter; ``nothing`` is said at a terminal when no job matches. ``waits``: filled with the
    reasons why the jobs of a page wait, before they are listed."""
    for_person = session.out.terminal and not session.json
    most = AT_TERMINAL if limit is None and for_person else limit

    from queuectl_core.queue import in_parts

    async def act(queue: Queue) -> tuple[int, int]:
        where = await find(queue)
        with session.listing(view) as listing:
            async for page in queue.pages(where, most):
                if waits is not None:
                    waits.clear()  # memory use must not grow with the length of the list
                    waits.update(await queue.waits(page))
                for part in in_parts(page) if session.json else (page,):
                    for job in await queue.with_texts(part) if session.json else part:
                        listing.add(job)
        full = for_person and listing.count == most
        return listing.count, await queue.count_range(where) if full else listing.count

    count, total = session.run(act, read_only=True)
    if for_person:
        session.out.flush()
        if not total:
            session.err.note(nothing)
        elif total > count:
            session.err.note(f"{total - count:,} more; --limit N shows N, a pipe or --json all")
