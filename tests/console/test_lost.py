"""If the store disappears, is locked or becomes read-only, the console says so and goes on."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from queuectl_core.domain.errors import StoreReadOnly
from queuectl_core.queue import Queue
from queuectl_core.store.sqlite import connection
from queuectl_tui.console.screens.hooks import HookScreen
from queuectl_tui.console.widgets.status_bars import Stopped

from .scenes import opened, settled, text_of, typed, until

SIZE = (120, 40)


async def test_a_deleted_store_is_a_banner_and_its_return_is_noticed(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        aside = home / "aside"
        aside.mkdir()
        for path in home.glob("queue.db*"):
            shutil.move(path, aside / path.name)
        await until(console, pilot, "▲ lost")
        text = await until(console, pilot, "is not there")
        assert "~/queue.db" in text.splitlines()[0]
        assert "trying again" in " ".join(text.split())
        assert not (home / "queue.db").exists()
        await pilot.press("j", "4", "enter")
        assert console.is_running
        await pilot.press("escape")
        for path in aside.iterdir():
            shutil.move(path, home / path.name)
        await until(console, pilot, "● live")
        async with Queue.open(str(home / "queue.db"), env={}) as queue:
            await queue.enqueue([{"id": "back-again", "command": "true"}])
        await until(console, pilot, "back-again")


async def test_every_page_says_that_the_store_is_lost(home: Path) -> None:
    async with opened(home, (40, 12)) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("4", "enter")
        await until(console, pilot, "attempts")
        await pilot.press("w")
        await console.push_screen(HookScreen("chat"))
        pages = [screen.query_one(Stopped) for screen in console.screen_stack[1:]]
        assert len(pages) == 3
        assert [page.text for page in pages] == [""] * 3
        for path in home.glob("queue.db"):
            path.rename(home / "aside")
        while not all("is not there; trying again" in page.text for page in pages):
            await pilot.pause(0.02)
        assert "▲" in text_of(console)
        (home / "aside").rename(home / "queue.db")
        while any(page.text for page in pages):
            await pilot.pause(0.02)
        await pilot.press("p")
        await until(console, pilot, "‖ paused")


async def test_an_action_on_a_lost_store_says_so(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        for path in home.glob("queue.db*"):
            if path.is_file():
                path.unlink()
        await pilot.press("4", "slash", *typed("resize-1"), "enter")
        await until(console, pilot, "▲ lost")
        await pilot.press("c", "r", "e", "D")
        await pilot.pause()
        assert console.is_running


async def test_a_store_that_is_locked_still_shows_and_fails_the_action_in_words(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LOCK_PATIENCE", 0.3)
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        holder = sqlite3.connect(home / "queue.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        await pilot.press("slash", *typed("resize-1"), "enter")
        await until(console, pilot, "4 jobs 1 ")
        await settled(console, pilot)
        await pilot.press("r")
        # The path of the store decides where the lines break.
        while "by another process" not in " ".join(text_of(console).split()):
            await pilot.pause(0.02)
        holder.execute("ROLLBACK")
        holder.close()
        await pilot.press("r")
        await until(console, pilot, "resize-1 is due again")


async def test_a_store_made_read_only_fails_the_action_in_words(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(self: Queue, jobs: object) -> int:
        raise StoreReadOnly("store queue.db is read-only", "check who owns it and its mode")

    monkeypatch.setattr(Queue, "retry", refused)
    async with opened(home, SIZE) as (console, pilot):
        await pilot.press("slash", *typed("resize-1"), "enter")
        await until(console, pilot, "4 jobs 1 ")
        await settled(console, pilot)
        await pilot.press("r")
        await until(console, pilot, "check who owns it")
        assert console.is_running
