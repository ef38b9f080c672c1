"""What is shown of an attempt."""

from __future__ import annotations

from queuectl_core.domain.model import Attempt
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_bytes, format_duration, format_time
from queuectl_core.queue import outcome_word

from .columns import Cell, Column, number, state_cell
from .format import ago, lasting, short


def seconds(attempt: Attempt, now: float) -> float:
    """How long it ran, or has been running."""
    end = now if attempt.finished_at is None else attempt.finished_at
    return max(0.0, end - attempt.started_at)


def _took(attempt: Attempt, now: float) -> Cell:
    took = seconds(attempt, now)
    return (lasting(took) if attempt.finished_at is None else format_duration(took)), "text"


def _code(attempt: Attempt, now: float) -> Cell:
    if attempt.signal is not None:
        return f"sig {attempt.signal}", "warn"
    return number(attempt.exit_code), "text"


def _peak(attempt: Attempt, now: float) -> Cell:
    return "" if attempt.peak_memory is None else format_bytes(attempt.peak_memory), "minor"


def _cpu(attempt: Attempt, now: float) -> Cell:
    return "" if attempt.cpu_seconds is None else format_duration(attempt.cpu_seconds), "minor"


AttemptColumn = Column[Attempt]

NUMBER = AttemptColumn("#", lambda a, _: (str(a.number), "strong"), right=True)
TRY = AttemptColumn("try", NUMBER.cell, right=True)
OUTCOME = AttemptColumn("outcome", lambda a, _: state_cell(outcome_word(a)))
STARTED = AttemptColumn("started", lambda a, now: (ago(now - a.started_at), "muted"), right=True)
STARTED_AT = AttemptColumn("started", lambda a, _: (format_time(a.started_at) or "", "muted"))
TOOK = AttemptColumn("took", _took, right=True)
TOOK_EXACT = AttemptColumn(
    "took", lambda a, now: (format_duration(seconds(a, now)), "text"), right=True
)
EXIT = AttemptColumn("exit", _code, right=True)
"""The exit code, or the signal that ended it."""
EXIT_CODE = AttemptColumn("exit", lambda a, _: (number(a.exit_code), "text"), right=True)
WHY = AttemptColumn("why", lambda a, _: (short(a.reason), "problem"))
REASON = AttemptColumn("reason", lambda a, _: (clean_line(a.reason or "", 200), "problem"))
PEAK = AttemptColumn("peak", _peak, right=True)
CPU = AttemptColumn("cpu", _cpu, right=True)
OUTPUT = AttemptColumn("output", lambda a, _: (format_bytes(a.output_bytes), "minor"), right=True)
WORKER = AttemptColumn("worker", lambda a, _: (short(a.worker, 64), "muted"))
