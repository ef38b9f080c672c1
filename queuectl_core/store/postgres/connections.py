"""Connections to the server, and whole transactions on them.

A few connections, opened when they are needed. A transaction is a function of a
:class:`Session`; errors come out in our words. What can go wrong with a connection, and what is
done about it:

- It broke before the commit was sent: nothing was done. Tried once more on a new connection (it
  had broken while idle, most likely), then :class:`~.errors.Lost`.
- It broke while the commit was under way: each writing transaction leaves a random mark in
  ``commit_marks``, and the mark is looked for on a new connection. If it is not there it is put
  there, so that the transaction can never be committed. Only when the server cannot be asked
  either is it :class:`~.errors.CommitUnknown`.
- The server undid it to break a deadlock: done again, after a moment.
- It cannot be opened: the next attempt waits, longer each time and not the same for everybody, and
  who asks meanwhile is told at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg

from ...domain.errors import QueueError, StoreError, StoreUnreachable
from ...system.clocks import monotonic
from ...system.postcommit import commits
from .clock import ServerClock
from .dsn import Dsn
from .errors import CHECK_URL, CommitInDoubt, CommitUnknown, Lost, explain, is_broken, is_conflict
from .queries import query
from .session import Session

P = ParamSpec("P")
T = TypeVar("T")

MOST = 4
"""Connections of one process: a supervisor's claim, its heartbeat and its looks never wait for
one another."""
STATEMENT_PATIENCE = 20.0
"""Seconds one statement may take."""
LOCK_PATIENCE = 10.0
"""Seconds to wait for what another transaction holds."""
IDLE_PATIENCE = 60.0
"""Seconds after which the server undoes a transaction whose process was stopped half-way."""
DOUBT_PATIENCE = 10.0
"""Seconds to look for a commit whose answer was lost."""
POOLER_PATIENCE = 1.0
"""Seconds to wait for a second connection through a pooler."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts to connect; doubled each time."""
CONFLICTS = 10
"""Times a transaction is done again because others were in its way."""


