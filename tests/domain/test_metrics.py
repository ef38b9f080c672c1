"""Metrics as plain data."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain.metrics import (
    BOUNDS,
    MOST_LABELS,
    OTHER,
    Histogram,
    attempt_metrics,
    histogram,
    labeller,
    queue_metrics,
)
from queuectl_core.domain.model import Outcome, QueueSettings, State
from queuectl_core.domain.rollup import (
    ERROR,
    DDSketch,
    Rollup,
    merged,
    merged_sketches,
    pack,
    unpack,
)

from ..support import NOW

durations = st.lists(st.floats(0, 1e7), max_size=50)


def sketch(values: list[float]) -> DDSketch:
    made = DDSketch()
    made.add(values)
    return made


@given(durations)
def test_a_histogram_counts_each_duration_once(values: list[float]) -> None:
    made = histogram(sketch(values))
    assert made.count == len(values)
    assert list(made.buckets) == sorted(made.buckets)
    for bound, number in zip(BOUNDS, made.buckets, strict=True):
        slack = bound * 1.01 * ERROR
        assert sum(value <= bound - slack for value in values) <= number
        assert number <= sum(value <= bound + slack for value in values)
    assert abs(made.total - sum(values)) <= sum(values) * 1.01 * ERROR + 1e-3


def never_less(before: Histogram, after: Histogram) -> bool:
    pairs = zip((*before.buckets, *before[1:]), (*after.buckets, *after[1:]), strict=True)
    return all(old <= new for old, new in pairs)


@given(st.lists(durations, min_size=1, max_size=8), durations)
def test_however_it_is_merged_it_never_decreases(
    parts: list[list[float]], more: list[float]
) -> None:
    sketches = [sketch(part) for part in parts]
    flat = merged_sketches(sketches)
    nested = DDSketch()
    for one in reversed(sketches):
        nested = merged_sketches([one, nested])
    assert histogram(flat) == histogram(nested)
    assert never_less(histogram(flat), histogram(merged_sketches([nested, sketch(more)])))


def test_outcomes_add_up_to_all_attempts() -> None:
    whole = Rollup()
    whole.add([(Outcome.COMPLETED, False, 1.0, 2.0)] * 3, "a")
    whole.add([(Outcome.FAILED, False, 1.0, 2.0), (Outcome.TIMEOUT, True, 1.0, 2.0)], "b")
    whole.add([(Outcome.CANCELLED, False, 1.0, 2.0)], "c")
    total, run, wait = attempt_metrics(whole, ["c"])
    numbers = {tuple(labels.values()): number for labels, number in total.values}
    assert {where: number for where, number in numbers.items() if number} == {
        ("a", "completed"): 3,
        ("b", "failed"): 1,
        ("b", "dead"): 1,
    }
    assert len(numbers) == 9
    for one in (run, wait):
        [(labels, value)] = one.values
        assert labels == {}
        assert isinstance(value, Histogram)
        assert value.count == 5


def test_attempts_of_unknown_queues_count_as_other() -> None:
    whole = Rollup()
    whole.add([(Outcome.COMPLETED, False, 1.0, 2.0)], "a")
    whole.add([(Outcome.COMPLETED, False, 1.0, 2.0)] * 2)
    total, *_ = attempt_metrics(whole, ["a"])
    numbers = {labels["queue"]: n for labels, n in total.values if labels["outcome"] == "completed"}
    assert numbers == {"a": 1, OTHER: 2}


def test_few_names_keep_their_labels() -> None:
    label = labeller(f"q{n:03}" for n in range(MOST_LABELS))
    assert label("q000") == "q000"
    assert label(f"q{MOST_LABELS - 1:03}") == "q199"


def test_many_are_added_up() -> None:
    names = [f"q{n:03}" for n in range(MOST_LABELS + 5)]
    label = labeller(names)
    counts = {(State.PENDING, name): 2 for name in names}
    settings = [QueueSettings(name, paused_at=NOW) for name in names]
    found = queue_metrics(counts, settings, {label(n): NOW - 5 for n in names}, NOW, label)
    jobs = {(one["queue"], one["state"]): number for one, number in found[0].values}
    assert len(jobs) == (MOST_LABELS + 1) * len(State)
    assert jobs["q000", "pending"] == 2
    assert jobs[OTHER, "pending"] == 10
    assert {one["queue"]: number for one, number in found[2].values}[OTHER] == 5


def test_a_queue_that_is_called_other_is_added_to_them() -> None:
    names = ["other", *(f"q{n:03}" for n in range(MOST_LABELS))]
    label = labeller(names)
    counts = {(State.PENDING, name): 1 for name in names}
    jobs, *_ = queue_metrics(counts, [], dict.fromkeys(map(label, names)), NOW, label)
    pending = [number for one, number in jobs.values if one == {"queue": OTHER, "state": "pending"}]
    assert pending == [2]


def test_a_queue_that_comes_or_goes_moves_no_counter() -> None:
    whole = Rollup()
    for n in reversed(range(MOST_LABELS)):
        whole.add([(Outcome.COMPLETED, False, 1.0, 2.0)], f"q{n:03}")
    whole = merged([unpack(pack(whole)), *(by_queue(f"r{n}") for n in range(5))])

    def counted(queues: list[str]) -> dict[str, float | Histogram]:
        values = attempt_metrics(whole, queues)[0].values
        return {one["queue"]: number for one, number in values if one["outcome"] == "completed"}

    before = counted([])
    assert before[OTHER] == 5
    assert before["q000"] == 1
    assert counted(["a-new-one"]) == before
    whole = merged([whole, by_queue("a-new-one")])
    assert counted(["a-new-one"]) == before | {OTHER: 6}


def by_queue(name: str) -> Rollup:
    made = Rollup()
    made.add([(Outcome.COMPLETED, False, 1.0, 2.0)], name)
    return made


def test_a_label_has_no_unsafe_characters() -> None:
    assert labeller(["a\x1b]b\u202e\n"])("a\x1b]b\u202e\n") == "a\\x1b]b\\u202e\\n"


def test_json_is_json() -> None:
    whole = Rollup()
    whole.add([(Outcome.COMPLETED, False, 1.0, 2.0)])
    metrics = attempt_metrics(whole, [])
    for metric in metrics:
        json.dumps(metric.to_json(), allow_nan=False)
    shown = metrics[1].to_json()
    assert shown["metrics"][0]["buckets"]["0.5"] == 0
    assert shown["metrics"][0]["buckets"]["+Inf"] == shown["metrics"][0]["count"] == 1
