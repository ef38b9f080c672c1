"""What a supervisor and the store tell each other."""

from __future__ import annotations

from typing import NamedTuple

from .model import Attempt, Job, State


class Ending(NamedTuple):
    """One attempt that ended, with what becomes of its job: what ``exchange`` writes."""

    seq: int
    run: int
    attempt: Attempt
    transition: Transition
    tail: bytes = b""
    """The end of its output, at most 64 KiB."""


class Transition(NamedTuple):
    """What becomes of a job when an attempt ends (made by :mod:`queuectl_core.lifecycle`)."""

    state: State
    attempts: int
    crashes: int
    run_at: float | None
    """When it is due again; None: unchanged."""
    last_error: str | None


class Begun(NamedTuple):
    """A job that was claimed for no worker yet, and which of them runs it since when."""

    seq: int
    run: int
    worker: str
    started_at: float


class Opening(NamedTuple):
    """A worker with nothing to do, and the lanes it serves (none: all)."""

    worker: str
    """Empty: the job is claimed in advance, for whichever worker comes free."""
    queues: tuple[str, ...] = ()


class Turn(NamedTuple):
    """What one ``exchange`` brought back."""

    refused: frozenset[tuple[int, int]]
    """(seq, run) of endings whose lease was lost: they changed nothing."""
    claimed: tuple[Job, ...]
    """Jobs now held, each with ``worker`` set to one of the openings."""
    next_due: float | None
    """When the next scheduled job becomes due; None: none is scheduled."""


class SupervisorRow(NamedTuple):
    """A supervisor as the store knows it: enough to tell whether it is alive."""

    id: str
    host: str
    host_key: str
    """``Store.here()`` of its process: equal means that pids can be compared, and journals read."""
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


class WorkerOrder(NamedTuple):
    """What the store wants of one of a supervisor's workers."""

    id: str
    queues: tuple[str, ...]
    stop: str | None
    """None: run; ``drain``: finish the job in hand; ``now``: end it."""
    up: bool


class Orders(NamedTuple):
    """What a supervisor is asked to do: read at each wake-up."""

    known: bool
    """False: it was declared dead and its jobs have another owner."""
    workers: tuple[WorkerOrder, ...] = ()
    cancels: frozenset[int] = frozenset()
    """seq of running jobs somebody wants cancelled."""
