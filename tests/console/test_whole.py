"""All keys, all commands and all colours, each in one table.

``UPDATE_SNAPSHOTS=1 pytest tests/console/test_whole.py`` writes them again. Read the diff.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import pytest
from textual.app import SystemCommand
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES
from textual.widgets import Input

from queuectl_core.queue import Queue
from queuectl_tui.console.app import Console
from queuectl_tui.console.palette import commands
from queuectl_tui.console.screens.help import help_rows
from queuectl_tui.console.theme import (
    CHOICES,
    DARK,
    LIGHT,
    LOOKS_LIKE,
    RoleStyles,
    styles_of,
)

from ..snapshots import same_as
from .scenes import NOW, opened, settled, text_of

SIZE = (160, 40)
FOLDER = Path(__file__).parent / "snapshots"

Place = tuple[str, Sequence[str], Sequence[str]]
"""What is visited, the keys that lead there, the keys that lead away."""
PLACES: dict[str, Sequence[Place]] = {
    "jobs": (
        ("the jobs", (), ()),
        ("the jobs, with marks", ("space", "space"), ("ctrl+backslash",)),
        ("a dead job", ("G",), ("g",)),
        ("a filter", ("slash", "s", "y"), ("enter",)),
        ("filtered jobs", (), ("escape",)),
        ("the states", ("1",), ()),
    ),
    "panes": (
        ("the workers", ("2",), ()),
        ("an idle worker", ("G",), ()),
        ("the workers, with marks", ("space", "g", "space"), ("ctrl+backslash",)),
        ("no worker matches", ("slash", *"nowhere", "enter"), ("escape",)),
        ("the DLQ", ("3",), ()),
        ("a filtered DLQ", ("slash", *"sync", "enter"), ()),
        ("the jobs beside it", ("4",), ()),
    ),
    "job": (
        ("a dead job", ("G", "enter"), ()),
        ("a job, in its output", ("tab",), ("escape",)),
        ("a failed job", ("4", "slash", *"flaky", "enter", "enter"), ("escape", "escape")),
        ("why", ("w",), ("escape",)),
        ("the output", ("slash", *"report", "enter", "l"), ()),
        ("the output, full", ("f",), ()),
    ),
    "pages": (
        ("the queues", ("5",), ("escape",)),
        ("the schedules", ("6",), ("escape",)),
        ("a schedule", ("6", "enter"), ("escape", "escape")),
        ("the events", ("8",), ()),
        ("an event", ("enter",), ("escape", "escape")),
        ("the hooks", ("9",), ()),
    ),
    "dialogs": (
        ("a new job", ("e",), ("escape",)),
        ("the fields of a job", ("j", "E"), ("escape",)),
        ("a question", ("D",), ("escape",)),
        ("how many workers", ("s",), ("escape",)),
        ("the messages", ("m",), ("escape",)),
        ("the help", ("question_mark",), ()),
    ),
}


async def furnish(home: Path) -> None:
    env = {"HOME": str(home)}
    async with Queue.open(str(home / "queue.db"), env=env, clock=lambda: NOW - 60) as queue:
        await queue.add_schedule("nightly", {"cron": "30 2 * * *", "tz": "UTC"}, {"command": "x"})
        await queue.add_hook("chat", ["dead"], url="https://chat.example.org/x", cwd="/")


TEXTUALS = {
    made.description
    for kind in (Input, VerticalScroll, Screen)
    for made in kind.BINDINGS
    if isinstance(made, Binding)
}


def help_of(console: Console) -> list[str]:
    """The sections of the help: (keys, what they do), without those of Textual's own widgets."""
    sections: list[str] = []
    for row in help_rows(console.screen)[:-2]:
        line = "".join(text for text, _ in row)
        if line and not line.startswith(" "):
            sections.append(line)
        elif line[16:] not in TEXTUALS and line:
            sections[-1] += f"\n  {line}"
    return sections


