"""All queues, with their limits, on the whole screen."""

from __future__ import annotations

import time
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.model import QueueInfo

from ...presentation import admission_actions
from ...presentation.format import cli
from ...presentation.queues import pause_text
from ..action_runner import StoreRead
from ..background import run_in_background
from ..columns import QUEUES
from ..widgets.row_window import ListPages
from ..widgets.status_bars import Bar, KeyBar, Notice
from ..widgets.table import THRIFT, LineTable
from ..widgets.throttle import Throttle
from .base import ConsoleScreen

JOB_KEYS = frozenset("rcDlewhE")
"""Keys that do something with a job on the other screens."""


class QueuesScreen(ConsoleScreen[None]):
    """``5``: the queues; ``P`` pauses or resumes the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("P", "pause_queue", "pause"),
        Binding("enter", "open", "its jobs", key_display="⏎"),
        Binding("y", "copy_name", "copy the name", show=False),
        Binding("escape,5", "back", "back", key_display="esc"),
        Binding("6", "page('schedules')", "schedules", show=False),
        Binding("8", "page('events')", "events", show=False),
    ]

    def compose(self) -> ComposeResult:
        self.table: LineTable[QueueInfo] = LineTable(
            QUEUES,
            ListPages("settings.name"),
            id="queues",
            clock=self.console.clock,
            markable=False,
        )
        self.table.parts = [("5 queues", "strong")]
        self._reading = False
        self._read_at = 0.0
        self._again = Throttle(self, self._look)
        yield Bar(id="title", filled=True)
        yield Notice(id="banner", filled=True)
        yield self.table
        yield Notice(id="why")
        yield Notice(id="message", passing=True)
        yield KeyBar(id="keys")

    async def on_mount(self) -> None:
        self.table.focus()
        self._show_bars()
        await self._read()
        self.table.empty = "no queues: a queue is there as soon as a job is in it"
        self.table.paint()
        self.console.say(f"$ {cli('queue', 'list')}", "muted")

    def on_store_read(self, message: StoreRead) -> None:
        self._show_bars()
        if message.changed:
            self._again.ask(self._read_at)
        else:
            self.table.paint()
            self._show_pause()

    def _show_bars(self) -> None:
        self.query_one("#title", Bar).say(*self.console.heading())
        trouble = self.console.trouble
        self.query_one("#banner", Bar).say([(f" ▲ {trouble}", "bad")] if trouble else ())
        self.query_one("#banner").set_class(bool(trouble), "on")

    def _look(self) -> None:
        if not self._reading:
            run_in_background(self, self._read, "queues")

    async def _read(self) -> None:
        self._reading, started = True, time.monotonic()
        try:
            queues = await self.console.connections.reader.queues()
        except QueueError as error:
            self.console.lost(error)
            return
        finally:
            self._reading = False
            self._read_at = time.monotonic() + (time.monotonic() - started) * THRIFT
        now = self.console.clock()
        paused = sum(queue.settings.paused(now) for queue in queues)
        self.table.parts = [
            ("5 queues", "strong"),
            (f" {len(queues):,}", "text"),
            (f"  {paused:,} paused" if paused else "", "caution"),
        ]
        self.table.set_rows(queues)
        self._show_pause()
        self.refresh_bindings()

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self._show_pause()
        self.refresh_bindings()

    def _show_pause(self) -> None:
        """Who paused the queue under the cursor, and why: a narrow table has no room for it."""
        queue = self.table.current
        said = "" if queue is None else pause_text(queue.settings, self.console.clock())
        note = self.query_one("#why", Notice)
        note.say([(f" {queue.settings.name}: paused {said}", "caution")] if said and queue else ())
        note.set_class(bool(said), "on")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "pause_queue" and self.console.connections.read_only:
            return False
        if action in ("pause_queue", "open", "copy_name") and self.is_mounted:
            return True if self.table.current else None
        return True

    def describe(self, action: str) -> str | None:
        if action == "pause_queue" and (queue := self.table.current):
            return "resume" if queue.settings.paused(self.console.clock()) else "pause"
        return super().describe(action)

    def action_pause_queue(self) -> None:
        if queue := self.table.current:
            self.console.perform(admission_actions.pause_or_resume(queue, self.console.clock()))

    def on_key(self, event: events.Key) -> None:
        if event.character and event.character in JOB_KEYS:
            self.console.say(f"{event.character} is for a job: ⏎ shows the jobs", "warn")

    @on(LineTable.Chosen)
    def _chosen(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if queue := self.table.current:
            self.console.show_queue(queue.settings.name)

    def action_copy_name(self) -> None:
        if queue := self.table.current:
            self.app.copy_to_clipboard(queue.settings.name)
            self.console.say(f"copied {queue.settings.name}", "good")
