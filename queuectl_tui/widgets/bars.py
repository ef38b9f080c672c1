"""The lines around the panes: title, banner and messages, keys."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.strip import Strip
from textual.timer import Timer

from .drawing import Cell, draw, fit
from .painted import Painted


class Bar(Painted):
    """One line of cells, the first ones at the left, the others at the right."""

    DEFAULT_CSS = "Bar { height: 1; }"

    _left: Sequence[Cell] = ()
    _right: Sequence[Cell] = ()

    def __init__(self, *, id: str, filled: bool = False) -> None:  # noqa: A002
        super().__init__(id=id)
        self._filled = filled

    def say(self, left: Sequence[Cell], right: Sequence[Cell] = ()) -> None:
        """Show these cells; of the left ones the last is cut to fit."""
        self._left, self._right = left, right
        self.paint()

    @property
    def text(self) -> str:
        """What it says, without styles."""
        return "".join(text for text, _ in (*self._left, *self._right))

    def _draw(self) -> list[Strip]:
        width = self.size.width
        over = self.ink.bar if self._filled else Style()
        right = [(text, self.ink.of(name) + over) for text, name in self._right]
        room = max(0, width - sum(cell_len(text) for text, _ in right))
        cells: list[tuple[str, Style]] = []
        for text, name in self._left:
            shown = text if cell_len(text) <= room else fit(text, room)
            cells.append((shown, self.ink.of(name) + over))
            room -= cell_len(shown)
        cells.append((" " * room, over))
        return [draw([*cells, *right], width)]


class Notice(Bar):
    """A sentence in one style, on as many lines as it needs, but for a few at the most.

    ``passing``: it goes after a while, and then it is one blank line.
    """

    LINES, SMALL_LINES = 4, 2
    """Lines at the most; the second: on a screen of less than 20."""

    PASSES, BAD_PASSES = 10.0, 30.0
    """Seconds until a message goes; the second: what went wrong."""

    def __init__(self, *, id: str, filled: bool = False, passing: bool = False) -> None:  # noqa: A002
        super().__init__(id=id, filled=filled)
        self._passing = passing
        self._timer: Timer | None = None

    def say(self, left: Sequence[Cell], right: Sequence[Cell] = ()) -> None:
        self._left, self._right = left, right
        if self._passing:
            if self._timer is not None:
                self._timer.stop()
            bad = any(style == "bad" for _, style in left)
            seconds = self.BAD_PASSES if bad else self.PASSES
            self._timer = self.set_timer(seconds, self._pass) if left else None
        self._fit()
        self.paint()

    def _pass(self) -> None:
        self._timer = None
        self.say(())

    def on_resize(self) -> None:
        self._fit()
        super().on_resize()

    def _rows(self) -> list[str]:
        width = max(8, self.size.width - 2)
        text = self.text.strip()
        words = [text] if text.isascii() and len(text) <= width else wrap(text, width)
        most = self.LINES if self.app.size.height >= 20 else self.SMALL_LINES
        if len(words) > most:
            words = [*words[: most - 1], fit(words[most - 1] + " …", width)]
        return [" " + row for row in words] or [""]

    def _fit(self) -> None:
        if self.size.width and self.size.height != len(self._rows()):
            self.styles.height = len(self._rows())

    def _draw(self) -> list[Strip]:
        over = self.ink.bar if self._filled else Style()
        style = self.ink.of(self._left[0][1]) if self._left else self.ink.text
        blank = Style() + over
        width = self.size.width
        return [draw([(row, style + over)], width, blank=blank) for row in self._rows()]


ALWAYS = ("back", "help")
"""Actions that are on the key bar however narrow it is."""


def _length(key: str, description: str) -> int:
    return cell_len(key) + cell_len(description) + 3


class KeyBar(Painted):
    """The keys that do something now, from the bindings; as many as fit."""

    DEFAULT_CSS = "KeyBar { height: 1; dock: bottom; }"

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.paint())

    def _draw(self) -> list[Strip]:
        cells: list[tuple[str, Style]] = []
        for key, description, _ in self._fitting():
            cells += [(f" {key}", self.ink.title), (f" {description} ", self.ink.muted)]
        return [draw(cells, self.size.width)]

    def on_click(self, event: events.Click) -> None:
        left = 0
        for key, description, name in self._fitting():
            right = left + _length(key, description)
            if left <= event.x < right:
                self.app.simulate_key(name)
                return
            left = right

    def _fitting(self) -> list[tuple[str, str, str]]:
        """(key as it is shown, what it does, its name) of those there is room for."""
        width, keys = self.size.width, self._keys()
        used = sum(_length(*keys[action][:2]) for action in ALWAYS if action in keys)
        found = []
        for action, (key, description, name) in keys.items():
            if action not in ALWAYS:
                used += _length(key, description)
                if used > width:
                    used -= _length(key, description)
                    continue
            found.append((key, description, name))
        return found

    def _keys(self) -> dict[str, tuple[str, str, str]]:
        found: dict[str, tuple[str, str, str]] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled and binding.action not in found:
                key = self.app.get_key_display(binding)
                describe = getattr(self.screen, "describe", None)
                said = describe(binding.action) if describe else None
                found[binding.action] = (key, said or binding.description, binding.key)
        return found
