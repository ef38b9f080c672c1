"""A terminal behind a slow line: at most one screen of output waits, and keys come first.

Textual writes each frame to a queue; when that is full, the event loop waits. On a line of 3 KB a
second the screen is then many frames behind, and keys wait as well. Here the loop never waits. A
frame is sent only when the terminal has shown what it was sent before; what changes meanwhile is
remembered as regions, and drawn as it is by then. So old frames are dropped.

We ask the terminal where its cursor is to know what it has shown: nearly every terminal answers,
and only after it has shown everything before the question. A terminal that does not answer gets as
much as the kernel accepts. If that was too much, it gets time to catch up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from textual._compositor import ChopsUpdate, CompositorUpdate
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.events import CursorPosition
from textual.geometry import Region
from textual.message import Message
from textual.timer import Timer

from .terminal_input import InputDriver

if TYPE_CHECKING:
    from rich.console import RenderableType
    from textual.driver import Driver
    from textual.screen import Screen

FEW = 1024
"""Bytes that may still be on the line when the next frame is sent."""

ASK_AFTER = 512
"""Bytes after which the terminal is asked whether it has shown them."""

PATIENCE = 5.0
"""Seconds that we wait for an answer, at most."""

LAST_ANSWER = 2.0
"""Seconds to wait for an answer before another program gets the terminal."""

FIRST_ANSWER = 0.5
"""Seconds for the first answer. A terminal that takes longer is taken for one without answers."""

CHUNK = 512
"""Bytes in one write. On a terminal that we cannot open again, a write that is larger than the free
space in the kernel blocks until the terminal reads."""

BUFFERED = 20_000
"""Bytes that we expect in the kernel's buffer when it is full."""

BLOCKED = 0.05
"""Seconds of waiting for free space after which a line counts as slow."""

FAST = 1e6
"""Bytes a second of a line that is not slow."""

LONGEST_REST = 15.0
"""Seconds that a terminal without answers gets to catch up, at most."""

GOODBYE = 1.0
"""Seconds for the last output when the console ends."""

LOOK = 0.1
"""Seconds between checks whether a delayed frame can be sent."""

ASK = "\x1b[6n"
CANCEL = b"\x18"
"""Ends an escape sequence that is incomplete."""


