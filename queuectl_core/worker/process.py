"""Processes of jobs: their groups, their descendants, and ending both for good."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..host import is_process, process_start
from .journal import Started

POLL = 0.02
"""Seconds between looks at a group that was told to end: there is nothing to wait on for a
process that is not our child."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that can be told from a later one with the same pid."""

    pid: int
    start: float

    @property
    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        return is_process(self.pid, self.start)

    def signal(self, number: int) -> None:
        """Send a signal if it still runs."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except OSError:
                pass


def is_started(started: Started) -> bool:
    """Whether the job a journal speaks of still runs as that pid."""
    start = process_start(started.pid)
    if start is None:
        return False
    slack = 0.02 if sys.platform == "linux" else 2.0  # a tick is 10 ms
    return started.after - slack <= start <= started.before + slack


def group_members(pgid: int) -> list[int]:
    """Living processes of a group, zombies left out."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return []
    except PermissionError:
        pass  # a member changed its user
    import psutil

    return [pid for pid in psutil.pids() if _group(pid) == pgid and process_start(pid) is not None]


def is_in_group(process: Process, pgid: int) -> bool:
    """Whether it is a member of that group."""
    return _group(process.pid) == pgid


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def descendants(pid: int) -> list[Process]:
    """All that ``pid`` started and that started from there, wherever their group is now."""
    import psutil

    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    found = ((child.pid, process_start(child.pid)) for child in children)
    return [Process(child, start) for child, start in found if start is not None]


@dataclass(frozen=True, slots=True)
class Mark:
    """What the environment of a job's process says about it."""

    job: str
    attempt: str
    worker: str

    @property
    def supervisor(self) -> str:
        """Whose shim started it. No two supervisors share an id, also of different stores."""
        return self.worker.rpartition("-")[0]


def marked_processes() -> Iterator[tuple[Process, Mark]]:
    """Every process that a job of any store started: a look at every process of this user."""
    import psutil

    def environment(process: psutil.Process) -> dict[str, str]:
        try:
            return process.environ()
        except (psutil.Error, OSError):
            return {}

    found = [(process, environment(process)) for process in psutil.process_iter()]
    for process, seen in found:
        # In the middle of an exec there is none to be read: look again.
        environ = seen or environment(process)
        if "QUEUECTL_JOB_ID" not in environ:
            continue
        names = ("QUEUECTL_JOB_ID", "QUEUECTL_ATTEMPT", "QUEUECTL_WORKER")
        start = process_start(process.pid)
        if start is not None:
            mark = Mark(*(environ.get(name, "") for name in names))
            yield Process(process.pid, start), mark


def marked(job_id: str, number: int, supervisor: str) -> list[Process]:
    """Processes of this attempt, which ``supervisor`` started.

    The last resort, when no record names a pid. A job of another store may have the same id.
    """
    return [
        process
        for process, mark in marked_processes()
        if (mark.job, mark.attempt, mark.supervisor) == (job_id, str(number), supervisor)
    ]


def signal_group(pgid: int, number: int) -> None:
    """Signal a whole group; one that is gone is passed over."""
    try:
        os.killpg(pgid, number)
    except OSError:
        pass


async def end_all(pgid: int | None, strays: Iterable[Process], grace: float) -> None:
    """SIGTERM to a group and to ``strays``, SIGKILL after ``grace`` seconds; waits until all
    are gone. ``pgid`` must be known to be the job's still."""
    strays = list(strays)
    deadline = time.monotonic() + grace
    number: int = signal.SIGTERM
    _signal_all(pgid, strays, number)
    while (pgid is not None and group_members(pgid)) or any(stray.alive for stray in strays):
        if time.monotonic() >= deadline:
            number = signal.SIGKILL
            _signal_all(pgid, strays, number)
        await asyncio.sleep(POLL)


def _signal_all(pgid: int | None, strays: list[Process], number: int) -> None:
    if pgid is not None:
        signal_group(pgid, number)
    for stray in strays:
        stray.signal(number)
