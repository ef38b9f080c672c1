"""A line that is slow, stalled or cut: the screen is not late, and the process can end."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queuectl_tui.console.terminal import CANCEL, TerminalWriter

from ..support import Cli
from .terminal import Terminal

RATE = 8_000
"""Bytes a second of the slow line."""

TICKS = "while :; do echo tick $(date +%s.%N) $(seq 1 40); sleep 0.03; done"

LEAVES_WITHIN = 8.0


class SlowTerminal(Terminal):
    """Shows :data:`RATE` bytes a second. ``answers``: it answers where its cursor is."""

    answers = True
    _answered = 0
    _free_at = 0.0

    def read(self, seconds: float) -> None:
        self._free_at = max(self._free_at, time.monotonic() - 0.2)
        wait = self._free_at - time.monotonic()
        if wait > 0:
            time.sleep(min(wait, seconds))
        elif select.select([self.fd], [], [], seconds)[0]:
            data = os.read(self.fd, 256)
            self._free_at += len(data) / RATE
            self.raw += data
            self._stream.feed(data.replace(b"\x1b[<u", b"").replace(b"\x1b[>25u", b""))
            asked = self.raw.count(b"\x1b[6n")
            if self.answers and asked > self._answered:
                os.write(self.fd, b"\x1b[1;1R" * (asked - self._answered))
                self._answered = asked

    def lag(self) -> float:
        """The age of the newest line on the screen."""
        ticks = re.findall(r"tick (\d+\.\d{3})\d* 1 2", self.text())
        return time.time() - max(map(float, ticks), default=0.0)


class SilentTerminal(Terminal):
    """A terminal that never answers where its cursor is."""

    def _answer(self, data: bytes) -> None:
        pass


@pytest.fixture
def start(cli: Cli, store_path: Path) -> Iterator[Callable[[type[Terminal]], Terminal]]:
    """Starts a console in a terminal of the given class. A job writes output all the time."""
    cli("enqueue", "--id", "ticker", TICKS)
    cli("worker", "start", "-d")
    found: list[Terminal] = []

    def begin(kind: type[Terminal]) -> Terminal:
        env = cli.environment() | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        argv = [sys.executable, "-m", "queuectl_tui", "--store", str(store_path), "tui"]
        found.append(kind(argv, env))
        return found[-1]

    yield begin
    for terminal in found:
        terminal.close()
    cli("worker", "stop", "--now", code=None)


@pytest.mark.parametrize(("answers", "most"), [(True, 3.0), (False, 6.0)])
def test_the_screen_is_not_behind_and_keys_act(
    start: Callable[[type[Terminal]], Terminal], answers: bool, most: float
) -> None:
    terminal = start(SlowTerminal)
    assert isinstance(terminal, SlowTerminal)
    terminal.answers = answers
    terminal.until("ticker")
    terminal.press("l")
    terminal.until("output of attempt 1", without="3 dlq")
    until = time.monotonic() + 5
    while time.monotonic() < until:
        terminal.read(0.1)
    assert terminal.lag() < most
    pressed = time.monotonic()
    terminal.press("\x1b")
    terminal.until("3 dlq")
    assert time.monotonic() - pressed < most + 1
    terminal.press("q")
    assert terminal.ended() == 0
    terminal.check_restored()


def stalled(start: Callable[[type[Terminal]], Terminal]) -> Terminal:
    """A terminal full of output that nobody reads any more."""
    terminal = start(SilentTerminal)
    terminal.until("ticker")
    terminal.press("l")
    terminal.until("output of attempt 1", without="3 dlq")
    full = time.monotonic() + 2
    while time.monotonic() < full:  # it does not answer, so it gets as much as the kernel accepts
        time.sleep(0.1)
    terminal.press("q")
    return terminal


def leaves(terminal: Terminal) -> int:
    """Wait until the console ends. Nobody reads its output. Returns the exit code."""
    deadline = time.monotonic() + LEAVES_WITHIN
    while (code := terminal.process.poll()) is None:
        assert time.monotonic() < deadline, "it stays"
        time.sleep(0.05)
    return code


def test_a_stalled_terminal_is_left_as_it_was(
    start: Callable[[type[Terminal]], Terminal],
) -> None:
    terminal = stalled(start)
    assert leaves(terminal) == 0
    deadline = time.monotonic() + LEAVES_WITHIN
    while b"\x1b[?1004l" not in terminal.raw and time.monotonic() < deadline:
        terminal.read(0.1)  # the kernel returns its buffer in pieces
    terminal.check_restored()


def test_a_terminal_that_hangs_up_after_it_stalled_is_left(
    start: Callable[[type[Terminal]], Terminal],
) -> None:
    terminal = stalled(start)
    os.close(terminal.inside)
    os.close(terminal.fd)
    try:
        leaves(terminal)
    finally:
        terminal.fd, terminal.inside = pty.openpty()  # for close()


def test_writing_never_waits_and_the_last_words_arrive() -> None:
    outside, inside = pty.openpty()
    tty.setraw(inside)
    try:
        line = TerminalWriter(inside)
        began = time.monotonic()
        for _ in range(100):
            line.write("x" * 10_000)
        assert time.monotonic() - began < 1
        while line.pending > 990_000:  # until the kernel is full
            time.sleep(0.01)
        time.sleep(0.1)
        assert line.pending > 500_000
        line.write("\x1b[?1049l")
        line.finish()
        assert time.monotonic() - began < 5
        assert line.pending == 0
        left = b""
        while select.select([outside], [], [], 0.1)[0]:
            left += os.read(outside, 1 << 16)
        assert CANCEL in left
        assert left.endswith(b"\x1b[?1049l")
    finally:
        os.close(outside)
        os.close(inside)
