"""The output of an attempt, also while it is written."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len, split_text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from queuectl_core.domain.times import format_bytes
from queuectl_core.operations.attempt_output import AttemptOutput

from ...presentation.columns import Cell
from .line_widget import MOVES, LineWidget
from .output_viewport import OutputViewport
from .strips import draw, fit, title_line

LOOK = 0.25
"""Seconds between checks for more output."""

NOT_READ = AttemptOutput(0, None, b"", running=True, total=0)
"""Stands for the output until it is read for the first time."""


class OutputPane(LineWidget, can_focus=True):
    """Shows a part of an output of any size. ``follow``: stays at the end."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *MOVES,
        Binding("pagedown,ctrl+f,space", "half(2)", "page down", key_display="pgdn", show=False),
        Binding("pageup", "half(-2)", "page up", show=False),
        Binding("h,left", "side(-20)", "left", key_display="h", show=False),
        Binding("right", "side(20)", "right", show=False),
    ]

    class Turned(Message):
        """Following was switched on or off, by a key or by moving."""

    def __init__(self, *, id: str = "output") -> None:  # noqa: A002
        super().__init__(id=id)
        self.follow = True
        self.left = 0
        self.viewport = OutputViewport(NOT_READ)

    def show(self, output: AttemptOutput) -> None:
        """Show this output. If it is shown already, its position is kept."""
        old = self.viewport
        if old.output.path == output.path and output.path is not None:
            ended = old.output.running and not output.running
            offset = output.after(old.place, old.file) if ended else old.place
            old.output, old.file = output, old.file or output.file_id()
            if ended and offset != old.place and not self.follow:
                old.go_to(offset)  # dropped bytes have moved the rest
            elif ended and self.follow:
                old.go_last()
            else:
                self.look()
            self.paint()
            return
        self.viewport = OutputViewport(output)
        self.viewport.wrap = old.wrap
        self._measure()
        self.go_to_place()

    def go_to_place(self) -> None:
        if self.follow:
            self.viewport.go_last()
        else:
            self.viewport.go_first()
        self.paint()

    def on_mount(self) -> None:
        self.set_interval(LOOK, self.look)

    def look(self) -> None:
        if self.viewport.grown():
            if self.follow:
                self.viewport.go_last()
            self.paint()

    def action_move(self, rows: int) -> None:
        self.viewport.move(rows)
        self._turn(self.viewport.at_end if rows > 0 and self.follow else False)

    def action_half(self, halves: int) -> None:
        self.action_move(halves * max(1, (self.size.height - 1) // 2))

    def action_first(self) -> None:
        self.viewport.go_first()
        self._turn(False)

    def action_last(self) -> None:
        self.viewport.go_last()
        self._turn(self.viewport.output.running)

    def action_side(self, cells: int) -> None:
        self.left = max(0, self.left + cells)
        self.paint()

    def on_mouse_scroll_down(self) -> None:
        self.action_move(3)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-3)

    def toggle_follow(self) -> None:
        self.follow = not self.follow
        if self.follow:
            self.viewport.go_last()
        self._turn(self.follow)

    def toggle_wrap(self) -> None:
        self.viewport.rewrap(wrap=not self.viewport.wrap)
        self.left = 0
        if self.follow:
            self.viewport.go_last()
        self.paint()

    def _turn(self, follow: bool) -> None:
        changed, self.follow = follow != self.follow, follow
        self.paint()
        if changed:
            self.post_message(self.Turned())

    def on_resize(self) -> None:
        self._measure()
        if self.follow:
            self.viewport.go_last()
        else:
            self.viewport.rewrap(wrap=self.viewport.wrap)
        super().on_resize()

    def _measure(self) -> None:
        self.viewport.height = max(1, self.size.height - 1)
        self.viewport.width = max(2, self.size.width - 2)

    def _title(self, held: OutputViewport) -> list[Cell]:
        output = held.output
        parts: list[Cell] = [("output", "strong")]
        if output is NOT_READ:
            return parts
        if output.number:
            parts.append((f" of attempt {output.number}", "text"))
        parts.append((f"  {format_bytes(held.size - held.dropped)}", "muted"))
        if output.running and output.number:
            parts.append(("  running", "busy"))
            if self.follow:
                parts.append(("  following", "good"))
        if held.wrap:
            parts.append(("  wrapped", "muted"))
        if not held.at_end:
            parts.append((f"  {held.fraction():.0%}", "muted"))
        if output.number and output.missing:
            parts.append((f"  {output.missing}", "warn"))
        return parts

    def _draw(self) -> list[Strip]:
        width, roles = self.size.width, self.roles
        held = self.viewport
        lines = [title_line(self._title(held), width, roles, focused=self.has_focus)]
        room = max(2, width - 2)
        for row in held.visible():
            text, more = cropped(row.text, self.left, room)
            before = "‹" if self.left and row.text else "↳" if row.continued else " "
            style = roles.warn if row.mark else roles.text
            cells = [(before, roles.muted), (fit(text, room), style)]
            lines.append(draw([*cells, ("›" if more else " ", roles.muted)], width))
        if not held.lines:
            lines.append(draw([(" " + nothing(held.output), roles.muted)], width))
        return lines


def nothing(output: AttemptOutput) -> str:
    """Why there is no output to show."""
    if output is NOT_READ:
        return ""
    if output.number == 0:
        return "it has not run yet" if output.running else "it never ran"
    return output.missing or ("nothing written yet" if output.running else "it wrote nothing")


def cropped(text: str, left: int, width: int) -> tuple[str, bool]:
    """The part of ``text`` from cell ``left`` on, ``width`` cells wide, and whether more
    follows."""
    if text.isascii():
        return text[left : left + width], len(text) > left + width
    text = split_text(text, left)[1] if left < cell_len(text) else ""
    return split_text(text, width)[0] if text else "", cell_len(text) > width
