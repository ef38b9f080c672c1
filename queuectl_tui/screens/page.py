"""A page of text: help, statistics, the answers of verbs that only tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.strip import Strip

from ..widgets.bars import KeyBar, Notice
from ..widgets.drawing import Cell, draw, title_line
from ..widgets.painted import Painted
from .base import ConsoleBase

Row = Sequence[Cell]


class Page(Painted, can_focus=True):
    """Lines of cells, scrolled."""

    DEFAULT_CSS = "Page { height: 1fr; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "down", show=False),
        Binding("k,up", "move(-1)", "up", show=False),
        Binding("g,home", "move(-100000)", "first", show=False),
        Binding("G,end", "move(100000)", "last", show=False),
        Binding("ctrl+d,pagedown,space", "half(1)", "half a page down", show=False),
        Binding("ctrl+u,pageup", "half(-1)", "half a page up", show=False),
    ]

    def __init__(self, title: str, rows: Sequence[Row]) -> None:
        super().__init__(id="page")
        self.parts = [(title, "strong")]
        self.rows = list(rows)
        self._top = 0

    def show(self, rows: Sequence[Row]) -> None:
        """Show other lines."""
        self.rows = list(rows)
        self.paint()

    def action_move(self, rows: int) -> None:
        last = max(0, len(self.rows) - (self.size.height - 1))
        self._top = min(max(0, self._top + rows), last)
        self.paint()

    def action_half(self, way: int) -> None:
        self.action_move(way * max(1, self.size.height // 2))

    def on_mouse_scroll_down(self) -> None:
        self.action_move(3)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-3)

    def _draw(self) -> list[Strip]:
        width = self.size.width
        lines = [title_line(self.parts, width, self.ink, focused=self.has_focus)]
        for row in self.rows[self._top :]:
            cells: list[tuple[str, Style]] = [(" ", self.ink.text)]
            cells += [(text, self.ink.of(style)) for text, style in row]
            lines.append(draw(cells, width))
        return lines


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
        yield Notice(id="message")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        self.query_one(Page).focus()

    def show(self, rows: Sequence[Row]) -> None:
        """Show other lines."""
        self._rows = rows
        self.query_one(Page).show(rows)

    def action_back(self) -> None:
        self.dismiss()
