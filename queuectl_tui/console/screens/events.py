"""Who did what, and what happened: the newest events, on the whole screen."""

from __future__ import annotations

import time
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from queuectl_core.domain.errors import InvalidInput, QueueError
from queuectl_core.domain.events import Event
from queuectl_core.operations.events import Kinds, parse_kinds

from ...presentation.events import event_words, subject, who
from ...presentation.format import cli, short
from ..action_runner import StoreRead
from ..background import run_in_background
from ..columns import EVENTS
from ..widgets.row_window import ListPages
from ..widgets.status_bars import Bar, KeyBar, Notice
from ..widgets.table import THRIFT, LineTable
from ..widgets.throttle import Throttle
from .base import ConsoleScreen
from .queues import JOB_KEYS
from .search import SearchLine

PAGE = 200
"""Events read at first. As many more are read each time the cursor comes near the last one."""
MOST = 5000
"""Events that are kept, at most."""
NEAR = 20
SPANS = 50
"""How much is searched for events of some kinds."""


class EventsScreen(ConsoleScreen[None]):
    """``8``: the events, the newest first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "its job", key_display="⏎"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("y", "copy_id", "copy the id", show=False),
        Binding("escape,8", "back", "back", key_display="esc"),
        Binding("5", "page('queues')", "queues", show=False),
        Binding("6", "page('schedules')", "schedules", show=False),
    ]

    def compose(self) -> ComposeResult:
        self.table: LineTable[Event] = LineTable(
            EVENTS, ListPages("identity"), id="events", clock=self.console.clock, markable=False
        )
        self.table.parts = [("8 events", "strong")]
        self._text = ""
        self._kinds: Kinds | None = None
        self._limit = PAGE
        self._events: list[Event] = []
        self._more = False
        self._reading = self._again_at_once = False
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
        self.console.say(f"$ {cli('events')}", "muted")

    def on_store_read(self, message: StoreRead) -> None:
        self._show_bars()
        if message.changed:
            self._again.ask(self._read_at)
        else:
            self.table.paint()

    def _show_bars(self) -> None:
        self.query_one("#title", Bar).say(*self.console.heading())
        trouble = self.console.trouble
        self.query_one("#banner", Bar).say([(f" ▲ {trouble}", "bad")] if trouble else ())
        self.query_one("#banner").set_class(bool(trouble), "on")

    def _look(self) -> None:
        if self._reading:
            self._again_at_once = True
        else:
            run_in_background(self, self._read, "events")

    async def _read(self) -> None:
        self._reading, started = True, time.monotonic()
        try:
            while True:
                self._again_at_once = False
                page = await self.console.connections.reader.event_page(
                    self._limit, kinds=self._kinds, spans=SPANS
                )
                if not self._again_at_once:
                    break
        except QueueError as error:
            self.console.lost(error)
            return
        finally:
            self._reading = False
            self._read_at = time.monotonic() + (time.monotonic() - started) * THRIFT
        self._events, self._more = page.events, page.after is not None
        self._show()

    def _show(self) -> None:
        """Show the events that match the filter."""
        text = "" if self._kinds is not None else self._text.casefold()
        rows = [one for one in self._events if not text or text in _searched(one)]
        self.table.parts = [
            ("8 events", "strong"),
            (f" {len(rows):,}{'+' if self._more else ''}", "text"),
            (f"  /{short(self._text, 40)}" if self._text else "", "accent"),
        ]
        shown = short(self._text, 40)
        self.table.empty = f"none matches {shown}" if self._text else "no events yet"
        self.table.set_rows(rows)
        self._show_words()
        self.refresh_bindings()

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self._show_words()
        self.refresh_bindings()
        window = self.table.window
        near = (window.position or 0) >= len(window.rows) - NEAR
        if near and self._more and self._limit < MOST:
            self._limit = min(2 * self._limit, MOST)
            self._look()

    def _show_words(self) -> None:
        """All of the event under the cursor: a narrow table has no room for it."""
        event = self.table.current
        note = self.query_one("#why", Notice)
        said = "" if event is None else f"{who(event)}  {event_words(event)}".strip()
        note.say([(f" {said}", "muted")] if said else ())
        note.set_class(bool(said), "on")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("open", "copy_id") and self.is_mounted:
            return True if self._job() else None
        return True

    def _job(self) -> str | None:
        event = self.table.current
        return None if event is None else event.job_id

    def on_key(self, event: events.Key) -> None:
        if event.character and event.character in JOB_KEYS:
            self.console.say(f"{event.character} is for a job: ⏎ opens it", "warn")

    def action_filter(self) -> None:
        if not self.query(SearchLine):
            self.mount(SearchLine(self._text, "events"), before="#message")

    def on_search_line_typed(self, message: SearchLine.Typed) -> None:
        """A kind of event is looked for in the store, and any other text in what is shown."""
        self._text = message.text
        try:
            self._kinds = parse_kinds([message.text]) if message.text else None
        except InvalidInput:
            self._kinds = None
        self._show()
        self._look()

    def on_search_line_closed(self) -> None:
        self.set_focus(self.table)

    @on(LineTable.Chosen)
    def _chosen(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if job := self._job():
            self.console.with_job(job, self.console.open_job)

    def action_copy_id(self) -> None:
        if job := self._job():
            self.app.copy_to_clipboard(job)
            self.console.say(f"copied {job}", "good")


def _searched(event: Event) -> str:
    return f"{event.kind} {subject(event)} {who(event)} {event_words(event)}".casefold()
