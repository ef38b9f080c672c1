"""Reports once that the store cannot wake this supervisor, and once that it can again.

Work goes on meanwhile: the tick looks at the store every second. When a server cannot be reached
at all, the dispatcher reports it, and nothing is reported here.
"""

from __future__ import annotations

from ...domain.notices import Notice, NoticeKind
from ..context import Context
from ..dispatcher import Dispatcher


class WakeUps:
    """What one supervisor has said about it."""

    def __init__(self, context: Context, dispatcher: Dispatcher) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._reports = 0
        """Reports of the dispatcher until the wake-ups broke."""
        self._broken = self._told = False

    async def look(self) -> None:
        """To be called at every tick."""
        dispatcher, tell = self._dispatcher, self._context.tell
        trouble = self._context.deaf
        if trouble is None:
            if self._told:
                tell(Notice(NoticeKind.TROUBLE, "the store's wake-ups work again"))
            self._broken = self._told = False
            self._reports = dispatcher.reports
        elif not self._broken:
            self._broken = True
            self._context.look()  # it finds out whether the store works otherwise
        elif not self._told and not dispatcher.troubled and dispatcher.reports == self._reports:
            self._told = True
            message = f"no wake-ups: {trouble}; looking every second, and trying again"
            tell(Notice(NoticeKind.TROUBLE, message))
