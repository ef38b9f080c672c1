"""A page of text: help, statistics, the answers of verbs that only tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ..widgets.status_bars import KeyBar, Notice
from ..widgets.text import Row, TextPane
from .base import ConsoleBase


class Page(TextPane):
    """Lines of cells under a title."""

    DEFAULT_CSS = "Page { height: 1fr; }"

    def __init__(self, title: str, rows: Sequence[Row]) -> None:
        super().__init__(rows, id="page", titled=True)
        self.parts = [(title, "strong")]


class PageScreen(ConsoleBase[None]):
    """A page over the whole screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark", "back", "back", key_display="esc"),
    ]

    def __init__(self, title: str, rows: Sequence[Row] = ()) -> None:
        super().__init__()
        self._title = title
        self._rows = rows

    def compose(self) -> ComposeResult:
        yield Page(self._title, self._rows)
        yield Notice(id="message", passing=True)
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        self.query_one(Page).focus()

    def show(self, rows: Sequence[Row]) -> None:
        """Show other lines."""
        self._rows = rows
        self.query_one(Page).show(rows)

    def action_back(self) -> None:
        self.dismiss()
