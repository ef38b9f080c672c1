"""What the parts of one supervisor share: its identity, its settings, its workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..domain.config import Settings
from ..domain.errors import StoreGone
from ..domain.notices import Notice
from ..store.protocol import Notifier, Store
from ..system.host import hostname
from ..system.systemd import without_notify
from .background import Background
from .deadline import DeadlineWriter
from .workers import Slot

PROGRAM = "queuectl"


def job_path(env: Mapping[str, str]) -> str:
    """The PATH of jobs: that of the supervisor. If it leads to no ``queuectl``, the directory of
    ours is added at the end, for deliveries of hooks and ``queuectl progress``."""
    path = env.get("PATH", os.defpath)
    if shutil.which(PROGRAM, path=path) is not None:
        return path
    for folder in (os.path.dirname(sys.executable), os.path.dirname(os.path.abspath(sys.argv[0]))):
        if shutil.which(os.path.join(folder, PROGRAM)) is not None:
            return f"{path}{os.pathsep}{folder}"
    return path


class Context:
    """The shared state of one supervisor. It knows none of the parts that use it."""

    id: str
    """The name of this supervisor; another one after the lease was lost."""
    settings: Settings
    """Those in force; replaced when they change."""

    def __init__(
        self,
        store: Store,
        env: Mapping[str, str],
        clock: Callable[[], float],
        tell: Callable[[Notice], None],
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.store = store
        self.env = env
        self.clock = clock
        self.tell = tell
        self.rand = rand
        self.host = hostname(env)
        """The name of this host."""
        self.directory: Path = store.directory
        """The store's directory on this host."""
        self.run_directory = self.directory / "run"
        """Where journals and notifiers are."""
        # A job that calls queuectl means this very store, wherever it calls it and whatever
        # ``--store`` said here. The password is not for jobs.
        # Nor is it certain that PATH leads to queuectl.
        self.job_env = {**without_notify(env), "QUEUECTL_STORE": store.url, "PATH": job_path(env)}
        """What jobs get of our environment."""
        self.deadline: DeadlineWriter | None = None
        """Until when jobs may run; None: nobody elsewhere could start them again."""
        self.slots: dict[str, Slot] = {}
        self.stopping: str | None = None
        """``drain`` or ``now`` once all workers were told to stop."""
        self.gone: StoreGone | None = None
        """Why nothing more is claimed, when the store's file was removed or replaced."""
        self.cancels: frozenset[int] = frozenset()
        """seq of jobs of ours that somebody wants cancelled, as far as we know."""
        self.no_prefetch: Mapping[str, float | None] = {}
        """Queues from which nothing may be prefetched, as far as we know, and until when (None:
        until we are told)."""
        self.notifier: Notifier | None = None
        self.claimable = True
        """There may be something to claim."""
        self.woken = asyncio.Event()
        """There is something to do for the dispatcher."""
        self.commanded = asyncio.Event()
        """There are commands for us."""
        self.rescheduled = asyncio.Event()
        """A schedule may be due now, or at another time than we know."""
        self.told = asyncio.Event()
        """We were told to stop."""
        self.background = Background(self.wake)
        self._numbered = 0

    def may_prefetch(self, queue: str) -> bool:
        """Whether jobs of this queue may be prefetched, as far as we know."""
        until = self.no_prefetch.get(queue, 0.0)
        return until is not None and self.clock() >= until

    def wake(self) -> None:
        """Wake the dispatcher: there is something to do."""
        self.woken.set()

    def look(self) -> None:
        """Wake the dispatcher: there may be something to claim."""
        self.claimable = True
        self.woken.set()

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the next signal. One that came since the last pause
        counts: the caller may not have seen it yet."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.told.wait()
        self.told.clear()

    @property
    def deaf(self) -> str | None:
        """Why the store cannot wake us just now; None: it can."""
        return None if self.notifier is None else self.notifier.trouble

    # -- workers ----------------------------------------------------------------------

    def become(self, identity: str, served: Sequence[tuple[str, ...]]) -> None:
        """Be called ``identity`` from now on, with a worker for each of ``served``."""
        self.id = identity
        self._numbered = 0
        self.slots = {slot.id: slot for slot in map(self.new_slot, served)}

    def new_slot(self, queues: tuple[str, ...], worker: str = "", stop: str | None = None) -> Slot:
        """A worker, called ``worker`` or the next number of this supervisor."""
        if not worker:
            self._numbered += 1
            worker = f"{self.id}-{self._numbered}"
        else:
            self.number(worker)
        return Slot(worker, queues, stop=stop or self.stopping)

    def number(self, worker: str) -> None:
        """There is a worker of this name: call no other so."""
        self._numbered = max(self._numbered, int(worker.rpartition("-")[2]))
