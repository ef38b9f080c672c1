"""Standard output: the data a verb answers with. Nothing else writes there.

Three forms of the same data: one JSON document; in a pipe plain lines, tab-separated with a
header, every cell whole and cleaned, ``-`` for nothing; at a terminal a table for people.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import TYPE_CHECKING, Any, Generic, TextIO, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, RenderableType

T = TypeVar("T")


BUFFER = 1 << 16
"""Characters gathered before they are passed on, whatever Python's own buffering is."""


class StdoutClosed(Exception):
    """Whoever read our output has gone: nothing is left to do, and nothing is wrong."""


class StdoutFailed(Exception):
    """Standard output cannot be written; ``str()`` says why."""


class Column:
    """A column of a terminal's table. ``flex``: gets the room that is left, cut at the end, or
    (``wrap``) on more lines. ``room``: left out at a terminal with fewer columns than this."""

    def __init__(
        self, title: str, *, right: bool = False, flex: int = 0, wrap: bool = False, room: int = 0
    ) -> None:
        self.title = title
        self.right = right
        self.flex = flex
        self.wrap = wrap
        self.room = room


class View(Generic[T]):
    """How a kind of thing is listed, in each of the three forms."""

    def __init__(
        self,
        document: Callable[[T], dict[str, Any]],
        fields: Sequence[str],
        cells: Callable[[T], Sequence[str]],
        columns: Sequence[Column],
        pretty: Callable[[T], Sequence[tuple[str, str]]],
    ) -> None:
        """``cells``: plain text, cleaned; one for each of ``fields``. ``pretty``: (cleaned text,
        style) for each of ``columns``."""
        self.document = document
        self.fields = fields
        self.cells = cells
        self.columns = columns
        self.pretty = pretty

    def with_document(self, document: Callable[[T], dict[str, Any]]) -> View[T]:
        """The same with another JSON form."""
        return View(document, self.fields, self.cells, self.columns, self.pretty)


class Stdout:
    """Writes standard output, and tells a reader that left from a disk that is full."""

    def __init__(self) -> None:
        self.color = True
        self._pending: list[str] = []
        self._size = 0
        if sys.stdout is not None:
            reconfigure = getattr(sys.stdout, "reconfigure", None)
            if reconfigure:  # a locale without these characters shows escapes, it never fails
                reconfigure(errors="backslashreplace")

    @property
    def terminal(self) -> bool:
        """Whether a person is looking."""
        return sys.stdout is not None and sys.stdout.isatty()

    def write(self, text: str) -> None:
        """Write cleaned text."""
        self._pending.append(text)
        self._size += len(text)
        if self._size >= BUFFER:
            self._pass_on()

    def line(self, text: str = "") -> None:
        """Write one cleaned line (or several)."""
        self.write(text + "\n")

    def raw(self, data: bytes) -> None:
        """Write bytes as they are, at once."""
        self.flush()
        with _explained():
            _stream().buffer.write(data)
            _stream().buffer.flush()

    def flush(self) -> None:
        """Hand over what is buffered; only then is it known to be written."""
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
        """Show rich renderables at a terminal."""
        self.write(self.rendered(*renderables))

    def rendered(self, *renderables: RenderableType) -> str:
        """Rich renderables as the terminal's own text."""
        console = self.console()
        with console.capture() as capture:
            for renderable in renderables:
                console.print(renderable)
        return capture.get()

    def redraw(self, *renderables: RenderableType) -> None:
        """Show renderables from the top of the screen, over what was there."""
        height = os.get_terminal_size(sys.stdout.fileno()).lines
        lines = self.rendered(*renderables).splitlines()[: height - 1]
        self.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        self.flush()

    def listing(self, view: View[T], *, json: bool, header: bool) -> Listing[T]:
        """Start a list; add to it inside ``with``."""
        if json:
            return JsonListing(self, view)
        return (PrettyListing if self.terminal else PlainListing)(self, view, header)


class Listing(Generic[T]):
    """A list being written, in flat memory unless it is for people."""

    def __init__(self, out: Stdout, view: View[T]) -> None:
        self.out = out
        self.view = view
        self.count = 0

    def add(self, item: T) -> None:
        """Append one thing."""
        self.count += 1

    def end(self) -> None:
        """Finish the list."""

    def __enter__(self) -> Listing[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            self.end()


class JsonListing(Listing[T]):
    """A JSON array, one thing a line."""

    def __init__(self, out: Stdout, view: View[T]) -> None:
        super().__init__(out, view)
        import json

        self._encode = json.JSONEncoder().encode

    def add(self, item: T) -> None:
        self.out.write((",\n" if self.count else "[\n") + self._encode(self.view.document(item)))
        super().add(item)

    def end(self) -> None:
        self.out.line("\n]" if self.count else "[]")


class PlainListing(Listing[T]):
    """Tab-separated lines, the header when it is known that there is an answer."""

    def __init__(self, out: Stdout, view: View[T], header: bool) -> None:
        super().__init__(out, view)
        self._header = header

    def add(self, item: T) -> None:
        self._begin()
        self.out.line("\t".join(cell or "-" for cell in self.view.cells(item)))
        super().add(item)

    def end(self) -> None:
        self._begin()

    def _begin(self) -> None:
        if self._header:
            self._header = False
            self.out.line("\t".join(self.view.fields))


class PrettyListing(Listing[T]):
    """A table."""

    def __init__(self, out: Stdout, view: View[T], header: bool) -> None:
        super().__init__(out, view)
        self.table = TerminalTable(out, view.columns)
        self.table.made.show_header &= header

    def add(self, item: T) -> None:
        self.table.add(self.view.pretty(item))
        super().add(item)

    def end(self) -> None:
        if self.count:
            self.out.render(self.table.made)


class TerminalTable:
    """A rich table in our style, of the columns there is room for: ``made``."""

    def __init__(self, out: Stdout, columns: Sequence[Column]) -> None:
        from rich.table import Table

        width = out.console().width
        self._shown = [width >= column.room for column in columns]
        self.made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        shown = list(compress(columns, self._shown))
        for column in shown:
            self.made.add_column(
                column.title,
                justify="right" if column.right else "left",
                no_wrap=not column.wrap,
                overflow="fold" if column.wrap else "ellipsis",
                ratio=column.flex or None,
            )
        self.made.expand = any(column.flex for column in shown)
        self.made.show_header = any(column.title for column in shown)

    def add(self, cells: Sequence[tuple[str, str]]) -> None:
        """Append cleaned, styled cells; never read as markup."""
        from rich.text import Text

        self.made.add_row(*(Text(text, style) for text, style in compress(cells, self._shown)))


def _stream() -> TextIO:
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdout


@contextmanager
def _explained() -> Iterator[None]:
    """Says what a failed write means; what is still buffered goes nowhere from here on."""
    try:
        yield
    except OSError as error:
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        except (OSError, ValueError, AttributeError):
            pass  # no descriptor of our own: nothing of ours is flushed at exit either
        if error.errno == errno.EPIPE:
            raise StdoutClosed from None
        raise StdoutFailed(error.strerror or str(error)) from None
