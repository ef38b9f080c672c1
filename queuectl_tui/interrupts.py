"""Ctrl-C (SIGINT) and SIGTERM: one line and exit code 130 or 143, never a traceback, and never
"interrupted" for a change that was made.

What a signal does depends on where the process is:

- while modules are loaded, and when a verb has ended: the process ends at once;
- while a verb works: it is stopped (:class:`Interrupted`);
- from the moment that a commit begins: the first one is ignored, because what is left takes a
  moment and the caller must learn that the change was made. The second one stops the verb. A verb
  with several commits, or that waits after its commit, says where it can be stopped again:
  :meth:`queuectl_core.system.postcommit.Commits.goes_on`.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from types import FrameType
from typing import Any

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Interrupted(KeyboardInterrupt):
    """A verb was stopped by a signal. Not KeyboardInterrupt itself: if that passes through an
    ``exec``, Python ends the process by the signal, even when the exception is caught."""


class Interrupts:
    """What signals do in this process, from its start to its end."""

    def __init__(self) -> None:
        self._works = False
        self._code: int | None = None
        self._heard: int = signal.SIGINT
        self._task: Any = None
        self._handled: dict[int, Any] = {}
        self._show_lost: Any = None

    def install(self) -> None:
        """Take the signals over, unless they are ignored (a background job of a script).

        A program that calls the command line as a function does not call this. It keeps its own
        signals.
        """
        for number in WORDS:
            before = signal.getsignal(number)
            if before in (signal.default_int_handler, signal.SIG_DFL):
                self._handled[number] = before
                signal.signal(number, self._on_signal)
        self._show_lost, sys.unraisablehook = sys.unraisablehook, self._on_lost
        # Python gives signals their default action back before the process has ended. The first
        # function that is registered is called last.
        atexit.register(self._set, signal.SIG_IGN)

    def give_back(self) -> None:
        """Signals do again what they did before: the console has its own handlers."""
        for number, before in self._handled.items():
            signal.signal(number, before)

    def work(self) -> None:
        """A verb begins: a signal stops it."""
        self._works = True

    def under_loop(self, task: Any) -> None:
        self._task = task

    def end(self, code: int | None) -> None:
        """The verb has ended with this code (None: it failed), and nothing is left to stop."""
        self._works = False
        self._code = code

    @property
    def code(self) -> int:
        """The exit code of a process that a signal ended."""
        return 128 + self._heard

    @property
    def word(self) -> str:
        return WORDS[signal.Signals(self._heard)]

    def leave(self) -> None:
        if self._code is not None:
            os._exit(self._code)
        try:
            os.write(2, f"queuectl: {self.word}\n".encode())
        except OSError:
            pass
        os._exit(self.code)

    def _set(self, handler: Any) -> None:
        for number in self._handled:
            signal.signal(number, handler)

    def _on_lost(self, lost: Any) -> None:
        """An exception was raised where Python can only report it, for example in ``__del__``."""
        if issubclass(lost.exc_type, Interrupted):
            self.leave()  # no commit is running, or it is the second signal
        self._show_lost(lost)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._heard = number
        if not self._works:
            self.leave()
        # Not imported here: where it is not loaded, nothing can have been committed.
        commits = getattr(sys.modules.get("queuectl_core.system.postcommit"), "commits", None)
        if commits is not None and not commits.stop():
            return
        task = self._task
        if task is None:  # asyncio may not be loaded completely
            raise Interrupted
        asyncio = sys.modules["asyncio"]
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise Interrupted from None
        if asyncio.current_task(loop) is not None:
            raise Interrupted
        # The loop itself runs, or waits. An exception could make it lose a callback.
        self._task = None
        loop.call_soon_threadsafe(task.cancel)


signals = Interrupts()
