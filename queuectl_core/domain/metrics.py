"""Metrics for monitoring, as plain data and pure functions.

Gauges say how the queue stands. Counters and histograms come from rollups, which survive pruning:
they cover all attempts since the store keeps rollups, and never decrease.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from .model import QueueSettings, State, Worker
from .rollup import DDSketch, Rollup, middle
from .schedule import ScheduleInfo
from .text import clean_line

MOST_LABELS = 200
"""Queues, or hosts, with numbers of their own."""

OTHER = "other"
"""Stands for all further queues, or hosts."""

WORKER_STATES = ("starting", "idle", "busy", "stopping", "lost")

BOUNDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 900.0, 3600.0, 6 * 3600.0, 24 * 3600.0),
)
"""Upper bounds of the buckets of a histogram, in seconds."""


class Histogram(NamedTuple):
    """How many durations were at most as long as each of :data:`BOUNDS`; and all of them."""

    buckets: tuple[int, ...]
    count: int  # type: ignore[assignment] # instead of the method of tuple
    total: float
    """The sum of the durations in seconds."""


class Metric(NamedTuple):
    """One metric: its name, ``gauge``, ``counter``, ``histogram`` or ``info``, and its values."""

    name: str
    kind: str
    about: str
    values: tuple[tuple[Mapping[str, str], float | Histogram], ...]
    """The labels, and the value that belongs to them."""

    def to_json(self) -> dict[str, Any]:
        """The public JSON."""
        return {
            "name": self.name,
            "type": "gauge" if self.kind == "info" else self.kind,
            "help": self.about,
            "metrics": [{"labels": dict(labels)} | _number(value) for labels, value in self.values],
        }


def _number(value: float | Histogram) -> dict[str, Any]:
    if not isinstance(value, Histogram):
        return {"value": value}
    bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
    buckets = dict(zip(bounds, (*value.buckets, value.count), strict=True))
    return {"buckets": buckets, "count": value.count, "sum": round(value.total, 6)}


def histogram(sketch: DDSketch) -> Histogram:
    """The histogram of a sketch. Each duration is counted as the middle of its bucket in the
    sketch, which differs by at most :data:`.rollup.ERROR`.

    The sum is made from the buckets, whose counts are whole numbers. ``sketch.total`` may become
    smaller by a rounding error when rollups are merged, and a counter that becomes smaller looks as
    if it had begun anew.
    """
    middles = [middle(index) for index in sketch.buckets]
    numbers = [0] * len(BOUNDS)
    for seconds, number in zip(middles, sketch.counts, strict=True):
        place = next((at for at, bound in enumerate(BOUNDS) if seconds <= bound), None)
        if place is not None:
            numbers[place] += number
    total = math.fsum(s * number for s, number in zip(middles, sketch.counts, strict=True))
    return Histogram(tuple(accumulate(numbers)), sum(sketch.counts), total)


def labeller(names: Iterable[str]) -> Callable[[str], str]:
    """The label of each name: the name itself, without unsafe characters. Above
    :data:`MOST_LABELS` names it is :data:`OTHER` for those that are last in the alphabet."""
    kept = set(sorted(set(names))[:MOST_LABELS])
    return lambda name: clean_line(name, 200) if name in kept else OTHER


def queue_metrics(
    counts: Mapping[tuple[State, str], int],
    settings: Sequence[QueueSettings],
    oldest: Mapping[str, float | None],
    now: float,
    label: Callable[[str], str],
) -> list[Metric]:
    """The gauges of queues. ``oldest``: for each label, since when the job has waited that has been
    due for longest."""
    labels = sorted(oldest)
    jobs = {(name, state): 0 for name in labels for state in State}
    for (state, queue), number in counts.items():
        jobs[label(queue), state] += number
    paused = dict.fromkeys(labels, 0)
    for one in settings:
        paused[label(one.name)] += one.paused(now)
    return [
        Metric(
            "queuectl_jobs",
            "gauge",
            "Jobs by queue and state.",
            tuple(
                ({"queue": name, "state": state.value}, number)
                for (name, state), number in jobs.items()
            ),
        ),
        Metric(
            "queuectl_queue_oldest_ready_seconds",
            "gauge",
            "For how long the job has waited that has been due for longest; 0: none is due.",
            tuple(
                ({"queue": name}, 0.0 if since is None else round(max(0.0, now - since), 3))
                for name, since in sorted(oldest.items(), key=lambda item: item[0])
            ),
        ),
        Metric(
            "queuectl_queue_paused",
            "gauge",
            "1 if the queue is paused.",
            tuple(({"queue": name}, number) for name, number in paused.items()),
        ),
    ]


def worker_metric(workers: Sequence[Worker]) -> Metric:
    """The workers by host and state."""
    label = labeller(worker.host for worker in workers)
    hosts = sorted({label(worker.host) for worker in workers})
    numbers = {(host, state): 0 for host in hosts for state in WORKER_STATES}
    for worker in workers:
        numbers[label(worker.host), worker.state] += 1
    return Metric(
        "queuectl_workers",
        "gauge",
        "Workers by host and state.",
        tuple(({"host": h, "state": state}, number) for (h, state), number in numbers.items()),
    )


def schedule_metrics(schedules: Sequence[ScheduleInfo]) -> list[Metric]:
    """When each schedule is next due, and when a run of it last completed. A schedule without such
    a time has no value. Those beyond :data:`MOST_LABELS` are left out: a sum of times means
    nothing."""
    label = labeller(info.schedule.name for info in schedules)
    known = [info for info in schedules if label(info.schedule.name) == info.schedule.name]
    success = {info.schedule.name: info.success_at for info in known}
    following = {
        info.schedule.name: None if info.schedule.paused else info.schedule.next_at
        for info in known
    }
    return [
        Metric(
            "queuectl_schedule_last_success_timestamp_seconds",
            "gauge",
            "When a run of the schedule last completed.",
            _times(success),
        ),
        Metric(
            "queuectl_schedule_next_run_timestamp_seconds",
            "gauge",
            "The next time of the schedule; without a value while it is paused.",
            _times(following),
        ),
    ]


def _times(found: Mapping[str, float | None]) -> tuple[tuple[Mapping[str, str], float], ...]:
    return tuple(({"schedule": name}, at) for name, at in found.items() if at is not None)


def attempt_metrics(whole: Rollup, queues: Iterable[str]) -> list[Metric]:
    """The counters and histograms of all attempts that ended. Attempts whose queue the rollup does
    not name count as :data:`OTHER`. ``queues``: more queues, which have had none; they are 0.

    The first :data:`MOST_LABELS` queues of the rollup have labels of their own, in the order in
    which they came. So a queue that comes or goes never moves numbers from one label to another.
    """
    named = list(dict.fromkeys((*whole.queues, *sorted(queues))))
    shown = {name: clean_line(name, 200) for name in named[:MOST_LABELS]}

    def label(name: str) -> str:
        return shown.get(name, OTHER)

    numbers = {name: [0, 0, 0] for name in sorted(map(label, named))}
    known = [0, 0, 0]
    for queue, counts in whole.queues.items():
        there = numbers[label(queue)]
        for place, number in enumerate(counts):
            there[place] += number
            known[place] += number
    rest = (whole.completed - known[0], whole.failed - known[1], whole.dead - known[2])
    if any(rest):
        there = numbers.setdefault(OTHER, [0, 0, 0])
        numbers[OTHER] = [number + more for number, more in zip(there, rest, strict=True)]
    return [
        Metric(
            "queuectl_attempts_total",
            "counter",
            "Attempts that ended, by queue and outcome; dead: those after which the job was dead.",
            tuple(
                ({"queue": name, "outcome": outcome}, number)
                for name, (completed, failed, dead) in numbers.items()
                for outcome, number in (
                    ("completed", completed),
                    ("failed", failed - dead),
                    ("dead", dead),
                )
            ),
        ),
        Metric(
            "queuectl_attempt_duration_seconds",
            "histogram",
            "How long attempts ran.",
            (({}, histogram(whole.run_time)),),
        ),
        Metric(
            "queuectl_wait_seconds",
            "histogram",
            "How long jobs were due before an attempt started.",
            (({}, histogram(whole.wait_time)),),
        ),
    ]


def build_metric(version: str) -> Metric:
    """Names the version."""
    about = "Always 1; the label says which queuectl it is."
    return Metric("queuectl_build_info", "info", about, (({"version": version}, 1),))
