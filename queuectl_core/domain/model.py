"""The values of queuectl: jobs, attempts, workers. They import nothing else of queuectl.

Times are epoch seconds (UTC), durations are seconds, sizes are bytes. ``to_json`` gives the public
JSON, with the names that ``enqueue`` reads.

Without ``from __future__ import annotations``: with it, a named tuple compiles the text of each
annotation. The first call of ``compile`` alone takes a twentieth of a short verb's time.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from .times import format_time


class State(StrEnum):
    """The states of a job. ``FAILED`` waits for its backoff. ``DEAD`` is in the DLQ.

    ``WAITING`` waits for other jobs, or until somebody releases it. It cannot be claimed.
    """

    PENDING = "pending"
    WAITING = "waiting"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How one attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """Ended by ``worker stop --now``, or never started. It is not the job's fault and does not
    count."""
    CRASHED = "crashed"
    """Its outcome is not known. It counts in ``crashes``."""


MASK = "***"
"""Shown instead of a value that may be secret. It is refused as input, so that a printed mask never
becomes a value."""

Command = str | tuple[str, ...]
"""A string for the shell, or an argv to run without a shell."""


class JobSpec(NamedTuple):
    """A job that ``enqueue`` accepts: validated, with all defaults."""

    command: Command
    id: str | None
    """None: the store generates an id."""
    max_retries: int
    backoff_base: float
    priority: int
    run_at: float
    timeout_seconds: float
    cwd: str
    env: Mapping[str, str]
    queue: str
    nice: int = 0
    """Added to the supervisor's niceness; 0 to 19."""
    memory_limit: int = 0
    """Bytes of address space each of its processes may have; 0: no limit."""
    cpu_seconds: int = 0
    """CPU seconds each of its processes may use; 0: no limit."""
    output_limit: int = 0
    """Bytes of output kept; 0: as configured."""
    key: str | None = None
    """Jobs of one queue with the same key run one at a time."""
    unique: str | None = None
    """At most one job of the store holds this value."""
    unique_until: str = "end"
    """Until when: ``start`` (of an attempt) or ``end`` (completed, dead or cancelled)."""
    unique_for: float = 0
    """Seconds since enqueue for which it holds the value, instead of ``unique_until``; 0: none."""
    after: tuple[str, ...] = ()
    """Ids of jobs that must complete before this one starts."""
    after_any: tuple[str, ...] = ()
    """Ids of jobs that must end (completed, dead or cancelled)."""
    after_failed: tuple[str, ...] = ()
    """Ids of jobs that must be dead or cancelled."""
    on_parent_failure: str = "cancel"
    """When a parent ended in a way that this job cannot run: ``cancel`` or ``hold`` it."""
    hold: bool = False
    """Wait until somebody releases it."""
    on_conflict: str = "existing"
    """What ``enqueue`` does if another job holds ``unique``: ``existing``, ``replace``, ``fail``.
    It is not stored."""
    actor: str = ""
    """Who enqueues it (user@host), for ``hold``."""
    stdin: str | None = None
    """What each attempt reads on its standard input; None: nothing."""
    secrets: Mapping[str, str] = {}
    """Environment variables of an attempt whose values are read from files when it starts: NAME to
    ``file:PATH``."""
    schedule: str | None = None
    """The schedule that makes it."""
    scheduled_at: float | None = None
    """The nominal time of this run of the schedule."""

    @property
    def parents(self) -> "Parents":
        """The ids of all parents, by kind."""
        kinds = (("after", self.after), ("after_any", self.after_any))
        return {k: v for k, v in (*kinds, ("after_failed", self.after_failed)) if v}


Parents = Mapping[str, tuple[str, ...]]
"""Ids of parents by kind: ``after``, ``after_any``, ``after_failed``."""


OWN_SHIM = "+"
"""In the name of a shim that runs a single attempt: separates the supervisor from the attempt."""


def supervisor_of(shim: str) -> str:
    """The id of the supervisor that has a shim of this name."""
    return shim.partition(OWN_SHIM)[0]


