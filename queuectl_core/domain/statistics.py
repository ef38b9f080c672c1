"""Statistics of ended attempts, as pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .figures import Distribution, Stats
from .model import Outcome
from .rollup import UNCOUNTED, Ended, Rollup


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """The nearest-rank percentile of ``ordered`` (ascending, not empty): the smallest value so that
    at least ``fraction`` of all values are not larger."""
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def spread(values: Iterable[float]) -> Distribution | None:
    """The distribution of ``values``; None if there are none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return Distribution(
        count=len(ordered),
        avg=math.fsum(ordered) / len(ordered),
        min=ordered[0],
        max=ordered[-1],
        p50=percentile(ordered, 0.50),
        p95=percentile(ordered, 0.95),
        p99=percentile(ordered, 0.99),
    )


def summarise(ended: Sequence[Ended], since: float, until: float) -> Stats:
    """Statistics of attempts. Cancelled and interrupted attempts do not count."""
    counted = [row for row in ended if row[0] not in UNCOUNTED]
    completed = sum(row[0] is Outcome.COMPLETED for row in counted)
    return Stats(
        since=since,
        until=until,
        completed=completed,
        failed=len(counted) - completed,
        dead=sum(row[1] for row in counted),
        run_time=spread(max(0.0, row[2]) for row in counted),
        wait_time=spread(max(0.0, row[3]) for row in counted),
    )


def rolled_up(whole: Rollup, since: float, until: float) -> Stats:
    """Statistics from a rollup."""
    return Stats(
        since=since,
        until=until,
        completed=whole.completed,
        failed=whole.failed,
        dead=whole.dead,
        run_time=whole.run_time.spread(),
        wait_time=whole.wait_time.spread(),
        exact=False,
    )
