"""The minimum size of the screen. A smaller screen shows one line that says so, and nothing else.

Two reasons. Textual fails on a screen that is smaller: page down in the palette raises KeyError
when its list has no row (four lines or fewer), and a palette that is four columns wide raises
ValueError. And what does not fit cannot be read, so no key may act on it.

So Textual is never told of a smaller screen. It computes the layout for the minimum size, and what
it draws is not sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual import events
from textual.app import App
from textual.geometry import Size

if TYPE_CHECKING:
    from rich.console import RenderableType
    from textual.screen import Screen

MINIMUM = Size(30, 8)
"""Columns and lines in which a question and its answers, a form and the palette can be used."""

TOO_SMALL = "too small: ctrl+q quits"

ALWAYS = {"ctrl+l", "ctrl+q", "ctrl+z"}
"""Keys that work on a screen that is too small. Others are ignored."""


class MinimumSize(App[int]):
    """An app whose screens are never smaller than :data:`MINIMUM`."""

    _terminal_size: Size | None = None
    """The real size; None: the one that Textual knows."""

    @property
    def size(self) -> Size:
        return at_least(super().size)

    @property
    def too_small(self) -> bool:
        size = self._terminal_size or super().size
        return at_least(size) != size

    def is_left_out(self, event: events.Event) -> bool:
        """Whether this input is ignored, because nobody could see what it does."""
        return self.too_small and not (isinstance(event, events.Key) and event.key in ALWAYS)

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Resize):
            await super().on_event(event)
            return
        was_too_small, self._terminal_size = self.too_small, event.size
        size = at_least(event.size)
        await super().on_event(events.Resize(size, size, size, event.pixel_size))
        if self.too_small or was_too_small:  # Textual may not see a change of size
            self.action_draw_again()

    def action_draw_again(self) -> None:
        """Send all of the screen again: something else may have written on it."""
        if self.too_small:
            self._say_too_small()
        elif self.screen_stack:
            self.screen.refresh(layout=True)

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        if not self.too_small:
            super()._display(screen, renderable)

    def _say_too_small(self) -> None:
        if self._driver is not None and not self.is_headless and self._terminal_size is not None:
            self._driver.write(f"\x1b[0m\x1b[2J\x1b[H{TOO_SMALL[: self._terminal_size.width]}")


def at_least(size: Size) -> Size:
    """``size``, but not less than the minimum."""
    return Size(max(size.width, MINIMUM.width), max(size.height, MINIMUM.height))