class TerminalWriter:
    """Writes to a terminal in its own thread. Textual uses it as a file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._out = opened_anew(fd)
        self._never_blocks = self._out != fd
        self._parts: deque[bytes] = deque()
        self._pending = 0
        self._ahead = 0
        """Bytes of the first part that were written without the thread."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._leaving = False
        self.dead = False
        """The terminal is gone."""
        self.emptied: Callable[[], object] | None = None
        """Called once, in the thread, when the kernel has accepted everything."""
        self._rate = FAST
        """Estimated bytes a second of the line."""
        self.rests_until = 0.0
        """Until when a terminal that got too much catches up, in monotonic seconds."""

    @property
    def pending(self) -> int:
        """Bytes that the kernel has not accepted yet."""
        return self._pending

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        """Nothing to do: everything is sent at once."""

    def write(self, text: str) -> None:
        """Send text. Never waits."""
        data = text.encode("utf-8", "replace")
        with self._changed:
            if self.dead or not data:
                return
            if not self._parts and self._never_blocks:
                # Write here what there is space for: the thread must wait for Python's lock, which
                # takes milliseconds while a screen is being drawn.
                self._ahead = self._write_some(data)
                data = data[self._ahead :]
                if not data:
                    return
            self._parts.append(data)
            self._pending += len(data)
            if self._thread is None:
                self._leaving = False
                self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _write_some(self, data: bytes) -> int:
        """Write what the kernel has space for. Returns how many bytes."""
        try:
            written = os.write(self._out, data)
        except OSError:
            return 0  # no space, or no terminal: the thread will find out
        self._gained(written)
        return written

    def finish(self) -> None:
        """Send what is left, without frames, for a limited time. Then the terminal is given
        back."""
        with self._changed:
            thread, self._leaving, self.emptied = self._thread, True, None
            first = list(self._parts)[:1]  # it may be sent in part
            self._parts = deque(
                [*first, *(part for part in list(self._parts)[1:] if len(part) < FEW)]
            )
            self._pending = sum(map(len, self._parts))
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._parts or self.dead, GOODBYE)
            stuck = bool(self._parts) and not self.dead
        if stuck:
            # Nobody reads: drop what is in the kernel, to make space for the last output.
            with self._changed:
                rest = [CANCEL, *(part for part in self._parts if len(part) < FEW)]
                self._parts = deque(rest)
                self._pending = sum(map(len, rest))
            try:
                termios.tcflush(self._fd, termios.TCOFLUSH)
            except termios.error:
                pass
            with self._changed:
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._parts or self.dead, GOODBYE)
                self._parts.clear()
                self._pending = 0
        if thread is not None:
            thread.join(GOODBYE)
        self._thread = None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._parts or self._leaving)
                if not self._parts:
                    return
                part = self._parts[0]
                ahead, self._ahead = self._ahead, 0
            sent = self._send(part, ahead)
            with self._changed:
                if not sent:
                    self.dead = True
                    self._parts.clear()
                    self._pending = 0
                elif self._parts and self._parts[0] is part:
                    self._parts.popleft()
                    self._pending -= len(part)
                self._changed.notify_all()
                emptied = None if self._parts else self.emptied
                if emptied is not None:
                    self.emptied = None
                    emptied()
                if self.dead:
                    return

    def _send(self, part: bytes, ahead: int) -> bool:
        """Write all of ``part``. ``ahead``: bytes that were written before it. False when the
        terminal is gone."""
        poll = select.poll()
        poll.register(self._out, select.POLLOUT)
        began, waited, at = time.monotonic(), 0.0, 0
        most = len(part) if self._never_blocks else CHUNK
        while at < len(part):
            asked = time.monotonic()
            happened = poll.poll(100)
            waited += time.monotonic() - asked
            if not self._parts or self._parts[0] is not part:
                return True  # it is not needed any more
            if not happened:
                continue
            if happened[0][1] & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                return False
            try:
                at += os.write(self._out, part[at : at + most])
            except BlockingIOError:
                time.sleep(0.01)  # the space was used meanwhile
            except OSError:
                return False
        now = time.monotonic()
        if waited > BLOCKED:
            if ahead + len(part) >= CHUNK:  # a few bytes may wait long behind many
                self._rate = max(1.0, (ahead + len(part)) / (now - began))
            elif self._rate >= FAST:
                self._rate = BUFFERED / LONGEST_REST
            self.rests_until = now + min(LONGEST_REST, BUFFERED / self._rate)
        else:
            self._gained(len(part))
        return True

    def _gained(self, size: int) -> None:
        """``size`` bytes were written without waiting."""
        if self._rate < FAST:  # the line may be faster now: raise the estimate a little
            self._rate *= 1.1
            self.rests_until = max(time.monotonic(), self.rests_until) + size / self._rate


