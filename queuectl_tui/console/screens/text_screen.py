"""A screen of text: help, statistics, and the answers of verbs that only report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ..widgets.status_bars import KeyBar, Notice, Stopped
from ..widgets.text import TextPane, TextRow
from .base import ConsoleScreen


class TextScreen(ConsoleScreen[None]):
    """Lines of cells under a title."""

    DEFAULT_CSS = "TextScreen TextPane { height: 1fr; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark", "back", "back", key_display="esc")
    ]

    def __init__(self, title: str, rows: Sequence[TextRow] = ()) -> None:
        super().__init__()
        self._title = title
        self._rows = rows

    def compose(self) -> ComposeResult:
        pane = TextPane(self._rows, id="page", titled=True)
        pane.parts = [(self._title, "strong")]
        yield Stopped()
        yield pane
        yield Notice(id="message", passing=True)
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        self.query_one(TextPane).focus()

    def show(self, rows: Sequence[TextRow]) -> None:
        self._rows = rows
        self.query_one(TextPane).show(rows)
