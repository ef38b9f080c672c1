"""Opening a store to read it: nothing is created, migrated or changed.

If we may write to the file and its directory, SQLite opens the file as for writing, but with
``query_only``. If we may not, and the store is in use, the WAL and its index exist, and ``mode=ro``
reads them. If there is no WAL, the file is opened as ``immutable``. Then SQLite takes no lock, so a
result counts only if the file is unchanged afterwards. A store with an older schema is copied into
a temporary database, which is migrated.
"""

from __future__ import annotations

import os
import sqlite3

from ...domain.errors import StoreUnreachable
from . import migrate
from .connection import Driver, Opened, configure, open_driver, uri, with_patience
from .database_file import check_logs, is_writable
from .errors import FileName


def open_reader(path: FileName) -> Opened:
    """A connection that changes nothing. Raises the StoreError family."""
    opened = open_file(path)
    try:
        # In one transaction, so that a file that is just being made does not look foreign.
        old = with_patience(path, lambda: _is_old(opened.driver, path))
        if not old:
            return opened
        return _migrated(path, opened.driver)
    except BaseException:
        opened.driver.close()
        raise


def open_absent(path: FileName) -> Opened:
    """An empty store, in place of one that does not exist."""
    return Opened(with_patience(path, lambda: _temporary(path, None)))


def open_file(path: FileName) -> Opened:
    """Like :func:`open_reader`, for any database: its schema and owner are not checked."""
    if is_writable(path):
        return Opened(open_driver(path, writable=False))
    check_logs(path)
    wal = _size(path, "-wal")
    if wal is not None and _size(path, "-shm") is not None:
        return Opened(with_patience(path, lambda: _connect(path, "mode=ro", in_use=True)))
    if wal:
        raise StoreUnreachable(
            f"store {path} was not closed, and you may not write to it",
            "let its owner run any verb on it, which closes it",
        )
    before = _state(path)
    driver = with_patience(path, lambda: _connect(path, "mode=ro&immutable=1", in_use=False))
    return Opened(driver, lambda: _state(path) != before, torn=True)


def _connect(path: FileName, how: str, *, in_use: bool) -> Driver:
    conn = sqlite3.connect(
        uri(path, how),
        uri=True,
        timeout=0,
        isolation_level=None,
        cached_statements=256,
        check_same_thread=False,
        factory=Driver,
    )
    try:
        configure(conn, writable=False)
        conn.execute("PRAGMA application_id").fetchone()
        check_logs(path, opened=in_use)
    except BaseException:
        conn.close()
        raise
    return conn


def _is_old(conn: sqlite3.Connection, path: FileName) -> bool:
    conn.execute("BEGIN")
    try:
        return migrate.check(conn, path)
    finally:
        conn.execute("ROLLBACK")


def _migrated(path: FileName, source: sqlite3.Connection) -> Opened:
    before = _state(path)
    driver = with_patience(path, lambda: _temporary(path, source))
    source.close()
    return Opened(driver, lambda: _state(path) != before)


def _temporary(path: FileName, source: sqlite3.Connection | None) -> Driver:
    """A database that only this connection has. SQLite keeps a large one in a temporary file."""
    conn = sqlite3.connect("", isolation_level=None, check_same_thread=False, factory=Driver)
    try:
        configure(conn, writable=False, query_only=False)
        if source is not None:
            source.backup(conn)
        conn.execute("BEGIN IMMEDIATE")
        migrate.migrate(conn, path)
        conn.execute("COMMIT")
        conn.execute("PRAGMA query_only = ON")
    except BaseException:
        conn.close()
        raise
    return conn


def _size(path: FileName, end: str) -> int | None:
    try:
        return os.lstat(f"{path}{end}").st_size
    except OSError:
        return None


def _state(path: FileName) -> tuple[object, ...]:
    """A value that changes when anything is written."""

    def of(name: str) -> tuple[int, ...] | None:
        try:
            found = os.stat(name)
        except OSError:
            return None
        if not found.st_size:
            return None  # an empty WAL is the same as none
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    return of(str(path)), of(f"{path}-wal")
