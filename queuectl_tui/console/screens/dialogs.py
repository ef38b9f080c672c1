"""Questions: yes or no, and how many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from queuectl_core.domain.errors import InvalidInput, QueueError
from queuectl_core.domain.jobspec import check_queue
from queuectl_core.domain.text import clean_line
from queuectl_core.queue import check_count

from ...presentation.actions import Action
from ..action_runner import ConsolePart
from ..theme import styles_of

T = TypeVar("T")

ENTER = "enter: confirm   esc: cancel"


class Dialog(ConsolePart, ModalScreen[T]):
    """A box in the middle of the screen."""

    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog > #box {
        width: 90%; max-width: 76; height: auto; max-height: 100%;
        background: $surface; border: round $primary; padding: 0 1;
    }
    Dialog Input { height: 1; border: none; padding: 0; background: $panel; }
    Dialog Input:focus { border: none; background: $background; }
    Dialog Static { height: auto; }
    Dialog .row { height: 1; }
    Dialog .row Input { width: 1fr; }
    Dialog #choice { margin-top: 1; }
    Dialog.-short #choice { margin-top: 0; }
    Dialog #more { height: auto; scrollbar-size-vertical: 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close", key_display="esc"),
        Binding("down", "app.focus_next", "next", show=False),
        Binding("up", "app.focus_previous", "previous", show=False),
    ]

    def row(self, name: str, box: Input) -> ComposeResult:
        with Horizontal(classes="row"):
            yield Label(self.text((name, "muted")))
            box.cursor_blink = False
            yield box

    def say(self, text: str, style: str) -> None:
        self.query_one("#says", Static).update(self.text((text, style)))

    def action_close(self) -> None:
        self.dismiss(None)

    def text(self, *parts: tuple[str, str]) -> Text:
        """Clean text in the theme's styles; never markup."""
        roles = styles_of(self.app.current_theme)
        return Text.assemble(*((text, roles.of(style)) for text, style in parts))


GAP = 2
"""The index of the gap between the two answers."""

LOW = 20
"""Lines of a screen that has no blank line above the answers (``-short``)."""

MORE = "  j k: more"


class Confirm(Dialog[bool]):
    """Asks before an action. Only ``y``, or choosing yes, confirms."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no", key_display="n"),
        Binding("left,right,tab,h,l", "other", "choose", show=False),
        Binding("enter", "chosen", "choose", show=False),
        Binding("j,down", "scroll(1)", "down", show=False),
        Binding("k,up", "scroll(-1)", "up", show=False),
        Binding("ctrl+d,pagedown", "scroll(5)", "down", show=False),
        Binding("ctrl+u,pageup", "scroll(-5)", "up", show=False),
    ]

    def __init__(self, action: Action) -> None:
        super().__init__()
        self.action = action
        self._yes = False

    def compose(self) -> ComposeResult:
        details = "\n".join(self.action.details)
        with Container(id="box"):
            with VerticalScroll(id="more", can_focus=False):
                yield Static(self.text((self.action.question or "", "strong")), id="question")
                if details:
                    yield Static(self.text((details, "text")), id="details")
                yield Static(self.text((f"$ {self.action.command[:600]}", "muted")), id="command")
            yield Static(id="choice")

    def on_mount(self) -> None:
        self._show()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """The answers are always visible: what is too long above them is scrolled."""
        height = self.size.height
        rest = 3 if height < LOW else 4  # the frame, the answers, a blank line
        self.query_one("#more").styles.max_height = max(1, height - rest)
        self.call_after_refresh(self._show)

    @property
    def _answers(self) -> list[tuple[str, str]]:
        yes, no = ("cursor", "text") if self._yes else ("text", "cursor")
        return [(" y ", "title"), (" yes ", yes), ("    ", "text"), (" n ", "title"), (" no ", no)]

    def _show(self) -> None:
        more = self.query_one("#more")
        choice = self.query_one("#choice", Static)
        answers = self._answers  # always in one row, so that a click finds the right one
        width = sum(len(text) for text, _ in answers) + len(MORE)
        if more.max_scroll_y and width <= more.size.width:
            answers.append((MORE, "muted"))
        choice.update(self.text(*answers))

    def action_scroll(self, lines: int) -> None:
        self.query_one("#more").scroll_relative(y=lines, animate=False)

    @on(events.Click, "#choice")
    def _clicked(self, event: events.Click) -> None:
        left = 0
        for at, (text, _) in enumerate(self._answers):
            if left <= event.x < left + len(text) and at != GAP:
                self.dismiss(at < GAP)
            left += len(text)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def action_other(self) -> None:
        self._yes = not self._yes
        self._show()

    def action_chosen(self) -> None:
        self.dismiss(self._yes)


class Ask(Dialog[str | None]):
    """Asks for one text. Enter answers when nothing is wrong with it."""

    def __init__(
        self,
        question: Sequence[tuple[str, str]],
        field: Input,
        check: Callable[[str], object],
        keys: str = ENTER,
    ) -> None:
        """``check`` raises QueueError for a wrong text. It is called while the text is typed."""
        super().__init__()
        self._question = question
        self._field = field
        self._check = check
        self._keys = keys

    def compose(self) -> ComposeResult:
        with Container(id="box"):
            yield Static(self.text(*self._question))
            self._field.cursor_blink = False
            yield self._field
            yield Static(id="says")

    def on_mount(self) -> None:
        self._field.focus()

    @property
    def trouble(self) -> str:
        """What is wrong with the text; empty: nothing."""
        try:
            self._check(self._field.value)
        except QueueError as error:
            return str(error)
        return ""

    @on(Input.Changed)
    def _typed(self) -> None:
        trouble = self.trouble
        self.say(trouble or self._keys, "bad" if trouble else "muted")

    @on(Input.Submitted)
    def action_submit(self) -> None:
        if not self.trouble:
            self.dismiss(self._field.value)


class AskWorkers(Dialog[tuple[int, Sequence[str]] | None]):
    """Asks how many workers to start, and for which queues."""

    DEFAULT_CSS = """
    AskWorkers .row Label { width: 9; }
    """

    def compose(self) -> ComposeResult:
        with Container(id="box"):
            yield Static(
                self.text(("Start how many workers, in the background, on this host?", "strong"))
            )
            fields = (("count", "1", ""), ("queue", "", "all of them; several: mail,reports"))
            for name, value, hint in fields:
                yield from self.row(name, Input(value, placeholder=hint, id=name))
            yield Static(id="says")

    def on_mount(self) -> None:
        self.query_one("#count", Input).focus()

    def _read(self) -> tuple[int, Sequence[str]]:
        count = worker_count(self.query_one("#count", Input).value)
        names = self.query_one("#queue", Input).value.replace(",", " ").split()
        return count, [check_queue(name) for name in names]

    @on(Input.Changed)
    def _check(self) -> None:
        try:
            self._read()
        except QueueError as error:
            self.say(str(error), "bad")
        else:
            self.say(f"tab: queue   {ENTER}", "muted")

    @on(Input.Submitted)
    def _submitted(self) -> None:
        try:
            answer = self._read()
        except QueueError:
            return  # the error is on the screen
        self.dismiss(answer)


def worker_count(text: str) -> int:
    """The number of workers. InvalidInput when it is not a valid number."""
    word = text.strip()
    if not (word.isascii() and word.isdigit() and len(word) < 6):
        raise InvalidInput(f"'{clean_line(text, 40)}' is not a number of workers", "1, 2, 3 …")
    check_count(int(word))
    return int(word)
