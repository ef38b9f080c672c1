"""Text that scrolls, wrapped so that nothing is cut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.strip import Strip

from ...presentation.columns import Cell
from .line_widget import LineWidget
from .output_viewport import wrapped
from .strips import draw, title_line

TextRow = Sequence[Cell]

_WORDS = re.compile(r"\s+|\S+")


def wrap_row(row: TextRow, width: int, indent: int) -> list[TextRow]:
    """``row`` in lines of at most ``width`` cells, split between words. Lines after the first one
    are indented by ``indent`` cells."""
    if sum(cell_len(text) for text, _ in row) <= width:
        return [row]
    indent = indent if indent < width // 2 else 0
    lines: list[list[Cell]] = [[]]
    used = 0
    for text, style in row:
        for word in _WORDS.findall(text):
            length = cell_len(word)
            if used + length <= width:
                lines[-1].append((word, style))
                used += length
                continue
            if word.isspace():
                if len(lines) == 1 and used == 0:
                    continue
                used = width  # the next word begins a line
                continue
            for part in wrapped(word, width - indent) if length > width - indent else [word]:
                if used > indent or len(lines) == 1:
                    lines.append([(" " * indent, style)] if indent else [])
                lines[-1].append((part, style))
                used = indent + cell_len(part)
    return list(lines)


class TextPane(LineWidget, can_focus=True):
    """Rows of cells, wrapped and scrolled. ``titled``: its first line is :attr:`parts`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "down", show=False),
        Binding("k,up", "move(-1)", "up", show=False),
        Binding("g,home", "move(-100000)", "first", show=False),
        Binding("G,end", "move(100000)", "last", show=False),
        Binding("ctrl+d,pagedown,space", "half(1)", "half a page down", show=False),
        Binding("ctrl+u,pageup", "half(-1)", "half a page up", show=False),
    ]

    def __init__(
        self,
        rows: Sequence[TextRow] = (),
        *,
        id: str,  # noqa: A002 - Textual's own name for it
        titled: bool = False,
        indent: int = 4,
    ) -> None:
        super().__init__(id=id)
        self.rows: Sequence[TextRow] = rows
        self.titled = titled
        self.indent = indent
        self._top = 0
        self._wrapped: tuple[Sequence[TextRow], int, list[TextRow]] = ((), 0, [])

    def show(self, rows: Sequence[TextRow]) -> None:
        """Show other rows and keep the position."""
        if list(rows) != list(self.rows):
            self.rows = rows
            self.paint()

    def lines(self, width: int) -> list[TextRow]:
        """All rows, wrapped for a pane of this width."""
        width = max(8, width - 2)
        if self._wrapped[0] is not self.rows or self._wrapped[1] != width:
            found = [line for row in self.rows for line in wrap_row(row, width, self.indent)]
            self._wrapped = (self.rows, width, found)
        return self._wrapped[2]

    @property
    def _high(self) -> int:
        return max(1, self.size.height - self.titled)

    def action_move(self, rows: int) -> None:
        self._top = max(0, self._top + rows)
        self.paint()

    def action_half(self, way: int) -> None:
        self.action_move(way * max(1, self._high // 2))

    def on_mouse_scroll_down(self) -> None:
        self.action_move(3)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-3)

    def _draw(self) -> list[Strip]:
        width, high, roles = self.size.width, self._high, self.roles
        lines = self.lines(width)
        self._top = min(self._top, max(0, len(lines) - high))
        shown = lines[self._top : self._top + high]
        strips = []
        if self.titled:
            parts = list(self.parts)
            if len(lines) > high:
                end = self._top + len(shown)
                parts.append((f"  {self._top + 1}-{end} of {len(lines)}", "muted"))
            strips.append(title_line(parts, width, roles, focused=self.has_focus))
        size = max(1, high * high // max(high, len(lines)))
        last = max(1, len(lines) - high)
        begin = self._top * (high - size) // last
        bar = roles.title if self.has_focus else roles.muted
        for y, row in enumerate(shown):
            cells: list[tuple[str, Style]] = [(" ", roles.text)]
            cells += [(text, roles.of(style)) for text, style in row]
            line = draw(cells, width - 1)
            thumb = len(lines) > high and begin <= y < begin + size
            strips.append(Strip([*line, *draw([("▐" if thumb else " ", bar)], 1)], width))
        return strips
