"""Queue: the only API that front ends call.

It contains no SQL and starts no processes. It turns what a person says (ids and prefixes, filters,
settings) into verbs of the store, and returns plain values.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from .domain import config as conf
from .domain import lifecycle
from .domain.errors import Conflict, InvalidInput, NotFound, StoreError
from .domain.jobspec import Defaults, check_queue, parse_job
from .domain.model import (
    Attempt,
    Filter,
    Job,
    JobSpec,
    Outcome,
    QueueInfo,
    QueueSettings,
    State,
    Status,
    WaitState,
    Worker,
)
from .domain.text import clean_line
from .store.open import needs_loop, open_store
from .store.protocol import ALLOWED, DONE, LAST, Batch, JobAction, Said, Store
from .system.clocks import monotonic
from .system.host import actor, current_directory, host_key, hostname, is_gone, may_be_process
from .system.postcommit import after_commit, commits
from .system.run_sync import off_loop, sleep

if TYPE_CHECKING:
    from pathlib import Path

    from .domain.admission import Reason, Tree, Why
    from .domain.events import Event
    from .domain.figures import Stats
    from .domain.hooks import Hook, HookInfo, Tested
    from .domain.notices import Notice, Summary
    from .domain.schedule import ScheduleInfo
    from .operations.attempt_output import AttemptOutput
    from .operations.copy import Copied
    from .operations.copy import Progress as CopyProgress
    from .operations.events import Follower, Kinds
    from .operations.events import Page as EventPage
    from .operations.schedules import Shown

PAGE = 1000
"""Jobs per page when a verb reads many."""

TEXTS_AT_ONCE = 16
"""Jobs with texts that are read at a time."""

BULK = 500
"""Jobs changed in one transaction. It takes about 30 ms, in which nobody else can write to an
SQLite file."""

WIDTH = 40 * BULK
"""The range of keys in which a bulk verb first looks for its next page."""

PAUSE_PATIENCE = 2.0
"""Seconds for which ``queue pause`` waits for jobs that are claimed and have not started. A
supervisor that does not answer by then is stopped, or on a host that cannot be reached."""

EXACT = 2000
"""``stats`` reads up to this many attempts. Above, it uses the rollups."""

Progress = Callable[[int, int], None]
"""Called with (done, total) during long work."""


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
        via: str = "python",
    ) -> AsyncIterator[Queue]:
        """The queue in the store that ``url`` names (None: the default). It is closed on leaving.

        ``clock`` gives epoch seconds; None: the store's clock. ``create`` False, or ``read_only``:
        StoreUnreachable if the store does not exist. ``absent_ok``: if the default store does not
        exist, open an empty queue that refuses every change. ``via``: how the events of its changes
        call this front end. Raises InvalidInput or the StoreError family.
        """
        env = os.environ if env is None else env
        store = await open_store(
            url, env, read_only=read_only, create=create, absent_ok=absent_ok, via=via
        )
        try:
            yield cls(store, env, clock or store.clock)
        finally:
            with after_commit("closing the store"):
                await store.close()

    @staticmethod
    def can_run_sync(url: str | None = None, env: Mapping[str, str] | None = None) -> bool:
        """Whether this store can be used with :func:`queuectl_core.system.run_sync.run_sync`."""
        return not needs_loop(url, os.environ if env is None else env)

    # -- enqueue ----------------------------------------------------------------------

    async def defaults(self) -> Defaults:
        """The values of the fields that a new job does not give, at this moment."""
        return Defaults(await self.settings(), self.cwd, self.clock())

    async def enqueue(self, sources: Sequence[Any]) -> list[Job]:
        """Enqueue the jobs that ``sources`` (mappings or command strings) describe, all or none."""
        defaults = await self.defaults()
        return await self.enqueue_specs([parse_job(source, defaults)[0] for source in sources])

    async def enqueue_specs(self, specs: Sequence[JobSpec]) -> list[Job]:
        """Enqueue validated jobs, all or none. Conflict if an id is taken.

        A job whose ``unique`` value is held is not enqueued; the answer has the job that holds it,
        which is ``existing``. See :meth:`queuectl_core.store.protocol.Store.enqueue`.
        """
        return await self.store.enqueue([self._signed(spec) for spec in specs], self.clock())

    def _signed(self, spec: JobSpec) -> JobSpec:
        """A spec that says who holds the job."""
        return spec._replace(actor=self.actor) if spec.hold and not spec.actor else spec

    @property
    def actor(self) -> str:
        """Who acts: ``user@host``."""
        return actor(self.env)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[Batch]:
        """A bulk enqueue of any length: add jobs to it, then commit."""
        async with self.store.batch() as batch:
            yield batch

    # -- reading ----------------------------------------------------------------------

    async def find(self, ref: str, *, to_change: bool = False) -> Job:
        """The job with the id ``ref``, or the only job whose id starts with ``ref``. If the caller
        wants to change the job (``to_change``), a prefix finds only ids that queuectl generated.

        Raises NotFound, or Conflict if several ids start with ``ref``.
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
        """The ids of the jobs with seqs from ``first`` to ``first + count - 1``, in order, by
        pages."""
        for start in range(first, first + count, 10 * PAGE):
            yield await self.store.ids(start, min(10 * PAGE, first + count - start))

    async def with_texts(self, jobs: Sequence[Job], *, results: bool = True) -> list[Job]:
        """These jobs with what reading a job does not read: ``stdin`` and (``results``) ``result``.

        A job can have 1 MiB of the first and 64 KiB of the second, so give it few jobs at a time:
        see :func:`in_parts`.
        """
        inputs: Mapping[int, bytes] = {}
        found: Mapping[int, bytes] = {}
        if seqs := [job.seq for job in jobs if job.has_stdin]:
            inputs = await self.store.inputs_of(seqs)
        if seqs := [job.seq for job in jobs if results and job.has_result]:
            found = await self.store.results_of(seqs)
        if not inputs and not found:
            return list(jobs)
        return [
            job._replace(stdin=_text(inputs.get(job.seq)), result=_text(found.get(job.seq)))
            for job in jobs
        ]

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
        """All matching jobs (at most ``limit``), newest first, by pages."""
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
        """The keys of matching jobs, lowest first, at most ``limit``. If a later change gets them
        in a filter (``seqs``), it changes no job that began to match afterwards."""
        found: list[int] = []
        async for seqs in self._candidates(where):
            found += seqs
            if len(found) >= limit:
                break
        return found[:limit]

    async def attempts(self, job: Job) -> list[Attempt]:
        """All attempts of ``job`` in order. The running one has no end."""
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
        """The output of attempt ``number`` of ``job``; None: the latest attempt.

        Raises NotFound if there is no such attempt.
        """
        from .operations.attempt_output import AttemptOutput, log_path, unreadable

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
        """The name of the host that runs ``job``; None if it is this host, or not known."""
        here = self.store.host_identity()
        for row in await self.store.supervisors():
            if row.id == job.owner and row.host_key != here:
                return row.host
        return None

    async def status(self) -> Status:
        """Counts, queues, workers, the oldest waiting job, and which queues are paused."""
        queues = await self._counts_by_queue()
        counts: dict[State, int] = {}
        for there in queues.values():
            for state, number in there.items():
                counts[state] = counts.get(state, 0) + number
        workers = [worker for worker in await self.workers() if worker.state != "lost"]
        now = self.clock()
        paused = tuple(one.name for one in await self.store.queues() if one.paused(now))
        return Status(counts, queues, tuple(workers), await self.oldest_due(), paused)

    async def _counts_by_queue(self) -> dict[str, dict[State, int]]:
        found: dict[str, dict[State, int]] = {}
        for (state, queue), number in (await self.store.counts()).items():
            found.setdefault(queue, {})[state] = number
        return found

    async def oldest_due(self) -> float | None:
        """When the job that has waited longest became due; None if no job waits."""
        return await self.store.oldest_due(self.clock())

    async def workers(self) -> list[Worker]:
        """All workers. A worker whose supervisor is gone is ``lost``."""
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
        """Statistics of the attempts that ended in the last ``seconds``.

        They are exact if there are at most :data:`EXACT` attempts and none was removed. Otherwise
        they come from rollups: they are approximate, and begin a little earlier (see
        :func:`queuectl_core.domain.rollup.reach`). The time does not grow with the number of
        attempts.
        """
        from .domain.rollup import reach
        from .domain.statistics import rolled_up, summarise

        now = self.clock()
        since = now - seconds
        start = reach(since, now)
        # In this order, so that an attempt that ends meanwhile does not look like a missing one.
        whole = await self.store.rollup(start)
        rows = await self.store.ended_since(min(since, start), EXACT + 1)
        if len(rows) > EXACT or summarise(rows, since, now).ended < whole.ended:
            return rolled_up(whole, start, now)
        return summarise(await self.store.ended_since(since, EXACT + 1), since, now)

    async def changed(self) -> bool:
        """Whether anybody else committed anything since the last call. It is fast."""
        return await self.store.changed()

    async def same(self, job: Job) -> Job | None:
        """This job as it is now. If it was removed: the job that has its id now, or None."""
        found = await self.store.by_seq(job.seq)
        if found is None:
            found = next((one for one in await self.store.by_id(job.id) if one.id == job.id), None)
        return found

    async def wait_state(self, seqs: Sequence[int] | None) -> WaitState:
        """The progress of these jobs (None: all jobs in the store)."""
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

    # -- queues -----------------------------------------------------------------------

    async def queues(self) -> list[QueueInfo]:
        """All queues: those with jobs, with settings, or that a live worker serves by name."""
        settings = {one.name: one for one in await self.store.queues()}
        counts = await self._counts_by_queue()
        live = [one for one in await self.workers() if one.state not in ("lost", "stopping")]
        served = {name for one in live for name in one.queues}
        found = []
        for name in sorted({*settings, *counts, *served}):
            there = counts.get(name, {})
            waits = any(there.get(state) for state in lifecycle.WAITING)
            oldest = await self.store.oldest_due_of(name, self.clock()) if waits else None
            workers = sum(one.serves(name) for one in live)
            info = QueueInfo(settings.get(name, QueueSettings(name)), there, oldest, workers)
            found.append(info)
        return found

    async def queue(self, name: str) -> QueueInfo:
        """One queue. NotFound if there are no jobs, settings or workers of this name."""
        for info in await self.queues():
            if info.settings.name == name:
                return info
        shown = clean_line(name, 60)
        raise NotFound(f"no such queue: '{shown}'", "see: queuectl queue list")

    async def set_queue(self, name: str, given: Mapping[str, Any]) -> QueueSettings:
        """Set ``limit``, ``per_host``, ``per_key`` or ``rate`` of a queue, which need not have jobs
        yet. ``none`` takes one away. A lower limit ends no job. A rate counts from when it is set.
        For claimed jobs, it waits as :meth:`pause_queue` does."""
        from .domain.queues import parse_settings

        changes = parse_settings(given)
        settings = await self.store.set_queue(check_queue(name), changes, self.clock())
        if changes.get("rate") is not None:
            await self._until_all_have_started(name)
        return settings

    async def pause_queue(
        self, name: str, *, seconds: float | None = None, reason: str | None = None
    ) -> QueueSettings:
        """Start no job of this queue any more, for ``seconds`` (None: until it is resumed). Jobs
        that run go on.

        Jobs may be claimed that have not started. Supervisors give back what they have prefetched,
        and start the others. This waits for it, for at most :data:`PAUSE_PATIENCE` seconds.
        """
        now = self.clock()
        changes = {
            "paused_at": now,
            "paused_by": self.actor,
            "paused_reason": clean_line(reason, 300) if reason else None,
            "paused_until": None if seconds is None else now + seconds,
        }
        settings = await self.store.set_queue(check_queue(name), changes, now)
        await self._until_all_have_started(name)
        return settings

    async def _until_all_have_started(self, name: str) -> None:
        """Supervisors give the prefetched jobs of this queue back, and say which attempts have
        started: wait for it. Warns if some are left after :data:`PAUSE_PATIENCE` seconds."""
        with after_commit("waiting for claimed jobs"):
            now, until = self.clock(), monotonic() + PAUSE_PATIENCE
            while left := await self.store.unstarted(name, now):
                if monotonic() > until:
                    raise StoreError(
                        f"{left:,} claimed jobs may still start: a supervisor does not answer"
                    )
                await sleep(0.02)

    async def resume_queue(self, name: str) -> QueueSettings:
        """End the pause of a queue. NotFound if there is no such queue."""
        await self.queue(name)
        changes = dict.fromkeys(("paused_at", "paused_by", "paused_reason", "paused_until"))
        return await self.store.set_queue(name, changes, self.clock())

    async def remove_queue(self, name: str) -> None:
        """Forget the settings of a queue. Conflict if jobs in it have not ended; NotFound if there
        are no settings."""
        if not await self.store.remove_queue(name, self.clock()):
            shown = clean_line(name, 60)
            raise NotFound(
                f"queue '{shown}' has no settings, so there is nothing to remove",
                "a queue without settings is listed while jobs or workers name it",
            )

    # -- hooks ------------------------------------------------------------------------

    async def hooks(self) -> list[HookInfo]:
        """All hooks, by name."""
        from .domain.hooks import HookInfo

        waiting = await self.store.hook_waiting()
        hooks = await self.store.hooks()
        return [HookInfo(hook, *waiting.get(hook.name, (0, None))) for hook in hooks]

    async def hook(self, name: str) -> HookInfo:
        """One hook; NotFound if there is none of this name."""
        from .store.hooks import no_hook

        for info in await self.hooks():
            if info.hook.name == name:
                return info
        raise no_hook(name)

    async def add_hook(self, name: str, events: Sequence[str], **given: Any) -> Hook:
        """Add a hook; ``given``: see :func:`queuectl_core.operations.hooks.new_hook`. InvalidInput,
        or Conflict if there is one of this name."""
        from .operations.hooks import new_hook

        values = {"cwd": self.cwd} | given
        hook = new_hook(name, events, self.clock(), **values)
        await self.store.add_hook(hook)
        return hook

    async def pause_hook(self, name: str, reason: str | None = None) -> Hook:
        """Deliver nothing to this hook any more. What happens meanwhile is not delivered later.
        What waits for a digest is kept. Without a reason this changes nothing if it is paused.
        NotFound if there is no such hook."""
        now = self.clock()
        text = clean_line(reason, 300) if reason else None
        changes = {"paused_at": now, "paused_by": self.actor, "paused_reason": text}
        return await self.store.change_hook(name, changes, "paused", now)

    async def resume_hook(self, name: str) -> Hook:
        """End the pause of a hook. NotFound if there is no such hook."""
        changes = dict.fromkeys(("paused_at", "paused_by", "paused_reason"))
        return await self.store.change_hook(name, changes, "resumed", self.clock())

    async def remove_hook(self, name: str) -> None:
        """Remove a hook, and what waits for its digest. Its deliveries are jobs, and stay. NotFound
        if there is no such hook."""
        await self.store.remove_hook(name, self.clock())

    async def test_hook(self, name: str) -> Tested:
        """Deliver a sample from this process, at once. If this is cancelled, the command is killed.
        NotFound if there is no such hook."""
        from .operations import hooks

        hook = (await self.hook(name)).hook
        return await hooks.test(hook, self.clock(), self.actor)

    # -- schedules --------------------------------------------------------------------

    async def schedules(self) -> list[ScheduleInfo]:
        """All schedules, by name."""
        return await self.store.schedules()

    async def schedule(self, name: str) -> Shown:
        """One schedule with its next times and last runs. NotFound."""
        from .operations import schedules

        return await schedules.show(self.store, name, self.clock())

    async def add_schedule(
        self, name: str, given: Mapping[str, Any], job: Any
    ) -> tuple[ScheduleInfo, list[str]]:
        """Add a schedule. ``given``: ``cron`` or ``every``, and what else may be said about its
        times (:data:`.operations.schedules.FIELDS`). ``job``: the job that it enqueues, as for
        :meth:`enqueue`. Returns it, and the output fields of ``job`` that were ignored.

        Raises InvalidInput, or Conflict if the name is taken.
        """
        from .operations import schedules

        defaults = await self.defaults()
        return await schedules.add(self.store, name, given, job, defaults=defaults, env=self.env)

    async def check_schedule(self, name: str, given: Mapping[str, Any], job: Any) -> ScheduleInfo:
        """The schedule that :meth:`add_schedule` would add. Nothing is changed."""
        from .operations import schedules

        defaults = await self.defaults()
        return schedules.make(name, given, job, defaults=defaults, env=self.env)[0]

    async def edit_schedule(
        self, name: str, given: Mapping[str, Any], job: Mapping[str, Any]
    ) -> ScheduleInfo:
        """Change these fields of a schedule and of its job. None takes a field of the job away. It
        counts from now. NotFound."""
        from .operations import schedules

        return await schedules.edit(self.store, name, given, job, await self.defaults())

    async def pause_schedule(self, name: str, reason: str | None = None) -> ScheduleInfo:
        """Enqueue nothing more for this schedule until it is resumed. NotFound."""
        from .operations import schedules

        return await schedules.pause(self.store, name, reason, actor=self.actor, now=self.clock())

    async def resume_schedule(self, name: str) -> ScheduleInfo:
        """End the pause of a schedule. It counts from now. NotFound."""
        from .operations import schedules

        return await schedules.resume(self.store, name, self.clock())

    async def run_schedule(self, name: str) -> Job:
        """Enqueue a run at once, outside its times. NotFound; Conflict if its overlap rule does not
        allow it."""
        from .operations import schedules

        defaults = await self.defaults()
        return await schedules.run_now(self.store, name, defaults, self.actor)

    async def remove_schedule(self, name: str) -> None:
        """Remove a schedule. Its jobs stay. NotFound."""
        from .domain.schedule import no_schedule

        if "\0" in name or not await self.store.remove_schedule(name, self.clock()):
            raise no_schedule(name)

    # -- why --------------------------------------------------------------------------

    async def why(self, job: Job) -> Why:
        """Every reason why ``job`` does not run, by the rules that the claim uses."""
        from .operations import why

        return await why.why(self.store, job, self.clock())

    async def waits(self, jobs: Sequence[Job]) -> dict[int, Reason]:
        """The first reason of each of these jobs that waits, by seq."""
        from .operations import why

        return await why.first_reasons(self.store, jobs, self.clock())

    async def wait_summary(self) -> dict[Reason | None, int]:
        """How many jobs wait for which first reason; None: they start at once. Reads all jobs that
        wait."""
        from .operations import why

        return await why.summary(self.store, self.clock())

    async def tree(self, job: Job, limit: int = 1000) -> Tree:
        """What ``job`` waits for and what waits for it, directly or through other jobs."""
        from .operations import why

        return await why.tree(self.store, job, limit)

    # -- events -----------------------------------------------------------------------

    async def event_page(
        self,
        limit: int,
        *,
        kinds: Kinds | None = None,
        since: float | None = None,
        after: str | None = None,
        spans: int | None = None,
    ) -> EventPage:
        """The ``limit`` newest events, or those that follow ``after`` of an earlier page.

        ``kinds``: from :func:`queuectl_core.operations.events.parse_kinds`; None: all. ``since``:
        epoch seconds. ``spans``: how much is searched for events of these kinds, at most.
        """
        from .operations.events import EventView

        return await EventView(self.store, kinds, since).page(limit, after, spans)

    async def event_pages(
        self, *, kinds: Kinds | None = None, since: float | None = None, limit: int | None = None
    ) -> AsyncIterator[list[Event]]:
        """All events (at most ``limit``), the newest first, by pages."""
        from .operations.events import EventView

        async for page in EventView(self.store, kinds, since).pages(limit):
            yield page

    async def events_of(self, ref: str) -> tuple[Job | None, list[Event]]:
        """A job and all that is known of it, the newest first. A prefix finds jobs as in
        :meth:`find`. None: the job was removed, and only its whole id finds it; or ``ref`` is the
        name of a queue, schedule, hook or setting, and the events (at most 5,000) are about that.
        NotFound if nothing is known of it."""
        from .operations import events

        job, error = None, None
        try:
            job = await self.find(ref)
        except (NotFound, Conflict) as found:
            error = found
        if (job is None or job.id != ref) and (
            named := await self.store.events_named(ref, events.OF_NAME)
        ):
            return None, named
        if job is None:
            if isinstance(error, Conflict):
                raise error
            try:
                return None, await events.of_removed_job(self.store, ref)
            except NotFound:
                if not await events.is_name(self.store, ref):
                    raise
                return None, []
        return job, await events.of_job(self.store, job)

    async def follow_events(
        self,
        *,
        kinds: Kinds | None = None,
        job: Job | None = None,
        cursor: str | None = None,
    ) -> Follower:
        """Gives the events from now on: call its ``more`` again and again. ``job``: only what is
        about this job. ``cursor``: of an earlier follower, whose stored events are continued."""
        from .operations.events import Follower

        follower = Follower(self.store, kinds, job)
        await follower.begin(cursor)
        return follower

    # -- changing ---------------------------------------------------------------------

    async def retry(self, jobs: Sequence[Job], *, strict: bool = True) -> int:
        """Run these jobs again, now. Returns how many.

        ``strict``: all or none. Conflict if the state of a job does not allow it; JobChanged if a
        job is not as it was read. Not ``strict``: such jobs are left out. ``cancel`` and ``remove``
        do the same.
        """
        return await self._change(JobAction.RETRY, jobs, strict)

    async def cancel(self, jobs: Sequence[Job], *, strict: bool = True) -> int:
        """Cancel these jobs. A running job is asked to end; :meth:`get` shows when it has ended."""
        return await self._change(JobAction.CANCEL, jobs, strict)

    async def remove(
        self, jobs: Sequence[Job], *, strict: bool = True, cascade: bool = False
    ) -> int:
        """Remove these jobs with their history and output. Conflict if one is running, or if other
        jobs wait for it. ``cascade``: remove those too."""
        _load_removal()
        if cascade and jobs:
            jobs = [*jobs, *await self.store.waiting_children([job.seq for job in jobs])]
        return await self._change(JobAction.REMOVE, jobs, strict)

    async def hold(self, jobs: Sequence[Job], *, strict: bool = True) -> int:
        """Let these jobs wait until somebody releases them."""
        return await self._change(JobAction.HOLD, jobs, strict)

    async def release(self, jobs: Sequence[Job], *, strict: bool = True) -> int:
        """Release held jobs. A job that is held because a parent failed runs although its condition
        cannot be met."""
        for job in jobs if strict else ():
            if job.state is State.WAITING and not job.held:
                raise Conflict(
                    f"job '{job.id}' is not held; it waits for other jobs",
                    f"see: queuectl why {job.id}",
                )
        return await self._change(JobAction.RELEASE, jobs, strict)

    async def hold_all(self, where: Filter, progress: Progress | None = None) -> int:
        """Hold every matching job that has not started. Returns how many."""
        return await self._change_all(JobAction.HOLD, where, progress)

    async def release_all(self, where: Filter, progress: Progress | None = None) -> int:
        """Release every matching held job. Returns how many."""
        return await self._change_all(JobAction.RELEASE, where, progress)

    async def edit(self, job: Job, changes: Mapping[str, Any]) -> Job:
        """Change fields of a job that does not run (:data:`EDITABLE_FIELDS`), in any spelling.

        Raises InvalidInput, Conflict if the job runs, and JobChanged if it is not as it was read.
        """
        from .domain.jobspec import parse_changes

        values = parse_changes(changes, await self.defaults())
        if job.state is State.PROCESSING:
            raise Conflict(f"job '{job.id}' is processing; cannot edit it", "wait until it ends")
        return await self.store.edit(job, values, self.clock()) if values else job

    async def _change(self, action: JobAction, jobs: Sequence[Job], strict: bool) -> int:
        chosen = list({job.seq: job for job in jobs}.values())
        for job in chosen if strict else ():
            if job.state not in ALLOWED[action]:
                raise Conflict(
                    f"job '{job.id}' is {job.state}; cannot {action} it",
                    f"only {one_of(ALLOWED[action])} jobs can be {DONE[action]}",
                )
        done = 0
        size = len(chosen) if strict else BULK
        while chosen:
            before, left = done, []
            for start in range(0, len(chosen), size):
                part = chosen[start : start + size]
                commits.goes_on(f"{action} was done to {done:,} jobs before" if done else "")
                changed = await self.store.change(
                    action, part, self.clock(), strict=strict, actor=self.actor
                )
                await self._changed(action, changed)
                done += len(changed)
                seqs = {seq for seq, _ in changed}
                left += [job for job in part if job.seq not in seqs]
            # They may wait for jobs on other pages.
            pages = len(chosen) > size and action in (JobAction.RETRY, JobAction.REMOVE)
            chosen = left[::-1] if pages and done > before else []
        return done

    async def retry_all(self, where: Filter, progress: Progress | None = None) -> int:
        """Run every matching job again, if its state allows it. Returns how many."""
        return await self._change_all(JobAction.RETRY, where, progress)

    async def cancel_all(self, where: Filter, progress: Progress | None = None) -> int:
        """Cancel every matching job, if its state allows it. Returns how many."""
        return await self._change_all(JobAction.CANCEL, where, progress)

    async def remove_all(self, where: Filter, progress: Progress | None = None) -> int:
        """Remove every matching job that is not running. Returns how many."""
        _load_removal()
        return await self._change_all(JobAction.REMOVE, where, progress)

    async def _change_all(self, action: JobAction, where: Filter, progress: Progress | None) -> int:
        """Do ``action`` to every job that matches at the moment of the change, one page in each
        transaction. No job is changed twice, so a job that is retried and fails at once is not
        retried again. The result does not depend on the pages."""
        said = Said(detail={"filter": filter_json(where)})
        where = where.narrowed(ALLOWED[action])
        if not where.states:
            return 0  # none of the states that the filter names allows this
        total = await self.count_range(where) if progress else 0
        done = 0

        async def change_page(seqs: Sequence[int], later: int) -> list[int]:
            nonlocal done
            commits.goes_on(f"{action} was done to {done:,} jobs before" if done else "")
            began = monotonic()
            changed = await self.store.change_matching(
                action, where, seqs, self.clock(), self.actor, later=later, said=said
            )
            said.event = changed.event
            took = monotonic() - began
            await self._changed(action, changed.done)
            done += len(changed.done)
            if progress:
                progress(done, max(total, done))
            await self.store.give_way(took)
            return changed.left

        try:
            left: list[int] = []
            async for seqs in self._candidates(where):
                left += await change_page(seqs, seqs[-1])
            # The jobs that were left may wait for jobs on other pages. Mostly a job waits for
            # earlier ones, so begin at the other end.
            before = -1
            while left and before < done:
                before, again, left = done, left[::-1], []
                for start in range(0, len(again), BULK):
                    left += await change_page(again[start : start + BULK], LAST)
        except StoreError as error:
            if done:
                error.message += f"; {action} was done to {done:,} jobs before"
            raise
        with after_commit("tidying up"):
            await self.store.checkpoint()
        return done

    async def _candidates(self, where: Filter) -> AsyncIterator[list[int]]:
        """The keys of matching jobs by pages, lowest first, up to the highest key at the start.

        Each read covers a limited range of keys, so that no read takes long. The range grows while
        few jobs are found.
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
        """Remove the output files of removed jobs."""
        if action is JobAction.REMOVE:
            from .operations.attempt_output import remove_all_logs

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
        """Remove jobs that ended (completed, dead, cancelled) more than ``seconds`` ago, with their
        history and output. Returns how many. ``dry_run``: only count them. Events that are older
        than ``keep-events`` are removed too."""
        from .operations import maintenance

        maintenance.check_prunable(states)
        chosen, before = tuple(dict.fromkeys(states)), self.clock() - seconds
        total = 0
        if dry_run or progress:
            total = await maintenance.count_ended(self.store, chosen, before)
        if dry_run:
            return total
        tell = progress or (lambda done, total: None)
        now = self.clock()
        done = await maintenance.prune(
            self.store, chosen, before, now, lambda done: tell(done, total)
        )
        with after_commit("forgetting old events"):
            keep = (await self.settings()).keep_events
            await maintenance.forget_events(self.store, keep, now, float("inf"))
        return done

    async def backup(
        self, name: str, *, force: bool = False, progress: Progress | None = None
    ) -> Path:
        """Copy the store, as it is at one moment, into the file ``name``. Returns its path.

        Conflict if the file exists, unless ``force``.
        """
        from .operations import maintenance

        tell = progress or (lambda done, total: None)
        return await maintenance.backup(self.store, name, force=force, progress=tell)

    async def copy_to(self, url: str, progress: CopyProgress | None = None) -> Copied:
        """Copy everything into the store that ``url`` names. It must be new, or an unfinished copy
        of this store, which is then continued. See :func:`queuectl_core.operations.copy.copy`.

        This store is not changed. The caller must check that the result is ``same``.
        """
        from .operations import copy

        await copy.check_still(self.store)  # before the target is created
        target = await open_store(url, self.env, marked=True)
        try:
            commits.goes_on()  # nothing is copied yet
            return await copy.copy(self.store, target, progress or (lambda *_: None))
        finally:
            with after_commit("closing the copy"):
                await target.close()

    # -- configuration ----------------------------------------------------------------

    async def settings(self) -> conf.Settings:
        """The effective settings."""
        return conf.settings(await self.store.config(), self.env)

    async def config_list(self) -> list[conf.Setting]:
        """Every key with its value and its source."""
        return list(conf.layers(await self.store.config(), self.env).values())

    async def config_get(self, name: str) -> conf.Setting:
        """One key, in any spelling. NotFound names the most similar key."""
        return conf.layers(await self.store.config(), self.env)[conf.canonical(name)]

    async def config_set(self, name: str, text: str) -> conf.Setting:
        """Store a value. Returns the effective value, which may come from the environment."""
        key = conf.canonical(name)
        return await self._set_config(key, conf.show_value(conf.parse_value(key, text)))

    async def config_unset(self, name: str) -> conf.Setting:
        """Remove a stored value. Returns the effective value."""
        return await self._set_config(conf.canonical(name), None)

    async def _set_config(self, key: str, value: str | None) -> conf.Setting:
        # First, because a bad value in the environment must fail before the change.
        setting = conf.layers({} if value is None else {key: value}, self.env)[key]
        await self.store.set_config(key, value, self.clock())
        return setting

    # -- workers ----------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL of the store without a password, for display."""
        return self.store.url

    @property
    def directory(self) -> Path:
        """The directory of the store's output files and logs on this host."""
        return self.store.directory

    async def find_workers(self, refs: Sequence[str], host: str | None = None) -> list[Worker]:
        """The workers that ``refs`` name; no ``refs``: every worker. A ref is the id of a worker,
        the id of a supervisor (all its workers), or an unambiguous prefix of either. ``host``: only
        workers on the host with this name. NotFound if there is no such worker or host."""
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
        """The workers with these ids that run. A worker of a supervisor that is gone does not run.
        On this host, a supervisor whose process lives is not gone, even if its lease has run out:
        it may have been stopped by a signal."""
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
        """Ask workers to stop after their current job, or (``now``) at once.

        They are gone when :meth:`running_workers` does not list them any more. If :meth:`workers`
        still lists them then, they were lost; otherwise they have stopped.
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
        on_notice: Callable[[Notice], None] | None = None,
    ) -> Summary:
        """Run ``count`` workers in this process until they are stopped (SIGTERM, SIGINT,
        ``stop_workers``). ``until_empty``: or until no job is due, running or waiting for a retry.
        ``until_idle``: or until no job is due, or runs here.

        ``program``: the process does nothing else. It reaps orphans if it is PID 1. ``trace``: call
        ``on_notice`` also for each change of an attempt's state.
        """
        from .supervisor.supervisor import Supervisor

        check_count(count)
        host_key()  # HostShort where processes cannot be told apart
        checked = tuple(check_queue(queue) for queue in queues)
        supervisor = Supervisor(
            self.store,
            self.env,
            on_notice=on_notice,
            until_empty=until_empty,
            until_idle=until_idle,
            program=program,
            trace=trace,
        )
        return await supervisor.run(count, checked)

    async def start_workers(self, count: int, queues: Sequence[str] = ()) -> list[Worker]:
        """Start ``count`` workers in the background. Returns them when they are up, or none if the
        store cannot be read then.

        They join this host's detached supervisor if there is one. WorkersNotStarted says why they
        did not start.
        """
        from .supervisor.daemonize import start_detached

        check_count(count)
        host_key()  # HostShort where processes cannot be told apart
        checked = tuple(check_queue(queue) for queue in queues)
        ids = await start_detached(self.store, self.env, count, checked)
        with after_commit(f"reading the workers that are up now ({', '.join(ids)})"):
            return [worker for worker in await self.workers() if worker.id in ids]
        return []


def in_parts(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    """The jobs in parts that may be given to :meth:`Queue.with_texts`, so that memory use does not
    grow with their texts."""
    begin = large = 0
    for place, job in enumerate(jobs):
        large += job.has_stdin or job.has_result
        if large > TEXTS_AT_ONCE:
            yield jobs[begin:place]
            begin, large = place, 1
    yield jobs[begin:]


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "replace")


def _load_removal() -> None:
    """Import what removes output files before the change is committed. Afterwards the host may lack
    a descriptor for it."""
    from .operations import attempt_output  # noqa: F401


MAX_WORKERS = 512


def check_count(count: int) -> None:
    """InvalidInput unless ``count`` workers can be started in one supervisor."""
    if not 1 <= count <= MAX_WORKERS:
        raise InvalidInput(
            f"cannot start {count} workers", f"give a number from 1 to {MAX_WORKERS}"
        )


def one_of(words: Sequence[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def filter_json(where: Filter) -> dict[str, Any]:
    """A filter as the event of a bulk verb shows it."""
    given: dict[str, Any] = {
        "state": [str(state) for state in where.states],
        "queue": list(where.queues),
        "key": list(where.keys),
        "search": where.search,
        "exit_code": list(where.exit_codes),
        "reason": list(where.reasons),
        "jobs": None if where.seqs is None else len(where.seqs),
    }
    return {name: value for name, value in given.items() if value not in (None, [])}


def outcome_word(attempt: Attempt) -> str:
    """The outcome of an attempt, or ``running``."""
    return attempt.outcome.value if isinstance(attempt.outcome, Outcome) else "running"


def check_states(words: Sequence[str]) -> tuple[State, ...]:
    """States by name. InvalidInput names the most similar state."""
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
