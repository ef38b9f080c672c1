"""``8``: events on the whole screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuectl_core.queue import Queue
from queuectl_tui.console.screens import events

from .scenes import NOW, opened, text_of, until


async def fill(home: Path) -> None:
    async with Queue.open(
        str(home / "queue.db"), env={}, clock=lambda: NOW - 60, via="cli"
    ) as queue:
        jobs = await queue.enqueue([{"id": f"job-{n}", "command": "true"} for n in range(30)])
        await queue.cancel(jobs[:1])
        await queue.config_set("lease", "20")
        await queue.pause_queue("mail", reason="[bold]x[/bold] \x1b[31m")


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (200, 60)], ids=str)
async def test_events_are_shown_filtered_and_open_their_job(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    await fill(tmp_path)
    async with opened(tmp_path, size) as (console, pilot):
        await pilot.press("8")
        text = await until(console, pilot, "8 events")
        await until(console, pilot, "queue.paused")
        await until(console, pilot, "[bold]x")
        assert "\x1b" not in text
        await pilot.press("slash", *"job.canc")
        await until(console, pilot, "job.cancelled")
        await pilot.press("enter")
        await until(console, pilot, "/job.canc")
        assert "config.changed" not in text_of(console)
        await pilot.press("enter")
        await until(console, pilot, "job-0")
        await pilot.press("escape")
        await until(console, pilot, "8 events")
        await pilot.press("escape")
        await until(console, pilot, "4 jobs" if size[0] > 40 else "jobs")


async def test_a_new_event_appears_by_itself(tmp_path: Path) -> None:
    await fill(tmp_path)
    async with opened(tmp_path, (80, 24)) as (console, pilot):
        await pilot.press("8")
        await until(console, pilot, "job.cancelled")
        async with Queue.open(str(tmp_path / "queue.db"), env={}, clock=lambda: NOW) as queue:
            await queue.config_set("max-crashes", "7")
        await until(console, pilot, "max-crashes")


async def test_a_page_leads_to_the_others(tmp_path: Path) -> None:
    await fill(tmp_path)
    async with opened(tmp_path, (80, 24)) as (console, pilot):
        for key, name in (("8", "events"), ("6", "schedules"), ("9", "hooks"), ("5", "queues")):
            await pilot.press(key)
            await until(console, pilot, f"{key} {name}")
        await pilot.press("escape")
        await until(console, pilot, "4 jobs")


async def test_older_events_are_read_when_the_cursor_comes_near_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PAGE", 10)
    monkeypatch.setattr(events, "NEAR", 3)
    await fill(tmp_path)
    async with opened(tmp_path, (80, 24)) as (console, pilot):
        await pilot.press("8")
        await until(console, pilot, "8 events 10+")
        await pilot.press("G")
        await until(console, pilot, "8 events 20+")
        await pilot.press("G")
        await until(console, pilot, "8 events 33 ")
        await pilot.press("G")
        await until(console, pilot, "job-0")
