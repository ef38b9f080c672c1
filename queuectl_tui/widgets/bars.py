"""The lines around the panes: title, banner and messages, keys."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

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
    """A sentence in one style, on as many lines as it needs, up to :attr:`LINES`."""

    LINES = 4

    def say(self, left: Sequence[Cell], right: Sequence[Cell] = ()) -> None:
        self._left, self._right = left, right
        self._fit()
        self.paint()

    def on_resize(self) -> None:
        self._fit()
        super().on_resize()

    def _rows(self) -> list[str]:
        words = wrap(self.text.strip(), max(8, self.size.width - 2))[: self.LINES]
        return [" " + row for row in words] or [""]

    def _fit(self) -> None:
        if self.size.width and self.size.height != len(self._rows()):
            self.styles.height = len(self._rows())

    def _draw(self) -> list[Strip]:
        over = self.ink.bar if self._filled else Style()
        style = self.ink.of(self._left[0][1]) if self._left else self.ink.text
        blank = Style() + over
        return [draw([(row, style + over)], self.size.width, blank=blank) for row in self._rows()]


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
        width = self.size.width
        cells: list[tuple[str, Style]] = []
        keys = self._keys()
        used = sum(_length(*keys[action]) for action in ALWAYS if action in keys)
        for action, (key, description) in keys.items():
            if action not in ALWAYS:
                used += _length(key, description)
                if used > width:
                    used -= _length(key, description)
                    continue
            cells += [(f" {key}", self.ink.title), (f" {description} ", self.ink.muted)]
        return [draw(cells, width)]

    def _keys(self) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled and binding.action not in found:
                key = self.app.get_key_display(binding)
                describe = getattr(self.screen, "describe", None)
                said = describe(binding.action) if describe else None
                found[binding.action] = (key, said or binding.description)
        return found
