"""A screen that is too small: one line says so, nothing fails, and no key acts invisibly."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from pathlib import Path

from textual import events
from textual.command import CommandList
from textual.events import Click
from textual.geometry import Size

from queuectl_tui.console.app import Console
from queuectl_tui.console.minimum_size import MINIMUM, TOO_SMALL

from ..support import PATIENCE, Cli
from .scenes import opened, settled, typed, until
from .terminal import Terminal

SIZES = list(itertools.product((1, 2, 5, 12), range(1, 7)))
SCREENS: dict[str, tuple[str, ...]] = {
    "main": (),
    "dlq": ("3",),
    "search": ("slash", "a"),
    "job": ("slash", *typed("q3"), "enter", "enter"),
    "output": ("slash", *typed("q3"), "enter", "l"),
    "help": ("question_mark",),
    "enqueue": ("e",),
    "start": ("s",),
    "question": ("3", "D"),
    "palette": ("colon",),
    "stats": ("colon", *typed("sta"), "enter"),
    "doctor": ("colon", *typed("doc"), "enter"),
    "config": ("colon", *typed("conf"), "enter"),
    "messages": ("m",),
}


async def _resize(console: Console, columns: int, lines: int) -> None:
    size = Size(columns, lines)
    console.post_message(events.Resize(size, size))
    while console._terminal_size != size:
        await asyncio.sleep(0)


async def test_no_screen_fails_at_any_size(home: Path) -> None:
    """With at most four lines, page down in the palette ended the console ("KeyError: 0")."""
    async with opened(home, (120, 40)) as (console, pilot):
        await settled(console, pilot)
        for name, keys in SCREENS.items():
            for key in keys:
                await pilot.press(key)
                if key == "enter":
                    await settled(console, pilot)
            await settled(console, pilot)
            top, focused = console.screen, console.focused
            for columns, lines in SIZES:
                await _resize(console, columns, lines)
                assert console.too_small
            await pilot.press("pagedown", "y", "enter", "q", "D")
            assert (console.screen, console.focused) == (top, focused), name
            assert top.size == MINIMUM, name
            await _resize(console, *MINIMUM)
            await pilot.press("pagedown", "pageup")
            assert not console.too_small
            await _resize(console, 120, 40)
            while len(console.screen_stack) > 1:
                await pilot.press("escape")
            await pilot.press("escape")
            assert "4 jobs" in await settled(console, pilot), name
            assert console.screen is console.main, name


async def test_answers_are_in_one_row_at_the_least_size(home: Path) -> None:
    """In two rows, the second one was "no", and a click on it counted as "yes"."""
    async with opened(home, MINIMUM) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("3", "D")
        await until(console, pilot, " y  yes      n  no ")
        await pilot.press("escape", "colon")
        await until(console, pilot, "  backup")


def test_a_terminal_that_is_too_small_says_so(cli: Cli, store_path: Path) -> None:
    cli("enqueue", "true", "--id", "only")
    env = cli.environment() | {"TERM": "xterm-256color"}
    argv = [sys.executable, "-m", "queuectl_tui", "tui"]
    terminal = Terminal(argv, env, (12, 3))
    try:
        terminal.until("too small: c")
        for columns, lines in ((1, 1), (3, 2), (29, 60), (200, 7), (4, 7), (30, 7)):
            terminal.resize(columns, lines)
            terminal.until(TOO_SMALL[:columns])
            assert terminal.text().split() == TOO_SMALL[:columns].split()
        _press_in_vain(terminal, "Dyq")
        terminal.resize(40, 12)
        terminal.until("D delete", without="too small")
        assert "Delete only," not in terminal.text()
        terminal.press("D")
        terminal.until("Delete only,")
        terminal.resize(5, 5)
        terminal.until("too s", without="Delete")
        _press_in_vain(terminal, "y\r")
        terminal.resize(40, 12)
        terminal.until("Delete only,", without="too s")
        assert cli.json("show", "only")["state"] == "pending"
        terminal.resize(1, 1)
        terminal.until("t")
        terminal.press("\x11")
        assert terminal.ended() == 0
        terminal.check_restored()
    finally:
        terminal.close()


def _press_in_vain(terminal: Terminal, keys: str) -> None:
    """Press keys that must do nothing, then ctrl+l, which draws the line again. When the line
    comes, all keys have been read."""
    terminal.raw = b""
    terminal.press(keys + "\x0c")
    deadline = time.monotonic() + PATIENCE
    while b"too s" not in terminal.raw:
        assert time.monotonic() < deadline, terminal.text()
        terminal.read(0.1)


async def test_a_page_key_before_the_palette_has_rows(home: Path) -> None:
    """The palette has a list, but no layout yet. A page key ended the console then."""
    async with opened(home, (40, 12)) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("colon")
        await until(console, pilot, "cancel all")
        rows = console.screen.query_one(CommandList)
        rows.highlighted = 0
        rows.styles.min_height = 0
        rows.styles.max_height = 0
        rows.clear_options()
        await pilot.pause()
        rows.add_option("retry")
        rows.highlighted = 0
        assert not rows.scrollable_content_region
        await pilot.press("pagedown", "pageup")
        assert rows.highlighted == 0
        rows.styles.max_height = 10
        await pilot.pause()
        await pilot.press("pagedown", "escape")
        assert "4 jobs" in await settled(console, pilot)


async def test_a_click_beside_a_screen_that_became_smaller(home: Path) -> None:
    """The palette looked for a widget at this place. This ended the console."""
    async with opened(home, (40, 12)) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("colon")
        await until(console, pilot, "cancel all")
        palette = console.screen
        x, y = 57, 0
        palette.post_message(Click(palette, x, y, 0, 0, 1, False, False, False, x, y))
        await pilot.pause()
        assert console.screen is palette
        await pilot.press("escape")
        assert "4 jobs" in await settled(console, pilot)
