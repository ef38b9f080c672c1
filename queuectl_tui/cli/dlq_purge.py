"""``queuectl dlq purge``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .changed import show_count
from .command import Session, pass_session, verb
from .matching import DEAD, Which, plural, sure, which_dead

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


@verb(
    "purge",
    examples=("queuectl dlq purge job1 -y", "queuectl dlq purge --all --exit-code 127 -y"),
)
@which_dead
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_session
@click.pass_context
def purge(ctx: click.Context, session: Session, /, *, which: Which, yes: bool) -> int:
    """Remove dead jobs for good, with their history and output.

    Name jobs, or take all of them or all that match. Asks first at a terminal; elsewhere -y
    is needed. Prints how many. Exit code 1 when the answer was no.
    """

    async def act(queue: Queue) -> int | None:
        if which.ids:
            jobs = await which.named(queue, DEAD)
            if not yes and not sure(ctx, session, "purging", plural(len(jobs), "dead job")):
                return None
            return await queue.remove(jobs)
        where = await which.find(session, queue)
        if not yes:
            count = await queue.count(where)
            if not count:
                return 0  # a job that dies from now on was in no question
            if not sure(ctx, session, "purging", plural(count, "dead job")):
                return None
        return await queue.remove_all(
            where, lambda done, total: session.err.bar("purging", done, total)
        )

    count = session.run(act)
    show_count(session, count, "purged")
    return 1 if count is None else 0
