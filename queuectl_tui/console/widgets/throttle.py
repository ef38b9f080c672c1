"""Doing something soon, but not before its time, and not twice for being asked twice."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.timer import Timer
from textual.widget import Widget


class Throttle:
    """Calls ``call`` on behalf of ``widget`` when it is asked to, however often.

    Nothing that was asked for is dropped: what comes too early is done when its time comes.
    """

    def __init__(self, widget: Widget, call: Callable[[], None]) -> None:
        self._widget = widget
        self._call = call
        self._timer: Timer | None = None

    def ask(self, not_before: float) -> None:
        """Call now, or at ``not_before`` (monotonic seconds) if that is yet to come."""
        wait = not_before - time.monotonic()
        if wait <= 0:
            self._call()
        elif self._timer is None:
            self._timer = self._widget.set_timer(wait, self._due)

    def _due(self) -> None:
        self._timer = None
        self._call()
