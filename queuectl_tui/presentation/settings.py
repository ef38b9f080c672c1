"""What is shown of a setting."""

from __future__ import annotations

from queuectl_core.domain.config import KEYS, Setting, show_value
from queuectl_core.domain.text import clean_line

from .columns import BOTH, Cell, Column, Place


def _value(setting: Setting, limit: int | None = None) -> str:
    return clean_line(show_value(setting.value), limit)


def _source(setting: Setting, now: float) -> Cell:
    return setting.source, "muted" if setting.source == "default" else "accent"


SETTING_COLUMNS: tuple[Column[Setting], ...] = (
    Column("key", BOTH, lambda s, _: (s.key, "name"), console=Place(16)),
    Column("value", "terminal", value=lambda s, _: _value(s, 40), right=True),
    Column("value", "pipe", value=lambda s, _: _value(s)),
    Column("value", "", value=lambda s, _: _value(s, 80), console=Place(16)),
    Column("from", "terminal console", _source),
    Column("source", "pipe", _source),
    Column("means", "", lambda s, _: (KEYS[s.key].help, "muted"), terminal=Place(flex=1, room=70)),
)
"""Tables: ``terminal``, ``pipe`` and ``console``."""
