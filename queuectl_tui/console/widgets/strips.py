"""Draws cells as lines of an exact width, without a widget or a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip

from ...presentation.columns import Cell, TableColumn
from ..theme import RoleStyles

R = TypeVar("R")

NARROW = 60
"""A screen with fewer columns has a key bar of two lines."""


def fit(text: str, width: int, *, right: bool = False) -> str:
    """``text`` in exactly ``width`` cells, with ``…`` where it was cut."""
    length = len(text) if text.isascii() else cell_len(text)
    if length > width:
        if width <= 0:
            return ""
        return set_cell_size(text, width - 1).rstrip("\n") + "…"
    padding = " " * (width - length)
    return padding + text if right else text + padding


def lay_out(columns: Sequence[TableColumn[R]], width: int) -> list[tuple[TableColumn[R], int]]:
    """The columns that fit into ``width`` cells, with one cell between them, and their widths."""
    shown = list(columns)
    while len(shown) > 1 and sum(c.place.width + 1 for c in shown) - 1 > width:
        last = max(column.place.rank for column in shown)
        shown.remove(next(column for column in reversed(shown) if column.place.rank == last))
    spare = width - (sum(column.place.width + 1 for column in shown) - 1)
    shares = sum(column.place.flex for column in shown)
    widths = []
    for column in shown:
        extra = spare * column.place.flex // shares if shares and spare > 0 else 0
        widths.append(column.place.width + extra)
    if shares and spare > 0:
        widest = max(range(len(shown)), key=lambda at: shown[at].place.flex)
        widths[widest] += width - (sum(widths) + len(widths) - 1)
    return [(column, min(w, width)) for column, w in zip(shown, widths, strict=True)]


def draw(
    cells: Sequence[tuple[str, Style]],
    width: int,
    over: Style | None = None,
    blank: Style | None = None,
) -> Strip:
    """A line of exactly ``width`` cells. ``over`` is added to every style."""
    segments = []
    used = 0
    for text, style in cells:
        length = len(text) if text.isascii() else cell_len(text)
        shown = text if used + length <= width else fit(text, width - used)
        if shown:
            segments.append(Segment(shown, style + over if over else style))
            used = min(width, used + length)
    if used < width:
        filler = blank or Style()
        segments.append(Segment(" " * (width - used), filler + over if over else filler))
    return Strip(segments, width)


def title_line(parts: Sequence[Cell], width: int, roles: RoleStyles, *, focused: bool) -> Strip:
    """The first line of a pane: its name, what it shows, and a horizontal line to the end."""
    cells: list[tuple[str, Style]] = []
    for at, (text, name) in enumerate(parts):
        style = roles.of(name)
        if at == 0:
            style = roles.title if focused else roles.strong
        cells.append((text, style))
    used = sum(cell_len(text) for text, _ in cells)
    rule = width - used - 1
    if rule > 0:
        cells.append((" " + "─" * rule, roles.title if focused else roles.muted))
    return draw(cells, width)


def differences(old: Strip, new: Strip, y: int) -> list[Region]:
    """The regions of line ``y`` that differ: single segments if their lengths are the same."""
    before, after = list(old), list(new)
    if before == after:
        return []
    regions: list[Region] = []
    if len(before) == len(after) and all(
        a.cell_length == b.cell_length for a, b in zip(before, after, strict=True)
    ):
        x = 0
        for a, b in zip(before, after, strict=True):
            if a != b:
                regions.append(Region(x, y, b.cell_length, 1))
            x += b.cell_length
        return regions
    return [Region(0, y, max(old.cell_length, new.cell_length), 1)]
