"""Checkpoints: moving the write-ahead log (WAL) into the database, without waiting for readers.

SQLite 3.7.0 to 3.51.2 can lose commits when a checkpoint meets a commit that starts the WAL anew
(sqlite.org/wal.html#walresetbug). A TRUNCATE checkpoint avoids that, since it takes the writer
lock; but then it waits for readers with that lock in its hand, and all writers wait with it. So
one connection takes the writer lock (``BEGIN IMMEDIATE``) and another one makes a PASSIVE
checkpoint, which waits for nobody. No commit can happen meanwhile.

When everything was moved and no reader needs the WAL, the next commit starts the WAL anew and
cuts the file to ``journal_size_limit``. A reader that keeps its snapshot for long prevents that,
and the WAL grows as long as it reads. ``doctor`` names such readers (``readers``).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from ...host import monotonic

WAL_LIMIT = 4 << 20
"""Bytes of WAL above which a supervisor makes a checkpoint, and to which the file is cut."""
DUE = 2
"""Above this many times as much, whoever has just written makes one: there may be no
supervisor."""
AGAIN_AFTER = 1.0
"""Seconds until a writer tries again after a checkpoint that could not move everything."""


class Checkpoints:
    """The checkpoints of one store, as one process makes them."""

    def __init__(self, path: Path, beside: Path) -> None:
        self._path = path
        self._beside = beside
        self._clean: tuple[int, int] | None = None
        """The WAL's size and time of change when nothing was left to be moved."""
        self._again_at = 0.0

    def after_write(self, conn: sqlite3.Connection) -> None:
        """Make a checkpoint if the WAL has become large. To be called after a commit: whatever
        goes wrong here must not look as if the write had failed."""
        if wal_size(self._path) > WAL_LIMIT * DUE and monotonic() >= self._again_at:
            with suppress(sqlite3.Error, OSError, MemoryError):
                self.make(conn)

    def make(self, conn: sqlite3.Connection) -> bool:
        """Move what can be moved, if the WAL is larger than :data:`WAL_LIMIT`. False: nothing was
        to be done, another process does it, or readers keep a part of it.

        ``conn`` must be in no transaction. Raises sqlite3.OperationalError when another
        connection is writing.
        """
        before = _state(self._path)
        if before is None or before[0] <= WAL_LIMIT or before == self._clean:
            return False
        # One process at a time is enough; eight supervisors would try it together.
        with _alone(self._beside) as alone:
            if not alone:
                return False
            conn.execute("BEGIN IMMEDIATE")
            try:
                complete = _move(self._path)
                self._clean = _state(self._path) if complete else None
            finally:
                conn.execute("ROLLBACK")
        self._again_at = 0.0 if complete else monotonic() + AGAIN_AFTER
        return complete


def _move(path: Path) -> bool:
    """A passive checkpoint on a connection of its own; whether everything was moved. The caller
    holds the writer lock."""
    # Never made anew, should it have been moved away in this very moment.
    address = f"file:{quote(str(path))}?mode=rw"
    other = sqlite3.connect(address, timeout=0, isolation_level=None, uri=True)
    try:
        other.execute("PRAGMA synchronous = FULL")
        other.execute("PRAGMA wal_autocheckpoint = 0")
        busy, frames, moved = other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    finally:
        other.close()
    return not busy and bool(frames == moved)


def wal_size(path: Path) -> int:
    """Bytes of the WAL beside the database."""
    found = _state(path)
    return 0 if found is None else found[0]


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(f"{path}-wal")
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    """Whether nobody else is in here for ``directory``. One that is not there has no users."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(fd)
