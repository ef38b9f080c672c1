"""Each ``$ …`` line that the console shows changes the store as the key did.

Before each action the test copies the store. It does the action with keys, and then runs the shown
line on the copy. Both stores must be equal afterwards. The test fails if it does not use all
functions of :mod:`actions` that make an action. So no new one is forgotten.
"""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

from queuectl_core.queue import Queue
from queuectl_tui.cli.main import run
from queuectl_tui.console.app import Console
from queuectl_tui.presentation import actions, admission_actions
from queuectl_tui.presentation.actions import Action

from .scenes import NOW, opened, text_of

SIZE = (80, 24)

NAMES = {"/": "slash", ":": "colon", " ": "space"}
CONTROL = {"enter": "\r", "tab": "\t", "escape": "\x1b"}

NOT_HERE = {"hold_matching", "release_matching", "set_queue", "remove_queue"}
"""The dashboard has these, and the console has not."""

MAKERS = {
    name: module
    for module in (actions, admission_actions)
    for name, made in inspect.getmembers(module, inspect.isfunction)
    if made.__module__ == module.__name__
    and not name.startswith("_")
    and inspect.signature(made).return_annotation == "Action"
    and name not in NOT_HERE
}
"""The functions that make an action, and their modules."""

HARD = "printf '%s\\n' \"it's $HOME\" é"
"""A command that is hard to quote."""


