"""The PostgreSQL store: each verb of the protocol is one function run in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...domain.claims import AttemptResult, ClaimResult, ClaimSlot, Commands, PrefetchStarted
from ...domain.errors import InvalidInput, StoreError, StoreReadOnly
from ...domain.figures import DeadGroup, ThroughputSample
from ...domain.model import Attempt, Command, Filter, Job, JobSpec, State, SupervisorRow, Worker
from ...domain.rollup import Ended, Rollup
from ...system.host import known_host_key
from ...system.permissions import own_directory
from ...system.postcommit import after_commit
from ..protocol import Action, Batch, Notifier, Store
from . import claims, console, jobs, maintenance, statistics
from .batch import PostgresBatch
from .commit_log import CommitLog
from .connections import Link
from .dsn import Dsn
from .errors import CommitUnknown
from .migrate import Found, open_database
from .notifier import Listener

if TYPE_CHECKING:
    from ..copy import Copying


class PostgresStore(Store):
    """A :class:`~queuectl_core.store.protocol.Store` on a server. Make it with :meth:`open`."""

    shared_by_hosts = True
    can_backup = False

    def __init__(self, link: Link, found: Found, data: Path, *, read_only: bool) -> None:
        address = link.address
        self.url = address.shown
        self.address = address.given
        # By what the database says it is: it may be reached by many names.
        name = "\0".join((found.store, found.database, address.schema))
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:20]
        self.directory = data / "postgresql" / digest
        self._read_only = read_only
        self._link = link
        link.channel = f"queuectl:{digest}"
        self._patient = Link(address, read_only=read_only, patient=True)
        self._patient.channel = link.channel
        self._listener = Listener(link)
        self._turns = CommitLog(link)
        self._seen: tuple[Any, ...] | None = None

    @classmethod
    async def open(
        cls,
        address: Dsn,
        data: Path,
        *,
        create: bool = True,
        read_only: bool = False,
        marked: bool = False,
    ) -> PostgresStore:
        """Open the store at ``address``, creating and migrating its tables as needed.

        ``data``: the user's data directory on this host. ``create`` False: only if it is there.
        ``read_only``: refuse every change. ``marked``: also one that is half a copy, which is
        a Conflict else. Raises the StoreError family.
        """
        link = Link(address, read_only=read_only)
        try:
            found = await open_database(link, create=create)
            if found.mark is not None and not marked:
                from ..copy import half_copied

                raise half_copied(address.shown, found.mark)
        except BaseException:
            await link.close()
            raise
        return cls(link, found, data, read_only=read_only)

    def here(self) -> str:
        # Who looks elsewhere for journals (another user, another XDG_DATA_HOME) cannot tell what
        # became of our jobs, though it sees our pids.
        try:
            found = os.stat(self.directory)
        except OSError:
            return ""
        key = known_host_key()
        return key and f"{key}:{found.st_dev:x}-{found.st_ino:x}"

    async def close(self) -> None:
        await self._listener.close()
        await self._patient.close()
        await self._link.close()

    def clock(self) -> float:
        return self._link.clock()

    # -- enqueue ----------------------------------------------------------------------

    async def enqueue(self, specs: Sequence[JobSpec], now: float) -> list[Job]:
        return await self._link.announce(jobs.enqueue, specs, now) if specs else []

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
            await self.tidy()

    # -- reading ----------------------------------------------------------------------

    async def by_id(self, ref: str) -> list[Job]:
        return await self._link.read(jobs.by_id, ref)

    async def by_seq(self, seq: int) -> Job | None:
        return await self._link.read(jobs.by_seq, seq)

    async def ids(self, first: int, count: int) -> list[str]:
        return await self._link.read(jobs.ids, first, count)

    async def jobs(self, where: Filter, limit: int, before: int | None = None) -> list[Job]:
        return await self._link.read(jobs.page, where, limit, before)

    async def count(self, where: Filter) -> int:
        return await self._link.read(jobs.count, where)

    async def attempts(self, seq: int) -> list[Attempt]:
        return await self._link.read(jobs.attempts, seq)

    async def tail(self, seq: int, number: int) -> bytes | None:
        return await self._link.read(jobs.tail, seq, number)

    async def counts(self) -> dict[tuple[State, str], int]:
        return await self._link.read(jobs.counts)

    async def oldest_due(self, now: float) -> float | None:
        return await self._link.read(jobs.oldest_due, now)

    async def ended_since(self, since: float, limit: int) -> list[Ended]:
        return await self._link.read(jobs.ended_since, since, limit)

    async def rollup(self, since: float) -> Rollup:
        return await self._link.read(statistics.rollup, since)

    # -- for a console ------------------------------------------------------------------

    async def check(self) -> None:
        """Nothing to do: a server that is gone says so whatever it is asked, a file that was
        deleted does not."""

    async def bounds(self) -> tuple[int, int] | None:
        return await self._link.read(console.bounds)

    async def stretch(
        self, where: Filter, floor: int, ceiling: int, limit: int, up: bool
    ) -> list[Job]:
        return await self._link.read(console.stretch, where, floor, ceiling, limit, up=up)

    async def span(self, where: Filter, floor: int, ceiling: int) -> int:
        return await self._link.read(console.span, where, floor, ceiling)

    async def dead_groups(self, limit: int) -> list[DeadGroup]:
        return await self._link.read(console.dead_groups, limit)

    async def ticks(self, since: float) -> list[ThroughputSample]:
        return await self._link.read(console.ticks, since)

    async def amend(self, job: Job, command: Command, now: float) -> Job:
        return await self._link.announce(console.amend, job, command, now)

    # -- changing ---------------------------------------------------------------------

    async def candidates(self, where: Filter, after: int, until: int, limit: int) -> list[int]:
        return await self._link.read(jobs.candidates, where, after, until, limit)

    async def change(
        self, action: Action, seen: Sequence[Job], now: float, *, strict: bool
    ) -> list[tuple[int, int]]:
        return await self._link.announce(jobs.change, action, seen, now, strict)

    async def change_matching(
        self, action: Action, where: Filter, seqs: Sequence[int], now: float
    ) -> list[tuple[int, int]]:
        return await self._link.announce(jobs.change_matching, action, where, seqs, now)

    async def give_way(self, seconds: float) -> None:
        pass

    async def config(self) -> dict[str, str]:
        return await self._link.read(jobs.config)

    async def set_config(self, values: Mapping[str, str | None]) -> None:
        await self._link.announce(jobs.set_config, values)

    # -- working ----------------------------------------------------------------------

    async def register(
        self, row: SupervisorRow, workers: Iterable[tuple[str, tuple[str, ...]]], now: float
    ) -> None:
        await self._link.write(claims.register, row, list(workers), now, self.url)

    async def heartbeat(self, row: SupervisorRow) -> bool:
        return await self._link.repeat(claims.heartbeat, row, self._link.clock)

    async def deregister(self, supervisor: str) -> None:
        await self._link.announce(claims.deregister, supervisor)

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
        return await self._turns.settle_and_claim(
            owner, endings, openings, now, begun=begun, released=released, suspects=suspects
        )

    async def commands(self, supervisor: str) -> Commands:
        return await self._link.read(claims.commands, supervisor)

    async def add_workers(
        self, supervisor: str, workers: Iterable[tuple[str, tuple[str, ...]]], now: float, up: bool
    ) -> None:
        await self._link.announce(claims.add_workers, supervisor, list(workers), now, up)

    async def workers_up(self, workers: Iterable[str]) -> None:
        await self._link.repeat(claims.each_worker, "workers_up", list(workers))

    async def workers_gone(self, workers: Iterable[str]) -> None:
        await self._link.repeat(claims.each_worker, "workers_gone", list(workers))

    async def stop_workers(self, workers: Iterable[str], now_: bool) -> None:
        await self._link.announce(claims.stop_workers, list(workers), now_)

    async def sample(
        self, samples: Iterable[tuple[str, int | None, float | None, int | None]]
    ) -> None:
        taken = list(samples)
        if taken:
            await self._link.repeat(claims.sample, taken)

    async def supervisors(self) -> list[SupervisorRow]:
        return await self._link.read(claims.supervisors)

    async def workers(self) -> list[tuple[Worker, SupervisorRow]]:
        return await self._link.read(claims.workers)

    async def held(self, owner: str) -> list[Job]:
        return await self._link.read(claims.held, owner)

    async def shims(self) -> set[str]:
        return await self._link.read(claims.shims)

    async def take_over(self, dead: SupervisorRow, heir: str, now: float) -> list[Job] | None:
        try:
            return await self._link.write(claims.take_over, dead, heir, now)
        except CommitUnknown as error:
            # If it was done the jobs are the heir's and nobody else would ever ask: find out,
            # however long it takes.
            taken: Any = error.result
            while True:
                try:
                    return taken if await self._link.committed(error.doubt) else None
                except StoreError:
                    await asyncio.sleep(random.uniform(0.5, 1.0))

    async def assign(self, owner: str, workers: Mapping[int, str]) -> None:
        await self._link.repeat(claims.assign, owner, workers)

    # -- signals ----------------------------------------------------------------------

    def notifier(self, supervisor: str) -> Notifier:
        own_directory(self.directory)
        own_directory(self.directory / "run")
        return self._listener.notifier()

    async def changed(self) -> bool:
        found = await self._link.read(jobs.changes, self._link.clock)
        changed, self._seen = found != self._seen, found
        return changed

    async def faults(self) -> list[str]:
        return await self._patient.read(maintenance.faults)

    def files(self) -> list[Path]:
        return [self.directory] if self.directory.exists() else []

    async def tidy(self) -> None:
        if await self._link.read(maintenance.is_long):
            await self._link.write(maintenance.fold)

    # -- upkeep -------------------------------------------------------------------------

    async def expired(self, since: float, before: float, limit: int) -> list[int]:
        return await self._link.read(maintenance.expired, since, before, limit)

    async def ended(self, state: State, before: float, after: int, limit: int) -> list[int]:
        return await self._link.read(maintenance.ended, state, before, after, limit)

    async def prune(
        self, seqs: Sequence[int], state: State, before: float
    ) -> list[tuple[int, int]]:
        return await self._link.write(maintenance.prune, seqs, state, before)

    async def runs(self, seqs: Sequence[int]) -> dict[int, int]:
        return await self._link.read(maintenance.runs, seqs)

    async def miscounted(self) -> int:
        return await self._patient.read(maintenance.miscounted)

    async def dismiss(self, dead: SupervisorRow) -> bool:
        return await self._link.write(claims.dismiss, dead)

    async def recount(self) -> None:
        await self._patient.write(maintenance.recount)

    async def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:
        raise InvalidInput(
            f"store {self.url} is on a server: queuectl does not copy it",
            f"use pg_dump --schema={self._link.address.schema}",
        )

    def copying(self) -> Copying:
        from .copy import PostgresCopying

        return PostgresCopying(self._patient)
