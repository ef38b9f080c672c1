"""Calls that must not come too early, and not twice for two requests."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.timer import Timer
from textual.widget import Widget


class Throttle:
    """Calls ``call`` for ``widget`` on request.

    No request is dropped: one that is too early is delayed.
    """

    def __init__(self, widget: Widget, call: Callable[[], None]) -> None:
        self._widget = widget
        self._call = call
        self._timer: Timer | None = None

    def ask(self, not_before: float) -> None:
        """Call now, or at ``not_before`` (monotonic seconds) if that is in the future."""
        wait = not_before - time.monotonic()
        if wait <= 0:
            self._call()
        elif self._timer is None:
            self._timer = self._widget.set_timer(wait, self._due)

    def _due(self) -> None:
        self._timer = None
        self._call()
