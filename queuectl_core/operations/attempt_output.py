"""The output of attempts: where it is on this host, and reading it in parts."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..domain.text import clean_line
from ..domain.times import format_bytes

FOLDER_SIZE = 1000
"""Jobs that share a folder, so that directories stay small with a million jobs."""


def log_path(directory: Path, seq: int, number: int) -> Path:
    """The output file of an attempt."""
    return Path(log_name(str(directory), seq, number))


def log_name(directory: str, seq: int, number: int) -> str:
    """``log_path`` as text, for code that needs it a thousand times a second. It contains only
    numbers: an id never becomes part of a path."""
    return f"{directory}/logs/{seq // FOLDER_SIZE}/{seq}.{number}.log"


def unreadable(path: Path) -> str | None:
    """Why this file cannot be read. Empty if it does not exist; None if it can be read."""
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
    """Delete the output files of many jobs, given as (seq, runs). A failure does not stop the
    others. The first failure is raised at the end."""
    failed: OSError | None = None
    for seq, runs in jobs:
        try:
            remove_logs(directory, seq, runs)
        except OSError as error:
            failed = failed or error
    if failed is not None:
        raise failed


class AttemptOutput(NamedTuple):
    """One attempt's output: its file if this host has it, otherwise the stored tail."""

    number: int
    """The attempt's number; 0: there has been no attempt."""
    path: Path | None
    tail: bytes
    """The stored end of the output. It is used only if there is no file."""
    running: bool
    """Whether the attempt runs, so that more output may come."""
    total: int
    """Bytes that the attempt wrote, as far as known."""
    host: str | None = None
    """The other host that runs it, or ran it, if its file is not on this host."""
    trouble: str = ""
    """Why its file, which is on this host, cannot be read."""

    started_at: float = 0.0
    """When the attempt began, by the store's clock."""
    finished_at: float | None = None
    """When it ended; None while it runs."""

    @property
    def complete(self) -> bool:
        """False: this is only the end of the output, and the file is on another host."""
        if self.path is not None or not self.number:
            return True
        return not self.running and len(self.tail) >= self.total

    @property
    def missing(self) -> str:
        """What is missing, in words; empty if it is complete."""
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
        """Identifies the present file; None: there is none."""
        try:
            found = self.path.stat() if self.path is not None else None
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if found is not None else None

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``offset``. Empty at the end, or if the file is gone.

        While the attempt runs, the dropped part of a long output is a hole, which is never
        returned.
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
            begin, end = _hole(fd)  # after reading, because the hole grows
            return b"" if begin <= offset < end else data[: max(0, begin - offset) or count]
        finally:
            os.close(fd)

    def hole(self) -> tuple[int, int]:
        """The begin and end of the dropped part of a long output, while the attempt runs."""
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

    def after(self, offset: int, file: tuple[int, int] | None = None) -> int:
        """Where to continue after reading ``offset`` bytes while the attempt ran. ``file``: the
        :meth:`file_id` of the file that they were read from, if it is known.

        While the attempt runs, the middle of a long output may have become a hole, which is
        skipped. When it has ended, call this once: then a long output consists of its head, a mark
        and its end, and earlier offsets are not valid any more. That file is a new one; it may be
        there before the store says that the attempt has ended.
        """
        size = self.size()
        if self.path is None or (not self.running and file is not None and file == self.file_id()):
            return offset
        if self.running or size >= self.total:
            # If a file system has no holes, the end of a long output is moved to the front.
            offset = min(offset, size) if size else offset
            begin, end = self.hole()
            return end if begin <= offset < end else offset
        # Imported here, because short verbs import this module but do not need the runner.
        from ..runner.output_file import MARK, MARK_ROOM

        half = size // 2
        if offset <= half - MARK_ROOM:
            return offset
        begin = max(0, half - MARK_ROOM)
        mark = begin + max(0, self.read(begin, 2 * MARK_ROOM).find(MARK))
        return max(mark, size - (self.total - offset))

    def tail_offset(self, lines: int, window: int = 1 << 20) -> int:
        """Where the last ``lines`` lines start, within the last ``window`` bytes."""
        size = self.size()
        start = max(0, size - window)
        begin, end = self.hole()
        if begin < end:  # the last lines are after the hole
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
    """Where the hole in a file begins and ends; (size, size) if there is none."""
    size = os.fstat(fd).st_size
    if not hasattr(os, "SEEK_HOLE"):
        return size, size
    try:
        begin = os.lseek(fd, 0, os.SEEK_HOLE)
    except OSError:  # the file is empty, or the file system does not support it
        return size, size
    try:
        return begin, os.lseek(fd, begin, os.SEEK_DATA)
    except OSError:  # there is nothing after the hole
        return begin, max(begin, size)


def mark_room() -> int:
    """The mark of a shortened output is within this many bytes before its middle."""
    from ..runner.output_file import MARK_ROOM

    return MARK_ROOM


class OutputTimes:
    """When the bytes of an output arrived, by the store's clock, as the shim recorded it. The error
    is about 10 ms at first, and later 1/10,000 of the time since the attempt began."""

    def __init__(self, output: AttemptOutput) -> None:
        self.output = output
        self._offsets: list[int] = []
        self._seconds: list[float] = []
        self.refresh()

    def refresh(self) -> None:
        """Read what the shim has recorded so far."""
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
        """When the byte at ``offset`` of the file arrived; None if it is not known here."""
        output = self.output
        if output.path is None:
            return None
        if not self._offsets:
            return self._all_at_once(output.path)
        index = bisect_right(self._offsets, self._in_stream(offset)) - 1
        return output.started_at + max(0.0, self._seconds[max(index, 0)])

    def _in_stream(self, offset: int) -> int:
        """The offset in the whole output. An ended, long output consists of its head, a mark and
        its end."""
        size = self.output.size()
        if self.output.running or self.output.total <= size or offset < size // 2:
            return offset
        return self.output.total - (size - offset)

    def _all_at_once(self, path: Path) -> float | None:
        """The time when the file was written: all output arrived within a few milliseconds."""
        try:
            written = path.stat().st_mtime
        except OSError:
            return None
        latest = self.output.finished_at
        written = max(written, self.output.started_at)
        return written if latest is None else min(written, latest)
