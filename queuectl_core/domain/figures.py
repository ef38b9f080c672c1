"""Figures about many jobs: rates, times, and groups of dead jobs."""

from __future__ import annotations

from typing import Any, NamedTuple

from .model import State
from .times import format_time


class Distribution(NamedTuple):
    """A distribution of durations in seconds, with nearest-rank percentiles."""

    count: int  # type: ignore[assignment] # instead of the method of tuple
    avg: float
    min: float
    max: float
    p50: float
    p95: float
    p99: float

    def to_json(self) -> dict[str, Any]:
        """The public form."""
        return {
            name: round(getattr(self, name), 6)
            for name in ("avg", "min", "max", "p50", "p95", "p99")
        } | {"count": self.count}


class WaitGroup(NamedTuple):
    """Jobs of one queue that wait in the same way."""

    queue: str
    state: State
    later: bool
    """They are not due yet."""
    held: bool
    key_full: bool
    """Other jobs with their key come first."""
    number: int


class Stats(NamedTuple):
    """Statistics of the attempts that ended since a moment."""

    since: float
    until: float
    completed: int
    failed: int
    """Failed attempts, including those that made a job dead."""
    dead: int
    """Attempts that made a job dead."""
    run_time: Distribution | None
    wait_time: Distribution | None
    exact: bool = True
    """False: the percentiles have a relative error of up to :data:`.rollup.ERROR`."""

    @property
    def ended(self) -> int:
        """Attempts that completed or failed."""
        return self.completed + self.failed

    @property
    def success_rate(self) -> float | None:
        """The part of ended attempts that completed, 0 to 1; None if none ended."""
        return self.completed / self.ended if self.ended else None

    @property
    def jobs_per_minute(self) -> float:
        """Completed and dead jobs per minute."""
        minutes = max(self.until - self.since, 1.0) / 60
        return (self.completed + self.dead) / minutes

    def to_json(self) -> dict[str, Any]:
        """The public form."""
        rate = self.success_rate
        return {
            "since": format_time(self.since),
            "completed": self.completed,
            "failed": self.failed,
            "dead": self.dead,
            "success_rate": None if rate is None else round(rate, 4),
            "run_time": self.run_time.to_json() if self.run_time else None,
            "wait_time": self.wait_time.to_json() if self.wait_time else None,
            "jobs_per_minute": round(self.jobs_per_minute, 3),
            "exact": self.exact,
        }


class DeadGroup(NamedTuple):
    """Dead jobs with the same reason."""

    reason: str
    """The reason, without the parts that differ from job to job. It identifies the group."""
    exit_code: int | None
    count: int  # type: ignore[assignment] # instead of the method of tuple
    last_at: float | None
    """When the last of them died."""
    newest: int
    """The highest seq among them."""

    def to_json(self) -> dict[str, Any]:
        """The public form."""
        return {
            "reason": self.reason,
            "exit_code": self.exit_code,
            "count": self.count,
            "last_at": format_time(self.last_at),
        }


class ThroughputSample(NamedTuple):
    """How many attempts ended within one second."""

    second: int
    """Epoch seconds, rounded down."""
    completed: int
    failed: int
