"""Errors of SQLite and of the system as errors of queuectl."""

from __future__ import annotations

import errno
import os
import sqlite3

from ...domain.errors import StoreDamaged, StoreError, StoreFull, StoreReadOnly, StoreUnreachable

FileName = str | os.PathLike[str]
"""The store's file. In short verbs it is a string: loading pathlib takes a tenth of their time."""

SHARED_MEMORY = 32 << 10
"""The smallest size of the shared memory file beside a WAL, in bytes."""


class BadValue(Exception):
    """A value in the file cannot be what we wrote. (Any other error in a transaction is a fault of
    the program, and must not be reported as a damaged store.)"""


def damaged(path: FileName, error: Exception) -> StoreDamaged:
    """The error for a file with content that we did not write."""
    return StoreDamaged(
        f"store {path} is damaged or not a database: {error}",
        "run: queuectl restore BACKUP, or move it away and start a new one",
    )


def explain(path: FileName, error: sqlite3.Error) -> StoreError:
    """The queuectl error for an SQLite error."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, error)
    if code == sqlite3.SQLITE_READONLY:
        return StoreReadOnly(f"store {path} is read-only", "check who owns it and its mode")
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL) and (limit := _size_limit()):
        return StoreFull(
            f"store {path}: a file would be larger than the limit of {limit:,} bytes",
            "raise it: ulimit -f",
        )
    # If there is no space for its shared memory, SQLite reports an I/O error.
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return StoreFull(f"no space left for store {path}", "free some space; nothing was lost")
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreUnreachable(f"cannot open store {path}: {error}", "check the path and its mode")
    return StoreError(f"store {path}: {error}", "run: queuectl doctor")


def _size_limit() -> int:
    """The largest file, in bytes, that this process may write; 0: no limit."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return 0 if limit == resource.RLIM_INFINITY else limit


def _is_full(path: FileName) -> bool:
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < SHARED_MEMORY


def explain_os(path: FileName, error: OSError) -> StoreError:
    """The queuectl error for a system error with the store's file or a file beside it."""
    if error.errno == errno.EISDIR:
        return StoreUnreachable(f"store {path} is a directory", f"give a file: {path}/queue.db")
    folder = os.path.dirname(path) or "."
    if error.errno == errno.ENOENT and os.path.isdir(folder):
        return StoreUnreachable(
            f"store {path} is not there", "check the path, or put it back; enqueue makes a new one"
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return StoreUnreachable(
            f"store {path}: directory {folder} does not exist", "create it first"
        )
    if error.errno == errno.EACCES:
        return StoreUnreachable(f"store {path}: permission denied", "check who owns it, its mode")
    if error.errno == errno.EROFS:
        return StoreReadOnly(f"store {path} is on a read-only file system", "use another path")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"no space left for store {path}", "free some space")
    return StoreUnreachable(f"store {path}: {error.strerror}", "check the path")
