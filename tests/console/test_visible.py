"""An action changes what is on the screen, and a question says what it will change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual.pilot import Pilot

from queuectl_core.domain.model import Filter, State
from queuectl_core.queue import Queue
from queuectl_tui.console.app import Console
from queuectl_tui.console.palette import commands

from .scenes import opened, settled, text_of, typed, until
from .test_keys import filtered, said, state_of

SIZE = (120, 40)


def keys_line(console: Console) -> str:
    return text_of(console).splitlines()[-1]


async def test_a_filter_takes_marks_and_the_anchor_of_a_range_away(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("space", "space")
        await until(console, pilot, "2 marked")
        await filtered(console, pilot, "mail")
        jobs = console.main.jobs
        assert not jobs.marks
        await pilot.press("j", "j", "V")  # marks only this row, because no row was marked before
        await settled(console, pilot)
        assert [job.id for job in jobs.chosen()] == [jobs.window.rows[2].id]
        assert "1 marked" in text_of(console)


async def test_the_filter_of_the_workers_takes_their_marks_away(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("2", "space", "space")
        await until(console, pilot, "2 marked")
        await filtered(console, pilot, "w3kd-3")
        assert not console.main.worker_table.marks


async def test_marks_of_jobs_that_are_gone_or_changed_state_are_taken_away(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "resize")
        await pilot.press("space", "space", "space")
        await until(console, pilot, "3 marked")
        async with Queue.open(console.connections.url, env={}) as queue:
            await queue.remove([await queue.find("resize-1")])
        await until(console, pilot, "2 marked")
        console.main.show_state(State.DEAD)
        await settled(console, pilot)
        await pilot.press("space", "space")
        await until(console, pilot, "2 marked")
        async with Queue.open(console.connections.url, env={}) as queue:
            await queue.retry([next(iter(console.main.jobs.marks.values()))])
        await until(console, pilot, "1 marked")


async def test_the_palette_acts_on_the_page_that_is_open(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb")
        await pilot.press("space", "space", "g", "enter")  # thumb-3 and -2 are marked
        await until(console, pilot, "attempts")
        assert "retry all" not in {c.title for c in commands(console, console.screen)}
        await pilot.press("colon", *typed("cancel"), "enter")
        text = await until(console, pilot, "Cancel thumb-3?")
        assert "marked" not in text


async def test_l_and_enter_are_for_the_row_under_the_cursor(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb")
        await pilot.press("space")
        await pilot.press("l")
        await settled(console, pilot)
        assert text_of(console).lstrip().startswith("thumb-2")


async def test_x_in_a_pane_of_workers_without_one_stops_none(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("2")
        await filtered(console, pilot, "nowhere")
        await pilot.press("x")
        await settled(console, pilot)
        assert len(console.screen_stack) == 1
        assert "stop" not in keys_line(console)


async def test_the_keys_say_what_they_will_do(home: Path) -> None:
    async with opened(home, (160, 40)) as (console, pilot):
        await settled(console, pilot)
        assert "x stop all 3" in keys_line(console)
        assert "R retry 1 failed, 13 dead" in keys_line(console)
        await pilot.press("2")
        await settled(console, pilot)
        assert "x stop worker" in keys_line(console)
        await pilot.press("3")
        await settled(console, pilot)
        assert "R retry 13 dead" in keys_line(console)
        assert "r retry 7 dead" in keys_line(console)
        assert "D delete 7 dead" in keys_line(console)
        await pilot.press("4")
        await filtered(console, pilot, "thumb")
        await pilot.press("space", "space")
        await settled(console, pilot)
        assert "c cancel 2 marked" in keys_line(console)


async def ask_to_retry_all(console: Console, pilot: Pilot[int]) -> str:
    await pilot.press("R")
    return await until(console, pilot, "Retry ")


async def test_R_leaves_completed_and_cancelled_jobs_alone(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        text = await ask_to_retry_all(console, pilot)
        assert "Retry 14 jobs: 1 failed, 13 dead?" in text
        assert "left as they are: 24 completed, 1 cancelled" in text
        await pilot.press("y")
        command = "$ queuectl retry --all --state failed --state dead"
        assert command in await said(console, pilot, "retried 14 jobs")
        assert await console.connections.reader.count_range(Filter((State.COMPLETED,))) == 24
        console.main.show_state(State.COMPLETED)
        await settled(console, pilot)
        assert "Retry 24 completed jobs?" in await ask_to_retry_all(console, pilot)


@pytest.mark.parametrize("remembered", [20_000, 2], ids=["by key", "by filter"])
async def test_a_set_that_changed_before_the_answer_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    monkeypatch.setattr("queuectl_tui.presentation.actions.KEY_LIMIT", remembered)
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("3", "D")
        await until(console, pilot, "Delete 7 dead jobs")
        async with Queue.open(console.connections.url, env={}) as queue:
            await queue.retry([await queue.find("fetch-prices-3")])
        await pilot.press("y")
        await said(console, pilot, "deleted 6 of 7 jobs: the others changed")
        assert await state_of(console, "fetch-prices-3") is State.PENDING


async def remove_cancelled_while_one_is_cancelled(console: Console, pilot: Pilot[int]) -> None:
    """Ask to delete the only cancelled job. Another job is cancelled before the answer."""
    await settled(console, pilot)
    console.main.show_state(State.CANCELLED)
    console.main.remove_all()
    await until(console, pilot, "Delete 1 cancelled job")
    async with Queue.open(console.connections.url, env={}) as queue:
        await queue.cancel([await queue.find("thumb-1")])
    await pilot.press("y")


async def test_more_jobs_than_were_asked_about_are_told_as_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuectl_tui.presentation.actions.KEY_LIMIT", 0)  # the filter decides
    async with opened(home, SIZE) as (console, pilot):
        await remove_cancelled_while_one_is_cancelled(console, pilot)
        await said(console, pilot, "deleted 2 jobs (1 when you were asked)")


async def test_a_job_that_began_to_match_after_the_question_is_left_alone(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await remove_cancelled_while_one_is_cancelled(console, pilot)
        await said(console, pilot, "deleted 1 job")
        assert await state_of(console, "thumb-1") is State.CANCELLED


async def test_of_two_consoles_the_one_that_asked_first_deletes_nothing(home: Path) -> None:
    async with opened(home, SIZE) as (one, pilot), opened(home, SIZE) as (other, other_pilot):
        await filtered(one, pilot, "resize-1")
        await pilot.press("D")
        await until(one, pilot, "Delete resize-1")
        await filtered(other, other_pilot, "resize-1")
        await other_pilot.press("r")
        await said(other, other_pilot, "is due again")
        await pilot.press("y")
        await said(one, pilot, "job 'resize-1' is pending now; no remove was done")
        assert await state_of(one, "resize-1") is State.PENDING
        await asyncio.sleep(0)