class Job(NamedTuple):
    """One job as the store keeps it."""

    seq: int
    """The order of arrival. It is the store's own key, and never used again."""
    id: str
    command: Command
    max_retries: int
    backoff_base: float
    priority: int
    run_at: float
    timeout_seconds: float
    cwd: str
    env: Mapping[str, str]
    queue: str
    state: State
    attempts: int
    crashes: int
    runs: int
    """All attempts ever started, including crashed ones and those before a retry. It is the number
    of the present attempt."""
    created_at: float
    updated_at: float
    started_at: float | None
    finished_at: float | None
    exit_code: int | None
    """The exit code of the last attempt; 128 + N if signal N killed it, as in a shell."""
    last_error: str | None
    worker: str | None
    owner: str | None = None
    """The supervisor that holds the lease while the job is processing."""
    shim: str | None = None
    """The supervisor whose shim started the attempt, and whose journal records the exit."""
    cancel_requested: bool = False
    nice: int = 0
    memory_limit: int = 0
    cpu_seconds: int = 0
    output_limit: int = 0
    key: str | None = None
    unique: str | None = None
    unique_until: str = "end"
    unique_for: float = 0
    parents: Parents = {}  # noqa: RUF012
    """The ids of its parents by kind, as they were given."""
    on_parent_failure: str = "cancel"
    cause: str | None = None
    """The id of the parent whose end cancelled this job, or holds it."""
    held_at: float | None = None
    """Since when somebody holds it."""
    held_by: str | None = None
    holds_unique: bool = False
    """Whether no other job can have its ``unique`` value now."""
    secrets: Mapping[str, str] = {}
    """As in :class:`JobSpec`. The values are never stored."""
    schedule: str | None = None
    scheduled_at: float | None = None
    progress: float | None = None
    """Percent, as the running or last attempt reported it last; None: it reported none."""
    progress_text: str | None = None
    has_stdin: bool = False
    has_result: bool = False
    """Whether the store keeps an input or a result of this job. They may be large, so reading a job
    does not read them."""
    existing: bool = False
    """Only in the answer of ``enqueue``: the job was there before, and holds the unique value."""
    stdin: str | None = None
    result: str | None = None
    """What each attempt reads on its standard input, and what the last attempt wrote as its result.
    Only :meth:`queuectl_core.queue.Queue.with_texts` reads them."""

    @property
    def held(self) -> bool:
        """Whether it waits until somebody releases it."""
        waits = self.state is State.WAITING
        return waits and (self.held_at is not None or self.cause is not None)

    @property
    def waits_from(self) -> float:
        """When its waiting time began: when it was created, or at ``run_at`` if that is later."""
        return max(self.created_at, self.run_at)

    @property
    def tries(self) -> int:
        """The attempts that count, and the one that runs now, for display."""
        return self.attempts + (self.state is State.PROCESSING)

    def to_json(self, *, show_env: bool = False) -> dict[str, Any]:
        """The public JSON, with ISO 8601 times.

        Values of ``env`` are often secret. They are shown as :data:`MASK` unless ``show_env``.
        ``stdin`` and ``result`` are null unless they were read, see :attr:`stdin`.
        """
        return {
            "id": self.id,
            "command": list(self.command) if isinstance(self.command, tuple) else self.command,
            "max_retries": self.max_retries,
            "backoff_base": plain_number(self.backoff_base),
            "priority": self.priority,
            "run_at": format_time(self.run_at),
            "timeout_seconds": plain_number(self.timeout_seconds),
            "cwd": self.cwd,
            "env": dict(self.env) if show_env else self.masked_env,
            "queue": self.queue,
            "nice": self.nice,
            "memory_limit": self.memory_limit,
            "cpu_seconds": self.cpu_seconds,
            "output_limit": self.output_limit,
            "key": self.key,
            "unique": self.unique,
            "unique_until": self.unique_until if self.unique and not self.unique_for else None,
            "unique_for": plain_number(self.unique_for) if self.unique_for else None,
            "after": list(self.parents.get("after", ())),
            "after_any": list(self.parents.get("after_any", ())),
            "after_failed": list(self.parents.get("after_failed", ())),
            "on_parent_failure": self.on_parent_failure,
            "hold": self.held,
            "stdin": self.stdin,
            "secrets": dict(self.secrets),
            "state": self.state.value,
            "attempts": self.attempts,
            "crashes": self.crashes,
            "created_at": format_time(self.created_at),
            "updated_at": format_time(self.updated_at),
            "started_at": format_time(self.started_at),
            "finished_at": format_time(self.finished_at),
            "exit_code": self.exit_code,
            "last_error": self.last_error,
            "worker": self.worker,
            "progress": None if self.progress is None else plain_number(self.progress),
            "progress_text": self.progress_text,
            "result": self.result,
            "cause": self.cause,
            "schedule": self.schedule,
            "scheduled_at": format_time(self.scheduled_at),
            **({"existing": True} if self.existing else {}),
        }

    @property
    def masked_env(self) -> dict[str, str]:
        """The names of ``env`` with a mask for each value, for display."""
        return dict.fromkeys(self.env, MASK)


