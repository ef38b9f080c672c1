"""Processes of jobs: their groups, their descendants, and ending both for good.

A look at all processes costs tens of milliseconds and may be slow on a loaded host. So looks are
made in threads, never on the event loop, and one look serves all who ask for it
(:class:`Processes`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from ..domain.errors import shortage
from ..runner import signal_group
from ..system.clocks import LINUX
from ..system.host import is_process, parse_stat, process_start
from .threads import start_threads

if TYPE_CHECKING:
    import psutil

T = TypeVar("T")

SHIM_PROGRAMS: tuple[str, ...] = ("/runner/__main__.py", "/worker/shim/__main__.py")
"""How the path of a shim's program ends: today, and before the package was called runner."""

POLL = 0.02
"""Seconds between looks at processes that were told to end: there is nothing to wait on for a
process that is not our child."""
SHORTAGE_PAUSE = 0.5
"""Seconds until the next look at the processes, where the host lacked something for it."""
PATIENCE = 1.0
"""Seconds to wait for a look at the processes before a signal is sent without it."""


class Process(NamedTuple):
    """A process that can be told from a later one with the same pid."""

    pid: int
    start: float

    @property
    def alive(self) -> bool:
        """Whether it still runs (a zombie does not). OSError when that cannot be told."""
        try:
            return is_process(self.pid, self.start)
        except PermissionError:
            return False  # hidden from us: it is another user's, and we could not signal it

    def signal(self, number: int) -> None:
        """Send a signal if it still runs."""
        try:
            if self.alive:
                os.kill(self.pid, number)
        except OSError:
            pass


def was_started_between(pid: int, after: float, before: float) -> bool:
    """Whether ``pid`` still runs as the process that was started between these moments (host
    clock). OSError when that cannot be told."""
    start = _visible_start(pid)
    if start is None:
        return False
    slack = 0.02 if sys.platform == "linux" else 2.0  # a tick is 10 ms
    return after - slack <= start <= before + slack


def _visible_start(pid: int) -> float | None:
    """When it started; None also when it is another user's, and hidden from us (hidepid)."""
    try:
        return process_start(pid)
    except PermissionError:
        return None


def is_in_group(process: Process, pgid: int) -> bool:
    """Whether it is a member of that group."""
    try:
        return os.getpgid(process.pid) == pgid
    except OSError:
        return False


# -- one look at all processes --------------------------------------------------------


class ProcessTable:
    """All living processes at one moment, zombies left out."""

    def __init__(self) -> None:
        self.groups: set[int] = set()
        """Groups with at least one member."""
        self._children: dict[int, list[Process]] = defaultdict(list)
        for process, parent, group in _linux_table() if LINUX else _other_table():
            self.groups.add(group)
            self._children[parent].append(process)

    def descendants(self, pid: int) -> list[Process]:
        """All that ``pid`` started and that started from there, whatever their group is now."""
        found: list[Process] = []
        waiting = [pid]
        while waiting:
            children = self._children.get(waiting.pop(), ())
            found += children
            waiting += [child.pid for child in children]
        return found


def _linux_table() -> Iterator[tuple[Process, int, int]]:
    """(process, parent, group) of each."""
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            stat = parse_stat(int(name))
        except PermissionError:  # another user's, and hidden from us (hidepid)
            continue
        if stat is not None:
            yield Process(int(name), stat.start), stat.parent, stat.group


def _other_table() -> Iterator[tuple[Process, int, int]]:
    import psutil

    for process in psutil.process_iter(["ppid"]):
        start = _visible_start(process.pid)
        if start is None:
            continue
        try:
            group = os.getpgid(process.pid)
        except OSError:
            continue
        yield Process(process.pid, start), process.info["ppid"] or 0, group


# -- processes that name their job ----------------------------------------------------


