"""The SQLite store: each verb of the protocol is one function run in one transaction."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from ...domain.errors import StoreError, StoreFull, StoreGone, StoreReadOnly, StoreUnreachable
from ...domain.model import Attempt, Command, Filter, Job, JobSpec, State, Worker
from ...domain.text import clean_line
from ...system.clocks import monotonic
from ...system.file_systems import NETWORK, file_system_of
from ...system.host import is_gone, known_host_key
from ...system.permissions import own_directory, own_store
from ...system.postcommit import after_commit, commits
from ...system.run_sync import loop_runs, off_loop, sleep
from ..protocol import Action, Batch, Notifier, Store
from . import jobs, migrate
from .checkpoint import Checkpoints
from .clock import WallClock
from .connection import Connection, Opener, open_writer
from .database_file import prepare_file, real_path
from .errors import explain_os
from .notifier import (
    ANYTHING,
    JOBS,
    STOP,
    STOP_NOW,
    SUFFIX,
    FifoNotifier,
    has_listener,
    notify,
    notify_one,
)
from .read_only import open_absent, open_reader

if TYPE_CHECKING:
    from ...domain.claims import AttemptResult, ClaimResult, ClaimSlot, Commands, PrefetchStarted
    from ...domain.figures import DeadGroup, ThroughputSample
    from ...domain.model import SupervisorRow
    from ...domain.rollup import Ended, Rollup
    from ..copy import Copying


P = ParamSpec("P")
T = TypeVar("T")

GIVE_WAY = 0.08
"""The part of its time for which a long change lets others write after each page."""
LONGEST_WAY = 0.02
"""Seconds: a writer that waits looks more often than that."""


def _load_the_rest() -> None:
    """Load what a verb may do without. A program with an event loop goes on for long, and an
    upgrade may replace our files meanwhile."""
    from . import batch, claims, console, maintenance, statistics, supervisors  # noqa: F401


class SqliteStore(Store):
    """A :class:`~queuectl_core.store.protocol.Store` in one file. Make it with :meth:`open`."""

    shared_by_hosts = False
    can_backup = True

    def __init__(
        self,
        path: Path,
        connection: Connection,
        *,
        read_only: bool,
        found: os.stat_result | None,
    ) -> None:
        """``found``: the database file as it was opened; None: there is none."""
        self.path = path
        self.url = self.address = str(path)
        self.directory = path.with_name(path.name + ".d")
        self.run = self.directory / "run"
        self._connection = connection
        self._read_only = read_only
        self._seen: tuple[int, int] | None = None
        self._wall: Callable[[], float] = time.time
        """Replaced by tests."""
        self._wall_clock = WallClock(self.clock)
        self._file = None if found is None else (found.st_dev, found.st_ino)
        self._checkpoints = Checkpoints(path, self.directory, self._is_gone)
        self._connection.after_write = self._written

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        create_parent: bool = False,
        create: bool = True,
        read_only: bool = False,
        marked: bool = False,
    ) -> SqliteStore:
        """Open the store at ``path``, creating and migrating it as needed.

        ``create_parent``: also create its directory. ``create`` False: only if it is there.
        ``read_only``: create and migrate nothing, and refuse every change. ``marked``: also one
        that is half a copy, which is a Conflict else. Raises the StoreError family.
        """
        if loop_runs():
            _load_the_rest()
        path = real_path(path)
        create = create and not read_only
        found = prepare_file(path, create_parent and create, create=create, read_only=read_only)
        connection = await connect(path, open_reader if read_only else open_writer)
        try:
            if not read_only and await connection.read(migrate.check, path):
                await connection.write(migrate.migrate, path)
            if not marked:
                await connection.read(jobs.check_whole, str(path))
        except BaseException:
            await connection.close()
            raise
        return cls(path, connection, read_only=read_only, found=found)

    async def close(self) -> None:
        # The last one to close makes a checkpoint, and keeps everybody out meanwhile.
        if not self._read_only and self._checkpoints.is_large and self._checkpoints.left_to_us():
            with suppress(sqlite3.Error, OSError, RuntimeError):
                await off_loop(self._checkpoints.move_ahead)
        # SQLite removes a WAL by its name. It would be that of the store which took our place.
        await self._connection.close(keep=self._is_gone())

    def clock(self) -> float:
        return self._wall()

    def here(self) -> str:
        return known_host_key()

    # -- enqueue ----------------------------------------------------------------------

    async def enqueue(self, specs: Sequence[JobSpec], now: float) -> list[Job]:
        found = await self._change(jobs.enqueue, specs, now)
        self._ring(JOBS)
        return found

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[Batch]:
        from .batch import SqliteBatch, stage

        if self._read_only:
            raise StoreReadOnly(f"store {self.url} is opened read-only", "leave read-only mode")
        self._check_file()
        connection = await connect(self.path)
        connection.after_write = self._written
        try:
            await connection.call(stage)
            yield SqliteBatch(connection)
        finally:
            with after_commit("closing the staging connection"):
                await connection.close(keep=self._is_gone())
        self._ring(JOBS)

    # -- reading ----------------------------------------------------------------------

    async def by_id(self, ref: str) -> list[Job]:
        return await self._connection.read(jobs.by_id, ref)

    async def by_seq(self, seq: int) -> Job | None:
        return await self._connection.read(jobs.by_seq, seq)

    async def ids(self, first: int, count: int) -> list[str]:
        return await self._connection.read(jobs.ids, first, count)

    async def jobs(self, where: Filter, limit: int, before: int | None = None) -> list[Job]:
        return await self._connection.read(jobs.page, where, limit, before)

    async def count(self, where: Filter) -> int:
        return await self._connection.read(jobs.count, where)

    async def attempts(self, seq: int) -> list[Attempt]:
        return await self._connection.read(jobs.attempts, seq)

    async def tail(self, seq: int, number: int) -> bytes | None:
        return await self._connection.read(jobs.tail, seq, number)

    async def counts(self) -> dict[tuple[State, str], int]:
        return await self._connection.read(jobs.counts)

    async def oldest_due(self, now: float) -> float | None:
        return await self._connection.read(jobs.oldest_due, now)

    async def ended_since(self, since: float, limit: int) -> list[Ended]:
        return await self._connection.read(jobs.ended_since, since, limit)

    async def rollup(self, since: float) -> Rollup:
        from . import statistics

        return await self._connection.read(statistics.rollup, since)

    # -- for a console ------------------------------------------------------------------

    async def check(self) -> None:
        self._check_file()

    def _check_file(self) -> None:
        try:
            found = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            if self._file is None:
                return
            raise StoreGone(
                f"store {self.url} was removed or moved away", "put it back, or start a new one"
            ) from None
        except OSError as error:
            raise StoreUnreachable(
                f"store {self.url} cannot be reached: {error.strerror}", "check its directory"
            ) from None
        if self._file is None:
            raise StoreGone(f"store {self.url} was created meanwhile", "open it again")
        if (found.st_dev, found.st_ino) != self._file:
            raise StoreGone(f"store {self.url} was replaced by another file", "open it anew")

    def _is_gone(self) -> bool:
        try:
            self._check_file()
        except StoreUnreachable:
            return True
        return False

    def _written(self, conn: sqlite3.Connection) -> None:
        if not self._is_gone():
            self._checkpoints.after_write(conn)

    async def _change(
        self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Write what somebody will rely on: not to a file that nobody will look at again."""
        self._check_there()
        self._check_file()
        return await self._connection.write(fn, *args, **kwargs)

    def _check_there(self) -> None:
        if self._file is None:
            raise StoreUnreachable(f"store {self.url} is not there", "the first enqueue creates it")

    async def bounds(self) -> tuple[int, int] | None:
        from . import console

        return await self._connection.read(console.bounds)

    async def stretch(
        self, where: Filter, floor: int, ceiling: int, limit: int, up: bool
    ) -> list[Job]:
        from . import console

        return await self._connection.read(console.stretch, where, floor, ceiling, limit, up=up)

    async def span(self, where: Filter, floor: int, ceiling: int) -> int:
        from . import console

        return await self._connection.read(console.span, where, floor, ceiling)

    async def dead_groups(self, limit: int) -> list[DeadGroup]:
        from . import console

        return await self._connection.read(console.dead_groups, limit)

    async def ticks(self, since: float) -> list[ThroughputSample]:
        from . import console

        return await self._connection.read(console.ticks, since)

    async def amend(self, job: Job, command: Command, now: float) -> Job:
        from . import console

        changed = await self._change(console.amend, job, command, now)
        self._ring()
        return changed

    # -- changing ---------------------------------------------------------------------

    async def candidates(self, where: Filter, after: int, until: int, limit: int) -> list[int]:
        return await self._connection.read(jobs.candidates, where, after, until, limit)

    async def change(
        self, action: Action, seen: Sequence[Job], now: float, *, strict: bool
    ) -> list[tuple[int, int]]:
        changed = await self._change(jobs.change, action, seen, now, strict)
        self._ring()
        return changed

    async def change_matching(
        self, action: Action, where: Filter, seqs: Sequence[int], now: float
    ) -> list[tuple[int, int]]:
        changed = await self._change(jobs.change_matching, action, where, seqs, now)
        self._ring()
        return changed

    async def give_way(self, seconds: float) -> None:
        await sleep(min(seconds * GIVE_WAY, LONGEST_WAY))

    async def config(self) -> dict[str, str]:
        return await self._connection.read(jobs.config)

    async def set_config(self, values: Mapping[str, str | None]) -> None:
        await self._change(jobs.set_config, values)
        self._ring()

    # -- working ----------------------------------------------------------------------

    async def register(
        self, row: SupervisorRow, workers: Iterable[tuple[str, tuple[str, ...]]], now: float
    ) -> None:
        from . import claims

        await self._change(claims.register, row, workers, now, url=self.url, run=self.run)

    async def heartbeat(self, row: SupervisorRow) -> bool:
        from . import claims

        return await self._connection.write(claims.heartbeat, row)

    async def deregister(self, supervisor: str) -> None:
        from . import claims

        await self._connection.write(claims.deregister, supervisor)
        self._ring()

    async def settle_and_claim(
        self,
        owner: str,
        endings: Sequence[AttemptResult],
        openings: Sequence[ClaimSlot],
        now: float,
        *,
        begun: Sequence[PrefetchStarted] = (),
        released: Sequence[Job] = (),
        suspects: bool = True,
    ) -> ClaimResult:
        from . import claims

        if openings:
            try:
                self._check_file()
            except StoreGone:
                if not (endings or begun or released):
                    raise
                openings = ()  # what ended is written down: the file may have been moved only
        try:
            turn = partial(
                claims.settle_and_claim,
                owner=owner,
                endings=endings,
                openings=openings,
                now=now,
                begun=begun,
                released=released,
                suspects=suspects,
            )
            return await self._connection.write(self._exchange, turn)
        except BaseException:
            self._wall_clock.forget()
            raise

    def _exchange(
        self, conn: sqlite3.Connection, turn: Callable[[sqlite3.Connection], ClaimResult]
    ) -> ClaimResult:
        if self._wall_clock.moved:  # before anything is due, or put off, by the clock as it is now
            self._wall_clock.follow(conn)
        return turn(conn)

    async def commands(self, supervisor: str) -> Commands:
        from . import claims

        return await self._connection.read(claims.commands, supervisor)

    async def add_workers(
        self, supervisor: str, workers: Iterable[tuple[str, tuple[str, ...]]], now: float, up: bool
    ) -> None:
        from . import claims

        await self._change(claims.add_workers, supervisor, workers, now, up)
        self._ring()

    async def workers_up(self, workers: Iterable[str]) -> None:
        from . import claims

        await self._connection.write(claims.each_worker, "worker_up", workers)

    async def workers_gone(self, workers: Iterable[str]) -> None:
        from . import claims

        await self._connection.write(claims.each_worker, "worker_gone", workers)

    async def stop_workers(self, workers: Iterable[str], now_: bool) -> None:
        from . import claims

        asked = list(workers)
        try:
            await self._connection.write(claims.stop_workers, asked, now_)
        except StoreFull as error:
            await self._stop_without_writing(set(asked), now_, error)
            return
        self._ring()

    async def _stop_without_writing(self, asked: set[str], now_: bool, error: StoreFull) -> None:
        """Jobs may have filled the disk, so that only their workers' end helps: tell it by the
        bells, which need no space. They stop a supervisor with all its workers."""
        rows = await self.workers()
        chosen = {row.id: row for worker, row in rows if worker.id in asked}
        for worker, row in rows:
            if row.id in chosen and worker.id not in asked and worker.state != "stopping":
                error.hint = f"{error.hint}, or stop all workers of {row.id}"
                raise error
        told, untold = [], []
        for supervisor, row in chosen.items():
            notifier = self.run / (supervisor + SUFFIX)
            commits.begin()
            if notify_one(notifier, STOP_NOW if now_ else STOP):
                told.append(supervisor)
                continue
            commits.failed()
            if has_listener(notifier) or not is_gone(row, time.time(), monotonic(), self.here()):
                untold.append(supervisor)
        if untold:
            said = f"could not tell {', '.join(untold)} to stop"
            if told:
                said += f", but {', '.join(told)} will stop"
            error.message = clean_line(f"{error.message}: {said}")
            raise error

    async def sample(
        self, samples: Iterable[tuple[str, int | None, float | None, int | None]]
    ) -> None:
        from . import claims

        await self._connection.write(claims.sample, samples)

    async def supervisors(self) -> list[SupervisorRow]:
        from . import supervisors

        return await self._connection.read(supervisors.known_supervisors, self.run)

    async def workers(self) -> list[tuple[Worker, SupervisorRow]]:
        from . import supervisors

        return await self._connection.read(supervisors.workers, self.run)

    async def held(self, owner: str) -> list[Job]:
        from . import claims

        return await self._connection.read(claims.held, owner)

    async def shims(self) -> set[str]:
        from . import claims

        return await self._connection.read(claims.shims)

    async def take_over(self, dead: SupervisorRow, heir: str, now: float) -> list[Job] | None:
        from . import claims

        return await self._change(claims.take_over, dead, heir, now)

    async def assign(self, owner: str, workers: Mapping[int, str]) -> None:
        from . import claims

        await self._connection.write(claims.assign, owner, workers)

    # -- signals ----------------------------------------------------------------------

    def notifier(self, supervisor: str) -> Notifier:
        self._check_file()
        own_store(self.path)  # whoever listens is about to run what is in it
        kind = file_system_of(self.path.parent)
        if kind in NETWORK:
            raise StoreUnreachable(
                f"store {self.url} is on a network file system ({kind}), where SQLite is not safe",
                "use a local disk for workers, or PostgreSQL for several hosts",
            )
        run = self.run
        try:
            for folder in (self.directory, run):
                own_directory(folder)
            return FifoNotifier(run / (supervisor + SUFFIX))
        except OSError as error:
            raise explain_os(run, error) from error

    def _ring(self, what: bytes = ANYTHING) -> None:
        with after_commit("waking the workers"):
            notify(self.run, what)

    async def changed(self) -> bool:
        version = await self._connection.call(_data_version)
        found = (self._connection.generation, version)
        changed, self._seen = found != self._seen, found
        return changed

    async def faults(self) -> list[str]:
        return await self._connection.read(jobs.faults)

    def files(self) -> list[Path]:
        beside = [self.path.with_name(self.path.name + end) for end in ("-wal", "-shm", ".d")]
        return [path for path in (self.path, *beside) if path.exists()]

    async def tidy(self) -> None:
        if not self._read_only and not self._is_gone():
            if self._wall_clock.known and self._wall_clock.moved:
                with suppress(StoreError):
                    if await self._connection.write(self._wall_clock.follow):
                        self._ring()
            # It can wait; also where the host refuses a thread.
            with suppress(StoreError, sqlite3.Error, OSError, RuntimeError):
                if self._checkpoints.is_large:
                    # Not on the connection's thread, which has heartbeats to write.
                    await off_loop(self._checkpoints.move_ahead)
                await self._connection.call(self._checkpoints.make)

    # -- upkeep -------------------------------------------------------------------------

    async def expired(self, since: float, before: float, limit: int) -> list[int]:
        from . import maintenance

        return await self._connection.read(maintenance.expired, since, before, limit)

    async def ended(self, state: State, before: float, after: int, limit: int) -> list[int]:
        from . import maintenance

        return await self._connection.read(maintenance.ended, state, before, after, limit)

    async def prune(
        self, seqs: Sequence[int], state: State, before: float
    ) -> list[tuple[int, int]]:
        from . import maintenance

        return await self._change(maintenance.prune, seqs, state, before)

    async def runs(self, seqs: Sequence[int]) -> dict[int, int]:
        from . import maintenance

        return await self._connection.read(maintenance.runs, seqs)

    async def miscounted(self) -> int:
        from . import maintenance

        return await self._connection.read(maintenance.miscounted)

    async def dismiss(self, dead: SupervisorRow) -> bool:
        from . import maintenance

        return await self._change(maintenance.dismiss, dead)

    async def recount(self) -> None:
        from . import maintenance

        await self._change(maintenance.recount)

    async def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:
        from . import maintenance

        self._check_there()
        self._check_file()
        import threading

        stopped = threading.Event()
        connection = await connect(self.path, open_reader)
        try:
            await connection.call(maintenance.backup, target, progress, stopped)
        finally:
            stopped.set()  # cancelled: the thread is still copying, and closing waits for it
            await connection.close(keep=self._is_gone())

    def copying(self) -> Copying:
        from .copy import SqliteCopying

        return SqliteCopying(self._connection, self.url)


def _data_version(conn: sqlite3.Connection) -> int:
    return int(conn.execute("PRAGMA data_version").fetchone()[0])


async def absent_store(path: Path) -> SqliteStore:
    """An empty store that refuses every change, for one that is not there."""
    path = real_path(path)
    connection = await connect(path, open_absent)
    return SqliteStore(path, connection, read_only=True, found=None)


async def connect(path: Path, opener: Opener = open_writer) -> Connection:
    """Open ``path`` with our settings."""
    # A thread for SQLite is for programs with an event loop. A short verb has none: asyncio and the
    # thread would take a third of its time.
    if loop_runs():
        from .threaded import ThreadedConnection

        connection: Connection = ThreadedConnection(path, opener)
    else:
        connection = Connection(path, opener)
    await connection.open()
    return connection