class Attempt(NamedTuple):
    """The record of one execution. It is kept after retries and removed with its job."""

    number: int
    """1, 2, 3 … over the job's whole life, as for ``logs --attempt``."""
    started_at: float
    finished_at: float | None
    """None while it runs."""
    outcome: Outcome | None
    exit_code: int | None
    signal: int | None
    reason: str | None
    worker: str | None
    host: str | None
    peak_memory: int | None
    """Bytes: the largest resident set of the job's process, or of a child for which it waited."""
    cpu_seconds: float | None
    output_bytes: int
    """Bytes that the attempt wrote, including dropped ones."""
    waited: float
    """Seconds from when it was due until it was started."""

    @property
    def shell_code(self) -> int | None:
        """The exit code as in a shell: 128 + N if signal N killed it."""
        if self.exit_code is None and self.signal is not None:
            return 128 + self.signal
        return self.exit_code

    def to_json(self) -> dict[str, Any]:
        """The public JSON."""
        return {
            "attempt": self.number,
            "started_at": format_time(self.started_at),
            "finished_at": format_time(self.finished_at),
            "outcome": self.outcome.value if self.outcome else None,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "reason": self.reason,
            "worker": self.worker,
            "host": self.host,
            "peak_memory": self.peak_memory,
            "cpu_seconds": self.cpu_seconds,
            "output_bytes": self.output_bytes,
        }


class Worker(NamedTuple):
    """One worker of a supervisor, as ``worker list`` shows it."""

    id: str
    supervisor: str
    host: str
    pid: int
    """The supervisor's pid."""
    detached: bool
    queues: tuple[str, ...]
    """The queues that it serves; empty: all."""
    state: str
    """``starting``, ``idle``, ``busy``, ``stopping``, or ``lost`` (its supervisor is gone)."""
    job: str | None
    job_started_at: float | None
    done: int
    failed: int
    started_at: float
    heartbeat_at: float
    job_pid: int | None
    cpu_percent: float | None
    """Use of the job's process tree in percent of one core; None if not yet sampled."""
    memory: int | None
    """Resident bytes of the job's process tree; None if not yet sampled."""
    progress: float | None = None
    """Percent, as its job reported it last; None: it reported none."""
    progress_text: str | None = None

    def serves(self, queue: str) -> bool:
        """Whether it runs jobs of this queue."""
        return not self.queues or queue in self.queues

    def to_json(self, now: float) -> dict[str, Any]:
        """The public JSON. ``running_for`` is in seconds up to ``now``."""
        running = None if self.job_started_at is None else round(now - self.job_started_at, 3)
        return {
            "id": self.id,
            "supervisor": self.supervisor,
            "host": self.host,
            "pid": self.pid,
            "detached": self.detached,
            "queues": list(self.queues),
            "state": self.state,
            "job": self.job,
            "running_for": running,
            "progress": None if self.progress is None else plain_number(self.progress),
            "progress_text": self.progress_text,
            "done": self.done,
            "failed": self.failed,
            "cpu_percent": self.cpu_percent,
            "memory": self.memory,
            "started_at": format_time(self.started_at),
            "last_heartbeat": format_time(self.heartbeat_at),
        }


class SupervisorRow(NamedTuple):
    """A supervisor in the store, with what is needed to tell whether it is alive."""

    id: str
    host: str
    host_key: str
    """``Store.host_identity()`` of its process. If two are equal, they can compare pids and read
    each other's journals."""
    pid: int
    pid_start: float
    detached: bool
    heartbeat_at: float
    """By the store's clock."""
    lease_until: float
    """By the store's clock."""
    lease_mono: float
    """The same moment on the host's monotonic clock. Its own host compares this."""
    lapsed: bool | None = None
    """Whether the lease had run out when the row was read, by the clock of a store that hosts
    share. None: the store has no clock, and all its processes are on one host."""

    def is_unchanged(self, now: "SupervisorRow | None") -> bool:
        """Whether the store still has the row as it was read. ``now``: the row in the store; None:
        there is none. ``lapsed`` is not stored, so it is not compared."""
        return now is not None and self._replace(lapsed=None) == now._replace(lapsed=None)


class Status(NamedTuple):
    """An overview of the queue."""

    counts: Mapping[State, int]
    queues: Mapping[str, Mapping[State, int]]
    workers: tuple[Worker, ...]
    oldest_due_at: float | None
    """When the job that has waited longest became due; None if no job waits."""
    paused: tuple[str, ...] = ()
    """The queues that are paused."""

    def unserved(self) -> list[str]:
        """The queues with waiting jobs that no worker serves."""
        return sorted(
            name
            for name, counts in self.queues.items()
            if counts.get(State.PENDING, 0) + counts.get(State.FAILED, 0)
            and not any(one.serves(name) for one in self.workers)
        )

    def to_json(self, now: float) -> dict[str, Any]:
        """The public JSON."""
        waiting = None if self.oldest_due_at is None else round(max(0, now - self.oldest_due_at), 3)
        return {
            "jobs": {state.value: self.counts.get(state, 0) for state in State},
            "total": sum(self.counts.values()),
            "dlq": self.counts.get(State.DEAD, 0),
            "queues": {
                name: {state.value: counts.get(state, 0) for state in State}
                for name, counts in sorted(self.queues.items())
            },
            "oldest_waiting_seconds": waiting,
            "workers": [worker.to_json(now) for worker in self.workers],
        }


