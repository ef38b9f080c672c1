"""A real console on a pseudo-terminal, whose keys change things."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import ClassVar

import pyte

from ..book import PLAY, Answer, Planned, answer_of
from . import Actor

ROWS, COLUMNS = 40, 120
PATIENCE = 30.0
"""Seconds to wait for an answer on the screen. A slow answer alone is no fault."""
UNSUITABLE = ("it cannot be ", "no job is selected", "is due again")
"""What a console says to a key that came when another job was under the cursor, or none. No answer
about the right one will come."""


class Terminal:
    """A pseudo-terminal with a program in it, and what one would see there."""

    def __init__(self, start: Callable[[int], subprocess.Popen[bytes]]) -> None:
        self._fd, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        try:
            self.process = start(inside)
        finally:
            os.close(inside)
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        """The screen as lines."""
        return "\n".join(self._screen.display)

    def read(self, seconds: float) -> None:
        """Read what the program writes; wait so many seconds for the first of it."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:  # nobody has the other end open any more
            time.sleep(min(seconds, 0.05))
            return
        # pyte takes the keyboard protocol's "CSI < u" and "CSI > 1 u" for a restored cursor.
        for code in (b"\x1b[<u", b"\x1b[>25u"):
            data = data.replace(code, b"")
        self._stream.feed(data)

    def press(self, keys: str) -> None:
        """Type."""
        try:
            os.write(self._fd, keys.encode())
        except OSError:
            pass  # the program is gone: the next look at the screen finds that out

    def close(self) -> None:
        """Not to be used any more."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._fd)


class Console(Actor):
    """One console after another. A console that was killed is opened again."""

    name: ClassVar[str] = "console"
    pause: ClassVar[float] = 0.5
    _terminal: Terminal | None = None

    def act(self) -> None:
        if self._terminal is None or self._terminal.process.poll() is not None:
            self._open()
            return
        choices: list[Callable[[], None]] = [
            *(self.enqueue,) * 5,
            *(self.retry, self.cancel, self.delete) * 2,
            self.start_workers,
            self.quit,
        ]
        self.rng.choice(choices)()

    def rest(self, seconds: float) -> None:
        if self._terminal is None:
            super().rest(seconds)
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.stopping:
            self._terminal.read(0.05)

    def finish(self) -> None:
        if self._terminal is not None:
            self.quit()

    # -- opening and closing ------------------------------------------------------------

    def _open(self) -> None:
        self._forget()
        env = self.plant.environment() | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self._terminal = Terminal(
            lambda inside: self.plant.spawn(
                [sys.executable, "-m", "chaos.agent", "tui"],
                stdin=inside,
                stdout=inside,
                stderr=inside,
                env=env,
                start_new_session=True,
            )
        )
        self.figures["consoles"] += 1
        self._until("enqueue", "4 jobs")

    def _forget(self) -> None:
        """Look how it ended."""
        terminal, self._terminal = self._terminal, None
        if terminal is None:
            return
        for _ in range(20):
            terminal.read(0)
        code = terminal.process.poll()
        self.plant.say("consoles", terminal.text.replace("\n\n", "\n") if code else "")
        # A server that is away may keep it from opening; a file is always there.
        away = (5,) if self.plant.database.kind == "postgres" else ()
        if code is not None and code > 0 and code not in away:
            self.broken.append(f"a console ended with exit {code}:\n{terminal.text.strip()}")
        terminal.close()

    def quit(self) -> None:
        assert self._terminal is not None
        self._press("\x1b")
        self._press("q")
        deadline = time.monotonic() + PATIENCE
        while self._terminal.process.poll() is None:
            self._terminal.read(0.05)
            if time.monotonic() > deadline:
                self.broken.append(f"a console does not quit:\n{self._terminal.text.strip()}")
                break
        self._forget()

    # -- keys and answers ---------------------------------------------------------------

    def _press(self, keys: str) -> None:
        if self._terminal is None:
            return
        self._terminal.press(keys)
        # A key after an escape would be taken for one with Alt.
        deadline = time.monotonic() + (0.25 if keys.startswith("\x1b") else 0.05)
        while time.monotonic() < deadline:
            self._terminal.read(0.02)

    def _until(self, *wanted: str) -> bool:
        """Whether one of these comes onto the screen."""
        assert self._terminal is not None
        deadline = time.monotonic() + PATIENCE
        while not any(words in self._terminal.text for words in wanted):
            if time.monotonic() > deadline or self._terminal.process.poll() is not None:
                return False
            self._terminal.read(0.05)
        return True

    def _refusals(self) -> set[str]:
        """The lines with messages that say no."""
        assert self._terminal is not None
        return {line.strip() for line in self._terminal.text.splitlines() if "✗" in line}

    def _unsuitable(self) -> set[str]:
        """The lines with messages that a key was not for the right job."""
        assert self._terminal is not None
        lines = self._terminal.text.splitlines()
        return {line.strip() for line in lines if any(words in line for words in UNSUITABLE)}

    def _asks_or_refuses(self, old: set[str]) -> bool:
        """Whether a question or a new message that says no comes onto the screen."""
        assert self._terminal is not None
        deadline = time.monotonic() + PATIENCE
        while "y  yes" not in self._terminal.text:
            if (self._refusals() | self._unsuitable()) - old:
                return True
            if time.monotonic() > deadline or self._terminal.process.poll() is not None:
                return False
            self._terminal.read(0.05)
        return True

    def _answer(self, good: str, old: set[str]) -> Answer:
        """What the screen says. If the console is gone or says nothing, the request is in doubt;
        also if the key was for another job.

        ``old``: the refusals that were on the screen before. They are about other requests, and
        this one may still be done.
        """
        assert self._terminal is not None
        deadline = time.monotonic() + PATIENCE
        while good not in self._terminal.text:
            gone = self._terminal.process.poll() is not None
            refused = bool(self._refusals() - old)
            unsuitable = bool(self._unsuitable() - old)
            if refused or unsuitable or gone or time.monotonic() > deadline:
                text = self._terminal.text
                self._close_what_is_open()
                return answer_of(1, text) if refused else Answer.IN_DOUBT
            self._terminal.read(0.05)
        return Answer.ACKNOWLEDGED

    def _form_answer(self) -> Answer:
        """How the form ended. If the job was refused, it stays open and says why."""
        assert self._terminal is not None
        deadline = time.monotonic() + PATIENCE
        while "✓ enqueued" not in self._terminal.text:
            text = self._terminal.text
            # With … before its command line, an action has begun and not ended.
            begun = "enqueuing: waits" in text or "… $ queuectl enqueue" in text
            # An empty form: what was typed is still to come, as the console is slow.
            undecided = begun or "enter: enqueue" in text or "type a command" in text
            if "enqueue a job" in text and not undecided and "output_limit" in text:
                self._terminal.read(0.3)
                if self._terminal.text != text:
                    continue  # that was a part of a frame
                self._close_what_is_open()
                self.figures["console: forms refused"] += 1
                said = " ".join(text.replace("│", " ").split())
                if self.plant.database.kind == "sqlite":
                    self.broken.append(f"a console could not enqueue: {said[:1500]}")
                return answer_of(1, said)
            if time.monotonic() > deadline or self._terminal.process.poll() is not None:
                return Answer.IN_DOUBT
            self._terminal.read(0.05)
        return Answer.ACKNOWLEDGED

    def _close_what_is_open(self) -> None:
        for _ in range(3):
            self._press("\x1b")

    # -- what it does -------------------------------------------------------------------

    def enqueue(self) -> None:
        """Through the form. The message names the command line, and so the job."""
        job = Planned(f"{self.name}{self._count:05}", 0, 3, PLAY)
        self._count += 1
        self._press("e")
        if not self._until("enqueue a job"):
            return
        self.book.add(job)
        self._press(job.command(self.seconds()))
        for _ in range(2):  # past the id, to the queue
            self._press("\x1b[B")
        self._press(PLAY)
        self._until(f"--queue {PLAY}")  # the form shows the command line that does the same
        self._press("\r")
        said = self._form_answer()
        text = "" if self._terminal is None else self._terminal.text
        if said is Answer.ACKNOWLEDGED and not any(
            "✓ enqueued" in line and job.name in line for line in text.splitlines()
        ):
            said = Answer.IN_DOUBT  # that was the message about another one
        job.answer = said
        self.figures[f"console: enqueue {said.value}"] += 1
        if said is not Answer.ACKNOWLEDGED:
            self._close_what_is_open()

    def _change(self, key: str, what: str, good: str, states: tuple[str, ...]) -> None:
        """Find one job by its name, press a key on it, say yes."""
        found = self.some_job(*states)
        if found is None:
            return
        name, job_id = found
        self._press("/")
        self._press(f"{name}\r")
        self._press("4g")
        old = self._refusals() | self._unsuitable()
        self._press(key)
        # A retry is done without a question.
        if what != "retry" and self._asks_or_refuses(old):
            if not self._is_asked_about(job_id):
                # The key came before the filter had found the job: nobody says yes to that.
                self.figures[f"console: {what} of another job offered"] += 1
                self._close_what_is_open()
                return
            self._press("y")
        answer = self._answer(f"✓ {job_id} {good}", old)
        self.ask(what, name, answer)
        self.figures[f"console: {what} {answer.value}"] += 1
        self._press("\x1b")
        self._press("\x1b")

    def _is_asked_about(self, job_id: str) -> bool:
        """Whether the question on the screen is about this job: it shows the command line."""
        assert self._terminal is not None
        lines = (line for line in self._terminal.text.splitlines() if "$ queuectl " in line)
        return any(job_id in line.split() for line in lines)

    def retry(self) -> None:
        self._change("r", "retry", "is due again", ("dead", "cancelled"))

    def cancel(self) -> None:
        self._change("c", "cancel", "is ", ("pending", "processing"))

    def delete(self) -> None:
        self._change("D", "remove", "is deleted", ("completed", "dead", "cancelled"))

    def start_workers(self) -> None:
        """A few: there may be no more than two at a time in the background."""
        if len(self.plant.detached()) > 1:
            return
        self._press("s")
        if self._until("how many workers"):
            self._press("\r")
            self._until("up", "✗")
            self.figures["console: workers started"] += 1
        self._close_what_is_open()