def opened_anew(fd: int) -> int:
    """A descriptor of the terminal ``fd`` that never blocks, or ``fd``. ``fd`` itself is shared
    with the shell and others, so its mode must not change."""
    try:
        return os.open(os.ttyname(fd), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return fd


class TerminalDriver(InputDriver):
    """A driver that knows what the terminal has shown."""

    def __init__(self, app: App[Any], **options: Any) -> None:
        super().__init__(app, **options)
        out = sys.__stderr__  # Textual draws on it; the console does not start without it
        self._line = TerminalWriter(out.fileno() if out is not None else 2)
        self._file: Any = self._line
        self.answered: Callable[[], None] = lambda: None
        """Called in the event loop when the terminal has answered."""
        self._sent = self._shown = self._asked_of = 0
        self._asked: deque[tuple[int, float]] = deque()
        """(bytes sent before, time) of each question without an answer."""
        self._answers: bool | None = None
        """Whether the terminal answers; None: not known yet."""
        self._lent = False
        """Another program has the terminal: the shell, or $EDITOR."""
        self._all_answered = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether another frame can be sent."""
        now = time.monotonic()
        if self._lent or self._line.pending or self._line.dead:
            return False
        if self._answers is None and self._asked:
            if now - self._asked[0][1] < FIRST_ANSWER:
                return self._sent - self._asked_of < FEW
            self._answers = False
        if self._answers:
            late = bool(self._asked) and now - self._asked[0][1] > PATIENCE
            return late or self._sent - self._shown < FEW
        return now >= self._line.rests_until

    @property
    def gone(self) -> bool:
        """Whether the terminal is gone."""
        return self._line.dead

    def write(self, data: str) -> None:
        self._sent += len(data)
        super().write(data)

    def call_when_taken(self) -> None:
        """Call :attr:`answered` also when the kernel has accepted everything."""
        self._line.emptied = lambda: self._loop.call_soon_threadsafe(self.answered)

    def ask(self, *, now: bool = False) -> None:
        """Ask the terminal what it has shown, after enough output."""
        if not now and (self._answers is False or self._sent - self._asked_of < ASK_AFTER):
            return
        self.write(ASK)
        while self._asked and time.monotonic() - self._asked[0][1] > PATIENCE:
            self._asked.popleft()
        self._asked.append((self._sent, time.monotonic()))
        self._asked_of = self._sent

    def process_message(self, message: Message) -> None:
        if isinstance(message, CursorPosition):
            self._loop.call_soon_threadsafe(self._was_answered)
            return
        super().process_message(message)

    def _was_answered(self) -> None:
        self._answers = True
        if self._asked:
            self._shown, _ = self._asked.popleft()
        if not self._asked:
            self._all_answered.set()
        self.answered()

    async def end_questions(self) -> None:
        """Stop drawing and asking, and wait for the missing answers: the next program that uses the
        terminal would read them as keys."""
        self._lent = True
        self._all_answered.clear()
        if self._asked and self._answers is not False:
            patience = LAST_ANSWER if self._answers else FIRST_ANSWER
            try:
                async with asyncio.timeout(patience):
                    await self._all_answered.wait()
            except TimeoutError:
                pass

    def start_application_mode(self) -> None:
        super().start_application_mode()
        self._asked.clear()
        self._shown = self._sent
        self.ask(now=True)

    def suspend_application_mode(self) -> None:
        self._lent = True
        super().suspend_application_mode()

    def resume_application_mode(self) -> None:
        super().resume_application_mode()
        self._lent = False

    def close(self) -> None:
        super().close()
        self._line.finish()


class PacedDisplay(App[int]):
    """An app that does not draw faster than its terminal can show."""

    @contextlib.asynccontextmanager
    async def lend(self) -> AsyncIterator[None]:
        """Give the terminal to another program inside. Raises SuspendNotSupported."""
        if isinstance(self._driver, TerminalDriver):
            await self._driver.end_questions()
        error: Exception | None = None
        with self.suspend():
            try:
                yield
            except (
                Exception
            ) as caught:  # raised in here, it would leave the terminal in the wrong mode
                error = caught
        if error is not None:
            raise error

    _owed: set[Region] | None = None
    """Regions that changed and were not sent."""
    _owed_timer: Timer | None = None

    def get_driver_class(self) -> type[Driver]:
        found = super().get_driver_class()
        return TerminalDriver if found is LinuxDriver else found

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        terminal = self._driver
        update: object = renderable
        if (
            not isinstance(terminal, TerminalDriver)
            or not isinstance(update, CompositorUpdate)
            or self._batch_count
        ):
            super()._display(screen, renderable)
            return
        terminal.answered = self._pay
        if terminal.ready:
            super()._display(screen, renderable)
            terminal.ask()
            return
        # What was sent may not have been a frame (a copied text). Then there was no question.
        terminal.ask()
        terminal.call_when_taken()
        if self._owed is None:
            self._owed = set()
        if isinstance(update, ChopsUpdate):
            self._owed.update(Region(x1, y, x2 - x1, 1) for y, x1, x2 in update.spans)
        else:
            self._owed.add(screen.size.region)
        if self._owed_timer is None:
            self._owed_timer = self.set_interval(LOOK, self._pay)

    def _pay(self) -> None:
        """Draw the regions that are missing, as they are now, if the terminal is ready."""
        terminal = self._driver
        if not self._owed or not isinstance(terminal, TerminalDriver):
            return
        if terminal.gone:
            self.exit(129)
        if terminal.gone or not terminal.ready or not self.screen_stack:
            return
        screen, owed, self._owed = self.screen, self._owed, None
        if self._owed_timer is not None:
            self._owed_timer.stop()
            self._owed_timer = None
        whole = screen._compositor.size.region  # empty before the first frame of a screen
        parts = {region.intersection(whole) for region in owed}
        if dirty := {region for region in parts if region}:
            # Widgets that changed meanwhile wait for the screen's own timer. The refresh below
            # would forget them, so they are drawn now.
            screen._compositor.update_widgets(screen._dirty_widgets)
            screen._compositor._dirty_regions.update(dirty)
            screen._compositor_refresh()
