"""What an attempt writes, followed as it writes it."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from queuectl_core.logs import Output
from queuectl_core.times import format_bytes

from .drawing import Cell, draw, title_line
from .painted import Painted
from .slice import Slice

LOOK = 0.25
"""Seconds between looks for more output."""


class OutputPane(Painted, can_focus=True):
    """A window on an output of any size. ``follow``: stays at its end."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "down", key_display="j", show=False),
        Binding("k,up", "move(-1)", "up", key_display="k", show=False),
        Binding("g,home", "first", "first", key_display="g", show=False),
        Binding("G,end", "last", "last", key_display="G", show=False),
        Binding("ctrl+d", "half(1)", "half a page down", show=False),
        Binding("ctrl+u", "half(-1)", "half a page up", show=False),
        Binding("pagedown,ctrl+f,space", "half(2)", "page down", key_display="pgdn", show=False),
        Binding("pageup", "half(-2)", "page up", show=False),
        Binding("h,left", "side(-20)", "left", key_display="h", show=False),
        Binding("right", "side(20)", "right", show=False),
    ]

    class Turned(Message):
        """Following was switched, by a key or by moving away from the end."""

    def __init__(self, *, id: str = "output") -> None:  # noqa: A002
        super().__init__(id=id)
        self.follow = True
        self.left = 0
        self.slice: Slice | None = None

    def show(self, output: Output) -> None:
        """Show this output; more of one that is shown already keeps its place."""
        old = self.slice
        if old is not None and old.output.path == output.path and output.path is not None:
            old.output = output
            self.look()
            self.paint()
            return
        self.slice = Slice(output)
        if old is not None:
            self.slice.wrap = old.wrap
        self._measure()
        self.go_to_place()

    def go_to_place(self) -> None:
        """The end if it is followed, else the beginning."""
        if self.slice is not None:
            if self.follow:
                self.slice.go_last()
            else:
                self.slice.go_first()
        self.paint()

    def on_mount(self) -> None:
        self.set_interval(LOOK, self.look)

    def look(self) -> None:
        """See whether more was written."""
        if self.slice is not None and self.slice.grown():
            if self.follow:
                self.slice.go_last()
            self.paint()

    # -- keys -----------------------------------------------------------------------------

    def action_move(self, rows: int) -> None:
        if self.slice is not None:
            self.slice.move(rows)
            self._turn(self.slice.at_end if rows > 0 and self.follow else False)

    def action_half(self, halves: int) -> None:
        self.action_move(halves * max(1, (self.size.height - 1) // 2))

    def action_first(self) -> None:
        if self.slice is not None:
            self.slice.go_first()
            self._turn(False)

    def action_last(self) -> None:
        if self.slice is not None:
            self.slice.go_last()
            self._turn(self.slice.output.running)

    def action_side(self, cells: int) -> None:
        self.left = max(0, self.left + cells)
        self.paint()

    def on_mouse_scroll_down(self) -> None:
        self.action_move(3)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-3)

    def toggle_follow(self) -> None:
        """Follow the end, or stay here."""
        self.follow = not self.follow
        if self.follow and self.slice is not None:
            self.slice.go_last()
        self._turn(self.follow)

    def toggle_wrap(self) -> None:
        """Wrap long lines, or cut them at the edge."""
        if self.slice is not None:
            self.slice.wrap = not self.slice.wrap
            self.left = 0
            if self.follow:
                self.slice.go_last()
            self.paint()

    def _turn(self, follow: bool) -> None:
        changed, self.follow = follow != self.follow, follow
        self.paint()
        if changed:
            self.post_message(self.Turned())

    # -- drawing --------------------------------------------------------------------------

    def on_resize(self) -> None:
        self._measure()
        if self.follow and self.slice is not None:
            self.slice.go_last()
        super().on_resize()

    def _measure(self) -> None:
        if self.slice is not None:
            self.slice.height = max(1, self.size.height - 1)
            self.slice.width = max(1, self.size.width - 1)

    def _draw(self) -> list[Strip]:
        width = self.size.width
        parts: list[Cell] = [("output", "strong")]
        if self.slice is None:
            return [title_line(parts, width, self.ink, focused=self.has_focus)]
        output, held = self.slice.output, self.slice
        if output.number:
            parts.append((f" of attempt {output.number}", "text"))
        parts.append((f"  {format_bytes(held.size)}", "muted"))
        if output.running:
            parts.append(("  running", "busy"))
        if self.follow and output.running:
            parts.append(("  following", "good"))
        if held.wrap:
            parts.append(("  wrapped", "muted"))
        if not held.at_end:
            parts.append((f"  {held.fraction():.0%}", "muted"))
        if output.missing:
            parts.append((f"  {output.missing}", "warn"))
        lines = [title_line(parts, width, self.ink, focused=self.has_focus)]
        plain: Style = self.ink.text
        for text in held.rows():
            lines.append(draw([(" " + text[self.left : self.left + width * 2], plain)], width))
        if not held.lines:
            waiting = "nothing written yet" if output.running else "it wrote nothing"
            waiting = output.missing or waiting
            lines.append(draw([(" " + waiting, self.ink.muted)], width))
        return lines
