"""All schedules: when they run next, how the last run ended, and why a run was skipped."""

from __future__ import annotations

import time
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.schedule import ScheduleInfo

from ...presentation import schedule_actions
from ...presentation.format import cli, short
from ...presentation.schedules import (
    command_of,
    pause_text,
    schedule_fields,
    skip_text,
    times_and_runs,
)
from ..action_runner import StoreRead
from ..background import run_in_background
from ..columns import SCHEDULES
from ..widgets.row_window import ListPages
from ..widgets.status_bars import Bar, KeyBar, Notice
from ..widgets.table import THRIFT, LineTable
from ..widgets.throttle import Throttle
from .base import ConsoleScreen
from .search import SearchLine
from .text_screen import TextScreen

JOB_KEYS = frozenset("rclewhE")
"""Keys that do something with a job on the other screens."""

CHANGES = ("pause_schedule", "run_schedule", "remove_schedule")


class SchedulesScreen(ConsoleScreen[None]):
    """``6``: the schedules; keys act on the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "details", key_display="⏎"),
        Binding("P", "pause_schedule", "pause"),
        Binding("f", "run_schedule", "run now"),
        Binding("D", "remove_schedule", "remove"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("y", "copy_name", "copy the name", show=False),
        Binding("escape,6", "back", "back", key_display="esc"),
        Binding("5", "page('queues')", "queues", show=False),
        Binding("8", "page('events')", "events", show=False),
    ]

    def compose(self) -> ComposeResult:
        self.table: LineTable[ScheduleInfo] = LineTable(
            SCHEDULES,
            ListPages("schedule.name"),
            id="schedules",
            clock=self.console.clock,
            markable=False,
        )
        self.table.parts = [("6 schedules", "strong")]
        self._text = ""
        self._infos: list[ScheduleInfo] | None = None
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
        self.console.say(f"$ {cli('schedule', 'list')}", "muted")

    def on_store_read(self, message: StoreRead) -> None:
        self._show_bars()
        if message.changed:
            self._again.ask(self._read_at)
        else:
            self.table.paint()
            self._show_note()

    def _show_bars(self) -> None:
        self.query_one("#title", Bar).say(*self.console.heading())
        trouble = self.console.trouble
        self.query_one("#banner", Bar).say([(f" ▲ {trouble}", "bad")] if trouble else ())
        self.query_one("#banner").set_class(bool(trouble), "on")

    def _look(self) -> None:
        if not self._reading:
            run_in_background(self, self._read, "schedules")

    async def _read(self) -> None:
        self._reading, started = True, time.monotonic()
        try:
            found = await self.console.connections.reader.schedules()
        except QueueError as error:
            self.console.lost(error)
            return
        finally:
            self._reading = False
            self._read_at = time.monotonic() + (time.monotonic() - started) * THRIFT
        self._infos = found
        self._show()

    def _show(self) -> None:
        """Show the schedules that match the filter."""
        if self._infos is None:
            return
        text, shown = self._text.casefold(), short(self._text, 40)
        rows = [info for info in self._infos if not text or text in _searched(info)]
        paused = sum(info.schedule.paused for info in rows)
        self.table.parts = [
            ("6 schedules", "strong"),
            (f" {len(rows):,}", "text"),
            (f"  {paused:,} paused" if paused else "", "caution"),
            (f"  /{shown}" if text else "", "accent"),
        ]
        none = f"no schedules; add one with: {cli('schedule', 'add')}"
        self.table.empty = f"none matches {shown}" if text else none
        self.table.set_rows(rows)
        self._show_note()
        self.refresh_bindings()

    def action_filter(self) -> None:
        if not self.query(SearchLine):
            self.mount(SearchLine(self._text, "schedules"), before="#message")

    def on_search_line_typed(self, message: SearchLine.Typed) -> None:
        self._text = message.text
        self._show()

    def on_search_line_closed(self) -> None:
        self.set_focus(self.table)

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self._show_note()
        self.refresh_bindings()

    def _show_note(self) -> None:
        """Who paused the schedule under the cursor, or why its last time was not run: a narrow
        table has no room for it."""
        info = self.table.current
        said = ""
        if info is not None:
            name = info.schedule.name
            if paused := pause_text(info.schedule):
                said = f" {name}: paused {paused}"
            elif skipped := skip_text(info, self.console.clock()):
                said = f" {name}: not run {skipped}"
        note = self.query_one("#why", Notice)
        note.say([(said, "caution")] if said else ())
        note.set_class(bool(said), "on")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in CHANGES and self.console.connections.read_only:
            return False
        if action in (*CHANGES, "open", "copy_name") and self.is_mounted:
            return True if self.table.current else None
        return True

    def describe(self, action: str) -> str | None:
        if action == "pause_schedule" and (info := self.table.current):
            return "resume" if info.schedule.paused else "pause"
        return super().describe(action)

    def action_pause_schedule(self) -> None:
        if info := self.table.current:
            now = self.console.clock()
            self.console.perform(schedule_actions.pause_or_resume(info, now))

    def action_run_schedule(self) -> None:
        if info := self.table.current:
            self.console.perform(schedule_actions.ask_to_run(info))

    def action_remove_schedule(self) -> None:
        if info := self.table.current:
            self.console.perform(schedule_actions.remove(info))

    def on_key(self, event: events.Key) -> None:
        if event.character and event.character in JOB_KEYS:
            self.console.say(f"{event.character} is for a job: ⏎ shows the last runs", "warn")

    @on(LineTable.Chosen)
    def _chosen(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if info := self.table.current:
            self.console.push_screen(ScheduleScreen(info.schedule.name))

    def action_copy_name(self) -> None:
        if info := self.table.current:
            self.app.copy_to_clipboard(info.schedule.name)
            self.console.say(f"copied {info.schedule.name}", "good")


def _searched(info: ScheduleInfo) -> str:
    return f"{info.schedule.name} {command_of(info.schedule)}".casefold()


class ScheduleScreen(TextScreen):
    """Everything about one schedule, read again while the screen is open."""

    def __init__(self, name: str) -> None:
        super().__init__(f"schedule {name}")
        self.schedule = name

    def on_mount(self) -> None:
        super().on_mount()
        run_in_background(self, self._read, "schedule")
        self.console.say(f"$ {cli('schedule', 'show', self.schedule)}", "muted")

    def on_store_read(self, message: StoreRead) -> None:
        if message.changed:
            run_in_background(self, self._read, "schedule", exclusive=True)

    async def _read(self) -> None:
        try:
            shown = await self.console.connections.reader.schedule(self.schedule)
        except QueueError as error:
            self.show([[(str(error), "bad")]])
            return
        now = self.console.clock()
        fields = schedule_fields(shown.info, now)
        width = max(len(name) for name, _, _ in fields)
        rows = [[(name.ljust(width + 2), "muted"), (text, role)] for name, text, role in fields]
        self.show([*rows, *times_and_runs(shown, now)])
