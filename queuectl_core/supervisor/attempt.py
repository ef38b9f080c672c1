"""One attempt: its state, its timeout, its termination, and its result.

An attempt is over when its leader has exited and, unless it completed, its whole process group is
gone. So nothing of a failed attempt runs beside the next one.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from ..domain.claims import AttemptResult
from ..domain.lifecycle import Policy, settle
from ..domain.model import OWN_SHIM, Attempt, Job, Outcome
from ..domain.times import format_duration
from ..runner.client import LaunchSpec
from ..runner.direct_exec import plain_words
from ..runner.journal_reader import Exit, JournalReader
from .attempt_states import ENDED, RUNS, AttemptState
from .maintenance.output_limit import Capture, last_line
from .processes import Process, Processes


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
    inherited: bool = False
    """Taken over from a supervisor that is gone."""
    journal: JournalReader | None = None
    """Of an adopted attempt: the journal that will tell how it ends."""
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

    def begun(self, pid: int, elapsed: float = 0.0) -> None:
        """Its process ``pid`` has run for ``elapsed`` seconds."""
        self.pid = pid
        if self.stop_reason is not None:
            self._signal()  # it was told to end before it began
        elif self.job.timeout_seconds:
            left = max(0.0, self.job.timeout_seconds - elapsed)
            self._later(left, lambda: self.terminate(StopReason.TIMEOUT))

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

    def completed(self, ended: Exit) -> bool:
        """Whether it ended well, and by itself. Then the processes that it left running may stay.

        It may have exited before our signal arrived: then we did not stop it. Of a job on another
        shim we cannot know that."""
        by_itself = self.stop_reason is None or (self.on_shim and not ended.signalled)
        return ended.code == 0 and ended.reason is None and by_itself

    async def clear_group(self, ended: Exit) -> None:
        """The leader has ended: end what must not stay of its group and its descendants."""
        self.disarm()
        if self.completed(ended) or self.pid is None:
            return
        group = self.pid if ended.leftover else None
        strays = list(self.strays)
        if self.stop_reason is not None:
            # A process may have cut its ties before the signal. It is no descendant any more.
            found = await self.processes.marked()
            strays += found.get((self.job.id, str(self.job.runs), self.job.shim or ""), ())
        if group is not None or strays:
            await self.processes.end(group, strays, self.kill_grace)


def no_kill(_: int) -> None:
    """For an attempt that has ended, or never began: there is nothing to signal."""


def outcome_of(attempt: ActiveAttempt, ended: Exit, tail: bytes) -> tuple[Outcome, str | None]:
    """How an attempt ended, and why in words."""
    if ended.fenced or ended.lacking:
        return Outcome.INTERRUPTED, ended.reason
    if attempt.completed(ended):
        return Outcome.COMPLETED, None
    outcome, reason = _failed(attempt, ended, tail)
    if ended.unsignalled:
        reason += " (it ran as another user, and could not be signalled)"
    return outcome, reason


def _failed(attempt: ActiveAttempt, ended: Exit, tail: bytes) -> tuple[Outcome, str]:
    if attempt.stop_reason is not None:
        reasons = {
            StopReason.TIMEOUT: f"timed out after {format_duration(attempt.job.timeout_seconds)}",
            StopReason.CANCEL: "cancelled while running",
            StopReason.NOW: "stopped with its worker",
        }
        return attempt.stop_reason.value, reasons[attempt.stop_reason]
    if ended.reason is not None:
        return Outcome.FAILED, ended.reason
    if used_up(attempt.job.cpu_seconds, ended):
        return Outcome.FAILED, f"cpu limit of {attempt.job.cpu_seconds} s reached"
    said = last_line(tail)
    return Outcome.FAILED, f"{exit_words(ended)}: {said}" if said else exit_words(ended)


def used_up(limit: int, ended: Exit) -> bool:
    """Whether a CPU limit ended it: SIGXCPU, also as a shell passes it on, or SIGKILL beyond it."""
    if not limit:
        return False
    if ended.signal == signal.SIGKILL:
        return (ended.cpu_seconds or 0) >= limit
    return signal.SIGXCPU in (ended.signal, (ended.code or 0) - 128)


def exit_words(ended: Exit) -> str:
    """``exit 1``, ``command not found (exit 127)``, ``killed by SIGKILL``."""
    if ended.signal is not None:
        try:
            return f"killed by {signal.Signals(ended.signal).name}"
        except ValueError:
            return f"killed by signal {ended.signal}"
    known = {126: "cannot execute (exit 126)", 127: "command not found (exit 127)"}
    return known.get(ended.code or 0, f"exit {ended.code}")


def make_result(
    attempt: ActiveAttempt,
    outcome: Outcome,
    reason: str | None,
    ended: Exit | None,
    *,
    host: str,
    policy: Policy,
    jitter: float,
    now: float,
    moment: float,
    output: tuple[int, bytes] = (0, b""),
) -> AttemptResult:
    """What is written down for an attempt. ``ended`` None: its exit is not known.

    ``now`` by the store's clock is ``moment`` on ``lease_clock``. How long it took is reckoned on
    the latter: the other one may have been set meanwhile."""
    job = attempt.job
    finished = now if ended is None else now - max(0.0, moment - ended.at)
    if attempt.since is not None:
        started = min(finished, now - (moment - attempt.since))
    else:
        started = attempt.started_at if attempt.started_at is not None else finished
        finished = max(started, finished)
    size, tail = output
    transition = settle(
        outcome,
        reason,
        attempts=job.attempts,
        crashes=job.crashes,
        max_retries=job.max_retries,
        backoff_base=job.backoff_base,
        policy=policy,
        now=finished,
        jitter=jitter,
    )
    record = Attempt(
        number=job.runs,
        started_at=started,
        finished_at=finished,
        outcome=outcome,
        exit_code=ended.code if ended else None,
        signal=ended.signal if ended else None,
        reason=reason,
        worker=attempt.worker,
        host=host,
        peak_memory=ended.peak_memory if ended else None,
        cpu_seconds=ended.cpu_seconds if ended else None,
        output_bytes=size,
        waited=max(0.0, started - job.waits_from),
    )
    return AttemptResult(job.seq, job.runs, record, transition, tail)


def launch_spec(job: Job, shell: str, output: tuple[str, int]) -> LaunchSpec:
    """What a shim is told of ``job``: by the shell unless it is an argv list; as it is if that
    comes to the same."""
    if isinstance(job.command, tuple):
        argv, plain = list(job.command), None
    else:
        argv, plain = [shell, "-c", job.command], plain_words(job.command, shell, job.env)
    environment = {
        **job.env,
        "QUEUECTL_JOB_ID": job.id,
        "QUEUECTL_ATTEMPT": str(job.runs),
        "QUEUECTL_QUEUE": job.queue,
    }
    limits = (job.nice, job.memory_limit, job.cpu_seconds)
    return argv, plain, job.cwd, environment, output, limits if any(limits) else None
