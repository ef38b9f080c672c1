"""The lines around the panes: title, banner and messages, keys."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.strip import Strip
from textual.timer import Timer
from textual.widgets import Input

from ...presentation.columns import Cell
from .line_widget import LineWidget
from .strips import NARROW, draw, fit


class Bar(LineWidget):
    """One line of cells, some at the left and some at the right."""

    DEFAULT_CSS = "Bar { height: 1; }"

    _left: Sequence[Cell] = ()
    _right: Sequence[Cell] = ()

    def __init__(self, *, id: str, filled: bool = False) -> None:  # noqa: A002
        super().__init__(id=id)
        self._filled = filled

    def say(self, left: Sequence[Cell], right: Sequence[Cell] = ()) -> None:
        """Show these cells. The left ones are cut if there is not enough space."""
        self._left, self._right = left, right
        self.paint()

    @property
    def text(self) -> str:
        return "".join(text for text, _ in (*self._left, *self._right))

    def _draw(self) -> list[Strip]:
        width = self.size.width
        over = self.roles.bar if self._filled else Style()
        right = [(text, self.roles.of(name) + over) for text, name in self._right]
        room = max(0, width - sum(cell_len(text) for text, _ in right))
        cells: list[tuple[str, Style]] = []
        for text, name in self._left:
            shown = text if cell_len(text) <= room else fit(text, room)
            cells.append((shown, self.roles.of(name) + over))
            room -= cell_len(shown)
        cells.append((" " * room, over))
        return [draw([*cells, *right], width)]


class Notice(Bar):
    """A sentence in one style, on as many lines as it needs, up to a limit.

    ``passing``: it disappears after some time. Then it is a blank line, or no line on a narrow
    screen, where the keys need the space.
    """

    DEFAULT_CSS = "Notice.none { display: none; }"

    LINES, SMALL_LINES = 4, 2
    """The limit of lines; the second one on a screen with less than 20 lines."""

    PASSES, BAD_PASSES = 10.0, 30.0
    """Seconds until a message disappears; the second one for errors."""

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
        width = max(8, self.app.size.width - 2)
        text = self.text.strip()
        words = [text] if text.isascii() and len(text) <= width else wrap(text, width)
        most = self.LINES if self.app.size.height >= 20 else self.SMALL_LINES
        if len(words) > most:
            words = [*words[: most - 1], fit(words[most - 1] + " …", width)]
        return [" " + row for row in words] or [""]

    def on_mount(self) -> None:
        self._fit()

    def _fit(self) -> None:
        if self._passing:
            self.set_class(not self.text and self.app.size.width < NARROW, "none")
        if self.styles.height is None or self.styles.height.value != len(self._rows()):
            self.styles.height = len(self._rows())

    def _draw(self) -> list[Strip]:
        over = self.roles.bar if self._filled else Style()
        style = self.roles.of(self._left[0][1]) if self._left else self.roles.text
        blank = Style() + over
        width = self.size.width
        return [draw([(row, style + over)], width, blank=blank) for row in self._rows()]


class Stopped(Notice):
    """Why the screen is not up to date, on the screens without a title bar; no line if it is."""

    def __init__(self) -> None:
        super().__init__(id="stopped", filled=True)

    def tell(self, reason: Cell) -> None:
        """``reason``: empty if it is up to date."""
        self.set_class(bool(reason[0]), "on")
        self.say([reason] if reason[0] else ())

    @property
    def lines(self) -> int:
        """How many lines it takes."""
        return len(self._rows()) if self.has_class("on") else 0


ALWAYS = ("back", "help")
"""Actions that are always on the key bar."""

Key = tuple[str, str, str]
"""A key as it is shown, its description, and its name."""


def _length(key: Key) -> int:
    return cell_len(key[0]) + cell_len(key[1]) + 3


class KeyBar(LineWidget):
    """The keys that do something now, as many as fit."""

    DEFAULT_CSS = "KeyBar { height: 1; dock: bottom; }"

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.paint())
        self._fit()

    def on_resize(self) -> None:
        self._fit()
        super().on_resize()

    def _fit(self) -> None:
        self.styles.height = 2 if self.app.size.width < NARROW else 1

    def _draw(self) -> list[Strip]:
        lines = []
        for keys in self._fitting():
            cells: list[tuple[str, Style]] = []
            for key, description, _ in keys:
                cells += [(f" {key}", self.roles.title), (f" {description} ", self.roles.muted)]
            lines.append(draw(cells, self.size.width))
        return lines

    def on_click(self, event: events.Click) -> None:
        left = 0
        for key in self._fitting()[event.y]:
            right = left + _length(key)
            if left <= event.x < right:
                self.app.simulate_key(key[2])
                return
            left = right

    def _fitting(self) -> list[list[Key]]:
        keys = self._keys()
        lines: list[list[Key]] = [[] for _ in range(max(1, self.size.height))]
        room = [self.size.width] * len(lines)
        room[-1] -= sum(_length(keys[action]) for action in ALWAYS if action in keys)
        for action, key in keys.items():
            if action in ALWAYS:
                lines[-1].append(key)
                continue
            for at, line in enumerate(lines):
                if room[at] >= _length(key):
                    room[at] -= _length(key)
                    line.append(key)
                    break
        return lines

    def _keys(self) -> dict[str, Key]:
        found: dict[str, Key] = {}
        types = isinstance(self.screen.focused, Input)
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if not binding.show or not active.enabled or binding.action in found:
                continue
            key = self.app.get_key_display(binding)
            if types and len(key) == 1 and key != "⏎":
                continue  # this key types a character
            describe = getattr(self.screen, "describe", None)
            said = describe(binding.action) if describe else None
            if said != "":
                found[binding.action] = (key, said or binding.description, binding.key)
        return found
