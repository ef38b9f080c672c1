"""Writing lines for which nobody may have to wait: a log must never hold up what it tells of."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque

GATHER = 0.02
"""Seconds in which more lines may come before they are written: one write for many lines, and no
change of threads for each."""
LIMIT = 4096
"""Lines that wait to be written at the most; more are dropped and counted."""


class LineWriter:
    """Writes to ``fd`` in a thread of its own. A terminal that was stopped, a full pipe or a slow
    disk make it drop lines, and it says how many once it can write again."""

    def __init__(self, fd: int, *, limit: int = LIMIT, encoding: str = "utf-8") -> None:
        self._fd = fd
        self._encoding = encoding
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._closing = False
        self._changed = threading.Condition()
        # A daemon, which writes to the descriptor itself: neither it nor a lock that it holds can
        # keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def put(self, text: str) -> None:
        """Have a line written; returns at once. ``text`` ends with a newline."""
        line = text.encode(self._encoding, "backslashreplace")
        with self._changed:
            if self._thread.ident is None:
                try:
                    self._thread.start()
                except RuntimeError:  # the host refuses a thread; the next line tries again
                    self._dropped += 1
                    self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                    return
            if len(self._lines) >= self._limit:
                self._dropped += 1
                return
            self._lines.append(line)
            if len(self._lines) == 1:
                self._changed.notify()

    def close(self, patience: float) -> bool:
        """Wait until all is written, but no longer than ``patience`` seconds; whether it is."""
        with self._changed:
            if self._thread.ident is None:
                return True
            self._closing = True
            self._changed.notify()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._lines or self._dropped or self._closing):
                    self._changed.wait()
                if not self._lines and not self._dropped:
                    return
                self._changed.wait_for(lambda: self._closing, GATHER)
                data = b"".join(self._lines)
                self._lines.clear()
                dropped, self._dropped = self._dropped, 0
            if dropped:
                data += f"queuectl: {dropped} lines were dropped: nobody read them\n".encode()
            self._write(data)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest[:4096]) :]
            except BlockingIOError:  # whoever shares the descriptor wants it so
                select.select([], [self._fd], [], 1.0)
            except OSError:
                time.sleep(0.05)  # gone, or full: these lines are lost, later ones may not be
                return
