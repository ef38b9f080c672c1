"""The form for a new job: every field, checked with the very words of the command line."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.widgets import Input, Label, Static

from queuectl_core.errors import InvalidInput, QueueError
from queuectl_core.jobspec import Defaults, check_field, parse_job
from queuectl_core.text import clean_line
from queuectl_core.times import (
    format_bytes,
    format_duration,
    format_time,
    parse_duration,
    parse_time,
)

from .. import actions
from ..beside import beside
from ..format import cli
from .base import ConsoleBase
from .dialogs import Dialog


def as_number(text: str) -> Any:
    """A number where it is one; else the text, for the check to name what is wrong."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if math.isfinite(number) and number == int(number) else number


def as_env(text: str) -> dict[str, str]:
    """``A=1 B='two words'`` as a mapping."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidInput(f"env: {error}", "write A=1 B='two words'") from None
    pairs = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise InvalidInput(f"env: '{clean_line(word, 40)}' is not NAME=VALUE")
        pairs[name] = value
    return pairs


def timeout_hint(defaults: Defaults) -> str:
    """How long a job may run when nothing is said."""
    seconds = defaults.settings.timeout
    return f"{format_duration(seconds)}; 0: no limit" if seconds else "no limit; 30, 5m"


@dataclass(frozen=True, slots=True)
class Entry:
    """A field of the form. ``option`` is the command line's."""

    field: str
    option: str
    hint: Callable[[Defaults], str]
    read: Callable[[str], Any] = str


ENTRIES = (
    Entry("command", "", lambda d: f"run by {d.settings.shell} -c"),
    Entry("id", "--id", lambda d: "generated"),
    Entry("queue", "--queue", lambda d: "default"),
    Entry("priority", "--priority", lambda d: "0, higher first", as_number),
    Entry("run_at", "--run-at", lambda d: "now; +10s, +5m, 2026-01-31T09:00"),
    Entry("max_retries", "--max-retries", lambda d: str(d.settings.max_retries), as_number),
    Entry("backoff_base", "--backoff-base", lambda d: f"{d.settings.backoff_base:g}", as_number),
    Entry("timeout_seconds", "--timeout", timeout_hint, parse_duration),
    Entry("cwd", "--cwd", lambda d: d.cwd),
    Entry("env", "--env", lambda d: "A=1 B='two words'", as_env),
    Entry("nice", "--nice", lambda d: "0; to 19, the most polite", as_number),
    Entry("memory_limit", "--memory-limit", lambda d: "none; 512MiB"),
    Entry("cpu_seconds", "--cpu-seconds", lambda d: "no limit; 30, 5m", parse_duration),
    Entry("output_limit", "--output-limit", lambda d: f"{format_bytes(d.settings.output_limit)}iB"),
)


