"""A widget that draws its own lines and sends the terminal only what changed in them."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from ...presentation.columns import Cell
from ..theme import RoleStyles, styles_of
from .strips import differences

MOVES: list[BindingType] = [
    Binding("j,down", "move(1)", "down", key_display="j", show=False),
    Binding("k,up", "move(-1)", "up", key_display="k", show=False),
    Binding("g,home", "first", "first", key_display="g", show=False),
    Binding("G,end", "last", "last", key_display="G", show=False),
    Binding("ctrl+d", "half(1)", "half a page down", show=False),
    Binding("ctrl+u", "half(-1)", "half a page up", show=False),
]
"""The keys of panes with rows."""


class LineWidget(Widget):
    """A widget whose subclasses define its lines (:meth:`_draw`)."""

    parts: Sequence[Cell] = ()
    """The title, for those that have one; see :func:`.strips.title_line`."""
    _drawing: Sequence[Strip] = ()
    """The lines as they were drawn, without the background style."""
    _lines: Sequence[Strip] = ()
    _drawn_for: Size | None = None
    """The size for which the lines were drawn; None: there are none."""
    _roles: RoleStyles | None = None

    def on_hide(self, event: events.Hide) -> None:
        """Keep the focus: the screen says which pane has it.

        Textual takes it from a widget that a layout hides, and gives it to another one or to none.
        But that message comes late. Meanwhile a key may have selected this pane, which is visible
        again, and the next keys would be lost.
        """
        event.prevent_default()

    @property
    def roles(self) -> RoleStyles:
        if self._roles is None:
            self._roles = styles_of(self.app.current_theme)
        return self._roles

    def _draw(self) -> list[Strip]:
        """The lines, from the top; missing ones are blank."""
        raise NotImplementedError

    def paint(self) -> None:
        """Draw again. Only cells that have changed are sent."""
        size = self.size
        if not size:
            return
        old, same_size = self._lines, self._drawn_for == size
        lines = self._drawn()
        if not same_size:
            self.refresh()
            return
        regions: list[Region] = []
        for y, (before, after) in enumerate(zip(old, lines, strict=True)):
            if after is not before:
                regions += differences(before, after, y)
        if regions:
            self.refresh(*regions)

    def _drawn(self) -> Sequence[Strip]:
        width, height = size = self.size
        base = self.roles.base
        drawing = self._draw()[:height]
        drawing += [Strip.blank(width)] * (height - len(drawing))
        if self._drawn_for == size:
            # Most lines have not changed, and styling a line costs as much as drawing it.
            shown = zip(self._drawing, self._lines, drawing, strict=True)
            lines = [old if new == was else new.apply_style(base) for was, old, new in shown]
        else:
            lines = [line.apply_style(base) for line in drawing]
        self._drawing, self._lines, self._drawn_for = drawing, lines, size
        return lines

    def restyle(self) -> None:
        self._roles = self._drawn_for = None
        self.paint()

    def render_line(self, y: int) -> Strip:
        # Textual asks for lines before it reports a size. They are drawn now, because the first
        # frame would be empty otherwise.
        lines = self._lines if self._drawn_for == self.size else self._drawn()
        return lines[y] if y < len(lines) else Strip.blank(self.size.width, self.roles.base)

    def on_resize(self) -> None:
        self.paint()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.paint()
