"""The Store protocol: the verbs every database must speak, and nothing else.

The conformance suite in ``tests/store`` is its specification in full; each store passes it
whole. A verb is one transaction unless it says otherwise. Verbs raise the ``StoreError``
family from :mod:`queuectl_core.domain.errors` for trouble with the database itself, so that no
driver's exception passes this line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..domain import lifecycle
from ..domain.errors import JobChanged
from ..domain.model import Attempt, Command, Filter, Job, JobSpec, State, Worker

if TYPE_CHECKING:
    from ..domain.claims import AttemptResult, ClaimResult, ClaimSlot, Commands, PrefetchStarted
    from ..domain.figures import DeadGroup, ThroughputSample
    from ..domain.model import SupervisorRow
    from ..domain.rollup import Ended, Rollup
    from .copy import Copying

LAST = 1 << 62
"""A seq above every seq."""

TAIL_BYTES = 64 * 1024
"""How much of each attempt's output the store keeps."""


class JobAction(StrEnum):
    """What can be done to many jobs at once; each changes only jobs in a state it allows."""

    RETRY = "retry"
    CANCEL = "cancel"
    REMOVE = "remove"


ALLOWED = {
    JobAction.RETRY: lifecycle.RETRYABLE,
    JobAction.CANCEL: lifecycle.CANCELLABLE,
    JobAction.REMOVE: lifecycle.REMOVABLE,
}
"""The states each action may be done in."""


def changed_meanwhile(action: JobAction, seen: Job, now: Job | None) -> JobChanged:
    """What a store raises when a job is not as the caller saw it; ``now``: as it is."""
    if now is None:
        change = "is gone"
    elif now.state is not seen.state:
        change = f"is {now.state} now"
    else:
        change = "ran again meanwhile"
    return JobChanged(f"job '{seen.id}' {change}; no {action} was done", "look again")


class Batch(Protocol):
    """A bulk enqueue in the making: nothing is visible, or locked, until ``commit``."""

    async def add(self, specs: Sequence[tuple[int, JobSpec]]) -> None:
        """Stage jobs, each with the line it came from."""

    async def commit(self, now: float) -> tuple[int, int]:
        """Enqueue all that is staged in one transaction; returns (first seq, count).

        Jobs get consecutive seqs. Raises Conflict naming the line when an id is taken in the
        store, BatchRejected when two staged jobs share one; nothing is enqueued then.
        """


class Notifier(Protocol):
    """Tells waiting supervisors that something changed, without polling."""

    stop: bool | None = None
    """All our workers are to stop, after their jobs (False) or at once (True). Only from somebody
    who cannot write that to the store, since its disk is full."""

    def fileno(self) -> int:
        """Readable when rung."""

    def clear(self) -> bool:
        """Make it silent until it is rung again. False: it rang for nothing but new jobs."""

    @property
    def trouble(self) -> str | None:
        """Why it cannot ring just now; None: it can."""

    def close(self) -> None:
        """Stop listening."""


