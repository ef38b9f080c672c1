"""Tables of jobs, workers, attempts and causes, from the columns of ``presentation``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from queuectl_tui.presentation.columns import TableColumn

T = TypeVar("T")

Link = Callable[[Any], str | None]


@dataclass(frozen=True, slots=True)
class TableCell:
    """A cell of a table."""

    text: str
    role: str
    right: bool
    link: str | None
    label: str
    """The name of its column, shown on a narrow screen."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table."""

    cells: Sequence[TableCell]
    mark: str
    """The value of its checkbox; empty: it has none."""
    name: str
    """Names the row for a screen reader."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, ready to be rendered."""

    caption: str
    heads: Sequence[tuple[str, bool]]
    """(name, whether it stands at the right)."""
    rows: Sequence[Row]

    @property
    def marked(self) -> bool:
        """Whether rows have checkboxes."""
        return any(row.mark for row in self.rows)


def no_mark(row: object) -> str:
    """The row has no checkbox."""
    return ""


def table(
    columns: Sequence[TableColumn[T]],
    rows: Iterable[T],
    now: float,
    *,
    caption: str,
    links: Mapping[str, Link] | None = None,
    mark: Callable[[T], str] = no_mark,
) -> Table:
    """A table of ``rows``. ``links``: where the cell of a column leads to. ``mark``: the value of a
    row's checkbox."""
    links = links or {}
    made = []
    for row in rows:
        cells = []
        for column in columns:
            text, role = column.cell(row, now)
            link = links[column.name](row) if column.name in links else None
            cells.append(TableCell(text, role, column.right, link, column.name))
        made.append(Row(cells, mark(row), cells[0].text))
    return Table(caption, [(column.name, column.right) for column in columns], made)


def fields(columns: Sequence[TableColumn[T]], row: T, now: float) -> list[tuple[str, str, str]]:
    """(name, text, role) of each column that has a text for this row."""
    cells = [(column.name, *column.cell(row, now)) for column in columns]
    return [cell for cell in cells if cell[1]]
