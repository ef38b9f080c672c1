"""A pseudo-terminal with a program in it, and what a user would see there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pyte

from ..support import PATIENCE


class Terminal:
    """A terminal with the console in it. ``screen`` is what a user would see."""

    def __init__(
        self,
        argv: list[str],
        env: dict[str, str],
        size: tuple[int, int] = (120, 40),
        *,
        shell: bool = False,
    ) -> None:
        """``size``: columns and lines. ``shell``: we are its shell, and can continue it after a
        stop. Otherwise nobody can, as with ``ssh -t HOST queuectl tui``."""
        self.fd, inside = pty.openpty()
        columns, lines = size
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(inside)
        self.inside = inside  # kept open to look at its settings at the end
        self.process = subprocess.Popen(
            argv,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env=env,
            # The group is not orphaned, because its leader has a parent in the same session.
            start_new_session=not shell,
            process_group=0 if shell else None,
        )
        self.raw = b""
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)

    def read(self, seconds: float) -> None:
        if select.select([self.fd], [], [], seconds)[0]:
            data = os.read(self.fd, 1 << 16)
            self.raw += data
            # For pyte, "CSI < u" and "CSI > 1 u" (keyboard protocol) mean "restore the cursor".
            for code in (b"\x1b[<u", b"\x1b[>25u"):
                data = data.replace(code, b"")
            self._feed(data)
            self._answer(data)

    def _feed(self, data: bytes) -> None:
        """Let CAN end an incomplete sequence, as every terminal does. For pyte everything up to the
        end of the next sequence would be a part of it."""
        first, *others = data.split(b"\x18")
        self._stream.feed(first)
        for part in others:
            self._stream = pyte.ByteStream(self.screen)
            self._stream.feed(part)

    def _answer(self, data: bytes) -> None:
        """Answer where the cursor is, as every terminal does."""
        os.write(self.fd, b"\x1b[1;1R" * data.count(b"\x1b[6n"))

    def text(self) -> str:
        return "\n".join(self.screen.display)

    def until(self, wanted: str, *, without: str | None = None) -> None:
        """Wait until ``wanted`` is on the screen. ``without``: a text that must be gone. This shows
        that the whole frame has come."""
        deadline = time.monotonic() + PATIENCE
        while wanted not in self.text() or (without and without in self.text()):
            assert time.monotonic() < deadline, f"{wanted!r} never came:\n{self.text()}"
            self.read(0.1)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)
        self.screen.resize(lines, columns)

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def ended(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.text()
            self.read(0.1)
        while select.select([self.fd], [], [], 0)[0]:  # the rest comes in pieces
            self.read(0)
        return self.process.returncode

    def check_restored(self) -> None:
        assert termios.tcgetattr(self.inside) == self.before
        for off in (b"\x1b[?1049l", b"\x1b[?1000l", b"\x1b[?2004l", b"\x1b[<u"):
            assert off in self.raw
        assert self.raw.rfind(b"\x1b[?25h") > self.raw.rfind(b"\x1b[?25l")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)
        os.close(self.inside)
