"""Tables of lists short enough to be held whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from .table import LineTable
from .window import ListPages

R = TypeVar("R")


def list_table_rows(table: LineTable[R], rows: Sequence[R]) -> None:
    """Give a table of a short list its rows anew; its cursor and marks stay on theirs."""
    pages = table.window.pages
    if isinstance(pages, ListPages):
        pages.rows = list(rows)
        table.window.replace(pages.rows, follow=table.following)
        table.keep_marks(pages.rows)
        table.paint()
