"""A table drawn line by line: any number of rows, and only what changed is sent.

Textual's DataTable holds every row and repaints itself whole. This one asks a :class:`RowWindow`
for the rows on the screen, draws each line itself, compares it with the line that is there, and
sends only the cells that differ. Rows are read in the background; keys move the cursor over rows
that are in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from queuectl_core.domain.errors import QueueError

from ...presentation.columns import Cell, TableColumn
from ...presentation.format import lasting
from ..background import run_in_background
from ..theme import RoleStyles
from .line_widget import MOVES, LineWidget
from .row_window import ListPages, Pages, RowWindow
from .strips import draw, fit, lay_out, title_line
from .throttle import Throttle

R = TypeVar("R")

HEAD = 2
"""Lines above the rows: the title and the names of the columns."""

RANGE_LIMIT = 10_000
"""Rows of a marked range, at most."""

OLD = 5.0
"""Seconds after which the title says that rows are not up to date."""

THRIFT = 20
"""Rows are read again at most so often that reading takes 1/20 of the time."""


class LineTable(LineWidget, Generic[R], can_focus=True):
    """A table of rows of any kind, with columns and pages; see :meth:`show`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *MOVES,
        Binding("pagedown,ctrl+f", "page(1)", "page down", key_display="pgdn", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("space", "mark", "mark", show=False),
        Binding("V", "mark_range", "mark a range", show=False),
        Binding("ctrl+backslash", "clear_marks", "clear marks", key_display="^\\", show=False),
    ]

    head = HEAD
    foot = 0
    """Lines above and below the rows."""

    @dataclass
    class Moved(Message):
        """The cursor is on another row, or on none."""

        table: LineTable[Any]

        @property
        def control(self) -> LineTable[Any]:
            return self.table

    class Chosen(Moved):
        """Enter, or a double click, on the row under the cursor."""

    class Marked(Moved):
        """The marks changed."""

    @dataclass
    class Refused(Message):
        """A key did nothing, with the reason."""

        reason: str

    @dataclass
    class Failed(Message):
        """Reading rows failed."""

        error: QueueError

    def __init__(
        self,
        columns: Sequence[TableColumn[R]],
        pages: Pages[R],
        *,
        id: str,  # noqa: A002 - Textual's own name for it
        clock: Callable[[], float] = time.time,
        markable: bool = True,
    ) -> None:
        super().__init__(id=id)
        self.parts = [(id, "strong")]
        self.columns = columns
        self.window: RowWindow[R] = RowWindow(pages)
        self.empty = ""
        """The text when there is no row."""
        self.sorted: tuple[str, bool] | None = None
        """The name of the column that rows are sorted by, and whether it is descending."""
        self.marks: dict[Hashable, R] = {}
        self.extent: Callable[[], tuple[float, float]] | None = None
        """Start and end of the screen among all rows, 0 to 1, if the window does not know them."""
        self.markable = markable
        self._clock = clock
        self._anchor: R | None = None
        self._touched = False
        self._wanted: list[str] = []
        self._reading = False
        self._read_again_at = 0.0
        self._renewal = Throttle(self, lambda: self._ask("reload"))
        self._told: Hashable = None
        self._outdated_since: float | None = None
        """Since when there are changes in the store that are not shown."""

    def show(self, pages: Pages[R]) -> None:
        self.window = RowWindow(pages)
        self.window.resize(self._rows_high())
        self.marks.clear()
        self._anchor = None
        self._touched = False
        self._read_again_at = 0.0
        self._ask("first")

    def renew(self) -> None:
        if self._outdated_since is None:
            self._outdated_since = time.monotonic()
        self._renewal.ask(self._read_again_at)

    def set_rows(self, rows: Sequence[R]) -> None:
        """Show these rows, which are all there are (for a table made with :class:`ListPages`). The
        cursor and the marks stay on their rows."""
        pages = self.window.pages
        if not isinstance(pages, ListPages):
            raise TypeError("only a table of a short list can be given its rows")
        pages.rows = list(rows)
        self.window.replace(pages.rows, follow=self.following)
        self.keep_marks(pages.rows)
        self.paint()

    @property
    def current(self) -> R | None:
        return self.window.current

    def chosen(self) -> list[R]:
        """The marked rows, or the row under the cursor if none is marked."""
        if self.marks:
            return list(self.marks.values())
        return [] if self.current is None else [self.current]

    def _ask(self, what: str) -> None:
        if what in ("first", "last"):
            self._wanted.clear()
        if what not in self._wanted:
            self._wanted.append(what)
        if not self._reading and self.is_attached:
            self._reading = True
            run_in_background(self, self._read, f"rows-{self.id}")

    async def _read(self) -> None:
        try:
            while self._wanted:
                what = self._wanted.pop(0)
                window = self.window
                started, outdated = time.monotonic(), self._outdated_since
                if what == "first":
                    await window.go_first()
                elif what == "last":
                    await window.go_last()
                elif what == "extend":
                    await window.extend()
                else:
                    await window.reload(follow=self.following)
                    cost = time.monotonic() - started
                    self._read_again_at = time.monotonic() + cost * THRIFT
                if what != "extend" and self._outdated_since == outdated:
                    self._outdated_since = None
                if what != "extend":
                    await self._check_marks()
                self.paint()
        except QueueError as error:
            self._wanted.clear()
            self.post_message(self.Failed(error))
        finally:
            self._reading = False

    @property
    def following(self) -> bool:
        """Whether it stays at its first rows: the user has not moved in it and is not in it."""
        return not self._touched and not self.has_focus

    def keep_marks(self, rows: Sequence[R]) -> None:
        """Keep only the marks of these rows, which still exist."""
        key = self.window.pages.key
        there = {key(row): row for row in rows}
        if self._anchor is not None and key(self._anchor) not in there:
            self._anchor = None
        if self.marks.keys() - there.keys():
            self.post_message(self.Marked(self))
        self.marks = {name: there[name] for name in self.marks if name in there}

    async def _check_marks(self) -> None:
        """Remove the marks of rows that are gone: actions would change them invisibly."""
        rows = list(self.marks.values())
        if self._anchor is not None:
            rows.append(self._anchor)
        if rows:
            self.keep_marks(await self.window.pages.still(rows))

    def _moved(self) -> None:
        self._touched = True
        self.paint()
        if self.window.short_below or self.window.short_above:
            self._ask("extend")

    def action_move(self, lines: int) -> None:
        self.window.move(lines)
        self._moved()

    def action_half(self, way: int) -> None:
        self.action_move(way * max(1, self.window.height // 2))

    def action_page(self, way: int) -> None:
        self.action_move(way * max(1, self.window.height - 1))

    def action_first(self) -> None:
        self._touched = True
        self._ask("first")

    def action_last(self) -> None:
        self._touched = True
        self._ask("last")

    def action_choose(self) -> None:
        if self.current is not None:
            self.post_message(self.Chosen(self))

    def action_mark(self) -> None:
        row = self.current
        if row is None or not self.markable:
            return
        key = self.window.pages.key(row)
        if self.marks.pop(key, None) is None:
            self.marks[key] = row
        self._anchor = row
        self.window.move(1)
        self._moved()
        self.post_message(self.Marked(self))

    def action_mark_range(self) -> None:
        if self.current is None or not self.markable:
            return
        if self._anchor is None:
            self.action_mark()
            return
        run_in_background(
            self, partial(self._mark_range, self._anchor, self.current), f"mark-{self.id}"
        )

    async def _mark_range(self, start: R, end: R) -> None:
        key = self.window.pages.key
        try:
            for first, last in ((start, end), (end, start)):
                found = await self.window.between(first, last, RANGE_LIMIT)
                if found is not None:
                    self.marks.update({key(row): row for row in found})
                    break
            else:
                self.post_message(
                    self.Refused(f"a range has at most {RANGE_LIMIT:,} rows: use R, or a filter")
                )
                return
        except QueueError as error:
            self.post_message(self.Failed(error))
        self._anchor = end
        self.paint()
        self.post_message(self.Marked(self))

    def sort_by(self, column: TableColumn[R]) -> None:
        """The heading of a column was clicked that rows can be sorted by."""

    def action_clear_marks(self) -> None:
        self.marks.clear()
        self._anchor = None
        self.paint()
        self.post_message(self.Marked(self))

    def _column_at(self, x: int) -> TableColumn[R] | None:
        left = 1
        for column, width in lay_out(self.columns, self.size.width - 2):
            if left <= x < left + width:
                return column
            left += width + 1
        return None

    def on_click(self, event: events.Click) -> None:
        row = event.y - self.head
        if row == -1 and self.head == HEAD:
            column = self._column_at(event.x)
            if column is not None and column.sort:
                self.sort_by(column)
        if 0 <= row < len(self.window.visible()):
            self.window.put(self.window.top + row)
            self._moved()
            if event.chain == 2:
                self.action_choose()

    def on_mouse_scroll_down(self) -> None:
        self.window.scroll(3)
        self._moved()

    def on_mouse_scroll_up(self) -> None:
        self.window.scroll(-3)
        self._moved()

    def _rows_high(self) -> int:
        return max(1, self.size.height - self.head - self.foot)

    def on_mount(self) -> None:
        if not isinstance(self.window.pages, ListPages) and not self.window.rows:
            self._ask("first")

    def on_resize(self) -> None:
        super().on_resize()
        if self.window.short_below or self.window.short_above:
            self._ask("extend")

    def paint(self) -> None:
        super().paint()
        cursor = (self.window.cursor, id(self.window.pages))
        if cursor != self._told:
            self._told = cursor
            self.post_message(self.Moved(self))

    def _draw(self) -> list[Strip]:
        self.window.resize(self._rows_high())
        roles = self.roles
        marked: list[Cell] = [(f"  {len(self.marks):,} marked", "accent")] if self.marks else []
        parts = [*self.parts[:2], *marked, *self.parts[2:], *self._age()]
        width = self.size.width  # Textual computes it each time
        lines = [title_line(parts, width, roles, focused=self.has_focus)]
        layout = lay_out(self.columns, width - 2)  # less the marks and the scrollbar
        if self.head == HEAD:
            lines.append(self._header(layout, roles, width))
        now = self._clock()
        thumb = self._thumb()
        for y, row in enumerate(self.window.visible()):
            lines.append(self._row(row, layout, now, width, thumb=y in thumb))
        if not self.window.rows and self.empty:
            lines.append(draw([(" " + self.empty, roles.muted)], width))
        return lines

    def _age(self) -> list[Cell]:
        """The age of the rows, when reading them again has to wait."""
        since = self._outdated_since
        old = 0.0 if since is None else time.monotonic() - since
        return [(f"  {lasting(old)} old", "warn")] if old > OLD else []

    def _header(
        self, layout: Sequence[tuple[TableColumn[R], int]], roles: RoleStyles, line_width: int
    ) -> Strip:
        cells: list[tuple[str, Style]] = [(" ", roles.muted)]
        for column, width in layout:
            name = column.name
            style = roles.muted
            if self.sorted and self.sorted[0] == name:
                arrow = "↓" if self.sorted[1] else "↑"
                name = name[: width - 1] + arrow
                style = roles.accent
            cells.append((fit(name, width, right=column.right) + " ", style))
        return draw(cells, line_width)

    def _row(
        self,
        row: R,
        layout: Sequence[tuple[TableColumn[R], int]],
        now: float,
        line_width: int,
        *,
        thumb: bool,
    ) -> Strip:
        roles = self.roles
        key = self.window.pages.key(row)
        marked = key in self.marks
        cells: list[tuple[str, Style]] = [("▌" if marked else " ", roles.accent)]
        for at, (column, width) in enumerate(layout):
            text, style = column.cell(row, now)
            shown = (" " if at else "") + fit(text, width, right=column.right)
            cells.append((shown, roles.accent if marked else roles.of(style)))
        over = None
        if key == self.window.cursor:
            over = roles.cursor if self.has_focus else roles.cursor_blurred
        line = draw(cells, line_width - 1, over)
        return Strip([*line, *draw([("▐" if thumb else " ", roles.muted)], 1)], line_width)

    def _thumb(self) -> range:
        window, rows_high = self.window, self._rows_high()
        if window.at_start and window.at_end and len(window.rows) <= rows_high:
            return range(0)
        if self.extent is not None:
            start, end = self.extent()
        else:
            start, end = window.top / len(window.rows), (window.top + rows_high) / len(window.rows)
        size = min(rows_high, max(1, round((end - start) * rows_high)))
        top = min(rows_high - size, max(0, round(start * rows_high)))
        return range(top, top + size)
