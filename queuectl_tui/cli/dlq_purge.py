"""``queuectl dlq purge``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .command import Session, pass_session, verb
from .dead import chosen, selection

if TYPE_CHECKING:
    from queuectl_core.queue import Queue


@verb(
    "purge",
    examples=("queuectl dlq purge job1", "queuectl dlq purge --all --exit-code 127 --yes"),
)
@chosen
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_session
@click.pass_context
def purge(
    ctx: click.Context,
    session: Session,
    /,
    *,
    ids: tuple[str, ...],
    every: bool,
    search: str | None,
    exit_code: int | None,
    yes: bool,
) -> int:
    """Remove dead jobs for good, with their history and output.

    Name jobs, or take all of them or all that match. Asks first at a terminal; elsewhere -y
    is needed. Prints how many. Exit code 1 when the answer was no.
    """

    async def act(queue: Queue) -> int | None:
        where = await selection(
            ctx, queue, ids=ids, every=every, search=search, exit_code=exit_code
        )
        count = await queue.count(where)
        if count and not yes:
            jobs = f"{count:,} dead job{'s' if count != 1 else ''}"
            answer = session.err.ask(f"Remove {jobs} for good, with history and output?")
            if answer is None:
                raise click.UsageError(f"purging {jobs} needs -y, as nobody can be asked", ctx)
            if not answer:
                return None
        return await queue.remove_all(
            where, lambda done, total: session.err.bar("purging", done, total)
        )

    count = session.run(act)
    session.err.clear()
    if count is None:
        session.err.note("nothing purged")
    if session.json:
        session.out.json({"purged": count or 0})
    elif count is not None:
        session.out.line(f"{count} job{'s' if count != 1 else ''} purged")
    return 1 if count is None else 0
