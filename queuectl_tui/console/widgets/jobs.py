"""The jobs pane: which jobs, in what order, and how many."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from queuectl_core.domain.admission import Reason
from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.lifecycle import FINAL
from queuectl_core.domain.model import Filter, Job, State
from queuectl_core.operations.queries import SORT_LIMIT

from ...presentation.columns import Cell, TableColumn
from ...presentation.connections import Connections
from ...presentation.format import short
from ...presentation.monitor import AHEAD
from ..background import run_in_background
from ..columns import ARRIVAL, JOBS, JobPages, jobs_columns
from .table import THRIFT, LineTable
from .throttle import Throttle

STATES: tuple[State | None, ...] = (None, *State)
"""The states that ``[`` and ``]`` select in turn."""

RECOUNT = 10.0
"""Seconds between counts of a search, at least."""


class JobsPane(LineTable[Job]):
    """Jobs by state, text or cause of death, in order of arrival or sorted by a column."""

    def __init__(
        self,
        connections: Connections,
        clock: Callable[[], float] = time.time,
        *,
        newest: Sequence[Job] = (),
    ) -> None:
        """``newest``: jobs that the monitor has read already."""
        self._pages = JobPages(connections)
        self._reasons: dict[int, Reason] = {}
        """Why jobs on the screen do not run: the first reasons, by seq."""
        self._reasons_of: set[tuple[int, State]] = set()
        """The jobs for which the reasons were read, as they were then."""
        self._reading_reasons = False
        self._reasons_at = 0.0
        """When they may be read again (monotonic)."""
        self._read_reasons = Throttle(self, self._look_why)
        columns = jobs_columns(self._reasons)
        super().__init__(columns, self._pages, id="jobs", clock=clock)
        self.window.begin(newest, whole=len(newest) < AHEAD)
        self.count = 0
        self.counted = False
        """Whether all jobs are counted; else ``count`` is the number so far."""
        self._extent = (0, 0)
        self._recount_at = 0.0
        self._recount = Throttle(self, self._count)
        self.extent = self._screen_extent
        self.title()

    @property
    def where(self) -> Filter:
        return self._pages.where

    @property
    def filtered(self) -> bool:
        return self.where != Filter()

    def filter(self, where: Filter) -> None:
        if where != self.where:
            self._renew_pages(replace(self._pages, where=where))

    def next_state(self, way: int) -> None:
        now = self.where.states[0] if self.where.states else None
        state = STATES[(STATES.index(now) + way) % len(STATES)]
        states = (state,) if state else ()
        self.filter(Filter(states, queues=self.where.queues, search=self.where.search))

    def sort(self, way: int) -> None:
        """Sort by the next column that allows it; arrival is one of them."""
        columns = [ARRIVAL, *(column.sort for column in JOBS if column.sort)]
        at = columns.index(self._pages.column)
        column = columns[(at + way) % len(columns)]
        self._renew_pages(replace(self._pages, column=column))

    def sort_by(self, column: TableColumn[Job]) -> None:
        """Sort by this column. If the rows are sorted by it already, reverse the order."""
        if column.sort == self._pages.column:
            self.invert()
        elif column.sort:
            self._renew_pages(replace(self._pages, column=column.sort))

    def invert(self) -> None:
        self._renew_pages(replace(self._pages, descending=not self._pages.descending))

    def _renew_pages(self, pages: JobPages) -> None:
        recount = pages.where != self._pages.where
        self._pages = pages
        name = next((c.name for c in JOBS if c.sort == pages.column), "")
        self.sorted = (name, pages.descending) if name else None
        if recount:
            self.counted = False
            self.count = 0
        self.title()
        self.show(pages)
        self._count()

    def count_again(self, total: int | None) -> None:
        """The store has changed. ``total``: how many jobs match, if the caller knows."""
        if total is not None:
            self.know(total)
        else:
            self._recount.ask(self._recount_at)

    def know(self, total: int) -> None:
        if total != self.count or not self.counted:
            run_in_background(self, self._measure, "measure-jobs", exclusive=True)
        self.count, self.counted = total, True
        self.title()

    async def _measure(self) -> None:
        try:
            self._extent = await self._pages.view.extent()
        except QueueError as error:
            self.post_message(self.Failed(error))

    def _count(self) -> None:
        run_in_background(self, self._counting, "count-jobs", exclusive=True)

    async def _counting(self) -> None:
        started = time.monotonic()
        try:
            view = self._pages.view
            self._extent = await view.extent()
            async for count, whole in view.counting():
                if whole or not self.counted:
                    self.count, self.counted = count, whole
                    self.title()
            self.screen.refresh_bindings()  # the key bar says how many
            if view.slow:
                cost = time.monotonic() - started
                self._recount_at = time.monotonic() + max(RECOUNT, cost * THRIFT)
            else:
                self._recount_at = 0.0
        except QueueError as error:
            self.post_message(self.Failed(error))

    def title(self) -> None:
        where = self.where
        number = f"{self.count:,}" if self.counted else f"{self.count:,}…"
        parts: list[Cell] = [("4 jobs", "strong"), (f" {number}", "text")]
        if where.states:
            parts.append((f"  {where.states[0]}", "accent"))
        for queue in where.queues:
            parts.append((f"  queue {short(queue, 40)}", "accent"))
        for reason in where.reasons:
            parts.append((f"  {short(reason, 60)}", "accent"))
        if where.search is not None:
            parts.append((f"  /{short(where.search, 40)}", "accent"))
        parts.append((f"  {self.order()}", "muted"))
        empty = "no job matches: esc clears the filter" if self.filtered else "no jobs: e adds"
        if (parts, empty) != (self.parts, self.empty):
            self.parts, self.empty = parts, empty
            self.paint()
            if self.is_attached:
                self.screen.refresh_bindings()  # a key says how many jobs it would change

    def paint(self) -> None:
        super().paint()
        unknown = {(job.seq, job.state) for job in self._blocked()} - self._reasons_of
        if unknown and self.is_attached and self.size:  # else it is not known which ones are seen
            self._read_reasons.ask(self._reasons_at)

    def look_why(self) -> None:
        """The store or the time has changed: the reasons may be others."""
        if self.is_attached and self._blocked():
            self._read_reasons.ask(self._reasons_at)

    def _blocked(self) -> list[Job]:
        """The jobs on the screen that may have a reason not to run."""
        return [job for job in self.window.visible() if job.state not in FINAL]

    def _look_why(self) -> None:
        if not self._reading_reasons and self.is_attached:
            self._reading_reasons = True
            run_in_background(self, self._find_reasons, "why-jobs")

    async def _find_reasons(self) -> None:
        """Read the reasons of the jobs on the screen, and of no others."""
        jobs, started = self._blocked(), time.monotonic()
        try:
            found = await self._pages.connections.reader.waits(jobs) if jobs else {}
        except QueueError as error:
            self.post_message(self.Failed(error))
            return
        finally:
            self._reading_reasons = False
            self._reasons_at = time.monotonic() + (time.monotonic() - started) * THRIFT
        self._reasons.clear()
        self._reasons.update(found)
        self._reasons_of = {(job.seq, job.state) for job in jobs}
        self.paint()

    def order(self) -> str:
        """The order in words. It says when only the newest jobs are sorted."""
        if self._pages.column == ARRIVAL:
            return "newest first" if self._pages.descending else "oldest first"
        name = next(c.name for c in JOBS if c.sort == self._pages.column)
        if self.count > SORT_LIMIT:
            return f"by {name}, of the newest {SORT_LIMIT:,}"
        return f"by {name}"

    def _screen_extent(self) -> tuple[float, float]:
        window = self.window
        shown = window.visible()
        if self._pages.column != ARRIVAL:
            count = max(1, min(SORT_LIMIT, self.count))
            rows = self._pages.place(shown[0])
            return rows / count, (rows + len(shown)) / count
        low, high = self._extent
        high = max(high, *(job.seq for job in shown))
        span = high - low + 1
        first, last = (
            abs((high if self._pages.descending else low) - j.seq) for j in (shown[0], shown[-1])
        )
        return first / span, (last + 1) / span
