"""Each screen at three sizes, compared character by character.

``UPDATE_SNAPSHOTS=1 pytest tests/console/test_snapshots.py`` writes them again. Read the diff.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.color import Color

from queuectl_tui.console import inputs
from queuectl_tui.console.theme import DARK

from ..snapshots import same_as
from .scenes import SCENES, opened, play

SIZES = ((120, 40), (80, 24), (40, 12))
FOLDER = Path(__file__).parent / "snapshots"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", SCENES)
async def test_screen(
    name: str, size: tuple[int, int], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir("/")
    monkeypatch.setattr(inputs, "PATIENCE", 60.0)  # no message about waiting keys
    async with opened(home, size) as (console, pilot):
        text = await play(console, pilot, name)
    same_as(FOLDER / f"{name}-{size[0]}x{size[1]}.txt", text)
    assert len(text.split("\n")) == size[1]


async def test_the_wide_screen_has_everything_side_by_side(home: Path) -> None:
    async with opened(home, (200, 60)) as (console, pilot):
        text = await play(console, pilot, "console")
    assert any("2 workers" in line and "3 dlq" in line for line in text.splitlines())


@pytest.mark.parametrize("theme", ["queuectl-light", "ansi-dark", "ansi-light"])
async def test_themes_change_colours_only(home: Path, theme: str) -> None:
    async with opened(home, (120, 40)) as (console, pilot):
        before = await play(console, pilot, "console")
        console.theme = theme
        await pilot.pause()
        assert await play(console, pilot, "console") == before
        colors = {
            str(segment.style.color.type.name)
            for strip in console.main.jobs._lines
            for segment in strip
            if segment.style and segment.style.color
        }
        assert ("TRUECOLOR" in colors) == (theme == "queuectl-light")


async def test_no_color_draws_without_colours(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(home, (120, 40), env={"NO_COLOR": "1"}) as (console, pilot):
        await play(console, pilot, "console")
        assert console.native_ansi_color
        for strip in console.screen._compositor.render_strips():
            for segment in strip.apply_filter(console._filters[-1], None):  # type: ignore[arg-type]
                color = segment.style.color if segment.style else None
                assert color is None or color.is_default


async def test_dialogs_have_the_colours_of_the_theme_from_the_start(home: Path) -> None:
    async with opened(home, (120, 40)) as (console, pilot):
        await play(console, pilot, "enqueue")
        box = console.screen.query_one("#box")
        assert box.styles.background == Color.parse(DARK.surface or "")
