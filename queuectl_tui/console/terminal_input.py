"""What the terminal sends, and how the console gives the terminal back and takes it again."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Size
from textual.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REST_PATIENCE = 2.0
"""Seconds to wait for the rest of an incomplete sequence."""
PATIENCE = 0.5
"""The same for what may be the rest of a sequence whose ESC was taken for the escape key. It may
also be a key that a person waits for."""
ESCAPE_PATIENCE = 0.1
"""Seconds to wait for what follows an ESC. After that it was the escape key."""
ESCAPE = "\x1b"
"""Alone, the escape key; at the beginning of a longer text, the start of a sequence."""

SETTLES = 0.2
"""Seconds after which a signal that continued this process has been handled."""

_BEGUN = re.compile(rb"\x1b(\[[0-?]*[ -/]*|O)?\Z")
_PASTE_OR_KEY = re.compile("\x1b\\[200~.*?(?:\x1b\\[201~|\\Z)|(\x1b)(?![\\[OP\\]^_X])", re.DOTALL)
_PASTE_END = "\x1b[201~"
_OLD_MOUSE = re.compile(rb"\x1b\[M(.{3})", re.DOTALL)
_OLD_MOUSE_BEGUN = re.compile(rb"\x1b\[M.{0,2}\Z", re.DOTALL)
_ANSWER = re.compile(rb"\x1b\[\d+;\d+R")
"""Where the cursor is, as the terminal answers us. It may come between the pieces of a key."""
_TAIL = re.compile(rb"\[M.{3}|\[[0-?]+[ -/]*[@-~]|\[[ -/]+[@-~]|\[[A-IOP-SZ]|O[ -~]", re.DOTALL)
"""The rest of a sequence, after its ESC. A sequence without a parameter ends with one of the
letters that terminals use for keys. So ``[`` and another letter are two keys."""
_TAIL_BEGUN = re.compile(rb"\[M.{0,2}|\[[0-?]*[ -/]*|O", re.DOTALL)


class InputDecoder:
    """Decodes what a terminal sends, in chunks of any size, into text for Textual's parser.

    - A sequence (an arrow key, a mouse report) that arrives in pieces is passed on as a whole. Its
      letters alone would be commands. If its ESC was taken for the escape key before, the rest is
      dropped, also when that comes in pieces.
    - An ESC with a character behind it is the escape key and that character: two keys that came in
      one packet. For Textual it would be one key with alt, and we use none of these.
    - A mouse report in the old form has three raw bytes, which may also be letters. It is dropped.
    - Bytes that are not UTF-8 are dropped and counted.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._held = b""
        self._held_at = 0.0
        self._escape_at = 0.0
        """When an ESC was last taken for the escape key."""
        self._tail = b""
        """What came after that and may be the beginning of the rest of a sequence."""
        self._pasting = False
        self.bad = 0
        """Bytes that were not UTF-8."""

    def feed(self, raw: bytes, now: float) -> list[str]:
        """The text of ``raw`` and of the bytes before it that were incomplete, in pieces. The piece
        :data:`ESCAPE` is the escape key."""
        answers: list[str] = []
        if not self._pasting and (found := _ANSWER.findall(raw)):
            answers = [answer.decode() for answer in found]
            raw = _ANSWER.sub(b"", raw)
            if not raw:
                return answers
        return answers + self._feed(raw, now)

    def _feed(self, raw: bytes, now: float) -> list[str]:
        raw, self._tail = self._tail + raw, b""
        if now - self._escape_at < PATIENCE:
            if _TAIL_BEGUN.fullmatch(raw):
                if len(raw) > 1:  # nobody types that
                    self._escape_at = now
                self._tail = raw
                return []
            if tail := _TAIL.match(raw):
                # The rest of a sequence whose ESC was taken for the escape key: dropped.
                raw = raw[tail.end() :]
        self._escape_at = 0.0
        raw, self._held = self._held + raw, b""
        raw = _OLD_MOUSE.sub(b"", raw)
        begun = _OLD_MOUSE_BEGUN.search(raw) or _BEGUN.search(raw)
        if begun:
            raw, self._held = raw[: begun.start()], raw[begun.start() :]
            self._held_at = now
        text = self._decoder.decode(raw)
        kept = "".join(char for char in text if not "\udc80" <= char <= "\udcff")
        self.bad += len(text) - len(kept)
        return list(self._pieces(kept))

    def _pieces(self, text: str) -> Iterator[str]:
        if self._pasting:  # pasted text is never a key
            end = text.find(_PASTE_END)
            if end < 0:
                yield from [text] * bool(text)
                return
            self._pasting = False
            yield text[: end + len(_PASTE_END)]
            text = text[end + len(_PASTE_END) :]
        done = 0
        for found in _PASTE_OR_KEY.finditer(text):
            if not found[1]:
                self._pasting = not found[0].endswith(_PASTE_END)
                continue
            if found.start() > done:
                yield text[done : found.start()]
            yield ESCAPE
            done = found.end()
        if done < len(text):
            yield text[done:]

    def expire(self, now: float) -> list[str]:
        """Drop a sequence that was never completed. An ESC alone was the escape key. What came
        after it and did not become the rest of a sequence was keys."""
        if self._tail and now - self._escape_at > PATIENCE:
            return self._feed(b"", now)
        if self._held == b"\x1b" and now - self._held_at > ESCAPE_PATIENCE:
            self._held = b""
            self._escape_at = now
            return [ESCAPE]
        if self._held and now - self._held_at > REST_PATIENCE:
            self._held = b""
        return []

    @property
    def patience(self) -> float:
        """Seconds after which :meth:`expire` must be called."""
        return ESCAPE_PATIENCE / 2 if self._held == b"\x1b" else 0.1


class NotUtf8(Message):
    """The terminal sent bytes that are not UTF-8."""


class InputDriver(LinuxDriver):
    """Textual's driver with :class:`InputDecoder`."""

    def start_application_mode(self) -> None:
        super().start_application_mode()  # type: ignore[no-untyped-call]
        # Textual's handler may interrupt itself. Then the older size would be reported last.
        self._loop.add_signal_handler(signal.SIGWINCH, self._tell_size)

    def _tell_size(self) -> None:
        if not self._in_band_window_resize:
            size = Size(*self._get_terminal_size())
            self.process_message(events.Resize(size, size))

    def run_input_thread(self) -> None:
        """Read keys until the driver stops. No byte can end the console."""
        import selectors

        parser = XTermParser(self._debug)
        source = InputDecoder()
        selector = selectors.DefaultSelector()
        selector.register(self.fileno, selectors.EVENT_READ)
        try:
            while not self.exit_event.is_set():
                ready = selector.select(source.patience)
                now = time.monotonic()
                if ready:
                    raw = os.read(self.fileno, 4096)
                    if not raw:
                        return  # the terminal is gone: see hangup
                    bad = source.bad
                    pieces = source.feed(raw, now)
                    if source.bad > bad:
                        self._app.call_later(self._app.post_message, NotUtf8())
                else:
                    pieces = source.expire(now)
                for piece in pieces:
                    if piece == ESCAPE:
                        self.process_message(events.Key("escape", ESCAPE))
                    else:
                        self._send_all(parser.feed(piece))
                self._send_all(parser.tick())
        except OSError:
            return  # the terminal is gone: see hangup
        finally:
            selector.close()

    def _send_all(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.process_message(message)


class Suspension:
    """Suspends the console (SIGTSTP, ctrl+z) and continues it (``fg``).

    The handlers run in the event loop. Those of Textual may interrupt any code, and may wait for a
    lock that this code holds.
    """

    def __init__(
        self, driver: LinuxDriver, back: Callable[[], object], refused: Callable[[], object]
    ) -> None:
        """``back``: called when we have the terminal again. ``refused``: called when the process
        was not stopped."""
        self._driver = driver
        self._back = back
        self._refused = refused
        self._away = False
        self._asked = False
        """Whether we have asked to be stopped and were not continued yet."""

    def stop(self) -> None:
        """Give the terminal back and stop this process."""
        if self._driver._auto_restart:  # else another program has the terminal: $EDITOR
            self._driver.suspend_application_mode()
            self._away = True
        self._asked = True
        # The default action, not SIGSTOP: without a shell that could continue us
        # (ssh -t HOST queuectl tui), the kernel ignores it.
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        asyncio.get_running_loop().call_later(SETTLES, self._still_here)

    def _still_here(self) -> None:
        if not self._asked:
            return  # we were stopped, and continued
        away = self._away
        self.go_on()
        if away:
            self._refused()

    def go_on(self) -> None:
        """The process was continued: take the terminal and draw everything."""
        self._asked = False
        if not self._driver._auto_restart:
            return
        if not self._away:  # it was stopped with SIGSTOP, which no handler sees
            self._driver.suspend_application_mode()
        self._driver.resume_application_mode()
        thread = self._driver._key_thread
        # After "bg" we have no terminal: the driver has stopped the process again, until "fg".
        self._away = thread is None or not thread.is_alive()
        if not self._away:
            self._back()
