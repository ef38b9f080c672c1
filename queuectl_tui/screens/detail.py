"""Everything about one job: its fields, every attempt, and what the chosen one wrote."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from queuectl_core.errors import QueueError
from queuectl_core.lifecycle import RETRYABLE
from queuectl_core.model import Attempt, Job, State
from queuectl_core.text import clean_line
from queuectl_core.times import format_duration

from ..beside import beside
from ..format import ago, cli, clock_time, command_text, short
from ..messages import StoreRead
from ..rows import ATTEMPTS
from ..theme import STATE_STYLE, Ink, ink_of
from ..widgets.bars import Bar, KeyBar, Notice
from ..widgets.listed import list_table_rows
from ..widgets.output import OutputPane
from ..widgets.table import LineTable
from ..widgets.window import ListPages
from .base import JobScreen


class DetailScreen(JobScreen):
    """One job. The attempt under the cursor is the one whose output is shown."""

    DEFAULT_CSS = """
    DetailScreen #fields { height: auto; max-height: 40%; }
    DetailScreen #output { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit_job", "edit command"),
        Binding("enter", "output", "output", key_display="⏎", show=False),
        Binding("tab", "app.focus_next", "next pane", show=False),
        Binding("shift+tab", "app.focus_previous", "previous pane", show=False),
        Binding("s", "follow", "follow", show=False),
        Binding("w", "wrap", "wrap", show=False),
        Binding("escape", "back", "back", key_display="esc"),
    ]

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self._newest = 0
        """The number of the last attempt there was when they were read."""

    def compose(self) -> ComposeResult:
        self.attempts: LineTable[Attempt] = LineTable(
            ATTEMPTS, ListPages("number"), id="attempts", clock=self.owner.clock, markable=False
        )
        self.attempts.empty = "not started yet"
        yield Bar(id="head", filled=True)
        yield Static(id="fields")
        yield self.attempts
        yield OutputPane()
        yield Notice(id="message")
        yield KeyBar(id="keys")

    async def on_mount(self) -> None:
        self.attempts.focus()
        await self._read()
        self.owner.say(f"$ {cli('show', self.job.id)}", "muted")

    def on_store_read(self, message: StoreRead) -> None:
        if message.changed:
            beside(self, self._read, "job", exclusive=True)
        else:
            self.attempts.paint()

    async def _read(self) -> None:
        try:
            queue = self.owner.link.reader
            found = await queue.get(self.job.seq)
            if found is None:
                self.owner.say(f"{self.job.id} was deleted", "warn")
                return
            self.job = found
            attempts = await queue.attempts(found)
        except QueueError as error:
            self.owner.say(f"✗ {error}", "bad")
            return
        self.attempts.parts = [("attempts", "strong"), (f" {len(attempts)}", "text")]
        self.attempts.styles.height = 2 + min(6, max(1, len(attempts)))
        newest, current = self._newest, self.attempts.current
        self._newest = attempts[-1].number if attempts else 0
        list_table_rows(self.attempts, attempts)
        # Who is at the end of the newest attempt wants to see the next one; who reads an older
        # one, or has moved up in its output, stays there.
        at_newest = current is None or current.number == newest
        if at_newest and newest < self._newest and self.query_one(OutputPane).follow:
            self.attempts.action_last()
        self._show()
        await self._show_output()
        self.refresh_bindings()

    @on(LineTable.Moved)
    async def _other_attempt(self) -> None:
        await self._show_output()

    async def _show_output(self) -> None:
        current = self.attempts.current
        number = None if current is None else current.number
        try:
            output = await self.owner.link.reader.output(self.job, number)
        except QueueError:
            return  # the attempt went while it was looked for; the next reading shows that
        now = self.attempts.current
        if number == (None if now is None else now.number):
            self.query_one(OutputPane).show(output)
        # Else the cursor has moved on meanwhile, and what is under it now is asked for as well.

    def restyle(self) -> None:
        super().restyle()
        self._show()

    def _show(self) -> None:
        job = self.job
        self.query_one("#head", Bar).say(
            [(f" {job.id} ", "title"), (f" {job.state} ", STATE_STYLE[job.state])],
            [(f" {short(job.queue, 60)} ", "muted")],
        )
        now = self.owner.clock()
        text = fields(job, now, ink_of(self.app.current_theme), self.size.width)
        self.query_one("#fields", Static).update(text)

    def on_resize(self) -> None:
        self._show()

    def targets(self) -> list[Job]:
        return [self.job]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        possible = super().check_action(action, parameters)
        if possible and action == "edit_job":
            return True if self.job.state in RETRYABLE else None
        return possible

    def action_edit_job(self) -> None:
        self.owner.edit_job(self.job)

    def action_output(self) -> None:
        current = self.attempts.current
        self.owner.open_output(self.job, current.number if current else None)

    def action_follow(self) -> None:
        self.query_one(OutputPane).toggle_follow()

    def action_wrap(self) -> None:
        self.query_one(OutputPane).toggle_wrap()

    def action_back(self) -> None:
        self.dismiss()


def fields(job: Job, now: float, ink: Ink, width: int) -> Text:
    """Every field, in as many columns as there is room for; the long ones on their own lines."""
    short_ones = [
        ("tries", f"{job.tries} of {max(1, job.max_retries)}"),
        ("crashes", str(job.crashes)),
        ("exit", "-" if job.exit_code is None else str(job.exit_code)),
        ("priority", str(job.priority)),
        ("queue", short(job.queue, 40)),
        ("timeout", format_duration(job.timeout_seconds) if job.timeout_seconds else "none"),
        ("backoff", f"{job.backoff_base:g}^n s"),
        ("worker", short(job.worker, 40) or "-"),
        ("created", _moment(job.created_at, now)),
        ("due", _moment(job.run_at, now)),
        ("started", _moment(job.started_at, now)),
        ("finished", _moment(job.finished_at, now)),
    ]
    columns = max(1, min(4, width // 38))
    if columns > 2:
        columns = 4 if width >= 150 else 2
    text = Text(no_wrap=True, overflow="ellipsis")
    _line(text, "command", clean_line(command_text(job.command), width * 2), ink.strong, ink)
    if columns == 1:  # a pane too small for all of it: what is wrong is never cut
        _error(text, job, width, ink)
    cell = max(1, width // columns)
    for at, (name, value) in enumerate(short_ones):
        text.append(f" {name:>8} ", ink.muted)
        text.append(value[: cell - 10].ljust(cell - 10), ink.text)
        if at % columns == columns - 1 or at == len(short_ones) - 1:
            text.append("\n")
    _line(text, "cwd", clean_line(job.cwd, width), ink.text, ink)
    if job.env:
        shown = "  ".join(f"{name}={value}" for name, value in sorted(job.masked_env.items()))
        _line(text, "env", clean_line(shown[:2000], width * 2), ink.text, ink)
    if columns > 1:
        _error(text, job, width, ink)
    text.rstrip()
    return text


def _error(text: Text, job: Job, width: int, ink: Ink) -> None:
    if job.last_error:
        style = ink.bad if job.state is State.DEAD else ink.warn
        _line(text, "error", clean_line(job.last_error, width * 2), style, ink)


def _line(text: Text, name: str, value: str, style: Style, ink: Ink) -> None:
    text.append(f" {name:>8} ", ink.muted)
    text.append(value + "\n", style)


def _moment(moment: float | None, now: float) -> str:
    if moment is None:
        return "-"
    since = ago(now - moment)
    return f"{clock_time(moment)}  {since if since.startswith(('in', 'now')) else since + ' ago'}"
