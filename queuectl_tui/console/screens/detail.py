"""Everything about one job: its fields, its attempts, and the output of the selected one."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from queuectl_core.domain.admission import Blocker, Tree
from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.lifecycle import FINAL, NOT_STARTED, RETRYABLE
from queuectl_core.domain.model import Attempt, Job, State
from queuectl_core.domain.text import clean_line
from queuectl_core.queue import Queue

from ...presentation.columns import STATE_ROLES, Cell
from ...presentation.format import cli, short
from ...presentation.tree import tree_lines
from ...presentation.why import reason_role
from ..action_runner import StoreRead
from ..background import run_in_background
from ..columns import ATTEMPTS, JOB_PAGE
from ..widgets.output import OutputPane
from ..widgets.row_window import ListPages
from ..widgets.status_bars import Bar, KeyBar, Notice, Stopped
from ..widgets.strips import NARROW
from ..widgets.table import LineTable
from ..widgets.text import TextPane, TextRow
from .base import JobScreen


class OneJobScreen(JobScreen):
    """A screen of one job, with a pane of output."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self._deleted = False

    def targets(self) -> list[Job]:
        return [self.job]

    def state_cell(self) -> Cell:
        state = self.job.state
        return (" deleted ", "bad") if self._deleted else (f" {state} ", STATE_ROLES[state])

    def action_follow(self) -> None:
        self.query_one(OutputPane).toggle_follow()

    def action_wrap(self) -> None:
        self.query_one(OutputPane).toggle_wrap()


class AttemptsTable(LineTable[Attempt]):
    """The attempts of a job. With less than two of them, its keys scroll the fields of the job."""

    def action_move(self, lines: int) -> None:
        if len(self.window.rows) > 1:
            super().action_move(lines)
        else:
            self.screen.query_one("#fields", TextPane).action_move(lines)


class DetailScreen(OneJobScreen):
    """One job, with the output of the attempt under the cursor. Its messages are above the other
    panes and take no space from them."""

    DEFAULT_CSS = """
    DetailScreen { layers: default over; }
    DetailScreen #output { height: 1fr; }
    DetailScreen #message { layer: over; dock: bottom; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit_job", "edit command"),
        Binding("J", "scroll_fields(1)", "scroll the fields", key_display="J K"),
        Binding("K", "scroll_fields(-1)", "scroll the fields up", show=False),
        Binding("enter", "output", "output", key_display="⏎", show=False),
        Binding("tab", "app.focus_next", "next pane", show=False),
        Binding("shift+tab", "app.focus_previous", "previous pane", show=False),
        Binding("s", "follow", "follow", show=False),
        Binding("w", "why", "why"),
        Binding("W", "wrap", "wrap", show=False),
        Binding("h", "hold", "hold"),
        Binding("E", "edit_fields", "edit"),
        Binding("P", "pause_queue", "pause or resume the queue", show=False),
        Binding("escape", "back", "back", key_display="esc"),
    ]

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._tree = Tree((), (), complete=True)
        self._blocker: Blocker | None = None
        """The first reason why it does not run."""
        self._fits = True
        """Whether all its fields are visible."""
        self._newest = 0
        """The number of the last attempt when they were read."""

    def compose(self) -> ComposeResult:
        self.attempts = AttemptsTable(
            ATTEMPTS, ListPages("number"), id="attempts", clock=self.console.clock, markable=False
        )
        self.attempts.empty = "not started yet"
        yield Bar(id="head", filled=True)
        yield Stopped()
        self.fields = TextPane(id="fields", indent=LABEL)
        yield self.fields
        yield self.attempts
        yield OutputPane()
        yield Notice(id="message", passing=True)
        yield KeyBar(id="keys")

    async def on_mount(self) -> None:
        self.attempts.focus()
        await self._read()
        self.console.say(f"$ {cli('show', self.job.id)}", "muted")

    def on_store_read(self, message: StoreRead) -> None:
        super().on_store_read(message)  # first, because it takes lines
        if message.changed:
            run_in_background(self, self._read, "job", exclusive=True)
        else:
            self._show()
            self.attempts.paint()

    async def _read(self) -> None:
        try:
            queue = self.console.connections.reader
            found = await queue.get(self.job.seq)
            if found is None:
                self._deleted = True
                self._show()
                self.console.say(f"{self.job.id} was deleted", "warn")
                return
            self.job = await self._with_texts(queue, found)
            attempts = await queue.attempts(found)
            self._tree = await queue.tree(found, TREE_LIMIT)
            waits = found.state in NOT_STARTED
            blockers = (await queue.why(found)).blockers if waits else ()
            self._blocker = blockers[0] if blockers else None
        except QueueError as error:
            self.console.say(f"✗ {error}", "bad")
            return
        self.attempts.parts = [("attempts", "strong"), (f" {len(attempts)}", "text")]
        newest, current = self._newest, self.attempts.current
        self._newest = attempts[-1].number if attempts else 0
        self.attempts.set_rows(attempts)
        # A user at the end of the newest attempt wants to see the next one. A user who reads an
        # older attempt, or has moved up in the output, stays there.
        at_newest = current is None or current.number == newest
        if at_newest and newest < self._newest and self.query_one(OutputPane).follow:
            self.attempts.action_last()
        self._show()
        await self._show_output()
        self.refresh_bindings()

    async def _with_texts(self, queue: Queue, found: Job) -> Job:
        """The job with its standard input and result, which are read once for each attempt."""
        known = self.job
        same = (known.created_at, known.runs, known.has_stdin, known.has_result) == (
            *(found.created_at, found.runs, found.has_stdin, found.has_result),
        )
        if same and (known.stdin is not None or known.result is not None):
            return found._replace(stdin=known.stdin, result=known.result)
        [read] = await queue.with_texts([found])
        return read

    @on(LineTable.Moved)
    async def _other_attempt(self) -> None:
        await self._show_output()

    async def _show_output(self) -> None:
        current = self.attempts.current
        number = None if current is None else current.number
        try:
            output = await self.console.connections.reader.output(self.job, number)
        except QueueError:
            return  # the attempt was removed meanwhile; the next reading shows that
        now = self.attempts.current
        if number == (None if now is None else now.number):
            self.query_one(OutputPane).show(output)
        # Otherwise the cursor has moved meanwhile, and its new attempt is being read.

    def restyle(self) -> None:
        super().restyle()
        self._show()

    def _show(self) -> None:
        job = self.job
        self.query_one("#head", Bar).say(
            [(f" {job.id} ", "title"), self.state_cell()],
            [(f" {short(job.queue, 60)} ", "muted")],
        )
        now = self.console.clock()
        rows = [*number_row(job, self._tree), *reason_row(self._blocker, now)]
        rows += fields(job, now, self.size.width)
        if self._tree.parents or self._tree.children:
            rows += tree_lines(job, self._tree)[1:]  # without the job itself
        self.fields.show(rows)
        self._share()

    def _share(self) -> None:
        """Share the lines of the screen: the fields get what they need, as far as the attempts and
        the output keep enough."""
        high, narrow = self.size.height, self.size.width < NARROW
        most = min(6, max(1, high // 3 - 3))
        attempts = 2 + min(most, max(1, len(self.attempts.window.rows)))
        output = high // 4 if high >= 20 and self.attempts.window.rows else 2
        # Three lines: the head, the keys, and the message or a second line of keys.
        room = max(1, high - 3 - attempts - output - self.query_one(Stopped).lines)
        wanted = len(self.fields.lines(self.size.width))
        self.attempts.styles.height = attempts
        self.fields.styles.height = min(room, wanted)
        self.query_one("#message").styles.margin = (0, 0, 2 if narrow else 1, 0)
        self.query_one(OutputPane).styles.margin = (0, 0, 0 if narrow else 1, 0)
        if self._fits != (wanted <= room):
            self._fits = wanted <= room
            self.refresh_bindings()

    def on_resize(self) -> None:
        self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        possible = super().check_action(action, parameters)
        if possible and action == "edit_job":
            return True if self.job.state in RETRYABLE else None
        return possible

    def describe(self, action: str) -> str | None:
        if action == "scroll_fields(1)":
            return "" if self._fits else "scroll"
        return super().describe(action)

    def action_scroll_fields(self, rows: int) -> None:
        self.fields.action_move(rows)

    def action_edit_job(self) -> None:
        self.edit_job()

    def action_output(self) -> None:
        current = self.attempts.current
        self.console.open_output(self.job, current.number if current else None)


LABEL = 10
"""Cells of a field's name."""

