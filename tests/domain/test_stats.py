"""Percentiles and rates against the plainest reference."""

from __future__ import annotations

import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain.figures import Distribution
from queuectl_core.domain.model import Outcome
from queuectl_core.domain.statistics import percentile, spread, summarise

durations = st.lists(st.floats(0, 1e7), min_size=1, max_size=300)


@given(durations, st.sampled_from([1, 25, 50, 90, 95, 99, 100]))
def test_nearest_rank(values: list[float], percent: int) -> None:
    ordered = sorted(values)
    # The definition: the smallest value with at least so many at or below it.
    wanted = next(
        value
        for value in ordered
        if Fraction(sum(other <= value for other in ordered), len(ordered))
        >= Fraction(percent, 100)
    )
    assert percentile(ordered, percent / 100) == wanted


@pytest.mark.parametrize("percent", [50, 95, 99])
def test_the_rank_is_exact_at_every_size(percent: int) -> None:
    # 0.95 is no binary number: a rank that is one too high shows at some sizes only.
    everything = range(1, 20_001)
    for size in everything:
        assert percentile(everything[:size], percent / 100) == -(-percent * size // 100)


@given(durations)
def test_a_spread_is_in_order(values: list[float]) -> None:
    found = spread(values)
    assert found is not None
    assert found.count == len(values)
    assert found.min == min(values)
    assert found.max == max(values)
    assert found.min <= found.p50 <= found.p95 <= found.p99 <= found.max
    assert found.avg == pytest.approx(statistics.fmean(values))
    assert set(found.to_json()) == {"count", "avg", "min", "max", "p50", "p95", "p99"}


def test_nothing_has_no_spread() -> None:
    assert spread([]) is None


def test_a_summary() -> None:
    ended = [
        (Outcome.COMPLETED, False, 1.0, 0.5),
        (Outcome.COMPLETED, False, 3.0, 0.5),
        (Outcome.FAILED, False, 2.0, 0.5),
        (Outcome.TIMEOUT, True, 2.0, 0.5),
        (Outcome.CRASHED, False, 2.0, -0.5),  # a clock was set back
        (Outcome.CANCELLED, False, 99.0, 99.0),
        (Outcome.INTERRUPTED, False, 99.0, 99.0),
    ]
    found = summarise(ended, since=0.0, until=120.0)
    assert (found.completed, found.failed, found.dead) == (2, 3, 1)
    assert found.success_rate == 0.4
    assert found.jobs_per_minute == 1.5
    assert found.run_time == Distribution(
        count=5, avg=2.0, min=1.0, max=3.0, p50=2.0, p95=3.0, p99=3.0
    )
    assert found.wait_time is not None
    assert found.wait_time.min == 0.0
    assert found.to_json()["success_rate"] == 0.4


def test_a_summary_of_nothing() -> None:
    found = summarise([], since=100.0, until=100.0)
    assert found.success_rate is None
    assert found.jobs_per_minute == 0
    assert found.to_json() == {
        "since": "1970-01-01T00:01:40.000Z",
        "completed": 0,
        "failed": 0,
        "dead": 0,
        "success_rate": None,
        "run_time": None,
        "wait_time": None,
        "jobs_per_minute": 0.0,
        "exact": True,
    }
