"""The form for a new job, with every field and the error messages of the command line."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widgets import Input, Static

from queuectl_core.domain.errors import InvalidInput, QueueError
from queuectl_core.domain.jobspec import Defaults, check_field
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time, parse_time

from ...presentation import actions
from ...presentation.format import NEWLINE, on_lines, on_one_line
from ...presentation.job_form import ENTRIES, command_line_of, job_of
from ..action_runner import ConsolePart
from .dialogs import Ask, Dialog


class CommandInput(ConsolePart, Input):
    """A field for a command. Several lines can be pasted; $EDITOR edits them as lines."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+e", "editor", "$EDITOR", key_display="^e", show=False)
    ]

    def on_paste(self, event: events.Paste) -> None:
        lines = event.text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
        shown = on_one_line(lines)
        event.prevent_default()
        event.stop()
        if shown is None:
            self.console.say("✗ not pasted: it holds control characters; see ctrl+e", "bad")
        elif shown:
            self.replace(shown, *sorted(self.selection))

    async def action_editor(self) -> None:
        text = await self.console.edit_text(on_lines(self.value))
        if text is None:
            return
        shown = on_one_line(text.rstrip("\n"))
        if shown is None:
            self.console.say(f"✗ not taken: it holds control characters, or {NEWLINE}", "bad")
        else:
            self.value = shown
            self.cursor_position = len(shown)


Send = Callable[[actions.Action, Callable[[Exception | None], None]], None]


class EnqueueScreen(Dialog[None]):
    """Enter enqueues when every field is correct. Otherwise the form stays open."""

    DEFAULT_CSS = """
    EnqueueScreen > #box { max-width: 92; }
    EnqueueScreen #rows { height: auto; }
    EnqueueScreen.-short #rows { height: 5; }
    EnqueueScreen #says, EnqueueScreen #line { max-height: 3; }
    EnqueueScreen .row Label { width: 17; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+g", "empty", "empty the form", key_display="^g", show=False)
    ]

    def __init__(self, defaults: Defaults, draft: dict[str, str], send: Send) -> None:
        """``draft``: what was typed before; it is updated here. ``send`` runs an action and reports
        how it ended."""
        super().__init__()
        self._defaults = defaults
        self._draft = draft
        self._send = send
        self._sent: dict[str, str] | None = None
        """What is being enqueued now."""
        self._done = False

    def compose(self) -> ComposeResult:
        with Container(id="box"):
            yield Static(self.text(("enqueue a job", "title"), ("  ^e edit  ^g empty", "muted")))
            with VerticalScroll(id="rows", can_focus=False):
                for entry in ENTRIES:
                    hint = clean_line(entry.hint(self._defaults), 200)
                    kind = CommandInput if entry.field == "command" else Input
                    value = self._draft.get(entry.field, "")
                    box = kind(value, placeholder=hint, id=f"in-{entry.field}")
                    yield from self.row(entry.field, box)
            yield Static(id="says")
            yield Static(id="line")

    def on_mount(self) -> None:
        self.query_one("#in-command", Input).focus()
        self._check()

    def source(self) -> dict[str, Any]:
        """The fields that were given. InvalidInput for the first one that is wrong."""
        return job_of(self._texts(), self._defaults)

    def line(self) -> str:
        return command_line_of(self._texts())

    def _texts(self) -> dict[str, str]:
        texts = self._values()
        return texts | {"command": on_lines(texts.get("command", ""))}

    def _values(self) -> dict[str, str]:
        values = {e.field: self.query_one(f"#in-{e.field}", Input).value for e in ENTRIES}
        return {field: value for field, value in values.items() if value}

    @on(Input.Changed)
    def _check(self) -> None:
        self._draft.clear()
        self._draft.update(self._values())
        line = self.query_one("#line", Static)
        if self._sent is not None:
            self._wait()
            return
        try:
            given = self.source()
        except QueueError as error:
            touched = any(box.value for box in self.query(Input))
            first = ("type a command; ^e: $EDITOR   esc: cancel", "muted")
            self.say(*((str(error), "bad") if touched else first))
            line.update("")
            return
        note = "enter: enqueue   esc: cancel"
        if lines := self._texts()["command"].count("\n"):
            note = f"{lines + 1} lines, {NEWLINE} ends one   {note}"
        if "run_at" in given:
            moment = parse_time(given["run_at"], self._defaults.now)
            note = f"runs at {format_time(moment)}   {note}"
        self.say(note, "good")
        line.update(self.text((f"$ {self.line()[:400]}", "muted")))

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_submit()

    def action_submit(self) -> None:
        if self._sent is not None:
            return  # enter enqueues one job, also when the store is slow
        try:
            action = actions.enqueue(self.source(), self.line())
        except QueueError as error:
            self.say(str(error), "bad")
            return
        self._sent = self._values()
        self._wait()
        self._send(action, self._ended)

    def _wait(self) -> None:
        self.say("enqueuing: waits for the store; esc leaves, it is enqueued all the same", "warn")

    def _ended(self, error: Exception | None) -> None:
        """The action has ended. The form may have been closed or changed meanwhile."""
        sent, self._sent = self._sent, None
        here = self in self.app.screen_stack
        # Other forms use the same draft: one that was closed may have cleared it.
        typed = self._values() if here else self._draft
        if error is None and typed == sent:
            self._draft.clear()
            self._done = True
        if not here:
            return
        if error is not None:
            self.say(str(error) or type(error).__name__, "bad")
        elif self._done and self.is_current:
            self.dismiss()
        elif not self._done:
            self.say("enqueued as it was at enter; this is what you changed since", "good")

    def on_screen_resume(self) -> None:
        if self._done:  # the action ended while another screen was on top
            self.dismiss()

    def action_empty(self) -> None:
        for box in self.query(Input):
            box.value = ""

    def action_close(self) -> None:
        if self._sent is not None:
            self.console.say("… still enqueuing: waits for the store", "warn")
        super().action_close()


class EditScreen(Ask):
    """Asks for another command for a job, to run it again or to enqueue a copy."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+n", "copy", "enqueue a copy")]

    def __init__(
        self, name: str, command: str, defaults: Defaults, draft: dict[str, str], *, argv: bool
    ) -> None:
        text = draft.get("command", command)
        note = "" if text == command else "  a draft, not sent yet"
        super().__init__(
            [(f"{name}: another command", "strong"), (note, "warn")],
            CommandInput(text, id="command", select_on_focus=False),
            partial(check_command, defaults, argv=argv),
            "enter: run it again   ctrl+n: enqueue a copy   ^e: $EDITOR   esc: cancel",
        )
        self._draft = draft
        self.copied = False
        """Whether the answer is for a copy."""

    @on(Input.Changed)
    def _keep(self, message: Input.Changed) -> None:
        self._draft["command"] = message.value

    def action_copy(self) -> None:
        self.copied = not self.trouble
        self.action_submit()


def check_command(defaults: Defaults, text: str, *, argv: bool) -> None:
    """InvalidInput for a text that is no command. ``argv``: it must also be words."""
    text = on_lines(text)
    check_field("command", text, defaults)
    if argv:
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise InvalidInput(f"command: {error}") from None
        check_field("command", words, defaults)
