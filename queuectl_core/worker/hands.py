"""The attempts a supervisor has in hand: launched on its shim, ended, and settled for the pump."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import Settings
from ..events import Event, Kind
from ..host import hostname, monotonic
from ..lifecycle import Policy
from ..logs import log_path
from ..model import Ending, Job, Outcome
from .attempt import (
    Running,
    Why,
    command_line,
    job_environment,
    limits_of,
    make_ending,
    outcome_of,
    token_of,
)
from .journal import Exit, make
from .launcher import Shim
from .output import Capture
from .recovery import bury

SHIM_PAUSE = 1.0
"""Seconds that lie between two starts of a shim at least."""


@dataclass(slots=True)
class Slot:
    """One worker. ``stop``: None, ``drain`` or ``now``."""

    id: str
    queues: tuple[str, ...]
    running: Running | None = None
    stop: str | None = None

    def ask_to_stop(self, mode: str) -> None:
        """Stop after the job in hand (``drain``), or end it (``now``); ``now`` stands."""
        self.stop = "now" if "now" in (mode, self.stop) else mode
        if mode == "now" and self.running is not None:
            self.running.terminate(Why.NOW)


@dataclass(slots=True)
class Hands:
    """Everything between a claim and an ending.

    ``directory`` is the store's on this host, ``settings`` those in force (replaced when they
    change). ``wake`` wakes the pump; ``free`` hears that an attempt's worker may take another
    job (its ending is not in the store yet: one commit does both); ``spawn`` runs a coroutine
    beside the pump.
    """

    directory: Path
    settings: Settings
    env: Mapping[str, str]
    clock: Callable[[], float]
    tell: Callable[[Event], None]
    wake: Callable[[], None]
    free: Callable[[Running], None]
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    rand: Callable[[], float] = random.random
    running: dict[str, Running] = field(default_factory=dict)
    endings: list[Ending] = field(default_factory=list)
    """Settled, and not yet in the store."""
    revoked: bool = False
    """The shim may start nothing more: somebody took this supervisor's jobs over."""
    _name: str = ""
    _shim: Shim | None = None
    _shim_since: float = 0.0
    """When it was started (monotonic)."""

    @property
    def run_directory(self) -> Path:
        """Where journals and bells are."""
        return self.directory / "run"

    @property
    def empty(self) -> bool:
        """Nothing runs and nothing is left to be written down."""
        return not self.running and not self.endings

    async def open(self, name: str) -> None:
        """Begin with a new shim whose journal is called ``name``."""
        self._name = name
        self.revoked = False
        await self._start_shim()

    async def _start_shim(self) -> None:
        # Made by us: should it be gone later, it was deleted.
        with contextlib.suppress(OSError):
            os.close(make(self.run_directory / f"{self._name}.journal"))
        self._shim = Shim(self._heard, lambda: self.spawn(self._replace_shim()))
        if monotonic() - self._shim_since < SHIM_PAUSE:
            await asyncio.sleep(SHIM_PAUSE)  # one that dies at once must not keep us busy
        self._shim_since = monotonic()
        await self._shim.start(self.run_directory, self._name, self.env)

    def drop(self) -> None:
        """Leave everything to somebody else; the shim stays with what it runs."""
        for running in self.running.values():
            running.disarm()
        self.running.clear()
        self.endings.clear()
        if self._shim is not None:
            self._shim.abandon()

    async def close(self) -> None:
        """End the shim, which must run nothing, and remove its files."""
        if self._shim is not None:
            await self._shim.close()
        for suffix in ("journal", "alive"):
            (self.run_directory / f"{self._name}.{suffix}").unlink(missing_ok=True)

    # -- beginning --------------------------------------------------------------------

    def launch(self, job: Job, slot: Slot) -> None:
        """Start a claimed job."""
        shim = self._shim
        if shim is None:
            raise RuntimeError("open() comes first")
        token = token_of(job)
        running = self.take(job, slot.id, lambda number: shim.kill(token, number))
        slot.running = running
        if slot.stop is not None:  # it was told to stop while the claim was under way
            self.settle(running, Outcome.INTERRUPTED, "its worker was stopping", None)
            return
        argv = command_line(job, self.settings.shell)
        environment = job_environment(job, slot.id)
        shim.launch(token, argv, job.cwd, environment, running.capture.path, limits=limits_of(job))
        self.tell(Event(Kind.STARTED, job=job))

    def take(self, job: Job, worker: str, kill: Callable[[int], None]) -> Running:
        """Have ``job`` in hand from now on; ``kill`` signals its process group."""
        path = log_path(self.directory, job.seq, job.runs)
        capture = Capture(path, job.output_limit or self.settings.output_limit)
        running = Running(job, worker, capture, self.settings.kill_grace, kill)
        self.running[token_of(job)] = running
        return running

    def _heard(self, event: list[Any]) -> None:
        """An event from the shim."""
        running = self.running.get(event[1])
        if event[0] == "R":
            self.revoked = True
            self.wake()
        elif running is None:
            return  # its job has another owner by now
        elif event[0] == "S":
            running.begun(event[2])
        else:
            self.ended(running, Exit.of(event))

    # -- ending -----------------------------------------------------------------------

    def ended(self, running: Running, exit_: Exit) -> None:
        """The leader of an attempt has ended: clear up after it, then settle."""
        running.disarm()
        clean = running.completed(exit_)
        gone = clean or not (exit_.leftover or running.why)
        if gone and not running.strays and not running.capture.is_large:
            self._conclude(running, exit_, running.capture.finish())
        else:
            self.spawn(self._clear_and_conclude(running, exit_))

    async def _clear_and_conclude(self, running: Running, exit_: Exit) -> None:
        await running.clear_group(exit_)
        self._conclude(running, exit_, await asyncio.to_thread(running.capture.finish))

    def _conclude(self, running: Running, exit_: Exit, output: tuple[int, bytes]) -> None:
        outcome, reason = outcome_of(running, exit_, output[1])
        self.settle(running, outcome, reason, exit_, output)

    def lose(self, running: Running, reason: str) -> None:
        """The outcome of an attempt will never be known: a crash."""
        running.disarm()
        self.settle(running, Outcome.CRASHED, reason, None, running.capture.finish())

    def settle(
        self,
        running: Running,
        outcome: Outcome,
        reason: str | None,
        exit_: Exit | None,
        output: tuple[int, bytes] = (0, b""),
    ) -> None:
        """Leave the ending of an attempt for the pump."""
        conf = self.settings
        self.endings.append(
            make_ending(
                running,
                outcome,
                reason,
                exit_,
                host=hostname(),
                policy=Policy(conf.backoff_max, conf.backoff_jitter, conf.max_crashes),
                jitter=self.rand(),
                now=self.clock(),
                output=output,
            )
        )
        self.free(running)

    async def _replace_shim(self) -> None:
        """Somebody killed the shim: how its jobs end is lost. Start another."""
        self.tell(Event(Kind.TROUBLE, "the shim was killed; starting another"))
        settled = {ending.seq for ending in self.endings}
        orphans = [r for r in self.running.values() if r.job.seq not in settled and r.on_shim]
        await self._start_shim()
        for running in orphans:
            exit_, _ = await bury(running.job, self.run_directory, self._name)
            if exit_ is not None:
                self.ended(running, exit_)
            else:
                self.lose(running, "its shim was killed; its outcome is unknown")