class Mark(NamedTuple):
    """What the environment of a job's process says about it."""

    job: str
    attempt: str
    worker: str
    store: str
    """Its store, unless the job says otherwise."""

    @property
    def supervisor(self) -> str:
        """Whose shim started it. No two supervisors share an id, also of different stores."""
        return self.worker.rpartition("-")[0]


def marked_processes() -> Iterator[tuple[Process, Mark]]:
    """Every process that a job of any store started: a look at every process of this user. OSError
    when we are short of what that takes."""
    import psutil

    found = [(process, _environment(process)) for process in psutil.process_iter()]
    for process, seen in found:
        # In the middle of an exec there is none to be read: look again.
        mark = _mark(seen or _environment(process))
        start = None if mark is None else _visible_start(process.pid)
        if mark is not None and start is not None:
            yield Process(process.pid, start), mark


def mark_of(process: psutil.Process) -> Mark | None:
    """What ``process`` was started with; None: it is of no job, or that cannot be read."""
    return _mark(_environment(process))


def _environment(process: psutil.Process) -> dict[str, str]:
    import psutil

    try:
        return process.environ()
    except psutil.Error:
        return {}
    except OSError as error:
        if shortage(error):
            raise  # that says nothing about the process
        return {}


def _mark(environ: Mapping[str, str]) -> Mark | None:
    if "QUEUECTL_JOB_ID" not in environ:
        return None
    names = ("QUEUECTL_JOB_ID", "QUEUECTL_ATTEMPT", "QUEUECTL_WORKER", "QUEUECTL_STORE")
    return Mark(*(environ.get(name, "") for name in names))


Marked = dict[tuple[str, str, str], list[Process]]
"""Processes by job id, attempt and supervisor: a job of another store may have the same id."""


def marked_by_attempt() -> Marked:
    """The :func:`marked_processes`, by attempt."""
    found: Marked = defaultdict(list)
    for process, mark in marked_processes():
        found[mark.job, mark.attempt, mark.supervisor].append(process)
    return found


# -- shims ----------------------------------------------------------------------------


def shim_processes(run: Path) -> dict[str, Process]:
    """The shims that were started for the run directory ``run``, by name: a look at every process.
    For a directory whose files were deleted; they say the same sooner. One that only reads what
    daemons of jobs write is among them."""
    found = {}
    for pid in _pids():
        name = _shim_name(pid, run)
        start = _visible_start(pid) if name else None
        if name and start is not None:
            found[name] = Process(pid, start)
    return found


def is_shim(pid: int, run: Path, name: str) -> bool:
    """Whether ``pid`` is the shim ``name`` of the run directory ``run``. OSError when that cannot
    be told."""
    return _shim_name(pid, run) == name


def _shim_name(pid: int, run: Path) -> str:
    """The name of a shim of ``run``; empty for any other process."""
    words = _command_line(pid)
    for program, directory, name in zip(words, words[1:], words[2:], strict=False):
        if program.endswith(SHIM_PROGRAMS):
            return name if directory == str(run) and in_our_namespace(pid) else ""
    return ""


def _pids() -> list[int]:
    if LINUX:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    import psutil

    return psutil.pids()


def _command_line(pid: int) -> list[str]:
    """The words that a process was started with; none when it is gone, or a zombie."""
    if LINUX:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return [os.fsdecode(word) for word in file.read().split(b"\0")]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return []  # one that is hidden from us is another user's
    import psutil

    try:
        return psutil.Process(pid).cmdline()
    except (psutil.Error, OSError):
        return []


