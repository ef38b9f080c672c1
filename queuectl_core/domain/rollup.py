"""Rollups: counts and distributions of many attempts, which can be merged.

A :class:`DDSketch` counts durations in buckets. The edges of the buckets grow by a constant factor.
So a percentile has a relative error of at most :data:`ERROR` (or an error of :data:`FINEST`, if
that is more), for every number and distribution of durations. Merging loses nothing: a merged
sketch is the sketch of all durations together.

Stores keep a :class:`Rollup` for each minute in which attempts ended. Older rollups are merged into
longer spans (:data:`SPANS`). Everything here is pure. The stores have the SQL.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from .claims import AttemptResult
from .figures import Distribution
from .model import Outcome, State

ERROR = 0.01
"""The largest relative error of a percentile."""
FINEST = 1e-6
"""Seconds. Shorter durations count as zero."""
LONGEST = 1e9
"""Seconds, about 30 years. All longer durations are in the same bucket."""

MOST_QUEUES = 200
"""Queues with numbers of their own in one rollup. Each commit of results writes a rollup anew, so
it must not grow without bound."""

Counts = tuple[int, int, int]
"""Attempts that completed, that failed, and those of them that made their job dead."""

Ended = tuple[Outcome, bool, float, float]
"""An ended attempt: its outcome, whether it made its job dead, seconds it ran, seconds it
waited."""

UNCOUNTED = (Outcome.CANCELLED, Outcome.INTERRUPTED)
"""These outcomes were not caused by the job. They count in no statistics."""

_GROWTH = (1 + ERROR) / (1 - ERROR)
_LN = math.log(_GROWTH)

MINUTE, TEN_MINUTES, HOUR, DAY = 60, 600, 3600, 24 * 3600


class Span(NamedTuple):
    """A length of rollups, and how long they are kept before they are merged into the next
    length."""

    seconds: int
    window: float
    """Statistics of the last ``window`` seconds are read from this span."""
    kept: float
    """Seconds after its end when a rollup of this span may be merged. It is more than ``window``,
    because the clocks of two hosts may differ."""


SPANS = (
    Span(MINUTE, 2 * HOUR, 3 * HOUR),
    Span(TEN_MINUTES, DAY, 25 * HOUR),
    Span(HOUR, 7 * DAY, 8 * DAY),
    Span(DAY, 400 * DAY, 401 * DAY),
)
"""From short to long. Statistics read at most about 500 rollups (900 for a year), and a store never
keeps many more."""


FOREVER = 0
"""When the rollup begins that holds all attempts too old for the last span. It has the length of
that span, and begins before every window, so statistics do not read it. With it, sums over all
rollups never decrease."""


def floor(moment: float, seconds: int) -> int:
    """The beginning of the span of that many seconds that contains ``moment``."""
    return math.floor(moment / seconds) * seconds


def reach(since: float, now: float) -> int:
    """``since``, rounded down to the beginning of a rollup that is kept at ``now``."""
    for span in SPANS:
        if now - since <= span.window:
            return floor(since, span.seconds)
    return floor(now - SPANS[-1].window, DAY)


def bucket(seconds: float) -> int:
    """The bucket of a duration: 0 up to FINEST, then 1, 2, 3 …"""
    if seconds <= FINEST:
        return 0
    return math.ceil(math.log((seconds if seconds < LONGEST else LONGEST) / FINEST) / _LN)


BUCKETS = bucket(LONGEST) + 1


def middle(index: int) -> float:
    """A duration for the whole bucket. It differs from each duration in it by at most ERROR."""
    return FINEST * _GROWTH**index * 2 / (_GROWTH + 1) if index else 0.0


class _ByValue:
    """Compares all attributes."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]


