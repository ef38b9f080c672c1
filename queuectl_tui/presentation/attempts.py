"""What is shown of an attempt."""

from __future__ import annotations

from queuectl_core.domain.model import Attempt
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_bytes, format_duration, format_time
from queuectl_core.queue import outcome_word

from .columns import BOTH, Cell, Column, Place, number, state_cell
from .format import ago, lasting, short


def seconds(attempt: Attempt, now: float) -> float:
    """How long it ran, or has been running."""
    end = now if attempt.finished_at is None else attempt.finished_at
    return max(0.0, end - attempt.started_at)


def _started(attempt: Attempt, now: float) -> Cell:
    return format_time(attempt.started_at) or "", "muted"


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


def _number(attempt: Attempt, now: float) -> Cell:
    return str(attempt.number), "strong"


def _output(attempt: Attempt, now: float) -> Cell:
    return format_bytes(attempt.output_bytes), "minor"


def _worker(attempt: Attempt, now: float) -> Cell:
    return short(attempt.worker, 64), "muted"


ATTEMPT_COLUMNS: tuple[Column[Attempt], ...] = (
    Column("#", "", _number, right=True, console=Place(3)),
    Column("try", "terminal", _number, right=True),
    Column("attempt", "pipe", _number),
    Column("outcome", BOTH, lambda a, _: state_cell(outcome_word(a)), console=Place(11, rank=1)),
    Column("exit", "terminal", value=lambda a, _: number(a.exit_code), right=True),
    Column("exit_code", "pipe", value=lambda a, _: number(a.exit_code)),
    Column("signal", "pipe", value=lambda a, _: number(a.signal)),
    Column("started", "", _started, terminal=Place(room=70)),
    Column("started_at", "pipe", _started),
    Column(
        "started",
        "",
        lambda a, now: (ago(now - a.started_at), "muted"),
        right=True,
        console=Place(8, rank=3),
    ),
    Column("took", "terminal", value=lambda a, now: format_duration(seconds(a, now)), right=True),
    Column("took", "", _took, right=True, console=Place(7, rank=2)),
    Column("seconds", "pipe", value=lambda a, now: f"{seconds(a, now):.3f}"),
    # The exit code, or the signal that ended it.
    Column("exit", "", _code, right=True, console=Place(6, rank=4)),
    Column("why", "", lambda a, _: (short(a.reason), "problem"), console=Place(12, rank=5, flex=1)),
    Column("peak", "", _peak, right=True, console=Place(6, rank=7)),
    Column("cpu", "", _cpu, right=True, terminal=Place(room=100), console=Place(6, rank=8)),
    Column("cpu_seconds", "pipe", value=lambda a, _: number(a.cpu_seconds)),
    Column("peak", "", _peak, right=True, terminal=Place(room=100)),
    Column("peak_memory", "pipe", value=lambda a, _: number(a.peak_memory)),
    Column("output", "", _output, right=True, terminal=Place(room=90), console=Place(6, rank=9)),
    Column("output_bytes", "pipe", value=lambda a, _: str(a.output_bytes)),
    Column("worker", "", _worker, terminal=Place(limit=30, room=110), console=Place(9, rank=6)),
    Column("worker", "pipe", value=lambda a, _: clean_line(a.worker or "")),
    Column("host", "pipe", value=lambda a, _: clean_line(a.host or "")),
    Column("reason", "", lambda a, _: (short(a.reason, 200), "problem"), terminal=Place(flex=1)),
    Column("reason", "pipe", value=lambda a, _: clean_line(a.reason or "")),
)
"""The attempts of a job. Tables: ``terminal``, ``pipe`` and ``console``."""
