"""The server's clock, as this process knows it.

The clocks of hosts that share a store may differ. So the server's clock decides when a job is due,
was enqueued, or ended. It is read together with other queries. In between, this host's monotonic
clock continues it, so a wrong wall clock has no effect. Leases do not depend on this reading: the
server compares them itself.
"""

from __future__ import annotations

from ...system.clocks import monotonic

DRIFT = 1e-3
"""Seconds per second by which two clocks may diverge. Real machines are much better."""


class ServerClock:
    """Epoch seconds on the server's clock. The error is at most half a round trip."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._error = float("inf")
        self._read_at = 0.0

    def __call__(self) -> float:
        return monotonic() + self._offset

    def read(self, found: float, asked: float, answered: float) -> None:
        """The server's clock was ``found`` between these two monotonic times."""
        error = (answered - asked) / 2
        offset = found - (asked + answered) / 2
        known = self._error + (answered - self._read_at) * DRIFT
        # A better reading, or one that contradicts the old one: somebody set the server's clock.
        if error <= known or abs(offset - self._offset) > error + known:
            self._offset, self._error, self._read_at = offset, error, answered
