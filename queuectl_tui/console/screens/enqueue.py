"""The forms for a new job and for one that is edited, with the error messages of the command
line."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widgets import Input, Static

from queuectl_core.domain.errors import InvalidInput, QueueError
from queuectl_core.domain.jobspec import Defaults, check_field
from queuectl_core.domain.model import Job
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time, parse_time

from ...presentation import actions, admission_actions
from ...presentation.columns import Cell
from ...presentation.format import NEWLINE, on_lines, on_one_line
from ...presentation.job_form import (
    EDIT_ENTRIES,
    ENTRIES,
    Entry,
    changes_of,
    command_line_of,
    field_texts,
    job_of,
)
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


class Form(Dialog[None]):
    """Fields of a job. Enter does what the form is for when every field is correct. Otherwise it
    stays open. What was typed is kept in a draft when it is closed."""

    DEFAULT_CSS = """
    Form > #box { max-width: 92; }
    Form #rows { height: auto; }
    Form.-short #rows { height: 5; }
    Form #says, Form #line { max-height: 3; }
    Form .row Label { width: 18; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+g", "empty", "empty the form", key_display="^g", show=False)
    ]

    WORDS: ClassVar[dict[str, str]]
    """What it says: ``first`` while nothing is typed, ``enter``: what enter does, ``waits`` for the
    store, ``closed`` meanwhile, ``since``: it was done, but more was typed since."""

    def __init__(
        self,
        title: Sequence[Cell],
        entries: Sequence[Entry],
        texts: Mapping[str, str],
        *,
        defaults: Defaults,
        draft: dict[str, str],
        send: Send,
    ) -> None:
        """``texts``: what the fields hold at first. ``draft``: what was typed before, by field; it
        is updated here. ``send`` runs an action and reports how it ended."""
        super().__init__()
        self._title = title
        self._entries = entries
        self._first = texts
        self._defaults = defaults
        self._draft = draft
        self._send = send
        self._sent: dict[str, str] | None = None
        """What is being done now."""
        self._done = False

    def action(self) -> actions.Action:
        """What enter does. InvalidInput for the first field that is wrong."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        with Container(id="box"):
            yield Static(self.text(*self._title))
            with VerticalScroll(id="rows", can_focus=False):
                for entry in self._entries:
                    hint = clean_line(entry.hint(self._defaults), 200)
                    kind = CommandInput if entry.field == "command" else Input
                    value = self._draft.get(entry.field, self._first.get(entry.field, ""))
                    box = kind(value, placeholder=hint, id=f"in-{entry.field}")
                    # A number is typed anew, a command is edited.
                    box.select_on_focus = entry.field not in self._first or kind is Input
                    yield from self.row(entry.field, box)
            yield Static(id="says")
            yield Static(id="line")

    def on_mount(self) -> None:
        self.query_one(f"#in-{self._entries[0].field}", Input).focus()
        self._check()

    def on_resize(self) -> None:
        # What is below the rows is always visible: two texts of up to three lines.
        self.query_one("#rows").styles.max_height = max(5, self.size.height - 9)

    def texts(self) -> dict[str, str]:
        """What the fields hold; a command with its lines."""
        texts = {e.field: self.query_one(f"#in-{e.field}", Input).value for e in self._entries}
        return texts | {"command": on_lines(texts.get("command", ""))}

    def _values(self) -> dict[str, str]:
        """What was typed: the fields that do not hold what they held at first."""
        values = {e.field: self.query_one(f"#in-{e.field}", Input).value for e in self._entries}
        return {name: text for name, text in values.items() if text != self._first.get(name, "")}

    @on(Input.Changed)
    def _check(self) -> None:
        self._keep(self._values())
        line = self.query_one("#line", Static)
        if self._sent is not None:
            self._wait()
            return
        try:
            action = self.action()
        except QueueError as error:
            first = (self.WORDS["first"], "muted")
            self.say(*((str(error), "bad") if self._values() else first))
            line.update("")
            return
        note = self.WORDS["enter"]
        if lines := self.texts()["command"].count("\n"):
            note = f"{lines + 1} lines, {NEWLINE} ends one   {note}"
        if run_at := self._values().get("run_at", "").strip():
            moment = parse_time(run_at, self._defaults.now)
            note = f"runs at {format_time(moment)}   {note}"
        self.say(note, "good")
        line.update(self.text((f"$ {action.command[:400]}", "muted")))

    def _keep(self, values: Mapping[str, str]) -> None:
        """Keep only these values in the draft."""
        for entry in self._entries:
            self._draft.pop(entry.field, None)
        self._draft.update(values)

    def _kept(self) -> dict[str, str]:
        fields = {entry.field for entry in self._entries}
        return {name: text for name, text in self._draft.items() if name in fields}

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_submit()

    def action_submit(self) -> None:
        if self._sent is not None:
            return  # enter does it once, also when the store is slow
        try:
            action = self.action()
        except QueueError as error:
            self.say(str(error), "bad")
            return
        self._sent = self._values()
        self._wait()
        self._send(action, self._ended)

    def _wait(self) -> None:
        self.say(self.WORDS["waits"], "warn")

    def _ended(self, error: Exception | None) -> None:
        """The action has ended. The form may have been closed or changed meanwhile."""
        sent, self._sent = self._sent, None
        here = self in self.app.screen_stack
        # Other forms use the same draft: one that was closed may have cleared it.
        typed = self._values() if here else self._kept()
        if error is None and typed == sent:
            self._keep({})
            self._done = True
        if not here:
            return
        if error is not None:
            self.say(str(error) or type(error).__name__, "bad")
        elif self._done and self.is_active:
            self.dismiss()
        elif not self._done:
            self.say(self.WORDS["since"], "good")

    def on_screen_resume(self) -> None:
        if self._done:  # the action ended while another screen was on top
            self.dismiss()

    def action_empty(self) -> None:
        for entry in self._entries:
            first = self._first.get(entry.field, "")
            self.query_one(f"#in-{entry.field}", Input).value = first

    def action_close(self) -> None:
        if self._sent is not None:
            self.console.say(self.WORDS["closed"], "warn")
        super().action_close()


class EnqueueScreen(Form):
    """A new job, with every field."""

    WORDS: ClassVar[dict[str, str]] = {
        "first": "type a command; ^e: $EDITOR   esc: cancel",
        "enter": "enter: enqueue   esc: cancel",
        "waits": "enqueuing: waits for the store; esc leaves, it is enqueued all the same",
        "closed": "… still enqueuing: waits for the store",
        "since": "enqueued as it was at enter; this is what you changed since",
    }

    def __init__(self, defaults: Defaults, draft: dict[str, str], send: Send) -> None:
        title = [("enqueue a job", "title"), ("  ^e edit  ^g empty", "muted")]
        super().__init__(title, ENTRIES, {}, defaults=defaults, draft=draft, send=send)

    def action(self) -> actions.Action:
        texts = self.texts()
        return actions.enqueue(job_of(texts, self._defaults), command_line_of(texts))


class EditFieldsScreen(Form):
    """The fields of a job that can be changed. Only those that were changed are sent."""

    WORDS: ClassVar[dict[str, str]] = {
        "first": "change a field; ^e: $EDITOR   esc: cancel",
        "enter": "enter: change it   esc: cancel",
        "waits": "changing: waits for the store; esc leaves, it is changed all the same",
        "closed": "… still changing: waits for the store",
        "since": "changed as it was at enter; this is what you changed since",
    }

    def __init__(self, job: Job, defaults: Defaults, draft: dict[str, str], send: Send) -> None:
        texts = field_texts(job)
        entries = [entry for entry in EDIT_ENTRIES if entry.field in texts]
        kept = any(entry.field in draft for entry in entries)
        title = [(f"edit {job.id}", "title"), ("  ^e edit  ^g as it is", "muted")]
        title += [("  a draft, not sent yet", "warn")] if kept else []
        super().__init__(title, entries, texts, defaults=defaults, draft=draft, send=send)
        self.job = job

    def action(self) -> actions.Action:
        changes = changes_of(self.job, self.texts(), self._defaults)
        if not changes:
            raise InvalidInput("nothing is changed yet")
        return admission_actions.edit_fields(self.job, changes)


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
