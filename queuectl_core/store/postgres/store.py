"""The PostgreSQL store: a verb is a function that runs in one transaction.

Such verbs are declared in the class: ``scan = verb(Connections.read, jobs.scan)``. mypy checks each
declaration against the protocol.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ...domain.claims import ClaimRequest, ClaimResult
from ...domain.errors import InvalidInput, StoreError, StoreReadOnly
from ...domain.model import Job, JobSpec, QueueSettings, SupervisorRow
from ...system.host import known_host_key
from ...system.permissions import own_directory
from ...system.postcommit import after_commit
from ..protocol import Batch, Changed, JobAction, Notifier, Said, Store
from . import admission, claims, events, hooks, jobs, maintenance, schedules, statistics
from .batch import PostgresBatch
from .commit_log import CommitLog
from .connections import Connections
from .dsn import Dsn
from .errors import CommitUnknown
from .migrate import DatabaseInfo, open_database
from .notifier import Listener
from .session import Session

if TYPE_CHECKING:
    from ..copy import Copying
    from ..signature import Signature


JUDGE_PAUSE = 0.002
"""Seconds after which children are judged that others had locked, or that were too many."""

P = ParamSpec("P")
T = TypeVar("T")
Transaction = Callable[Concatenate[Session, P], Awaitable[T]]


def verb(
    run: Callable[..., Awaitable[Any]], transaction: Transaction[P, T]
) -> Callable[Concatenate[PostgresStore, P], Coroutine[Any, Any, T]]:
    """A verb that runs ``transaction`` with a method of :class:`Connections`."""

    async def verb(self: PostgresStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = await run(self._connections, transaction, *args, **kwargs)
        return result

    return verb


class PostgresStore(Store):
    """A :class:`~queuectl_core.store.protocol.Store` on a server. Make it with :meth:`open`."""

    shared_by_hosts = True
    can_backup = False

    def __init__(
        self, connections: Connections, found: DatabaseInfo, data: Path, *, read_only: bool
    ) -> None:
        dsn = connections.dsn
        self.url = dsn.shown
        self.address = dsn.given
        # From the identity of the store in the database, because many URLs may lead to it.
        name = "\0".join((found.store, found.database, dsn.schema))
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:20]
        self.directory = data / "postgresql" / digest
        self._read_only = read_only
        self._connections = connections
        connections.channel = f"queuectl:{digest}"
        self._patient = Connections(
            dsn, read_only=read_only, patient=True, signature=connections.signature
        )
        self._patient.channel = connections.channel
        self._listener = Listener(connections)
        self._commit_log = CommitLog(connections)
        self._seen: tuple[Any, ...] | None = None

    def _choose(self, *, patient: bool) -> Connections:
        return self._patient if patient else self._connections

    @classmethod
    async def open(
        cls,
        dsn: Dsn,
        data: Path,
        *,
        create: bool = True,
        read_only: bool = False,
        marked: bool = False,
        signature: Signature | None = None,
    ) -> PostgresStore:
        """Open the store at ``dsn``, creating and migrating its tables as needed.

        ``data``: the user's data directory on this host. ``create`` False: do not create tables.
        ``read_only``: refuse every change. ``marked``: also open an unfinished copy, which is a
        Conflict otherwise. ``signature``: signs the events. Raises the StoreError family.
        """
        connections = Connections(dsn, read_only=read_only, signature=signature)
        try:
            found = await open_database(connections, create=create)
            if found.mark is not None and not marked:
                from ..copy import half_copied

                raise half_copied(dsn.shown, found.mark)
        except BaseException:
            await connections.close()
            raise
        return cls(connections, found, data, read_only=read_only)

    def host_identity(self) -> str:
        # A process with another directory (of another user, or another XDG_DATA_HOME) sees our
        # pids, but not our journals. So it cannot tell how our jobs ended.
        try:
            found = os.stat(self.directory)
        except OSError:
            return ""
        key = known_host_key()
        return key and f"{key}:{found.st_dev:x}-{found.st_ino:x}"

    async def close(self) -> None:
        await self._listener.close()
        await self._patient.close()
        await self._connections.close()

    def clock(self) -> float:
        return self._connections.clock()

    # -- enqueue ----------------------------------------------------------------------

    async def enqueue(self, specs: Sequence[JobSpec], now: float) -> list[Job]:
        if not specs:
            return []
        children = any(spec.parents for spec in specs)
        how = hooks.enqueue_children if children else jobs.enqueue
        return await self._connections.announce(how, specs, now)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[Batch]:
        if self._read_only:
            raise StoreReadOnly(f"store {self.url} is opened read-only", "leave read-only mode")
        made = PostgresBatch(self._patient)
        try:
            yield made
        finally:
            with after_commit("closing the staging file"):
                made.close()
        with after_commit("tidying up"):
            await self.checkpoint()

    # -- reading ----------------------------------------------------------------------

    async def _rows(
        self, query: str, convert: Callable[[Any], T], *, patient: bool = False, **values: Any
    ) -> list[T]:
        return await self._choose(patient=patient).read(jobs.rows, query, convert, values)

    scan = verb(Connections.read, jobs.scan)
    rollup = verb(Connections.read, statistics.rollup)
    candidates = verb(Connections.read, jobs.candidates)
    events_since = verb(Connections.read, events.since)

    async def changed(self) -> bool:
        found = await self._connections.read(jobs.changes)
        changed, self._seen = found != self._seen, found
        return changed

    async def check(self) -> None:
        """Nothing to do: if the server is gone, every query fails."""

    # -- changing ---------------------------------------------------------------------

    async def _change(
        self,
        query: str,
        convert: Callable[[Any], T],
        *,
        check: Callable[[list[T]], None] | None = None,
        wakes: bool = False,
        patient: bool = False,
        **values: Any,
    ) -> list[T]:
        connections = self._choose(patient=patient)
        write = connections.announce if wakes else connections.write
        return await write(jobs.rows, query, convert, values, check)

    async def _note(self, query: str, *, wakes: bool = False, **values: Any) -> None:
        run = self._connections.announce if wakes else self._connections.repeat
        await run(jobs.rows, query, tuple, values)

    async def _act(
        self,
        action: JobAction,
        params: dict[str, Any],
        check: Callable[[list[tuple[int, int]]], None] | None,
        said: Said,
    ) -> Changed:
        return await self._connections.announce(hooks.act, action, params, check, said)

    async def set_queue(
        self, name: str, changes: Mapping[str, Any], now: float | None = None
    ) -> QueueSettings:
        # Patient, because all keys of the queue may have to be marked.
        now = self.clock() if now is None else now
        return await self._patient.announce(admission.set_queue, name, changes, now)

    set_config = verb(Connections.announce, jobs.set_config)

    remove_queue = verb(Connections.announce, admission.remove_queue)
    _amend = verb(Connections.announce, admission.amend)
    edit = verb(Connections.announce, admission.edit)
    add_hook = verb(Connections.write, hooks.add_hook)
    change_hook = verb(Connections.write, hooks.change_hook)
    remove_hook = verb(Connections.write, hooks.remove_hook)
    deliver_hooks = verb(Connections.announce, hooks.deliver_due)
    queue_facts = verb(Connections.read, admission.queue_facts)
    prune = verb(Connections.write, admission.prune)

    async def judge_marked(self, now: float) -> bool:
        # Most changes mark no parent, and a read is faster than a transaction.
        if not await self._connections.read(admission.any_marks):
            return False
        if await self._connections.announce(hooks.judge_some, now):
            await asyncio.sleep(JUDGE_PAUSE)
            return True
        return False

    async def readmit(self, now: float) -> None:
        await self._patient.announce(admission.readmit, now)

    async def give_way(self, seconds: float) -> None:
        """Nothing to do: a server has many writers at a time."""

    add_schedule = verb(Connections.announce, schedules.add_schedule)
    change_schedule = verb(Connections.announce, schedules.change_schedule)
    remove_schedule = verb(Connections.announce, schedules.remove_schedule)
    fire = verb(Connections.announce, schedules.fire)
    run_schedule = verb(Connections.announce, schedules.run_schedule)

    # -- working ----------------------------------------------------------------------

    register = verb(Connections.write, claims.register)
    heartbeat = verb(Connections.repeat, claims.heartbeat)
    add_workers = verb(Connections.announce, claims.add_workers)
    deregister = verb(Connections.announce, claims.deregister)
    workers_gone = verb(Connections.write, claims.workers_gone)
    dismiss = verb(Connections.write, claims.dismiss)

    async def settle_and_claim(self, request: ClaimRequest) -> ClaimResult:
        return await self._commit_log.settle_and_claim(request)

    async def take_over(self, dead: SupervisorRow, successor: str, now: float) -> list[Job] | None:
        try:
            return await self._connections.write(claims.take_over, dead, successor, now)
        except CommitUnknown as error:
            # If it was done, the jobs are the successor's, and nobody else will ever look at them.
            # So find out, however long it takes.
            taken: Any = error.result
            while True:
                try:
                    return taken if await self._connections.committed(error.doubt) else None
                except StoreError:
                    await asyncio.sleep(random.uniform(0.5, 1.0))

    # -- signals ----------------------------------------------------------------------

    def notifier(self, supervisor: str) -> Notifier:
        own_directory(self.directory)
        own_directory(self.directory / "run")
        return self._listener.notifier()

    def files(self) -> list[Path]:
        return [self.directory] if self.directory.exists() else []

    async def checkpoint(self) -> None:
        if await self._connections.read(maintenance.is_long):
            await self._connections.write(maintenance.fold)

    # -- maintenance --------------------------------------------------------------------

    async def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:
        raise InvalidInput(
            f"store {self.url} is on a server: queuectl does not copy it",
            f"use pg_dump --schema={self._connections.dsn.schema}",
        )

    def copying(self) -> Copying:
        from .copy import PostgresCopying

        return PostgresCopying(self._patient)
