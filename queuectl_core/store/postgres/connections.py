"""Connections to the server, and whole transactions on them.

There are a few connections, opened when they are needed. A transaction is a function of a
:class:`Session`. Errors of the driver become errors of queuectl. A connection can fail in these
ways:

- It breaks before the commit is sent. Nothing was done. We try once more on a new connection
  (most likely it broke while idle), and then raise :class:`~.errors.Lost`.
- It breaks during the commit. Each writing transaction writes a random mark into
  ``commit_marks``, and we look for the mark on a new connection. If it is not there, we insert it,
  so that the transaction can never be committed. If the server cannot be asked either, we raise
  :class:`~.errors.CommitUnknown`.
- The server undoes the transaction to break a deadlock. We do it again after a moment.
- It cannot be opened. The next attempt waits for a random time, longer after each failure.
  Meanwhile callers get the error at once.
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
from ..signature import Signature
from .clock import ServerClock
from .dsn import Dsn
from .errors import CHECK_URL, CommitInDoubt, CommitUnknown, Lost, explain, is_broken, is_conflict
from .queries import query
from .session import Session

P = ParamSpec("P")
T = TypeVar("T")

MOST = 4
"""Connections of one process. So a supervisor's claims, heartbeats and reads never wait for each
other."""
STATEMENT_PATIENCE = 20.0
"""Seconds one statement may take."""
LOCK_PATIENCE = 10.0
"""Seconds to wait for a lock of another transaction."""
IDLE_PATIENCE = 60.0
"""Seconds after which the server undoes a transaction of a process that was stopped."""
DOUBT_PATIENCE = 10.0
"""Seconds to look for a commit whose answer was lost."""
POOLER_PATIENCE = 1.0
"""Seconds to wait for a second connection through a pooler."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts to connect. The pause doubles each time."""
CLAIMS = 0x636C6169
"""The advisory lock of claims, with the schema. It is taken when a transaction begins, in the same
round trip, so every statement of the claim sees what was committed before."""
LOOK_UP = "SET LOCAL enable_seqscan = off"
"""Makes the server use indexes until the transaction ends. It keeps the plan of a statement that
was made while the tables were small, and must not read whole tables when they have grown."""
PLAN_ONCE = "SET LOCAL plan_cache_mode = force_generic_plan"
"""Makes the server plan a statement once for each connection. It expects a claim to be cheaper with
a plan for the given values, and would plan it each time. That takes longer than the claim."""
BEGIN_CLAIM = (
    f"BEGIN; {LOOK_UP}; {PLAN_ONCE};"
    f" SELECT pg_advisory_xact_lock_shared({CLAIMS}, hashtext(current_schema()))"
)
CONFLICTS = 10
"""How often a transaction is done again after a conflict with others."""


