"""The server's clock, as this process knows it.

Hosts that share a store may disagree about the time, so the server's clock is everybody's: when
a job is due, when it was enqueued, when it ended. It is read along with what is asked for anyway
and carried on by this host's monotonic clock in between, so a wall clock that is wrong, or set,
changes nothing. Leases do not depend on this reading: the server compares those itself.
"""

from __future__ import annotations

from ...system.clocks import monotonic

DRIFT = 1e-3
"""Seconds by which two clocks may part in a second; those of real machines are far better."""


class ServerClock:
    """Seconds since the epoch by the server's clock, give or take half a round trip."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._error = float("inf")
        self._read_at = 0.0

    def __call__(self) -> float:
        return monotonic() + self._offset

    def read(self, found: float, asked: float, answered: float) -> None:
        """The server said ``found`` between these two monotonic times."""
        error = (answered - asked) / 2
        offset = found - (asked + answered) / 2
        known = self._error + (answered - self._read_at) * DRIFT
        # A better reading; or one that cannot be reconciled: somebody set the server's clock.
        if error <= known or abs(offset - self._offset) > error + known:
            self._offset, self._error, self._read_at = offset, error, answered
