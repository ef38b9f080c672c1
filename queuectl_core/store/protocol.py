"""The Store protocol: the verbs that every store has.

The tests in ``tests/store`` are the full specification, and each store passes all of them. A verb
is one transaction unless its description says otherwise. If the database itself fails, a verb
raises an error of the ``StoreError`` family (:mod:`queuectl_core.domain.errors`), never an
exception of a driver.

A verb that is one statement is written here, for all stores. Its query has the same name,
parameters and columns in each dialect. All other verbs are written in each store.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..domain import lifecycle
from ..domain.errors import Conflict, JobChanged
from ..domain.events import EventKind
from ..domain.model import Attempt, Command, Filter, Job, JobSpec, QueueSettings, State, Worker
from ..system.postcommit import after_commit
from .rows import (
    conditions,
    first_of,
    stored_command,
    to_attempt,
    to_end,
    to_ended,
    to_event,
    to_job,
    to_running,
    to_start,
    to_supervisor,
    to_worker,
    value_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ..domain.admission import QueueFacts
    from ..domain.claims import ClaimRequest, ClaimResult, Commands
    from ..domain.events import Event
    from ..domain.figures import DeadGroup, ThroughputSample, WaitGroup
    from ..domain.hooks import Hook
    from ..domain.model import Dependency, SupervisorRow
    from ..domain.rollup import Ended, Rollup
    from ..domain.schedule import Fired, Firing, Schedule, ScheduleInfo
    from .copy import Copying

T = TypeVar("T")

LAST = 1 << 62
"""A seq above every seq."""

TAIL_BYTES = 64 * 1024
"""How much of each attempt's output the store keeps."""


class JobAction(StrEnum):
    """A change of many jobs. It changes only jobs in states that allow it."""

    RETRY = "retry"
    CANCEL = "cancel"
    REMOVE = "remove"
    HOLD = "hold"
    RELEASE = "release"


ALLOWED = {
    JobAction.RETRY: lifecycle.RETRYABLE,
    JobAction.CANCEL: lifecycle.CANCELLABLE,
    JobAction.REMOVE: lifecycle.REMOVABLE,
    JobAction.HOLD: lifecycle.HOLDABLE,
    JobAction.RELEASE: lifecycle.RELEASABLE,
}
"""The states that allow each action."""

DONE = {
    JobAction.RETRY: "retried",
    JobAction.CANCEL: "cancelled",
    JobAction.REMOVE: "removed",
    JobAction.HOLD: "held",
    JobAction.RELEASE: "released",
}
"""What becomes of a job by each action, for messages."""


EVENT_OF = {
    JobAction.RETRY: EventKind.RETRIED,
    JobAction.CANCEL: EventKind.CANCELLED,
    JobAction.REMOVE: EventKind.REMOVED,
    JobAction.HOLD: EventKind.HELD,
    JobAction.RELEASE: EventKind.RELEASED,
}
"""The event of each action."""

EVENTS_AT_ONCE = 1000
"""Events that one read of a follower gives at most."""


class Said:
    """What the events of a change say.

    ``jobs``: the ids of the named jobs by seq: each that is changed has an event. ``running``:
    those of them that run. ``jobs`` None: a bulk verb, which has one event with a count, although
    it runs in many commits. ``event``: the key of that event, which an earlier commit has written.
    ``detail``: more for each event. ``via``: who did it, if not the front end.
    """

    __slots__ = ("detail", "event", "jobs", "running", "via")

    def __init__(
        self,
        *,
        jobs: Mapping[int, str] | None = None,
        running: Collection[int] = (),
        detail: Mapping[str, Any] | None = None,
        event: int | None = None,
        via: str | None = None,
    ) -> None:
        self.jobs = jobs
        self.running = running
        self.via = via
        self.detail = detail or {}
        self.event = event

    def of_named(
        self, changed: Sequence[tuple[int, int]]
    ) -> list[tuple[list[tuple[int, str]], Mapping[str, Any]]]:
        """The named jobs among the changed ones (key, runs), by what their events say: their keys
        and ids, and the detail."""
        jobs = self.jobs or {}
        named = [(seq, jobs[seq]) for seq, _ in changed]
        asked = [one for one in named if one[0] in self.running]
        others = [one for one in named if one[0] not in self.running]
        groups = ((asked, {**self.detail, "running": True}), (others, self.detail))
        return [group for group in groups if group[0]]


def replaced_by(schedule: str, job: Job) -> Said:
    """What the event says if a run of a schedule is cancelled for the next one."""
    running = [job.seq] if job.state is State.PROCESSING else []
    detail = {"schedule": schedule}
    return Said(jobs={job.seq: job.id}, running=running, detail=detail, via="schedule")


class Changed:
    """What an action did. (Making a NamedTuple takes longer, and every verb loads this module.)

    ``done``: (seq, runs) of each changed job. ``left``: jobs that match, and were left as they were
    because of what they wait for, or what waits for them. The action may succeed once it was done
    to other jobs. ``event``: the key of the event, of a bulk verb that has changed something.
    """

    __slots__ = ("done", "event", "left")

    def __init__(
        self, done: list[tuple[int, int]], left: list[int], event: int | None = None
    ) -> None:
        self.done = done
        self.left = left
        self.event = event


