"""The throughput chart, as SVG without inline styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from queuectl_core.domain.figures import ThroughputSample

BARS = 60
HEIGHT = 64
"""Units of the drawing; a bar is 4 wide, with 1 between."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: completed below, failed on top."""

    x: int
    done_y: float
    done_height: float
    failed_y: float
    failed_height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars of a few seconds each, the latest at the right."""

    bars: Sequence[Bar]
    width: int
    height: int
    seconds: int
    """How much time it shows."""
    completed: int
    failed: int
    top: int
    """The most attempts that ended in one second of a bar, rounded up."""


def throughput_chart(samples: Sequence[ThroughputSample]) -> Chart:
    """The chart of these samples, one for each second."""
    size = max(1, len(samples) // BARS)
    groups = [samples[at : at + size] for at in range(len(samples) % size, len(samples), size)]
    sums = [(sum(s.completed for s in g), sum(s.failed for s in g)) for g in groups]
    most = max((done + failed for done, failed in sums), default=0)
    bars = []
    for number, (done, failed) in enumerate(sums):
        scale = HEIGHT / max(most, 1)
        done_height, failed_height = round(done * scale, 1), round(failed * scale, 1)
        done_y = round(HEIGHT - done_height, 1)
        bars.append(
            Bar(number * 5, done_y, done_height, round(done_y - failed_height, 1), failed_height)
        )
    return Chart(
        [bar for bar in bars if bar.done_height or bar.failed_height],
        max(len(bars), BARS) * 5,
        HEIGHT,
        len(samples),
        sum(done for done, _ in sums),
        sum(failed for _, failed in sums),
        -(-most // size),
    )
