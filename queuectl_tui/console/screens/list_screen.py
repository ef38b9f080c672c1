"""What the screens with one list share: the bars, reading again, the note below, the filter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding

from queuectl_core.domain.errors import QueueError

from ...presentation.columns import Cell, TableColumn
from ..action_runner import StoreRead
from ..background import run_in_background
from ..widgets.row_window import ListPages
from ..widgets.status_bars import Bar, KeyBar, Notice
from ..widgets.table import THRIFT, LineTable
from ..widgets.throttle import Throttle
from .base import ConsoleScreen
from .search import SearchLine

R = TypeVar("R")

PAGES = {"5": "queues", "6": "schedules", "8": "events", "9": "hooks"}
"""The pages that a key opens, here and on the main screen."""


def to_pages(*, but: str) -> list[Binding]:
    """The keys that lead from a page to the others. ``but``: its own key."""
    return [
        Binding(key, f"page('{name}')", name, show=False)
        for key, name in PAGES.items()
        if key != but
    ]


class ListScreen(ConsoleScreen[None], Generic[R]):
    """A list on the whole screen; keys act on the row under the cursor.

    Subclasses define the constants and the methods that raise NotImplementedError.
    """

    NAME: ClassVar[str]
    """What the list holds."""
    KEY: ClassVar[str]
    """The key that opens the screen."""
    COLUMNS: ClassVar[Sequence[TableColumn[Any]]]
    IDENTITY: ClassVar[str]
    """The attribute that identifies a row; with dots, one of an attribute."""
    COMMAND: ClassVar[str]
    """The command line that shows the same."""
    JOB_KEYS: ClassVar[frozenset[str]] = frozenset("rcDlewhE")
    """Keys that do something with a job on the other screens, and nothing here."""
    JOBS_ARE: ClassVar[str]
    """Where the jobs are instead, for the message about these keys."""
    ROW_ACTIONS: ClassVar[tuple[str, ...]] = ()
    """Actions that need a row."""
    CHANGES: ClassVar[tuple[str, ...]] = ()
    """Those of them that a read-only console does not have."""

    def compose(self) -> ComposeResult:
        self.table: LineTable[R] = LineTable(
            self.COLUMNS,
            ListPages(self.IDENTITY),
            id=self.NAME,
            clock=self.console.clock,
            markable=False,
        )
        self.table.parts = [self.title_part]
        self.text = ""
        """The filter."""
        self._reading = self._outdated = False
        self._read_at = 0.0
        self._again = Throttle(self, self.look)
        yield Bar(id="title", filled=True)
        yield Notice(id="banner", filled=True)
        yield self.table
        yield Notice(id="why")
        yield Notice(id="message", passing=True)
        yield KeyBar(id="keys")

    @property
    def title_part(self) -> Cell:
        """The first part of the table's title."""
        return f"{self.KEY} {self.NAME}", "strong"

    async def on_mount(self) -> None:
        self.table.focus()
        self._show_bars()
        await self._read()
        self.console.say(f"$ {self.COMMAND}", "muted")

    # -- for subclasses -----------------------------------------------------------------

    async def load(self) -> None:
        """Read the list from the store. QueueError."""
        raise NotImplementedError

    def show(self) -> None:
        """Show what was read, as far as it matches the filter, with :meth:`show_rows`."""
        raise NotImplementedError

    def note(self) -> Cell:
        """What is said about the row under the cursor, because a narrow table has no room for it;
        empty: nothing."""
        raise NotImplementedError

    def target(self) -> object | None:
        """What the actions of :attr:`ROW_ACTIONS` are for; None: nothing."""
        return self.table.current

    def action_open(self) -> None:
        raise NotImplementedError

    # -- reading ------------------------------------------------------------------------

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

    def look(self) -> None:
        """Read the list again: now, or soon if it is being read."""
        if self._reading:
            self._outdated = True
        else:
            run_in_background(self, self._read, self.NAME)

    async def _read(self) -> None:
        self._reading, self._outdated = True, False
        started = time.monotonic()
        try:
            await self.load()
        except QueueError as error:
            self.console.lost(error)
            return
        finally:
            self._reading = False
            self._read_at = time.monotonic() + (time.monotonic() - started) * THRIFT
        self.show()
        if self._outdated:
            self._again.ask(self._read_at)

    def show_rows(self, rows: Sequence[R], *more: Cell) -> None:
        """Show these rows. ``more``: what follows in the table's title."""
        self.table.parts = [self.title_part, *more]
        self.table.set_rows(rows)
        self._show_note()
        self.refresh_bindings()

    @on(LineTable.Moved)
    def _moved(self) -> None:
        self._show_note()
        self.refresh_bindings()

    def _show_note(self) -> None:
        note = self.query_one("#why", Notice)
        said, role = self.note()
        note.say([(f" {said}", role)] if said else ())
        note.set_class(bool(said), "on")

    # -- keys ---------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in self.CHANGES and self.console.connections.read_only:
            return False
        if action in (*self.CHANGES, *self.ROW_ACTIONS) and self.is_mounted:
            return True if self.target() else None
        return True

    def on_key(self, event: events.Key) -> None:
        if event.character and event.character in self.JOB_KEYS:
            self.console.say(f"{event.character} is for a job: {self.JOBS_ARE}", "warn")

    @on(LineTable.Chosen)
    def _chosen(self) -> None:
        self.action_open()

    def copy(self, name: str) -> None:
        """Copy a name to the clipboard of the terminal."""
        self.app.copy_to_clipboard(name)
        self.console.say(f"copied {name}", "good")

    # -- the filter, where there is a key for it --------------------------------------------

    def action_filter(self) -> None:
        if not self.query(SearchLine):
            self.mount(SearchLine(self.text, self.NAME), before="#message")

    def on_search_line_typed(self, message: SearchLine.Typed) -> None:
        self.text = message.text
        self.filter_changed()

    def filter_changed(self) -> None:
        """There is another :attr:`text`."""
        self.show()

    def on_search_line_closed(self) -> None:
        self.set_focus(self.table)