class DDSketch(_ByValue):
    """The distribution of some durations in seconds, with a bounded relative error.

    C. Masson, J. E. Rim, H. K. Lee: DDSketch: A Fast and Fully-Mergeable Quantile Sketch with
    Relative-Error Guarantees. PVLDB 12(12), 2019.

    ``buckets``: the buckets that are not empty, ascending. ``counts``: how many durations are in
    each.
    """

    __slots__ = ("buckets", "count", "counts", "high", "low", "total")

    def __init__(
        self,
        count: int = 0,
        total: float = 0.0,
        low: float = math.inf,
        high: float = 0.0,
        *,
        buckets: array[int] | None = None,
        counts: array[int] | None = None,
    ) -> None:
        self.count = count
        self.total = total
        self.low = low
        self.high = high
        self.buckets = array("H") if buckets is None else buckets
        self.counts = array("Q") if counts is None else counts

    def add(self, durations: Sequence[float]) -> None:
        """Add durations. A negative one (a clock was set back) counts as zero."""
        if not durations:
            return
        known = [seconds if seconds > 0.0 else 0.0 for seconds in durations]
        self.count += len(known)
        self.total += sum(known)
        self.low = min(self.low, *known)
        self.high = max(self.high, *known)
        buckets, counts = self.buckets, self.counts
        for seconds in known:
            index = bucket(seconds)
            place = bisect_left(buckets, index)
            if place < len(buckets) and buckets[place] == index:
                counts[place] += 1
            else:
                buckets.insert(place, index)
                counts.insert(place, 1)

    def percentile(self, fraction: float) -> float:
        """The nearest-rank percentile, with the error ERROR. The sketch must not be empty."""
        rank = max(1, math.ceil(fraction * self.count))
        place = bisect_left(list(accumulate(self.counts)), rank)
        near = middle(self.buckets[place]) if place < len(self.buckets) else self.high
        return min(max(near, self.low), self.high)

    def spread(self) -> Distribution | None:
        """The distribution; None if the sketch is empty."""
        if not self.count:
            return None
        return Distribution(
            count=self.count,
            avg=self.total / self.count,
            min=self.low,
            max=self.high,
            p50=self.percentile(0.50),
            p95=self.percentile(0.95),
            p99=self.percentile(0.99),
        )


def merged_sketches(sketches: Iterable[DDSketch]) -> DDSketch:
    """The sketch of the durations of all sketches."""
    whole, numbers = DDSketch(), [0] * BUCKETS
    for one in sketches:
        whole.count += one.count
        whole.total += one.total
        whole.low = min(whole.low, one.low)
        whole.high = max(whole.high, one.high)
        for index, number in zip(one.buckets, one.counts, strict=True):
            numbers[index] += number
    whole.buckets = array("H", [index for index, number in enumerate(numbers) if number])
    whole.counts = array("Q", filter(None, numbers))
    return whole


class Rollup(_ByValue):
    """The sums of some attempts. Cancelled and interrupted attempts do not count.

    ``failed``: failed attempts, including those that made a job dead. ``dead``: attempts that made
    a job dead. ``queues``: for each queue how many completed, failed and dead are of it, in the
    order in which they came. Attempts of queues beyond :data:`MOST_QUEUES`, and of unknown queues,
    are only in the sums.
    """

    __slots__ = ("completed", "dead", "failed", "queues", "run_time", "wait_time")

    def __init__(
        self,
        completed: int = 0,
        failed: int = 0,
        dead: int = 0,
        run_time: DDSketch | None = None,
        wait_time: DDSketch | None = None,
        *,
        queues: dict[str, Counts] | None = None,
    ) -> None:
        self.completed = completed
        self.failed = failed
        self.dead = dead
        self.run_time = DDSketch() if run_time is None else run_time
        self.wait_time = DDSketch() if wait_time is None else wait_time
        self.queues = {} if queues is None else queues

    @property
    def ended(self) -> int:
        """The number of attempts."""
        return self.completed + self.failed

    def add(self, ended: Iterable[Ended], queue: str = "") -> None:
        """Add attempts. ``queue``: the queue of all of them; empty: it is not known."""
        counted = [one for one in ended if one[0] not in UNCOUNTED]
        completed = sum(one[0] is Outcome.COMPLETED for one in counted)
        failed, dead = len(counted) - completed, sum(one[1] for one in counted)
        self.completed += completed
        self.failed += failed
        self.dead += dead
        if queue and counted and (queue in self.queues or len(self.queues) < MOST_QUEUES):
            self.queues[queue] = _plus(self.queues.get(queue), (completed, failed, dead))
        self.run_time.add([one[2] for one in counted])
        self.wait_time.add([one[3] for one in counted])


