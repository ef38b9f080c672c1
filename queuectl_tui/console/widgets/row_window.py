"""The visible rows of a list that may have millions of rows, and the cursor. Not a widget.

Rows are read from :class:`Pages` by key, a few screens around the visible ones. The cursor is a
key, not an index, so it stays on its row when rows appear, disappear or move.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

R = TypeVar("R")


class Pages(Protocol[R]):
    """Rows in a fixed order, read from either end or from a row on."""

    def key(self, row: R) -> Hashable:
        """What identifies the row, always."""

    async def first(self, limit: int) -> list[R]:
        """The first ``limit`` rows."""

    async def last(self, limit: int) -> list[R]:
        """The last ``limit`` rows, in order."""

    async def after(self, row: R, limit: int, *, inclusive: bool = False) -> list[R]:
        """Up to ``limit`` rows that follow ``row``."""

    async def before(self, row: R, limit: int) -> list[R]:
        """Up to ``limit`` rows just before ``row``, in order."""

    async def still(self, rows: Sequence[R]) -> list[R]:
        """Those of ``rows`` that still exist, as they are now."""


class ListPages(Generic[R]):
    """A short list that is completely in memory: every page is the whole list."""

    def __init__(self, key: str, rows: Sequence[R] = ()) -> None:
        """``key``: the attribute that identifies a row; with dots, one of an attribute."""
        self._key = attrgetter(key)
        self.rows = list(rows)

    def key(self, row: R) -> Hashable:
        found: Hashable = self._key(row)
        return found

    async def first(self, limit: int) -> list[R]:
        return self.rows

    async def last(self, limit: int) -> list[R]:
        return self.rows

    async def after(self, row: R, limit: int, *, inclusive: bool = False) -> list[R]:
        return self.rows if inclusive else []

    async def before(self, row: R, limit: int) -> list[R]:
        return []

    async def still(self, rows: Sequence[R]) -> list[R]:
        keys = {self.key(row) for row in rows}
        return [row for row in self.rows if self.key(row) in keys]


class RowWindow(Generic[R]):
    """Some rows around the visible ones. ``rows[top]`` is the first line on the screen."""

    def __init__(self, pages: Pages[R]) -> None:
        self.pages = pages
        self.rows: list[R] = []
        self.top = 0
        self.height = 1
        self.cursor: Hashable = None
        self.at_start = True
        self.at_end = True
        self._index: dict[Hashable, int] = {}

    @property
    def position(self) -> int | None:
        """The index of the cursor in ``rows``; None when there are none."""
        return self._index.get(self.cursor)

    @property
    def current(self) -> R | None:
        position = self.position
        return None if position is None else self.rows[position]

    def visible(self) -> list[R]:
        return self.rows[self.top : self.top + self.height]

    @property
    def buffer(self) -> int:
        """How many rows to keep: some screens on each side, so that keys work at once."""
        return max(60, self.height * 3)

    @property
    def short_below(self) -> bool:
        """Whether more rows below will be needed soon."""
        return not self.at_end and len(self.rows) - self.top < 2 * self.height + 1

    @property
    def short_above(self) -> bool:
        """The same for rows above."""
        return not self.at_start and self.top < self.height

    def move(self, lines: int) -> None:
        """Move the cursor over the rows in memory, and the screen with it."""
        self.put((self.position or 0) + lines)

    def put(self, position: int) -> None:
        """Put the cursor on ``rows[position]``, or the nearest row."""
        if self.rows:
            position = min(max(position, 0), len(self.rows) - 1)
            self.cursor = self.pages.key(self.rows[position])
        self.reveal()

    def scroll(self, lines: int) -> None:
        """Move the screen; the cursor stays within it."""
        self.top += lines
        self._clamp()
        position = self.position
        if position is not None:
            self.put(min(max(position, self.top), self.top + self.height - 1))

    def resize(self, height: int) -> None:
        if self.height != max(1, height):
            self.height = max(1, height)
            self.reveal()

    def reveal(self) -> None:
        """Move the screen just so far that the cursor is visible."""
        position = self.position
        if position is not None:
            if position < self.top:
                self.top = position
            elif position >= self.top + self.height:
                self.top = position - self.height + 1
        self._clamp()

    def _clamp(self) -> None:
        self.top = min(max(self.top, 0), max(0, len(self.rows) - self.height))

    def begin(self, rows: Sequence[R], *, whole: bool) -> None:
        """Start with these first rows. ``whole``: there are no others."""
        self._take(list(rows), at_start=True, at_end=whole)
        self.put(0)

    async def go_first(self) -> None:
        rows = await self.pages.first(self.buffer)
        self._take(rows, at_start=True, at_end=len(rows) < self.buffer)
        self.top = 0
        self.put(0)

    async def go_last(self) -> None:
        rows = await self.pages.last(self.buffer)
        self._take(rows, at_start=len(rows) < self.buffer, at_end=True)
        self.put(len(rows) - 1)

    async def extend(self) -> None:
        """Read more rows when the screen is near the first or last row in memory."""
        if self.short_below:
            last = self.rows[-1]
            more = await self.pages.after(last, self.buffer)
            if self.rows and self.rows[-1] is last:
                drop = max(0, self.top - self.buffer)
                self._take(
                    self.rows[drop:] + more,
                    at_start=self.at_start and not drop,
                    at_end=len(more) < self.buffer,
                )
                self.top -= drop
        if self.short_above:
            first = self.rows[0]
            more = await self.pages.before(first, self.buffer)
            if self.rows and self.rows[0] is first:
                keep = self.top + self.height + self.buffer
                at_end = self.at_end and keep >= len(self.rows)
                self._take(more + self.rows[:keep], at_start=len(more) < self.buffer, at_end=at_end)
                self.top += len(more)

    async def reload(self, *, follow: bool = False) -> None:
        """Read the rows again. ``follow``: stay at the first rows."""
        if not self.rows or follow:
            rows = await self.pages.first(self.buffer)
            self._settle(rows, at_start=True)
            if follow:
                self.top = 0
                self.put(0)
            return
        limit = max(self.buffer, min(len(self.rows), self.buffer * 2))
        if self.at_start and self.top == 0:
            fresh = await self.pages.first(limit)
            if self.cursor is None or any(self.pages.key(row) == self.cursor for row in fresh):
                self._settle(fresh, at_start=True, limit=limit)
                return
        await self._reload_around(limit)

    def replace(self, rows: list[R], *, follow: bool = False) -> None:
        """Take these rows, which are all there are. ``follow``: as in :meth:`reload`."""
        self._settle(rows, at_start=True, at_end=True)
        if follow:
            self.top = 0
            self.put(0)

    async def _reload_around(self, limit: int) -> None:
        anchor = self.rows[self.top]
        position = self.position
        if position is not None and not self.top <= position < self.top + self.height:
            anchor = self.rows[position]
        above = await self.pages.before(anchor, self.buffer)
        below = await self.pages.after(anchor, limit, inclusive=True)
        if len(below) < self.height and len(above) == self.buffer:
            above = await self.pages.before(anchor, self.buffer + self.height)
        at_start = len(above) < self.buffer
        self._settle(above + below, at_start=at_start, at_end=len(below) < limit)

    def _settle(
        self, rows: list[R], *, at_start: bool, at_end: bool | None = None, limit: int | None = None
    ) -> None:
        """Replace the rows, and keep the position of the screen and the cursor."""
        key = self.pages.key
        fresh = {key(row) for row in rows}
        stuck_to_start = self.at_start and self.top == 0
        top_row = self._survivor(self.top, fresh)
        cursor = self._survivor(self.position or 0, fresh)
        if at_end is None:
            at_end = len(rows) < (limit or self.buffer)
        self._take(rows, at_start=at_start, at_end=at_end)
        self.cursor = cursor if cursor is not None else (key(rows[0]) if rows else None)
        if stuck_to_start and at_start:
            self.top = 0
        else:
            self.top = self._index.get(top_row, 0)
        self.reveal()

    def _survivor(self, position: int, fresh: set[Hashable]) -> Hashable:
        """The key at ``position``, or that of the nearest row that still exists."""
        key = self.pages.key
        below = (key(row) for row in self.rows[position:])
        above = (key(row) for row in reversed(self.rows[:position]))
        for found in chain(below, above):
            if found in fresh:
                return found
        return None

    def _take(self, rows: list[R], *, at_start: bool, at_end: bool) -> None:
        self.rows = rows
        self.at_start = at_start
        self.at_end = at_end
        self._index = {self.pages.key(row): at for at, row in enumerate(rows)}

    async def between(self, first: R, last: R, limit: int = 10_000) -> list[R] | None:
        """Rows from ``first`` to ``last``; None when ``last`` is not among the next ``limit``
        rows."""
        key = self.pages.key
        a, b = self._index.get(key(first)), self._index.get(key(last))
        if a is not None and b is not None:
            return self.rows[a : b + 1] if a <= b < a + limit else None
        found = [first]
        while len(found) < limit:
            more = await self.pages.after(found[-1], min(500, limit - len(found)))
            for row in more:
                found.append(row)
                if key(row) == key(last):
                    return found
            if not more:
                return None
        return None
