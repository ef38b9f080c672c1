"""Columns, cells and roles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

Cell = tuple[str, str]
"""Clean text and its role, one of :data:`ROLES`."""

ROLES = {
    "text": "ordinary text",
    "name": "what identifies a row",
    "strong": "what stands out",
    "muted": "less important",
    "minor": "a number that is rarely looked at",
    "accent": "what the user has chosen or set",
    "waiting": "waits",
    "idle": "has nothing to do",
    "busy": "runs",
    "good": "succeeded",
    "fixed": "was wrong and is repaired",
    "caution": "works, but look at it",
    "warn": "failed, and is tried again",
    "problem": "the reason of a failure",
    "error": "the reason of a final failure",
    "bad": "failed for good",
}

STATE_ROLES = {
    "pending": "waiting",
    "processing": "busy",
    "completed": "good",
    "failed": "warn",
    "dead": "bad",
    "cancelled": "muted",
    "idle": "idle",
    "starting": "minor",
    "busy": "busy",
    "stopping": "warn",
    "lost": "bad",
    "running": "busy",
    "timeout": "bad",
    "interrupted": "muted",
    "crashed": "bad",
}
"""The role of a state's name: of a job, a worker or an attempt."""

FINDING_ROLES = {"ok": "good", "warn": "caution", "bad": "bad", "fixed": "fixed"}
"""The role of a level of ``doctor``."""


class Column(Generic[T]):
    """One thing that is shown of each row."""

    def __init__(
        self,
        name: str,
        cell: Callable[[T, float], Cell],
        *,
        right: bool = False,
        sort: str | None = None,
    ) -> None:
        """``cell``: the cell of a row at a moment (epoch seconds). ``right``: it stands at the
        right of the column, as numbers do. ``sort``: the field that rows are sorted by."""
        self.name = name
        self.cell = cell
        self.right = right
        self.sort = sort


def state_cell(state: str) -> Cell:
    """A state's name with its role."""
    return state, STATE_ROLES.get(state, "text")


def number(value: float | None) -> str:
    """A number as plain text; empty for None."""
    return "" if value is None else f"{value:.12g}"