class EnqueueScreen(Dialog[None]):
    """Enter enqueues once every field will do; the form stays open when it does not."""

    DEFAULT_CSS = """
    EnqueueScreen > #box { max-width: 92; }
    EnqueueScreen #rows { height: auto; }
    EnqueueScreen.-short #rows { height: 5; }
    EnqueueScreen #says, EnqueueScreen #line { max-height: 3; }
    EnqueueScreen .row { height: 1; }
    EnqueueScreen .row Label { width: 17; }
    EnqueueScreen .row Input { width: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close", key_display="esc"),
        Binding("down", "app.focus_next", "next", show=False),
        Binding("up", "app.focus_previous", "previous", show=False),
        Binding("ctrl+r", "submit", "enqueue", show=False),
    ]

    def __init__(self, defaults: Defaults) -> None:
        super().__init__()
        self._defaults = defaults

    def compose(self) -> ComposeResult:
        with Container(id="box"):
            yield Static(self.text(("enqueue a job", "title")))
            with VerticalScroll(id="rows", can_focus=False):
                for entry in ENTRIES:
                    with Horizontal(classes="row"):
                        yield Label(self.text((entry.field, "muted")))
                        hint = clean_line(entry.hint(self._defaults), 200)
                        box = Input(placeholder=hint, id=f"in-{entry.field}")
                        box.cursor_blink = False
                        yield box
            yield Static(id="says")
            yield Static(id="line")

    def on_mount(self) -> None:
        self.query_one("#in-command", Input).focus()
        self._check()

    # -- what is typed --------------------------------------------------------------------

    def source(self) -> dict[str, Any]:
        """The fields that were given. Raises InvalidInput for the first that will not do."""
        given: dict[str, Any] = {}
        for entry in ENTRIES:
            text = self.query_one(f"#in-{entry.field}", Input).value
            if text.strip():
                value = entry.read(text)
                check_field(entry.field, value, self._defaults)
                given[entry.field] = value
        parse_job(given, self._defaults)
        return given

    def line(self) -> str:
        """The equivalent command line."""
        words = ["enqueue"]
        command = ""
        for entry in ENTRIES:
            text = self.query_one(f"#in-{entry.field}", Input).value.strip()
            if entry.field == "command":
                command = text
            elif entry.field == "env" and text:
                for name, value in as_env(text).items():
                    words += ["--env", f"{name}={value}"]
            elif text:
                words += [entry.option, text]
        if command.startswith(("{", "[", "-")):  # would be taken for JSON or an option
            return cli(*words, json.dumps({"command": command}))
        return cli(*words, command)

    @on(Input.Changed)
    def _check(self) -> None:
        said, line = self.query_one("#says", Static), self.query_one("#line", Static)
        try:
            given = self.source()
        except QueueError as error:
            touched = any(box.value for box in self.query(Input))
            said.update(self.text((str(error), "bad" if touched else "muted")))
            line.update("")
            return
        note = "enter: enqueue   esc: leave it"
        if "run_at" in given:
            moment = parse_time(given["run_at"], self._defaults.now)
            note = f"runs at {format_time(moment)}   {note}"
        said.update(self.text((note, "good")))
        line.update(self.text((f"$ {self.line()[:400]}", "muted")))

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_submit()

    def action_submit(self) -> None:
        try:
            action = actions.enqueue(self.source(), self.line())
        except QueueError as error:
            self.query_one("#says", Static).update(self.text((str(error), "bad")))
            return
        beside(self, partial(self._enqueue, action), "enqueue", exclusive=True)

    async def _enqueue(self, action: actions.Action) -> None:
        screen = self.app.screen_stack[0]
        owner = screen.owner if isinstance(screen, ConsoleBase) else None
        if owner is None:
            return
        try:
            await owner.carry_out(action)
        except QueueError as error:
            self.query_one("#says", Static).update(self.text((str(error), "bad")))
            return
        self.dismiss()

    def action_close(self) -> None:
        self.dismiss()


class EditScreen(Dialog[tuple[str, bool] | None]):
    """Another command for a job: run it again with it, or enqueue a copy."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close", key_display="esc"),
        Binding("ctrl+n", "copy", "enqueue a copy"),
    ]

    def __init__(self, name: str, command: str, defaults: Defaults, *, argv: bool) -> None:
        super().__init__()
        self._argv = argv
        self._name = name
        self._command = command
        self._defaults = defaults

    def compose(self) -> ComposeResult:
        with Container(id="box"):
            yield Static(self.text((f"{self._name}: another command", "strong")))
            box = Input(self._command, id="command", select_on_focus=False)
            box.cursor_blink = False
            yield box
            yield Static(id="says")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def _trouble(self) -> str:
        text = self.query_one(Input).value
        try:
            check_field("command", text, self._defaults)
            if self._argv:
                check_field("command", shlex.split(text), self._defaults)
        except QueueError as error:
            return str(error)
        except ValueError as error:
            return f"command: {error}"
        return ""

    @on(Input.Changed)
    def _check(self) -> None:
        trouble = self._trouble()
        note = "enter: run it again with this   ctrl+n: enqueue a copy   esc: leave it"
        said = (trouble, "bad") if trouble else (note, "muted")
        self.query_one("#says", Static).update(self.text(said))

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self._answer(copy=False)

    def action_copy(self) -> None:
        self._answer(copy=True)

    def _answer(self, *, copy: bool) -> None:
        if not self._trouble():
            self.dismiss((self.query_one(Input).value, copy))

    def action_close(self) -> None:
        self.dismiss(None)
