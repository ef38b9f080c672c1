"""Hooks in the console."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuectl_core.domain.errors import NotFound
from queuectl_core.domain.hooks import HookInfo
from queuectl_core.operations.hooks import new_hook
from queuectl_core.queue import Queue
from queuectl_tui.presentation.columns import table
from queuectl_tui.presentation.hook_actions import remove_hook, try_hook
from queuectl_tui.presentation.hooks import HOOK_COLUMNS

from .scenes import NOW, opened, settled, until
from .test_keys import said

SIZE = (120, 40)
SMALL = (40, 12)
HOSTILE = "[@click=app.quit]x[/] \x1b]0;owned\x07 \u202e"


@pytest.fixture
async def hooked(home: Path) -> Path:
    """A home with two hooks; ``chat`` is paused."""
    async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW) as queue:
        await queue.add_hook("chat", ["dead"], url="https://chat.example.org/secret-part", cwd="/")
        await queue.pause_hook("chat", HOSTILE)
        await queue.add_hook("mail", ["dead", "failed"], command=("echo", HOSTILE), cwd="/")
    return home


@pytest.mark.parametrize("size", [SIZE, SMALL])
async def test_9_shows_the_hooks(hooked: Path, size: tuple[int, int]) -> None:
    async with opened(hooked, size) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("9")
        text = await until(console, pilot, "chat: paused by ")
        assert "9 hooks 2  1 paused" in text
        await pilot.press("enter")
        text += await until(console, pilot, "hook chat")
        text += await settled(console, pilot)
        if size == SIZE:
            assert "https://chat.example.org" in text
        await pilot.press("escape", "j", "enter")
        text += await until(console, pilot, "hook mail")
        for hidden in ("\x1b", "\u202e", "secret-part"):
            assert hidden not in text
        await pilot.press("escape", "escape")
        await until(console, pilot, "4 jobs")


async def test_pause_resume_test_and_remove(hooked: Path) -> None:
    async with opened(hooked, SIZE) as (console, pilot):
        reader = console.connections.reader
        await settled(console, pilot)
        await pilot.press("9")
        await until(console, pilot, "P resume")
        await pilot.press("P")
        await until(console, pilot, "Resume hook chat?")
        assert (await reader.hook("chat")).hook.paused_at is not None
        await pilot.press("y")
        assert "$ queuectl hook resume chat" in await said(console, pilot, "hook chat active")
        assert (await reader.hook("chat")).hook.paused_at is None
        await pilot.press("j", "P")
        await until(console, pilot, "Pause hook mail?")
        await pilot.press("n")
        assert (await reader.hook("mail")).hook.paused_at is None
        await pilot.press("P", "y")
        await said(console, pilot, "hook mail paused")
        assert (await reader.hook("mail")).hook.paused_at is not None
        await pilot.press("t")
        await until(console, pilot, "Send a sample to hook mail from this host?")
        await pilot.press("y")
        await said(console, pilot, "accepted: exit 0")
        await pilot.press("D")
        await until(console, pilot, "Remove hook mail?")
        await pilot.press("n")
        await said(console, pilot, "nothing was changed")
        assert await reader.hook("mail")
        await pilot.press("D", "y")
        await said(console, pilot, "hook mail is removed")
        with pytest.raises(NotFound):
            await reader.hook("mail")
        assert await reader.hook("chat")
        await until(console, pilot, "9 hooks 1")


async def test_read_only(hooked: Path) -> None:
    async with opened(hooked, SIZE, read_only=True) as (console, pilot):
        before = await console.connections.reader.hooks()
        await settled(console, pilot)
        await pilot.press("9")
        await until(console, pilot, "9 hooks 2")
        await pilot.press("P", "t", "D")
        text = await settled(console, pilot)
        assert "hook chat" not in text
        assert await console.connections.reader.hooks() == before


def test_a_long_command_fills_no_dialog_and_no_table() -> None:
    info = HookInfo(new_hook("long", ["dead"], NOW, cwd="/", command=["echo", "x" * 100_000]))
    texts = [*remove_hook(info).details, *try_hook("long", info).details]
    texts += [column.value(info, NOW) for column in table(HOOK_COLUMNS, "console")]
    assert len(texts) > 2
    assert max(map(len, texts)) <= 300