def changed_meanwhile(action: str, seen: Job, now: Job | None) -> JobChanged:
    """The error for a job that is not as the caller read it. ``now``: the job as it is."""
    if now is None:
        change = "is gone"
    elif now.state is not seen.state:
        change = f"is {now.state} now"
    elif now.runs != seen.runs:
        change = "ran again meanwhile"
    else:
        change = "was changed meanwhile"
    return JobChanged(f"job '{seen.id}' {change}; no {action} was done", "look again")


def cancel_params(job: Job, now: float, actor: str) -> dict[str, Any]:
    """The parameters of the action ``cancel`` for one job, if its state allows it."""
    states = list(ALLOWED[JobAction.CANCEL])
    chosen = {"states": states, "seqs": [job.seq], "seen": None, "later": LAST}
    return conditions(Filter()) | chosen | {"now": now, "actor": actor}


class Batch(Protocol):
    """A bulk enqueue. Nothing is visible or locked until ``commit``."""

    existing: Sequence[tuple[int, str]] = ()
    """Set by ``commit``: the lines that were not enqueued because their unique value is held, each
    with the id of the job that holds it."""

    async def add(self, specs: Sequence[tuple[int, JobSpec]]) -> None:
        """Add jobs, each with the number of its line."""

    async def commit(self, now: float) -> tuple[int, int]:
        """Enqueue all added jobs in one transaction; returns (first seq, count).

        The seqs are consecutive. Raises Conflict, which names the line, when an id is taken in the
        store, and BatchRejected when two added jobs have the same id. Then nothing is enqueued.
        """


class Notifier(Protocol):
    """Tells a supervisor that something changed, so that it need not poll."""

    stop: bool | None = None
    """Set if all our workers must stop: after their jobs (False) or at once (True). It is sent this
    way only if it cannot be written to the store, because the disk is full."""

    def fileno(self) -> int:
        """A descriptor that is readable after a notification."""

    def clear(self) -> bool:
        """Take the notifications that came. False: they were for new jobs only."""

    @property
    def trouble(self) -> str | None:
        """Why it cannot notify at the moment; None: it can."""

    def close(self) -> None:
        """Stop listening."""


