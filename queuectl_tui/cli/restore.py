"""``queuectl restore``."""

from __future__ import annotations

import os
from functools import partial

from queuectl_core.domain.text import clean_line

from ..presentation.format import plural
from .declare import FILE, UsageError, argument, option, verb
from .session import Session


@verb(
    "restore",
    examples=(
        "queuectl restore /backup/queue-2026-01-31.db",
        "queuectl --store /srv/queue.db restore backup.db --yes",
    ),
)
@argument("file", metavar="FILE", complete=FILE)
@option("-y", "--yes", is_flag=True, about="Do not ask.")
@option("--discard", is_flag=True, about="Do not keep what the store holds now.")
def restore(session: Session, /, *, file: str, yes: bool, discard: bool) -> int:
    """Put back the backup FILE: what it holds takes the place of all that the store holds, its
    jobs, history, settings and statistics. For SQLite stores. A store that is not there is made.

    FILE is checked first, and stays as it is. What the store holds now is kept in a file beside
    it, which can be restored in turn. Stop all workers and leave consoles first (exit code 4
    otherwise); a job of the store cannot do it. Killed at any moment, it leaves the old content or
    the new one, whole. Jobs that were running when the backup was made are pending.

    Asks first at a terminal; elsewhere -y is needed. Exit code 1 when the answer was no. Do not
    copy a backup over a store with cp: the -wal file of the old store would be mixed into the
    backup.
    """
    from queuectl_core.operations.restore import restore
    from queuectl_core.system.postcommit import commits, report_to

    def confirm(store: str, held: int | None, jobs: int) -> bool:
        session.err.clear()
        if yes:
            return True
        what = "all that is" if held is None else f"the {plural(held)}"
        kept = "will be lost" if discard else "are kept in a file beside it"
        question = f"Replace {what} in {clean_line(store)} by {plural(jobs)} of {clean_line(file)}?"
        answer = session.err.ask(f"{question} (The old ones {kept}.)")
        if answer is None:
            raise UsageError("restoring needs -y, as nobody can be asked")
        return answer

    report_to(session.err.warn)
    commits.reset()
    done = restore(
        session.store,
        os.environ,
        file,
        keep=not discard,
        confirm=confirm,
        progress=partial(session.err.bar, "reading", extra="pages"),
    )
    session.err.clear()
    if done is None:
        session.err.note("nothing restored")
        if session.json:
            session.out.json(None)
        return 1
    if session.json:
        session.out.json(
            {"store": done.store, "file": done.file, "jobs": done.jobs, "kept": done.kept}
        )
        return 0
    session.out.line(f"{plural(done.jobs)} restored from {clean_line(done.file)}")
    if done.kept is not None:
        session.err.note(
            f"what {clean_line(done.store)} held is now in {clean_line(done.kept)}; "
            "remove that file when you no longer need it"
        )
    return 0