class Connections:
    """The connections to one server. :meth:`announce` notifies on ``channel``.

    ``patient``: statements have no time limit. ``signature``: signs the events.
    """

    def __init__(
        self,
        dsn: Dsn,
        *,
        read_only: bool = False,
        patient: bool = False,
        signature: Signature | None = None,
    ) -> None:
        self.signature = signature or Signature()
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
        """Close every connection."""
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
        """Run ``fn(session, …)`` without a transaction around its statements. It may run twice."""
        result: T
        try:
            result = await self._once(fn, args, kwargs)
        except Lost:
            result = await self._once(fn, args, kwargs)
        return result

    async def repeat(
        self, fn: Callable[Concatenate[Session, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a statement that changes something and does no harm when it runs twice."""
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
        """Run ``fn(session, …)`` in one transaction. It is committed and on disk on return."""
        result: T = await self._write(False, fn, args, kwargs)
        return result

    async def announce(
        self,
        fn: Callable[Concatenate[Session, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like :meth:`write`, and notify the supervisors when it is committed."""
        result: T = await self._write(True, fn, args, kwargs)
        return result

    async def claim(
        self,
        fn: Callable[Concatenate[Session, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like :meth:`write`, and no queue gets its first settings meanwhile."""
        result: T = await self._write(False, fn, args, kwargs, begin=BEGIN_CLAIM)
        return result

    async def _write(
        self, notify: bool, fn: Any, args: Any, kwargs: Any, *, begin: str = "BEGIN"
    ) -> Any:
        try:
            return await self._transaction(notify, fn, args, kwargs, begin)
        except CommitUnknown:
            raise
        except Lost:  # nothing was done
            return await self._transaction(notify, fn, args, kwargs, begin)

    async def _transaction(self, notify: bool, fn: Any, args: Any, kwargs: Any, begin: str) -> Any:
        for pause in _pauses():
            try:
                result, doubt = await self._attempt(notify, fn, args, kwargs, begin)
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

    async def _attempt(self, notify: bool, fn: Any, args: Any, kwargs: Any, begin: str) -> Any:
        """The result, and the commit in doubt if there was no answer."""
        async with self.session() as session:
            await session.raw.execute(begin)
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
        """Whether this transaction was committed. CommitUnknown if it cannot be found out."""
        deadline = monotonic() + DOUBT_PATIENCE
        while True:
            try:
                return await self.committed(doubt)
            except StoreError:
                if monotonic() > deadline:
                    raise CommitUnknown(self.shown, doubt, result) from None
            await asyncio.sleep(FIRST_PAUSE * random.uniform(0.5, 1.0))

    async def committed(self, doubt: CommitInDoubt) -> bool:
        """Whether this transaction was committed. If False, it never will be. Marks are kept for an
        hour. Later the answer may be False for a committed transaction; but then the lease was lost
        long ago, and results are refused.

        Waits for a transaction that is still running. StoreError if the server cannot be asked, or
        it takes too long.
        """
        async with self.session() as session:
            await session.rows("end_idle", pid=doubt.pid, started=doubt.started)
            try:
                return not await session.value("mark_claimed", mark=doubt.mark)
            except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
                return False  # the transaction needed the table

    # -- connections ------------------------------------------------------------------

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Borrow a connection. Errors of the driver become errors of queuectl, except conflicts
        between transactions. What was not committed is undone."""
        async with self._room:
            connection = await self._borrow()
            self._lent.add(connection)
            try:
                yield Session(connection, self.shown, self.clock, self.signature)
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
        """Roll back. A connection that cannot roll back is closed."""
        try:
            if is_broken(error) or connection.is_closed():
                connection.terminate()
                for other in self._idle:  # the server is gone, so these are broken too
                    other.terminate()
            elif connection.is_in_transaction() or not isinstance(error, Exception):
                await connection.execute("ROLLBACK", timeout=LOCK_PATIENCE)
        except Exception:
            connection.terminate()
        await self._give_back(connection)

    async def connect(self) -> Any:
        """A new connection, which does not count against :data:`MOST`. Raises StoreUnreachable.
        If the last attempt has just failed, this one is not made."""
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
    """Seconds to wait before doing a transaction again; None: give up."""
    return [random.uniform(0.001, 0.01) * (n + 1) for n in range(CONFLICTS)] + [None]


@dataclass(frozen=True, slots=True)
class Backend:
    """The server's process behind a connection."""

    pid: int
    started: datetime | None


class ServerConnection(asyncpg.Connection):  # type: ignore[misc]  # the driver has no types
    """A connection with our settings, which were checked, and its backend."""

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
            # Longer than the server's own limit: it is for a server that does not answer at all.
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
    # There was no connection yet, so none was lost.
    return StoreUnreachable(found.message, found.hint) if isinstance(found, Lost) else found


async def _configure(
    dsn: Dsn, connection: ServerConnection, *, read_only: bool, patient: bool
) -> None:
    """Set the session's parameters and check that they are set. We use SQL, because a pooler may
    refuse or ignore parameters of the connection request."""
    settings = {
        "search_path": '"' + dsn.schema.replace('"', '""') + '"',
        "statement_timeout": "0" if patient else f"{STATEMENT_PATIENCE:.0f}s",
        "lock_timeout": "0" if patient else f"{LOCK_PATIENCE:.0f}s",
        "idle_in_transaction_session_timeout": f"{IDLE_PATIENCE / 60:.0f}min",
        # Our code relies on these. A database or a role may have other defaults.
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
    """Check that a pooler keeps the server's session ``pid`` for this connection only.

    A second connection opens a transaction and so holds a session, or waits for one. A pooler that
    shares sessions between transactions gives it the session that our connection has just used, or
    makes our connection wait, or gives our connection another session afterwards.
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
    """Another connection, in a transaction."""
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
    """Close a connection. If the server does not answer within two seconds, drop it."""
    try:
        await connection.close(timeout=2.0)
    except Exception:
        connection.terminate()
