"""All queues, with their limits, on the whole screen."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from queuectl_core.domain.model import QueueInfo

from ...presentation import admission_actions
from ...presentation.columns import Cell
from ...presentation.format import cli
from ...presentation.queues import pause_text
from ..columns import QUEUES
from .list_screen import ListScreen, to_pages


class QueuesScreen(ListScreen[QueueInfo]):
    """``5``: the queues; ``P`` pauses or resumes the one under the cursor."""

    NAME, KEY = "queues", "5"
    COLUMNS, IDENTITY = QUEUES, "settings.name"
    COMMAND = cli("queue", "list")
    JOBS_ARE = "⏎ shows the jobs"
    ROW_ACTIONS, CHANGES = ("open", "copy_name"), ("pause_queue",)

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("P", "pause_queue", "pause"),
        Binding("enter", "open", "its jobs", key_display="⏎"),
        Binding("y", "copy_name", "copy the name", show=False),
        Binding("escape,5", "back", "back", key_display="esc"),
        *to_pages(but="5"),
    ]

    async def load(self) -> None:
        self._queues = await self.console.connections.reader.queues()

    def show(self) -> None:
        now = self.console.clock()
        paused = sum(queue.settings.paused(now) for queue in self._queues)
        self.table.empty = "no queues: a queue is there as soon as a job is in it"
        self.show_rows(
            self._queues,
            (f" {len(self._queues):,}", "text"),
            (f"  {paused:,} paused" if paused else "", "caution"),
        )

    def note(self) -> Cell:
        """Who paused the queue under the cursor, and why."""
        queue = self.table.current
        said = "" if queue is None else pause_text(queue.settings, self.console.clock())
        return f"{queue.settings.name}: paused {said}" if said and queue else "", "caution"

    def describe(self, action: str) -> str | None:
        if action == "pause_queue" and (queue := self.table.current):
            return "resume" if queue.settings.paused(self.console.clock()) else "pause"
        return super().describe(action)

    def action_pause_queue(self) -> None:
        if queue := self.table.current:
            self.console.perform(admission_actions.pause_or_resume(queue, self.console.clock()))

    def action_open(self) -> None:
        if queue := self.table.current:
            self.console.show_queue(queue.settings.name)

    def action_copy_name(self) -> None:
        if queue := self.table.current:
            self.copy(queue.settings.name)
