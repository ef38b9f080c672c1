"""Keys that arrive in one packet have the same effect as the same keys typed slowly."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.widgets import Input

from queuectl_core.domain.jobspec import Defaults
from queuectl_core.domain.model import Filter
from queuectl_core.queue import Queue
from queuectl_tui.console import inputs
from queuectl_tui.console.app import KEYS_WAIT, Console
from queuectl_tui.console.screens.enqueue import EnqueueScreen
from queuectl_tui.console.screens.search import SearchLine
from queuectl_tui.presentation.actions import Action

from .scenes import opened, settled, text_of, until

SIZE = (120, 40)
LONG = bool(os.environ.get("QUEUECTL_LONG_TESTS"))
"""Whether to test every pair and triple of keys, for ten minutes. Otherwise a sample is tested."""

NAMES = {"/": "slash", ":": "colon", "?": "question_mark", "]": "right_square_bracket"}
OPENING = ("/", "e", "s", "x", ":", "?", "D", "R", "c", "enter", "l", "G", "]")
ACTING = ("r", "y", "p", "q", "3", "space", "tab", "escape", "j", "n", "2")
KEYS = OPENING + ACTING


def send(console: Console, *keys: str) -> None:
    """Send keys as the driver does when one packet has them."""
    for key in keys:
        character = {"enter": "\r", "space": " ", "tab": "\t", "escape": "\x1b"}.get(key, key)
        assert console._driver is not None
        console._driver.send_message(events.Key(NAMES.get(key, key), character))


async def quiet(console: Console) -> None:
    """Wait until the console is idle."""
    still = 0
    while still < 3:
        for node in (console, *console.screen.walk_children(), console.screen):
            done = asyncio.Event()
            if node.is_running and node.call_later(done.set):
                while not done.is_set() and node.is_running:
                    await asyncio.sleep(0)
        busy = [w for w in console.workers if w.group not in ("watch", "waiting")]
        typing = [line for line in console.main.query(SearchLine) if line._later is not None]
        still = 0 if busy or typing else still + 1
        await asyncio.sleep(0.01 if busy or typing else 0)


async def rest(console: Console) -> None:
    """Wait until all keys have arrived and done their work."""
    await quiet(console)  # they arrive
    await console.inputs.idle()
    await quiet(console)


def state(console: Console, done: list[str]) -> dict[str, Any]:
    """The important things that an operator would see, and the actions."""
    main = console.main
    return {
        "screens": [type(screen).__name__ for screen in console.screen_stack],
        "focus": console.focused and console.focused.id,
        "typed": [(box.id, box.value) for screen in console.screen_stack
                  for box in screen.query(Input)],
        "filter": main.jobs.where,
        "cursor": main.jobs.current and main.jobs.current.id,
        "marks": [sorted(map(str, pane.marks)) for pane in main.panes],
        "paused": console.paused,
        "done": list(done),
    }  # fmt: skip


async def fresh(console: Console, done: list[str]) -> None:
    """Go back to the state of the start: only the main screen, no filter, marks or actions."""
    while len(console.screen_stack) > 1:
        await console.pop_screen()
    main = console.main
    for line in main.query(SearchLine):
        await line.remove()
    for pane in main.panes:
        pane.marks.clear()
    main._narrowed = dict.fromkeys(main._narrowed, "")
    main.jobs.filter(Filter())
    main.action_pane("workers")
    for pane in main.panes:
        pane.action_first()
    await quiet(console)
    main.action_pane("jobs")
    main.jobs.action_first()
    console.paused = False
    console.drafts.clear()
    done.clear()
    await quiet(console)


def recording(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Actions are recorded and not done, so the store stays the same."""
    done: list[str] = []

    async def carry_out(self: Console, action: Action) -> None:
        done.append(action.command)

    async def quit_(self: Console) -> None:
        done.append("quit")

    monkeypatch.setattr(Console, "carry_out", carry_out)
    monkeypatch.setattr(Console, "action_quit", quit_)
    return done


def sample() -> list[tuple[str, ...]]:
    pairs = list(itertools.product(OPENING, KEYS))
    triples = list(itertools.product(OPENING, KEYS, KEYS))
    if LONG:
        return [*pairs, *triples]
    chosen = random.Random(12)  # always the same ones, so that a failure can be repeated
    return [*chosen.sample(pairs, 8), *chosen.sample(triples, 5)]


async def typed_slowly(console: Console, done: list[str], keys: Sequence[str]) -> dict[str, Any]:
    await fresh(console, done)
    for key in keys:
        send(console, key)
        await rest(console)
    return state(console, done)


async def sent_in(console: Console, done: list[str], *packets: Sequence[str]) -> dict[str, Any]:
    await fresh(console, done)
    for packet in packets:
        send(console, *packet)
        await asyncio.sleep(0)
    await rest(console)
    return state(console, done)


async def test_pairs_and_triples_of_opening_and_acting_keys(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = recording(monkeypatch)
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        for keys in sample():
            slowly = await typed_slowly(console, done, keys)
            assert await sent_in(console, done, keys) == slowly, keys


@pytest.mark.parametrize(
    "keys",
    [
        ("/", *"proxy", "enter"),
        ("/", *"mail-3", "enter", "D", "y"),
        ("s", "3", "enter"),
        ("e", "s"),
        ("e", *"true", "tab", "tab", "tab", "tab", *"+2h", "enter"),
        ("G", "D", "y"),
        ("3", "enter", "G", "r"),
        (":", *"stats", "enter"),
        (":", *"cancel all", "enter", "y"),
        ("]", "space", "space", "c", "y"),
    ],
    ids=" ".join,
)
async def test_whole_commands_split_at_each_key(
    home: Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...]
) -> None:
    keys = tuple("space" if key == " " else key for key in keys)
    done = recording(monkeypatch)
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        slowly = await typed_slowly(console, done, keys)
        for at in range(len(keys)) if LONG else (0, len(keys) - 1):
            assert await sent_in(console, done, keys[:at], keys[at:]) == slowly, at


async def test_that_keys_wait_is_said_only_while_they_wait(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = asyncio.Event()
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        reader = type(console.connections.reader)
        defaults = reader.defaults

        async def slow(queue: Queue) -> Defaults:
            await answers.wait()
            return await defaults(queue)

        monkeypatch.setattr(reader, "defaults", slow)
        send(console, "e", "x")
        await until(console, pilot, KEYS_WAIT)
        answers.set()
        await until(console, pilot, "enqueue a job")
        await rest(console)
        assert console.screen.query_one("#in-command", Input).value == "x"
        assert KEYS_WAIT not in text_of(console)
        send(console, "escape")
        await rest(console)
        assert KEYS_WAIT not in text_of(console)


async def test_esc_is_for_a_form_that_is_open_but_slow(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the past esc only dropped the waiting keys. The form stayed open and got the next keys."""
    drawn = asyncio.Event()
    on_mount = EnqueueScreen.on_mount

    async def slow(form: EnqueueScreen) -> None:
        await drawn.wait()
        on_mount(form)

    monkeypatch.setattr(EnqueueScreen, "on_mount", slow)
    monkeypatch.setattr(inputs, "PATIENCE", 0.0)
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        send(console, "e", "x")
        while not (isinstance(console.screen, EnqueueScreen) and console.inputs._stuck):
            await asyncio.sleep(0.01)
        send(console, "escape", "p")
        drawn.set()
        await rest(console)
        assert len(console.screen_stack) == 1
        assert console.drafts["enqueue"] == {"command": "x"}
        assert console.paused
