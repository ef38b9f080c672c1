"""The output of attempts: where it lies on this host, and reading it without loading it."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..domain.text import clean_line
from ..domain.times import format_bytes

FOLDER_SIZE = 1000
"""Jobs that share a folder: directories stay small at a million jobs."""


def log_path(directory: Path, seq: int, number: int) -> Path:
    """The output file of an attempt."""
    return Path(log_name(str(directory), seq, number))


def log_name(directory: str, seq: int, number: int) -> str:
    """``log_path`` as text, for code that needs it a thousand times a second. Made of numbers only:
    an id never becomes a path."""
    return f"{directory}/logs/{seq // FOLDER_SIZE}/{seq}.{number}.log"


def unreadable(path: Path) -> str | None:
    """Why this file cannot be read: empty if it is not there, None if it can be read."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return None


def remove_logs(directory: Path, seq: int, runs: int) -> None:
    """Delete the output files of a job that had ``runs`` attempts."""
    for number in range(1, runs + 1):
        path = log_path(directory, seq, number)
        path.unlink(missing_ok=True)
        path.with_suffix(".times").unlink(missing_ok=True)


def remove_all_logs(directory: Path, jobs: Iterable[tuple[int, int]]) -> None:
    """The same for many jobs, (seq, runs) of each. One that cannot be removed does not keep the
    others; the first failure is raised at the end."""
    failed: OSError | None = None
    for seq, runs in jobs:
        try:
            remove_logs(directory, seq, runs)
        except OSError as error:
            failed = failed or error
    if failed is not None:
        raise failed


