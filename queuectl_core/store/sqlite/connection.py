"""One SQLite connection, with our settings, retries and errors.

A verb of the store is a function of a :class:`Driver`, which runs as a whole. With an event loop it
runs on aiosqlite's thread (``threaded.py``), with one call for a transaction, not one for each
statement. Without an event loop it runs on the calling thread.

The store declares its verbs with :func:`reads`, :func:`writes` and :func:`changes`:
``scan = reads(lambda: jobs.scan)``. mypy checks each declaration against the protocol.

The settings, and why:

- ``journal_mode=WAL``: readers never wait for the writer. Setting it is retried, because it can
  fail with "locked" when many processes open a new file together.
- ``synchronous=FULL``: a commit is on the disk when it returns. WAL with NORMAL loses
  acknowledged commits on power loss.
- ``wal_autocheckpoint=0``: an automatic checkpoint runs without the writer lock and can lose
  commits in SQLite 3.7.0 to 3.51.2 (sqlite.org/wal.html#walresetbug). How we make checkpoints:
  ``checkpoint.py``.
- ``journal_size_limit``: when the WAL is started anew, a larger file is cut to this size.
- ``busy_timeout=0``: with SQLite's own pauses (up to 100 ms) some writers wait very long. We retry
  with short random pauses (``pause``).
- Every write starts with ``BEGIN IMMEDIATE``. A transaction that starts as a read and becomes a
  write fails at once if another process wrote in between, whatever the timeout is.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ...domain.errors import InvalidInput, StoreError, StoreLocked, StoreUnreachable
from ...domain.text import clean_line
from ...system.postcommit import after_commit, commits
from ..signature import Signature
from .checkpoint import WAL_LIMIT, Checkpoints
from .database_file import DatabaseFile, check_logs, hold_logs, is_held
from .errors import BadValue, FileName, damaged, explain
from .notifier import ANYTHING, notify

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Protocol

    class Connected(Protocol):
        """A store: it has a connection."""

        _connection: Connection


P = ParamSpec("P")
T = TypeVar("T")

APPLICATION_ID = 0x71756575
"""'queu': marks the file as ours, so that we never migrate the database of another program."""

LOCK_PATIENCE = 10.0
"""Seconds to wait for the lock before StoreLocked."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.004, 0.016
"""The longest pause in seconds between two attempts to get the lock: at first, and after a while.
An attempt costs a tenth of a transaction."""

WAITED_LONG = 0.15
"""Seconds after which a writer tries ten times as often as the others, so that it soon succeeds.
Without this, one in 20,000 enqueues beside 23 writers took over a second."""

OPEN_ATTEMPTS = 20
"""How often to try to open a store while another process keeps removing its logs."""


WRITE = "BEGIN IMMEDIATE"


class Driver(sqlite3.Connection):
    """A connection of the driver."""

    file: DatabaseFile
    """The store's file. A :class:`Connection` sets it."""
    signature = Signature()
    """Who writes events. A :class:`Connection` sets it."""
    offset: float | None = None
    """For ``clock.py``: the wall clock minus the clock since boot, as the store has it. None: this
    connection has not read it."""


class Opened:
    """A connection of the driver, and when it becomes useless."""

    def __init__(
        self,
        driver: Driver,
        is_stale: Callable[[], bool] | None = None,
        *,
        torn: bool = False,
    ) -> None:
        """``is_stale``: whether the store has changes that this connection does not see. ``torn``:
        a read during which it became stale may be wrong."""
        self.driver = driver
        self.is_stale = is_stale
        self.torn = torn


Opener = Callable[[FileName], Opened]

if TYPE_CHECKING:
    Transaction = Callable[[], Callable[Concatenate[Driver, P], T]]
    """Gives the function that is run in a transaction."""
    Verb = Callable[Concatenate[Connected, P], Coroutine[Any, Any, T]]


