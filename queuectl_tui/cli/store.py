"""``queuectl store``: copy."""

from __future__ import annotations

from .declare import Noun

store = Noun(
    "store",
    {"copy": ("store_copy:copy", "Copy everything into another store, to move to it.")},
    about="The store itself, where jobs are kept.",
    examples=("queuectl store copy --to postgresql://user@host/db",),
)
