"""``queuectl store``: copy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from queuectl_core.domain.text import clean_line

from ..presentation.columns import BOTH, Cell, Column
from .declare import FILE, Noun, option, verb
from .output import View
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.operations.copy import Compared

store = Noun(
    "store",
    {"copy": ("store:copy", "Copy everything into another store, to move to it.")},
    about="The store itself, where jobs are kept.",
    examples=("queuectl store copy --to postgresql://user@host/db",),
)


def _target(row: Compared, now: float) -> Cell:
    return f"{row.target:,}", "text" if row.source == row.target else "error"


COLUMNS: tuple[Column[Compared], ...] = (
    Column("what", BOTH, value=lambda row, _: clean_line(row.what)),
    Column("source", "terminal", value=lambda row, _: f"{row.source:,}", right=True),
    Column("source", "pipe", value=lambda row, _: str(row.source)),
    Column("copy", BOTH, _target, value=lambda row, _: str(row.target), right=True),
)
ROWS: View[Compared] = View(lambda row, now: {}, COLUMNS)


@verb(
    "copy",
    examples=(
        "queuectl store copy --to postgresql://user@host/db",
        "queuectl --store postgresql://user@host/db store copy --to /var/lib/me/queue.db",
    ),
)
@option(
    "--to", metavar="URL", required=True, complete=FILE, about="The store to make: path or URL."
)
def copy(session: Session, to: str) -> int:
    """Copy all jobs, their history and stored output, settings and statistics into another store,
    which must be new. Ids and the order of arrival stay. The source stays as it was; go on with
    the copy by naming it in QUEUECTL_STORE.

    Stop all workers first. Interrupted, the same command goes on where it was; until it is done
    the copy opens for nothing else. Jobs enqueued meanwhile come along. Prints what both hold,
    and exits with 1 if it differs. Whole outputs come along where they lie on this host.
    """

    progress = partial(session.err.bar, extra="jobs")
    copied = session.run(lambda queue: queue.copy_to(to, progress), read_only=True, loop=True)
    session.err.clear()
    if session.json:
        session.out.json(copied.to_json())
    else:
        session.show_all(ROWS, copied.rows)
    if not copied.same:
        session.err.warn("they differ: a store was changed meanwhile; run the same command again")
        return 1
    source, target = clean_line(copied.source), clean_line(copied.target)
    session.err.note(f"all of it copied; {source} is as it was")
    session.err.note(f"next: export QUEUECTL_STORE='{target}' and start workers")
    return 0
