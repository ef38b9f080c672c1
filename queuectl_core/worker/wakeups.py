"""Saying that the store cannot wake us, once, and that it can again.

Work goes on meanwhile: the tick looks at the store every second. A server that cannot be reached
at all is the pump's to report, and then nothing is said here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import Event, Kind

if TYPE_CHECKING:
    from .supervisor import Supervisor


class WakeUps:
    """What one supervisor has said about it."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._sup = supervisor
        self._reports = 0
        """Reports of the pump until the wake-ups broke."""
        self._broken = self._told = False

    async def look(self) -> None:
        """To be called at every tick."""
        sup = self._sup
        trouble = sup.deaf
        if trouble is None:
            if self._told:
                sup.tell(Event(Kind.TROUBLE, "the store's wake-ups work again"))
            self._broken = self._told = False
            self._reports = sup.pump.reports
        elif not self._broken:
            self._broken = True
            sup.pump.look()  # it finds out whether the store works otherwise
        elif not self._told and not sup.pump.troubled and sup.pump.reports == self._reports:
            self._told = True
            message = f"no wake-ups: {trouble}; looking every second, and trying again"
            sup.tell(Event(Kind.TROUBLE, message))
