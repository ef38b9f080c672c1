"""What is shown of statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from queuectl_core.domain.figures import Distribution, Stats
from queuectl_core.domain.times import format_duration, format_time

from .columns import Column, Place

PARTS = ("avg", "min", "max", "p50", "p95", "p99")
"""What is shown of a distribution."""


def _rate(found: Stats, form: str) -> str:
    rate = found.success_rate
    return "" if rate is None else format(rate, form)


def _seconds(field: str, part: str) -> Callable[[Stats, float], str]:
    def value(found: Stats, now: float) -> str:
        spread = getattr(found, field)
        return "" if spread is None else f"{getattr(spread, part):.6f}"

    return value


STATS_COLUMNS: tuple[Column[Stats], ...] = (
    Column("completed", "screen", lambda s, _: (f"{s.completed:,}", "good")),
    Column("failed", "screen", lambda s, _: (f"{s.failed:,}", "warn" if s.failed else "muted")),
    Column("dead", "screen", lambda s, _: (f"{s.dead:,}", "bad" if s.dead else "muted")),
    Column("success rate", "screen", value=lambda s, _: _rate(s, ".1%") or "-"),
    Column("jobs a minute", "screen", value=lambda s, _: f"{s.jobs_per_minute:,.1f}"),
    Column("completed", "pipe", value=lambda s, _: str(s.completed)),
    Column("failed", "pipe", value=lambda s, _: str(s.failed)),
    Column("dead", "pipe", value=lambda s, _: str(s.dead)),
    Column("success_rate", "pipe", value=lambda s, _: _rate(s, ".4f")),
    Column("jobs_per_minute", "pipe", value=lambda s, _: f"{s.jobs_per_minute:.3f}"),
    Column("since", "pipe", value=lambda s, _: format_time(s.since) or ""),
    Column("exact", "pipe", value=lambda s, _: "yes" if s.exact else "no"),
    *(
        Column(f"{field}.{part}", "pipe", value=_seconds(field, part))
        for field in ("run_time", "wait_time")
        for part in PARTS
    ),
)
"""The figures, each on a line or beside the others. Tables: ``screen`` and ``pipe``."""


def time_rows(found: Stats) -> list[Sequence[str]]:
    """The rows of :data:`TIME_COLUMNS`; without texts when nothing ended."""

    def row(name: str, spread: Distribution | None) -> Sequence[str]:
        if spread is None:
            return [name, *("" for _ in PARTS)]
        return [name, *(format_duration(getattr(spread, part)) for part in PARTS)]

    return [row("run time", found.run_time), row("waiting time", found.wait_time)]


def _part(at: int, name: str) -> Column[Sequence[str]]:
    role = "text" if at else "muted"
    place = Place(8 if at else 14)
    return Column(name, "", lambda row, _: (row[at], role), right=at > 0, screen=place)


TIME_COLUMNS = [_part(at, name) for at, name in enumerate(("", *PARTS))]
"""How long attempts ran, and how long jobs waited to be started. Table: ``screen``."""


def precision(found: Stats) -> str:
    """How exact the percentiles are; empty: they are exact."""
    from queuectl_core.domain.rollup import ERROR

    return "" if found.exact else f"percentiles within {ERROR:.0%}"