def _plus(one: Counts | None, other: Counts) -> Counts:
    if one is None:
        return other
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def merged(rollups: Iterable[Rollup]) -> Rollup:
    """The sums of all rollups; give the oldest first, because it keeps the order of queues. It may
    have more than :data:`MOST_QUEUES` queues: if it left some out, their numbers would become
    smaller."""
    every = list(rollups)
    queues: dict[str, Counts] = {}
    for one in every:
        for queue, counts in one.queues.items():
            queues[queue] = _plus(queues.get(queue), counts)
    return Rollup(
        sum(one.completed for one in every),
        sum(one.failed for one in every),
        sum(one.dead for one in every),
        merged_sketches(one.run_time for one in every),
        merged_sketches(one.wait_time for one in every),
        queues=queues,
    )


# -- for stores ---------------------------------------------------------------------------


def by_minute(
    results: Iterable[AttemptResult], after: float = -math.inf
) -> dict[int, dict[str, list[Ended]]]:
    """The attempts that ended after ``after``, by the beginning of their minute and by queue."""
    minutes: dict[int, dict[str, list[Ended]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        attempt, dead = result.attempt, result.transition.state is State.DEAD
        finished = attempt.finished_at
        if attempt.outcome is not None and finished is not None and finished > after:
            one = (attempt.outcome, dead, finished - attempt.started_at, attempt.waited)
            minutes[floor(finished, MINUTE)][result.queue].append(one)
    return minutes


def thinning(now: float) -> Iterator[tuple[int, int | None, int]]:
    """What to merge at ``now``: (length of a span, length of the next longer span, before when).

    Rollups of the first length that began before this moment are merged into one of the second
    length. None: they are merged into the one that begins at :data:`FOREVER`. The moment is always
    the beginning of a longer span.
    """
    for span, longer in zip(SPANS, (*SPANS[1:], None), strict=True):
        whole = longer.seconds if longer else span.seconds
        yield span.seconds, longer.seconds if longer else None, floor(now - span.kept, whole)


# -- as bytes ---------------------------------------------------------------------------

_COUNTS = struct.Struct("<BQQQ")
_SKETCH = struct.Struct("<QdddH")
_QUEUE = struct.Struct("<HQQQ")
_FORM = 2
"""The first byte, the version of the format. Form 1 had no queues."""


def pack(rollup: Rollup) -> bytes:
    """The bytes for a store: little-endian, equal on every machine."""
    parts = [_COUNTS.pack(_FORM, rollup.completed, rollup.failed, rollup.dead)]
    for one in (rollup.run_time, rollup.wait_time):
        parts.append(_SKETCH.pack(one.count, one.total, one.low, one.high, len(one.buckets)))
        parts += [_little(one.buckets).tobytes(), _little(one.counts).tobytes()]
    for queue, counts in rollup.queues.items():
        name = queue.encode()
        parts += [_QUEUE.pack(len(name), *counts), name]
    return b"".join(parts)


def unpack(data: bytes) -> Rollup:
    """The rollup of bytes that ``pack`` made. ValueError if it did not make them."""
    try:
        form, completed, failed, dead = _COUNTS.unpack_from(data)
        run_time, at = _sketch(data, _COUNTS.size)
        wait_time, at = _sketch(data, at)
        queues: dict[str, Counts] = {}
        while form == _FORM and at < len(data):
            size, *counts = _QUEUE.unpack_from(data, at)
            end = at + _QUEUE.size + size
            queues[data[at + _QUEUE.size : end].decode()] = (counts[0], counts[1], counts[2])
            at = end
    except struct.error as error:
        raise ValueError(f"a rollup is cut short: {error}") from None
    if form not in (1, _FORM) or at != len(data):
        raise ValueError("what should be a rollup is none")
    return Rollup(completed, failed, dead, run_time, wait_time, queues=queues)


def _sketch(data: bytes, at: int) -> tuple[DDSketch, int]:
    count, total, low, high, size = _SKETCH.unpack_from(data, at)
    between = at + _SKETCH.size + 2 * size
    end = between + 8 * size
    if end > len(data):
        raise ValueError("a rollup is cut short")
    buckets, counts = array("H"), array("Q")
    buckets.frombytes(data[between - 2 * size : between])
    counts.frombytes(data[between:end])
    made = DDSketch(count, total, low, high, buckets=_little(buckets), counts=_little(counts))
    if any(index >= BUCKETS for index in made.buckets[-1:]):
        raise ValueError("what should be a rollup is none")
    return made, end


def _little(numbers: array[int]) -> array[int]:
    """Convert from this machine's byte order to little-endian, or back."""
    if sys.byteorder == "little":
        return numbers
    swapped = numbers[:]
    swapped.byteswap()
    return swapped
