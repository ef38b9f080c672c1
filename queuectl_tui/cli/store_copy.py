"""``queuectl store copy``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl_core.domain.text import clean_line

from .declare import FILE, option, verb
from .output import Column, View
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.operations.copy import Copied
    from queuectl_core.queue import Queue

ROWS: View[Any] = View(
    lambda row: {},
    ("WHAT", "SOURCE", "COPY"),
    lambda row: (clean_line(row.what), str(row.source), str(row.target)),
    (Column("WHAT"), Column("SOURCE", right=True), Column("COPY", right=True)),
    lambda row: (
        (clean_line(row.what), ""),
        (f"{row.source:,}", ""),
        (f"{row.target:,}", "" if row.source == row.target else "red"),
    ),
)


@verb(
    "copy",
    examples=(
        "queuectl store copy --to postgresql://user@host/db",
        "queuectl --store postgresql://user@host/db store copy --to /var/lib/me/queue.db",
    ),
)
@option(
    "--to",
    dest="to",
    metavar="URL",
    required=True,
    complete=FILE,
    about="The store to make: path or URL.",
)
def copy(session: Session, to: str) -> int:
    """Copy all jobs, their history and stored output, settings and statistics into another store,
    which must be new. Ids and the order of arrival stay. The source stays as it was; go on with
    the copy by naming it in QUEUECTL_STORE.

    Stop all workers first. Interrupted, the same command goes on where it was; until it is done
    the copy opens for nothing else. Jobs enqueued meanwhile come along. Prints what both hold,
    and exits with 1 if it differs. Whole outputs come along where they lie on this host.
    """

    def progress(what: str, done: int, total: int) -> None:
        session.err.bar(what, done, total, "jobs")

    async def act(queue: Queue) -> Copied:
        return await queue.copy_to(to, progress)

    copied = session.run(act, read_only=True, loop=True)
    session.err.clear()
    if session.json:
        session.out.json(copied.to_json())
    else:
        with session.out.listing(ROWS, json=False, header=not session.quiet) as listing:
            for row in copied.rows:
                listing.add(row)
    if not copied.same:
        session.err.warn("they differ: a store was changed meanwhile; run the same command again")
        return 1
    source, target = clean_line(copied.source), clean_line(copied.target)
    session.err.note(f"all of it copied; {source} is as it was")
    session.err.note(f"next: export QUEUECTL_STORE='{target}' and start workers")
    return 0
