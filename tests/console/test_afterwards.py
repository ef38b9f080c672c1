"""What keys leave in the store: only what they are for has changed, in each pane and direction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from textual.pilot import Pilot

from queuectl_core.domain.model import Filter, Job, State
from queuectl_core.queue import Queue
from queuectl_tui.console.app import Console
from queuectl_tui.console.widgets.table import LineTable

from .scenes import NOW, opened, settled, text_of, typed, until
from .test_keys import filtered, said

SIZE = (120, 40)
PENDING, CANCELLED, DEAD = State.PENDING, State.CANCELLED, State.DEAD
RESIZE = ("resize-1", "resize-2", "resize-3")
SYNC = ("sync-1", "sync-2", "sync-3")
THUMBS = ("thumb-1", "thumb-2", "thumb-3")


async def rows(console: Console) -> dict[str, Job]:
    """All jobs of the store."""
    return {job.id: job for job in await console.connections.reader.scan(None, 1000)}


async def dead(console: Console) -> set[str]:
    return {name for name, job in (await rows(console)).items() if job.state is DEAD}


async def changed(console: Console, before: dict[str, Job]) -> dict[str, State | None]:
    """The jobs that are not as they were, and their states now. None: the job is gone."""
    now = await rows(console)
    names = {name for name, job in before.items() if now.get(name) != job} | now.keys() - before
    return {name: now[name].state if name in now else None for name in names}


def stops(console: Console) -> dict[str, str | None]:
    """What each worker is told."""
    with closing(sqlite3.connect(console.connections.url)) as raw:
        return dict(raw.execute("SELECT id, stop FROM workers ORDER BY id").fetchall())


def all_are(names: object, state: State | None) -> dict[str, State | None]:
    return dict.fromkeys(names, state)  # type: ignore[call-overload, no-any-return]


async def answer(console: Console, pilot: Pilot[int], question: str, done: str) -> str:
    """Answer a question with yes. Returns what was said when it was done."""
    await until(console, pilot, question)
    await pilot.press("y")
    return await said(console, pilot, f"✓ {done}")


async def shows(pilot: Pilot[int], condition: Callable[[], bool]) -> None:
    """Wait until the screen shows what is in the store now."""
    async with asyncio.timeout(20):
        while not condition():
            await pilot.pause(0.02)


# -- one pane or the other ----------------------------------------------------------------


async def test_R_in_the_dlq_is_for_the_dlq_and_in_the_jobs_for_the_jobs(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        console.main.show_state(State.COMPLETED)
        await settled(console, pilot)
        before, died = await rows(console), await dead(console)
        await pilot.press("3", "R")
        shown = await answer(console, pilot, "Retry 13 dead jobs?", "retried 13 jobs")
        assert "$ queuectl dlq retry --all" in shown
        assert await changed(console, before) == all_are(died, PENDING)
        before = await rows(console)
        await settled(console, pilot)
        await pilot.press("4", "R")
        await answer(console, pilot, "Retry 24 completed jobs?", "retried 24 jobs")
        names = [name for name in before if name.startswith("mail-")]
        assert await changed(console, before) == all_are(names, PENDING)


async def test_R_in_a_filtered_dlq_is_for_the_causes_that_are_shown(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("3")
        await filtered(console, pilot, " on")
        dlq = console.main.dlq
        await shows(pilot, lambda: [group.count for group in dlq.window.rows] == [3])
        await settled(console, pilot)
        assert "R retry 3 dead" in text_of(console).splitlines()[-1]
        before = await rows(console)
        await pilot.press("R")
        shown = await answer(console, pilot, "Retry 3 dead jobs?", "retried 3 jobs")
        assert "dlq retry --all --reason 'exit 1: no space left on device'" in shown
        assert await changed(console, before) == all_are(RESIZE, PENDING)
        await filtered(console, pilot, "nothing like it")
        await shows(pilot, lambda: not dlq.window.rows)
        before = await rows(console)
        console.main.action_retry_all()  # the key does nothing; the palette has the verb
        await said(console, pilot, "no job that matches is in a state for that")
        assert await changed(console, before) == {}


@pytest.mark.parametrize("key", ["r", "D"])
async def test_a_cause_is_retried_or_deleted_alone_and_several_together(
    home: Path, key: str
) -> None:
    word, after = ("Retry", PENDING) if key == "r" else ("Delete", None)
    done = "retried" if key == "r" else "deleted"
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        before = await rows(console)
        await pilot.press("3", "space", "G", "space", key)  # the first and the last cause
        await answer(console, pilot, f"{word} 10 dead jobs", f"{done} 10 jobs")
        gone = await changed(console, before)
        assert len(gone) == 10
        assert set(gone.values()) == {after}
        left = await dead(console)
        assert left in ({*RESIZE}, {*SYNC})
        await shows(pilot, lambda: len(console.main.dlq.window.rows) == 1)
        before = await rows(console)
        await pilot.press("g", key)
        await answer(console, pilot, f"{word} 3 dead jobs", f"{done} 3 jobs")
        assert await changed(console, before) == all_are(left, after)


async def test_c_is_for_the_jobs_or_for_what_the_workers_run(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb-2")
        before = await rows(console)
        await pilot.press("2", "j", "c")
        await answer(console, pilot, "Cancel index?", "index is being ended")
        after = await rows(console)
        assert await changed(console, before) == {"index": State.PROCESSING}
        assert after["index"].cancel_requested
        await pilot.press("4", "c")
        await answer(console, pilot, "Cancel thumb-2?", "thumb-2 is cancelled")
        assert await changed(console, after) == {"thumb-2": CANCELLED}


# -- workers ------------------------------------------------------------------------------


async def test_x_lets_jobs_finish_and_stops_only_the_chosen_workers(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        before = await rows(console)
        await pilot.press("2", "x")
        await answer(console, pilot, "Stop w3kd-1?", "stopping w3kd-1, 1 job to finish first")
        assert stops(console) == {"w3kd-1": "drain", "w3kd-2": None, "w3kd-3": None}
        await pilot.press("j", "space", "space", "g", "x")  # the cursor is on another worker
        shown = await answer(console, pilot, "Stop 2 workers?", "stopping w3kd-2, w3kd-3")
        assert "$ queuectl worker stop w3kd-2 w3kd-3" in shown
        assert set(stops(console).values()) == {"drain"}
        assert await changed(console, before) == {}


async def test_x_in_the_jobs_stops_all_workers_after_their_jobs(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("2", "space", "4", "x")  # a mark in the other pane does not count
        await until(console, pilot, "Stop all 3 workers?")
        await pilot.press("n")
        await said(console, pilot, "nothing was changed")
        assert set(stops(console).values()) == {None}
        await pilot.press("x")
        await answer(console, pilot, "Stop all 3 workers?", "stopping w3kd-1, w3kd-2, w3kd-3")
        assert set(stops(console).values()) == {"drain"}


# -- marks --------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [("space", "j", "V"), ("G", "V", "g", "V")], ids=["down", "up"])
async def test_a_range_is_marked_in_both_directions(home: Path, keys: tuple[str, ...]) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb")
        before = await rows(console)
        await pilot.press(*keys)
        await settled(console, pilot)
        await pilot.press("c")
        await answer(console, pilot, "Cancel 3 marked jobs: 3 pending?", "cancelled 3 jobs")
        assert await changed(console, before) == all_are(THUMBS, CANCELLED)


@pytest.mark.parametrize("pane", ["jobs", "workers", "dlq"])
async def test_esc_clears_the_filter_and_then_the_marks(home: Path, pane: str) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press({"workers": "2", "dlq": "3", "jobs": "4"}[pane], "j", "space")
        await settled(console, pilot)
        assert "esc clear marks" in text_of(console).splitlines()[-1]
        (table,) = [one for one in console.main.panes if one.id == pane]
        marked = list(table.marks)
        assert len(marked) == 1
        await pilot.press("escape")
        await settled(console, pilot)
        assert not table.marks
        assert "1 marked" not in text_of(console)
        if pane != "jobs":  # a filter of the jobs leaves the marks of the other panes alone
            await pilot.press("space")
            console.main.jobs.filter(Filter((DEAD,)))
            await pilot.press("escape")
            await settled(console, pilot)
            assert not console.main.jobs.filtered
            assert len(table.marks) == 1
            await pilot.press("escape")
            await settled(console, pilot)
            assert not table.marks


async def test_marks_are_for_actions_and_only_in_states_that_allow_them(home: Path) -> None:
    """Of marked jobs in several states an action takes those that it can change."""
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        before = await rows(console)
        await pilot.press("space", "space", "space")  # cancelled, pending (later), pending
        assert [job.state for job in console.main.jobs.chosen()] == [CANCELLED, PENDING, PENDING]
        await pilot.press("G", "c")
        await answer(console, pilot, "Cancel 2 marked jobs: 2 pending?", "cancelled 2 jobs")
        assert await changed(console, before) == all_are(("later", "thumb-3"), CANCELLED)
        before = await rows(console)
        jobs = console.main.jobs
        await shows(pilot, lambda: {job.state for job in jobs.chosen()} == {CANCELLED})
        await pilot.press("D")
        await answer(console, pilot, "Delete 3 marked jobs: 3 cancelled", "deleted 3 jobs")
        assert await changed(console, before) == all_are(("typo", "later", "thumb-3"), None)
        await shows(pilot, lambda: not jobs.marks)


# -- the cursor while jobs arrive -----------------------------------------------------------


async def test_the_row_under_the_cursor_stays_before_the_first_move(home: Path) -> None:
    """The jobs have the focus from the start, so the next key is for the row that is shown."""
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        assert console.main.jobs.current.id == "typo"  # type: ignore[union-attr]
        async with Queue.open(console.connections.url, env={}) as queue:
            await queue.enqueue([{"id": "newer", "command": "true"}])
        await until(console, pilot, "newer")
        await settled(console, pilot)
        before = await rows(console)
        await pilot.press("r")
        await said(console, pilot, "✓ typo is due again")
        assert await changed(console, before) == {"typo": PENDING}


async def test_without_the_focus_the_jobs_show_the_newest(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("2")
        async with Queue.open(console.connections.url, env={}) as queue:
            await queue.enqueue([{"id": "newer", "command": "true"}])
        await until(console, pilot, "newer")
        await settled(console, pilot)
        assert console.main.jobs.current.id == "newer"  # type: ignore[union-attr]
        await pilot.press("4", "j")  # somebody has moved there: it stays, also without the focus
        await settled(console, pilot)
        here = console.main.jobs.current
        await pilot.press("2")
        async with Queue.open(console.connections.url, env={}) as queue:
            await queue.enqueue([{"id": "newest", "command": "true"}])
        await until(console, pilot, "newest")
        await settled(console, pilot)
        assert console.main.jobs.current == here


# -- holding --------------------------------------------------------------------------------


async def test_h_holds_the_free_ones_of_the_marked_jobs_and_then_releases_all(home: Path) -> None:
    async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW) as queue:
        await queue.hold([await queue.find("thumb-2")])
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb")
        before = await rows(console)
        await pilot.press("space", "space", "space", "h")
        await answer(console, pilot, "Hold 2 marked jobs: 2 pending?", "held 2 jobs")
        assert await changed(console, before) == all_are(("thumb-1", "thumb-3"), State.WAITING)
        jobs = console.main.jobs
        await shows(pilot, lambda: all(job.held for job in jobs.chosen()))
        before = await rows(console)
        await pilot.press("h")
        await answer(console, pilot, "Release 3 marked jobs: 3 waiting?", "released 3 jobs")
        assert await changed(console, before) == all_are(THUMBS, PENDING)


async def test_release_in_the_palette_leaves_jobs_that_are_not_held(home: Path) -> None:
    async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW) as queue:
        await queue.hold([await queue.find("thumb-2")])
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb")
        before = await rows(console)
        await pilot.press("space", "space", "space")
        console.main.release()
        await said(console, pilot, "✓ thumb-2 is released  $ queuectl release thumb-2")
        assert await changed(console, before) == {"thumb-2": PENDING}


# -- the palette is for the whole DLQ, whatever the jobs show ---------------------------------


@pytest.mark.parametrize("verb", ["dlq retry", "dlq purge"])
async def test_the_verbs_of_the_dlq_take_no_filter_of_the_jobs(home: Path, verb: str) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "mail")
        before, died = await rows(console), await dead(console)
        await pilot.press("colon", *typed(verb), "enter")
        word, done = ("Retry", "retried") if verb == "dlq retry" else ("Delete", "deleted")
        await answer(console, pilot, f"{word} 13 dead jobs", f"{done} 13 jobs")
        after = PENDING if verb == "dlq retry" else None
        assert await changed(console, before) == all_are(died, after)


# -- dialogs --------------------------------------------------------------------------------


YES = [("y",), ("left", "enter"), ("tab", "right", "h", "l", "left", "enter")]
NO = [("n",), ("escape",), ("q",), ("enter",), ("left", "right", "enter"), ("tab", "h", "enter")]


async def test_the_keys_of_a_question(home: Path) -> None:
    """Each key confirms or cancels as it says. No other key does."""
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        names = [f"mail-{n}" for n in range(10, 10 + len(YES))]
        for keys in [*NO, ("j", "k", "x", "D", "enter")]:
            before = await rows(console)
            console.main.jobs.filter(Filter(search=names[0]))
            await settled(console, pilot)
            await pilot.press("D")
            await until(console, pilot, f"Delete {names[0]}")
            await pilot.press(*keys)
            await said(console, pilot, "nothing was changed")
            console.last_message = ""
            assert console.screen is console.main
            assert await changed(console, before) == {}, keys
        for name, keys in zip(names, YES, strict=True):
            before = await rows(console)
            console.main.jobs.filter(Filter(search=name))
            await settled(console, pilot)
            await pilot.press("D")
            await until(console, pilot, f"Delete {name}")
            await pilot.press(*keys)
            await said(console, pilot, f"✓ {name} is deleted")
            assert await changed(console, before) == {name: None}, keys


# -- keys that change nothing -----------------------------------------------------------------


async def test_y_copies_what_the_pane_shows(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb")
        await pilot.press("space", "space", "y")
        await said(console, pilot, "copied thumb-3 and 1 more")
        assert console.clipboard == "thumb-3 thumb-2"
        await pilot.press("2", "j", "y")
        await said(console, pilot, "copied w3kd-2")
        assert console.clipboard == "w3kd-2"
        await pilot.press("5")
        await until(console, pilot, "5 queues 1")
        await pilot.press("y")
        await said(console, pilot, "copied default")
        assert console.clipboard == "default"
        await pilot.press("8")
        await until(console, pilot, "8 events")
        await settled(console, pilot)
        event = console.screen.query_one("#events", LineTable).current
        assert event is not None
        job_id = event.job_id
        await pilot.press("y")
        await said(console, pilot, f"copied {job_id}")
        assert console.clipboard == job_id


async def test_l_and_enter_in_the_workers_are_for_the_job_of_the_worker(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb")
        await pilot.press("2", "j", "l")
        await until(console, pilot, " index ")
        assert type(console.screen).__name__ == "OutputScreen"
        await pilot.press("escape", "enter")
        await until(console, pilot, "reindex --all")
        assert type(console.screen).__name__ == "DetailScreen"
        await pilot.press("escape", "j", "l", "enter")  # this worker is idle
        await settled(console, pilot)
        assert console.screen is console.main


async def test_n_and_N_move_in_the_pane_that_has_the_focus(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        main = console.main
        for key, table in zip("1234", main.panes, strict=True):
            await pilot.press(key, "g")
            await settled(console, pilot)
            others = [one.current for one in main.panes if one is not table]
            first = table.current
            await pilot.press("n")
            assert table.current == table.window.rows[1]
            await pilot.press("N")
            assert table.current == first
            assert [one.current for one in main.panes if one is not table] == others


async def test_c_is_for_the_jobs_of_the_marked_workers(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        before = await rows(console)
        await pilot.press("2", "space", "space", "G", "c")  # the cursor is on an idle one
        await answer(console, pilot, "Cancel 2 marked jobs: 2 processing?", "cancelled 2 jobs")
        now = State.PROCESSING
        assert await changed(console, before) == {"report-q3": now, "index": now}
        after = await rows(console)
        assert all(after[name].cancel_requested for name in ("report-q3", "index"))


async def test_brackets_keep_the_text_of_the_filter(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb-")
        await pilot.press("right_square_bracket")
        await until(console, pilot, "4 jobs 3  pending  /thumb-")
        before = await rows(console)
        await settled(console, pilot)
        await pilot.press("R")  # none of these can be retried
        await said(console, pilot, "no job that matches is in a state for that")
        assert await changed(console, before) == {}
        await pilot.press("left_square_bracket", "left_square_bracket")
        await until(console, pilot, "4 jobs 0  cancelled  /thumb-")
