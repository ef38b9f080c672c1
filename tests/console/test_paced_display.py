"""A frame that had to wait for the terminal is drawn later, with all that was painted meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.geometry import Region

from queuectl_tui.console.terminal import TerminalDriver

from .scenes import opened, settled


class ReadyTerminal(TerminalDriver):
    """A terminal that can be sent a frame at any time, and to which nothing is written."""

    def __init__(self) -> None:  # it has no terminal
        pass

    ready = True  # type: ignore[assignment]
    gone = False  # type: ignore[assignment]

    def ask(self, *, now: bool = False) -> None:
        pass


async def test_what_was_painted_while_a_frame_waited_is_drawn_with_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A widget that waits for the screen's timer was forgotten when the frame before was drawn: the
    screen showed what was no longer true, until something else changed there."""
    async with opened(home, (80, 24)) as (console, pilot):
        await settled(console, pilot)
        drawn: set[int] = set()

        def display(_: App[Any], __: Any, update: Any) -> None:
            drawn.update(y for y, *_ in update.spans)

        monkeypatch.setattr(App, "_display", display)
        monkeypatch.setattr(console, "_driver", ReadyTerminal())
        keys = console.screen.query_one("#keys")
        console._owed = {Region(0, 5, 80, 1)}
        console.screen._dirty_widgets.add(keys)
        keys._dirty_regions.add(keys.region)
        keys._repaint_regions.add(keys.region.reset_offset)
        console._pay()
        monkeypatch.undo()
        assert drawn == {5, keys.region.y}