def reads(transaction: Transaction[P, T]) -> Verb[P, T]:
    """A verb that reads."""

    async def verb(self: Connected, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._connection.read(transaction(), *args, **kwargs)

    return verb


def writes(transaction: Transaction[P, T]) -> Verb[P, T]:
    """A verb that writes what supervisors find out, also if the file was moved meanwhile."""

    async def verb(self: Connected, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._connection.write(transaction(), *args, **kwargs)

    return verb


def changes(transaction: Transaction[P, T], *, wakes: bytes | None = None) -> Verb[P, T]:
    """A verb that changes what people rely on; see :meth:`Connection.change`."""

    async def verb(self: Connected, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._connection.change(wakes, transaction(), *args, **kwargs)

    return verb


class Connection:
    """A connection that runs whole transactions on the calling thread."""

    def __init__(
        self, file: DatabaseFile, opener: Opener, signature: Signature | None = None
    ) -> None:
        self.file = file
        self.signature = signature or Signature()
        self.path = file.path
        self.checkpoints = Checkpoints(file.path, f"{file.path}.d", file.is_gone)
        self._opener = opener
        self._opened: Opened | None = None
        self.generation = 0
        """How often it was opened again because it had become stale."""
        self._pid = os.getpid()

    async def open(self) -> None:
        """Connect. Must be called first."""
        self._open()

    def _open(self) -> Opened:
        self._opened = opened = self._opener(self.path)
        opened.driver.file = self.file
        opened.driver.signature = self.signature
        return opened

    @property
    def _driver(self) -> Driver | None:
        return None if self._opened is None else self._opened.driver

    async def close(self) -> None:
        """Close the file. If it was replaced, leave it open until the process ends: SQLite removes
        the WAL by its name, and it would be the new store's."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        if self._forked or self.file.is_gone():
            keep_open(opened.driver)
        else:
            opened.driver.close()

    @property
    def _forked(self) -> bool:
        """Whether we are a child process, and the connection belongs to our parent."""
        return os.getpid() != self._pid

    def _check_process(self) -> None:
        """SQLite must not be used across a fork. Locks belong to a process, and SQLite in the child
        would believe that it holds its parent's locks (sqlite.org/howtocorrupt.html, 2.6)."""
        if self._forked:
            raise StoreError(
                f"store {self.path} was opened before this process was forked",
                "open the queue again in the child process",
            )

    async def read(
        self, fn: Callable[Concatenate[Driver, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``fn(connection, …)`` in one deferred transaction: a consistent view."""
        return await self._run("BEGIN", lambda conn: fn(conn, *args, **kwargs))

    async def write(
        self, fn: Callable[Concatenate[Driver, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``fn(connection, …)`` as the only writer. It is committed and on disk on return."""
        return await self._run(WRITE, lambda conn: fn(conn, *args, **kwargs))

    async def change(
        self,
        wakes: bytes | None,
        fn: Callable[Concatenate[Driver, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The same, for something that people rely on. So it fails if the database file was moved
        or replaced, because nobody would read it there. ``wakes``: what it tells the supervisors
        afterwards; None: nothing."""
        self.file.check_writable()
        result = await self.write(fn, *args, **kwargs)
        if wakes is not None:
            self.notify(wakes)
        return result

    def notify(self, what: bytes = ANYTHING) -> None:
        """Tell the supervisors what was committed."""
        with after_commit("waking the workers"):
            notify(self.file.run_directory, what)

    async def call(
        self, fn: Callable[Concatenate[Driver, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``fn(connection, …)`` outside any transaction."""
        return await self._run(None, lambda conn: fn(conn, *args, **kwargs))

    async def _run(self, begin: str | None, body: Callable[[Driver], T]) -> T:
        self._check_process()
        return self._transact(begin, body)

    def _transact(self, begin: str | None, body: Callable[[Driver], T]) -> T:
        """Run ``body(connection)`` between ``begin`` (None: no transaction) and COMMIT. Tries again
        while the store is locked. Raises the StoreError family."""
        opened = self._opened
        if opened is None:
            raise RuntimeError("the connection is not open")
        if opened.is_stale is not None:
            return self._read_unlocked(opened, begin, body)
        conn = opened.driver
        result = with_patience(self.path, lambda: _attempt(conn, begin, body))
        if begin == WRITE:
            with after_commit("tidying up"):
                self.checkpoints.after_write(conn)
        return result

    def _read_unlocked(self, opened: Opened, begin: str | None, body: Callable[[Driver], T]) -> T:
        """Read without locks. Opens the file again if it has become stale, and reads again if it
        became stale during the read."""
        for _ in range(OPEN_ATTEMPTS):
            if opened.is_stale is not None and opened.is_stale():
                stale, opened = opened, self._open()
                stale.driver.close()
                self.generation += 1
            conn, trouble = opened.driver, None
            try:
                result = with_patience(self.path, lambda conn=conn: _attempt(conn, begin, body))  # type: ignore[misc]
            except StoreError as error:
                trouble = error
            if not opened.torn or opened.is_stale is None or not opened.is_stale():
                if trouble is not None:
                    raise trouble
                return result
        raise StoreLocked(f"store {self.path} is written to all the time", "try again")


def keep_open(driver: sqlite3.Connection) -> None:
    """Leave this connection open until the process ends. Closing it could remove files that others
    use: in a child process those of its parent, after a replacement those of the new store."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(
        ctypes.py_object(driver)
    )  # without this the garbage collector closes it


def _attempt(conn: Driver, begin: str | None, body: Callable[[Driver], T]) -> T:
    if begin is None:
        return body(conn)
    conn.execute(begin)
    try:
        result = body(conn)
    except BaseException:
        _roll_back(conn)
        raise
    if begin == WRITE:
        commits.begin()
    try:
        conn.execute("COMMIT")
    except BaseException:
        if begin == WRITE and _roll_back(conn):
            commits.failed()
        raise
    return result


def _roll_back(conn: sqlite3.Connection) -> bool:
    """Roll back. Returns whether there was a transaction."""
    if not conn.in_transaction:
        return False
    conn.execute("ROLLBACK")
    return True


def with_patience(path: FileName, step: Callable[[], T], patience: float | None = None) -> T:
    """Run ``step()``, and try again for ``patience`` seconds while the store is locked (None:
    :data:`LOCK_PATIENCE`). Errors of the driver become StoreErrors."""
    patience = LOCK_PATIENCE if patience is None else patience
    began = time.monotonic()
    while True:
        try:
            return step()
        except UnicodeEncodeError as error:  # a path or argument that was never UTF-8
            shown = clean_line(str(path) if error.object.startswith("file:") else error.object, 60)
            raise InvalidInput(f"'{shown}' is not valid UTF-8 text") from error
        except OverflowError as error:
            raise InvalidInput("a number is larger than any store can hold") from error
        except sqlite3.Error as error:
            if not _is_busy(error):
                raise explain(path, error) from error
            waited = time.monotonic() - began
            if waited > patience:
                raise StoreLocked(
                    f"store {path} has been locked by another process for {patience:.0f} s",
                    "try again; if it stays, look who holds it with: fuser FILE",
                ) from error
        except (BadValue, UnicodeDecodeError) as error:  # the driver reads names as UTF-8
            raise damaged(path, error) from error
        time.sleep(pause(waited))


def pause(waited: float) -> float:
    """Seconds until the next attempt, after waiting for so long."""
    from random import uniform  # takes 1 ms, and is needed only when somebody else writes

    most = min(max(SHORTEST_PAUSE, waited / 4), LONGEST_PAUSE)
    return uniform(most / 8, most) * (0.1 if waited > WAITED_LONG else 1.0)


def _is_busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def open_writer(path: FileName) -> Opened:
    """A connection that may write. It is not migrated."""
    return Opened(open_driver(path, writable=True))


def open_driver(path: FileName, writable: bool) -> Driver:
    """A connection of the driver, with our settings."""
    return _opened(path, lambda: with_patience(path, lambda: _open(path, writable)))


def open_alone(path: FileName, patience: float) -> Driver:
    """A connection that may write and is the only one, in all processes, until it is closed. Raises
    StoreLocked if somebody else stays connected for longer than ``patience`` seconds."""
    return _opened(
        path, lambda: with_patience(path, lambda: _open(path, True, alone=True), patience)
    )


def _opened(path: FileName, attempt: Callable[[], Driver | None]) -> Driver:
    for _ in range(OPEN_ATTEMPTS):
        conn = attempt()
        if conn is not None:
            return conn
    raise StoreUnreachable(f"the files beside store {path} do not stay the same", "try again")


def _open(path: FileName, writable: bool, *, alone: bool = False) -> Driver | None:
    """None if another process removed the logs meanwhile, in a directory where other users can make
    new ones."""
    wal = hold_logs(path)
    try:
        check_logs(path)
        conn = sqlite3.connect(
            uri(path, "mode=rw"),  # which creates nothing
            uri=True,
            timeout=0,
            isolation_level=None,
            cached_statements=256,
            check_same_thread=False,  # several threads use it, but never at the same time
            factory=Driver,
        )
        try:
            if alone:
                # Set before anything is read, this takes and keeps an exclusive lock on the file.
                # Every connection in WAL mode has a lock all the time, so there can be no other.
                conn.execute("PRAGMA locking_mode = EXCLUSIVE")
            configure(conn, writable=writable)
            if conn.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                return conn
            conn.execute("PRAGMA application_id").fetchone()  # opens the WAL
            # Check before we trust what we read. An exclusive connection has no shared memory.
            check_logs(path, opened=not alone)
            if is_held(path, wal):
                return conn
        except BaseException:
            conn.close()
            raise
        conn.close()
        return None
    finally:
        if wal is not None:
            os.close(wal)


def uri(path: FileName, how: str) -> str:
    """The database as a URI with parameters, for SQLite."""
    name = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file://{name}?{how}"


def configure(conn: sqlite3.Connection, *, writable: bool, query_only: bool | None = None) -> None:
    """Apply our settings. ``query_only`` None: the opposite of ``writable``."""
    conn.row_factory = sqlite3.Row
    mode = conn.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal" and writable and _may_be_ours(conn):
        conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute("PRAGMA wal_autocheckpoint = 0")
    conn.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT:d}")
    conn.execute("PRAGMA foreign_keys = ON")
    if query_only is None:
        query_only = not writable
    if query_only:
        conn.execute("PRAGMA query_only = ON")


def _may_be_ours(conn: sqlite3.Connection) -> bool:
    """False for the database of another program: switching it to WAL would change its file."""
    if conn.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
        return True
    return conn.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