def in_our_namespace(pid: int) -> bool:
    """Whether a process is in our pid namespace, as far as one can tell. In another container
    the same path is another file."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return True


# -- ending ---------------------------------------------------------------------------


def group_exists(pgid: int) -> bool:
    """Whether a group has a member, which may be a zombie."""
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # a member changed its user
    return True


@dataclass(slots=True, eq=False)
class _Ending:
    """Processes that are being ended: a group, and some that left it."""

    group: int | None
    strays: list[Process]
    deadline: float
    done: asyncio.Future[None]
    told: bool = False

    def signal(self, number: int) -> None:
        if self.group is not None:
            signal_group(self.group, number)
        for stray in self.strays:
            stray.signal(number)


def _end_round(endings: list[_Ending]) -> list[_Ending]:
    """Signal what must end; returns what is gone. One look at the processes serves all."""
    table: ProcessTable | None = None
    gone = []
    for ending in endings:
        left = any(stray.alive for stray in ending.strays)
        if not left and ending.group is not None and group_exists(ending.group):
            if table is None and ending.told:  # only a look tells members from zombies
                table = ProcessTable()
            left = table is None or ending.group in table.groups
        if not left:
            gone.append(ending)
        elif not ending.told:
            ending.told = True
            ending.signal(signal.SIGTERM)
        elif time.monotonic() >= ending.deadline:
            ending.signal(signal.SIGKILL)
    return gone


class SharedLook(Generic[T]):
    """Runs ``look`` in a thread. All who ask before it begins get the same answer; who asks while
    it runs gets that of the next one, so that no answer is older than its question."""

    def __init__(self, look: Callable[[], T], pool: ThreadPoolExecutor) -> None:
        self._look = look
        self._pool = pool
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._running))
        return await asyncio.shield(self._next)

    async def _run(self, before: asyncio.Task[T] | None) -> T:
        if before is not None and not before.done():
            await asyncio.wait({before})
        self._running, self._next = self._next, None
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._look)


@dataclass(slots=True)
class Processes:
    """The processes of this host, for one supervisor. Nothing here blocks the event loop."""

    # Threads of its own: those that wait for a slow disk must not keep a timeout from firing.
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "processes"))
    _table: SharedLook[ProcessTable] = field(init=False)
    _marked: SharedLook[Marked] = field(init=False)
    _endings: list[_Ending] = field(default_factory=list)
    _ender: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self._table = SharedLook(ProcessTable, self._pool)
        self._marked = SharedLook(marked_by_attempt, self._pool)

    def start(self) -> None:
        """Start the threads now: when a job has used up all processes, none could be started to
        end that job. RuntimeError when it cannot be done."""
        start_threads(self._pool, 2)

    async def descendants(self, pid: int) -> list[Process]:
        """All that ``pid`` started; none where looking takes longer than a signal may wait."""
        try:
            async with asyncio.timeout(PATIENCE):
                table = await self._table()
        except (TimeoutError, OSError, RuntimeError):  # RuntimeError: no thread could be started
            return []
        return table.descendants(pid)

    async def marked(self) -> Marked:
        """The processes of jobs, by what their environment says. The last resort, when no record
        names a pid. Waits while the host is short of what a look takes (files, memory)."""
        while True:
            try:
                return await self._marked()
            except (OSError, RuntimeError, ImportError):  # ImportError: psutil, for lack of files
                await asyncio.sleep(SHORTAGE_PAUSE)

    async def end(self, group: int | None, strays: Iterable[Process], grace: float) -> None:
        """SIGTERM to a group and to ``strays``, SIGKILL after ``grace`` seconds; waits until all
        are gone. ``group`` must be known to be the job's still.

        All that are to end at the same time are ended at the same time.
        """
        done = asyncio.get_running_loop().create_future()
        self._endings.append(_Ending(group, list(strays), time.monotonic() + grace, done))
        if self._ender is None or self._ender.done():
            self._ender = asyncio.create_task(self._end_all())
        await done

    async def _end_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._endings:
            began = time.monotonic()
            try:
                gone = await loop.run_in_executor(self._pool, _end_round, list(self._endings))
            except (OSError, RuntimeError):  # the host is short of something: again
                gone = []
            for ending in gone:
                self._endings.remove(ending)
                if not ending.done.done():
                    ending.done.set_result(None)
            await asyncio.sleep(max(POLL, 2 * (time.monotonic() - began)))