class Rate(NamedTuple):
    """At most ``starts`` attempts of a queue start in any ``seconds``."""

    starts: int
    seconds: float


class QueueSettings(NamedTuple):
    """The limits of a queue, and whether it is paused. None: no limit."""

    name: str
    limit: int | None = None
    """Attempts that run at a time, on all hosts together."""
    per_host: int | None = None
    """Attempts that run at a time on each host."""
    per_key: int | None = None
    """Attempts that run at a time for each key; None: 1."""
    rate: Rate | None = None
    paused_at: float | None = None
    paused_by: str | None = None
    paused_reason: str | None = None
    paused_until: float | None = None
    """When the pause ends by itself; None: when somebody resumes the queue."""

    def paused(self, now: float) -> bool:
        """Whether it is paused at ``now``."""
        return self.paused_at is not None and (self.paused_until is None or now < self.paused_until)


class QueueInfo(NamedTuple):
    """One queue as ``queue list`` shows it."""

    settings: QueueSettings
    counts: Mapping[State, int]
    oldest_due_at: float | None
    """When the job that has waited longest became due; None: no job is due."""
    workers: int
    """Live workers that serve it."""

    @property
    def running(self) -> int:
        """Attempts that run, prefetched ones included."""
        return self.counts.get(State.PROCESSING, 0)

    @property
    def waiting(self) -> int:
        """Jobs that have not ended and do not run."""
        states = (State.PENDING, State.WAITING, State.FAILED)
        return sum(self.counts.get(state, 0) for state in states)

    def to_json(self, now: float) -> dict[str, Any]:
        """The public JSON."""
        one, oldest = self.settings, self.oldest_due_at
        paused = one.paused(now)
        return {
            "name": one.name,
            "paused": paused,
            "paused_at": format_time(one.paused_at) if paused else None,
            "paused_by": one.paused_by if paused else None,
            "paused_reason": one.paused_reason if paused else None,
            "paused_until": format_time(one.paused_until) if paused else None,
            "limit": one.limit,
            "per_host": one.per_host,
            "per_key": one.per_key,
            "rate": format_rate(one.rate),
            "running": self.running,
            "waiting": self.waiting,
            "oldest_waiting_seconds": None if oldest is None else round(max(0, now - oldest), 3),
            "workers": self.workers,
            "jobs": {state.value: self.counts.get(state, 0) for state in State},
        }


def format_rate(rate: Rate | None) -> str | None:
    """``60/1m``, as ``queue set --rate`` reads it."""
    if rate is None:
        return None
    seconds = plain_number(rate.seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{rate.starts}/{seconds // size}{unit}"
    return f"{rate.starts}/{seconds}s"


class Dependency(NamedTuple):
    """One job that waits for another."""

    kind: str
    """``after``, ``after_any`` or ``after_failed``."""
    child: str
    child_seq: int
    child_state: State
    parent: str
    parent_seq: int
    parent_state: State | None
    """None: the parent was removed."""
    waived: bool
    """Somebody let the child run although the condition cannot be met."""


class WaitState(NamedTuple):
    """The progress of jobs that somebody waits for: how many of ``total`` are ``done``, and how
    many of those are ``bad`` (dead or cancelled)."""

    total: int
    done: int
    bad: int
    finished: bool


class Filter(NamedTuple):
    """Selects jobs. Every given condition must hold. Empty: all jobs."""

    states: tuple[State, ...] = ()
    queues: tuple[str, ...] = ()
    """Jobs of any of these queues; empty: of every queue. Other lists work the same way."""
    search: str | None = None
    """Text in the id, the command or the last error, upper or lower case."""
    exit_codes: tuple[int, ...] = ()
    seqs: tuple[int, ...] | None = None
    """Only these jobs."""
    reasons: tuple[str, ...] = ()
    """Only dead jobs of these groups (see :class:`.figures.DeadGroup`)."""
    keys: tuple[str, ...] = ()
    """Jobs with one of these keys."""

    def narrowed(self, states: tuple[State, ...]) -> "Filter":
        """This filter, limited to ``states``."""
        wanted = self.states or states
        if self.reasons:
            wanted = tuple(state for state in wanted if state is State.DEAD)
        allowed = tuple(state for state in states if state in wanted)
        return self._replace(states=allowed)


def plain_number(number: float) -> int | float:
    """``2`` for 2.0, because people write whole numbers without a fraction."""
    return int(number) if number == int(number) else number
