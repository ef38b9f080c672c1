"""Standard output: the data a verb answers with. Nothing else writes there.

There are three forms. JSON: one document. In a pipe: a header and tab-separated lines, with whole
and cleaned cells, and ``-`` for an empty one. At a terminal: a table.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TextIO, TypeVar

from ..presentation.columns import Cell, Column, TableColumn, table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

T = TypeVar("T")

BUFFER = 1 << 16
"""Characters that are collected before they are written."""


class StdoutClosed(Exception):
    """The reader of our output has closed it. That is not an error."""


class StdoutFailed(Exception):
    """Standard output cannot be written; ``str()`` says why."""


STYLES = {
    "name": "bold",
    "strong": "bold",
    "muted": "dim",
    "accent": "yellow",
    "waiting": "cyan",
    "idle": "green",
    "busy": "bold yellow",
    "good": "green",
    "fixed": "bold green",
    "caution": "yellow",
    "warn": "magenta",
    "problem": "red",
    "error": "red",
    "bad": "bold red",
}
"""rich's style for each role; other roles look like ordinary text."""


class View(Generic[T]):
    """How a kind of thing is listed, in each of the three forms."""

    def __init__(
        self,
        document: Callable[[T, float], dict[str, Any]],
        columns: Sequence[Column[T]],
        terminal: str = "terminal",
        pipe: str = "pipe",
    ) -> None:
        """``document``: the JSON form of a row at a moment. ``terminal``, ``pipe``: the names of
        the tables of ``columns``."""
        self.document = document
        self.terminal = table(columns, terminal)
        self.pipe = table(columns, pipe)


