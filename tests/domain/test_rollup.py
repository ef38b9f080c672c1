"""What many attempts came to, added up, held against the attempts themselves."""

from __future__ import annotations

import math
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain.model import Outcome
from queuectl_core.domain.rollup import (
    DAY,
    ERROR,
    FINEST,
    HOUR,
    LONGEST,
    MINUTE,
    MOST_QUEUES,
    SPANS,
    DDSketch,
    Ended,
    Rollup,
    bucket,
    floor,
    merged,
    merged_sketches,
    middle,
    pack,
    reach,
    unpack,
)
from queuectl_core.domain.statistics import percentile, rolled_up, summarise

NOW = 1_790_000_000.0

seconds = st.one_of(
    st.floats(0, LONGEST),
    st.floats(0, 0.01),
    st.integers(0, 10_000).map(float),
    # On an edge and beside it, where rounding would show.
    st.integers(0, 1700).map(lambda n: FINEST * ((1 + ERROR) / (1 - ERROR)) ** n),
)
durations = st.lists(seconds, min_size=1, max_size=200)
attempts = st.lists(st.tuples(st.sampled_from(Outcome), st.booleans(), seconds, seconds))


def sketch(values: list[float]) -> DDSketch:
    made = DDSketch()
    made.add(values)
    return made


def rollup(rows: list[Ended], queue: str = "") -> Rollup:
    made = Rollup()
    made.add(rows, queue)
    return made


def close(found: float, true: float) -> bool:
    """Within what is promised, and what a float can say."""
    return abs(found - true) <= max(FINEST, ERROR * true) * (1 + 1e-9)


@given(seconds)
def test_a_duration_is_near_the_middle_of_its_bucket(value: float) -> None:
    assert close(middle(bucket(value)), value)


@given(durations, st.sampled_from([1, 25, 50, 90, 95, 99, 100]))
def test_a_percentile_is_near_the_true_one(values: list[float], percent: int) -> None:
    assert close(
        sketch(values).percentile(percent / 100), percentile(sorted(values), percent / 100)
    )


def test_the_error_is_as_large_as_is_said() -> None:
    """The bound is no mere caution: a larger one would be wrong to promise, a smaller one too."""
    worst = max(abs(middle(bucket(v)) / v - 1) for v in (0.001 * 1.0007**n for n in range(20_000)))
    assert 0.9 * ERROR < worst <= ERROR * (1 + 1e-9)


@given(durations)
def test_what_is_exact(values: list[float]) -> None:
    found = sketch(values).spread()
    assert found is not None
    assert (found.count, found.min, found.max) == (len(values), min(values), max(values))
    assert found.avg == pytest.approx(math.fsum(values) / len(values))
    assert found.min <= found.p50 <= found.p95 <= found.p99 <= found.max


def test_nothing_has_no_spread() -> None:
    assert DDSketch().spread() is None
    assert merged([]) == Rollup()


def test_a_clock_that_was_set_back_counts_as_no_time() -> None:
    assert sketch([-5.0]) == sketch([0.0])


@given(st.lists(attempts, max_size=6))
def test_adding_up_loses_nothing(groups: list[list[Ended]]) -> None:
    together = merged(rollup(group) for group in groups)
    at_once = rollup([row for group in groups for row in group])
    for one, other in (
        (together.run_time, at_once.run_time),
        (together.wait_time, at_once.wait_time),
    ):
        assert one.total == pytest.approx(other.total)
        one.total = other.total  # the order of a sum shows in its last digits
    assert together == at_once


@given(durations, durations, durations)
def test_the_order_of_adding_up_does_not_matter(
    one: list[float], two: list[float], three: list[float]
) -> None:
    a, b, c = sketch(one), sketch(two), sketch(three)
    left = merged_sketches([merged_sketches([a, b]), c])
    right = merged_sketches([merged_sketches([c, b]), a])
    assert (left.count, left.low, left.high) == (right.count, right.low, right.high)
    assert (left.buckets, left.counts) == (right.buckets, right.counts)
    assert a == sketch(one), "what is added up stays as it was"


@given(attempts)
def test_the_counts_are_those_of_the_attempts(
    rows: list[Ended],
) -> None:
    rows = [(outcome, dead and outcome is Outcome.FAILED, *times) for outcome, dead, *times in rows]
    exact, rough = summarise(rows, 0.0, 60.0), rolled_up(rollup(rows), 0.0, 60.0)
    assert (exact.exact, rough.exact) == (True, False)
    for name in ("completed", "failed", "dead", "success_rate", "jobs_per_minute", "ended"):
        assert getattr(rough, name) == getattr(exact, name), name


