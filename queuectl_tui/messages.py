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


class StoreTrouble(Message):
    """The store cannot be read, and why; None: it can again."""

    def __init__(self, reason: str | None) -> None:
        self.reason = reason
        super().__init__()


class Said(Message):
    """Something for the message line."""

    def __init__(self, text: str, style: str = "text") -> None:
        self.text = text
        self.style = style
        super().__init__()
