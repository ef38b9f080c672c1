"""All schedules: when they run next, how the last run ended, and why a run was skipped."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from queuectl_core.domain.schedule import ScheduleInfo

from ...presentation import schedule_actions
from ...presentation.columns import Cell
from ...presentation.format import cli, short
from ...presentation.schedules import (
    command_of,
    pause_text,
    schedule_fields,
    skip_text,
    times_and_runs,
)
from ..columns import SCHEDULES
from ..widgets.text import TextRow
from .list_screen import ListScreen, to_pages
from .record_screen import RecordScreen, field_rows


class SchedulesScreen(ListScreen[ScheduleInfo]):
    """``6``: the schedules; keys act on the one under the cursor."""

    NAME, KEY = "schedules", "6"
    COLUMNS, IDENTITY = SCHEDULES, "schedule.name"
    COMMAND = cli("schedule", "list")
    JOB_KEYS = ListScreen.JOB_KEYS - {"D"}
    JOBS_ARE = "⏎ shows the last runs"
    ROW_ACTIONS = ("open", "copy_name")
    CHANGES = ("pause_schedule", "run_schedule", "remove_schedule")

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "details", key_display="⏎"),
        Binding("P", "pause_schedule", "pause"),
        Binding("f", "run_schedule", "run now"),
        Binding("D", "remove_schedule", "remove"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("y", "copy_name", "copy the name", show=False),
        Binding("escape,6", "back", "back", key_display="esc"),
        *to_pages(but="6"),
    ]

    def compose(self) -> ComposeResult:
        self._infos: list[ScheduleInfo] | None = None
        yield from super().compose()

    async def load(self) -> None:
        self._infos = await self.console.connections.reader.schedules()

    def show(self) -> None:
        if self._infos is None:
            return
        text, shown = self.text.casefold(), short(self.text, 40)
        rows = [info for info in self._infos if not text or text in _searched(info)]
        paused = sum(info.schedule.paused for info in rows)
        none = f"no schedules; add one with: {cli('schedule', 'add')}"
        self.table.empty = f"none matches {shown}" if text else none
        self.show_rows(
            rows,
            (f" {len(rows):,}", "text"),
            (f"  {paused:,} paused" if paused else "", "caution"),
            (f"  /{shown}" if text else "", "accent"),
        )

    def note(self) -> Cell:
        """Who paused the schedule under the cursor, or why its last time was not run."""
        said = ""
        if info := self.table.current:
            name = info.schedule.name
            if paused := pause_text(info.schedule):
                said = f"{name}: paused {paused}"
            elif skipped := skip_text(info, self.console.clock()):
                said = f"{name}: not run {skipped}"
        return said, "caution"

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

    def action_open(self) -> None:
        if info := self.table.current:
            self.console.push_screen(ScheduleScreen(info.schedule.name))

    def action_copy_name(self) -> None:
        if info := self.table.current:
            self.copy(info.schedule.name)


def _searched(info: ScheduleInfo) -> str:
    return f"{info.schedule.name} {command_of(info.schedule)}".casefold()


class ScheduleScreen(RecordScreen):
    """Everything about one schedule."""

    KIND = "schedule"

    async def load(self) -> list[TextRow]:
        shown = await self.console.connections.reader.schedule(self.record)
        now = self.console.clock()
        fields = [(name, (text, role)) for name, text, role in schedule_fields(shown.info, now)]
        return [*field_rows(fields), *times_and_runs(shown, now)]