class AttemptOutput(NamedTuple):
    """One attempt's output: its file when this host has it, else the stored tail."""

    number: int
    """Of the attempt; 0: there has been none."""
    path: Path | None
    tail: bytes
    """What the store kept; only looked at when there is no file."""
    running: bool
    """More may come."""
    total: int
    """Bytes the attempt wrote, as far as known."""
    host: str | None = None
    """The other host that ran it, or runs it, when its file is not on this one."""
    trouble: str = ""
    """Why its file cannot be read, though it is here."""

    started_at: float = 0.0
    """When the attempt began, by the store's clock."""
    finished_at: float | None = None
    """When it ended; None while it runs."""

    @property
    def complete(self) -> bool:
        """False: this is only the end of what was written (its file is on another host)."""
        if self.path is not None or not self.number:
            return True
        return not self.running and len(self.tail) >= self.total

    @property
    def missing(self) -> str:
        """What is missing, in words, when it is not complete; else empty."""
        where = f"on host {clean_line(self.host, 60)}" if self.host else "not on this host"
        if self.complete:
            return ""
        if self.trouble:
            why = clean_line(self.trouble)
            return f"its output file cannot be read ({why}); this is the end of it, as stored"
        if self.running:
            return f"it runs {where}: live output is there, the end of it here once it has ended"
        kept = format_bytes(len(self.tail))
        return f"last {kept} as stored; the whole output is {where}"

    def size(self) -> int:
        """Bytes that can be read now."""
        if self.path is None:
            return len(self.tail)
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def file_id(self) -> tuple[int, int] | None:
        """Which file it is now; None: there is none."""
        try:
            found = self.path.stat() if self.path is not None else None
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if found is not None else None

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``offset``; empty at the end or when it is gone.

        While it runs, what was dropped from a long output is a hole: none of it is given.
        """
        if self.path is None:
            return self.tail[offset : offset + count]
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            data = os.pread(fd, count, offset)
            if not self.running or b"\0" not in data:
                return data
            begin, end = _hole(fd)  # looked for after reading, since it grows
            return b"" if begin <= offset < end else data[: max(0, begin - offset) or count]
        finally:
            os.close(fd)

    def hole(self) -> tuple[int, int]:
        """Where what was dropped from a long output began and ended; while it runs."""
        if self.path is None or not self.running:
            return 0, 0
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return 0, 0
        try:
            return _hole(fd)
        finally:
            os.close(fd)

    def after(self, offset: int) -> int:
        """Where to read on, having read ``offset`` bytes while the attempt ran.

        While it runs, the middle of a long output may have become a hole: that is skipped.
        When it has ended, ask once: a long output is its head, a mark and its end by then, and
        offsets from before are not those of the file any more.
        """
        size = self.size()
        if self.path is None:
            return offset
        if self.running or size >= self.total:
            # Where a file system has no holes, the end of a long output is moved to the front.
            offset = min(offset, size) if size else offset
            begin, end = self.hole()
            return end if begin <= offset < end else offset
        # Imported here: short verbs import this module, and start no worker.
        from ..runner.output_file import MARK, MARK_ROOM

        half = size // 2
        if offset <= half - MARK_ROOM:
            return offset
        begin = max(0, half - MARK_ROOM)
        mark = begin + max(0, self.read(begin, 2 * MARK_ROOM).find(MARK))
        return max(mark, size - (self.total - offset))

    def tail_offset(self, lines: int, window: int = 1 << 20) -> int:
        """Where the last ``lines`` lines start, looking back at most ``window`` bytes."""
        size = self.size()
        start = max(0, size - window)
        begin, end = self.hole()
        if begin < end:  # the last lines are behind it
            start = max(start, end)
        chunk = self.read(start, size - start)
        if lines <= 0:
            return size
        position = len(chunk) - 1 if chunk.endswith(b"\n") else len(chunk)
        for _ in range(lines):
            position = chunk.rfind(b"\n", 0, position)
            if position < 0:
                return start
        return start + position + 1


def _hole(fd: int) -> tuple[int, int]:
    """Where the hole in a file begins and ends; (size, size) where there is none."""
    size = os.fstat(fd).st_size
    if not hasattr(os, "SEEK_HOLE"):
        return size, size
    try:
        begin = os.lseek(fd, 0, os.SEEK_HOLE)
    except OSError:  # it is empty, or its file system cannot tell
        return size, size
    try:
        return begin, os.lseek(fd, begin, os.SEEK_DATA)
    except OSError:  # there is nothing behind it
        return begin, max(begin, size)


def mark_room() -> int:
    """Bytes before the middle of an output in which its mark is, if something was dropped."""
    from ..runner.output_file import MARK_ROOM

    return MARK_ROOM


class OutputTimes:
    """When the bytes of an output came, by the store's clock, as its shim noted it: to about 10 ms
    at first, to 1/10,000 of the time since the attempt began later."""

    def __init__(self, output: AttemptOutput) -> None:
        self.output = output
        self._offsets: list[int] = []
        self._seconds: list[float] = []
        self.refresh()

    def refresh(self) -> None:
        """Read what was noted, as far as it goes now."""
        from ..runner.output_file import HEADER, STAMP

        path = self.output.path
        try:
            data = b"" if path is None else path.with_suffix(".times").read_bytes()
        except OSError:
            data = b""
        if len(data) < HEADER.size:
            return
        (began,) = HEADER.unpack_from(data)
        rest = data[HEADER.size :]
        stamps = list(STAMP.iter_unpack(rest[: len(rest) // STAMP.size * STAMP.size]))
        self._offsets = [offset for offset, _ in stamps]
        self._seconds = [moment - began for _, moment in stamps]

    def at(self, offset: int) -> float | None:
        """When the byte at ``offset`` of the file came; None when nobody here knows."""
        output = self.output
        if output.path is None:
            return None
        if not self._offsets:
            return self._all_at_once(output.path)
        index = bisect_right(self._offsets, self._in_stream(offset)) - 1
        return output.started_at + max(0.0, self._seconds[max(index, 0)])

    def _in_stream(self, offset: int) -> int:
        """A long output is its head, a mark and its end once it has ended."""
        size = self.output.size()
        if self.output.running or self.output.total <= size or offset < size // 2:
            return offset
        return self.output.total - (size - offset)

    def _all_at_once(self, path: Path) -> float | None:
        """It came within a few milliseconds: then, the file was written."""
        try:
            written = path.stat().st_mtime
        except OSError:
            return None
        latest = self.output.finished_at
        written = max(written, self.output.started_at)
        return written if latest is None else min(written, latest)
