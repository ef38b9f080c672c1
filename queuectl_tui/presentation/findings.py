"""What is shown of the checks of ``doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuectl_core.domain.text import clean_line

from .columns import Column, Place

if TYPE_CHECKING:
    from queuectl_core.operations.doctor import Finding

LEVEL_ROLES = {"ok": "good", "warn": "caution", "bad": "bad", "fixed": "fixed"}


def _whole(finding: Finding, now: float) -> str:
    return clean_line("; ".join(part for part in (finding.message, finding.hint) if part))


FINDING_COLUMNS: tuple[Column[Finding], ...] = (
    Column("", "terminal", lambda f, _: (f.level, LEVEL_ROLES[f.level]), console=Place(5)),
    Column("", "terminal", lambda f, _: (f.check, "name"), console=Place(14)),
    Column("", "", value=_whole, terminal=Place(flex=1, wrap=True)),
    Column("", "console", value=lambda f, _: clean_line(f.message, 300)),
    Column("check", "pipe", value=lambda f, _: f.check),
    Column("level", "pipe", value=lambda f, _: f.level),
    Column("message", "pipe", value=_whole),
)
"""Tables: ``terminal`` and ``console`` without names, because nobody needs a header there, and
``pipe``."""
