"""The screen of a job follows the job, and shows the important things also on a small terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.model import Attempt, Filter, Job, State
from queuectl_core.queue import Queue
from queuectl_tui.console.app import Console
from queuectl_tui.console.screens.detail import fields
from queuectl_tui.presentation.progress import progress_short

from .scenes import NOW, SUPERVISOR, opened, settled, text_of, typed, until

SIZE = (120, 40)
SMALL = (40, 12)


async def open_waiting(console: Console, pilot: Pilot[int]) -> str:
    """Open the page of a job that waits for another one, and for which twelve others wait."""
    async with Queue.open(console.connections.url, env={}, clock=lambda: NOW) as queue:
        await queue.enqueue(
            [
                {"id": "fetch", "command": "true"},
                {"id": "load", "command": "true", "after": ["fetch"]},
                *({"id": f"send-{n}", "command": "true", "after": ["load"]} for n in range(12)),
            ]
        )
    await settled(console, pilot)
    await pilot.press("slash", *typed("load"), "enter")
    await until(console, pilot, "/load")
    await settled(console, pilot)
    await pilot.press("enter")
    await until(console, pilot, "not started yet")
    return await settled(console, pilot)


def is_whole(console: Console) -> bool:
    """Whether no widget needs more lines than there are, so that no scrollbar is on the screen."""
    screen = console.screen
    return screen.max_scroll_y == 0 and not screen.show_vertical_scrollbar


async def test_the_fields_use_the_lines_that_are_free(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        text = await open_waiting(console, pilot)
        assert "└─ send-11  waiting" in text
        assert "J K scroll" not in text
        assert is_whole(console)


async def test_a_narrow_page_begins_with_the_progress(home: Path) -> None:
    async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW) as queue:
        [job] = await queue.scan(Filter((State.PROCESSING,)), 1)
    job = job._replace(command="make it " * 100, progress=40.0, progress_text="indexing")
    first, second = fields(job, NOW, 40)[:2]
    assert "40%" in "".join(text for text, _ in first)
    assert "make it" in "".join(text for text, _ in second)


def test_a_narrow_column_of_progress_keeps_the_time_that_is_left() -> None:
    assert progress_short(75, 60) == "75% 20s ███░░"
    assert progress_short(75, None) == "75% ███░░"


async def test_the_output_keeps_a_quarter_of_the_screen(home: Path) -> None:
    long = {"id": "long", "command": "word " * 1000}
    async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW - 60) as queue:
        await queue.enqueue([long])
        openings = [ClaimSlot("w3kd-3")] * 8
        await queue.store.settle_and_claim(ClaimRequest(SUPERVISOR.id, [], openings, NOW))
    async with opened(home, SIZE) as (console, pilot):
        await open_job(console, pilot, "long")
        assert console.screen.query_one("#output").size.height == 10
        assert "J K scroll" in text_of(console)
        assert is_whole(console)


async def test_a_small_screen_says_at_once_what_it_waits_for(home: Path) -> None:
    async with opened(home, SMALL) as (console, pilot):
        text = await open_waiting(console, pilot)
        assert "jobs  waits for 1; 12 wait for it" in text
        assert "why  WaitingFor: fetch" in text
        assert "J K scroll" in text


@pytest.mark.parametrize("key", ["j", "J"])
async def test_the_fields_can_be_scrolled_from_the_attempts(home: Path, key: str) -> None:
    async with opened(home, SMALL) as (console, pilot):
        await open_waiting(console, pilot)
        seen = ""
        for _ in range(35):
            await pilot.press(key)
            seen += text_of(console)
        assert "└─ send-11" in seen
        await pilot.press(*["k" if key == "j" else "K"] * 35)
        assert "waits for 1" in text_of(console)


async def test_the_reason_goes_when_the_job_is_free(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await open_waiting(console, pilot)
        await pilot.press("h")
        await until(console, pilot, "why  Held")
        await pilot.press("h")
        await until(console, pilot, "why  WaitingFor")


@pytest.mark.parametrize("size", [(30, 8), SMALL, (80, 24), SIZE])
async def test_a_message_does_not_change_the_layout(home: Path, size: tuple[int, int]) -> None:
    async with opened(home, size) as (console, pilot):
        await open_waiting(console, pilot)
        await pilot.press("h")  # its result is a message, and another field
        await until(console, pilot, "load is held")
        console.say("")
        await settled(console, pilot)
        panes = [widget for widget in console.screen.children if widget.id != "message"]
        before = [(widget.id, widget.region) for widget in panes]
        console.say("something " * 100, "bad")
        await until(console, pilot, "something")
        keys = console.screen.query_one("#keys").region
        message = console.screen.query_one("#message").region
        await settled(console, pilot)
        assert message.bottom == keys.y
        assert message.width == size[0]
        assert [(widget.id, widget.region) for widget in panes] == before
        assert size[1] < 12 or is_whole(console)


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