async def visit(console: Console, pilot: Pilot[int], places: Sequence[Place]) -> str:
    """The keys at the foot of each place, and those in its help if they are others than before."""
    found: list[str] = []
    seen: set[str] = set()
    for name, there, back in places:
        await pilot.press(*there)
        await settled(console, pilot)
        foot = text_of(console).rstrip("\n").splitlines()[-1].strip()
        found.append(f"\n{name} ({console.screen.__class__.__name__}):\n  {foot}")
        found += [f"  {section}" for section in help_of(console) if section not in seen]
        seen.update(help_of(console))
        await pilot.press(*back)
    return "\n".join(found).lstrip("\n")


@pytest.mark.parametrize("name", PLACES)
async def test_the_keys_of_every_screen(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    await furnish(home)
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        text = await visit(console, pilot, PLACES[name])
    same_as(FOLDER / f"keys-{name}.txt", text)


async def test_a_read_only_console_has_no_keys_that_change(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    await furnish(home)
    names = ("the jobs", "the workers", "the DLQ", "a failed job", "the queues", "the schedules",
             "the hooks")  # fmt: skip
    places = [place for some in PLACES.values() for place in some if place[0] in names]
    async with opened(home, SIZE, read_only=True) as (console, pilot):
        await settled(console, pilot)
        text = await visit(console, pilot, places)
    same_as(FOLDER / "keys-read-only.txt", text)


# -- colours ------------------------------------------------------------------------------

ROLES = (*(one.name for one in fields(RoleStyles)), *LOOKS_LIKE)


def test_the_styles_of_every_theme() -> None:
    lines = []
    for theme in (DARK, LIGHT, BUILTIN_THEMES["ansi-dark"], BUILTIN_THEMES["ansi-light"]):
        lines.append(f"{theme.name}{'' if theme.dark else ' (light)'}")
        if not theme.ansi:
            names = ("primary", "secondary", "accent", "success", "warning", "error", "foreground",
                     "background", "surface", "panel")  # fmt: skip
            lines += [f"  {name:<16}{getattr(theme, name)}" for name in names]
            lines += [f"  ${name:<15}{value}" for name, value in sorted(theme.variables.items())]
        roles = styles_of(theme)
        lines += [f"  {role:<16}{roles.of(role)}" for role in ROLES]
    assert CHOICES == ("queuectl-dark", "queuectl-light", "ansi-dark", "ansi-light")
    same_as(FOLDER / "styles.txt", "\n".join(lines))


async def test_the_colours_on_the_screen(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both themes of ours: each style, and the first text that has it."""
    monkeypatch.setenv("TZ", "UTC")
    lines: list[str] = []
    async with opened(home, (120, 40)) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("space")
        for theme in ("queuectl-dark", "queuectl-light"):
            console.theme = theme
            for name, keys in (("jobs", ()), ("question", ("D",)), ("form", ("escape", "e"))):
                await pilot.press(*keys)
                await settled(console, pilot)
                lines.append(f"{theme}, {name}")
                seen: dict[str, str] = {}
                for strip in console.screen._compositor.render_strips():
                    for segment in strip:
                        shown = str(segment.style).split(" meta")[0]
                        seen.setdefault(shown, segment.text.strip()[:30])
                lines += [f"  {style:<50}{text}".rstrip() for style, text in seen.items()]
            await pilot.press("escape")
    same_as(FOLDER / "colours.txt", "\n".join(lines))


# -- the palette --------------------------------------------------------------------------


def titles(found: Iterable[SystemCommand]) -> str:
    return "\n".join(f"  {one.title:<24}{one.help}" for one in found)


@pytest.mark.parametrize("read_only", [False, True], ids=["", "read-only"])
async def test_the_commands_of_the_palette(home: Path, read_only: bool) -> None:
    """What they are called on the main screen and on that of a job, and what those say that only
    show a line for a shell."""
    async with opened(home, SIZE, read_only=read_only) as (console, pilot):
        await settled(console, pilot)
        here = list(commands(console, console.screen))
        lines = ["the main screen", titles(here)]
        for one in here:
            if "shows its line" in one.help:
                one.callback()
                lines.append(f"{one.title}: {console.last_message}")
        await pilot.press("enter")
        await settled(console, pilot)
        lines += ["a job", titles(commands(console, console.screen))]
    same_as(FOLDER / f"palette{'-read-only' if read_only else ''}.txt", "\n".join(lines))
