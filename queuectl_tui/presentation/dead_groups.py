"""What is shown of dead jobs that have the same cause."""

from __future__ import annotations

from queuectl_core.domain.figures import DeadGroup
from queuectl_core.domain.times import format_duration

from .columns import Cell, Column, number
from .format import ago, short


def _last(group: DeadGroup, now: float) -> Cell:
    return "" if group.last_at is None else ago(now - group.last_at), "muted"


def _last_exact(group: DeadGroup, now: float) -> Cell:
    last = group.last_at
    return "" if last is None else f"{format_duration(now - last)} ago", "muted"


GroupColumn = Column[DeadGroup]

COUNT = GroupColumn("jobs", lambda g, _: (f"{g.count:,}", "bad"), right=True)
EXIT_CODE = GroupColumn("exit", lambda g, _: (number(g.exit_code), "text"), right=True)
REASON = GroupColumn("reason", lambda g, _: (short(g.reason), "text"))
LAST = GroupColumn("last", _last, right=True)
LAST_EXACT = GroupColumn("last", _last_exact, right=True)
