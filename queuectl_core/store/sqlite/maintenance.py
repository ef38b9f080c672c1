"""Removing lost supervisors, and backups, as transactions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...domain.errors import StoreError, StoreFull
from ...domain.events import EventKind
from ...domain.model import State
from ..protocol import Changed, Said
from .connection import Driver
from .events import record, tell_count
from .hooks import deliver_all
from .queries import SQL, to_params
from .supervisors import supervisors

if TYPE_CHECKING:
    import threading

    from ...domain.model import SupervisorRow

BACKUP_PAGES = 512
"""Pages copied at a time: 2 MiB, a few milliseconds."""


def dismiss(conn: Driver, dead: SupervisorRow, now: float | None = None) -> bool:
    current = {row.id: row for row in supervisors(conn)}
    holds = conn.execute(SQL["holds"], {"id": dead.id}).fetchone()
    if holds or not dead.is_unchanged(current.get(dead.id)):
        return False
    conn.execute(SQL["deregister"], {"id": dead.id})
    record(conn, EventKind.WORKER_LOST, now, name=dead.id, detail={"host": dead.host, "jobs": 0})
    deliver_all(conn, time.time() if now is None else now)
    return True


def prune(
    conn: Driver,
    seqs: Sequence[int],
    state: State,
    before: float,
    *,
    said: Said | None = None,
    now: float | None = None,
) -> Changed:
    params = {"seqs": list(seqs), "state": state, "before": before}
    found = [(row[0], row[1]) for row in conn.execute(SQL["prune"], to_params(params)).fetchall()]
    event = None
    if said is not None:
        event = tell_count(conn, EventKind.REMOVED, now, len(found), said)
    return Changed(found, [], event)


def backup(
    conn: sqlite3.Connection,
    target: Path,
    progress: Callable[[int, int], None],
    stopped: threading.Event,
) -> None:
    """Copy the whole database into the empty file ``target``, as it is at one moment.

    The read transaction around the copying keeps this moment. Writers continue; what they commit is
    not in the copy and does not make it start again. Running jobs are pending in the copy.
    """

    def step(_: int, remaining: int, total: int) -> None:
        if stopped.is_set():
            raise InterruptedError
        progress(total - remaining, total)

    copy = sqlite3.connect(target, isolation_level=None)
    try:
        # The caller flushes the file to the disk, and removes it if anything fails.
        copy.execute("PRAGMA synchronous = OFF")
        conn.execute("BEGIN")
        try:
            conn.execute(SQL["counts"]).fetchall()
            conn.backup(copy, pages=BACKUP_PAGES, progress=step)
        finally:
            conn.execute("ROLLBACK")
        # The copy has no workers. Otherwise workers of the copy would look for the processes of
        # running jobs and end them, while the original is still in use.
        for name in ("copy_released", "copy_starting", "copy_workers", "copy_supervisors"):
            copy.execute(SQL[name])
        # The copy is in WAL mode now. Closing it would also move these changes into the file, but
        # without an error if that fails.
        if copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise StoreError(f"backup failed: {target} is in use", "try again")
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise StoreFull("no space left for the copy", "free some space") from error
        raise StoreError(f"backup failed: {error}", "run: queuectl doctor") from error
    finally:
        copy.close()
