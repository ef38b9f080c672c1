"""The line for the filter at the bottom of the screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input

PAUSE = 0.15
"""Seconds without a key after which the filter is applied."""

HINTS = {
    "workers": "id, job or host contains…",
    "dlq": "reason contains…",
    "events": "job.dead, or text",
    "schedules": "name or command contains…",
}
"""Which texts are searched, for panes other than the jobs."""


class SearchLine(Input):
    """``/``: filters while you type. Enter keeps the filter, esc removes it."""

    DEFAULT_CSS = """
    SearchLine { height: 1; border: none; padding: 0; background: $surface; }
    SearchLine:focus { border: none; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "keep the filter", key_display="⏎"),
        Binding("escape", "give_up", "clear", key_display="esc"),
        Binding("down", "keep", "to the rows", show=False),
    ]

    @dataclass
    class Typed(Message):
        """Apply this filter now; empty: none."""

        text: str

    class Closed(Message):
        """The line is closed; the filter stays."""

    def __init__(self, text: str, pane: str) -> None:
        hint = HINTS.get(pane, "id, command or error contains…")
        super().__init__(text, id="filter", placeholder=hint)
        self.cursor_blink = False  # a blinking cursor costs 2.6 KB a second
        self._later: Timer | None = None

    def on_mount(self) -> None:
        self.focus()

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        message.stop()
        if self._later is not None:
            self._later.stop()
        self._later = self.set_timer(PAUSE, self._tell)

    def _tell(self) -> None:
        if self._later is not None:
            self._later.stop()
            self._later = None
        self.post_message(SearchLine.Typed(self.value))

    @on(Input.Submitted)
    def _submitted(self, message: Input.Submitted) -> None:
        message.stop()
        self.action_keep()

    def action_keep(self) -> None:
        self._tell()
        self._close()

    def action_give_up(self) -> None:
        self.value = ""
        self._tell()
        self._close()

    def _close(self) -> None:
        self.post_message(SearchLine.Closed())
        self.remove()
