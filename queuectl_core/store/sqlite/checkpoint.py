"""Checkpoints: moving the write-ahead log (WAL) into the database, without waiting for readers.

SQLite 3.7.0 to 3.51.2 can lose commits when a checkpoint meets a commit that starts the WAL anew
(sqlite.org/wal.html#walresetbug). A TRUNCATE checkpoint avoids that, since it takes the writer
lock. But then it waits for readers while it holds that lock, and all writers wait with it. So one
connection takes the writer lock (``BEGIN IMMEDIATE``) and another one makes a PASSIVE
checkpoint, which waits for nobody. No commit can happen meanwhile.

A reader that keeps its snapshot for long keeps the WAL growing. When it leaves, hundreds of
megabytes may have to be moved. That takes seconds: too long to hold the writer lock. So a large
WAL is moved in two parts (:meth:`Checkpoints.move_ahead`). The first part goes without the writer
lock, while a reader of our own keeps a snapshot. A commit starts the WAL anew only when no reader
uses the WAL, so the fault cannot occur, and writers go on meanwhile. What they added is little. It
is moved while we hold the lock, like a small WAL.

When everything was moved and no reader needs the WAL, the next commit starts the WAL anew and
cuts the file to ``journal_size_limit``. ``doctor`` names readers that prevent it (``readers``).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

from ...system.clocks import monotonic
from .errors import FileName
from .notifier import is_heard

WAL_LIMIT = 4 << 20
"""Bytes of WAL above which a supervisor makes a checkpoint, and to which the file is cut."""
DUE = 2
"""Above this multiple a process that has just written makes a checkpoint, because there may be no
supervisor."""
LARGE = 8
"""Above this multiple most of the WAL is moved first without the writer lock. A supervisor does it,
if there is one."""
AGAIN_AFTER = 1.0
"""Seconds until a writer tries again after a checkpoint that could not move everything."""
ROUNDS = 5
"""How often a large WAL is moved without the lock. Each time moves what was committed during the
time before."""


class Checkpoints:
    """The checkpoints that this process makes for one store."""

    def __init__(self, path: FileName, beside: str, is_gone: Callable[[], bool]) -> None:
        """``is_gone``: whether the database file was moved away or replaced."""
        self._path = path
        self._beside = beside
        self._is_gone = is_gone
        self._clean: tuple[int, int] | None = None
        """The WAL's size and time of change when everything had been moved."""
        self._again_at = 0.0
        self._ahead = False
        """Whether most of a large WAL has been moved."""

    @property
    def is_large(self) -> bool:
        """Whether moving the WAL may take long."""
        return wal_size(self._path) > WAL_LIMIT * LARGE

    def left_to_us(self) -> bool:
        """Whether there is no supervisor. A supervisor moves a large WAL in a thread."""
        return not is_heard(f"{self._beside}/run")

    def after_write(self, conn: sqlite3.Connection) -> None:
        """Make a checkpoint if the WAL has become large. Called after a commit, so it hides its
        errors: the write has succeeded."""
        if wal_size(self._path) <= WAL_LIMIT * DUE or monotonic() < self._again_at:
            return
        if self._is_gone():
            return
        with suppress(sqlite3.Error, OSError, MemoryError):
            if not self.is_large:
                self.make(conn)
            elif self.left_to_us():
                self.move_ahead()
                self.make(conn)

    def move_ahead(self) -> None:
        """Move most of a large WAL while others keep writing. It may take seconds."""
        before = _state(self._path)
        if before is None or before == self._clean or not self.is_large:
            return
        self._again_at = monotonic() + AGAIN_AFTER
        with _alone(self._beside) as alone:
            if alone:
                self._ahead = _move_most(self._path, self._is_gone)

    def make(self, conn: sqlite3.Connection) -> bool:
        """Move what can be moved, if the WAL is larger than :data:`WAL_LIMIT`. If it
        :attr:`is_large`, :meth:`move_ahead` must have moved most of it. False: there was nothing to
        do, another process does it, or readers still need a part of it.

        ``conn`` must not be in a transaction. Raises sqlite3.OperationalError if another connection
        is writing.
        """
        before = _state(self._path)
        if before is None or before[0] <= WAL_LIMIT or before == self._clean:
            return False
        ahead, self._ahead = self._ahead, False
        if self.is_large and not ahead:
            return False
        # One process at a time is enough. Without this, eight supervisors would try it together.
        with _alone(self._beside) as alone:
            if not alone:
                return False
            conn.execute("BEGIN IMMEDIATE")
            try:
                complete = _move(self._path, self._is_gone)
                self._clean = _state(self._path) if complete else None
            finally:
                conn.execute("ROLLBACK")
        self._again_at = 0.0 if complete else monotonic() + AGAIN_AFTER
        return complete


def _move(path: FileName, is_gone: Callable[[], bool]) -> bool:
    """Make a passive checkpoint on a separate connection. Returns whether everything was moved. The
    caller holds the writer lock."""
    with closing(_connect(path)) as other:
        # The name may lead to another file now. Nobody holds the writer lock of that file.
        if is_gone():
            return False
        frames, moved = _checkpoint(other)
        return frames == moved >= 0


def _move_most(path: FileName, is_gone: Callable[[], bool]) -> bool:
    """Move the WAL several times without the writer lock, until little is left. Returns whether
    little is left. False: a reader needs most of it."""
    with closing(_connect(path)) as reader, closing(_connect(path)) as other:
        if is_gone():
            return False
        few = WAL_LIMIT // int(other.execute("PRAGMA page_size").fetchone()[0])
        before = 0
        for _ in range(ROUNDS):
            # While this connection reads, no commit starts the WAL anew.
            reader.execute("BEGIN")
            reader.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            try:
                frames, moved = _checkpoint(other)
            finally:
                reader.execute("ROLLBACK")
            if frames < 0 or frames - moved > few:
                return False
            if frames - before <= few:
                break  # little was moved, so it took little time, and others added little
            before = moved
        return True


def _checkpoint(conn: sqlite3.Connection) -> tuple[int, int]:
    """The number of pages in the WAL, and how many of them have been moved. (-1, -1) if another
    connection makes a checkpoint."""
    busy, frames, moved = conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return (-1, -1) if busy else (int(frames), int(moved))


def _connect(path: FileName) -> sqlite3.Connection:
    from urllib.parse import quote

    # mode=rw never creates a file, even if the store was moved away just now.
    address = f"file:{quote(str(path))}?mode=rw"
    conn = sqlite3.connect(address, timeout=0, isolation_level=None, uri=True)
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute("PRAGMA wal_autocheckpoint = 0")
    return conn


def wal_size(path: FileName) -> int:
    """Bytes of the WAL beside the database."""
    found = _state(path)
    return 0 if found is None else found[0]


def _state(path: FileName) -> tuple[int, int] | None:
    try:
        found = os.stat(f"{path}-wal")
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@contextmanager
def _alone(directory: str) -> Iterator[bool]:
    """Whether no other process is here for ``directory``. True if there is no such directory."""
    import fcntl

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
