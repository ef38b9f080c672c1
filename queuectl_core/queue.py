"""Queue: everything a front end can ask for. The only API front ends call.

It knows no SQL and starts no process itself; it turns what a person says (ids and their
prefixes, filters, settings) into the store's verbs and answers with plain values.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .domain import config as conf
from .domain import lifecycle
from .domain.errors import Conflict, InvalidInput, NotFound, StoreError
from .domain.jobspec import Defaults, check_queue, parse_job
from .domain.model import Attempt, Filter, Job, JobSpec, Outcome, State, Status, Worker
from .domain.text import clean_line
from .operations.attempt_output import log_path, remove_all_logs, unreadable
from .store.open import needs_loop, open_store
from .store.protocol import ALLOWED, LAST, Batch, JobAction, Store
from .system.clocks import monotonic
from .system.host import current_directory, host_key, hostname, is_gone, may_be_process
from .system.postcommit import after_commit, commits
from .system.run_sync import off_loop

if TYPE_CHECKING:
    from .domain.events import Event, Summary
    from .domain.figures import Stats
    from .operations.attempt_output import AttemptOutput
    from .operations.copy import Copied
    from .operations.copy import Progress as CopyProgress

PAGE = 1000
"""Jobs read at a time when a verb takes many."""

BULK = 500
"""Jobs changed in one transaction: some 30 ms during which nobody else writes to an SQLite file."""

WIDTH = 40 * BULK
"""Keys among which a bulk verb looks for its next page, at first."""

EXACT = 2000
"""Attempts that ``stats`` reads one by one; more are read added up."""

Progress = Callable[[int, int], None]
"""Called with (done, total) as long work goes on."""


class WaitState(NamedTuple):
    """Where the jobs one waits for are: ``done`` and ``bad`` (dead or cancelled) of ``total``."""

    total: int
    done: int
    bad: int
    finished: bool


class Queue:
    """A queue of jobs in one store. Make it with :meth:`open`, close it with :meth:`close`."""

    __slots__ = ("clock", "cwd", "env", "store")

    def __init__(
        self,
        store: Store,
        env: Mapping[str, str],
        clock: Callable[[], float] = time.time,
        cwd: str | None = None,
    ) -> None:
        self.store = store
        self.env = env
        self.clock = clock
        self.cwd = current_directory() if cwd is None else cwd

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        clock: Callable[[], float] | None = None,
        read_only: bool = False,
        create: bool = True,
        absent_ok: bool = False,
    ) -> AsyncIterator[Queue]:
        """The queue in the store ``url`` names (None: the default); closed on leaving.

        ``clock``: epoch seconds; None: the store's own.
        ``create`` False, or ``read_only``: a store that is not there is not made, but
        StoreUnreachable. ``absent_ok``: if it is the default store, it is an empty queue then,
        which refuses every change.
        Raises InvalidInput or the StoreError family.
        """
        env = os.environ if env is None else env
        store = await open_store(url, env, read_only=read_only, create=create, absent_ok=absent_ok)
        try:
            yield cls(store, env, clock or store.clock)
        finally:
            with after_commit("closing the store"):
                await store.close()

    @staticmethod
    def can_run_sync(url: str | None = None, env: Mapping[str, str] | None = None) -> bool:
        """Whether questions to this store can be asked with
        :func:`queuectl_core.system.run_sync.at_once`."""
        return not needs_loop(url, os.environ if env is None else env)

    # -- enqueue ----------------------------------------------------------------------

    async def defaults(self) -> Defaults:
        """What fills the fields a new job does not give, as of now."""
        return Defaults(await self.settings(), self.cwd, self.clock())

    async def enqueue(self, sources: Sequence[Any]) -> list[Job]:
        """Enqueue what ``sources`` (mappings or command strings) describe, all or none."""
        defaults = await self.defaults()
        return await self.enqueue_specs([parse_job(source, defaults)[0] for source in sources])

    async def enqueue_specs(self, specs: Sequence[JobSpec]) -> list[Job]:
        """Enqueue validated jobs, all or none. Conflict when an id is taken."""
        return await self.store.enqueue(specs, self.clock())

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[Batch]:
        """A bulk enqueue of any length: add to it, then commit."""
        async with self.store.batch() as batch:
            yield batch

    # -- reading ----------------------------------------------------------------------

    async def find(self, ref: str, *, to_change: bool = False) -> Job:
        """The job with id ``ref``, or whose id is the only one to start with it; to change it
        (``to_change``), only if queuectl generated that id.

        Raises NotFound, or Conflict when several ids do.
        """
        found = await self.store.by_id(ref) if ref else []
        shown = clean_line(ref, 60)
        if to_change and found and found[0].id != ref:
            from .store.rows import is_generated

            if not all(is_generated(job.id) for job in found):
                raise NotFound(
                    f"no such job: '{shown}'",
                    f"to change a job give its whole id: {found[0].id}"
                    if len(found) == 1
                    else "to change a job give its whole id; see: queuectl list",
                )
        if not found:
            raise NotFound(f"no such job: '{shown}'", "see: queuectl list")
        if len(found) > 1:
            raise Conflict(
                f"'{shown}' starts several ids, {found[0].id} and {found[1].id} among them",
                "give more of it",
            )
        return found[0]

    async def get(self, seq: int) -> Job | None:
        """The job with this key."""
        return await self.store.by_seq(seq)

    async def ids(self, first: int, count: int) -> AsyncIterator[list[str]]:
        """The ids of jobs with seqs from ``first`` on, in order, a page at a time."""
        for start in range(first, first + count, 10 * PAGE):
            yield await self.store.ids(start, min(10 * PAGE, first + count - start))

    async def scan(
        self,
        where: Filter | None = None,
        limit: int = PAGE,
        *,
        low: int = 0,
        high: int = LAST,
        up: bool = False,
    ) -> list[Job]:
        """Up to ``limit`` matching jobs with seq from ``low`` to ``high``, newest first; with
        ``up`` oldest first."""
        return await self.store.scan(where or Filter(), limit, low=low, high=high, up=up)

    async def pages(
        self, where: Filter | None = None, limit: int | None = None
    ) -> AsyncIterator[list[Job]]:
        """All matching jobs (at most ``limit``), newest first, a page at a time."""
        high = LAST
        left = limit
        while left is None or left > 0:
            page = await self.scan(where, PAGE if left is None else min(PAGE, left), high=high)
            if not page:
                return
            yield page
            high = page[-1].seq - 1
            left = None if left is None else left - len(page)

    async def count_range(self, where: Filter | None = None, low: int = 0, high: int = LAST) -> int:
        """How many jobs with seq from ``low`` to ``high`` match."""
        return await self.store.count_range(where or Filter(), low, high)

    async def matching(self, where: Filter, limit: int) -> list[int]:
        """The keys of matching jobs, lowest first, ``limit`` at most. A later change that is given
        them in a filter (``seqs``) takes no job that began to match after this."""
        found: list[int] = []
        async for seqs in self._candidates(where):
            found += seqs
            if len(found) >= limit:
                break
        return found[:limit]

    async def attempts(self, job: Job) -> list[Attempt]:
        """Every attempt of ``job`` in order, the running one (without an end) included."""
        ended = await self.store.attempts(job.seq)
        if job.state is State.PROCESSING and job.started_at is not None:
            ended.append(
                Attempt(
                    number=job.runs,
                    started_at=job.started_at,
                    finished_at=None,
                    outcome=None,
                    exit_code=None,
                    signal=None,
                    reason=None,
                    worker=job.worker,
                    host=None,
                    peak_memory=None,
                    cpu_seconds=None,
                    output_bytes=0,
                    waited=max(0.0, job.started_at - job.waits_from),
                )
            )
        return ended

    async def output(self, job: Job, number: int | None = None) -> AttemptOutput:
        """What attempt ``number`` of ``job`` wrote; None: the latest, running or ended.

        Raises NotFound when there is no such attempt.
        """
        from .operations.attempt_output import AttemptOutput

        attempts = await self.attempts(job)
        wanted = number if number is not None else (attempts[-1].number if attempts else 0)
        for attempt in attempts:
            if attempt.number == wanted:
                break
        else:
            if number is None:
                return AttemptOutput(0, None, b"", job.state in lifecycle.WAITING, 0)
            raise NotFound(f"job '{job.id}' has no attempt {number}", f"it has had {len(attempts)}")
        path = log_path(self.store.directory, job.seq, wanted)
        running = attempt.finished_at is None
        host = attempt.host if attempt.host != hostname(self.env) else None
        trouble = await off_loop(unreadable, path)
        there = trouble is None
        if running and self.store.shared_by_hosts and trouble == "":
            host = await self._host_of(job)
        total, times = attempt.output_bytes, (attempt.started_at, attempt.finished_at)
        if there or (running and host is None and not trouble):
            return AttemptOutput(wanted, path, b"", running, total, None, "", *times)
        tail = await self.store.tail(job.seq, wanted) or b""
        return AttemptOutput(wanted, None, tail, running, total, host, trouble or "", *times)

    async def _host_of(self, job: Job) -> str | None:
        """The name of the host that runs ``job``; None when it is this one, or nobody knows."""
        here = self.store.host_identity()
        for row in await self.store.supervisors():
            if row.id == job.owner and row.host_key != here:
                return row.host
        return None

    async def status(self) -> Status:
        """Counts, queues, workers and the oldest waiting job, at one glance."""
        counts: dict[State, int] = {}
        queues: dict[str, dict[State, int]] = {}
        for (state, queue), number in (await self.store.counts()).items():
            counts[state] = counts.get(state, 0) + number
            queues.setdefault(queue, {})[state] = number
        workers = [worker for worker in await self.workers() if worker.state != "lost"]
        return Status(counts, queues, tuple(workers), await self.oldest_due())

    async def oldest_due(self) -> float | None:
        """When the job that has waited longest became due; None when none waits."""
        return await self.store.oldest_due(self.clock())

    async def workers(self) -> list[Worker]:
        """Every worker; those whose supervisor is gone are ``lost``."""
        now, mono = self.clock(), monotonic()
        return [
            worker._replace(state="lost")
            if is_gone(row, now, mono, self.store.host_identity())
            else worker
            for worker, row in await self.store.workers()
        ]

    async def queue_names(self) -> set[str]:
        """The queues that jobs are in."""
        return {queue for _, queue in await self.store.counts()}

    async def stats(self, seconds: float) -> Stats:
        """What ended in the last ``seconds``.

        From the attempts themselves while they are few (:data:`EXACT`) and all there; else from
        what was added up as they ended: not exact then, and since a little earlier (see
        :func:`queuectl_core.domain.rollup.reach`). It takes no longer, however many there were.
        """
        from .domain.rollup import reach
        from .domain.statistics import rolled_up, summarise

        now = self.clock()
        since = now - seconds
        start = reach(since, now)
        # In this order: what ends meanwhile must not look as if attempts were missing.
        whole = await self.store.rollup(start)
        rows = await self.store.ended_since(min(since, start), EXACT + 1)
        if len(rows) > EXACT or summarise(rows, since, now).ended < whole.ended:
            return rolled_up(whole, start, now)
        return summarise(await self.store.ended_since(since, EXACT + 1), since, now)

    async def changed(self) -> bool:
        """Whether anything was committed elsewhere since the last call; cheap."""
        return await self.store.changed()

    async def same(self, job: Job) -> Job | None:
        """This job as it is now. If it was removed: the job that has its id now, if any."""
        found = await self.store.by_seq(job.seq)
        if found is None:
            found = next((one for one in await self.store.by_id(job.id) if one.id == job.id), None)
        return found

    async def wait_state(self, seqs: Sequence[int] | None) -> WaitState:
        """How far these jobs are (None: all jobs in the store)."""
        if seqs is None:
            counts = (await self.status()).counts
            total = sum(counts.values())
            bad = counts.get(State.DEAD, 0) + counts.get(State.CANCELLED, 0)
            done = counts.get(State.COMPLETED, 0) + bad
            return WaitState(total, done, bad, done == total)
        states = []
        for seq in seqs:
            job = await self.store.by_seq(seq)
            states.append(State.CANCELLED if job is None else job.state)
        bad = sum(state in (State.DEAD, State.CANCELLED) for state in states)
        done = sum(state in lifecycle.FINAL for state in states)
        return WaitState(len(states), done, bad, done == len(states))

    # -- changing ---------------------------------------------------------------------

    async def retry(self, jobs: Sequence[Job], *, strict: bool = True) -> int:
        """Run these jobs again, now; returns how many.

        ``strict``: all or none; Conflict if one may not be, or is not as it was when it was read
        (JobChanged). Else those are left out. The same goes for ``cancel`` and ``remove``.
        """
        return await self._change(JobAction.RETRY, jobs, strict)

    async def cancel(self, jobs: Sequence[Job], *, strict: bool = True) -> int:
        """Cancel these jobs; running ones are asked to end (see :meth:`get` for when)."""
        return await self._change(JobAction.CANCEL, jobs, strict)

    async def remove(self, jobs: Sequence[Job], *, strict: bool = True) -> int:
        """Forget these jobs with their history and output. Conflict if one is running."""
        return await self._change(JobAction.REMOVE, jobs, strict)

    async def _change(self, action: JobAction, jobs: Sequence[Job], strict: bool) -> int:
        chosen = list({job.seq: job for job in jobs}.values())
        for job in chosen if strict else ():
            if job.state not in ALLOWED[action]:
                raise Conflict(
                    f"job '{job.id}' is {job.state}; cannot {action} it",
                    f"only {', '.join(ALLOWED[action])} jobs can be",
                )
        done = 0
        size = len(chosen) if strict else BULK
        for start in range(0, len(chosen), max(size, 1)):
            part = chosen[start : start + size]
            commits.goes_on(f"{action} was done to {done:,} jobs before" if done else "")
            changed = await self.store.change(action, part, self.clock(), strict=strict)
            await self._changed(action, changed)
            done += len(changed)
        return done

    async def retry_all(self, where: Filter, progress: Progress | None = None) -> int:
        """Run every matching job again that may be; returns how many."""
        return await self._change_all(JobAction.RETRY, where, progress)

    async def cancel_all(self, where: Filter, progress: Progress | None = None) -> int:
        """Cancel every matching job that can be; returns how many."""
        return await self._change_all(JobAction.CANCEL, where, progress)

    async def remove_all(self, where: Filter, progress: Progress | None = None) -> int:
        """Forget every matching job that is not running; returns how many."""
        return await self._change_all(JobAction.REMOVE, where, progress)

    async def _change_all(self, action: JobAction, where: Filter, progress: Progress | None) -> int:
        """Do ``action`` to every job that matches at the moment of the change, a page in each
        transaction. Every job is considered once, though it may match again by then: one that is
        retried and fails at once is not retried twice."""
        where = where.narrowed(ALLOWED[action])
        if not where.states:
            return 0  # narrowed to nothing: no state it asks for allows this
        total = await self.count_range(where) if progress else 0
        done = 0
        try:
            async for seqs in self._candidates(where):
                commits.goes_on(f"{action} was done to {done:,} jobs before" if done else "")
                began = monotonic()
                changed = await self.store.change_matching(action, where, seqs, self.clock())
                took = monotonic() - began
                await self._changed(action, changed)
                done += len(changed)
                if progress:
                    progress(done, max(total, done))
                await self.store.give_way(took)
        except StoreError as error:
            if done:
                error.message += f"; {action} was done to {done:,} jobs before"
            raise
        with after_commit("tidying up"):
            await self.store.checkpoint()
        return done

    async def _candidates(self, where: Filter) -> AsyncIterator[list[int]]:
        """The keys of matching jobs, lowest first, up to the highest that there is at the start.

        A page at a time; and each read looks at a bounded range of keys only, which grows while
        little is found, so that no read takes long.
        """
        if where.seqs is not None:
            chosen = sorted(set(where.seqs))
            for start in range(0, len(chosen), BULK):
                yield chosen[start : start + BULK]
            return
        bounds = await self.store.bounds()
        if bounds is None:
            return
        after, last = bounds[0] - 1, bounds[1]
        width = WIDTH
        while after < last:
            until = min(after + width, last)
            seqs = await self.store.candidates(where, after, until, BULK)
            full = len(seqs) == BULK
            after, width = (seqs[-1], WIDTH) if full else (until, 2 * width)
            if seqs:
                yield seqs

    async def _changed(self, action: JobAction, changed: Sequence[tuple[int, int]]) -> None:
        """Remove the output of jobs that were removed."""
        if action is JobAction.REMOVE:
            with after_commit("removing output files"):
                await off_loop(remove_all_logs, self.store.directory, changed)

    # -- upkeep -----------------------------------------------------------------------

    async def prune(
        self,
        seconds: float,
        states: Sequence[State] = (State.COMPLETED,),
        *,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """Forget jobs that ended (completed, dead, cancelled) more than ``seconds`` ago, with
        history and output; returns how many. ``dry_run``: only count them."""
        from .operations import maintenance

        maintenance.check_prunable(states)
        chosen, before = tuple(dict.fromkeys(states)), self.clock() - seconds
        total = 0
        if dry_run or progress:
            total = await maintenance.count_ended(self.store, chosen, before)
        if dry_run:
            return total
        tell = progress or (lambda done, total: None)
        return await maintenance.prune(self.store, chosen, before, lambda done: tell(done, total))

    async def backup(
        self, name: str, *, force: bool = False, progress: Progress | None = None
    ) -> Path:
        """Copy the store, as it is at one moment, into the file ``name``; returns its path.

        Conflict when the file exists, unless ``force``.
        """
        from .operations import maintenance

        tell = progress or (lambda done, total: None)
        return await maintenance.backup(self.store, name, force=force, progress=tell)

    async def copy_to(self, url: str, progress: CopyProgress | None = None) -> Copied:
        """Copy everything into the store ``url`` names, which must be new, or hold a part of
        this very copy (it goes on then). See :func:`queuectl_core.operations.copy.copy`.

        Nothing is changed here. Look whether the answer is ``same``.
        """
        from .operations import copy

        await copy.check_still(self.store)  # before anything is made
        target = await open_store(url, self.env, marked=True)
        try:
            commits.goes_on()  # nothing is copied yet
            return await copy.copy(self.store, target, progress or (lambda *_: None))
        finally:
            with after_commit("closing the copy"):
                await target.close()

    # -- configuration ----------------------------------------------------------------

    async def settings(self) -> conf.Settings:
        """The settings in force."""
        return conf.settings(await self.store.config(), self.env)

    async def config_list(self) -> list[conf.Setting]:
        """Every key with its value and where that comes from."""
        return list(conf.layers(await self.store.config(), self.env).values())

    async def config_get(self, name: str) -> conf.Setting:
        """One key, in any spelling. NotFound names the nearest."""
        return conf.layers(await self.store.config(), self.env)[conf.canonical(name)]

    async def config_set(self, name: str, text: str) -> conf.Setting:
        """Store a value; returns what is in force now (the environment may override it)."""
        key = conf.canonical(name)
        return await self._set_config(key, conf.show_value(conf.parse_value(key, text)))

    async def config_unset(self, name: str) -> conf.Setting:
        """Forget a stored value; returns what is in force now."""
        return await self._set_config(conf.canonical(name), None)

    async def _set_config(self, key: str, value: str | None) -> conf.Setting:
        # Refused for what the environment says: before, not after. Nothing is read afterwards.
        setting = conf.layers({} if value is None else {key: value}, self.env)[key]
        await self.store.set_config({key: value})
        return setting

    # -- workers ----------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The store's address, without a password; for display."""
        return self.store.url

    @property
    def directory(self) -> Path:
        """Where this host keeps the store's output files and logs."""
        return self.store.directory

    async def find_workers(self, refs: Sequence[str], host: str | None = None) -> list[Worker]:
        """The workers ``refs`` name: a worker's id, a supervisor's (all its workers), or an
        unambiguous prefix of either; none given: every worker. With ``host`` those of them that
        are on the host of that name. NotFound when there is no such worker or host."""
        workers = await self.workers()
        if host is not None:
            names = sorted({worker.host for worker in workers})
            workers = [worker for worker in workers if worker.host == host]
            if not workers:
                known = clean_line(f"there are: {', '.join(names)}" if names else "nor elsewhere")
                raise NotFound(f"no workers on host '{clean_line(host, 60)}'", known)
        if not refs:
            return workers
        chosen: dict[str, Worker] = {}
        for ref in refs:
            matches = [w for w in workers if ref in (w.id, w.supervisor)] or [
                w for w in workers if ref and w.id.startswith(ref)
            ]
            if not matches:
                there = "" if host is None else f" on host '{clean_line(host, 60)}'"
                all_of_them = "without a name all are stopped"
                raise NotFound(
                    f"no such worker{there}: '{clean_line(ref, 60)}'",
                    all_of_them if ref == "all" else "see: queuectl worker list",
                )
            if len({w.supervisor for w in matches}) > 1:
                raise Conflict(f"'{clean_line(ref, 60)}' starts several ids", "give more of it")
            chosen |= {worker.id: worker for worker in matches}
        return list(chosen.values())

    async def running_workers(self, ids: Collection[str]) -> list[Worker]:
        """Those of these workers that run: not those of a supervisor that is gone, but those of
        one on this host that lives and let its lease run out, since it was stopped, say."""
        here = self.store.host_identity()
        silent = {
            row.id
            for row in await self.store.supervisors()
            if row.host_key == here and may_be_process(row.pid, row.pid_start)
        }
        return [
            worker
            for worker in await self.workers()
            if worker.id in ids and (worker.state != "lost" or worker.supervisor in silent)
        ]

    async def stop_workers(self, workers: Sequence[Worker], *, now: bool) -> None:
        """Ask workers to stop: after the job in hand, or (``now``) at once.

        They are gone when :meth:`running_workers` no longer lists them. They have stopped when
        :meth:`workers` does not either; else they were lost.
        """
        await self.store.stop_workers([worker.id for worker in workers], now)

    async def run_workers(
        self,
        count: int,
        queues: Sequence[str] = (),
        *,
        until_empty: bool = False,
        until_idle: bool = False,
        program: bool = False,
        trace: bool = False,
        on_event: Callable[[Event], None] | None = None,
    ) -> Summary:
        """Run ``count`` workers here until they are stopped (SIGTERM, SIGINT, ``stop_workers``)
        or, with ``until_empty``, until nothing is due, running or waiting for a retry; with
        ``until_idle`` until nothing is due, or runs here.

        ``program``: the process does nothing else, and reaps orphans where it is PID 1.
        ``trace``: ``on_event`` also hears each change of an attempt's state.
        """
        from .supervisor.supervisor import Supervisor

        check_count(count)
        host_key()  # HostShort where processes cannot be told apart
        checked = tuple(check_queue(queue) for queue in queues)
        supervisor = Supervisor(
            self.store,
            self.env,
            on_event=on_event,
            until_empty=until_empty,
            until_idle=until_idle,
            program=program,
            trace=trace,
        )
        return await supervisor.run(count, checked)

    async def start_workers(self, count: int, queues: Sequence[str] = ()) -> list[Worker]:
        """Start ``count`` workers in the background and return them once they are up (none, if
        the store cannot be read then).

        They join this host's detached supervisor if there is one. WorkersNotStarted says
        why they did not come up.
        """
        from .supervisor.daemonize import start_detached

        check_count(count)
        host_key()  # HostShort where processes cannot be told apart
        checked = tuple(check_queue(queue) for queue in queues)
        ids = await start_detached(self.store, self.env, count, checked)
        with after_commit(f"reading the workers that are up now ({', '.join(ids)})"):
            return [worker for worker in await self.workers() if worker.id in ids]
        return []


MAX_WORKERS = 512


def check_count(count: int) -> None:
    """InvalidInput unless ``count`` workers can be started in one supervisor."""
    if not 1 <= count <= MAX_WORKERS:
        raise InvalidInput(
            f"cannot start {count} workers", f"give a number from 1 to {MAX_WORKERS}"
        )


def outcome_word(attempt: Attempt) -> str:
    """How an attempt stands, in a word: its outcome, or ``running``."""
    return attempt.outcome.value if isinstance(attempt.outcome, Outcome) else "running"


def check_states(words: Sequence[str]) -> tuple[State, ...]:
    """States by name. InvalidInput names the nearest."""
    known = State._value2member_map_
    found = []
    for word in words:
        state = word.strip().lower()
        state = "cancelled" if state == "canceled" else state
        if state not in known:
            from .domain.spellings import state_hint

            raise InvalidInput(f"unknown state '{clean_line(word, 40)}'", state_hint(state))
        found.append(State(state))
    return tuple(found)
