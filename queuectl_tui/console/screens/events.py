"""Who did what, and what happened: the newest events, on the whole screen."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.events import Event
from queuectl_core.operations.events import Kinds, parse_kinds

from ...presentation.columns import Cell
from ...presentation.events import event_words, subject, who
from ...presentation.format import cli, short
from ..columns import EVENTS
from ..widgets.table import LineTable
from .list_screen import ListScreen, to_pages

PAGE = 200
"""Events read at first. As many more are read each time the cursor comes near the last one."""
MOST = 5000
"""Events that are kept, at most."""
NEAR = 20
SPANS = 50
"""How much is searched for events of some kinds."""


class EventsScreen(ListScreen[Event]):
    """``8``: the events, the newest first."""

    NAME, KEY = "events", "8"
    COLUMNS, IDENTITY = EVENTS, "identity"
    COMMAND = cli("events")
    JOBS_ARE = "⏎ opens it"
    ROW_ACTIONS = ("open", "copy_id")

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "its job", key_display="⏎"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("y", "copy_id", "copy the id", show=False),
        Binding("escape,8", "back", "back", key_display="esc"),
        *to_pages(but="8"),
    ]

    def compose(self) -> ComposeResult:
        self._kinds: Kinds | None = None
        self._limit = PAGE
        self._events: list[Event] = []
        self._more = False
        yield from super().compose()

    async def load(self) -> None:
        reader = self.console.connections.reader
        page = await reader.event_page(self._limit, kinds=self._kinds, spans=SPANS)
        self._events, self._more = page.events, page.after is not None

    def show(self) -> None:
        text = "" if self._kinds is not None else self.text.casefold()
        rows = [one for one in self._events if not text or text in _searched(one)]
        shown = short(self.text, 40)
        self.table.empty = f"none matches {shown}" if self.text else "no events yet"
        self.show_rows(
            rows,
            (f" {len(rows):,}{'+' if self._more else ''}", "text"),
            (f"  /{shown}" if self.text else "", "accent"),
        )

    @on(LineTable.Moved)
    def _near_the_end(self) -> None:
        window = self.table.window
        near = (window.position or 0) >= len(window.rows) - NEAR
        if near and self._more and self._limit < MOST:
            self._limit = min(2 * self._limit, MOST)
            self.look()

    def note(self) -> Cell:
        """All of the event under the cursor."""
        event = self.table.current
        return "" if event is None else f"{who(event)}  {event_words(event)}".strip(), "muted"

    def target(self) -> str | None:
        """The id of the job that the event under the cursor is about."""
        event = self.table.current
        return None if event is None else event.job_id

    def filter_changed(self) -> None:
        """A kind of event is looked for in the store, and any other text in what is shown."""
        try:
            self._kinds = parse_kinds([self.text]) if self.text else None
        except InvalidInput:
            self._kinds = None
        super().filter_changed()
        self.look()

    def action_open(self) -> None:
        if job := self.target():
            self.console.with_job(job, self.console.open_job)

    def action_copy_id(self) -> None:
        if job := self.target():
            self.copy(job)


def _searched(event: Event) -> str:
    return f"{event.kind} {subject(event)} {who(event)} {event_words(event)}".casefold()
