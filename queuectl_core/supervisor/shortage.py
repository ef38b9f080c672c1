"""When the host lacks what a start needs: processes, memory, files, space for output.

That is no job's fault. So a job that could not be started goes back as if it had never been
claimed, and nothing is claimed for a while. Then one job is tried; when it starts, all go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from ..domain.notices import Notice, NoticeKind

PAUSE = 0.5
"""Seconds until a start is tried again; doubles up to ``LONGEST_PAUSE``."""
LONGEST_PAUSE = 30.0
CALM = 0.5
"""Seconds after a start in which it must not fail after all. A job with limits, or on a network
mount, counts as started when it was forked. That its program cannot be run is known only then."""


@dataclass(slots=True)
class Shortage:
    """The shortage that one supervisor's host has, if any. ``look``: there may be something to
    claim again."""

    tell: Callable[[Notice], None]
    look: Callable[[], None]
    reason: str = ""
    """What is lacking; empty: nothing."""
    _delay: float = PAUSE
    _timer: asyncio.TimerHandle | None = None
    _calm: asyncio.TimerHandle | None = None
    """Set when a job was started: it is over when nothing fails until then."""
    _probes: set[str] = field(default_factory=set)
    """Tokens of the jobs that are being tried."""

    def met(self, reason: str) -> None:
        """A job could not be started for this reason."""
        self._probes.clear()
        self._cancel_calm()
        if not self.reason:
            self.tell(Notice(NoticeKind.TROUBLE, f"{reason}; jobs wait until starts succeed again"))
        self.reason = reason
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._delay, self._try_again)
            self._delay = min(2 * self._delay, LONGEST_PAUSE)

    def started(self) -> None:
        """A job was started."""
        if self.reason and self._timer is None and self._calm is None:
            self._calm = asyncio.get_running_loop().call_later(CALM, self._end)

    def _end(self) -> None:
        """Starts succeed."""
        self._cancel_calm()
        self.reason = ""
        self._delay = PAUSE
        self._probes.clear()
        self.tell(Notice(NoticeKind.TROUBLE, "jobs can be started again"))
        self.look()

    def tries(self, token: str) -> None:
        """This job is about to be started."""
        if self.reason:
            self._probes.add(token)

    def tried(self, token: str) -> None:
        """This job has ended, or could not be started for a reason of its own."""
        if token not in self._probes:
            return
        self._probes.remove(token)
        if self._calm is not None:
            self._end()
        else:
            self.look()

    @property
    def slots(self) -> int | None:
        """How many jobs may be claimed; None: any number."""
        if not self.reason:
            return None
        return 0 if self._timer is not None or self._probes else 1

    def _try_again(self) -> None:
        self._timer = None
        self.look()

    def forget(self) -> None:
        """The jobs that were being tried have another owner by now."""
        self._probes.clear()

    def disarm(self) -> None:
        """Cancel the timers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._cancel_calm()

    def _cancel_calm(self) -> None:
        if self._calm is not None:
            self._calm.cancel()
            self._calm = None
