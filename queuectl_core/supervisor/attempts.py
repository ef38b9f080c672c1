"""The attempts a supervisor has in hand: launched on its shim, ended, and settled for the pump."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..domain.claims import AttemptResult
from ..domain.config import Settings
from ..domain.events import Event, Kind
from ..domain.lifecycle import Policy
from ..domain.model import OWN_SHIM, Job, Outcome
from ..operations.attempt_output import log_name
from ..runner import lease_clock
from ..runner.client import LaunchSpec, Shim, utf8_name
from ..runner.journal_reader import Exit, make_first
from ..system.clocks import monotonic
from .attempt import (
    RunningAttempt,
    StopReason,
    how_to_start,
    is_suspect,
    journal_name,
    make_ending,
    no_kill,
    outcome_of,
    token_of,
)
from .deadline import DeadlineWriter
from .maintenance.output_limit import Capture
from .processes import Processes
from .triage import Leftover, RecoveryPlan, triage

SHIM_PAUSE = 1.0
"""Seconds that lie between two starts of a shim at least."""
OWN_SHIMS_AT_MOST = 32
"""Suspects that run at the same time: each has a shim, which takes some 5 MB."""


@dataclass(slots=True)
class Slot:
    """One worker. ``stop``: None, ``drain`` or ``now``."""

    id: str
    queues: tuple[str, ...]
    running: RunningAttempt | None = None
    stop: str | None = None

    @property
    def lane(self) -> str:
        """What it serves, as the shim is told: workers of one lane can stand in for each other."""
        return " ".join(self.queues)

    def serves(self, job: Job) -> bool:
        """Whether ``job`` is in one of its queues."""
        return not self.queues or job.queue in self.queues

    def ask_to_stop(self, mode: str) -> None:
        """Stop after the job in hand (``drain``), or end it (``now``); ``now`` stands."""
        self.stop = "now" if "now" in (mode, self.stop) else mode
        if mode == "now" and self.running is not None:
            self.running.terminate(StopReason.NOW)


class Held(Protocol):
    """What is known of the jobs that were given to the shim to hold."""

    def begin(self, token: str, worker: str, at: float) -> RunningAttempt | None:
        """The shim started one (``at``: the store's clock); None when it is not known."""

    def started(self) -> None:
        """The shim started a job: it can."""

    def not_started(self, token: str, running: RunningAttempt | None, lacking: str) -> None:
        """The shim could not start one, because the host lacks something."""

    def recalled(self, tokens: Sequence[str]) -> None:
        """The shim gave these back."""

    def orphans(self) -> list[Job]:
        """The shim is gone: what it held, and nothing is held any more."""

    def idle(self) -> Iterable[Slot]:
        """The workers that may be given a job."""


@dataclass(slots=True)
class AttemptTable:
    """Everything between a claim and an ending.

    ``host`` is this host's name, ``directory`` the store's on it, ``settings`` those in force
    (replaced when they change). ``wake`` wakes the pump; ``free`` hears that an attempt's worker
    may take another job (its ending is not in the store yet: one commit does both); ``held`` is
    asked about jobs that the shim holds; ``spawn`` runs a coroutine beside the pump.
    """

    host: str
    directory: Path
    settings: Settings
    env: Mapping[str, str]
    clock: Callable[[], float]
    tell: Callable[[Event], None]
    wake: Callable[[], None]
    free: Callable[[RunningAttempt, AttemptResult], None]
    held: Held
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    rand: Callable[[], float] = random.random
    processes: Processes = field(default_factory=Processes)
    running: dict[str, RunningAttempt] = field(default_factory=dict)
    endings: list[AttemptResult] = field(default_factory=list)
    """Settled, and not yet in the store."""
    revoked: bool = False
    """The shim may start nothing more: somebody took this supervisor's jobs over."""
    _directory: str = field(init=False)
    deadline: DeadlineWriter | None = None
    """Until when jobs may run; None: nobody elsewhere could start them again."""
    _name: str = ""
    _shim: Shim | None = None
    _own: dict[str, Shim] = field(default_factory=dict)
    """By the name of its journal: the shim of a suspect."""
    _leaving: set[asyncio.Task[None]] = field(default_factory=set)
    """Shims of suspects that are told to leave."""
    _adopted: frozenset[str] = frozenset()
    """Other supervisors' shims whose jobs we adopted."""
    _shim_since: float = 0.0
    """When it was started (monotonic)."""

    def __post_init__(self) -> None:
        self._directory = str(self.directory)

    @property
    def run_directory(self) -> Path:
        """Where journals and bells are."""
        return self.directory / "run"

    @property
    def empty(self) -> bool:
        """Nothing runs and nothing is left to be written down."""
        return not self.running and not self.endings

    @property
    def is_open(self) -> bool:
        """There is a shim."""
        return self._shim is not None

    async def open(self, name: str, *, fenced: bool) -> None:
        """Begin with a new shim whose journal is called ``name``; ``fenced``: its jobs end before
        our lease does."""
        self._name = name
        self.revoked = False
        self.deadline = DeadlineWriter(self.run_directory, self.settings.lease) if fenced else None
        self.look_after(())
        self._shim = shim = Shim(self._heard, self._shim_died)
        try:
            await asyncio.to_thread(self._make_journal, name)
            await self._start_shim(shim)
        except BaseException:
            self._shim = None
            raise

    async def _start_shim(self, shim: Shim, *, patient: bool = False) -> None:
        """Start the new shim; what is asked of it meanwhile waits for it. ``patient``: try again
        when the host lacks what a process needs."""
        name = self._name
        if monotonic() - self._shim_since < SHIM_PAUSE:
            await asyncio.sleep(SHIM_PAUSE)  # one that dies at once must not keep us busy
        while True:
            self._shim_since = monotonic()
            try:
                await self._launch_shim(shim, name)
                break
            except OSError as error:
                if not patient:
                    raise
                self.tell(Event(Kind.TROUBLE, f"cannot start a shim: {error.strerror}"))
                await asyncio.sleep(SHIM_PAUSE)
        for slot in self.held.idle():
            shim.use(slot.id, slot.lane)

    async def _launch_shim(self, shim: Shim, name: str) -> None:
        words = [] if self.deadline is None else self.deadline.words
        await shim.start(self.run_directory, name, self.env, words)

    def _make_journal(self, name: str) -> None:
        # Made by us, and only once: should it be gone later, it was deleted.
        with contextlib.suppress(OSError):
            make_first(self.run_directory / f"{name}.journal")

    def look_after(self, adopted: Iterable[str]) -> None:
        """These shims' jobs, beside those of our own, may run while our lease lasts. The shims are
        told with the next ``deadline.write``; a new one knows when it starts."""
        self._adopted = frozenset(adopted)
        self._keep_shims()

    def _keep_shims(self) -> None:
        if self.deadline is not None:
            self.deadline.keep({self._name, *self._own, *self._adopted})

    def look_at_shims(self, *, urgent: bool) -> None:
        """See to it that our shims run, or are replaced. To be called once a second."""
        for shim in (self._shim, *self._own.values()):
            if shim is not None:
                shim.look(urgent=urgent)

    def drop(self) -> None:
        """Leave everything to somebody else; the shim stays with what it runs."""
        for running in self.running.values():
            running.disarm()
        self.running.clear()
        self.endings.clear()
        if self._shim is not None:
            self._shim.abandon()
            self._shim = None
        for shim in self._own.values():
            shim.abandon()
        self._own.clear()

    async def close(self) -> None:
        """End all shims, which must run nothing, and remove their files."""
        if self._shim is None:
            return  # never opened, or left to somebody else
        for name in list(self._own):
            self._release_own(name)
        await asyncio.gather(self._close_shim(self._shim, self._name), *self._leaving)

    async def _close_shim(self, shim: Shim, name: str) -> None:
        if await shim.close():
            await asyncio.to_thread(self._remove_files, name)

    def _remove_files(self, name: str) -> None:
        run = self.run_directory
        found = [run / f"{name}.{end}" for end in ("journal", "journal.new", "alive", "lease")]
        # A heartbeat may have written one of these while its shim was leaving.
        found += run.glob(f"{name}{OWN_SHIM}*.lease")
        for path in found:
            with contextlib.suppress(OSError):  # the next supervisor tries again
                path.unlink(missing_ok=True)

    # -- beginning --------------------------------------------------------------------

    @property
    def shim(self) -> Shim:
        """The shim; ``open`` comes first."""
        if self._shim is None:
            raise RuntimeError("open() comes first")
        return self._shim

    def use(self, slot: Slot) -> None:
        """A worker is there, or is idle though its last job was not on our shim."""
        self.shim.use(slot.id, slot.lane)

    def launch(self, job: Job, slot: Slot) -> None:
        """Start a claimed job on an idle worker; a suspect in a shim of its own."""
        shim = self._own_shim(job) if is_suspect(job) else self.shim
        running = self.take(job, slot.id, _killer(shim, job))
        running.since = lease_clock()
        slot.running = running
        shim.launch(token_of(job), slot.id, slot.lane, self._how(job))
        self.tell(Event(Kind.STARTED, job=job, worker=slot.id))

    @property
    def room_for_suspects(self) -> int:
        """How many more suspects may be started now."""
        return max(0, OWN_SHIMS_AT_MOST - len(self._own))

    def _own_shim(self, job: Job) -> Shim:
        """A new shim for this job; it is started while we go on."""
        name = journal_name(job, self._name)
        shim = Shim(self._heard, lambda: self._own_shim_died(job))
        self._own[name] = shim
        self._keep_shims()
        self.spawn(self._start_own(shim, name, token_of(job)))
        return shim

    async def _start_own(self, shim: Shim, name: str, token: str) -> None:
        await asyncio.to_thread(self._make_journal, name)
        try:
            await self._launch_shim(shim, name)
        except OSError as error:
            if self._own.get(name) is shim:  # else the job has another owner by now
                self._not_started(token, f"cannot start a shim: {error.strerror}")

    def _own_shim_died(self, job: Job) -> None:
        running = self.running.get(token_of(job))
        if running is not None and not running.settled:
            self.tell(Event(Kind.TROUBLE, "its shim was killed", job=job))
            self.spawn(self.settle_orphans([running]))

    def _release_own(self, name: str) -> None:
        """A suspect's shim is not needed any more: have it leave."""
        shim = self._own.pop(name, None)
        if shim is not None:
            self._keep_shims()
            task = self.spawn(self._close_shim(shim, name))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def hold(self, job: Job, lane: str) -> None:
        """Have the shim start a claimed job on the next idle worker of ``lane``."""
        self.shim.hold(token_of(job), lane, self._how(job))

    def _how(self, job: Job) -> LaunchSpec:
        output = utf8_name(log_name(self._directory, job.seq, job.runs))
        limit = job.output_limit or self.settings.output_limit
        return how_to_start(job, self.settings.shell, (output, limit))

    def killer(self, job: Job) -> Callable[[int], None]:
        """Signals the process group of a job on our shim."""
        return _killer(self.shim, job)

    def take(
        self, job: Job, worker: str, kill: Callable[[int], None], started_at: float | None = None
    ) -> RunningAttempt:
        """Have ``job`` in hand from now on; ``kill`` signals its process group."""
        path = log_name(self._directory, job.seq, job.runs)
        capture = Capture(path, job.output_limit or self.settings.output_limit)
        started_at = job.started_at if started_at is None else started_at
        grace = self.settings.kill_grace
        running = RunningAttempt(job, worker, capture, grace, kill, started_at, self.processes)
        self.running[token_of(job)] = running
        return running

    def store_time(self, moment: float) -> float:
        """A moment on ``lease_clock``, by the store's clock as it is now: whatever anybody set."""
        return self.clock() - (lease_clock() - moment)

    def _heard(self, event: list[Any]) -> None:
        """An event from the shim. An error here is a fault of ours. It ends the supervisor, and the
        events after it are still heard."""
        try:
            self._take(event)
        except Exception as error:
            self.spawn(_fail(error))

    def _take(self, event: list[Any]) -> None:
        kind, token = event[:2]
        if kind == "R":
            self.revoked = True
            self.wake()
            return
        if kind == "W":
            self.held.recalled(token)
            return
        if kind == "P":
            return  # the answer to a ping: that it came is all it says
        if kind == "T":
            known = self.running.get(token)
            self.tell(Event(Kind.TROUBLE, event[2], job=known.job if known else None))
            return
        running = self.running.get(token)
        if kind == "N":
            self._not_started(token, event[2])
            return
        if running is None and kind != "X":
            running = self.held.begin(token, worker=event[-1], at=self.store_time(event[-2]))
        if running is None:
            self.forget(token)  # its job has another owner by now
            return
        if kind == "S":
            running.since = event[-2]
            self.held.started()
            running.begun(event[2])
        else:
            exit_ = Exit.of(event)
            running.since = exit_.at if running.since is None else running.since
            self.ended(running, exit_)

    def _not_started(self, token: str, lacking: str) -> None:
        running = self.running.pop(token, None)
        if running is not None:
            running.disarm()
            self._release_own(journal_name(running.job, self._name))
        self.held.not_started(token, running, lacking)

    def forget(self, token: str, job: Job | None = None) -> None:
        """The shim need not keep how this attempt ended: the store knows, or does not want to.
        ``job``: whose attempt it is, if that is known."""
        name = self._name if job is None else journal_name(job, self._name)
        if name in self._own:
            self._release_own(name)
        elif self._shim is not None:
            self._shim.settled(token)

    # -- ending -----------------------------------------------------------------------

    def ended(self, running: RunningAttempt, exit_: Exit) -> None:
        """The leader of an attempt has ended: clear up after it, then settle."""
        running.disarm()
        running.settled = True
        if exit_.fenced:
            running.why = StopReason.NOW
        if exit_.began is not None:  # found in a journal
            running.since = exit_.began
        clean = running.completed(exit_)
        gone = clean or not (exit_.leftover or running.why)
        written = exit_.written
        quick = written is not None and not running.capture.is_large(written)
        if gone and not running.strays and quick:
            self._conclude(running, exit_, running.capture.finish(written))
        else:
            self.spawn(self._clear_and_conclude(running, exit_))

    async def _clear_and_conclude(self, running: RunningAttempt, exit_: Exit) -> None:
        await running.clear_group(exit_)
        self._conclude(
            running, exit_, await asyncio.to_thread(running.capture.finish, exit_.written)
        )

    def _conclude(self, running: RunningAttempt, exit_: Exit, output: tuple[int, bytes]) -> None:
        if self.running.get(token_of(running.job)) is not running:
            return  # it has another owner by now
        outcome, reason = outcome_of(running, exit_, output[1])
        self.settle(running, outcome, reason, exit_, output)

    def give_up(self, running: RunningAttempt, reason: str) -> None:
        """The outcome of an attempt will never be known: a crash."""
        running.disarm()
        if running.capture.is_large(running.capture.size()):
            running.settled = True
            self.spawn(self._give_up_large(running, reason))
        else:
            self.settle(running, Outcome.CRASHED, reason, None, running.capture.finish())

    async def _give_up_large(self, running: RunningAttempt, reason: str) -> None:
        output = await asyncio.to_thread(running.capture.finish)
        if self.running.get(token_of(running.job)) is not running:
            return  # it has another owner by now
        self.settle(running, Outcome.CRASHED, reason, None, output)

    def settle(
        self,
        running: RunningAttempt,
        outcome: Outcome,
        reason: str | None,
        exit_: Exit | None,
        output: tuple[int, bytes] = (0, b""),
    ) -> None:
        """Leave the ending of an attempt for the pump."""
        running.settled = True
        conf = self.settings
        ending = make_ending(
            running,
            outcome,
            reason,
            exit_,
            host=running.host or self.host,
            policy=Policy(conf.backoff_max, conf.backoff_jitter, conf.max_crashes),
            jitter=self.rand(),
            now=self.clock(),
            moment=lease_clock(),
            output=output,
        )
        self.endings.append(ending)
        self.free(running, ending)

    def _shim_died(self) -> None:
        """Somebody killed the shim: how its jobs end is lost. From this moment on whatever is
        asked is asked of another."""
        self._shim = shim = Shim(self._heard, self._shim_died)
        started = [one for one in self.running.values() if one.in_shared_shim and not one.settled]
        held = [self.take(job, "", no_kill) for job in self.held.orphans()]
        self.tell(Event(Kind.TROUBLE, "the shim was killed; starting another"))
        self.spawn(self._start_shim(shim, patient=True))
        self.spawn(self.settle_orphans(started, held))

    async def settle_orphans(
        self, started: list[RunningAttempt], held: Sequence[RunningAttempt] = ()
    ) -> None:
        """The shim of these attempts is dead: find out how they ended, and end what still runs.
        ``held``: those that it may not have started."""
        by_seq = {running.job.seq: running for running in [*started, *held]}

        def settle(job: Job, exit_: Exit | None) -> None:
            running = by_seq[job.seq]
            if running.settled or self.running.get(token_of(job)) is not running:
                return  # it has another owner by now
            if exit_ is not None:
                self.ended(running, exit_)
            elif job in plan.unstarted and running.pid is None:
                self.settle(running, Outcome.INTERRUPTED, "it was never started", None)
            else:
                self.give_up(running, "its shim was killed; its outcome is unknown")

        async def end(left: Leftover) -> None:
            await left.end(self.processes)
            settle(left.job, left.exit)

        jobs = [running.job for running in by_seq.values()]
        plan = await self._triage(jobs)
        for job, exit_ in plan.exited:
            settle(job, exit_)
        for job in plan.crashed + plan.unstarted:
            settle(job, None)
        await asyncio.gather(*map(end, plan.leftovers))

    async def _triage(self, jobs: Sequence[Job]) -> RecoveryPlan:
        """What became of jobs whose shim is dead. Waits while that cannot be found out: we may have
        too many open files."""
        told = False
        while True:
            try:
                run, name = self.run_directory, self._name
                return await triage(jobs, run, self.processes, shim=name, dead=True)
            except OSError as error:
                if not told:
                    text = f"cannot find out how jobs ended: {error.strerror}; trying again"
                    self.tell(Event(Kind.TROUBLE, text))
                told = True
                await asyncio.sleep(SHIM_PAUSE)


async def _fail(error: Exception) -> None:
    raise error


def _killer(shim: Shim, job: Job) -> Callable[[int], None]:
    token = token_of(job)
    return lambda number: shim.kill(token, number)