TREE_LIMIT = 200
"""Jobs that are read of what it waits for, and of what waits for it."""

RARE = ("schedule", "key", "unique", "held", "cause")
"""Fields that are left out when they are empty."""


def fields(job: Job, now: float, width: int) -> list[TextRow]:
    """All fields. Short ones are side by side if there is space; none is cut."""
    side_by_side = 4 if width >= 150 else 2 if width >= 76 else 1
    room = max(1, (width - 2) // side_by_side) - LABEL
    rows: list[TextRow] = []
    line: list[Cell] = []
    columns = JOB_PAGE
    if side_by_side == 1:  # on a small pane these come first
        # A command may fill it, so what changes is above it.
        order = {"progress": 0, "command": 1, "error": 1}
        columns = tuple(sorted(columns, key=lambda c: order.get(c.name, 2)))
    job = job._replace(env=job.masked_env)
    for column in columns:
        text, role = column.cell(job, now)
        if not text and column.name in RARE:
            continue
        name = (f"{column.name:>{LABEL - 2}}  ", "muted")
        if column.place.wrap:
            rows += [line] if line else []
            line = []
            rows += [[name, (text, role)]] if text else []
            continue
        text = (text or "-").ljust(room)
        if line and (len(line) == 2 * side_by_side or cell_len(text) > room):
            rows.append(line)
            line = []
        line += [name, (text, role)]
        if cell_len(text) > room:
            rows.append(line)
            line = []
    return rows


def reason_row(blocker: Blocker | None, now: float) -> list[TextRow]:
    """Why the job does not run; no row if nothing blocks it, or not any more."""
    if blocker is None or (blocker.until is not None and blocker.until <= now):
        return []
    word = (blocker.reason.value, reason_role(blocker.reason))
    return [
        [(f"{'why':>{LABEL - 2}}  ", "muted"), word, (f": {clean_line(blocker.detail)}", "text")]
    ]


def number_row(job: Job, tree: Tree) -> list[TextRow]:
    """How many jobs it still waits for and how many still wait for it; no row if there are none."""
    waits = job.state is State.WAITING
    parents = sum(
        waits and one.child_seq == job.seq and one.parent_state not in (None, *FINAL)
        for one in tree.parents
    )
    children = sum(
        one.parent_seq == job.seq and one.child_state is State.WAITING for one in tree.children
    )
    found = [f"waits for {_some(parents)}"] if parents else []
    if children:
        found.append(f"{_some(children)} {'waits' if children == 1 else 'wait'} for it")
    return [[(f"{'jobs':>{LABEL - 2}}  ", "muted"), ("; ".join(found), "text")]] if found else []


def _some(count: int) -> str:
    return f"{count}+" if count >= TREE_LIMIT else str(count)