class Stdout:
    """Writes standard output. A reader that has gone is not an error; a full disk is."""

    def __init__(self) -> None:
        self.color = True
        self._pending: list[str] = []
        self._size = 0
        if sys.stdout is not None:
            reconfigure = getattr(sys.stdout, "reconfigure", None)
            if reconfigure:  # characters that the locale does not have are shown as escapes
                reconfigure(errors="backslashreplace")

    @property
    def terminal(self) -> bool:
        return sys.stdout is not None and sys.stdout.isatty()

    def write(self, text: str) -> None:
        self._pending.append(text)
        self._size += len(text)
        if self._size >= BUFFER:
            self._pass_on()

    def line(self, text: str = "") -> None:
        self.write(text + "\n")

    def raw(self, data: bytes) -> None:
        self.flush()
        with _explained():
            _stream().buffer.write(data)
            _stream().buffer.flush()

    def flush(self) -> None:
        """Write what is buffered. An error is raised here at the latest."""
        if self._pending:
            self._pass_on()
        with _explained():
            if sys.stdout is not None:
                sys.stdout.flush()

    def _pass_on(self) -> None:
        text = "".join(self._pending)
        self._pending.clear()
        self._size = 0
        with _explained():
            _stream().write(text)

    def json(self, document: Any) -> None:
        """Write one JSON document: one line in a pipe, indented at a terminal."""
        import json

        self.line(json.dumps(document, indent=2 if self.terminal else None))

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Write ``name<TAB>value`` lines; values are cleaned, ``-`` for an empty one."""
        for name, value in rows:
            self.line(f"{name}\t{value or '-'}")

    def console(self) -> Console:
        """A rich console that fills a buffer; see :meth:`render`."""
        from io import StringIO

        from rich.console import Console

        return Console(
            file=StringIO(),
            force_terminal=True,
            no_color=not self.color,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )

    def render(self, *renderables: RenderableType) -> None:
        self.write(self.rendered(*renderables))

    def rendered(self, *renderables: RenderableType) -> str:
        console = self.console()
        with console.capture() as capture:
            for renderable in renderables:
                console.print(renderable)
        return capture.get()

    def redraw(self, *renderables: RenderableType) -> None:
        """Show renderables from the top of the screen, over the old ones."""
        height = os.get_terminal_size(sys.stdout.fileno()).lines
        lines = self.rendered(*renderables).splitlines()[: height - 1]
        self.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        self.flush()


class Listing(Generic[T]):
    """A list that is being written. Only a table for a terminal is kept in memory."""

    def __init__(
        self, out: Stdout, view: View[T], clock: Callable[[], float], *, header: bool
    ) -> None:
        self.out = out
        self.view = view
        self.clock = clock
        self.header = header
        self.count = 0

    def add(self, item: T) -> None:
        self.count += 1

    def end(self) -> None:
        """Finish the list."""


class JsonListing(Listing[T]):
    """A JSON array, one thing a line."""

    def add(self, item: T) -> None:
        import json

        document = json.dumps(self.view.document(item, self.clock()))
        self.out.write((",\n" if self.count else "[\n") + document)
        super().add(item)

    def end(self) -> None:
        self.out.line("\n]" if self.count else "[]")


class PlainListing(Listing[T]):
    """Tab-separated lines. The header is written with the first row, or at the end."""

    def add(self, item: T) -> None:
        self._begin()
        now = self.clock()
        self.out.line("\t".join(column.value(item, now) or "-" for column in self.view.pipe))
        super().add(item)

    def end(self) -> None:
        self._begin()

    def _begin(self) -> None:
        if self.header:
            self.header = False
            self.out.line("\t".join(column.name.upper() for column in self.view.pipe))


class PrettyListing(Listing[T]):
    """A table."""

    def __init__(self, out: Stdout, view: View[T], *rest: Any, **more: Any) -> None:
        super().__init__(out, view, *rest, **more)
        self.table = TerminalTable(out, view.terminal)
        self.table.made.show_header &= self.header

    def add(self, item: T) -> None:
        self.table.add(item, self.clock())
        super().add(item)

    def end(self) -> None:
        if self.count:
            self.table.fit()
            self.out.render(self.table.made)


GAP = 2
"""Cells between two columns."""
LEAST = 10
"""Cells that are left for a column that shrinks."""


class TerminalTable(Generic[T]):
    """A rich table in our style, of the columns there is room for: ``made``."""

    def __init__(self, out: Stdout, columns: Sequence[TableColumn[T]]) -> None:
        from rich.table import Table

        self._width = width = out.console().width
        self._columns = [column for column in columns if width >= column.place.room]
        self._widest = [len(column.name) for column in self._columns]
        self.made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
        for column in self._columns:
            place = column.place
            self.made.add_column(
                column.name.upper(),
                justify="right" if column.right else "left",
                no_wrap=not place.wrap,
                overflow="fold" if place.wrap else "ellipsis",
                ratio=place.flex or None,
            )
        self.made.expand = any(column.place.flex for column in self._columns)
        self.made.show_header = any(column.name for column in self._columns)

    def add(self, row: T, now: float) -> None:
        cells = [self._cell(column, row, now) for column in self._columns]
        self._widest = [
            max(wide, cell.cell_len) for wide, cell in zip(self._widest, cells, strict=True)
        ]
        self.made.add_row(*cells)

    def fit(self) -> None:
        """Give the columns that are kept the width of their texts, as far as there is room. To be
        called when all rows are there."""
        if not any(column.place.keep for column in self._columns):
            return
        left = self._width - GAP * (len(self._columns) - 1)
        for column, wide in zip(self._columns, self._widest, strict=True):
            if not column.place.flex:
                left -= wide
            elif not column.place.keep:
                left -= min(wide, LEAST)
        for made, column, wide in zip(self.made.columns, self._columns, self._widest, strict=True):
            if column.place.keep:
                made.ratio, made.width = None, max(min(wide, left), LEAST)
                left -= made.width
        self.made.expand = any(column.ratio for column in self.made.columns)

    def _cell(self, column: TableColumn[T], row: T, now: float) -> Text:
        text, role = column.cell(row, now)
        if column.place.limit:
            from queuectl_core.domain.text import clean_line

            text = clean_line(text, column.place.limit)
        return styled((text, role))


def styled(cell: Cell) -> Text:
    """A cell as rich's text; never read as markup."""
    from rich.text import Text

    return Text(cell[0], STYLES.get(cell[1], ""))


def line_of(cells: Iterable[Cell]) -> Text:
    from rich.text import Text

    return Text.assemble(*map(styled, cells))


def _stream() -> TextIO:
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdout


@contextmanager
def _explained() -> Iterator[None]:
    """Turns a failed write into :class:`StdoutClosed` or :class:`StdoutFailed`. What is still
    buffered is thrown away."""
    try:
        yield
    except OSError as error:
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        except (OSError, ValueError, AttributeError):
            pass  # it has no descriptor, so nothing is flushed at exit
        if error.errno == errno.EPIPE:
            raise StdoutClosed from None
        raise StdoutFailed(error.strerror or str(error)) from None
