"""Writing log lines without waiting: a log must never block the program."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque

GATHER = 0.02
"""Seconds to wait for more lines, so that one write takes many lines."""
LIMIT = 4096
"""How many lines may wait to be written. More are dropped and counted."""


class LineWriter:
    """Writes to ``fd`` in a separate thread. If a terminal is stopped, a pipe is full, or a disk is
    slow, it drops lines. It says how many when it can write again."""

    def __init__(self, fd: int, *, limit: int = LIMIT, encoding: str = "utf-8") -> None:
        self._fd = fd
        self._encoding = encoding
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._closing = False
        self._changed = threading.Condition()
        # A daemon thread that writes to the descriptor directly. So neither it nor its locks can
        # keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def put(self, text: str) -> None:
        """Add a line to be written, and return at once. ``text`` ends with a newline."""
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
        """Wait up to ``patience`` seconds until all is written. Returns whether it is."""
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
            except BlockingIOError:  # another user of the descriptor made it non-blocking
                select.select([], [self._fd], [], 1.0)
            except OSError:
                time.sleep(0.05)  # closed or full: these lines are lost, later ones may succeed
                return
