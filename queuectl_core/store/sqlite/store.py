"""The SQLite store. Most verbs are declared: each is a function that runs in one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from ...domain.errors import StoreError, StoreFull, StoreReadOnly, StoreUnreachable
from ...domain.text import clean_line
from ...system.clocks import monotonic
from ...system.host import is_gone, known_host_key
from ...system.postcommit import after_commit, commits
from ...system.run_sync import loop_runs, off_loop, sleep
from ..protocol import LAST, Batch, Changed, JobAction, Notifier, Said, Store
from . import clock, jobs, migrate
from .connection import Connection, Opener, changes, open_writer, reads, writes
from .database_file import DatabaseFile, prepare_file, real_path
from .errors import FileName, explain_os
from .notifier import (
    ANYTHING,
    NEW_JOBS,
    STOP,
    STOP_NOW,
    SUFFIX,
    FifoNotifier,
    has_listener,
    notify_one,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ...domain.claims import ClaimRequest, ClaimResult
    from ...domain.model import Job, JobSpec
    from ..copy import Copying
    from ..signature import Signature


T = TypeVar("T")

GIVE_WAY = 0.08
"""After each page a long change waits for this part of the time that the page took, so that others
can write."""
LONGEST_WAY = 0.02
"""Seconds. A waiting writer tries more often than this."""


def _reader() -> Opener:
    from .read_only import open_reader

    return open_reader


def _load_the_rest() -> None:
    """Import the modules that short verbs do not need. A program with an event loop runs for long,
    and an upgrade may replace our files meanwhile."""
    from ...system import file_systems, permissions  # noqa: F401
    from . import (  # noqa: F401
        admission,
        batch,
        claims,
        hooks,
        maintenance,
        read_only,
        schedules,
        statistics,
        supervisors,
    )


class _Late:
    """A module of this package that is imported when it is first used. Short verbs do not need
    it."""

    def __init__(self, name: str) -> None:
        self._name = f"{__package__}.{name}"

    def __getattr__(self, name: str) -> Any:
        return getattr(__import__(self._name, fromlist=["*"]), name)


if TYPE_CHECKING:
    from . import admission, claims, events, hooks, maintenance, schedules, statistics, supervisors
else:
    admission, events = _Late("admission"), _Late("events")
    claims, maintenance = _Late("claims"), _Late("maintenance")
    hooks = _Late("hooks")
    statistics, supervisors = _Late("statistics"), _Late("supervisors")
    schedules = _Late("schedules")


class SqliteStore(Store):
    """A :class:`~queuectl_core.store.protocol.Store` in one file. Make it with :meth:`open`."""

    shared_by_hosts = False
    can_backup = True

    def __init__(self, connection: Connection, *, read_only: bool) -> None:
        self._connection = connection
        self._file = connection.file
        self._checkpoints = connection.checkpoints
        self.path = self.url = self.address = connection.path
        self.run_directory = connection.file.run_directory
        self._read_only = read_only
        self._seen: tuple[int, int] | None = None

    @classmethod
    async def open(
        cls,
        path: FileName,
        *,
        create_parent: bool = False,
        create: bool = True,
        read_only: bool = False,
        marked: bool = False,
        signature: Signature | None = None,
    ) -> SqliteStore:
        """Open the store at ``path``, creating and migrating it as needed.

        ``create_parent``: also create its directory. ``create`` False: do not create a store.
        ``read_only``: create and migrate nothing, and refuse every change. ``marked``: also open an
        unfinished copy, which is a Conflict otherwise. ``signature``: signs the events. Raises the
        StoreError family.
        """
        if loop_runs():
            _load_the_rest()
        path = real_path(path)
        create = create and not read_only
        file = prepare_file(path, create_parent and create, create=create, read_only=read_only)
        connection = await connect(file, _reader() if read_only else open_writer, signature)
        try:
            if not read_only and await connection.read(migrate.check, path):
                await connection.write(migrate.migrate, path)
            if not marked:
                await connection.read(jobs.check_whole, path)
        except BaseException:
            await connection.close()
            raise
        return cls(connection, read_only=read_only)

    async def close(self) -> None:
        # The last one to close makes a checkpoint, which locks out everybody else. So move most of
        # a large WAL before.
        if not self._read_only and self._checkpoints.is_large and self._checkpoints.left_to_us():
            with suppress(sqlite3.Error, OSError, RuntimeError):
                await off_loop(self._checkpoints.move_ahead)
        await self._connection.close()

    def clock(self) -> float:
        return time.time()

    @cached_property
    def directory(self) -> Path:  # type: ignore[override]
        from pathlib import Path

        return Path(f"{self.path}.d")

    def host_identity(self) -> str:
        return known_host_key()

    # -- enqueue ----------------------------------------------------------------------

    async def enqueue(self, specs: Sequence[JobSpec], now: float) -> list[Job]:
        # Hooks are only loaded if one of these jobs may be cancelled at once.
        children = any(spec.parents for spec in specs)
        how = hooks.enqueue_children if children else jobs.enqueue
        return await self._connection.change(NEW_JOBS, how, specs, now)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[Batch]:
        from .batch import SqliteBatch, stage

        if self._read_only:
            raise StoreReadOnly(f"store {self.url} is opened read-only", "leave read-only mode")
        self._file.check()
        connection = await connect(self._file, signature=self._connection.signature)
        try:
            await connection.call(stage)
            yield SqliteBatch(connection)
        finally:
            with after_commit("closing the staging connection"):
                await connection.close()
        self._connection.notify(NEW_JOBS)

    # -- reading ----------------------------------------------------------------------

    async def _rows(
        self, query: str, convert: Callable[[Any], T], *, patient: bool = False, **values: Any
    ) -> list[T]:
        return await self._connection.read(jobs.rows, query, convert, values)

    scan = reads(lambda: jobs.scan)
    rollup = reads(lambda: statistics.rollup)
    candidates = reads(lambda: jobs.candidates)
    events_since = reads(lambda: events.since)
    supervisors = reads(lambda: supervisors.known_supervisors)
    workers = reads(lambda: supervisors.workers)

    async def changed(self) -> bool:
        version = await self._connection.call(_data_version)
        found = (self._connection.generation, version)
        changed, self._seen = found != self._seen, found
        return changed

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
        what = ANYTHING if wakes else None
        return await self._connection.change(what, jobs.rows, query, convert, values, check)

    async def _note(self, query: str, *, wakes: bool = False, **values: Any) -> None:
        await self._connection.write(jobs.rows, query, tuple, values)
        if wakes:
            self._connection.notify()

    async def _act(
        self,
        action: JobAction,
        params: dict[str, Any],
        check: Callable[[list[tuple[int, int]]], None] | None,
        said: Said,
    ) -> Changed:
        return await self._connection.change(ANYTHING, hooks.act, action, params, check, said)

    set_config = changes(lambda: jobs.set_config, wakes=ANYTHING)
    set_queue = changes(lambda: admission.set_queue, wakes=ANYTHING)
    remove_queue = changes(lambda: admission.remove_queue, wakes=ANYTHING)
    _amend = changes(lambda: admission.amend, wakes=ANYTHING)
    edit = changes(lambda: admission.edit, wakes=ANYTHING)
    add_hook = changes(lambda: hooks.add_hook)
    change_hook = changes(lambda: hooks.change_hook)
    remove_hook = changes(lambda: hooks.remove_hook)
    deliver_hooks = changes(lambda: hooks.deliver_due, wakes=NEW_JOBS)
    _judge_marked = changes(lambda: hooks.judge_some, wakes=NEW_JOBS)
    readmit = changes(lambda: admission.readmit, wakes=ANYTHING)
    queue_facts = reads(lambda: admission.queue_facts)

    async def judge_marked(self, now: float) -> bool:
        # Nearly always there is nothing to do, and a read takes no lock.
        found = await self._rows("parent_mark", tuple, low=0, high=LAST)
        return bool(found) and await self._judge_marked(now)

    async def give_way(self, seconds: float) -> None:
        await sleep(min(seconds * GIVE_WAY, LONGEST_WAY))

    add_schedule = changes(lambda: schedules.add_schedule, wakes=ANYTHING)
    change_schedule = changes(lambda: schedules.change_schedule, wakes=ANYTHING)
    remove_schedule = changes(lambda: schedules.remove_schedule, wakes=ANYTHING)
    fire = changes(lambda: schedules.fire, wakes=NEW_JOBS)
    run_schedule = changes(lambda: schedules.run_schedule, wakes=NEW_JOBS)

    # -- working ----------------------------------------------------------------------

    register = changes(lambda: claims.register)
    heartbeat = writes(lambda: claims.heartbeat)
    add_workers = changes(lambda: claims.add_workers, wakes=ANYTHING)
    workers_gone = writes(lambda: claims.workers_gone)

    async def deregister(self, supervisor: str, now: float | None = None) -> None:
        await self._connection.write(claims.deregister, supervisor, now)
        self._connection.notify()

    async def settle_and_claim(self, request: ClaimRequest) -> ClaimResult:
        result = await self._connection.write(claims.settle_and_claim, request)
        if result.freed:
            self._connection.notify(NEW_JOBS)
        return result

    take_over = changes(lambda: claims.take_over)

    async def stop_workers(self, workers: Sequence[str], at_once: bool) -> None:
        try:
            await super().stop_workers(workers, at_once)
        except StoreFull as error:
            await self._stop_without_writing(set(workers), at_once, error)

    async def _stop_without_writing(self, asked: set[str], at_once: bool, error: StoreFull) -> None:
        """Tell the workers by their FIFOs, which need no disk space: jobs may have filled the disk,
        and then only stopping them helps. This stops a supervisor with all its workers."""
        rows = await self.workers()
        chosen = {row.id: row for worker, row in rows if worker.id in asked}
        for worker, row in rows:
            if row.id in chosen and worker.id not in asked and worker.state != "stopping":
                error.hint = f"{error.hint}, or stop all workers of {row.id}"
                raise error
        stopping, silent = [], []
        for supervisor, row in chosen.items():
            notifier = f"{self.run_directory}/{supervisor}{SUFFIX}"
            commits.begin()
            if notify_one(notifier, STOP_NOW if at_once else STOP):
                stopping.append(supervisor)
                continue
            commits.failed()
            if has_listener(notifier) or not is_gone(
                row, time.time(), monotonic(), self.host_identity()
            ):
                silent.append(supervisor)
        if silent:
            said = f"could not tell {', '.join(silent)} to stop"
            if stopping:
                said += f", but {', '.join(stopping)} will stop"
            error.message = clean_line(f"{error.message}: {said}")
            raise error

    # -- signals ----------------------------------------------------------------------

    def notifier(self, supervisor: str) -> Notifier:
        from pathlib import Path

        from ...system.file_systems import NETWORK, file_system_of
        from ...system.permissions import own_directory, own_store

        self._file.check()
        path, run_directory = Path(self.path), Path(self.run_directory)
        own_store(path)  # we are about to run commands from it
        kind = file_system_of(path.parent)
        if kind in NETWORK:
            raise StoreUnreachable(
                f"store {self.url} is on a network file system ({kind}), where SQLite is not safe",
                "use a local disk for workers, or PostgreSQL for several hosts",
            )
        try:
            for folder in (self.directory, run_directory):
                own_directory(folder)
            return FifoNotifier(f"{run_directory}/{supervisor}{SUFFIX}")
        except OSError as error:
            raise explain_os(run_directory, error) from error

    def files(self) -> list[Path]:
        from pathlib import Path

        paths = [Path(f"{self.path}{end}") for end in ("", "-wal", "-shm", ".d")]
        return [path for path in paths if path.exists()]

    async def checkpoint(self) -> None:
        if not self._read_only and not self._file.is_gone():
            connection = self._connection
            with suppress(StoreError):
                if await connection.call(clock.was_set) and await connection.write(clock.follow):
                    connection.notify()
            # A failure does no harm, also if the host refuses a thread: it is tried again later.
            with suppress(StoreError, sqlite3.Error, OSError, RuntimeError):
                if self._checkpoints.is_large:
                    # Not on the connection's thread, because it must write heartbeats.
                    await off_loop(self._checkpoints.move_ahead)
                await connection.call(self._checkpoints.make)

    # -- maintenance --------------------------------------------------------------------

    dismiss = changes(lambda: maintenance.dismiss)
    prune = changes(lambda: maintenance.prune)

    async def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:
        self._file.check_writable()
        import threading

        stopped = threading.Event()
        connection = await connect(self._file, _reader())
        try:
            await connection.call(maintenance.backup, target, progress, stopped)
        finally:
            stopped.set()  # if we were cancelled, the thread still copies, and closing waits
            await connection.close()

    def copying(self) -> Copying:
        from .copy import SqliteCopying

        return SqliteCopying(self._connection)

    async def check(self) -> None:
        self._file.check()


def _data_version(conn: sqlite3.Connection) -> int:
    return int(conn.execute("PRAGMA data_version").fetchone()[0])


async def absent_store(path: FileName) -> SqliteStore:
    """An empty store that refuses every change. It stands for a store that does not exist."""
    path = real_path(path)
    from .read_only import open_absent

    connection = await connect(DatabaseFile(path, None), open_absent)
    return SqliteStore(connection, read_only=True)


async def connect(
    file: DatabaseFile, opener: Opener = open_writer, signature: Signature | None = None
) -> Connection:
    """Open ``file`` with our settings."""
    # Programs with an event loop need a thread for SQLite. A short verb has no event loop: asyncio
    # and the thread would take a third of its time.
    if loop_runs():
        from .threaded import ThreadedConnection

        connection: Connection = ThreadedConnection(file, opener, signature)
    else:
        connection = Connection(file, opener, signature)
    await connection.open()
    return connection
