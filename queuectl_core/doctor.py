"""``queuectl doctor``: is everything this host's queue stands on in order?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer: ``level`` is ``ok``, ``warn`` (works, but look) or ``bad``."""

    check: str
    level: str
    message: str
    hint: str = ""


async def examine(url: str | None, env: Mapping[str, str]) -> list[Finding]:
    """Check the store, SQLite, file modes, file system, disk, workers and clock, in order."""
    raise NotImplementedError
