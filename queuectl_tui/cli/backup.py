"""``queuectl backup``."""

from __future__ import annotations

from functools import partial

from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_bytes
from queuectl_core.system.postcommit import after_commit

from .declare import FILE, argument, option, verb
from .session import Session


@verb(
    "backup",
    examples=("queuectl backup /backup/queue-$(date +%F).db", "queuectl backup q.db --force"),
)
@argument("file", metavar="FILE", complete=FILE)
@option("--force", is_flag=True, about="Replace FILE if it is there.")
def backup(session: Session, file: str, force: bool) -> None:
    """Copy the store into FILE while everything goes on: all jobs, their history and the stored
    end of their output, as they are at one moment. FILE is there when it is whole, and for your
    eyes only: it holds the values of env. To look at it, use it as the store: jobs that were
    running are pending there, and nobody works on it. To go back to it: queuectl restore FILE.
    Do not copy it over a store with cp: a -wal file that is left there would be mixed into it.

    Prints the file's path.
    """

    progress = partial(session.err.bar, "copying", extra="pages")
    made = session.run(
        lambda queue: queue.backup(file, force=force, progress=progress), read_only=True, loop=True
    )
    size = 0
    with after_commit("reading the size of the backup"):
        size = made.stat().st_size
    session.err.clear()
    if session.json:
        session.out.json({"file": str(made), "bytes": size})
        return
    session.out.line(clean_line(str(made)))
    if session.out.terminal:
        session.err.note(f"{format_bytes(size)} copied")
