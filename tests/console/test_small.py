"""A small screen: everything can be reached, answers are visible, messages disappear. And the
mouse."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events

from queuectl_core.queue import Queue
from queuectl_tui.console.screens.text_screen import TextScreen
from queuectl_tui.console.widgets import table
from queuectl_tui.console.widgets.status_bars import KeyBar, Notice
from queuectl_tui.console.widgets.text import wrap_row

from .scenes import NOW, opened, play, settled, text_of, typed, until

SMALL = (40, 12)
LONG = "word " * 150 + "the-end"


async def test_the_answers_of_a_long_question_are_visible(home: Path) -> None:
    async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW) as queue:
        await queue.enqueue([{"id": f"long-{n}", "command": LONG} for n in range(8)])
    async with opened(home, SMALL) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("slash", *typed("long"), "enter")
        await until(console, pilot, "/long")
        await settled(console, pilot)
        await pilot.press(*["space"] * 8, "D")
        text = await until(console, pilot, "Delete 8")
        assert " y  yes      n  no   j k: more" in await settled(console, pilot)
        for _ in range(25):
            await pilot.press("pagedown")
        text = await settled(console, pilot)
        assert " y  yes      n  no " in text
        assert "long-0" in text, "the end of the command line"
        await pilot.press("n")
        await until(console, pilot, "nothing was changed")


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (120, 40)])
async def test_every_field_of_a_job_can_be_reached(home: Path, size: tuple[int, int]) -> None:
    async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW) as queue:
        queue.cwd = "/srv/somewhere"
        job = {"id": "wide-1", "command": LONG, "env": {"LAST": "x"}, "run_at": NOW + 7200}
        await queue.enqueue([job])
    async with opened(home, size) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("slash", *typed("wide"), "enter")
        await until(console, pilot, "/wide")
        await settled(console, pilot)
        await pilot.press("enter")
        await until(console, pilot, "not started yet")
        await pilot.press("shift+tab")
        seen = await settled(console, pilot)
        for _ in range(45):
            await pilot.press("j")
            seen += text_of(console)
        for wanted in ("the-end", "/srv/somewhere", "LAST=***", "in 2h", "due", "finished"):
            assert wanted in seen


async def test_long_rows_of_a_page_are_wrapped(home: Path) -> None:
    async with opened(home, SMALL) as (console, pilot):
        await settled(console, pilot)
        console.push_screen(TextScreen("doctor", [[("ok   ", "good"), (LONG, "text")]]))
        text = await until(console, pilot, "doctor")
        assert "1-9 of" in text, "it says that there is more"
        await pilot.press("G")
        assert "the-end" in await settled(console, pilot)


async def test_a_pane_keeps_the_focus_when_a_layout_hid_it_before(home: Path) -> None:
    """The message that a pane was hidden may come after the key that shows it again. In the past it
    took the focus away, and the next arrow keys did nothing."""
    async with opened(home, SMALL) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("3")
        await until(console, pilot, "3 dlq")
        dlq = console.main.dlq
        first = dlq.current
        dlq.post_message(events.Hide())
        await pilot.press("down")
        await settled(console, pilot)
        assert console.focused is dlq
        assert dlq.current is not first


async def test_a_pane_keeps_the_focus_at_any_size(home: Path) -> None:
    async with opened(home, (120, 40)) as (console, pilot):
        await settled(console, pilot)
        for pane in (console.main.jobs, console.main.worker_table):
            console.main.action_pane(str(pane.id))
            for size in [(29, 60), (200, 8), (40, 12), (30, 8), (30, 30), (120, 20), (120, 40)]:
                await pilot.resize_terminal(*size)
                assert console.focused is pane, size


def test_a_row_is_wrapped_at_words_and_nothing_is_lost() -> None:
    row = [("name ", "muted"), ("one two-three " + "x" * 25, "text")]
    lines = wrap_row(row, 12, 5)
    texts = ["".join(text for text, _ in line) for line in lines]
    assert texts[0] == "name one "
    assert all(len(text) <= 12 for text in texts)
    assert "".join(texts).replace(" ", "") == "nameonetwo-three" + "x" * 25
    assert all(text.startswith("     ") for text in texts[1:])


async def test_messages_go_and_can_be_read_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Notice, "PASSES", 1.5)
    async with opened(home, SMALL) as (console, pilot):
        before = await settled(console, pilot)
        console.say("something " * 30, "good")
        notice = console.main.query_one("#message", Notice)
        await until(console, pilot, "something …")
        assert notice.size.height == 2, "not a third of the screen"
        while "something" in text_of(console):
            await pilot.pause(0.05)
        assert await settled(console, pilot) == before
        await pilot.press("m")
        await until(console, pilot, "messages")
        assert text_of(console).count("something") > 8


async def test_the_screen_stays_visible_around_a_dialog_and_goes_on(home: Path) -> None:
    async with opened(home, (120, 40)) as (console, pilot):
        await play(console, pilot, "confirm")
        assert "w3kd-1" in text_of(console)
        async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW) as queue:
            await queue.enqueue([{"id": "meanwhile", "command": "true"}])
        await until(console, pilot, "1 states 46")


@pytest.mark.parametrize(("answer", "said"), [(3, "deleted"), (14, "nothing was changed")])
async def test_answers_can_be_clicked(home: Path, answer: int, said: str) -> None:
    async with opened(home, (120, 40)) as (console, pilot):
        await play(console, pilot, "confirm")
        assert await pilot.click("#choice", offset=(answer, 0))
        await until(console, pilot, said)


async def test_a_click_on_a_header_sorts_and_the_arrow_fits(home: Path) -> None:
    async with opened(home, (120, 40)) as (console, pilot):
        await settled(console, pilot)
        header = next(row for row in text_of(console).splitlines() if " tries " in row)
        assert await pilot.click("#jobs", offset=(header.index("tries") + 2, 1))
        text = await until(console, pilot, "by tries")
        assert "trie↓" in text
        assert await pilot.click("#jobs", offset=(header.index("tries") + 2, 1))
        await until(console, pilot, "trie↑")


async def test_the_keys_at_the_foot_can_be_clicked(home: Path) -> None:
    async with opened(home, (120, 40)) as (console, pilot):
        text = await settled(console, pilot)
        keys = text.splitlines()[-1]
        assert await pilot.click(KeyBar, offset=(keys.index("? help") + 3, 0))
        await until(console, pilot, "this screen")


async def test_a_range_that_is_too_long_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "RANGE_LIMIT", 10)
    async with opened(home, (120, 40)) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("space", *["j"] * 14, "V")
        await until(console, pilot, "a range has at most 10 rows")
        assert len(console.main.jobs.marks) == 1