@given(attempts, st.lists(st.text("abé", min_size=1, max_size=4), max_size=3))
def test_it_is_read_as_it_was_written(rows: list[Ended], queues: list[str]) -> None:
    made = merged([rollup(rows), *(rollup(rows, queue) for queue in queues)])
    assert unpack(pack(made)) == made


def test_each_queue_has_its_numbers() -> None:
    ended: list[Ended] = [
        (Outcome.COMPLETED, False, 1.0, 0.0),
        (Outcome.FAILED, True, 1.0, 0.0),
        (Outcome.CANCELLED, False, 1.0, 0.0),
    ]
    whole = merged([rollup(ended, "a"), rollup(ended, "b"), rollup(ended[:1], "a")])
    assert whole.queues == {"a": (2, 1, 1), "b": (1, 1, 1)}
    assert (whole.completed, whole.failed, whole.dead) == (3, 2, 2)


def test_a_rollup_does_not_grow_with_the_number_of_queues() -> None:
    made = Rollup()
    for number in range(MOST_QUEUES + 50):
        made.add([(Outcome.COMPLETED, False, 1.0, 0.0)], f"q{number}")
    made.add([(Outcome.COMPLETED, False, 1.0, 0.0)], "q0")
    assert len(made.queues) == MOST_QUEUES
    assert made.queues["q0"] == (2, 0, 0)
    assert made.completed == MOST_QUEUES + 51
    other = rollup([(Outcome.COMPLETED, False, 1.0, 0.0)], "more")
    assert merged([made, other]).queues.keys() == {*made.queues, "more"}, "no number decreases"


def test_its_form_is_pinned() -> None:
    """Stores have such bytes: another form needs another first byte, and this one read still."""
    ended: list[Ended] = [(Outcome.COMPLETED, False, 0.25, 0.0), (Outcome.FAILED, True, 2.0, 0.0)]
    numbers = (
        *(1, 1, 1),
        *(2, 2.25, 0.25, 2.0, 2, bucket(0.25), bucket(2.0), 1, 1),
        *(2, 0.0, 0.0, 0.0, 1, 0, 2),
    )
    form = "BQQQ QdddHHHQQ QdddHHQ"
    assert pack(rollup(ended, "é")) == struct.pack(
        f"<{form} HQQQ2s", 2, *numbers, 2, 1, 1, 1, "é".encode()
    )
    # Stores before queues were counted.
    assert unpack(struct.pack(f"<{form}", 1, *numbers)) == rollup(ended)
    assert (bucket(0.25), bucket(2.0)) == (622, 726)


@given(attempts, st.data())
def test_what_is_cut_short_is_refused(rows: list[Ended], data: st.DataObject) -> None:
    whole = pack(rollup(rows))
    size = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match="rollup"):
        unpack(whole[:size])
    with pytest.raises(ValueError, match="rollup"):
        unpack(whole + b"\0")


@given(st.binary(max_size=300))
def test_other_bytes_are_refused_or_read(data: bytes) -> None:
    for first in (b"", b"\1", b"\2"):
        try:
            unpack(first + data)
        except ValueError:
            pass


@given(st.floats(0, 399 * DAY))
def test_a_window_begins_a_little_early(window: float) -> None:
    since = NOW - window
    begins = reach(since, NOW)
    span = next(span for span in SPANS if NOW - since <= span.window)
    assert begins % span.seconds == 0
    assert begins <= since < begins + span.seconds


def test_how_early() -> None:
    assert reach(NOW - 90, NOW) == floor(NOW - 90, MINUTE)
    assert reach(NOW - 2 * HOUR, NOW) == floor(NOW - 2 * HOUR, MINUTE)
    assert reach(NOW - 24 * HOUR, NOW) == floor(NOW - 24 * HOUR, 10 * MINUTE)
    assert reach(NOW - 7 * DAY, NOW) == floor(NOW - 7 * DAY, HOUR)
    assert reach(NOW - 30 * DAY, NOW) == floor(NOW - 30 * DAY, DAY)
    assert reach(0.0, NOW) == floor(NOW - 400 * DAY, DAY), "there is nothing older"


def test_spans_nest_and_are_kept_longer_than_they_answer_for() -> None:
    for fine, coarse in pairwise(SPANS):
        assert coarse.seconds % fine.seconds == 0
        assert fine.window < coarse.window
    for span in SPANS:
        assert span.kept >= span.window + HOUR
