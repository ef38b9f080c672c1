"""Small things that are easily lost: what a form says, where the screen stands in its list, which
page a key opens, keys behind a movement of the mouse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual import events
from textual.widgets import Input

from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.model import Filter, State
from queuectl_core.operations.attempt_output import AttemptOutput
from queuectl_tui.console.app import Console
from queuectl_tui.console.screens.enqueue import EnqueueScreen
from queuectl_tui.console.widgets.output import OutputPane, cropped
from queuectl_tui.console.widgets.output_viewport import OutputViewport, cut
from queuectl_tui.presentation.actions import Action

from .scenes import opened, settled, text_of, until
from .test_keys import said

SIZE = (120, 40)


async def test_keys_behind_a_movement_of_the_mouse_are_delivered(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        first = console.main.jobs.current
        move = events.MouseMove(None, 5.0, 5.0, 1, 1, 0, False, False, False)
        for event in (move, events.Key("j", "j"), events.Key("j", "j")):
            console.inputs.put(event)
        await console.inputs.idle()
        await settled(console, pilot)
        third = console.main.jobs.window.rows[2]
        assert first != third
        assert console.main.jobs.current == third


async def test_a_form_says_what_became_of_what_was_typed(home: Path) -> None:
    sent: list[tuple[Action, Callable[[Exception | None], None]]] = []
    draft: dict[str, str] = {}
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        defaults = await console.connections.reader.defaults()

        async def form() -> EnqueueScreen:
            made = EnqueueScreen(defaults, draft, lambda *given: sent.append(given))
            console.push_screen(made)
            await settled(console, pilot)
            return made

        made = await form()
        assert "type a command; ^e: $EDITOR   esc: cancel" in text_of(console)
        await pilot.press("a")
        await until(console, pilot, "enter: enqueue   esc: cancel")
        assert draft == {"command": "a"}
        await pilot.press("enter", "enter")
        await until(console, pilot, "enqueuing: waits for the store; esc leaves")
        assert len(sent) == 1, "once"
        sent[0][1](QueueError("it is taken"))
        await until(console, pilot, "it is taken")
        assert draft == {"command": "a"}
        await pilot.press("enter", "b")
        assert "enqueuing: waits for the store" in await settled(console, pilot)
        sent[1][1](None)
        await until(console, pilot, "enqueued as it was at enter; this is what you changed since")
        assert draft == {"command": "ab"}
        await pilot.press("enter")
        assert len(sent) == 3
        sent[2][1](None)
        await settled(console, pilot)
        assert console.screen is console.main, "it is done, so it is closed"
        assert draft == {}

        await form()
        await pilot.press("c", "enter", "escape")
        await said(console, pilot, "… still enqueuing: waits for the store")
        assert draft == {"command": "c"}
        sent[3][1](None)
        assert draft == {}, "it was done after all"

        made = await form()
        await pilot.press("d", "enter")
        console.action_help()
        await settled(console, pilot)
        sent[4][1](None)
        await pilot.press("escape")
        await settled(console, pilot)
        assert console.screen is console.main, "it is closed when it is seen again"
        assert not made.is_attached
        made = await form()
        await pilot.press("e", "ctrl+g")
        await settled(console, pilot)
        assert made.query_one("#in-command", Input).value == ""
        assert draft == {}


async def test_each_page_leads_to_the_others(home: Path) -> None:
    pages = {"5": "QueuesScreen", "6": "SchedulesScreen", "8": "EventsScreen", "9": "HooksScreen"}
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        for key in "56895":
            before = console.screen.__class__.__name__
            await pilot.press(key)
            await settled(console, pilot)
            wanted = "MainScreen" if before == pages[key] else pages[key]
            assert console.screen.__class__.__name__ == wanted
            assert len(console.screen_stack) <= 2
        await pilot.press("escape", "escape")
        assert console.screen is console.main


async def test_every_screen_says_that_the_console_is_paused(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        for keys in (("enter",), ("escape", "m")):
            await pilot.press(*keys, "p")
            await until(console, pilot, " ‖ paused: p goes on")
            await pilot.press("p")
            assert " ‖ paused" not in await settled(console, pilot)


# -- where the screen stands ----------------------------------------------------------------


def thumb(console: Console) -> tuple[int, int, int]:
    """(rows of the jobs, where the mark at the right begins, how long it is)."""
    jobs = console.main.jobs
    at = [y for y, strip in enumerate(jobs._lines[jobs.head :]) if strip.text.endswith("▐")]
    assert at == list(range(at[0], at[0] + len(at))) if at else True
    return jobs._rows_high(), at[0] if at else 0, len(at)


async def test_the_mark_at_the_right_shows_where_the_screen_is(home: Path) -> None:
    """45 jobs, of which 15 are visible."""
    async with opened(home, (120, 30)) as (console, pilot):
        jobs = console.main.jobs
        await settled(console, pilot)
        places = {}
        for sort, keys in (("newest", ()), ("oldest", ("I",)), ("by id", (">",))):
            for key in keys:
                await pilot.press({">": "greater_than_sign"}.get(key, key))
            await settled(console, pilot)
            for key in ("g", "ctrl+d", "G"):
                await pilot.press(*[key] * (3 if key == "ctrl+d" else 1))
                await settled(console, pilot)
                places[f"{sort} {key}"] = thumb(console)
        assert places == {
            "newest g": (11, 0, 3), "newest ctrl+d": (11, 1, 3), "newest G": (11, 8, 3),
            "oldest g": (11, 0, 3), "oldest ctrl+d": (11, 1, 3), "oldest G": (11, 8, 3),
            "by id g": (11, 0, 3), "by id ctrl+d": (11, 1, 3), "by id G": (11, 8, 3),
        }  # fmt: skip
        jobs.filter(Filter((State.CANCELLED,)))
        await settled(console, pilot)
        assert thumb(console)[2] == 0, "all rows are visible"
        jobs.filter(Filter((State.WAITING,)))
        assert "no job matches: esc clears the filter" in await settled(console, pilot)


async def test_the_title_of_the_jobs_says_what_is_shown(home: Path) -> None:
    async with opened(home, (160, 30)) as (console, pilot):
        await settled(console, pilot)
        jobs = console.main.jobs
        [reason] = [one.reason for one in console.overview.groups if "refused" in one.reason]
        where = Filter((State.DEAD,), queues=("default", "mail"), search="sy", reasons=(reason,))
        jobs.filter(where)
        await settled(console, pilot)
        title = "".join(text for text, _ in jobs.parts)
        assert title == f"4 jobs 3  dead  queue default  queue mail  {reason}  /sy  newest first"
        jobs.invert()
        assert jobs.order() == "oldest first"
        jobs.sort(1)
        assert jobs.order() == "by id"


# -- output -------------------------------------------------------------------------------


def test_a_line_of_4096_bytes_is_not_split() -> None:
    """The end of the line is no text, so it does not make one more."""
    some = ((4095, [4095]), (4096, [4096]), (4097, [4096, 1]), (8193, [4096, 4096, 1]))
    for count, lengths in some:
        lines = cut(b"x" * count + b"\n", 7)
        assert [len(line.text) for line in lines] == lengths
        assert [line.continued for line in lines] == [False, *[True] * (len(lengths) - 1)]
        assert [line.offset for line in lines] == [7 + 4096 * n for n in range(len(lengths))]
        assert sum(line.size for line in lines) == count + 1


def test_a_screen_of_long_lines_is_full(tmp_path: Path) -> None:
    """The first reading has fewer lines than the screen."""
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"%03d" % n + b"x" * 4000 + b"\n" for n in range(150)))
    held = OutputViewport(AttemptOutput(1, path, b"", False, 0))
    held.height = 45
    held.go_first()
    assert [row.text[:3] for row in held.visible()] == [f"{n:03}" for n in range(45)]
    held.go_last()
    assert [row.text[:3] for row in held.visible()] == [f"{n:03}" for n in range(105, 150)]
    held.go_to(60 * 4004)
    assert [row.text[:3] for row in held.visible()] == [f"{n:03}" for n in range(60, 105)]
    held.go_to(10**9)
    assert held.at_end
    assert held.visible()[-1].text[:3] == "149"


@pytest.mark.parametrize(
    ("text", "left", "width", "wanted"),
    [
        ("abcdef", 0, 6, ("abcdef", False)), ("abcdef", 0, 5, ("abcde", True)),
        ("abcdef", 2, 4, ("cdef", False)), ("abcdef", 2, 3, ("cde", True)),
        ("abcdef", 6, 3, ("", False)), ("漢字漢字", 0, 8, ("漢字漢字", False)),
        ("漢字漢字", 0, 7, ("漢字漢 ", True)), ("漢字漢字", 2, 6, ("字漢字", False)),
        ("漢字漢字", 8, 6, ("", False)), ("é", 5, 6, ("", False)),
    ],
)  # fmt: skip
def test_a_row_is_cropped_to_its_cells(
    text: str, left: int, width: int, wanted: tuple[str, bool]
) -> None:
    assert cropped(text, left, width) == wanted


async def test_moving_in_the_output(home: Path) -> None:
    """60 lines, of which the screen shows the last ones, and follows."""
    async with opened(home, (80, 24)) as (console, pilot):
        await settled(console, pilot)
        job = await console.connections.reader.find("report-q3")
        console.open_output(job)
        await settled(console, pilot)
        pane = console.screen.query_one(OutputPane)

        async def at(*keys: str) -> tuple[int, bool]:
            """(the first visible line, whether it follows)."""
            await pilot.press(*keys)
            return int(pane.viewport.visible()[0].text.split()[2]), pane.follow

        high = pane.size.height - 1
        last = 60 - high + 1
        half = high // 2
        assert await at() == (last, True)
        assert await at("k") == (last - 1, False)
        assert await at("j") == (last, False)
        assert await at("G") == (last, True)
        assert await at("ctrl+u") == (last - half, False)
        assert await at("ctrl+d") == (last, False)
        assert await at("pageup") == (last - 2 * half, False)
        assert await at("pagedown") == (last, False)
        assert await at("g") == (1, False)
        assert await at("space") == (1 + 2 * half, False)
        assert await at("s") == (last, True)
        pane.on_mouse_scroll_up()
        assert await at() == (last - 3, False)
        pane.on_mouse_scroll_down()
        assert await at() == (last, False)
        await pilot.press("right")
        assert pane.left == 20
        await pilot.press("left", "left")
        assert pane.left == 0
        await pilot.press("right", "w")
        assert (pane.left, pane.viewport.wrap) == (0, True)
