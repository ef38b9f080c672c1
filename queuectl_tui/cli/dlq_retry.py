"""``queuectl dlq retry``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .command import Session, pass_session, verb
from .dead import chosen, selection

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


@verb(
    "retry",
    examples=("queuectl dlq retry job1", "queuectl dlq retry --all --search 'connection refused'"),
)
@chosen
@pass_session
@click.pass_context
def retry(
    ctx: click.Context,
    session: Session,
    /,
    *,
    ids: tuple[str, ...],
    every: bool,
    search: str | None,
    exit_code: int | None,
) -> None:
    """Run dead jobs again, now, with attempts counted from 0; their history is kept.

    Name jobs, or take all of them or all that match. Prints how many.
    """

    async def act(queue: Queue) -> int:
        where = await selection(
            ctx, queue, ids=ids, every=every, search=search, exit_code=exit_code
        )
        return await queue.retry_all(
            where, lambda done, total: session.err.bar("retrying", done, total)
        )

    count = session.run(act)
    session.err.clear()
    if session.json:
        session.out.json({"retried": count})
    else:
        session.out.line(f"{count} job{'s' if count != 1 else ''} retried")
