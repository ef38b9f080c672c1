"""Ctrl-C (SIGINT): one line and exit code 130, never a traceback, and never "interrupted" for a
change that was made.

What it does depends on where the process is:

- while modules are loaded, and once a verb has said how it ended: the process ends at once;
- while a verb works: KeyboardInterrupt, as usual in Python;
- while a verb works that makes one change (:meth:`~Interrupts.finish_what_is_committed`): the same
  until the commit begins. From there on the first one is ignored: what is left takes a moment, and
  the caller learns that the change was made. The second one ends it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

INTERRUPTED = 130


class Interrupts:
    """What ctrl-c does in this process, from its start to its end."""

    def __init__(self) -> None:
        self._ours = False
        self._code = INTERRUPTED
        self._ignored = False

    def install(self) -> None:
        """Take ctrl-c over, unless it is ignored (``nohup``, a background job of a script).

        Without this nothing here has an effect: a program that calls the command line as a
        function keeps its own signals.
        """
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._ours = True
            self._set(self._end)

    def work(self) -> None:
        """A verb begins: ctrl-c is a KeyboardInterrupt, or what an event loop makes of it."""
        self._set(signal.default_int_handler)

    def finish_what_is_committed(self) -> None:
        """Until the verb's end ctrl-c is ignored once, from the moment that a commit begins."""
        self._ignored = False
        self._set(self._unless_committed)

    def end(self, code: int) -> None:
        """The verb has ended with this code: nothing is left that could be interrupted."""
        self._code = code
        self._set(self._end)

    def _set(self, handler: Callable[[int, FrameType | None], Any]) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, handler)

    def _unless_committed(self, _: int, __: FrameType | None) -> None:
        # Not imported here: where it is not loaded, nothing can have been committed.
        postcommit = sys.modules.get("queuectl_core.postcommit")
        if postcommit is not None and postcommit.commits and not self._ignored:
            self._ignored = True
            return
        raise KeyboardInterrupt

    def _end(self, _: int, __: FrameType | None) -> None:
        if self._code == INTERRUPTED:
            try:
                os.write(2, b"queuectl: interrupted\n")
            except OSError:
                pass
        os._exit(self._code)


ctrl_c = Interrupts()
