"""Queues, holds, edits and dependencies in the console. Each test looks at the store afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from queuectl_core.domain.model import Job, QueueSettings, State
from queuectl_core.queue import Queue
from queuectl_tui.console.app import Console
from queuectl_tui.console.palette import commands
from queuectl_tui.console.widgets import jobs as jobs_pane

from .scenes import NOW, opened, settled, text_of, typed, until
from .test_keys import filtered, said, state_of

SIZE = (120, 40)
SMALL = (40, 12)
HOSTILE = "[@click=app.quit]x[/] \x1b]0;owned\x07 \u202e"


@pytest.fixture
async def chain(home: Path) -> Path:
    """A home with queues and jobs that wait: ``load`` for ``fetch``, and ``mail`` for ``load``."""
    async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW - 60) as queue:
        await queue.enqueue(
            [
                {"id": "fetch", "command": "true"},
                {"id": "load", "command": "true", "after": ["fetch"]},
                {"id": "send", "command": "true", "after_any": ["load"]},
                {"id": "kept", "command": "true", "hold": True},
                {"id": "print-1", "command": "lp a", "queue": "print", "key": "laser"},
                {"id": "print-2", "command": "lp b", "queue": "print"},
            ]
        )
        await queue.set_queue("print", {"limit": 4, "per_host": 2, "rate": "60/1m"})
    return home


async def settings_of(console: Console, name: str) -> QueueSettings:
    return (await console.connections.reader.queue(name)).settings


async def job_of(console: Console, job_id: str) -> Job:
    return await console.connections.reader.find(job_id)


async def field(console: Console, pilot: Pilot[int], name: str, text: str) -> None:
    """Type ``text`` into a field of the form instead of what is there."""
    box = console.screen.query_one(f"#in-{name}", Input)
    box.focus()
    await pilot.pause()
    await pilot.press("home", "shift+end", "delete", *typed(text))


async def test_5_shows_the_queues_with_their_limits(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("5")
        text = await until(console, pilot, "5 queues 2")
        [row] = [line for line in text.splitlines() if line.startswith(" print")]
        assert row.split() == ["print", "open", "0/4", "2", "1m", "2", "60/1m", "3"]
        await pilot.press("escape")
        await until(console, pilot, "4 jobs")


async def test_the_queues_are_live(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("5")
        await until(console, pilot, "5 queues 2")
        async with Queue.open(console.connections.url, env={}, clock=lambda: NOW) as queue:
            await queue.enqueue([{"id": "new", "command": "true", "queue": "another"}])
            await queue.pause_queue("print", reason=HOSTILE)
        await until(console, pilot, "5 queues 3  1 paused")
        await pilot.press("G")
        text = await until(console, pilot, "print: paused by ")
        assert "another" in text
        assert "[@click=app.quit]x[/]" in text
        assert "\x1b" not in text
        assert "\u202e" not in text


async def test_P_pauses_the_queue_under_the_cursor_and_resumes_it(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("5")
        await until(console, pilot, "5 queues 2")
        await pilot.press("G", "P")
        await until(console, pilot, "Pause queue print?")
        await pilot.press("n")
        await said(console, pilot, "nothing was changed")
        assert not (await settings_of(console, "print")).paused(NOW)
        await pilot.press("P", "y")
        assert "$ queuectl queue pause print" in await said(console, pilot, "✓ queue print paused")
        assert (await settings_of(console, "print")).paused(NOW)
        await until(console, pilot, "P resume")
        await pilot.press("P")
        await until(console, pilot, "Resume queue print?")
        await pilot.press("y")
        assert "$ queuectl queue resume print" in await said(console, pilot, "print resumed")
        assert not (await settings_of(console, "print")).paused(NOW)


async def test_P_in_the_jobs_is_for_the_queue_of_the_job(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, "print-1")
        await pilot.press("P")
        await until(console, pilot, "Pause queue print?")
        await pilot.press("y")
        await said(console, pilot, "queue print paused")
        assert (await settings_of(console, "print")).paused(NOW)
        await until(console, pilot, "QueuePaused")
        await pilot.press("enter")
        await until(console, pilot, "not started yet")
        await pilot.press("P")
        await until(console, pilot, "Resume queue print?")


async def test_enter_on_a_queue_shows_its_jobs(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("5")
        await until(console, pilot, "5 queues 2")
        await pilot.press("G", "enter")
        await until(console, pilot, "4 jobs 2  queue print")
        await pilot.press("right_square_bracket")
        await until(console, pilot, "4 jobs 2  pending  queue print")
        await pilot.press("right_square_bracket")
        await until(console, pilot, "4 jobs 0  waiting  queue print")
        await pilot.press("escape")
        await until(console, pilot, "4 jobs 51 ")


async def test_who_paused_a_queue_is_shown_on_a_small_screen(chain: Path) -> None:
    async with Queue.open(str(chain / "queue.db"), env={}, clock=lambda: NOW) as queue:
        await queue.pause_queue("print", reason="no paper")
    async with opened(chain, SMALL) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("5")
        await until(console, pilot, "5 queues 2")
        await pilot.press("G")
        await until(console, pilot, "no paper")
        assert all(len(line) <= SMALL[0] for line in text_of(console).splitlines())


async def test_the_states_have_waiting_and_the_jobs_say_why(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await settled(console, pilot)
        text = text_of(console)
        assert " waiting                    3" in text
        rows = {line.split()[0]: line for line in text.split("4 jobs")[1].splitlines() if line}
        assert "WaitingFor" in rows["load"]
        assert "Held" in rows["kept"]
        assert "NotDue" in rows["later"]
        await pilot.press("right_square_bracket", "right_square_bracket")
        await until(console, pilot, "4 jobs 3  waiting")
    async with opened(chain, SMALL) as (console, pilot):
        assert "wait 3" in await settled(console, pilot)


async def test_reasons_are_read_for_the_rows_on_the_screen_only(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[str]] = []
    waits = Queue.waits

    async def counted(queue: Queue, jobs: Any) -> Any:
        asked.append({job.id for job in jobs})
        return await waits(queue, jobs)

    monkeypatch.setattr(Queue, "waits", counted)
    monkeypatch.setattr(jobs_pane, "THRIFT", 0)
    async with Queue.open(str(chain / "queue.db"), env={}, clock=lambda: NOW - 60) as queue:
        await queue.enqueue([{"id": f"more-{n}", "command": "true"} for n in range(300)])
    async with opened(chain, SIZE) as (console, pilot):
        await settled(console, pilot)
        assert asked
        assert all(len(ids) <= 40 for ids in asked)
        await pilot.press("right_square_bracket", "G")
        await settled(console, pilot)
        assert any("thumb-1" in ids for ids in asked)
        assert all(len(ids) <= 40 for ids in asked)


async def test_w_shows_every_reason_with_its_command(chain: Path) -> None:
    async with Queue.open(str(chain / "queue.db"), env={}, clock=lambda: NOW) as queue:
        await queue.pause_queue("print", seconds=600, reason=HOSTILE)
        await queue.hold([await queue.find("print-1")])
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, "print-1")
        await pilot.press("w")
        text = await until(console, pilot, "why print-1")
        text = await until(console, pilot, "QueuePaused")
        assert text.index("Held") < text.index("QueuePaused")
        assert "$ queuectl release print-1" in text
        assert "$ queuectl queue resume print" in text
        assert "[@click=app.quit]x[/]" in text
        assert "\u202e" not in text
        assert "in 10m" in text
        assert console.last_message == "$ queuectl why print-1"
        async with Queue.open(console.connections.url, env={}, clock=lambda: NOW) as queue:
            await queue.release([await queue.find("print-1")])
        while "Held" in text_of(console):
            await pilot.pause(0.05)
        await pilot.press("escape")
        await until(console, pilot, "4 jobs")


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        ("fetch-prices-1", "died"),
        ("mail-3", "completed"),
        ("report-q3", "has been running"),
        ("load", "fetch (pending) to complete"),
    ],
)
async def test_w_says_how_a_job_ended(chain: Path, job: str, sentence: str) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, job)
        await pilot.press("enter")
        await until(console, pilot, "attempts")
        await pilot.press("w")
        await until(console, pilot, sentence)


async def test_h_holds_a_job_and_releases_it(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb-2")
        await pilot.press("h")
        assert "$ queuectl hold thumb-2" in await said(console, pilot, "✓ thumb-2 is held")
        job = await job_of(console, "thumb-2")
        assert (job.state, job.held) == (State.WAITING, True)
        await until(console, pilot, "Held")
        await pilot.press("h")
        assert "$ queuectl release thumb-2" in await said(console, pilot, "thumb-2 is released")
        assert await state_of(console, "thumb-2") is State.PENDING


async def test_h_is_for_the_marked_jobs(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb")
        await pilot.press("space", "space", "h")
        await until(console, pilot, "Hold 2 marked jobs: 2 pending?")
        await pilot.press("y")
        assert "$ queuectl hold thumb-3 thumb-2" in await said(console, pilot, "held 2 jobs")
        assert await state_of(console, "thumb-3") is State.WAITING
        assert await state_of(console, "thumb-1") is State.PENDING
        await settled(console, pilot)
        await pilot.press("h")
        await until(console, pilot, "Release 2 marked jobs: 2 waiting?")
        await pilot.press("y")
        await said(console, pilot, "released 2 jobs")
        for name in ("thumb-3", "thumb-2"):
            assert await state_of(console, name) is State.PENDING


async def test_h_on_a_job_that_began_to_run_changes_nothing(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb-2")
        console.paused = True
        async with Queue.open(console.connections.url, env={}, clock=lambda: NOW) as queue:
            await queue.cancel([await queue.find("thumb-2")])
        await pilot.press("h")
        await said(console, pilot, "job 'thumb-2' is cancelled now; no hold was done")
        assert await state_of(console, "thumb-2") is State.CANCELLED


async def test_c_cancels_marked_jobs_that_wait(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("right_square_bracket", "right_square_bracket")
        await until(console, pilot, "4 jobs 3  waiting")
        await settled(console, pilot)
        await pilot.press("space", "space", "c")
        await until(console, pilot, "Cancel 2 marked jobs: 2 waiting?")
        await pilot.press("y")
        await said(console, pilot, "cancelled 2 jobs")
        assert await state_of(console, "kept") is State.CANCELLED
        assert await state_of(console, "send") is State.CANCELLED


async def test_E_changes_only_the_fields_that_were_changed(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, "print-1")
        before = await job_of(console, "print-1")
        await pilot.press("E")
        await until(console, pilot, "change a field")
        await pilot.press("enter")
        await until(console, pilot, "nothing is changed yet")
        await field(console, pilot, "priority", "5x")
        await until(console, pilot, "priority must be a whole number")
        await pilot.press("backspace")
        await field(console, pilot, "run_at", "+2h")
        await until(console, pilot, "runs at ")
        await field(console, pilot, "key", "")
        line = "queuectl edit print-1 --priority 5 --run-at +2h --no-key"
        await until(console, pilot, line)
        await pilot.press("enter")
        assert line in await said(console, pilot, "✓ print-1 is changed")
        job = await job_of(console, "print-1")
        assert (job.priority, job.run_at, job.key) == (5, NOW + 7200, None)
        unchanged = ("command", "queue", "timeout_seconds", "max_retries", "state")
        assert all(getattr(job, name) == getattr(before, name) for name in unchanged)
        assert console.screen is console.main


async def test_E_edits_a_command_of_several_lines_and_one_without_a_shell(chain: Path) -> None:
    async with Queue.open(str(chain / "queue.db"), env={}, clock=lambda: NOW) as queue:
        await queue.enqueue(
            [
                {"id": "lines", "command": "echo one\necho two"},
                {"id": "argv", "command": ["echo", "two words"]},
            ]
        )
    async with opened(chain, SIZE) as (console, pilot):
        for name, command in (
            ("lines", "echo one\necho two x"),
            ("argv", ("echo", "two words", "x")),
        ):
            await filtered(console, pilot, name)
            await pilot.press("E")
            await until(console, pilot, "change a field")
            await pilot.press("end", *typed(" x"), "enter")
            await said(console, pilot, f"{name} is changed: command")
            assert (await job_of(console, name)).command == command
            await pilot.press("escape")


async def test_the_draft_of_an_edit_is_kept(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, "print-1")
        await pilot.press("E")
        await until(console, pilot, "change a field")
        await field(console, pilot, "queue", "slow")
        await until(console, pilot, "--queue slow")
        await pilot.press("escape", "E")
        text = await until(console, pilot, "a draft, not sent yet")
        assert "--queue slow" in text
        await pilot.press("ctrl+g")
        await until(console, pilot, "change a field")
        await pilot.press("escape")
        # Another process changes the job: the draft is not for that.
        await pilot.press("E")
        await until(console, pilot, "change a field")
        await field(console, pilot, "queue", "slow")
        await pilot.press("escape")
        async with Queue.open(console.connections.url, env={}, clock=lambda: NOW) as queue:
            await queue.edit(await queue.find("print-1"), {"priority": 3})
        await until(console, pilot, "   3 print")
        await pilot.press("E")
        await until(console, pilot, "change a field")
        assert "a draft" not in text_of(console)


async def test_an_edit_of_a_job_that_changed_says_so_in_the_form(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, "print-1")
        await pilot.press("E")
        await until(console, pilot, "change a field")
        async with Queue.open(console.connections.url, env={}, clock=lambda: NOW) as queue:
            await queue.cancel([await queue.find("print-1")])
        await field(console, pilot, "priority", "5")
        await pilot.press("enter")
        text = await until(console, pilot, "job 'print-1' is cancelled now")
        assert "edit print-1" in text, "the form stays"
        assert (await job_of(console, "print-1")).priority == 0


async def test_a_running_job_cannot_be_edited_or_held(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, "report-q3")
        for shown in ("4 jobs", "attempts"):
            await until(console, pilot, shown)
            for key, word in (("E", "edited"), ("h", "held or released"), ("r", "retried")):
                before = console.screen
                await pilot.press(key)
                await said(console, pilot, f"report-q3 is processing: it cannot be {word}")
                assert console.screen is before
            if shown == "4 jobs":
                await pilot.press("enter")
        assert await state_of(console, "report-q3") is State.PROCESSING


async def test_keys_for_a_job_say_that_the_queues_have_none(chain: Path) -> None:
    async with opened(chain, SMALL) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("5")
        await until(console, pilot, "5 queues 2")
        for key in "whE":
            await pilot.press(key)
            await said(console, pilot, f"{key} is for a job")


async def test_the_form_of_a_new_job_has_the_new_fields(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("e")
        await until(console, pilot, "enqueue a job")
        for name, text in (
            ("command", "true"),
            ("id", "full"),
            ("key", "laser"),
            ("unique", "nightly"),
            ("unique_until", "start"),
            ("after", "fetch, load"),
            ("after_any", "send"),
            ("after_failed", "later"),
            ("on_parent_failure", "hold"),
            ("hold", "yes"),
        ):
            console.screen.query_one(f"#in-{name}", Input).value = text
        await pilot.pause()
        await pilot.press("enter")
        line = await said(console, pilot, "✓ enqueued full")
        for option in (
            "--key laser", "--unique nightly", "--unique-until start", "--after fetch,load",
            "--after-any send", "--after-failed later", "--on-parent-failure hold", "--hold",
        ):  # fmt: skip
            assert option in line
        job = await job_of(console, "full")
        assert (job.key, job.unique, job.unique_until) == ("laser", "nightly", "start")
        assert job.parents == {
            "after": ("fetch", "load"),
            "after_any": ("send",),
            "after_failed": ("later",),
        }
        assert (job.on_parent_failure, job.held) == ("hold", True)


async def test_a_second_holder_of_a_unique_value_is_not_added(chain: Path) -> None:
    async with Queue.open(str(chain / "queue.db"), env={}, clock=lambda: NOW) as queue:
        await queue.enqueue([{"id": "first", "command": "true", "unique": "one"}])
    async with opened(chain, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("e")
        await until(console, pilot, "enqueue a job")
        console.screen.query_one("#in-unique", Input).value = "one"
        await pilot.press(*typed("true"), "enter")
        await said(console, pilot, "nothing was added: first holds the unique value")


async def test_the_form_names_a_parent_that_does_not_exist(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("e")
        await until(console, pilot, "enqueue a job")
        console.screen.query_one("#in-after", Input).value = "nobody"
        await pilot.press(*typed("true"), "enter")
        text = await until(console, pilot, "no such job")
        assert "enqueue a job" in text


async def test_the_page_of_a_job_shows_parents_and_children(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, "load")
        await pilot.press("enter")
        text = await until(console, pilot, "is waited for by")
        assert "└─ fetch  pending" in text
        assert "└─ send  waiting  (after_any)" in text
        async with Queue.open(console.connections.url, env={}, clock=lambda: NOW) as queue:
            await queue.cancel([await queue.find("fetch")])
        await until(console, pilot, "└─ fetch  cancelled")
        await until(console, pilot, "cause  fetch")


async def test_D_on_a_job_that_others_wait_for_names_them(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, "fetch")
        await settled(console, pilot)
        jobs = console.main.jobs
        while jobs.current and jobs.current.id != "fetch":
            await pilot.press("j")
        await pilot.press("D")
        text = await until(console, pilot, "Delete fetch and the 2 jobs that wait for it")
        assert "load" in text
        assert "send" in text
        await pilot.press("n")
        await said(console, pilot, "nothing was changed")
        assert await state_of(console, "fetch") is State.PENDING
        await pilot.press("D")
        await until(console, pilot, "Delete fetch and the 2 jobs")
        await pilot.press("y")
        assert "$ queuectl remove --cascade fetch" in await said(console, pilot, "is deleted")
        left = {job.id for job in await console.connections.reader.scan(None, 1000)}
        assert not left & {"fetch", "load", "send"}
        assert "kept" in left


async def test_marked_jobs_that_others_wait_for_are_not_deleted(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("right_square_bracket", "right_square_bracket")
        await until(console, pilot, "4 jobs 3  waiting")
        await settled(console, pilot)
        assert [job.id for job in console.main.jobs.window.rows] == ["kept", "send", "load"]
        async with Queue.open(console.connections.url, env={}, clock=lambda: NOW) as queue:
            await queue.enqueue([{"id": "last", "command": "true", "after": ["send"]}])
        await until(console, pilot, "4 jobs 4  waiting")
        await settled(console, pilot)
        await pilot.press("g", "j", "space", "space", "D")
        await until(console, pilot, "Delete 2 marked jobs: 2 waiting")
        await pilot.press("y")
        await said(console, pilot, "or jobs wait for them")
        assert await state_of(console, "send") is State.WAITING


@pytest.mark.parametrize("size", [SIZE, SMALL], ids=["large", "small"])
async def test_read_only_has_none_of_the_keys_that_change(
    chain: Path, size: tuple[int, int]
) -> None:
    async with opened(chain, size, read_only=True) as (console, pilot):
        await settled(console, pilot)
        for key in ("h", "E", "P"):
            await pilot.press(key)
            await settled(console, pilot)
            assert console.screen is console.main
        await pilot.press("5")
        await until(console, pilot, "5 queues")
        await pilot.press("P")
        text = await settled(console, pilot)
        assert "P pause" not in text
        assert "Pause queue" not in text
        await pilot.press("escape", "w")
        await until(console, pilot, "why ")
        changing = {"hold", "release", "edit", "queue pause"}
        assert not changing & {command.title for command in commands(console)}
        names = {command.title for command in commands(console)}
        assert {"why", "queue list", "status --why"} <= names


async def test_the_palette_acts_on_the_current_job(chain: Path) -> None:
    async with opened(chain, SIZE) as (console, pilot):
        await filtered(console, pilot, "kept")
        await pilot.press("colon", *typed("release"))
        await until(console, pilot, "if it is held")
        await pilot.press("enter")
        await said(console, pilot, "kept is released")
        assert await state_of(console, "kept") is State.PENDING
        await pilot.press("colon", *typed("status why"))
        await until(console, pilot, "which reason")
        await pilot.press("enter")
        await until(console, pilot, "WaitingFor")
        await pilot.press("escape")


async def test_a_filter_can_be_cleared_on_a_small_screen(chain: Path) -> None:
    async with opened(chain, SMALL) as (console, pilot):
        await filtered(console, pilot, "thumb")
        assert "esc clear filter" in text_of(console)
