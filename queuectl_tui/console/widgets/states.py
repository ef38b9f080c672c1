"""The states pane: how many jobs are in each state, and how fast they end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from textual.strip import Strip

from queuectl_core.domain.figures import ThroughputSample
from queuectl_core.domain.model import State

from ...presentation.format import sparkline
from ...presentation.monitor import Overview
from ..columns import STATES, StateRow
from .row_window import ListPages
from .strips import draw
from .table import LineTable

BAR_SECONDS = 5
"""Seconds of throughput in one bar. The graph changes, and sends bytes, this often."""


class StatesPane(LineTable[StateRow]):
    """Counts by state, with the throughput below if there is space."""

    head = 1

    def __init__(self) -> None:
        rows = [StateRow(None, 0), *(StateRow(state, 0) for state in State)]
        super().__init__(STATES, ListPages("name", rows), id="states", markable=False)
        self._overview = Overview()
        self._ticks: Sequence[ThroughputSample] = ()

    @property
    def foot(self) -> int:  # type: ignore[override]  # depends on the height
        return min(2, max(0, self.size.height - self.head - len(State) - 1))

    def update(self, overview: Overview) -> None:
        self._overview = overview
        self._ticks = overview.ticks
        counts = overview.counts
        rows = [StateRow(state, counts.get(state, 0)) for state in State]
        self.set_rows([StateRow(None, overview.total), *rows])

    def _draw(self) -> list[Strip]:
        lines = super()._draw()
        foot = self.foot
        if foot <= 0:
            return lines
        lines = lines[: self.size.height - foot]
        lines += [Strip.blank(self.size.width)] * (self.size.height - foot - len(lines))
        done, failed = self._overview.rate()
        bars = buckets(self._ticks, BAR_SECONDS)
        top = max([1.0, *(good + bad for good, bad in bars)])
        lines.append(self._graph("done/s", [good for good, _ in bars], done, "good", top))
        if foot > 1:
            lines.append(self._graph("fail/s", [bad for _, bad in bars], failed, "bad", top))
        return lines

    def _graph(
        self, name: str, values: Sequence[float], rate: float, style: str, top: float
    ) -> Strip:
        roles = self.roles
        number = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
        width = self.size.width - len(name) - 10
        cells: list[tuple[str, Style]] = [
            (f" {name} ", roles.muted),
            (sparkline(values, width, top), roles.of(style)),
            (f" {number:>6}", roles.of(style) if rate else roles.muted),
        ]
        return draw(cells, self.size.width)


def buckets(ticks: Sequence[ThroughputSample], seconds: int) -> list[tuple[float, float]]:
    """(completed, failed) a second for each complete period of ``seconds``."""
    spans: dict[int, tuple[int, int]] = {}
    for tick in ticks:
        good, bad = spans.get(tick.second // seconds, (0, 0))
        spans[tick.second // seconds] = (good + tick.completed, bad + tick.failed)
    return [(good / seconds, bad / seconds) for _, (good, bad) in sorted(spans.items())[1:-1]]
