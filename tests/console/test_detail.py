"""The screen of a job follows the job, and shows the important things also on a small terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.model import Attempt, Job
from queuectl_core.queue import Queue
from queuectl_tui.console.app import Console

from .scenes import NOW, SUPERVISOR, opened, settled, text_of, typed, until

SIZE = (120, 40)


async def open_job(console: Console, pilot: Pilot[int], name: str) -> None:
    await settled(console, pilot)
    await pilot.press("slash", *typed(name), "enter")
    await until(console, pilot, f"/{name}")
    await settled(console, pilot)
    await pilot.press("enter")
    await until(console, pilot, "output of attempt 1")


async def run_again(console: Console, name: str) -> None:
    """Begin another attempt of this job. It does not end."""
    async with Queue.open(console.connections.url, env={}, clock=lambda: NOW) as queue:
        await queue.retry([await queue.find(name)])
        openings = [ClaimSlot("w3kd-3")] * 8  # enough for all due jobs
        claimed = (
            await queue.store.settle_and_claim(ClaimRequest(SUPERVISOR.id, [], openings, NOW))
        ).claimed
        assert name in [job.id for job in claimed]


async def test_the_newest_attempt_is_followed_by_the_next(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await open_job(console, pilot, "sync-1")
        await run_again(console, "sync-1")
        await until(console, pilot, "output of attempt 2")


async def test_output_that_is_being_read_stays(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await open_job(console, pilot, "sync-1")
        await pilot.press("tab", "k")
        await run_again(console, "sync-1")
        await until(console, pilot, "attempts 2")
        await settled(console, pilot)
        assert "output of attempt 1" in text_of(console)


async def test_a_small_screen_shows_why_it_failed(home: Path) -> None:
    async with opened(home, (50, 14)) as (console, pilot):
        await open_job(console, pilot, "sync-1")
        assert "exit 12: connection to" in text_of(console)


async def test_every_key_of_it_is_named_in_our_words(home: Path) -> None:
    async with opened(home, (120, 60)) as (console, pilot):
        await open_job(console, pilot, "sync-1")
        await pilot.press("question_mark")
        text = await until(console, pilot, "this screen")
        assert "shift+tab     previous pane" in text
        assert "Quit" not in text


async def test_a_job_that_has_not_run_says_so(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("slash", *typed("thumb-1"), "enter")
        await until(console, pilot, "/thumb-1")
        await settled(console, pilot)
        await pilot.press("l")
        text = await until(console, pilot, "it has not run yet")
        assert "on this host" not in text
        assert "running" not in text


async def test_a_long_line_is_wrapped_or_marked_at_the_edge(home: Path) -> None:
    async with opened(home, (50, 14)) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("slash", *typed("report"), "enter", "l")
        await until(console, pilot, "page 60")
        path = next((home / "queue.db.d" / "logs").glob("*/*.log"))
        path.write_text("".join(f"{n:04}," for n in range(1000)) + "\n")
        text = await until(console, pilot, "0000,0001")
        assert "›" in text
        await pilot.press("w")
        text = await until(console, pilot, "0999,")
        assert len([row for row in text.splitlines() if "↳" in row]) == 9


async def test_many_attempts_leave_room_for_the_output_on_a_small_screen(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = Queue.attempts

    async def five(queue: Queue, job: Job) -> list[Attempt]:
        [first] = await attempts(queue, job)
        return [first._replace(number=number) for number in range(1, 6)]

    monkeypatch.setattr(Queue, "attempts", five)
    async with opened(home, (40, 12)) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("slash", *typed("sync-1"), "enter")
        await settled(console, pilot)
        await pilot.press("enter")
        await until(console, pilot, "attempts 5")
        await settled(console, pilot)
        assert console.screen.max_scroll_y == 0
        assert "output of attempt 5" in text_of(console)
