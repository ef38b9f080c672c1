"""A frame that waits for the terminal is drawn later, together with all later changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.geometry import Region

from queuectl_tui.console.terminal import TerminalDriver

from .scenes import opened, settled


class ReadyTerminal(TerminalDriver):
    """A terminal that is always ready for a frame. Nothing is written to it."""

    def __init__(self) -> None:  # it has no terminal
        pass

    ready = True  # type: ignore[assignment]
    gone = False  # type: ignore[assignment]

    def ask(self, *, now: bool = False) -> None:
        pass


async def test_what_was_painted_while_a_frame_waited_is_drawn_with_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the past, drawing the delayed frame dropped the refresh of a widget that waited for the
    screen's timer. The screen stayed outdated until something else changed there."""
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
