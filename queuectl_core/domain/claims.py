"""The values that a supervisor and the store exchange."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .model import Attempt, Job, State


class AttemptResult(NamedTuple):
    """An ended attempt and the new state of its job. ``settle_and_claim`` writes it."""

    seq: int
    run: int
    attempt: Attempt
    transition: Transition
    tail: bytes = b""
    """The end of its output, at most 64 KiB."""
    queue: str = ""
    """The queue of the job; empty: not known."""
    report: Report | None = None
    """What it reported; None: nothing that the store does not have."""


class Report(NamedTuple):
    """What an attempt reported before it ended."""

    progress: float | None = None
    """Percent; None: as it is in the store."""
    progress_text: str | None = None
    result: bytes | None = None
    """What it wrote as its result, at most 64 KiB; None: nothing."""


class Transition(NamedTuple):
    """The change of a job when an attempt ends (made by :func:`.lifecycle.settle`)."""

    state: State
    attempts: int
    crashes: int
    run_at: float | None
    """When it is due again; None: unchanged."""
    last_error: str | None

    @property
    def is_end(self) -> bool:
        """Whether the job does not run again by itself."""
        return self.state not in (State.PENDING, State.FAILED)


class AttemptStarted(NamedTuple):
    """An attempt that runs: its worker, and when it started."""

    seq: int
    run: int
    worker: str
    started_at: float


class ClaimSlot(NamedTuple):
    """A free slot for a job: an idle worker and the queues that it serves (none: all)."""

    worker: str
    """Empty: the job is prefetched, for the next worker that becomes free."""
    queues: tuple[str, ...] = ()


def by_queues(slots: Iterable[ClaimSlot]) -> list[tuple[tuple[str, ...], list[str]]]:
    """The workers of ``slots`` that serve the same queues. Workers of named queues come first.
    Workers of all queues take the remaining jobs."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for slot in slots:
        groups.setdefault(slot.queues, []).append(slot.worker)
    return sorted(groups.items(), key=lambda group: not group[0])


class ClaimRequest(NamedTuple):
    """What a supervisor asks of ``settle_and_claim``, all in one commit."""

    owner: str
    """The supervisor."""
    results: Sequence[AttemptResult]
    slots: Sequence[ClaimSlot]
    now: float
    started: Sequence[AttemptStarted] = ()
    """Attempts that have started: those that were prefetched or taken over, or whose queue has a
    rate or was paused."""
    released: Sequence[Job] = ()
    """Prefetched jobs that were not started. They become pending as if they had never been
    claimed."""
    suspects: bool = True
    """Whether jobs that have crashed before are claimed."""


class ClaimResult(NamedTuple):
    """The answer of ``settle_and_claim``."""

    refused: frozenset[tuple[int, int]]
    """(seq, run) of results that changed nothing, because the lease was lost."""
    claimed: tuple[Job, ...]
    """The claimed jobs. ``worker`` is the worker of a slot, or None for a prefetched job."""
    next_due: float | None
    """When to look again: the next scheduled job becomes due, a pause ends, a rate allows a start;
    None: nothing of this kind."""
    delayed: bool = False
    """Jobs will start although no attempt ends: a job that is due waits for the rate of its queue
    only, or more children and keys must be looked at than one transaction does."""
    freed: bool = False
    """Jobs may start now that could not start before, on this supervisor or on others."""
    rated: frozenset[str] = frozenset()
    """Queues of claimed jobs with a rate: the store counts on being told when these started."""


class WorkerCommand(NamedTuple):
    """A command for one worker of a supervisor."""

    id: str
    queues: tuple[str, ...]
    stop: str | None
    """None: run; ``drain``: finish the current job, then stop; ``now``: end the job and stop."""
    up: bool


class Commands(NamedTuple):
    """The commands for a supervisor, which reads them at each notification."""

    known: bool
    """False: it was given up, and its jobs have another owner."""
    workers: tuple[WorkerCommand, ...] = ()
    cancels: frozenset[int] = frozenset()
    """The seqs of running jobs that somebody wants cancelled."""
    no_prefetch: Mapping[str, float | None] = {}
    """The queues from which nothing may be prefetched, because they are paused or have a rate, and
    when that ends by itself (None: never)."""
