"""A widget that draws its own lines and sends the terminal only what changed in them."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from ..theme import Ink, ink_of
from .drawing import Cell, differences


class Painted(Widget):
    """Subclasses say what their lines are (:meth:`_draw`); :meth:`paint` does the rest."""

    parts: Sequence[Cell] = ()
    """The title, for those that have one; see :func:`~.drawing.title_line`."""
    _lines: Sequence[Strip] = ()
    _ink: Ink | None = None

    @property
    def ink(self) -> Ink:
        """The styles of the theme in force."""
        if self._ink is None:
            self._ink = ink_of(self.app.current_theme)
        return self._ink

    def _draw(self) -> list[Strip]:
        """The lines, from the top; missing ones are blank."""
        raise NotImplementedError

    def paint(self) -> None:
        """Draw again; only the cells that differ from what is shown are sent."""
        width, height = self.size
        if not width or not height:
            return
        base = self.ink.base
        lines = [line.apply_style(base) for line in self._draw()[:height]]
        lines += [Strip.blank(width, base)] * (height - len(lines))
        old, self._lines = self._lines, lines
        if len(old) != len(lines):
            self.refresh()
            return
        regions: list[Region] = []
        for y, (before, after) in enumerate(zip(old, lines, strict=True)):
            regions += differences(before, after, y)
        if regions:
            self.refresh(*regions)

    def restyle(self) -> None:
        """The theme has changed."""
        self._ink = None
        self._lines = ()
        self.paint()

    def render_line(self, y: int) -> Strip:
        if y < len(self._lines):
            return self._lines[y]
        return Strip.blank(self.size.width, self.ink.base)

    def on_resize(self) -> None:
        self._lines = ()
        self.paint()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.paint()