class Store(Protocol):
    """One database of jobs. Made by :func:`queuectl_core.store.open.open_store`."""

    url: str
    """How to reach it, without a password; for display."""
    address: str
    """How another process on this host reaches it; may hold a password, so it is never shown."""
    directory: Path
    """Where this host keeps what belongs to the store: ``logs/``, ``run/``."""
    shared_by_hosts: bool
    """Workers may run on many hosts; False: every process is on this one."""
    can_backup: bool
    """Whether ``backup`` does; else the store's own tools copy it."""

    async def close(self) -> None:
        """Let go of the database; the store cannot be used after."""

    def clock(self) -> float:
        """Epoch seconds on the store's clock, by which jobs are due: what ``now`` is everywhere
        below. It is this host's, or the server's for a store that hosts share."""

    def host_identity(self) -> str:
        """This host as the store tells hosts apart: processes with an equal one see the same pids,
        the same monotonic clock and the same ``directory``. Empty where there is no directory yet:
        that is nobody's."""

    # -- enqueue ----------------------------------------------------------------------

    async def enqueue(self, specs: Sequence[JobSpec], now: float) -> list[Job]:
        """Enqueue all or none. Raises Conflict naming the first id that is taken."""

    def batch(self) -> AbstractAsyncContextManager[Batch]:
        """A bulk enqueue of any length, in flat memory."""

    # -- reading ----------------------------------------------------------------------

    async def by_id(self, ref: str) -> list[Job]:
        """The job with this id, or else up to two whose ids start with it."""

    async def by_seq(self, seq: int) -> Job | None:
        """The job with this key."""

    async def ids(self, first: int, count: int) -> list[str]:
        """The ids of jobs with seqs from ``first`` on, in order; ``count`` seqs are looked at."""

    async def scan(
        self, where: Filter, limit: int, *, low: int = 0, high: int = LAST, up: bool = False
    ) -> list[Job]:
        """Up to ``limit`` matching jobs with seq from ``low`` to ``high``, newest first; with
        ``up`` oldest first. Looks at no job outside this range."""

    async def count_range(self, where: Filter, low: int = 0, high: int = LAST) -> int:
        """How many jobs with seq from ``low`` to ``high`` match."""

    async def attempts(self, seq: int) -> list[Attempt]:
        """The attempts of a job that ended, in order."""

    async def tail(self, seq: int, number: int) -> bytes | None:
        """The stored end of an attempt's output; None when nothing is stored."""

    async def counts(self) -> dict[tuple[State, str], int]:
        """How many jobs are in each state, by queue; does not grow with the table."""

    async def oldest_due(self, now: float) -> float | None:
        """Since when the job waits that waits longest (:attr:`Job.waits_from`), of those that are
        due; None when none is due."""

    async def ended_since(self, since: float, limit: int) -> list[Ended]:
        """Up to ``limit`` of the attempts that ended since then and whose jobs are still there."""

    async def rollup(self, since: float) -> Rollup:
        """What all attempts that ended since then come to, added up by ``settle_and_claim`` in the
        commit that wrote them down; does not grow with their number.

        ``since`` must be what :func:`queuectl_core.domain.rollup.reach` rounds it to. Attempts of
        jobs that were removed or pruned since are still in it, those that ``settle_and_claim``
        refused never were. A store that holds attempts from before it kept rollups adds those up as
        it is asked; that does grow with them.
        """

    # -- for a console ------------------------------------------------------------------

    async def check(self) -> None:
        """Raises StoreUnreachable when the database is no longer where it was opened, if reading
        would not tell."""

    async def bounds(self) -> tuple[int, int] | None:
        """The lowest and the highest seq there are; None without jobs."""

    async def dead_groups(self, limit: int) -> list[DeadGroup]:
        """The dead by cause, the largest group first."""

    async def throughput(self, since: float) -> list[ThroughputSample]:
        """How many attempts ended in each second since then; seconds without any left out."""

    async def amend(self, job: Job, command: Command, now: float) -> Job:
        """Give a job that is neither waiting nor running another command and make it due now.

        Raises Conflict when it is in another state, or gone.
        """

    # -- changing ---------------------------------------------------------------------

    async def candidates(self, where: Filter, after: int, until: int, limit: int) -> list[int]:
        """Up to ``limit`` keys above ``after`` and up to ``until`` of matching jobs, lowest first.

        ``where`` must name states (a reason names dead jobs); ``where.seqs`` is not heeded.
        """

    async def change(
        self, action: JobAction, seen: Sequence[Job], now: float, *, strict: bool
    ) -> list[tuple[int, int]]:
        """Do ``action`` to those of these jobs that are as the caller saw them (state and runs)
        and in a state that allows it; returns (seq, runs) of each.

        ``strict``: all or none; raises JobChanged when one is not, or does not allow it.
        """

    async def change_matching(
        self, action: JobAction, where: Filter, seqs: Sequence[int], now: float
    ) -> list[tuple[int, int]]:
        """Do ``action`` to those of ``seqs`` that match ``where`` now and are in a state that
        allows it; returns (seq, runs) of each. ``where.seqs`` is not heeded.

        The statement that makes the change decides: a job that was only read before is left as it
        is when it does not match any more.
        """

    async def give_way(self, seconds: float) -> None:
        """Let writers that wait go first, after a page of a long change that took ``seconds``.
        Nothing to do for a store that has many writers at a time."""

    async def config(self) -> dict[str, str]:
        """The stored configuration, as text."""

    async def set_config(self, values: Mapping[str, str | None]) -> None:
        """Store values; None removes a key."""

    # -- working ----------------------------------------------------------------------

    async def register(
        self, row: SupervisorRow, workers: Sequence[tuple[str, tuple[str, ...]]], now: float
    ) -> None:
        """Announce a supervisor with its workers (id, queues), all up.

        A store that hosts share sets the lease by its own clock, here and in ``heartbeat``: of the
        row's times only the lease's length counts, and ``lease_mono``.
        """

    async def heartbeat(self, row: SupervisorRow) -> bool:
        """Renew the lease with the row's times; False: it was given up and is not known."""

    async def deregister(self, supervisor: str) -> None:
        """Take a supervisor and its workers off the list. It must hold no job."""

    async def settle_and_claim(
        self,
        owner: str,
        results: Sequence[AttemptResult],
        slots: Sequence[ClaimSlot],
        now: float,
        *,
        started: Sequence[PrefetchStarted] = (),
        released: Sequence[Job] = (),
        suspects: bool = True,
    ) -> ClaimResult:
        """Write down attempts that ended and claim jobs for idle workers, in one commit.

        ``begun``: jobs claimed in advance that were started since. ``released``: those that
        were not, and are put back as if they had never been claimed. ``suspects``: whether jobs are
        claimed that have crashed before.

        Openings without a worker get as many jobs as ``lifecycle.claimed_ahead`` says.
        An ending is taken only while ``owner`` holds that very attempt. Nothing is claimed
        for an owner that is not known. Claims go by priority, then run_at, then arrival.
        """

    async def commands(self, supervisor: str) -> Commands:
        """What is asked of this supervisor."""

    async def add_workers(
        self, supervisor: str, workers: Sequence[tuple[str, tuple[str, ...]]], now: float, up: bool
    ) -> None:
        """Ask a supervisor for more workers (or, ``up``, announce them).

        Raises NotFound when the supervisor is gone.
        """

    async def workers_up(self, workers: Sequence[str]) -> None:
        """These workers are running."""

    async def workers_gone(self, workers: Sequence[str]) -> None:
        """These workers ended."""

    async def stop_workers(self, workers: Sequence[str], at_once: bool) -> None:
        """Ask workers to stop: after the job in hand, or at once."""

    async def sample(
        self, samples: Sequence[tuple[str, int | None, float | None, int | None]]
    ) -> None:
        """Record (worker, job pid, CPU percent, memory bytes) of running jobs."""

    async def supervisors(self) -> list[SupervisorRow]:
        """All that registered and did not leave, the dead included."""

    async def workers(self) -> list[tuple[Worker, SupervisorRow]]:
        """All workers with their supervisors, the dead included."""

    async def held(self, owner: str) -> list[Job]:
        """The processing jobs of this supervisor; does not grow with those of others."""

    async def shims(self) -> set[str]:
        """The names of all shims that processing jobs were given to."""

    async def take_over(self, dead: SupervisorRow, successor: str, now: float) -> list[Job] | None:
        """Give a dead supervisor's jobs to ``successor`` and forget it; returns the jobs.

        None when ``dead`` has renewed its lease or was taken over by somebody else since the
        row was read.
        """

    async def assign(self, owner: str, workers: Mapping[int, str]) -> None:
        """Name the worker that looks after each adopted job (by seq)."""

    # -- signals ----------------------------------------------------------------------

    def notifier(self, supervisor: str) -> Notifier:
        """A bell that rings when somebody changes what this supervisor should know."""

    async def changed(self) -> bool:
        """Whether anybody else committed since the last call (the first says True)."""

    async def faults(self) -> list[str]:
        """What is broken in the database itself, a line each; reads all of it."""

    def files(self) -> list[Path]:
        """Files and directories of this store on this host that only its user may read."""

    async def checkpoint(self) -> None:
        """Upkeep the store needs now and then (for SQLite: a safe checkpoint)."""

    # -- upkeep -------------------------------------------------------------------------

    async def expired(self, since: float, before: float, limit: int) -> list[int]:
        """Completed jobs (their seqs) that ended from ``since`` on and before ``before``.

        Does not grow with the table: only attempts that ended in that time are looked at. A job
        that completed twice may be named twice.
        """

    async def ended(self, state: State, before: float, after: int, limit: int) -> list[int]:
        """Jobs in ``state`` that ended before ``before``, in order, with seqs above ``after``."""

    async def prune(
        self, seqs: Sequence[int], state: State, before: float
    ) -> list[tuple[int, int]]:
        """Forget those of ``seqs`` that are in ``state`` and ended before ``before`` still;
        returns (seq, attempts) of each, for its output to be removed."""

    async def runs(self, seqs: Sequence[int]) -> dict[int, int]:
        """How many attempts each of these jobs has had; those that are gone are left out."""

    async def miscounted(self) -> int:
        """How many counters are off; reads every job."""

    async def dismiss(self, dead: SupervisorRow) -> bool:
        """Forget a supervisor that is gone; False when it holds a job, or renewed its lease since
        the row was read."""

    async def recount(self) -> None:
        """Set every counter by counting."""

    async def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:
        """Copy the database, as it is at one moment, into the empty file ``target``.

        ``progress`` is called between two steps of the copying, on whichever thread copies.

        Raises InvalidInput unless ``can_backup``, saying what to use instead.
        """

    def copying(self) -> Copying:
        """What copies this store into another, or another into this one."""
