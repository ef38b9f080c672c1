"""One attempt: its state, its timeout, and its termination.

An attempt is over when its leader has exited and, unless it completed, its whole process group is
gone. So nothing of a failed attempt runs beside the next one.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from ..domain.model import OWN_SHIM, Job, Outcome
from ..runner import lease_clock, signal_group
from ..runner.events import Exit, Started
from ..runner.journal_reader import JournalReader
from .attempt_states import ENDED, RUNS, AttemptState
from .maintenance.output_limit import Capture
from .processes import Process, Processes
from .reports import Progress


class StopReason(Enum):
    """Why an attempt is told to end."""

    TIMEOUT = Outcome.TIMEOUT
    CANCEL = Outcome.CANCELLED
    NOW = Outcome.INTERRUPTED


def make_token(seq: int, run: int) -> str:
    """The name of an attempt in the journal."""
    return f"{seq}.{run}"


def token_of(job: Job) -> str:
    """The name of the present attempt of a job."""
    return make_token(job.seq, job.runs)


def is_suspect(job: Job) -> bool:
    """Whether it may have killed a shim, and every job in it. It runs in a shim of its own."""
    return job.crashes > 0


def journal_name(job: Job, supervisor: str = "") -> str:
    """The name of the shim that runs this attempt, and of its journal. ``supervisor``: the one that
    claimed a job which does not say so itself."""
    name = job.shim or supervisor
    return f"{name}{OWN_SHIM}{token_of(job)}" if is_suspect(job) else name


@dataclass(slots=True)
class ActiveAttempt:
    """An attempt that this supervisor is responsible for."""

    job: Job
    worker: str
    """Which worker runs it; empty: none yet."""
    capture: Capture
    kill_grace: float
    kill: Callable[[int], None]
    """Signals the process group while the leader has not been reaped."""
    started_at: float | None
    """By the store's clock."""
    processes: Processes = field(default_factory=Processes)
    state: AttemptState = AttemptState.CLAIMED
    queues: str = ""
    """While it is prefetched: whose workers may run it."""
    on_shim: bool = True
    """Started by this supervisor; False: adopted."""
    rated: bool = False
    """The store must hear when it started, because its queue has a rate or was paused."""
    inherited: bool = False
    """Taken over from a supervisor that is gone."""
    journal: JournalReader | None = None
    """Of an adopted attempt: the journal that will tell how it ends."""
    files: str = ""
    """How the paths of its files begin: see ``reports``."""
    progress: Progress | None = None
    """What the store knows of its progress."""
    has_reported: bool = False
    """There are files of it to remove once the store has its result."""
    host: str = ""
    """Where it ran, if that was another host."""
    pid: int | None = None
    stop_reason: StopReason | None = None
    """Why it was told to end; None: it was not."""
    strays: list[Process] = field(default_factory=list)
    """Descendants seen when it was told to end: some may have left the group."""
    since: float | None = None
    """When it was started, on ``lease_clock``, which nobody can set; None: not known."""
    token: str = ""
    """Its name in the journal."""
    _timers: list[asyncio.TimerHandle] = field(default_factory=list)
    _signalling: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.token = token_of(self.job)

    @property
    def in_shared_shim(self) -> bool:
        """It runs in the shim that this supervisor has for all its jobs."""
        return self.on_shim and not is_suspect(self.job)

    @property
    def ended(self) -> bool:
        """How it ended is known, or never will be."""
        return self.state in ENDED

    @property
    def runs(self) -> bool:
        """It runs, or a shim was asked to start it."""
        return self.state in RUNS and not self.unresolved

    @property
    def unresolved(self) -> bool:
        """It was taken over, and what became of it has not been found out."""
        return self.inherited and self.state is AttemptState.CLAIMED

    def adopted(self, worker: str, started: Started, journal: JournalReader) -> None:
        """It runs under the shim of a supervisor that is gone; ``journal`` will tell how it ends.
        ``worker`` of ours counts as the one that runs it."""
        self.worker = worker
        self.kill = partial(signal_group, started.pid)
        self.on_shim = False
        self.journal = journal
        self.begun(started.pid, started.at)

    def begun(self, pid: int, at: float) -> None:
        """Its process ``pid`` runs since ``at``, on ``lease_clock``."""
        self.pid, self.since = pid, at
        if self.stop_reason is not None:
            self._signal()  # it was told to end before it began
        elif self.job.timeout_seconds:
            left = self.job.timeout_seconds - (lease_clock() - at)
            self._later(max(0.0, left), lambda: self.terminate(StopReason.TIMEOUT))

    def terminate(self, why: StopReason) -> None:
        """Send SIGTERM to the group, and SIGKILL after the grace. The first reason stands."""
        if self.stop_reason is None:
            self.stop_reason = why
            self._signal()

    def _signal(self) -> None:
        if self.pid is not None:
            self._signalling = asyncio.create_task(self._send_signals(self.pid))

    async def _send_signals(self, pid: int) -> None:
        """Look for its descendants, then send SIGTERM: they may be nobody's children later."""
        self.strays = await self.processes.descendants(pid)
        self.kill(signal.SIGTERM)
        self._later(self.kill_grace, lambda: self.kill(signal.SIGKILL))

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, call))

    def disarm(self) -> None:
        """Cancel the timers of this attempt."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._signalling is not None:
            self._signalling.cancel()

    def exited(self, exit_: Exit) -> bool:
        """It has ended so. Whether processes may be left of it that must be ended."""
        self.disarm()
        if exit_.fenced:
            self.stop_reason = StopReason.NOW
        if exit_.began is not None:  # found in a journal
            self.since = exit_.began
        if exit_.outcome is not None or self.completed(exit_):
            return False
        return exit_.leftover or self.stop_reason is not None

    def completed(self, exit_: Exit) -> bool:
        """Whether it ended well, and by itself. Then the processes that it left running may stay.

        It may have exited before our signal arrived: then we did not stop it. Of a job on another
        shim we cannot know that."""
        by_itself = self.stop_reason is None or (self.on_shim and not exit_.signalled)
        return exit_.code == 0 and exit_.reason is None and by_itself

    async def clear_group(self, exit_: Exit) -> None:
        """The leader has ended: end what must not stay of its group and its descendants."""
        self.disarm()  # it may have been told to end meanwhile
        if self.pid is None:
            return
        group = self.pid if exit_.leftover else None
        strays = list(self.strays)
        if self.stop_reason is not None:
            # A process may have cut its ties before the signal. It is no descendant any more.
            found = await self.processes.marked()
            strays += found.get((self.job.id, str(self.job.runs), self.job.shim or ""), ())
        if group is not None or strays:
            await self.processes.end(group, strays, self.kill_grace)


def no_kill(_: int) -> None:
    """For an attempt that has ended, or never began: there is nothing to signal."""
