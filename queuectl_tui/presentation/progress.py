"""The progress of a job: a bar, a percentage, and how long it may take still."""

from __future__ import annotations

from queuectl_core.domain.model import plain_number

from .format import lasting, short

FULL, EMPTY = "█", "░"
LEAST = 1.0
"""Percent and seconds below which nobody knows how long a job will take."""


def bar(percent: float, width: int) -> str:
    """A bar of so many cells. It is full at 100 % only."""
    filled = int(min(max(percent, 0.0), 100.0) / 100 * width)
    return FULL * filled + EMPTY * (width - filled)


def remaining(percent: float, running: float) -> float | None:
    """Seconds that are left if a job, which has been ``running`` for so many, goes on as fast as
    until now; None: that cannot be said."""
    if running < LEAST or not LEAST <= percent < 100:
        return None
    return running * (100 - percent) / percent


def percent_text(percent: float) -> str:
    """``40%``, ``40.5%``."""
    return f"{plain_number(round(percent, 1))}%"


def progress_line(
    percent: float | None, text: str | None, running: float | None, width: int = 20
) -> str:
    """``████░░░░ 40%, 3m left: indexing``; empty: nothing is known. ``running``: for how many
    seconds; None: the attempt has ended."""
    if percent is None:
        return ""
    left = None if running is None else remaining(percent, running)
    line = f"{bar(percent, width)} {percent_text(percent)}"
    if left is not None:
        line += f", {lasting(left)} left"
    said = short(text, 200)
    return f"{line}: {said}" if said else line


def progress_short(percent: float | None, running: float | None, width: int = 5) -> str:
    """``40% 3m ██░░░``, for a narrow column: where it is cut, the numbers stay."""
    if percent is None:
        return ""
    left = None if running is None else remaining(percent, running)
    numbers = f"{percent:.0f}%" if left is None else f"{percent:.0f}% {lasting(left)}"
    return f"{numbers} {bar(percent, width)}"
