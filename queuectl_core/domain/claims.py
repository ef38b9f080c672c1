"""What a supervisor and the store tell each other."""

from __future__ import annotations

from typing import NamedTuple

from .model import Attempt, Job, State


class AttemptResult(NamedTuple):
    """One attempt that ended, with what becomes of its job: what ``settle_and_claim`` writes."""

    seq: int
    run: int
    attempt: Attempt
    transition: Transition
    tail: bytes = b""
    """The end of its output, at most 64 KiB."""


class Transition(NamedTuple):
    """What becomes of a job when an attempt ends (made by :func:`.lifecycle.settle`)."""

    state: State
    attempts: int
    crashes: int
    run_at: float | None
    """When it is due again; None: unchanged."""
    last_error: str | None


class PrefetchStarted(NamedTuple):
    """A job that was claimed for no worker yet, and which of them runs it since when."""

    seq: int
    run: int
    worker: str
    started_at: float


class ClaimSlot(NamedTuple):
    """A worker with nothing to do, and the lanes it serves (none: all)."""

    worker: str
    """Empty: the job is claimed in advance, for whichever worker comes free."""
    queues: tuple[str, ...] = ()


class ClaimResult(NamedTuple):
    """What one ``settle_and_claim`` brought back."""

    refused: frozenset[tuple[int, int]]
    """(seq, run) of endings whose lease was lost: they changed nothing."""
    claimed: tuple[Job, ...]
    """Jobs now held, each with ``worker`` set to one of the openings."""
    next_due: float | None
    """When the next scheduled job becomes due; None: none is scheduled."""


class WorkerCommand(NamedTuple):
    """What the store wants of one of a supervisor's workers."""

    id: str
    queues: tuple[str, ...]
    stop: str | None
    """None: run; ``drain``: finish the job in hand; ``now``: end it."""
    up: bool


class Commands(NamedTuple):
    """What a supervisor is asked to do: read at each wake-up."""

    known: bool
    """False: it was declared dead and its jobs have another owner."""
    workers: tuple[WorkerCommand, ...] = ()
    cancels: frozenset[int] = frozenset()
    """seq of running jobs somebody wants cancelled."""
