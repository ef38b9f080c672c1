"""What the parts of the console tell one another."""

from __future__ import annotations

from textual.message import Message

from .monitor import Overview


class StoreRead(Message):
    """The store was read again; ``changed``: something in it is different."""

    def __init__(self, overview: Overview, *, changed: bool) -> None:
        self.overview = overview
        self.changed = changed
        super().__init__()
