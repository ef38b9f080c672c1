"""Columns, their places in tables, cells and roles."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

Cell = tuple[str, str]
"""Clean text and its role, one of :data:`ROLES`."""

ROLES = {
    "text": "ordinary text",
    "name": "what identifies a row",
    "strong": "what stands out",
    "muted": "less important",
    "minor": "a number that is rarely looked at",
    "accent": "what the user has chosen or set",
    "waiting": "waits",
    "idle": "has nothing to do",
    "busy": "runs",
    "good": "succeeded",
    "fixed": "was wrong and is repaired",
    "caution": "works, but look at it",
    "warn": "failed, and is tried again",
    "problem": "the reason of a failure",
    "error": "the reason of a final failure",
    "bad": "failed for good",
}

STATE_ROLES = {
    "pending": "waiting",
    "waiting": "caution",
    "processing": "busy",
    "completed": "good",
    "failed": "warn",
    "dead": "bad",
    "cancelled": "muted",
    "idle": "idle",
    "starting": "minor",
    "busy": "busy",
    "stopping": "warn",
    "lost": "bad",
    "running": "busy",
    "timeout": "bad",
    "interrupted": "muted",
    "crashed": "bad",
}
"""The role of a state's name: of a job, a worker or an attempt."""


class Place:
    """How wide a column is in one table, and when it is left out."""

    def __init__(
        self,
        width: int = 0,
        *,
        flex: int = 0,
        limit: int = 0,
        wrap: bool = False,
        rank: int = 0,
        room: int = 0,
        keep: bool = False,
    ) -> None:
        """``width``: in cells, for the console; with ``flex`` the least. ``flex``: its share of the
        room that is left. ``limit``: characters of a cell, at most. What does not fit is cut, or
        (``wrap``) goes on the next line. ``rank``: on a narrow screen the console leaves out the
        columns with the highest ranks. ``room``: a terminal with fewer columns than this leaves it
        out. ``keep``: at a terminal, with ``flex``, it gets the width of its texts before other
        columns with ``flex`` get theirs."""
        self.width = width
        self.flex = flex
        self.limit = limit
        self.wrap = wrap
        self.rank = rank
        self.room = room
        self.keep = keep


class Column(Generic[T]):
    """One thing that is shown of each row: its name, its text and role, and its tables."""

    def __init__(
        self,
        name: str,
        tables: str = "",
        cell: Callable[[T, float], Cell] | None = None,
        *,
        value: Callable[[T, float], str] | None = None,
        right: bool = False,
        sort: str | None = None,
        **places: Place,
    ) -> None:
        """``tables``: the names of the tables that show it; ``places`` are those in which its width
        matters. ``cell``: what a screen shows of a row at a moment (epoch seconds); else ``value``.
        ``value``: the exact and clean text for a pipe; else that of ``cell``. ``right``: it stands
        at the right of the column, as numbers do. ``sort``: the field that rows are sorted by."""
        self.name = name
        self.cell: Callable[[T, float], Cell] = cell or self._text
        self.value: Callable[[T, float], str] = value or self._plain
        self.right = right
        self.sort = sort
        self.places = dict.fromkeys(tables.split(), Place()) | places

    def _text(self, row: T, now: float) -> Cell:
        return self.value(row, now), "text"

    def _plain(self, row: T, now: float) -> str:
        return self.cell(row, now)[0]


class TableColumn(Generic[T]):
    """A column in one table."""

    def __init__(self, column: Column[T], place: Place) -> None:
        self.name = column.name
        self.cell = column.cell
        self.value = column.value
        self.right = column.right
        self.sort = column.sort
        self.place = place


def table(columns: Iterable[Column[T]], *names: str) -> tuple[TableColumn[T], ...]:
    """The columns that are in one of these tables, in the order in which they are declared."""
    return tuple(
        TableColumn(column, column.places[name])
        for column in columns
        for name in names
        if name in column.places
    )


BOTH = "terminal pipe"
"""The tables of most lists of the command line."""


def state_cell(state: str) -> Cell:
    return state, STATE_ROLES.get(state, "text")


def number(value: float | None) -> str:
    """A number as plain text; empty for None."""
    return "" if value is None else f"{value:.12g}"
