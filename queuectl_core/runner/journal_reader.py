"""Reading the journal of a shim whose supervisor is gone, and taking its right to start jobs.

The journal's format and the rule of revoking are at the top of the package ``runner``.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..domain.model import OWN_SHIM, supervisor_of
from ..store.sqlite.notifier import has_listener
from ..system.permissions import make_private, try_lock
from . import MADE, OWN_FILE, REVOKED, lease_clock
from .events import Exit, Started

LOCK_PATIENCE = 1.0
"""Seconds a shim may hold the journal's lock before it counts as stopped and is killed."""


@dataclass(slots=True)
class JournalReader:
    """The journal of shim ``name`` in the run directory ``run``."""

    run: Path
    name: str
    shim_pid: int | None = None
    begun: set[str] = field(default_factory=set)
    """About to be started, or started: whoever died before it could say more."""
    started: dict[str, Started] = field(default_factory=dict)
    exits: dict[str, Exit] = field(default_factory=dict)
    earlier: set[str] = field(default_factory=set)
    """About to be started, or started, by a shim that another has replaced."""
    original: bool = False
    """It is the very file that its supervisor made."""
    never_made: bool = False
    """Its supervisor died before it made the journal of this shim."""
    _whole: bool = False
    """It is the one that its supervisor made, or a shim wrote it anew."""
    _lost: bool = False
    """It says itself that what an earlier one said is lost."""
    _file: tuple[int, int] = (0, 0)
    _offset: int = 0
    """What was read of it, as whole lines."""
    _clocked: bool = False
    """Its moments are on ``lease_clock``."""

    @property
    def path(self) -> Path:
        """The journal file."""
        return self.run / f"{self.name}.journal"

    @property
    def lost(self) -> bool:
        """It was deleted: a job that it does not name may have run. What others made in its place
        (to revoke it, say) does not hide that, however many they were."""
        return self._lost or not (self._whole or self.never_made)

    def refresh(self) -> bool:
        """Read what was added to it, or all of a new file; True when there was anything. A
        half-written last line is left. OSError when it cannot be read: then it says nothing."""
        try:
            with open(self.path, "rb") as file:
                found = os.fstat(file.fileno())
                if (found.st_dev, found.st_ino) != self._file or found.st_size < self._offset:
                    self._file, self._offset = (found.st_dev, found.st_ino), 0
                    self.original = False
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return False
        whole = content.rfind(b"\n") + 1
        self._offset += whole
        for line in content[:whole].splitlines():
            self._take(line)
        return bool(whole)

    def _take(self, line: bytes) -> None:
        try:
            match json.loads(line.lstrip(b"\0")):
                case ["M", *_]:
                    self._whole = self.original = True
                case ["L", *_]:
                    self._lost = True
                case ["H", pid, *version]:
                    if self.shim_pid not in (None, pid):
                        self.earlier |= self.begun | self.started.keys()
                    self._whole = True
                    self.shim_pid = pid
                    self._clocked = bool(version)
                case ["B", *tokens]:
                    for token in tokens:
                        self.begun.add(token)
                        self.earlier.discard(token)
                        self.started.pop(token, None)
                        self.exits.pop(token, None)
                case ["S", token, *_] as event:
                    started = Started.of(event)
                    self.started[token] = started._replace(at=self._moment(started.at))
                case ["N", *_] as event:
                    self._not_started(event)
                case ["X" | "F", token, *_] as event:
                    exit_, begun = Exit.of(event), self.started.get(token)
                    began = begun.at if begun is not None else None
                    self.exits[token] = exit_._replace(at=self._moment(exit_.at), began=began)
        except (ValueError, IndexError, TypeError, KeyError, RecursionError):
            pass  # torn by a crash of the host, or not written by a shim: it says nothing

    def _not_started(self, event: list[Any]) -> None:
        """The host lacked something. One that was forked before counts as ended, for whoever
        adopted it; any other is as if the shim had never heard of it."""
        self.begun.discard(event[1])
        if self.started.pop(event[1], None) is not None:
            self.exits[event[1]] = Exit.of(event)

    def _moment(self, at: float) -> float:
        """``at`` on ``lease_clock``. Before format 2 it was the wall clock's."""
        return float(at) if self._clocked else lease_clock() - (time.time() - at)

    def shim_alive(self) -> bool:
        """Whether the shim lives: it holds a lock the kernel drops when it dies. Where the file
        was deleted or locked away, a shim that the journal named is known by its process. OSError
        when that cannot be told: the host may be short of files or memory."""
        try:
            fd = os.open(self.run / f"{self.name}.alive", os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            from ..supervisor.processes import is_shim

            return self.shim_pid is not None and is_shim(self.shim_pid, self.run, self.name)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may look, too
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(fd)

    def may_be_alive(self) -> bool:
        """Whether the shim lives; True when that cannot be told."""
        try:
            return self.shim_alive()
        except OSError:
            return True

    async def revoke(self) -> None:
        """From when this returns, the shim starts nothing more. Reads the journal.

        A shim that has the lock may have been stopped in the middle of a start. It is told to
        continue. One that keeps the lock is killed: what it had running is then left to the caller
        to find and end.
        """
        fd = make(self.path)
        try:
            deadline = time.monotonic() + LOCK_PATIENCE
            while not ((locked := try_lock(fd)) and self._is_current(fd)):
                if not self._is_current(fd):  # its shim has written it anew, or it was deleted
                    fresh = make(self.path)
                    os.close(fd)
                    fd = fresh
                    continue
                if not locked:
                    self.refresh()
                    late = time.monotonic() > deadline
                    self.signal_shim(signal.SIGKILL if late else signal.SIGCONT)
                await asyncio.sleep(0.01)
            try:
                whole = os.write(fd, REVOKED) == len(REVOKED)
            except OSError:
                whole = False
            if not whole:  # the disk is full: a hole takes no space, and says the same
                os.ftruncate(fd, os.fstat(fd).st_size + len(REVOKED))
        finally:
            os.close(fd)  # drops the lock
        self.refresh()

    def _is_current(self, fd: int) -> bool:
        """Whether the open file is the journal still."""
        try:
            return os.path.samestat(os.fstat(fd), self.path.stat())
        except FileNotFoundError:
            return False

    def signal_shim(self, number: int) -> None:
        """Send a signal to the shim that the journal names; its pid is its own as long as it holds
        the lock."""
        if self.shim_pid is not None and self.shim_alive():
            try:
                os.kill(self.shim_pid, number)
            except ProcessLookupError:
                pass

    def remove(self) -> None:
        """Forget it: every job it speaks of has been dealt with."""
        self.path.unlink(missing_ok=True)
        for suffix in ("alive", "lease", "journal.new"):
            (self.run / f"{self.name}.{suffix}").unlink(missing_ok=True)


def make(path: Path) -> int:
    """Open a journal, which is made if it is not there."""
    make_private(path.parent)
    return os.open(path, os.O_APPEND | OWN_FILE, 0o600)


def make_first(path: Path) -> None:
    """Make the journal of a new supervisor, with the line that says so."""
    with open(make(path), "ab", buffering=0) as file:
        file.write(MADE)


def continue_shims(run: Path, supervisor: str) -> None:
    """Tell the shims of a dead supervisor to continue. One that was stopped would never leave,
    whether it has jobs or not."""
    for path in [run / f"{supervisor}.journal", *run.glob(f"{supervisor}{OWN_SHIM}*.journal")]:
        journal = JournalReader(run, path.stem)
        if journal.shim_alive():
            journal.refresh()
            journal.signal_shim(signal.SIGCONT)


def abandoned(run: Path) -> list[Path]:
    """Journals, leases and notifiers whose supervisor and shim are dead. Call this before the store
    is asked who needs them: what the store knows of a dead supervisor does not change any more."""
    return [
        path
        for path in (*run.glob("*.journal"), *run.glob("*.lease"), *run.glob("*.bell"))
        if not has_listener(f"{run}/{supervisor_of(path.stem)}.bell")
        and not (path.suffix != ".bell" and JournalReader(run, path.stem).may_be_alive())
    ]


def sweep(found: Iterable[Path], in_use: set[str]) -> int:
    """Remove those of the abandoned files that nobody needs any more; returns how many.

    ``in_use``: ids of registered supervisors, and shims that processing jobs name.
    """
    removed = 0
    for path in found:
        if supervisor_of(path.stem) in in_use:
            continue
        if path.suffix == ".journal":
            JournalReader(path.parent, path.stem).remove()
        else:
            path.unlink(missing_ok=True)
        removed += 1
    return removed
