"""Noticing that a shim cannot run, and deciding what to do about it.

A shim ignores every signal but two. SIGKILL ends it, which is noticed at once. SIGSTOP stops it,
and any job may send it. A debugger or the cgroup freezer can hold a shim as well. Then no job
starts, no exit is seen and no job can be ended, so a shim is looked at once a second:

- One that is stopped is told to continue. Nothing is lost.
- One that is stopped again and again, or says nothing for long, is killed. Then everything goes on
  as after any other death of a shim: the job that did it is alone in its next shim.
- One that waits in the kernel (state D), for a disk that does not answer say, is left alone. It
  goes on by itself, and SIGKILL would have no effect before. Then it has the whole time to answer.

Looks are counted, not seconds: this process may have been stopped or suspended itself.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from ...system.host import DISK_SLEEP, STOPPED

STOPS_AT_MOST = 4
"""How often a shim may be found stopped, before it is given up."""
FORGIVEN = 0.1
"""Stops that are forgotten with each look at which it is not stopped."""
PING_EVERY = 5
"""Looks without a word from the shim, after which it is asked for one."""
SILENT_AT_MOST = 30
"""Looks without a word from the shim, before it is given up."""


class Liveness:
    """What is known of one shim. ``tell`` gets what people should know."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._stops = 0.0
        self._silent = 0
        """Looks without a word, since it last waited in the kernel."""
        self._waited = 0
        """All looks without a word."""

    def heard(self) -> None:
        """It said something, or owes us nothing."""
        self._silent = self._waited = 0

    @property
    def ping_is_due(self) -> bool:
        """It should be asked for a word."""
        return self._waited % PING_EVERY == 0

    def look(self, state: str, *, urgent: bool) -> int:
        """To be called once a second with the state of its process. Returns the signal that it is
        to be sent: SIGCONT, SIGKILL or 0. ``urgent``: somebody waits for the workers to be gone."""
        self._waited += 1
        self._silent = 0 if state == DISK_SLEEP else self._silent + 1
        stopped = state == STOPPED
        self._stops = self._stops + 1 if stopped else max(0.0, self._stops - FORGIVEN)
        if self._stops > STOPS_AT_MOST:
            return self._give_up("is stopped again and again")
        if (self._waited if urgent else self._silent) > SILENT_AT_MOST:
            return self._give_up("does not answer")
        if stopped:
            self._tell("the shim was stopped, by a job perhaps; it was told to continue")
            return signal.SIGCONT
        return 0

    def _give_up(self, why: str) -> int:
        self._tell(f"the shim {why}; killing it")
        self._stops = 0.0  # from the beginning: one that cannot die now is told of now and then
        self.heard()
        return signal.SIGKILL
