"""A page about one schedule or one hook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from queuectl_core.domain.errors import QueueError

from ...presentation.columns import Cell
from ...presentation.format import cli
from ..action_runner import StoreRead
from ..background import run_in_background
from ..widgets.text import TextRow
from .text_screen import TextScreen


class RecordScreen(TextScreen):
    """Everything about one of them, read again while the screen is open."""

    KIND: ClassVar[str]
    """What it is about, as in the verb: ``queuectl KIND show NAME``."""

    def __init__(self, record: str) -> None:
        super().__init__(f"{self.KIND} {record}")
        self.record = record

    def on_mount(self) -> None:
        run_in_background(self, self._read, self.KIND)
        self.console.say(f"$ {cli(self.KIND, 'show', self.record)}", "muted")

    def on_store_read(self, message: StoreRead) -> None:
        if message.changed:
            run_in_background(self, self._read, self.KIND, exclusive=True)

    async def load(self) -> list[TextRow]:
        """Read it from the store. QueueError."""
        raise NotImplementedError

    async def _read(self) -> None:
        try:
            rows = await self.load()
        except QueueError as error:
            rows = [[(str(error), "bad")]]
        self.show(rows)


def field_rows(fields: Sequence[tuple[str, Cell]]) -> list[TextRow]:
    """A row for each field: its name and its value."""
    width = max(len(name) for name, _ in fields)
    return [[(name.ljust(width + 2), "muted"), cell] for name, cell in fields]