@dataclass(frozen=True, slots=True)
class Paste:
    """What a terminal sends for a paste."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """An action that was done with keys."""

    keys: str
    line: str
    before: Path
    after: list[Any]


def jobs() -> list[dict[str, Any]]:
    """Jobs that are not in the scenes."""
    full = {"env": {"A": "1"}, "cwd": "/srv", "nice": 5, "memory_limit": "64MiB", "cpu_seconds": 90}
    return [
        *({"id": f"many-{n}", "command": f"echo many {n}"} for n in range(6)),
        {"id": "argv", "command": ["echo", "it's", "two words"]},
        {"id": "full", "command": "make", "queue": "q", "priority": 7, "timeout_seconds": 1.5}
        | {**full, "env": {}},
        *({"id": f"odd-{n}", "command": f"-{n} 'quoted' \"x\" $y"} for n in range(3)),
        {"id": "parent", "command": "true"},
        {"id": "child", "command": "true", "after": ["parent"], "key": "k"},
        {"id": "grandchild", "command": "true", "after_any": ["child"]},
    ]


def search(text: str) -> list[str | Paste]:
    """The keys that filter the jobs by this text."""
    return ["4", "escape", "/", Paste(text), "enter"]


def palette(verb: str) -> list[str | Paste]:
    """The keys that choose a verb of the palette."""
    return [":", *verb, "enter"]


JOBS: list[list[str | Paste]] = [
    [*search("resize-1"), "r"],
    [*search("flaky-7"), "r"],
    [*search("mail-3"), "r", "y"],
    [*search("fetch-prices-"), " ", " ", "r", "y"],
    [*search("sync-"), " ", " ", "D", "y"],
    [*search("many-1"), "c", "y"],
    [*search("many-"), " ", " ", " ", "c", "y"],
    [*search("odd-"), *palette("cancel all"), "y"],
    [*search("-1 'quoted' \"x\" $y"), *palette("remove all"), "y"],
    [*search("fetch-prices-5"), "R", "y"],
    ["4", "escape", "3", "down", "r", "y"],
    ["3", "G", "D", "y"],
    ["1", "G", "up", "enter", "/", Paste("fetch-prices-4"), "enter", "R", "y"],
    [*palette("dlq purge"), "y"],
    [*search("thumb-1"), "h"],
    [*search("thumb-1"), "h"],
    [*search("thumb-"), " ", " ", "h", "y"],
    [*search("thumb-"), " ", " ", *palette("release"), "y"],
    [*search("thumb-2"), *palette("hold")],
    [*search("thumb-"), " ", " ", " ", *palette("release")],
    [
        *search("many-0"), "E", Paste(" 'it''s'"), "tab", *"7", "tab", *"+3h", "tab", *"other",
        "tab", *"5m", "tab", *"9", "tab", *"k1", "enter",
    ],
    [*search("many-0"), "E", *["tab"] * 6, "backspace", "enter"],
    [*search("parent"), "D", "y"],
    ["4", "escape", "1", "G", "enter", "R", "y"],
    ["4", "escape", "1", "g", *["down"] * 4, "enter", *palette("remove all"), "y"],
]  # fmt: skip
"""The actions on jobs."""

OTHERS: list[list[str | Paste]] = [
    ["escape", "2", "x", "y"],
    ["2", "down", "down", "x"],
    ["4", "x", "y"],
    ["s", "2", "tab", *"mail,reports", "enter"],
    ["e", Paste("make all"), "tab", *"built", "enter"],
    ["e", Paste("-x {a} 'b'"), "tab", *"dash", "enter"],
    ["e", Paste("echo one\necho \"it's\""), "tab", *"lines", "enter"],
    [
        "e", Paste(HARD), "tab", *"every", "tab", *"q2",
        "tab", *"3", "tab", *"+10m", "tab", *"7", "tab", *"1.5",
        "tab", *"5m", "tab", *"/srv", "tab", Paste("A=1 B='two words'"),
        "tab", *"3", "tab", Paste("64MiB"), "tab", Paste("30s"), "tab", Paste("2MiB"),
        "enter",
    ],
    [*search("built"), "c", "y", "enter", "e", Paste(" -k 'x y'"), "enter", "escape"],
    [*search("argv"), "c", "y", "enter", "e", Paste(" '; three'"), "ctrl+n", "escape"],
    [*search("full"), "c", "y", "enter", "e", Paste(" all"), "ctrl+n", "escape"],
    ["5", "P", "y", "escape"],
    ["5", "P", "y", "escape"],
    [*search("full"), "P", "y"],
    [*palette("config set"), *"max-retries 7", "enter"],
    [*palette("config unset"), *"max-retries", "enter"],
]  # fmt: skip


class Player:
    """Does steps in a console on a store."""

    def __init__(self, console: Console, pilot: Pilot[int], store: Path, folder: Path) -> None:
        self.console = console
        self.pilot = pilot
        self.store = store
        self.folder = folder
        self.lines: list[str] = []
        self.done: list[Done] = []

    async def press(self, keys: list[str | Paste]) -> None:
        """Send keys together, and wait until all of them have done their work."""
        for key in keys:
            self.console.post_message(key_event(key))
        await self.rest()

    async def rest(self) -> None:
        came = asyncio.Event()
        self.console.call_later(came.set)
        await came.wait()
        await self.console.inputs.idle()
        while self.console.in_progress:
            await asyncio.sleep(0.01)

    async def step(self, keys: list[str | Paste]) -> None:
        before = self.folder / f"before-{len(self.done)}.db"
        last = len(keys) - 1 - (keys[-1] == "escape")
        await self.press(keys[:last])
        copy(self.store, before)
        await self.press(keys[last:])
        try:
            async with asyncio.timeout(20):
                while not self.lines:
                    await self.rest()
        except TimeoutError:
            raise AssertionError(f"nothing was done: {keys}:\n{text_of(self.console)}") from None
        named = " ".join(k.text if isinstance(k, Paste) else k for k in keys)
        line = self.lines[-1]  # the copy contains the effect of the earlier actions
        self.lines.clear()
        self.done.append(Done(named, line, before, contents(self.store)))


def key_event(key: str | Paste) -> events.Event:
    if isinstance(key, Paste):
        return events.Paste(key.text)
    return events.Key(NAMES.get(key, key), key if len(key) == 1 else CONTROL.get(key))


def copy(store: Path, target: Path) -> None:
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(target)) as to:
        source.backup(to)


TABLES = ("jobs", "attempts", "tails", "workers", "config", "counts", "queues", "dependencies")


def contents(store: Path) -> list[Any]:
    """Everything in a store, without generated ids."""
    with closing(sqlite3.connect(store)) as raw:
        found = []
        for table in TABLES:
            rows = raw.execute(f"SELECT * FROM {table}").fetchall()
            if table == "jobs":  # seq, id, …: generated ids differ
                rows = [
                    (row[0], row[1] if len(row[1]) != 10 or "-" in row[1] else "?", *row[2:])
                    for row in rows
                ]
            found.append((table, sorted(rows, key=repr)))
        return found  # fmt: skip


@contextmanager
def spied(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[set[str], list[tuple[int, Any]]]]:
    """The functions that made actions, and the workers that were asked for. No worker is started,
    and the clock stands still."""
    used: set[str] = set()
    started: list[tuple[int, Any]] = []

    def spy(name: str, make: Callable[..., Action]) -> Callable[..., Action]:
        def made(*args: Any, **options: Any) -> Action:
            used.add(name)
            return make(*args, **options)

        return made

    async def start(self: Queue, count: int, queues: Any = ()) -> list[Any]:
        started.append((count, list(queues)))
        return []

    opens = Queue.open

    def open_now(*args: Any, **options: Any) -> Any:
        return opens(*args, **{**options, "clock": lambda: NOW})

    with monkeypatch.context() as patch:
        for name, module in MAKERS.items():
            patch.setattr(module, name, spy(name, getattr(module, name)))
        patch.setattr(Queue, "start_workers", start)
        patch.setattr(Queue, "open", open_now)
        yield used, started


def words(lines: list[str]) -> list[list[list[str]]]:
    """The words of each command in each line, as bash splits them."""
    script = "queuectl() { printf '%s\\0' \"$@\" $'\\1'; }\n"
    for line in lines:
        script += f"{line}\nprintf '%s\\0' $'\\2'\n"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    found: list[list[list[str]]] = []
    commands: list[list[str]] = []
    command: list[str] = []
    for word in done.stdout.split("\0")[:-1]:
        if word == "\2":
            found.append(commands)
            commands = []
        elif word == "\1":
            commands.append(command)
            command = []
        else:
            command.append(word)
    return found


ON_JOBS = {
    *("retry", "cancel", "remove", "retry_matching", "cancel_matching", "remove_matching"),
    *("hold", "release", "edit_fields", "remove_with_children"),
}


@pytest.mark.parametrize(
    ("steps", "makers"),
    [(JOBS, ON_JOBS), (OTHERS, MAKERS.keys() - ON_JOBS)],
    ids=["jobs", "others"],
)
def test_each_line_does_what_the_key_did(
    steps: list[list[str | Paste]],
    makers: set[str],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with spied(monkeypatch) as (used, started):
        done = asyncio.run(play(steps, home, tmp_path, monkeypatch))
        by_keys = list(started)
        started.clear()
        for step, commands in zip(done, words([step.line for step in done]), strict=True):
            monkeypatch.setenv("QUEUECTL_STORE", str(step.before))
            for command in commands:
                stops = command[:2] == ["worker", "stop"]  # it would wait for them for ever
                code = run([*command, "--timeout", "0.05"] if stops else command)
                assert code == (124 if stops else 0), step
            assert contents(step.before) == step.after, f"{step.keys}: $ {step.line}"
        assert started == by_keys
        assert used >= makers, "no step uses these actions"


async def play(
    steps: list[list[str | Paste]], home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Done]:
    """Do these steps."""
    store = home / "queue.db"
    async with Queue.open(str(store), env={}, clock=lambda: NOW) as queue:
        await queue.enqueue(jobs())
    async with opened(home, SIZE) as (console, pilot):
        player = Player(console, pilot, store, folder)
        carry_out = console.carry_out

        async def kept(action: Action) -> None:
            await carry_out(action)
            player.lines.append(action.command)

        monkeypatch.setattr(console, "carry_out", kept)
        for step in steps:
            await player.step(step)
        return player.done
