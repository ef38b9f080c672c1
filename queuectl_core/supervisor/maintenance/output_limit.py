"""An attempt's output file once the attempt has ended: brought within its limit, and its end read.

While the attempt runs its shim writes the file (``runner/output.py``), and drops the middle of one
that grows past its limit. The head is a little larger than it should be then, and offsets are those
of the whole stream. Here the file is written anew as head, mark and end.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ...runner.output_file import MARK_ROOM, dropped_mark
from ...store.protocol import TAIL_BYTES


@dataclass(slots=True)
class Capture:
    """The output file of one attempt. ``limit``: bytes kept of it."""

    path: str | Path
    limit: int

    def size(self) -> int:
        """Bytes in the file; 0 when it is gone."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0

    def is_large(self, written: int | None) -> bool:
        """Finishing it means rewriting it: not for the event loop's thread. ``written`` as for
        :meth:`finish`."""
        return (self.size() if written is None else written) > self.limit

    def finish(self, written: int | None = None) -> tuple[int, bytes]:
        """Bytes the attempt wrote, and the last of them; the file is within its limit after.

        ``written``: its bytes, as its shim counted them; None: the file's size says. A file that is
        gone counts as empty. One that can't be cut, because the disk is full, stays as it is.
        """
        if written == 0:
            return 0, b""
        size = self.size()
        total = size if written is None else written
        if not size:
            return total, b""
        try:
            if size > self.limit or total > self.limit:
                with contextlib.suppress(OSError):
                    self._compact(size, total)
            return total, self._tail()
        except OSError:
            return total, b""

    def _compact(self, size: int, total: int) -> None:
        half = self.limit // 2
        head = min(half - MARK_ROOM, size)
        tail = max(head, size - half)
        lost = total - head - (size - tail)
        if lost <= 0:
            return
        mark = dropped_mark(self.limit, lost)
        fresh = Path(self.path).with_suffix(".tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        source = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with open(os.open(fresh, flags, 0o600), "wb") as target:
                os.fchmod(target.fileno(), 0o600)
                _copy(source, target.fileno(), 0, head)
                target.write(mark)
                target.flush()
                _copy(source, target.fileno(), tail, size - tail)
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


def _copy(source: int, target: int, offset: int, count: int) -> None:
    """Copy without holding all of it in memory: a limit may be large."""
    while count > 0:
        data = os.pread(source, min(count, 1 << 20), offset)
        if not data:
            return
        offset += len(data)
        count -= len(data)
        while data:
            data = data[os.write(target, data) :]


def last_line(tail: bytes, limit: int = 200) -> str:
    """The last line with anything on it, for the reason of a failure.

    A carriage return ends a line, too. The progress meter of curl is no content: its error follows
    the meter, sometimes on the same line.
    """
    meter = ""
    # Of a script with Windows line ends the shell says "foo\\r: not found": that CR ends no line.
    tail = re.sub(rb"\r(?=: )", rb"\\r", tail[-4096:])
    for line in reversed(tail.splitlines()):
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
