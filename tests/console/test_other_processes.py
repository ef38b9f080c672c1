"""A console and other processes use the same store. No acknowledged change is lost, and the console
shows what the others do."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ..support import Cli
from .scenes import opened, settled, typed, until

SIZE = (120, 40)


@pytest.fixture
def shell(home: Path, tmp_path: Path) -> Cli:
    """``queuectl`` on the store of the console, in another shell."""
    return Cli(home / "queue.db", tmp_path)


def ids(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return {row[0] for row in raw.execute("SELECT command FROM jobs")}


async def test_what_a_console_and_a_shell_enqueue_in_turns_is_all_kept(
    home: Path, shell: Cli
) -> None:
    async with opened(home, SIZE) as (console, pilot):
        for name in ("AAA", "BBB"):
            await pilot.press("e")
            await until(console, pilot, "enqueue a job")
            await pilot.press(*typed(f"echo {name}"), "enter")
            await until(console, pilot, "✓ enqueued")
            await settled(console, pilot)
            shown = await asyncio.to_thread(shell, "list", "--search", f"echo {name}")
            assert f"echo {name}" in shown.out
        for name in ("CCC", "DDD"):
            await asyncio.to_thread(shell, "enqueue", f"echo {name}")
        await until(console, pilot, "echo DDD")
        await pilot.press("q")
    assert {f"echo {name * 3}" for name in "ABCD"} <= ids(home / "queue.db")


async def test_thousands_of_jobs_are_enqueued_and_drained_beside_a_console(
    home: Path, shell: Cli
) -> None:
    await asyncio.to_thread(shell, "enqueue", "-", stdin='{"command": "true"}\n' * 300)
    many = '{"command": "true", "queue": "drained"}\n' * 3000
    workers = ("worker", "start", "--count", "4", "--queue", "drained", "--until-empty")
    async with opened(home, SIZE) as (console, pilot):
        await pilot.press("e")
        await until(console, pilot, "enqueue a job")
        await pilot.press(*typed("echo mine"), "enter")
        await until(console, pilot, "✓ enqueued")
        await asyncio.to_thread(shell, "enqueue", "-", stdin=many)
        await asyncio.to_thread(shell, *workers)
        await pilot.press("e")
        await until(console, pilot, "enqueue a job")
        await pilot.press(*typed("echo more"), "enter")
        await until(console, pilot, "echo more")
        await settled(console, pilot)
    assert {"echo mine", "echo more"} <= ids(home / "queue.db")
    with closing(sqlite3.connect(home / "queue.db")) as raw:
        done = raw.execute(
            "SELECT count(*) FROM jobs WHERE queue = 'drained' AND state = 'completed'"
        ).fetchone()[0]
    assert done == 3000


async def test_a_read_only_console_goes_on_after_its_doctor(home: Path, shell: Cli) -> None:
    async with opened(home, SIZE, read_only=True) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("colon")
        await pilot.pause()
        await pilot.press(*typed("doctor"))
        await until(console, pilot, "doctor")
        await pilot.press("enter")
        await until(console, pilot, "quick_check")
        await pilot.press("escape")
        await settled(console, pilot)
        for word in ("first", "second", "third"):
            await asyncio.to_thread(shell, "enqueue", f"echo {word} after the doctor")
            await until(console, pilot, f"echo {word} after the doctor")
