"""All hooks: what they deliver, what waits for a digest, and who paused one."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from queuectl_core.domain.hooks import QUEUE, HookInfo

from ...presentation import hook_actions
from ...presentation.columns import Cell, table
from ...presentation.format import cli
from ...presentation.hooks import HOOK_COLUMNS, pause_text
from ..columns import HOOKS
from ..widgets.text import TextRow
from .list_screen import ListScreen, to_pages
from .record_screen import RecordScreen, field_rows


class HooksScreen(ListScreen[HookInfo]):
    """``9``: the hooks; keys act on the one under the cursor."""

    NAME, KEY = "hooks", "9"
    COLUMNS, IDENTITY = HOOKS, "hook.name"
    COMMAND = cli("hook", "list")
    JOB_KEYS = ListScreen.JOB_KEYS - {"D"}
    JOBS_ARE = f"deliveries are jobs in queue {QUEUE}"
    ROW_ACTIONS = ("open", "copy_name")
    CHANGES = ("pause_hook", "test_hook", "remove_hook")

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "details", key_display="⏎"),
        Binding("P", "pause_hook", "pause"),
        Binding("t", "test_hook", "test"),
        Binding("D", "remove_hook", "remove"),
        Binding("y", "copy_name", "copy the name", show=False),
        Binding("escape,9", "back", "back", key_display="esc"),
        *to_pages(but="9"),
    ]

    async def load(self) -> None:
        self._hooks = await self.console.connections.reader.hooks()

    def show(self) -> None:
        paused = sum(info.hook.paused_at is not None for info in self._hooks)
        self.table.empty = f"no hooks; add one with: {cli('hook', 'add')}"
        self.show_rows(
            self._hooks,
            (f" {len(self._hooks):,}", "text"),
            (f"  {paused:,} paused" if paused else "", "caution"),
        )

    def note(self) -> Cell:
        """Who paused the hook under the cursor, and why."""
        info = self.table.current
        said = "" if info is None else pause_text(info, self.console.clock())
        return f"{info.hook.name}: paused {said}" if said and info else "", "caution"

    def describe(self, action: str) -> str | None:
        if action == "pause_hook" and (info := self.table.current):
            return "pause" if info.hook.paused_at is None else "resume"
        return super().describe(action)

    def action_pause_hook(self) -> None:
        if info := self.table.current:
            names = [info.hook.name]
            active = info.hook.paused_at is None
            act = hook_actions.pause_hooks if active else hook_actions.resume_hooks
            self.console.perform(act(names))

    def action_test_hook(self) -> None:
        if info := self.table.current:
            self.console.perform(hook_actions.try_hook(info.hook.name, info))

    def action_remove_hook(self) -> None:
        if info := self.table.current:
            self.console.perform(hook_actions.remove_hook(info))

    def action_open(self) -> None:
        if info := self.table.current:
            self.console.push_screen(HookScreen(info.hook.name))

    def action_copy_name(self) -> None:
        if info := self.table.current:
            self.copy(info.hook.name)


class HookScreen(RecordScreen):
    """Everything about one hook."""

    KIND = "hook"

    async def load(self) -> list[TextRow]:
        info = await self.console.connections.reader.hook(self.record)
        now = self.console.clock()
        cells = [(column.name, column.cell(info, now)) for column in table(HOOK_COLUMNS, "show")]
        return field_rows([(name, cell) for name, cell in cells if cell[0]])
