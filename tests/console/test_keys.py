"""Each key does what the table of keys says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual.pilot import Pilot

from queuectl_core.domain.figures import Stats
from queuectl_core.domain.model import Filter, State
from queuectl_core.queue import Queue
from queuectl_core.runner.output_file import dropped_mark
from queuectl_tui.console.app import Console

from .scenes import opened, settled, text_of, typed, until

SIZE = (120, 40)


async def filtered(console: Console, pilot: Pilot[int], text: str) -> None:
    await pilot.press("slash", *typed(text), "enter")
    await until(console, pilot, f"/{text}")
    await settled(console, pilot)


async def said(console: Console, pilot: Pilot[int], wanted: str) -> str:
    """Wait until the message bar says this. Returns its text."""
    async with asyncio.timeout(20):
        while wanted not in console.last_message:
            await pilot.pause(0.02)
    return console.last_message


async def state_of(console: Console, job_id: str) -> State:
    return (await console.connections.reader.find(job_id)).state


async def test_moving_with_j_k_g_G_ctrl_d_ctrl_u_and_arrows(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        jobs = console.main.jobs

        async def at(*keys: str) -> str | None:
            await pilot.press(*keys)
            await settled(console, pilot)
            return jobs.current.id if jobs.current else None

        assert await at() == "typo"
        assert await at("j") == "later"
        assert await at("down") == "thumb-3"
        assert await at("k", "up") == "typo"
        last = await at("G")
        assert last == "fetch-prices-1"
        assert await at("ctrl+u") != last
        assert await at("g") == "typo"
        assert await at("ctrl+d") != "typo"


async def test_1_to_4_and_tab_move_between_the_panes(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        for key, pane in zip("1234", ("states", "workers", "dlq", "jobs"), strict=True):
            await pilot.press(key)
            assert console.focused is not None
            assert console.focused.id == pane
        await pilot.press("tab")
        assert console.focused.id == "states"
        await pilot.press("shift+tab")
        assert console.focused.id == "jobs"


async def test_slash_filters_as_one_types_n_and_N_move_esc_clears(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await pilot.press("slash", *typed("thumb"))
        await until(console, pilot, "/thumb")
        await until(console, pilot, "4 jobs 3 ")
        await pilot.press("enter")
        jobs = console.main.jobs
        await settled(console, pilot)
        assert jobs.current
        assert jobs.current.id == "thumb-3"
        await pilot.press("n")
        assert jobs.current
        assert jobs.current.id == "thumb-2"
        await pilot.press("N")
        assert jobs.current
        assert jobs.current.id == "thumb-3"
        await pilot.press("escape")
        await until(console, pilot, "4 jobs 45 ")


async def test_slash_in_the_dlq_or_the_workers_narrows_that_pane(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("3")
        await filtered(console, pilot, "node-")
        text = await settled(console, pilot)
        assert "error # from node-#" in text
        assert "no space left on device" not in text.split("4 jobs")[0]
        assert "4 jobs 45 " in text
        await pilot.press("2", "slash")
        await until(console, pilot, "id, job or host contains…")
        await pilot.press("escape")
        await filtered(console, pilot, "index")
        assert "w3kd-1" not in text_of(console)
        await pilot.press("escape")
        await until(console, pilot, "w3kd-1")


async def test_brackets_go_through_the_states(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await pilot.press("right_square_bracket")
        await until(console, pilot, "4 jobs 4  pending")
        await pilot.press("right_square_bracket")
        await until(console, pilot, "4 jobs 0  waiting")
        await pilot.press("right_square_bracket")
        await until(console, pilot, "4 jobs 2  processing")
        await pilot.press(*["left_square_bracket"] * 3)
        await until(console, pilot, "4 jobs 45  newest")


async def test_angle_brackets_and_I_sort(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("I")
        await until(console, pilot, "oldest first")
        jobs = console.main.jobs
        await settled(console, pilot)
        assert jobs.current
        assert jobs.current.id == "fetch-prices-1"
        await pilot.press("greater_than_sign")
        await until(console, pilot, "by id")
        await settled(console, pilot)
        assert jobs.current
        assert jobs.current.id == "fetch-prices-1"
        await pilot.press("I")
        await settled(console, pilot)
        assert jobs.current
        assert jobs.current.id == "typo"
        await pilot.press("less_than_sign")
        await until(console, pilot, "newest first")


async def test_enter_opens_a_job_and_esc_comes_back(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "flaky")
        await pilot.press("enter")
        text = await until(console, pilot, "the other side is busy")
        assert "1 of 5" in text
        assert "attempts 1" in text
        await pilot.press("escape")
        await until(console, pilot, "4 jobs")


async def test_enter_on_a_state_a_worker_and_a_cause(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("1", "j", "enter")
        await until(console, pilot, "4 jobs 4  pending")
        await pilot.press("2", "enter")
        await until(console, pilot, "make report QUARTER=3")
        await until(console, pilot, "attempts")
        await pilot.press("escape", "3", "enter")
        await until(console, pilot, "4 jobs 7  dead")


async def test_output_past_its_limit_is_shown_without_what_was_dropped(home: Path) -> None:
    """The job runs, and its file has a hole in the middle."""
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "report")
        job = await console.connections.reader.find("report-q3")
        output = await console.connections.reader.output(job)
        assert output.path is not None
        mark = dropped_mark(4096)
        head = b"the first line\n" + b"y\n" * (1 << 15)
        with output.path.open("wb") as file:
            file.write(head[: (1 << 16) - len(mark)] + mark)
            file.seek(1 << 20)
            file.write(b"".join(b"line %d\n" % number for number in range(100)))
        await pilot.press("l")
        await until(console, pilot, "line 99")
        await pilot.press(*["pageup"] * 2, *["k"] * 4)
        text = await until(console, pilot, "dropped here, to keep within output-limit")
        assert "line 0\n" in text
        assert "^@" not in text
        await pilot.press("g")
        await until(console, pilot, "the first line")


async def test_l_follows_output_with_s_w_f(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "report")
        await pilot.press("l")
        await until(console, pilot, "rendering page 60 of 120")
        job = await console.connections.reader.find("report-q3")
        output = await console.connections.reader.output(job)
        assert output.path is not None
        with output.path.open("a") as file:
            file.write("rendering page 61 of 120\n")
        await until(console, pilot, "page 61 of")
        await pilot.press("s")
        await settled(console, pilot)
        assert "following" not in text_of(console)
        await pilot.press("w")
        await until(console, pilot, "wrapped")
        await pilot.press("f")
        await settled(console, pilot)
        assert "report-q3" not in text_of(console)
        await pilot.press("escape")
        await until(console, pilot, "report-q3")
        await pilot.press("escape")
        await until(console, pilot, "4 jobs")


async def test_e_enqueues_and_says_the_command_line(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("e")
        await until(console, pilot, "enqueue a job")
        await pilot.press(*typed("echo hi"), "tab", *typed("bad id"))
        await until(console, pilot, "id 'bad id' is not allowed")
        await pilot.press("enter")
        await until(console, pilot, "enqueue a job")
        await pilot.press(*["backspace"] * 6, *typed("greet"), "enter")
        assert "$ queuectl enqueue --id greet 'echo hi'" in await said(console, pilot, "enqueued")
        assert await state_of(console, "greet") is State.PENDING


async def test_the_form_shows_a_conflict_and_stays(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("e")
        await until(console, pilot, "enqueue a job")
        await pilot.press(*typed("true"), "tab", *typed("typo"), "enter")
        await until(console, pilot, "id 'typo' is taken")


async def test_r_retries_the_job_under_the_cursor(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "resize-2")
        await pilot.press("r")
        assert "$ queuectl dlq retry resize-2" in await said(console, pilot, "is due again")
        assert await state_of(console, "resize-2") is State.PENDING


async def test_r_asks_before_a_completed_job_runs_again(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "mail-24")
        await pilot.press("r")
        await until(console, pilot, "Run mail-24 again?")
        await pilot.press("n")
        await said(console, pilot, "nothing was changed")
        assert await state_of(console, "mail-24") is State.COMPLETED


async def test_r_on_a_cause_retries_its_jobs(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("3", "r")
        await until(console, pilot, "Retry 7 dead jobs?")
        await pilot.press("y")
        command = "queuectl dlq retry --all --reason 'exit 22: error # from node-#'"
        assert command in await said(console, pilot, "retried 7 jobs")


async def test_R_retries_what_matches_with_the_count(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "resize")
        await pilot.press("R")
        await until(console, pilot, "Retry 3 dead jobs?")
        await pilot.press("y")
        assert "--search resize" in await said(console, pilot, "retried 3 jobs")
        assert await console.connections.reader.count_range(Filter((State.DEAD,))) == 10


async def test_s_asks_how_many_workers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []

    async def start(self: Queue, count: int, queues: object = ()) -> list[object]:
        counts.append(count)
        return []

    monkeypatch.setattr(Queue, "start_workers", start)
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("s")
        await until(console, pilot, "how many workers")
        await pilot.press("backspace", *typed("0"))
        await until(console, pilot, "cannot start 0 workers")
        await pilot.press("enter", "backspace", *typed("3"), "enter")
        assert "queuectl worker start --detach --count 3" in await said(console, pilot, "up")
        assert counts == [3]


async def test_x_stops_a_worker_and_asks_if_it_is_busy(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("2", "x")
        text = await until(console, pilot, "Stop w3kd-1?")
        assert "is running report-q3" in text
        await pilot.press("y")
        assert "queuectl worker stop w3kd-1" in await said(console, pilot, "stopping w3kd-1")
        await pilot.press("G", "x")
        assert "queuectl worker stop w3kd-3" in await said(console, pilot, "stopping w3kd-3")


async def test_x_elsewhere_stops_all_of_them(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("x")
        await until(console, pilot, "Stop all 3 workers?")
        await pilot.press("escape")


async def test_c_cancels_after_a_question(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb-2")
        await pilot.press("c")
        await until(console, pilot, "Cancel thumb-2?")
        await pilot.press("y")
        assert "queuectl cancel thumb-2" in await said(console, pilot, "is cancelled")
        assert await state_of(console, "thumb-2") is State.CANCELLED


async def test_D_deletes_after_a_question(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "mail-3")
        await pilot.press("D")
        await until(console, pilot, "Delete mail-3, with history and output?")
        await pilot.press("enter")
        await said(console, pilot, "nothing was changed")
        await pilot.press("D", "tab", "enter")
        assert "queuectl remove mail-3" in await said(console, pilot, "is deleted")


async def test_D_on_a_cause_purges_it(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("3", "D")
        await until(console, pilot, "Delete 7 dead jobs, with history and output?")
        await pilot.press("y")
        assert "dlq purge" in await said(console, pilot, "deleted 7 jobs")


async def test_space_V_and_ctrl_backslash_mark(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        jobs = console.main.jobs
        await pilot.press("j", "j", "space", "j", "V")
        await settled(console, pilot)
        assert [job.id for job in jobs.chosen()] == ["thumb-3", "thumb-2", "thumb-1"]
        await pilot.press("c")
        await until(console, pilot, "Cancel 3 marked jobs: 3 pending?")
        await pilot.press("y")
        await said(console, pilot, "cancelled 3 jobs")
        await pilot.press("ctrl+backslash")
        assert not jobs.marks


async def test_y_copies_the_id(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("y")
        assert console.clipboard == "typo"


async def test_p_pauses_the_view(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("p")
        await until(console, pilot, "paused")
        async with Queue.open(console.connections.url, env={}) as queue:
            await queue.enqueue([{"id": "unseen", "command": "true"}])
        await pilot.pause(1.0)
        assert "unseen" not in text_of(console)
        await pilot.press("ctrl+r")
        await until(console, pilot, "unseen")
        await pilot.press("p")
        await until(console, pilot, "live")


async def test_plus_and_minus_change_the_pace(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await pilot.press("plus")
        await until(console, pilot, "live 2s")
        await pilot.press("minus", "minus")
        await until(console, pilot, "live 0.5s")


async def test_a_change_elsewhere_is_shown(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        async with Queue.open(console.connections.url, env={}) as queue:
            await queue.enqueue([{"id": "from-afar", "command": "true"}])
        await until(console, pilot, "from-afar")
        await until(console, pilot, "4 jobs 46")


async def test_question_mark_shows_help_made_from_the_bindings(home: Path) -> None:
    async with opened(home, (120, 60)) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("question_mark")
        text = await until(console, pilot, "this screen")
        for said_ in ("retry all", "start workers", "stop worker", "mark a range", "pause", "quit"):
            assert said_ in text
        await pilot.press("escape")
        await until(console, pilot, "4 jobs")


@pytest.mark.parametrize("key", ["colon", "ctrl+p"])
async def test_the_palette_has_every_verb(home: Path, key: str) -> None:
    from queuectl_tui.console.palette import commands

    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        titles = {command.title for command in commands(console)}
        for verb in (
            "enqueue", "list", "show", "logs", "status", "stats", "wait", "cancel", "retry",
            "remove", "worker start", "worker stop", "worker list", "dlq list", "dlq retry",
            "dlq purge", "config list", "config get", "config set", "config unset", "doctor",
            "demo", "completion", "why", "hold", "release", "edit", "queue list", "queue show",
            "queue pause", "queue set", "queue remove",
            "schedule list", "schedule show", "schedule add", "schedule edit", "schedule pause",
            "schedule resume", "schedule run", "schedule remove", "schedule import",
        ):  # fmt: skip
            assert verb in titles
        await pilot.press(key)
        await until(console, pilot, "Search for commands")
        await pilot.press(*typed("stats"))
        await until(console, pilot, "of the last hour")
        await pilot.press("enter")
        await until(console, pilot, "success rate")


def test_statistics_say_when_they_are_not_exact() -> None:
    from queuectl_tui.console.palette import stats_rows

    def shown(*, exact: bool) -> str:
        rows = stats_rows(Stats(0.0, 60.0, 1, 0, 0, None, None, exact=exact))
        return "\n".join("".join(text for text, _ in row) for row in rows)

    assert "percentiles within 1%" in shown(exact=False)
    assert "percentiles" not in shown(exact=True)


async def test_q_quits(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await pilot.press("q")
        assert console.return_code == 0


async def test_editing_a_dead_jobs_command(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "sync-1")
        await pilot.press("enter")
        await until(console, pilot, "attempts 1")
        await pilot.press("e")
        await until(console, pilot, "another command")
        await pilot.press("end", *typed(" -v"), "enter")
        await said(console, pilot, "is due again")
        job = await console.connections.reader.find("sync-1")
        assert job.command == "rsync -a /srv/1/ backup:/srv/1/ -v"
        assert job.state is State.PENDING
        assert len(await console.connections.reader.attempts(job)) == 1


async def test_read_only_has_no_key_that_changes_anything(home: Path) -> None:
    async with opened(home, SIZE, read_only=True) as (console, pilot):
        text = await settled(console, pilot)
        assert "read-only" in text
        assert "enqueue" not in text
        for key in ("e", "r", "R", "s", "x", "c", "D", "h", "E", "P"):
            await pilot.press(key)
            await settled(console, pilot)
            assert len(console.screen_stack) == 1
        assert console.last_message == ""
        await pilot.press("question_mark")
        text = await until(console, pilot, "this screen")
        assert "enqueue" not in text
        from queuectl_tui.console.palette import commands

        assert not {"enqueue", "retry", "dlq purge"} & {c.title for c in commands(console)}


@pytest.mark.parametrize("read_only", [False, True])
async def test_an_empty_store_says_what_can_be_done(tmp_path: Path, read_only: bool) -> None:
    async with Queue.open(str(tmp_path / "queue.db"), env={}):
        pass
    async with opened(tmp_path, SIZE, read_only=read_only) as (console, pilot):
        text = await settled(console, pilot)
        assert "no workers" in text
        assert ("s starts some" in text) is not read_only


async def test_an_action_is_for_the_job_that_was_there_when_the_key_was_pressed(
    home: Path,
) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "thumb")
        await pilot.press("c")
        await until(console, pilot, "Cancel thumb-3?")
        async with Queue.open(console.connections.url, env={}) as queue:
            await queue.enqueue([{"id": "thumb-4", "command": "true"}])
        await pilot.press("y")
        await said(console, pilot, "thumb-3 is cancelled")
        assert await state_of(console, "thumb-4") is State.PENDING


async def test_a_failing_action_is_a_message(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "resize-1")
        console.paused = True
        async with Queue.open(console.connections.url, env={}) as queue:
            await queue.remove([await queue.find("resize-1")])
        await pilot.press("r")
        await said(console, pilot, "job 'resize-1' is gone")
        assert console.is_running


async def test_what_fails_after_the_commit_is_said_beside_what_was_done(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_file(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("queuectl_core.operations.attempt_output.remove_logs", no_file)
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "resize-1")
        await pilot.press("D", "y")
        await said(console, pilot, "resize-1 is deleted; removing output files failed afterwards")
        assert console.is_running


async def test_a_question_is_about_the_job_as_it_was_shown(home: Path) -> None:
    """Another process retries a dead job while the question is on the screen."""
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "resize-1")
        console.paused = True
        await pilot.press("D")
        async with Queue.open(console.connections.url, env={}) as queue:
            [job] = [await queue.find("resize-1")]
            act = queue.cancel if job.state in (State.PENDING, State.FAILED) else queue.retry
            await act([job])
            await pilot.press("y")
            await said(console, pilot, "no remove was done")
            assert await queue.get(job.seq) is not None


async def test_cancel_all_that_match(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await until(console, pilot, "pending")
        waiting = await console.connections.reader.count_range(Filter((State.PENDING,)))
        assert waiting > 1
        console.main.show_state(State.PENDING)
        console.main.cancel_all()
        await until(console, pilot, f"Cancel {waiting} pending jobs?")
        await pilot.press("y")
        shown = await said(console, pilot, f"cancelled {waiting} jobs")
        assert "queuectl cancel --all --state pending" in shown
        assert await console.connections.reader.count_range(Filter((State.PENDING,))) == 0
