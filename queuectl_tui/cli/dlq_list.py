"""``queuectl dlq list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from queuectl_core.model import Filter

from .command import Session, pass_session, verb
from .dead import DEAD, DEAD_JOBS, filters

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

AT_TERMINAL = 50


@verb("list", examples=("queuectl dlq list", "queuectl dlq list --exit-code 127 --json"))
@filters
@click.option("--limit", metavar="N", type=click.IntRange(min=0), help="At most so many.")
@pass_session
def list_dead(
    session: Session, /, *, search: str | None, exit_code: int | None, limit: int | None
) -> None:
    """List the jobs in the DLQ, newest first: at a terminal 50, else all of them."""
    where = Filter(DEAD, search=search, exit_code=exit_code)
    for_person = session.out.terminal and not session.json
    shown = AT_TERMINAL if limit is None and for_person else limit

    async def act(queue: Queue) -> tuple[int, int]:
        with session.out.listing(DEAD_JOBS, json=session.json, header=not session.quiet) as listing:
            async for page in queue.pages(where, shown):
                for job in page:
                    listing.add(job)
        full = for_person and listing.count == shown
        return listing.count, await queue.count(where) if full else listing.count

    count, total = session.run(act, read_only=True)
    if for_person:
        session.out.flush()
        if not total:
            session.err.note("no dead jobs" if where == Filter(DEAD) else "no dead jobs match")
        elif total > count:
            session.err.note(f"{total - count:,} more; --limit N shows N, a pipe or --json all")