class Store(Protocol):
    """One database of jobs. Made by :func:`queuectl_core.store.open.open_store`."""

    url: str
    """The URL without a password, for display."""
    address: str
    """How another process on this host opens it. It may hold a password, so it is never shown."""
    directory: Path
    """The directory of the store on this host, with ``logs/`` and ``run/``."""
    shared_by_hosts: bool
    """Workers may run on many hosts. False: all processes are on this host."""
    can_backup: bool
    """Whether ``backup`` is supported. If not, use the database's own tools."""

    async def close(self) -> None:
        """Close the database. The store cannot be used afterwards."""

    def clock(self) -> float:
        """Epoch seconds on the store's clock, which decides when jobs are due. ``now`` is this time
        in all verbs below. It is the clock of this host, or of the server if hosts share the
        store."""

    def host_identity(self) -> str:
        """Identifies this host in the store. Processes with equal identities see the same pids, the
        same monotonic clock and the same ``directory``. Empty while there is no directory."""

    # -- for the verbs that are one statement --------------------------------------------

    @abstractmethod
    async def _rows(
        self, query: str, convert: Callable[[Any], T], *, patient: bool = False, **values: Any
    ) -> list[T]:
        """The rows of a query that reads, each converted. ``patient``: it has no time limit. A
        ValueError of ``convert`` means that the database is damaged."""

    @abstractmethod
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
        """The same for a statement that writes something that people rely on. ``check`` gets the
        result in the transaction, and undoes it by raising an error. ``wakes``: wake the
        supervisors afterwards."""

    @abstractmethod
    async def _note(self, query: str, *, wakes: bool = False, **values: Any) -> None:
        """Run a statement with which supervisors keep their own records. It does no harm when it
        is run twice."""

    # -- enqueue ----------------------------------------------------------------------

    async def enqueue(self, specs: Sequence[JobSpec], now: float) -> list[Job]:
        """Enqueue all or none. Raises Conflict, which names the first id that is taken.

        Parents may be jobs of ``specs``, in any order, or of the store. NotFound if one does not
        exist, InvalidInput if jobs wait for each other in a circle. A job whose ``unique`` value is
        held is not enqueued: the answer has the job that holds it (``existing``), after replacing
        its fields if the spec says so (``on_conflict``).
        """

    def batch(self) -> AbstractAsyncContextManager[Batch]:
        """A bulk enqueue of any length. Memory use does not grow with its length."""

    # -- reading ----------------------------------------------------------------------

    async def by_id(self, ref: str) -> list[Job]:
        """The job with this id. If there is none: up to two jobs whose ids start with it."""
        # An id is the first in the order of all ids that begin with it.
        found = await self._rows("jobs_by_prefix", to_job, prefix=ref) if "\0" not in ref else []
        return found[:1] if found and found[0].id == ref else found

    async def by_seq(self, seq: int) -> Job | None:
        """The job with this key."""
        return first_of(await self._rows("job_by_seq", to_job, seq=seq))

    async def ids(self, first: int, count: int) -> list[str]:
        """The ids of the jobs with seqs from ``first`` to ``first + count - 1``, in order."""
        return await self._rows("ids_from", value_of, first=first, end=first + count)

    async def scan(
        self, where: Filter, limit: int, *, low: int = 0, high: int = LAST, up: bool = False
    ) -> list[Job]:
        """Up to ``limit`` matching jobs with seq from ``low`` to ``high``, newest first; with
        ``up`` oldest first. Looks at no job outside this range."""

    async def count_range(self, where: Filter, low: int = 0, high: int = LAST) -> int:
        """How many jobs with seq from ``low`` to ``high`` match."""
        if where.seqs is not None:
            return len(await self.scan(where, len(where.seqs), low=low, high=high))
        by_column = where.search is not None or where.exit_codes or where.reasons or where.keys
        if not by_column and (low, high) == (0, LAST):
            return sum(
                number
                for (state, queue), number in (await self.counts()).items()
                if state in (where.states or State) and queue in (where.queues or (queue,))
            )
        query = "count_states" if where.states else "count_all"
        states = list(dict.fromkeys(where.states))
        params = conditions(where) | {"states": states, "low": low, "high": high}
        [number] = await self._rows(query, value_of, **params)
        return int(number)

    async def attempts(self, seq: int) -> list[Attempt]:
        """The ended attempts of a job, in order."""
        return await self._rows("attempts_of", to_attempt, seq=seq)

    async def tail(self, seq: int, number: int) -> bytes | None:
        """The stored end of an attempt's output; None if nothing is stored."""
        return first_of(await self._rows("tail_of", value_of, seq=seq, number=number))

    async def inputs_of(self, seqs: Sequence[int]) -> dict[int, bytes]:
        """What the attempts of these jobs read on standard input, by seq. Each has up to 1 MiB.
        Jobs without it are left out."""
        return dict(await self._rows("inputs_of", tuple, seqs=list(seqs)))

    async def results_of(self, seqs: Sequence[int]) -> dict[int, bytes]:
        """The results of these jobs, by seq. Each has up to 64 KiB. Jobs without one are left
        out."""
        return dict(await self._rows("results_of", tuple, seqs=list(seqs)))

    async def counts(self) -> dict[tuple[State, str], int]:
        """How many jobs are in each state and queue. The time does not grow with the table."""

        def pair(row: Any) -> tuple[tuple[State, str], int]:
            state, queue, number = row
            return (State(state), queue), number

        return dict(await self._rows("counts", pair))

    async def oldest_due(self, now: float) -> float | None:
        """Since when the due job that waits longest has waited (:attr:`Job.waits_from`); None if no
        job is due."""
        return first_of(await self._rows("oldest_due", value_of, now=now))

    async def ended_since(self, since: float, limit: int) -> list[Ended]:
        """Up to ``limit`` attempts that ended since then and whose jobs still exist."""
        return await self._rows("ended_since", to_ended, since=since, limit=limit)

    async def rollup(self, since: float) -> Rollup:
        """The sums over all attempts that ended since then. ``settle_and_claim`` keeps these sums
        in the commit that writes the results, so the time does not grow with the number of
        attempts.

        ``since`` must be rounded by :func:`queuectl_core.domain.rollup.reach`. Attempts of jobs
        that were removed or pruned are included. Results that ``settle_and_claim`` refused are not.
        If a store holds attempts from before it kept rollups, it adds them up at each call.
        """

    async def totals(self) -> Rollup:
        """The sums over all attempts that ended since the store keeps rollups. They never
        decrease. ``queues`` is in the order in which their first attempts ended."""
        from ..domain.rollup import merged, unpack
        from ..system.run_sync import off_loop

        rows = await self._rows("rollups_all", lambda row: (tuple(row[:3]), unpack(row[3])))
        # The oldest first, so that queues stay in the order in which they came.
        rollups = [one for _, one in sorted(rows, key=lambda row: row[0])]
        return await off_loop(merged, rollups)  # many supervisors have thousands of them

    # -- events -----------------------------------------------------------------------

    async def event_floor(self, high: float, count: int) -> float | None:
        """The time of the stored event that ``count`` others follow, up to the moment ``high``;
        None: there are not so many."""
        return first_of(await self._rows("event_floor", value_of, high=high, count=count))

    async def attempt_floor(self, high: float, count: int) -> float | None:
        """The same for the ends of attempts."""
        return first_of(await self._rows("attempt_floor", value_of, high=high, count=count))

    async def events_between(
        self, low: float, high: float, kinds: Iterable[str] | None = None
    ) -> list[Event]:
        """The stored events from ``low`` to ``high``, both included, in no order; ``kinds``: only
        these."""
        wanted = None if kinds is None else json.dumps(sorted(kinds))
        return await self._rows("events_between", to_event, low=low, high=high, kinds=wanted)

    async def ends_between(self, low: float, high: float) -> list[Event]:
        """The same for the ends of attempts."""
        return await self._rows("attempts_between", to_end, low=low, high=high)

    async def starts_between(self, low: float, high: float) -> list[Event]:
        """The same for the starts of attempts that have ended."""
        return await self._rows("attempts_begun", to_start, low=low, high=high)

    async def ended_attempts(
        self, low: float, keys: Sequence[tuple[int, int]] = ()
    ) -> list[tuple[Event, Event]]:
        """Start and end of the attempts that ended at ``low`` or later, and of those with these
        keys (seq of the job, number), if they have ended. One may come twice."""

        def both(row: Any) -> tuple[Event, Event]:
            return to_start(row), to_end(row)

        found = await self._rows("attempts_between", both, low=low, high=float("inf"))
        if keys:
            found += await self._rows("attempts_at", both, keys=json.dumps(list(keys)))
        return found

    async def running_attempts(self) -> list[Event]:
        """The starts of the attempts that run. Reads the processing jobs only."""
        return await self._rows("running_attempts", to_running)

    async def events_of(self, job_id: str, job: int | None) -> list[Event]:
        """The stored events of the job with this id and key, in order; ``job`` None: of all jobs
        that had this id. Bulk verbs are left out."""
        if "\0" in job_id:
            return []
        return await self._rows("events_of", to_event, id=job_id, job=job)

    async def events_named(self, name: str, limit: int) -> list[Event]:
        """The newest ``limit`` stored events about the queue, schedule, hook, setting or supervisor
        with this name, the newest first."""
        if "\0" in name:
            return []
        return await self._rows("events_named", to_event, name=name, limit=limit)

    async def bulk_enqueue_of(self, job: int) -> Event | None:
        """The event of the bulk enqueue that made this job."""
        found = first_of(await self._rows("events_range", to_event, job=job))
        return found if found is not None and (found.last_job or 0) >= job else None

    async def events_since(self, cursor: str | None) -> tuple[list[Event], str]:
        """The events that were committed since ``cursor`` was given, and the cursor for the next
        call. At most :data:`EVENTS_AT_ONCE`: if there are so many, ask again at once. ``cursor``
        None: no events, only a cursor. No event is missed or comes twice."""

    async def oldest_event(self) -> float | None:
        """The time of the oldest stored event; None: there is none."""
        return first_of(await self._rows("oldest_event", value_of))

    async def forget_events(self, before: float, limit: int) -> int:
        """Remove up to ``limit`` events from before this moment. Returns how many."""
        return len(await self._change("forget_events", value_of, before=before, limit=limit))

    # -- for a console ------------------------------------------------------------------

    async def check(self) -> None:
        """Raises StoreUnreachable if the database is no longer where it was opened. Needed where
        reading would still succeed."""

    async def bounds(self) -> tuple[int, int] | None:
        """The lowest and the highest seq; None if there are no jobs."""
        [(low, high)] = await self._rows("bounds", tuple)
        return None if low is None else (low, high)

    async def dead_groups(self, limit: int) -> list[DeadGroup]:
        """The dead jobs by reason, the largest group first."""
        from ..domain.figures import DeadGroup

        def group(row: Any) -> DeadGroup:
            reason, exit_code, count, last_at, newest = row
            return DeadGroup(reason or "", exit_code, count, last_at, newest)

        return await self._rows("dead_groups", group, limit=limit)

    async def throughput(self, since: float) -> list[ThroughputSample]:
        """How many attempts ended in each second since then. Seconds without any are left out."""
        from ..domain.figures import ThroughputSample

        return await self._rows("throughput", lambda row: ThroughputSample(*row), since=since)

    async def amend(self, job: Job, command: Command, now: float) -> Job:
        """Give a job that is neither waiting nor running a new command, and run it again: now, or
        once its parents allow it.

        Raises Conflict if the job is in another state, or gone, or cannot run because of a parent.
        """
        text, is_argv = stored_command(command)
        params: dict[str, Any] = {"state": job.state, "runs": job.runs, "now": now}
        params |= {"seq": job.seq, "command": text, "is_argv": is_argv, "id": job.id}
        try:
            amended = await self._amend(params)
        except JobChanged:
            there = await self.by_seq(job.seq)
            if there is not None and (there.state, there.runs) == (job.state, job.runs):
                await self._refuse(JobAction.RETRY, [job], there)
            state = "gone" if there is None else there.state
            raise Conflict(
                f"job '{job.id}' is {state} now; its command was not changed", "look again"
            ) from None
        await self._judge_rest(now)
        return amended

    @abstractmethod
    async def _amend(self, params: dict[str, Any]) -> Job:
        """One transaction: the query ``amend``, and what follows for the job and its children.
        Returns the job as it is then. JobChanged if nothing was changed. Wakes the
        supervisors."""

    # -- changing ---------------------------------------------------------------------

    async def candidates(self, where: Filter, after: int, until: int, limit: int) -> list[int]:
        """Up to ``limit`` keys above ``after`` and up to ``until`` of matching jobs, lowest first.

        ``where`` must name states (a reason names dead jobs). ``where.seqs`` is ignored.
        """

    async def change(
        self,
        action: JobAction,
        seen: Sequence[Job],
        now: float,
        *,
        strict: bool,
        actor: str = "",
    ) -> list[tuple[int, int]]:
        """Do ``action`` to the jobs that are as the caller read them (state and runs) and in a
        state that allows it. Returns (seq, runs) of each changed job.

        ``strict``: all or none. Raises JobChanged if one job cannot be changed.
        """
        wanted = {
            str(job.seq): [job.state, job.runs] for job in seen if job.state in ALLOWED[action]
        }
        missed: list[Job] = []

        def check(changed: list[tuple[int, int]]) -> None:
            done = {seq for seq, _ in changed}
            missed[:] = [job for job in seen if job.seq not in done]
            if strict and missed:
                raise JobChanged("")

        where = Filter(states=ALLOWED[action])
        try:
            changed = await self._change_jobs(
                action,
                where,
                list(map(int, wanted)),
                now=now,
                actor=actor,
                seen=json.dumps(wanted),
                check=check,
                said=Said(
                    jobs={job.seq: job.id for job in seen},
                    running=[job.seq for job in seen if job.state is State.PROCESSING],
                ),
            )
            return changed.done
        except JobChanged:
            there = await self.by_seq(missed[0].seq)
            if there is not None and there[:2] == missed[0][:2]:
                await self._refuse(action, seen, there)
            raise changed_meanwhile(action, missed[0], there) from None

    async def _refuse(self, action: JobAction, seen: Sequence[Job], job: Job) -> None:
        """Raise Conflict if ``action`` was not done because of a dependency."""
        if action is JobAction.REMOVE:
            found = await self._rows("waited_for", tuple, seqs=[one.seq for one in seen])
            for parent, child in found:
                raise Conflict(
                    f"job '{child}' waits for job '{parent}'; nothing was removed",
                    "remove it with the jobs that wait for it: --cascade",
                )
        if action is JobAction.RETRY:
            from ..domain.admission import Verdict, verdict

            for one in await self.dependencies([job.seq], of="child"):
                found_verdict = verdict(one.kind, one.parent_state, waived=one.waived)
                if found_verdict is Verdict.IMPOSSIBLE:
                    raise Conflict(
                        f"job '{job.id}' cannot run: its parent '{one.parent}' is"
                        f" {one.parent_state}",
                        f"see: queuectl show --tree {job.id}",
                    )

    async def change_matching(
        self,
        action: JobAction,
        where: Filter,
        seqs: Sequence[int],
        now: float,
        actor: str = "",
        *,
        later: int = LAST,
        said: Said | None = None,
    ) -> Changed:
        """Do ``action`` to the jobs with these ``seqs`` that match ``where`` and are in a state
        that allows it. ``where.seqs`` is ignored. ``later``: the same is going to be done to
        matching jobs above this key. A job that waits for one of them is not retried before it.
        ``said``: the event of the whole verb.

        The statement that makes the change also checks the conditions. So a job that matched when
        it was read, and does not match any more, is not changed.
        """
        where = where.narrowed(ALLOWED[action])
        return await self._change_jobs(
            action, where, seqs, now=now, actor=actor, later=later, said=said
        )

    async def _change_jobs(
        self,
        action: JobAction,
        where: Filter,
        seqs: Sequence[int],
        *,
        now: float,
        actor: str = "",
        seen: str | None = None,
        later: int = LAST,
        check: Callable[[list[tuple[int, int]]], None] | None = None,
        said: Said | None = None,
    ) -> Changed:
        """``seen``: {seq: [state, runs]} of each job as the caller read it; None: it does not
        matter."""
        params = conditions(where) | {"states": list(where.states), "seqs": list(seqs)}
        params |= {"now": now, "seen": seen, "actor": actor, "later": later}
        changed = await self._act(action, params, check, said or Said())
        await self._judge_rest(now)
        return changed

    async def _judge_rest(self, now: float) -> None:
        """After a change: judge the jobs that wait for the changed ones and were too many for its
        transaction."""
        with after_commit("looking after the jobs that wait for these"):
            while await self.judge_marked(now):
                await self.give_way(0.01)

    @abstractmethod
    async def _act(
        self,
        action: JobAction,
        params: dict[str, Any],
        check: Callable[[list[tuple[int, int]]], None] | None,
        said: Said,
    ) -> Changed:
        """One transaction: the query of ``action``, then what follows for the changed jobs and
        their children, then ``check``, then the events. Wakes the supervisors."""

    # -- admission --------------------------------------------------------------------

    async def queues(self) -> list[QueueSettings]:
        """The queues with settings."""
        from .rows import to_queue

        return await self._rows("queues", to_queue)

    async def set_queue(
        self, name: str, changes: Mapping[str, Any], now: float | None = None
    ) -> QueueSettings:
        """Change these fields of a queue's settings. Returns the new settings. ``now`` None, here
        and below: the time of the store's clock."""

    async def remove_queue(self, name: str, now: float | None = None) -> bool:
        """Forget the settings of a queue. False: it had none.

        Raises Conflict if it has settings, and jobs that have not ended are in it.
        """

    async def edit(self, job: Job, changes: Mapping[str, Any], now: float) -> Job:
        """Change these fields of a job that does not run: ``command``, ``priority``, ``run_at``,
        ``queue``, ``timeout_seconds``, ``max_retries``, ``key``.

        Raises JobChanged if it is not as the caller read it.
        """

    async def dependencies(self, seqs: Sequence[int], *, of: str) -> list[Dependency]:
        """The rows of dependencies whose ``of`` (``child`` or ``parent``) is one of these jobs."""
        from .rows import to_dependency

        return await self._rows(f"dependencies_of_{of}", to_dependency, seqs=list(seqs))

    async def waiting_children(self, seqs: Sequence[int]) -> list[Job]:
        """The jobs that wait for one of these jobs, directly or through other jobs. Jobs among
        ``seqs`` are left out."""
        return await self._rows("waiting_children", to_job, seqs=list(seqs))

    async def judge_marked(self, now: float) -> bool:
        """Judge some of the jobs whose parents have ended or run again: start, cancel, hold or
        revive them. Returns whether there are more. ``change`` and ``change_matching`` do this
        until none is left. Supervisors do it too, a part in each commit."""

    async def queue_facts(self, names: Sequence[str], now: float) -> dict[str, QueueFacts]:
        """What decides about the jobs of these queues, except their workers and hosts."""

    async def key_running(
        self, pairs: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], list[str]]:
        """For each (queue, key): the ids of the running jobs."""
        found: dict[tuple[str, str], list[str]] = {pair: [] for pair in pairs}
        wanted = json.dumps([list(pair) for pair in found])
        for queue, key, job_id in await self._rows("key_running_ids", tuple, pairs=wanted):
            found[queue, key].append(job_id)
        return found

    async def ahead(self, job: Job, limit: int) -> int:
        """How many jobs of the same queue a claim would take before this one, at most ``limit``."""
        [number] = await self._rows(
            "ahead",
            value_of,
            queue=job.queue,
            priority=job.priority,
            run_at=job.run_at,
            seq=job.seq,
            limit=limit,
        )
        return int(number)

    async def wait_groups(self, now: float) -> list[WaitGroup]:
        """The jobs that have not ended and do not run, in groups. Reads all of them."""
        from ..domain.figures import WaitGroup

        def group(row: Any) -> WaitGroup:
            queue, state, later, held, key_full, number = row
            return WaitGroup(queue, State(state), bool(later), bool(held), bool(key_full), number)

        return await self._rows("wait_groups", group, now=now)

    async def oldest_due_of(self, queue: str, now: float) -> float | None:
        """Since when the due job of this queue that waits longest has waited, as far as the first
        jobs of each priority tell; None: none is due."""
        return first_of(await self._rows("oldest_due_of", value_of, queue=queue, now=now))

    async def unstarted(self, queue: str, before: float) -> int:
        """How many attempts in this queue, which was paused or got a rate, were claimed before, and
        have not started as far as the store knows."""
        [number] = await self._rows("unstarted", value_of, queue=queue, before=before)
        return int(number)

    async def misadmitted(self) -> int:
        """How many jobs are not in the state in which the rules of admission put them. Reads every
        job that waits."""
        [number] = await self._rows("misadmitted", value_of, patient=True)
        return int(number)

    async def readmit(self, now: float) -> None:
        """Judge every job that waits again. Reads all of them."""

    async def give_way(self, seconds: float) -> None:
        """Let waiting writers go first, after a page of a long change that took ``seconds``. A
        store that has many writers at a time does nothing."""

    # -- hooks ------------------------------------------------------------------------

    async def hooks(self) -> list[Hook]:
        """All hooks, by name."""
        from .hooks import to_hook

        return await self._rows("hooks", to_hook)

    async def hook_waiting(self) -> dict[str, tuple[int, float]]:
        """How many events wait for the digest of each hook, and since when."""

        def waiting(row: Any) -> tuple[str, tuple[int, float]]:
            return row["hook"], (row["n"], row["since"])

        return dict(await self._rows("hook_waiting", waiting))

    async def add_hook(self, hook: Hook) -> None:
        """Add a hook. Conflict if there is one of that name."""

    async def change_hook(
        self, name: str, changes: Mapping[str, Any], action: str, now: float
    ) -> Hook:
        """Change these fields of a hook. ``action``: what it is called in the event. Returns the
        hook as it is then (see :func:`.hooks.changed`). NotFound if it is gone."""

    async def remove_hook(self, name: str, now: float) -> None:
        """Remove a hook, and what waits for its digest. NotFound if it is gone."""

    async def hook_work(self) -> tuple[bool, float | None]:
        """Whether events are left to be delivered, and when the first digest is due (None: none
        is)."""
        [row] = await self._rows("hook_work", tuple)
        return bool(row[0]), row[1]

    async def deliver_hooks(self, now: float) -> bool:
        """Deliver what is left of events, and the digests that are due: each by one caller. Returns
        whether more is left."""

    # -- schedules --------------------------------------------------------------------

    async def schedules(self, name: str | None = None) -> list[ScheduleInfo]:
        """The schedules, by name, with what became of their runs. ``name``: only this one."""
        from .rows import to_schedule_info

        return await self._rows("schedule_infos", to_schedule_info, name=name)

    async def schedule_runs(self, name: str, limit: int) -> list[Job]:
        """The jobs of a schedule that are still there, newest first."""
        return await self._rows("schedule_runs", to_job, name=name, limit=limit)

    async def due_schedules(self, now: float, limit: int) -> list[Schedule]:
        """Up to ``limit`` schedules that are due and not paused, the earliest first."""
        from .rows import to_schedule

        return await self._rows("schedules_due", to_schedule, now=now, limit=limit)

    async def next_schedule(self, after: float | None) -> float | None:
        """When the next schedule is due (``after``: the next one that is due after this); None:
        none is. Reads one row of an index."""
        return first_of(await self._rows("schedule_next", value_of, after=after or 0.0))

    async def add_schedule(self, schedule: Schedule, now: float) -> None:
        """Add a schedule. Conflict if its name is taken. Wakes the supervisors."""

    async def change_schedule(
        self, seen: Schedule, new: Schedule, detail: Mapping[str, Any], now: float
    ) -> bool:
        """Replace what a person may change of a schedule, and write an event with ``detail``.
        False: it was fired, changed or removed since it was read. Wakes the supervisors."""

    async def remove_schedule(self, name: str, now: float) -> bool:
        """Remove a schedule. Its jobs stay. False: there is none of this name."""

    async def fire(self, firings: Sequence[Firing], now: float) -> list[Fired]:
        """Enqueue the runs of schedules that are due, and advance these, in one commit. Schedules
        that somebody else has fired, or changed, are left out, so any number of supervisors may
        call this at the same time."""

    async def run_schedule(self, name: str, spec: JobSpec, now: float) -> Job:
        """Enqueue a run of a schedule now, outside its times. NotFound; Conflict if its overlap
        rule does not allow it."""

    async def config(self) -> dict[str, str]:
        """The stored configuration, as text."""
        return dict(await self._rows("config_all", tuple))

    async def set_config(self, key: str, value: str | None, now: float | None = None) -> None:
        """Store a value; None removes the key."""

    # -- working ----------------------------------------------------------------------

    async def register(
        self, row: SupervisorRow, workers: Sequence[tuple[str, tuple[str, ...]]], now: float
    ) -> None:
        """Register a supervisor with its workers (id, queues). All workers are up.

        A store that hosts share sets the lease by its own clock, here and in ``heartbeat``. It uses
        only the length of the lease and ``lease_mono`` from the row's times.
        """

    async def heartbeat(self, row: SupervisorRow) -> bool:
        """Renew the lease with the row's times. False: the supervisor is not known any more."""

    async def deregister(self, supervisor: str, now: float | None = None) -> None:
        """Remove a supervisor and its workers. A supervisor that holds a job stays."""

    async def settle_and_claim(self, request: ClaimRequest) -> ClaimResult:
        """Write the results of attempts and claim jobs for free slots, in one commit.

        Slots without a worker prefetch as many jobs as ``lifecycle.claimed_ahead`` says. A result
        is taken only while the owner holds this attempt. Nothing is claimed for an unknown owner.
        Jobs are claimed by priority, then by run_at, then in the order of arrival.
        """

    async def commands(self, supervisor: str) -> Commands:
        """The commands for this supervisor."""
        from ..domain.claims import Commands, WorkerCommand

        def command(row: Any) -> WorkerCommand | None:
            if row["id"] is None:  # a supervisor without workers
                return None
            queues = tuple(json.loads(row["queues"]))
            return WorkerCommand(row["id"], queues, row["stop"], bool(row["up"]))

        rows = await self._rows(
            "commands", lambda row: (command(row), json.loads(row["cancels"])), id=supervisor
        )
        if not rows:
            return Commands(known=False)
        now = self.clock()
        no_prefetch = {
            one.name: None if one.rate else one.paused_until
            for one in await self.queues()
            if one.rate or one.paused(now)
        }
        workers = tuple(one for one, _ in rows if one)
        return Commands(True, workers, frozenset(rows[0][1]), no_prefetch)

    async def add_workers(
        self, supervisor: str, workers: Sequence[tuple[str, tuple[str, ...]]], now: float, up: bool
    ) -> None:
        """Ask a supervisor to start more workers. ``up``: they are already running.

        Raises NotFound if the supervisor is gone.
        """

    async def workers_up(self, workers: Sequence[str]) -> None:
        """These workers are running."""
        await self._note("workers_up", ids=list(workers))

    async def workers_gone(self, workers: Sequence[str], now: float | None = None) -> None:
        """These workers ended."""

    async def stop_workers(self, workers: Sequence[str], at_once: bool) -> None:
        """Ask workers to stop after their current job, or at once."""
        mode = "now" if at_once else "drain"
        await self._note("stop_workers", wakes=True, ids=list(workers), mode=mode)

    async def sample(
        self, samples: Sequence[tuple[str, int | None, float | None, int | None]]
    ) -> None:
        """Record (worker, job pid, CPU percent, memory bytes) of running jobs."""
        if samples:
            await self._note("sample", samples=json.dumps(samples))

    async def report_progress(
        self, owner: str, reports: Sequence[tuple[int, int, float, str | None]]
    ) -> None:
        """Record (seq, run, percent, text) of attempts that this supervisor runs."""
        if reports:
            await self._note("report_progress", owner=owner, reports=json.dumps(reports))

    async def supervisors(self) -> list[SupervisorRow]:
        """All registered supervisors, dead ones included."""
        return await self._rows("supervisors", lambda row: to_supervisor(row, lapsed=row["lapsed"]))

    async def workers(self) -> list[tuple[Worker, SupervisorRow]]:
        """All workers with their supervisors, dead ones included."""
        return await self._rows(
            "workers",
            lambda row: (to_worker(row), to_supervisor(row, "supervisor", lapsed=row["lapsed"])),
        )

    async def held(self, owner: str) -> list[Job]:
        """The processing jobs of this supervisor. The time does not grow with other jobs."""
        return await self._rows("held", to_job, id=owner)

    async def shims(self) -> set[str]:
        """The names of the shims of all processing jobs."""
        return set(filter(None, await self._rows("shims", value_of)))

    async def take_over(self, dead: SupervisorRow, successor: str, now: float) -> list[Job] | None:
        """Give a dead supervisor's jobs to ``successor`` and remove the dead one. Returns the jobs.

        None if, since the row was read, ``dead`` has renewed its lease or was taken over by
        somebody else.
        """

    async def assign(self, owner: str, workers: Mapping[int, str]) -> None:
        """Set the worker of each adopted job (by seq)."""
        await self._note("assign", owner=owner, workers=json.dumps(workers))

    # -- signals ----------------------------------------------------------------------

    def notifier(self, supervisor: str) -> Notifier:
        """Notifies this supervisor when somebody changes something that it must know."""

    async def changed(self) -> bool:
        """Whether anybody else committed since the last call. The first call returns True."""

    async def faults(self) -> list[str]:
        """What is broken in the database itself, one line each. Reads the whole database."""
        return await self._rows("faults", value_of, patient=True)

    def files(self) -> list[Path]:
        """The files and directories of this store on this host. Only its user may read them."""

    async def checkpoint(self) -> None:
        """Move recent changes to their final place: the WAL of SQLite into the database file, the
        ledger of PostgreSQL into the counters."""

    # -- upkeep -------------------------------------------------------------------------

    async def expired(self, since: float, before: float, limit: int) -> list[int]:
        """The seqs of completed jobs that ended at or after ``since`` and before ``before``.

        Only attempts that ended in this time are read, so the time does not grow with the table. A
        job that completed twice may appear twice.
        """
        return await self._rows("expired", value_of, since=since, before=before, limit=limit)

    async def ended(self, state: State, before: float, after: int, limit: int) -> list[int]:
        """The seqs, above ``after`` and in order, of jobs in ``state`` that ended before
        ``before``."""
        return await self._rows(
            "ended", value_of, state=state, before=before, after=after, limit=limit
        )

    async def prune(
        self,
        seqs: Sequence[int],
        state: State,
        before: float,
        *,
        said: Said | None = None,
        now: float | None = None,
    ) -> Changed:
        """Remove the jobs with these ``seqs`` that are in ``state`` and ended before ``before``.
        ``done`` of the answer has (seq, attempts) of each, so that its output can be removed.
        ``said``: the event of the verb; None: this is no act of a person and has none."""

    async def runs(self, seqs: Sequence[int]) -> dict[int, int]:
        """How many attempts each of these jobs has had. Jobs that are gone are left out."""
        return dict(await self._rows("runs_of", tuple, seqs=list(seqs)))

    async def miscounted(self) -> int:
        """How many counters are wrong. Reads every job."""
        [number] = await self._rows("miscounted", value_of, patient=True)
        return int(number)

    async def dismiss(self, dead: SupervisorRow, now: float | None = None) -> bool:
        """Remove a supervisor that is gone. False if it holds a job, or has renewed its lease since
        the row was read."""

    async def recount(self) -> None:
        """Set every counter by counting."""
        await self._change("recount", tuple, patient=True)

    async def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:
        """Copy the database, as it is at one moment, into the empty file ``target``.

        ``progress`` is called between steps, on the thread that copies. Raises InvalidInput unless
        ``can_backup``; the error says what to use instead.
        """

    def copying(self) -> Copying:
        """Copies this store into another, or another into this one."""
