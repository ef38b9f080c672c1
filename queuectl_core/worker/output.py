"""An attempt's output file: kept within its limit while it grows, and read once it ended.

A job writes straight to its file. Nothing may stand between, so the limit is kept from
outside: what lies in the middle of a file that grew past it is given back to the file system
(a hole), and when the attempt has ended the file is written anew as head, mark, tail. The
job never notices, the order of bytes is kept, and the tail is whole. (A file system that cannot
make holes has its files cut instead: then what came just before a cut is lost too.)
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ..store.base import TAIL_BYTES

BLOCK = 1 << 16
_FALLOC_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02
_F_PUNCHHOLE = 99  # macOS


@dataclass(slots=True)
class Capture:
    """The output file of one running attempt. ``limit``: bytes kept of it."""

    path: str | Path
    limit: int
    dropped: int = 0
    """Bytes cut off where the file system cannot make holes."""
    _punched: int = 0

    def size(self) -> int:
        """Bytes in the file; 0 when it is gone."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0

    def is_large(self, size: int) -> bool:
        """Finishing it means rewriting it: not for the event loop's thread."""
        return bool(self.dropped) or size > self.limit

    def guard(self) -> bool:
        """Give back the middle of a file that grew past its limit; True if it grew at all."""
        size = self.size()
        head, end = self._kept(size)
        begin = max(head, self._punched)
        if size <= 2 * self.limit or end - begin < self.limit // 2:
            return size > 0
        with contextlib.suppress(OSError):  # deleted meanwhile: nothing is left to be kept small
            fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if _punch(fd, begin, end - begin):
                    self._punched = end
                else:
                    os.ftruncate(fd, head)  # appended to from here: the job opened it O_APPEND
                    self.dropped += size - head
            finally:
                os.close(fd)
        return True

    def _kept(self, size: int) -> tuple[int, int]:
        """Where the head ends and the tail begins, on whole blocks."""
        half = self.limit // 2
        return -(-half // BLOCK) * BLOCK, (size - half) // BLOCK * BLOCK

    def finish(self, size: int | None = None) -> tuple[int, bytes]:
        """Bytes the attempt wrote, and the last of them; the file is within its limit after.

        ``size``: its bytes, if that is known already. An empty file is removed. A file that is
        gone counts as empty. One that can't be cut, because the disk is full, stays as it is.
        """
        if size is None:
            size = self.size()
        try:
            if not size and not self.dropped:
                os.unlink(self.path)
                return 0, b""
            if self.is_large(size):
                with contextlib.suppress(OSError):
                    self._compact(size)
            return size + self.dropped, self._tail()
        except OSError:
            return 0, b""

    def _compact(self, size: int) -> None:
        half = self.limit // 2
        if self.dropped:
            head = min(size, self._kept(size)[0])
            tail = max(head, size - half)
        else:
            head, tail = half, size - half
        room = 96  # for the mark, which counts against the limit
        head = max(0, head - room)
        lost = self.dropped + tail - head
        mark = f"\n[queuectl: {lost} bytes dropped here, output-limit is {self.limit}]\n".encode()
        fresh = Path(self.path).with_suffix(".tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        source = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with open(os.open(fresh, flags, 0o600), "wb") as target:
                target.write(os.pread(source, head, 0))
                target.write(mark)
                target.write(os.pread(source, size - tail, tail))
            fresh.replace(self.path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        finally:
            os.close(source)

    def _tail(self) -> bytes:
        with open(self.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            return file.read(TAIL_BYTES)


def _punch(fd: int, offset: int, length: int) -> bool:
    """Make a hole; False where the file system cannot."""
    if sys.platform == "darwin":
        import fcntl
        import struct

        request = struct.pack("=IIqq", 0, 0, offset, length)
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, _F_PUNCHHOLE, request)
            return True
        return False
    import ctypes  # 1 MB that most supervisors never need

    try:
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    except AttributeError:
        return False
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return bool(fallocate(fd, _FALLOC_KEEP_SIZE_PUNCH_HOLE, offset, length) == 0)


def last_line(tail: bytes, limit: int = 200) -> str:
    """The last line with anything on it, for the reason of a failure.

    A carriage return ends a line, too. The progress meter of curl is no content: its error follows
    the meter, sometimes on the same line.
    """
    meter = ""
    for line in reversed(tail[-4096:].splitlines()):
        text = line.decode("utf-8", "backslashreplace").strip()
        found = _METER.match(text)
        if found is None or found.end() < len(text):
            text = text[found.end() :] if found else text
            if text:
                return text[:limit]
        meter = meter or text
    return meter[:limit]


_METER = re.compile(
    r"[\s\d.kMGTP]*(?:(?:--|\d+):(?:--|\d\d):(?:--|\d\d)\s+){3}[\d.]+[kMGTP]?"
    r"|% Total\s.*|Dload\s+Upload.*"
)