class Connections:
    """The way to one server. ``channel`` is what :meth:`announce` rings on.

    ``patient``: statements may take as long as they need.
    """

    def __init__(self, dsn: Dsn, *, read_only: bool = False, patient: bool = False) -> None:
        self.dsn = dsn
        self.shown = dsn.shown
        self.clock = ServerClock()
        self.channel = ""
        self._read_only = read_only
        self._patient = patient
        self._idle: list[Any] = []
        self._lent: set[Any] = set()
        self._room = asyncio.Semaphore(MOST)
        self._failures = 0
        self._not_before = 0.0
        self._trouble: QueueError | None = None

    async def close(self) -> None:
        """Let go of every connection."""
        while self._idle or self._lent:
            for connection in self._lent:
                connection.terminate()
            self._lent.clear()
            if self._idle:
                await _hang_up(self._idle.pop())

    # -- transactions -----------------------------------------------------------------

    async def read(
        self, fn: Callable[Concatenate[Session, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``fn(session, …)``, each statement by itself. It may be run twice."""
        result: T
        try:
            result = await self._once(fn, args, kwargs)
        except Lost:
            result = await self._once(fn, args, kwargs)
        return result

    async def repeat(
        self, fn: Callable[Concatenate[Session, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a statement that changes something, and does no harm when it is run twice."""
        return await self.read(fn, *args, **kwargs)

    async def _once(self, fn: Any, args: Any, kwargs: Any) -> Any:
        for pause in _pauses():
            try:
                async with self.session() as session:
                    return await fn(session, *args, **kwargs)
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
                if pause is None:
                    raise explain(self.shown, error) from error
                await asyncio.sleep(pause)
        raise AssertionError

    async def write(
        self,
        fn: Callable[Concatenate[Session, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``fn(session, …)`` in one transaction; committed and on disk on return."""
        result: T = await self._write(False, fn, args, kwargs)
        return result

    async def announce(
        self,
        fn: Callable[Concatenate[Session, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """:meth:`write`, and ring for whoever listens once it is committed."""
        result: T = await self._write(True, fn, args, kwargs)
        return result

    async def _write(self, notify: bool, fn: Any, args: Any, kwargs: Any) -> Any:
        try:
            return await self._transaction(notify, fn, args, kwargs)
        except CommitUnknown:
            raise
        except Lost:  # nothing was done
            return await self._transaction(notify, fn, args, kwargs)

    async def _transaction(self, notify: bool, fn: Any, args: Any, kwargs: Any) -> Any:
        for pause in _pauses():
            try:
                result, doubt = await self._attempt(notify, fn, args, kwargs)
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
                if pause is None:
                    raise explain(self.shown, error) from error
                await asyncio.sleep(pause)
                continue
            if doubt is None or await self._ask_patiently(doubt, result):
                return result
            commits.failed()
            raise Lost(f"store {self.shown}: the connection broke", "try again")
        raise AssertionError

    async def _attempt(self, notify: bool, fn: Any, args: Any, kwargs: Any) -> Any:
        """The result, and the commit if it was not answered."""
        async with self.session() as session:
            await session.raw.execute("BEGIN")
            result = await fn(session, *args, **kwargs)
            if notify:
                marked = await session.value(
                    "closing_notify", channel=self.channel, news=session.news, mark=session.mark
                )
            else:
                marked = session.marked or await session.value("closing", mark=session.mark)
            if marked:
                commits.begin()
            try:
                await session.raw.execute("COMMIT")
            except Exception as error:
                if not is_broken(error):
                    if marked:
                        commits.failed()
                    raise
                session.raw.terminate()
                if not marked:  # nothing was changed
                    return result, None
                backend: Backend = session.raw.backend
                return result, CommitInDoubt(session.mark, backend.pid, backend.started)
            return result, None

    async def _ask_patiently(self, doubt: CommitInDoubt, result: object) -> bool:
        """Whether this transaction was committed. CommitUnknown when nobody can say."""
        deadline = monotonic() + DOUBT_PATIENCE
        while True:
            try:
                return await self.committed(doubt)
            except StoreError:
                if monotonic() > deadline:
                    raise CommitUnknown(self.shown, doubt, result) from None
            await asyncio.sleep(FIRST_PAUSE * random.uniform(0.5, 1.0))

    async def committed(self, doubt: CommitInDoubt) -> bool:
        """Whether this transaction was committed. False is final: it never will be. This holds as
        long as marks are kept, which is an hour. Later it may be False for one that was committed;
        the lease was lost long before, so results are refused then.

        Waits for one that is still under way. StoreError when the server cannot be asked, or it
        takes too long.
        """
        async with self.session() as session:
            await session.rows("end_idle", pid=doubt.pid, started=doubt.started)
            try:
                return not await session.value("mark_claimed", mark=doubt.mark)
            except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
                return False  # it would have made the table, or found it

    # -- connections ------------------------------------------------------------------

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection for a while. Errors come out in our words, except a conflict between
        transactions; what was not committed is undone."""
        async with self._room:
            connection = await self._borrow()
            self._lent.add(connection)
            try:
                yield Session(connection)
            except BaseException as error:
                await asyncio.shield(self._clean(connection, error))
                if isinstance(error, QueueError) or not isinstance(error, Exception):
                    raise
                if is_conflict(error):
                    raise
                if not is_broken(error):
                    raise explain(self.shown, error) from error
                found = explain(self.shown, error)
                raise Lost(found.message, found.hint) from error
            else:
                await self._give_back(connection)

    async def _borrow(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            await _hang_up(connection)
        return await self.connect()

    async def _give_back(self, connection: Any) -> None:
        if connection in self._lent and not connection.is_closed():
            self._lent.discard(connection)
            self._idle.append(connection)
            return
        self._lent.discard(connection)
        await _hang_up(connection)

    async def _clean(self, connection: Any, error: BaseException) -> None:
        """Undo what was begun; a connection that cannot do that is dropped."""
        try:
            if is_broken(error) or connection.is_closed():
                connection.terminate()
                for other in self._idle:  # the server went away: from under them as well
                    other.terminate()
            elif connection.is_in_transaction() or not isinstance(error, Exception):
                await connection.execute("ROLLBACK", timeout=LOCK_PATIENCE)
        except Exception:
            connection.terminate()
        await self._give_back(connection)

    async def connect(self) -> Any:
        """A new connection, not one of the few. StoreUnreachable, at once while it is no use to
        try again."""
        if monotonic() < self._not_before and self._trouble is not None:
            raise type(self._trouble)(self._trouble.message, self._trouble.hint)
        try:
            connection = await connect(self.dsn, read_only=self._read_only, patient=self._patient)
        except QueueError as error:
            pause = min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
            self._not_before = monotonic() + pause * random.uniform(0.5, 1.0)
            self._failures = min(self._failures + 1, 10)
            self._trouble = error
            raise
        self._failures, self._not_before, self._trouble = 0, 0.0, None
        return connection


def _pauses() -> list[float | None]:
    """Seconds to wait before doing a transaction again; None: no more."""
    return [random.uniform(0.001, 0.01) * (n + 1) for n in range(CONFLICTS)] + [None]


@dataclass(frozen=True, slots=True)
class Backend:
    """The server's process behind a connection."""

    pid: int
    started: datetime | None


class ServerConnection(asyncpg.Connection):  # type: ignore[misc]  # the driver has no types
    """A connection whose settings are known to be ours, and its backend."""

    backend: Backend


async def connect(dsn: Dsn, *, read_only: bool = False, patient: bool = False) -> ServerConnection:
    """Connect with our settings. Raises the StoreError family, or InvalidInput for the URL."""
    connection = await _opened(dsn, patient=patient)
    try:
        await _configure(dsn, connection, read_only=read_only, patient=patient)
    except BaseException as error:
        connection.terminate()
        if isinstance(error, QueueError) or not isinstance(error, Exception):
            raise
        raise _explained(dsn, error) from error
    return connection


async def _opened(dsn: Dsn, *, patient: bool = False) -> ServerConnection:
    try:
        connection: ServerConnection = await asyncpg.connect(
            dsn.driver_url,
            timeout=dsn.patience,
            # Longer than the server's own: it is for a server that no longer answers at all.
            command_timeout=None if patient else STATEMENT_PATIENCE + 5,
            connection_class=ServerConnection,
        )
    except Exception as error:
        if isinstance(error, FileNotFoundError | PermissionError) and (why := dsn.unreadable()):
            raise StoreUnreachable(f"store {dsn.shown}: {why}", CHECK_URL) from error
        raise _explained(dsn, error) from error
    return connection


def _explained(dsn: Dsn, error: Exception) -> QueueError:
    found = explain(dsn.shown, error)
    # Only a connection that there was can be lost.
    return StoreUnreachable(found.message, found.hint) if isinstance(found, Lost) else found


async def _configure(
    dsn: Dsn, connection: ServerConnection, *, read_only: bool, patient: bool
) -> None:
    """Set the session's parameters, and make sure that they are set. By SQL: a pooler refuses
    parameters that come with the connection, or leaves them out."""
    settings = {
        "search_path": '"' + dsn.schema.replace('"', '""') + '"',
        "statement_timeout": "0" if patient else f"{STATEMENT_PATIENCE:.0f}s",
        "lock_timeout": "0" if patient else f"{LOCK_PATIENCE:.0f}s",
        "idle_in_transaction_session_timeout": f"{IDLE_PATIENCE / 60:.0f}min",
        # What a database or a role may have set otherwise, and what all of this relies on.
        "default_transaction_isolation": "read committed",
        "default_transaction_read_only": "on" if read_only else "off",
        "synchronous_commit": "on",
        "jit": "off",
        "client_min_messages": "warning",
    }
    if "application_name=" not in dsn.driver_url:
        settings["application_name"] = "queuectl"
    sent = query("session_settings")
    values = {"names": list(settings), "values": list(settings.values())}

    async def ask(key: int) -> list[Any]:
        rows: list[Any] = await connection.fetch(
            sent.text, *(values.get(name, key) for name in sent.names), timeout=dsn.patience
        )
        return rows

    try:
        rows = await ask(connection.get_server_pid())
        if rows[0]["value"] is None:  # there is a pooler between
            await _check_pooler(dsn, connection, rows[0]["pid"])
            rows = await ask(rows[0]["pid"])
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError) as error:
        raise _shared_sessions(dsn) from error
    if rows[0]["value"] is None:
        raise _shared_sessions(dsn)
    connection.backend = Backend(rows[0]["pid"], rows[0]["started"])
    for row in rows:
        if row["value"] != row["wanted"]:
            raise StoreUnreachable(
                f"store {dsn.shown}: {row['name']} cannot be set on this connection",
                "connect to the server directly",
            )


async def _check_pooler(dsn: Dsn, connection: ServerConnection, pid: int) -> None:
    """Make sure that a pooler keeps the server's session ``pid`` for this connection alone.

    A second connection holds a session in a transaction, or waits for one. A pooler that shares
    sessions between transactions gives it the session that our connection has just used, or has
    our connection wait behind it, or gives our connection another session afterwards.
    """
    asked = query("backend").text
    other = asyncio.ensure_future(_held_session(dsn))
    try:
        await asyncio.wait({other}, timeout=POOLER_PATIENCE)
        same = await connection.fetchval(asked, timeout=POOLER_PATIENCE) == pid
        if other.done():
            held = other.result()
            same = same and await held.fetchval(asked, timeout=POOLER_PATIENCE) != pid
            await held.close(timeout=POOLER_PATIENCE)
        same = same and await connection.fetchval(asked, timeout=POOLER_PATIENCE) == pid
    except TimeoutError:
        same = False
    finally:
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        if not other.cancelled() and other.exception() is None:
            other.result().terminate()
    if not same:
        raise _shared_sessions(dsn)


async def _held_session(dsn: Dsn) -> ServerConnection:
    """One more connection, in a transaction."""
    connection = await _opened(dsn)
    try:
        await connection.execute("BEGIN")
    except BaseException as error:
        connection.terminate()
        if not isinstance(error, Exception):
            raise
        if "statement pooling" in str(error):  # PgBouncer's words
            raise _shared_sessions(dsn) from error
        raise _explained(dsn, error) from error
    return connection


def _shared_sessions(dsn: Dsn) -> StoreUnreachable:
    return StoreUnreachable(
        f"store {dsn.shown}: the pooler between shares sessions among its clients",
        "set pool_mode = session for this database, or connect to the server directly",
    )


async def _hang_up(connection: Any) -> None:
    """Close a connection, politely if that is quick."""
    try:
        await connection.close(timeout=2.0)
    except Exception:
        connection.terminate()
