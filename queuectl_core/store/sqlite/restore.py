"""The SQLite part of ``restore``: the content of one database replaces that of another.

SQLite itself does it, page by page, in one transaction of the restored store. No file is replaced,
so the logs beside the store still belong to this file. If the process is killed, the old content is
complete.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from threading import Event

from ...domain.errors import Conflict, StoreDamaged, StoreError, StoreFull, StoreLocked
from ...domain.model import Job
from . import jobs, maintenance, migrate
from .connection import APPLICATION_ID, open_alone, with_patience
from .copy import go_on_above, highest
from .database_file import LOGS, NO_LINKS
from .errors import BadValue, damaged, explain
from .queries import SQL, to_job
from .read_only import open_file, open_reader
from .readers import users_of

ALONE_PATIENCE = 2.0
"""Seconds to wait for others to close the store, so that a short verb can end."""


def check_backup(path: Path) -> int:
    """How many jobs a backup holds. Raises StoreDamaged unless it is an undamaged queuectl store,
    and StoreTooNew."""
    with closing(open_file(path).driver) as raw:
        if not with_patience(path, lambda: _is_ours(raw)):  # a new, empty file for one
            raise StoreDamaged(f"{path} is not a queuectl store", "give a backup of one")
        with_patience(path, lambda: migrate.check(raw, path))
        # Before anything is read from it: a view could be in the place of a table.
        if odd := with_patience(path, lambda: migrate.odd_object(raw)):
            raise StoreDamaged(f"{path} holds more or other than a store: {odd}", "another backup")
    with closing(open_reader(path).driver) as conn:
        with_patience(path, lambda: jobs.check_whole(conn, str(path)))
        faults = with_patience(path, lambda: jobs.rows(conn, "faults", tuple, {}))
        if faults:
            raise StoreDamaged(f"{path} is damaged: {faults[0][0]}", "give another backup")
        return with_patience(path, lambda: _count(conn))


def copy_backup(path: Path, draft: Path, progress: Callable[[int, int], None]) -> None:
    """Copy a backup into the empty file ``draft``, with the latest schema; nobody runs jobs there,
    whatever the backup says."""
    with closing(open_reader(path).driver) as conn:
        maintenance.backup(conn, draft, progress, Event())


def _count(conn: sqlite3.Connection) -> int:
    return sum(number for *_, number in conn.execute(SQL["counts"]))


def _is_ours(conn: sqlite3.Connection) -> bool:
    return bool(conn.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)


class ExclusiveStore:
    """A store that nobody else has open, until it is closed."""

    def __init__(self, path: Path) -> None:
        """Raises Conflict if somebody else has it open, and StoreDamaged if the file is no
        database, or that of another program."""
        self.path = path
        try:
            self._conn = open_alone(path, ALONE_PATIENCE)
        except StoreLocked as error:
            raise in_use(path) from error
        try:
            with_patience(path, self._check)
        except BaseException:
            self._conn.close()
            raise

    def _check(self) -> None:
        if _is_ours(self._conn):
            return
        try:
            migrate.check(self._conn, self.path)  # empty, or somebody else's
        except sqlite3.DatabaseError as error:
            raise damaged(self.path, error) from error

    def close(self) -> None:
        """Let others open it."""
        self._conn.close()

    def count(self) -> int | None:
        """How many jobs it holds; None if that cannot be read."""
        try:
            return _count(self._conn)
        except sqlite3.Error:
            return None

    def is_empty(self) -> bool:
        """Whether it holds no job, no setting and no statistics."""
        try:
            conn = self._conn
            return not (migrate.version(conn) and conn.execute(SQL["copy_any"]).fetchone())
        except sqlite3.Error:
            return False

    def running(self) -> list[Job] | None:
        """Its processing jobs; None if they cannot be read."""
        try:
            if not migrate.version(self._conn):
                return []
            rows = self._conn.execute(SQL["processing"]).fetchall()
            return [to_job(row) for row in rows]
        except (sqlite3.Error, BadValue, ValueError):
            return None

    def keep(self, target: Path) -> None:
        """Copy its content into the empty file ``target``, as a backup. If it is damaged, copy it
        page by page as it is."""
        try:
            maintenance.backup(self._conn, target, lambda done, total: None, Event())
            return
        except StoreFull:
            raise
        except StoreError:
            pass
        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
            try:
                self._conn.backup(copy, pages=maintenance.BACKUP_PAGES)
            except sqlite3.Error as error:
                raise explain(target, error) from error

    def replace(self, source: Path) -> None:
        """Take the content of ``source``, a complete store that nobody uses. It is on the disk on
        return."""
        with closing(sqlite3.connect(source, isolation_level=None)) as new:
            try:
                self._go_on(new)
                self._fit(new)
                new.backup(self._conn, pages=maintenance.BACKUP_PAGES)
            except sqlite3.Error as error:
                raise explain(self.path, error) from error

    def finish(self) -> None:
        """Move the WAL into the database file."""
        self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _go_on(self, new: sqlite3.Connection) -> None:
        """Give new jobs keys above all keys that this store has ever used. Otherwise they would get
        the output files of jobs that were enqueued after the backup."""
        with suppress(sqlite3.DatabaseError):
            given = max(highest(self._conn), highest(new))
            new.execute("BEGIN")
            go_on_above(new, given)
            new.execute("COMMIT")

    def _fit(self, new: sqlite3.Connection) -> None:
        """Give the new content the page size of the store. A WAL cannot change it."""
        size, wanted = (
            int(conn.execute("PRAGMA page_size").fetchone()[0]) for conn in (new, self._conn)
        )
        if size != wanted:
            new.execute("PRAGMA journal_mode = DELETE")
            new.execute(f"PRAGMA page_size = {wanted:d}")
            new.execute("VACUUM")


def in_use(path: Path) -> Conflict:
    """The error for a store that others have open."""
    pids = users_of(path)
    who = ", ".join(f"{pid} ({_program(pid)})" for pid in pids[:5])
    by = f" by process{'es' if len(pids) > 1 else ''} {who}" if pids else " by another process"
    return Conflict(
        f"store {path} is in use{by}", "run: queuectl worker stop, and leave consoles, first"
    )


def _program(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    shown = [os.fsdecode(word).rpartition("/")[2] for word in words[:4] if word]
    return " ".join(shown)[:60] or "?"


def move_aside(path: Path, kept: Path | None) -> None:
    """Give a file that is no database, and the logs beside it, other names (``kept``; None: remove
    the logs). The file also keeps its own name, so that nobody else can take it before it is
    replaced."""
    for end in LOGS:
        log = path.with_name(path.name + end)
        if kept is None:
            log.unlink(missing_ok=True)
        elif os.path.lexists(log):
            log.rename(kept.with_name(kept.name + end))
    if kept is not None and os.path.lexists(path):
        try:
            os.link(path, kept, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            path.rename(kept)
