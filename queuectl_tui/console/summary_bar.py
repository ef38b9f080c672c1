"""The whole store on one line, for screens that show one pane at a time."""

from __future__ import annotations

from queuectl_core.domain.model import State

from .monitor import Overview
from .widgets.strips import Cell

WORDS = {
    State.DEAD: ("dead", "bad"),
    State.PROCESSING: ("run", "busy"),
    State.PENDING: ("pend", "text"),
    State.FAILED: ("fail", "warn"),
    State.COMPLETED: ("done", "text"),
    State.CANCELLED: ("canc", "text"),
}
"""What matters most comes first: the end may be cut."""


def summary_cells(overview: Overview) -> list[Cell]:
    """Workers that are busy, and each state that has jobs."""
    live = overview.live_workers
    busy = sum(worker.job is not None for worker in live)
    cells: list[Cell] = [(" w ", "muted"), (f"{busy}/{len(live)}", "text")]
    if len(live) < len(overview.workers):
        cells += [(" lost ", "muted"), (str(len(overview.workers) - len(live)), "bad")]
    for state, (word, style) in WORDS.items():
        count = overview.counts.get(state, 0)
        if count:
            cells += [(f" {word} ", "muted"), (brief(count), style)]
    return cells


def brief(count: int) -> str:
    """A count in at most four characters: ``950``, ``12k``, ``1.2M``."""
    if count < 1000:
        return str(count)
    if count < 1_000_000:
        return f"{count / 1000:.1f}k" if count < 9950 else f"{count // 1000}k"
    return f"{count / 1e6:.1f}M"
