"""Schedules in the console."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuectl_core.domain.errors import NotFound
from queuectl_core.queue import Queue
from queuectl_tui.console.widgets.table import LineTable

from .scenes import NOW, opened, settled, until
from .test_keys import said

SIZE = (120, 40)
SMALL = (40, 12)
HOSTILE = "[@click=app.quit]x[/] \x1b]0;owned\x07 \u202e"


@pytest.fixture
async def planned(home: Path) -> Path:
    """A home with three schedules; ``nightly`` is paused."""
    async with Queue.open(str(home / "queue.db"), env={"TZ": "UTC"}, clock=lambda: NOW) as queue:
        job = {"command": f"echo {HOSTILE}"}
        await queue.add_schedule("nightly", {"cron": "30 2 * * *", "tz": "Europe/Berlin"}, job)
        await queue.pause_schedule("nightly", HOSTILE)
        await queue.add_schedule("poll", {"every": "5m"}, job)
        await queue.run_schedule("poll")
        await queue.add_schedule("zero", {"cron": "0 0 30 2 *"}, job)
    return home


@pytest.mark.parametrize("size", [SIZE, SMALL])
async def test_6_shows_the_schedules(planned: Path, size: tuple[int, int]) -> None:
    async with opened(planned, size) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("6")
        text = await until(console, pilot, "6 schedules 3  1 paused")
        text = await until(console, pilot, "nightly: paused by ")
        assert "\x1b" not in text
        assert "\u202e" not in text
        [row] = [line for line in text.splitlines() if line.startswith(" poll")]
        assert "in 5m" in row
        if size == SIZE:
            assert "pending" in row
            assert "every 5m" in row
        await pilot.press("escape")
        await until(console, pilot, "jobs")


async def test_pause_resume_and_run(planned: Path) -> None:
    async with opened(planned, SIZE) as (console, pilot):
        reader = console.connections.reader
        await settled(console, pilot)
        await pilot.press("6")
        await until(console, pilot, "6 schedules 3")
        await pilot.press("P")
        await until(console, pilot, "Resume schedule nightly?")
        await pilot.press("y")
        assert "$ queuectl schedule resume nightly" in await said(console, pilot, "is resumed")
        await until(console, pilot, "P pause")
        await pilot.press("j", "P")
        await until(console, pilot, "Pause schedule poll?")
        await pilot.press("y")
        await said(console, pilot, "poll is paused")
        assert (await reader.schedule("poll")).info.schedule.paused
        await pilot.press("f")
        await until(console, pilot, "Run schedule poll now?")
        await pilot.press("y")
        await said(console, pilot, "the previous run has not started")
        await pilot.press("j", "f")
        await until(console, pilot, "Run schedule zero now?")
        await pilot.press("y")
        assert "$ queuectl schedule run zero" in await said(console, pilot, "is enqueued")
        assert len((await reader.schedule("zero")).runs) == 1


async def test_a_filter_takes_the_letters(planned: Path) -> None:
    async with opened(planned, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("6")
        await until(console, pilot, "6 schedules 3")
        await pilot.press("slash", *"NIGHTf")
        await until(console, pilot, "none matches NIGHTf")
        await pilot.press("backspace", "enter")
        await until(console, pilot, "6 schedules 1  1 paused  /NIGHT")
        await pilot.press("P")
        await until(console, pilot, "Resume schedule nightly?")
        await pilot.press("n", "slash", "escape")
        await until(console, pilot, "6 schedules 3")
        async with Queue.open(console.connections.url, env={"TZ": "UTC"}) as queue:
            await queue.add_schedule("other", {"every": "1h"}, {"command": ["make", "Report"]})
        await until(console, pilot, "6 schedules 4")
        await pilot.press("slash", *"report", "enter")  # text of its command
        await until(console, pilot, "6 schedules 1  /report")
        shown = console.screen.query_one("#schedules", LineTable).window.rows
        assert [info.schedule.name for info in shown] == ["other"]
        await pilot.press("slash", "escape")
        await until(console, pilot, "6 schedules 4")
        assert len((await console.connections.reader.schedule("poll")).runs) == 1


async def test_remove_asks(planned: Path) -> None:
    async with opened(planned, SIZE) as (console, pilot):
        reader = console.connections.reader
        await settled(console, pilot)
        await pilot.press("6")
        await until(console, pilot, "6 schedules 3")
        await pilot.press("j", "D")
        await until(console, pilot, "Remove schedule poll?")
        await pilot.press("n")
        await said(console, pilot, "nothing was changed")
        assert (await reader.schedule("poll")).runs
        await pilot.press("D", "y")
        await said(console, pilot, "schedule poll is removed")
        with pytest.raises(NotFound):
            await reader.schedule("poll")
        await until(console, pilot, "6 schedules 2")


@pytest.mark.parametrize("size", [SIZE, SMALL])
async def test_enter_shows_the_next_times(planned: Path, size: tuple[int, int]) -> None:
    async with opened(planned, size) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("6")
        await until(console, pilot, "6 schedules 3")
        await pilot.press("enter")
        text = await until(console, pilot, "schedule nightly")
        if size == SIZE:
            text = await until(console, pilot, "next times if it were resumed now")
            assert "02:30 CE" in text
        assert "\x1b" not in text
        await pilot.press("escape")
        await until(console, pilot, "6 schedules 3")


async def test_read_only(planned: Path) -> None:
    async with opened(planned, SIZE, read_only=True) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("6")
        await until(console, pilot, "6 schedules 3")
        before = await console.connections.reader.schedules()
        page = console.screen
        for key in "PfD":
            await pilot.press(key)
            await settled(console, pilot)
            assert console.screen is page, f"{key} asks nothing"
        assert await console.connections.reader.schedules() == before
