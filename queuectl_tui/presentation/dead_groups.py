"""What is shown of dead jobs that have the same cause."""

from __future__ import annotations

from queuectl_core.domain.figures import DeadGroup
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_duration, format_time

from .columns import Cell, Column, Place, number
from .format import ago, short


def _reason(group: DeadGroup, now: float) -> Cell:
    return short(group.reason), "text"


def _last(group: DeadGroup, now: float) -> Cell:
    return "" if group.last_at is None else ago(now - group.last_at), "muted"


def _last_exact(group: DeadGroup, now: float) -> Cell:
    last = group.last_at
    return "" if last is None else f"{format_duration(now - last)} ago", "muted"


GROUP_COLUMNS: tuple[Column[DeadGroup], ...] = (
    Column("jobs", "terminal", lambda g, _: (f"{g.count:,}", "bad"), right=True, console=Place(7)),
    Column("count", "pipe", value=lambda g, _: str(g.count)),
    Column("exit", "terminal", value=lambda g, _: number(g.exit_code), right=True),
    Column("exit_code", "pipe", value=lambda g, _: number(g.exit_code)),
    Column("reason", "", _reason, console=Place(28, flex=1)),
    Column("last", "", _last, right=True, console=Place(6)),
    Column("last", "terminal", _last_exact, right=True),
    Column("last_died_at", "pipe", value=lambda g, _: format_time(g.last_at) or ""),
    Column("reason", "", _reason, terminal=Place(flex=1)),
    Column("reason", "pipe", value=lambda g, _: clean_line(g.reason)),
)
"""Groups of dead jobs. Tables: ``terminal``, ``pipe`` and ``console``."""
