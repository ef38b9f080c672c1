"""What queuectl talks about: plain values that import nothing of ours but each other.

Times are epoch seconds (UTC), durations seconds, sizes bytes. ``to_json`` gives the names
and forms of the public JSON, the same that ``enqueue`` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from .times import format_time


class State(StrEnum):
    """The states of a job. ``FAILED`` means: waiting for its backoff. ``DEAD`` is the DLQ."""

    PENDING = "pending"
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
    """Ended by ``worker stop --now`` (or never started): not the job's fault, not counted."""
    CRASHED = "crashed"
    """Its outcome cannot be known: counted in ``crashes``."""


MASK = "***"
"""Shown for a value that may be a secret. Refused as a value, so that what was printed with it
is never taken for the real thing."""

Command = str | tuple[str, ...]
"""A string for the shell, or an argv to run without one."""


class JobSpec(NamedTuple):
    """A job as accepted by ``enqueue``: validated, every default filled in."""

    command: Command
    id: str | None
    """None: the store generates one."""
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


OWN_SHIM = "+"
"""In the name of a shim that runs a single attempt: between its supervisor and the attempt."""


def supervisor_of(shim: str) -> str:
    """The id of the supervisor that has a shim of this name."""
    return shim.partition(OWN_SHIM)[0]


class Job(NamedTuple):
    """One job as the store keeps it."""

    seq: int
    """Order of arrival; the store's own key, never reused."""
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
    """Attempts ever started, crashed ones and those before a retry included: names the attempt."""
    created_at: float
    updated_at: float
    started_at: float | None
    finished_at: float | None
    exit_code: int | None
    """Of the last attempt; 128 + N when signal N killed it, as a shell says it."""
    last_error: str | None
    worker: str | None
    owner: str | None = None
    """The supervisor that holds the lease while the job is processing."""
    shim: str | None = None
    """The supervisor whose shim started the attempt: where its exit is journalled."""
    cancel_requested: bool = False
    nice: int = 0
    memory_limit: int = 0
    cpu_seconds: int = 0
    output_limit: int = 0

    @property
    def waits_from(self) -> float:
        """The moment from which its waiting time counts: nobody waits before the job is there,
        though its ``run_at`` may lie further back."""
        return max(self.created_at, self.run_at)

    @property
    def tries(self) -> int:
        """Attempts that count, and the one that runs now: what people are shown."""
        return self.attempts + (self.state is State.PROCESSING)

    def to_json(self, *, show_env: bool = False) -> dict[str, Any]:
        """The public form: the field names of the contract, ISO 8601 times.

        Values of ``env`` are secrets more often than not: :data:`MASK` stands for each unless
        ``show_env``.
        """
        return {
            "id": self.id,
            "command": list(self.command) if isinstance(self.command, tuple) else self.command,
            "max_retries": self.max_retries,
            "backoff_base": tidy(self.backoff_base),
            "priority": self.priority,
            "run_at": format_time(self.run_at),
            "timeout_seconds": tidy(self.timeout_seconds),
            "cwd": self.cwd,
            "env": dict(self.env) if show_env else self.masked_env,
            "queue": self.queue,
            "nice": self.nice,
            "memory_limit": self.memory_limit,
            "cpu_seconds": self.cpu_seconds,
            "output_limit": self.output_limit,
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
        }

    @property
    def masked_env(self) -> dict[str, str]:
        """The names of ``env`` with a mask for each value: for showing."""
        return dict.fromkeys(self.env, MASK)


class Attempt(NamedTuple):
    """The record of one execution, kept after retries and purged with its job."""

    number: int
    """1, 2, 3 … over the job's whole life; what ``logs --attempt`` takes."""
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
    """Bytes: the largest resident set of the job's process or a child it waited for."""
    cpu_seconds: float | None
    output_bytes: int
    """Bytes the attempt wrote, dropped ones included."""
    waited: float
    """Seconds from being due to being started."""

    @property
    def shell_code(self) -> int | None:
        """The exit code as a shell says it: 128 + N when signal N killed it."""
        if self.exit_code is None and self.signal is not None:
            return 128 + self.signal
        return self.exit_code

    def to_json(self) -> dict[str, Any]:
        """The public form."""
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
    """One slot of a supervisor, as ``worker list`` shows it."""

    id: str
    supervisor: str
    host: str
    pid: int
    """The supervisor's."""
    detached: bool
    queues: tuple[str, ...]
    """Lanes it serves; empty: all."""
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
    """Of the job's process tree, in percent of one core; None when not sampled yet."""
    memory: int | None
    """Resident bytes of the job's process tree; None when not sampled yet."""

    def to_json(self, now: float) -> dict[str, Any]:
        """The public form; ``running_for`` is seconds up to ``now``."""
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
            "done": self.done,
            "failed": self.failed,
            "cpu_percent": self.cpu_percent,
            "memory": self.memory,
            "started_at": format_time(self.started_at),
            "last_heartbeat": format_time(self.heartbeat_at),
        }


class SupervisorRow(NamedTuple):
    """A supervisor as the store knows it: enough to tell whether it is alive."""

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
    """The same moment on the host's monotonic clock: what its own host compares."""
    lapsed: bool | None = None
    """Whether the lease had run out when the row was read, by the clock of a store that has one
    and is shared by hosts; None: it has none, all hosts are one."""

    def is_unchanged(self, now: SupervisorRow | None) -> bool:
        """Whether the store still has the row as it was read. ``now``: what it has; None: nothing.
        ``lapsed`` is not stored, so it does not count."""
        return now is not None and self._replace(lapsed=None) == now._replace(lapsed=None)


class Status(NamedTuple):
    """The answer to "is all well?"."""

    counts: Mapping[State, int]
    queues: Mapping[str, Mapping[State, int]]
    workers: tuple[Worker, ...]
    oldest_due_at: float | None
    """When the job that has waited longest became due; None when none waits."""

    def unserved(self) -> list[str]:
        """Queues with waiting jobs that no worker serves."""
        return sorted(
            name
            for name, counts in self.queues.items()
            if counts.get(State.PENDING, 0) + counts.get(State.FAILED, 0)
            and not any(not one.queues or name in one.queues for one in self.workers)
        )

    def to_json(self, now: float) -> dict[str, Any]:
        """The public form."""
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


class Filter(NamedTuple):
    """Which jobs: every condition given must hold. Empty: all jobs."""

    states: tuple[State, ...] = ()
    queues: tuple[str, ...] = ()
    """Jobs of any of these queues; none given: of every queue. The same for the other lists."""
    search: str | None = None
    """Text in the id, the command or the last error, upper or lower case."""
    exit_codes: tuple[int, ...] = ()
    seqs: tuple[int, ...] | None = None
    """Only these jobs."""
    reasons: tuple[str, ...] = ()
    """Dead jobs of these groups only (see :class:`DeadGroup`)."""

    def narrowed(self, states: tuple[State, ...]) -> Filter:
        """This filter, for jobs in ``states`` only (those it allows itself)."""
        wanted = self.states or states
        if self.reasons:
            wanted = tuple(state for state in wanted if state is State.DEAD)
        allowed = tuple(state for state in states if state in wanted)
        return self._replace(states=allowed)


def tidy(number: float) -> int | float:
    """``2`` for 2.0: whole numbers print as people write them."""
    return int(number) if number == int(number) else number
