"""Forms: enter makes one job, what was typed is kept, and a command can have several lines."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from textual import events

from queuectl_core.domain.model import Filter, State
from queuectl_core.operations.queries import amend
from queuectl_core.queue import Queue
from queuectl_tui.console.app import Console
from queuectl_tui.presentation.actions import Action

from .scenes import opened, settled, text_of, typed, until
from .test_keys import filtered, said, state_of

SIZE = (120, 40)


async def test_one_job_for_one_enter_while_the_store_is_locked(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        before = await console.connections.reader.count_range(Filter())
        await pilot.press("e")
        await until(console, pilot, "enqueue a job")
        await pilot.press(*typed("echo once"))
        holder = sqlite3.connect(home / "queue.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        await pilot.press("enter")
        await until(console, pilot, "waits for the store")
        await pilot.press("enter", "enter", "escape")
        await said(console, pilot, "still enqueuing")
        holder.execute("ROLLBACK")
        holder.close()
        await said(console, pilot, "enqueued")
        assert await console.connections.reader.count_range(Filter()) == before + 1


async def test_a_form_that_is_left_keeps_what_was_typed(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("e", *typed("make all"), "tab", *typed("mine"), "escape", "e")
        text = await until(console, pilot, "make all")
        assert "mine" in text
        await pilot.press("enter")
        await said(console, pilot, "enqueued mine")
        await settled(console, pilot)
        await pilot.press("e")
        assert "make all" not in (await until(console, pilot, "enqueue a job")).split("command")[1]


async def test_several_lines_are_pasted_whole(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("e")
        await until(console, pilot, "enqueue a job")
        assert console._driver is not None
        console._driver.send_message(events.Paste("echo one\r\necho two\n"))
        await until(console, pilot, "2 lines")
        await pilot.press("tab", *typed("pasted"), "enter")
        await said(console, pilot, "--id pasted $'echo one\\necho two'")
        job = await console.connections.reader.find("pasted")
        assert job.command == "echo one\necho two"


async def test_ctrl_r_in_a_form_enqueues_nothing(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("e", *typed("true"), "ctrl+r")
        await settled(console, pilot)
        assert "enqueue a job" in text_of(console)


async def test_the_line_of_a_copy_has_all_of_the_job(home: Path) -> None:
    async with Queue.open(str(home / "queue.db"), env={}) as queue:
        source = {"id": "full", "command": "false", "queue": "mail", "priority": 7, "nice": 5}
        source |= {"env": {"A": "1", "B": "two words"}, "cwd": "/srv", "stdin": "in\n", "key": "k"}
        source |= {"memory_limit": "64MiB", "cpu_seconds": 90, "output_limit": "2MiB"}
        source |= {"max_retries": 9, "backoff_base": 1.5, "timeout": 60}
        [job] = await queue.enqueue([source])
        await queue.cancel([job])
    async with opened(home, SIZE) as (console, pilot):
        await filtered(console, pilot, "full")
        await pilot.press("enter")
        await until(console, pilot, "cancelled")
        await pilot.press("e")
        await until(console, pilot, "another command")
        await pilot.press("end", *typed(" x"), "ctrl+n")
        line = await said(console, pilot, "a copy of full")
        for option in ("--queue mail", "--priority 7", "--nice 5", "'false x'", "--env 'A=***'"):
            assert option in line
        queue = console.connections.reader
        [copy] = await queue.with_texts(await queue.scan(None, 1))
        [original] = await queue.with_texts([await queue.find("full")])
        assert copy.command == "false x"
        assert (copy.state, copy.env) == (State.PENDING, {"A": "1", "B": "two words"})
        for name in (
            *("queue", "priority", "nice", "env", "cwd", "stdin", "key", "memory_limit"),
            *("cpu_seconds", "output_limit", "max_retries", "backoff_base", "timeout_seconds"),
        ):
            assert getattr(copy, name) == getattr(original, name), name


async def test_s_asks_for_the_queue_too(home: Path, monkeypatch: object) -> None:
    started = []

    async def start(self: Queue, count: int, queues: object = ()) -> list[object]:
        started.append((count, queues))
        return []

    Queue.start_workers, original = start, Queue.start_workers  # type: ignore[assignment,method-assign]
    try:
        async with opened(home, SIZE) as (console, pilot):
            await settled(console, pilot)
            await pilot.press("s", "3", "tab", *typed("mail"), "enter")
            await said(console, pilot, "worker start --detach --count 3 --queue mail")
    finally:
        Queue.start_workers = original  # type: ignore[method-assign]
    assert started == [(3, ["mail"])]


async def test_c_on_a_worker_cancels_its_job(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("2", "c")
        await until(console, pilot, "Cancel report-q3?")
        await pilot.press("y")
        await said(console, pilot, "report-q3 is being ended")
        assert await state_of(console, "report-q3") is State.PROCESSING


async def test_a_second_form_with_the_same_job_ends_with_the_first(home: Path) -> None:
    """In the past it said for ever that it waits for the store, and ignored enter."""
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        before = await console.connections.reader.count_range(Filter())
        await pilot.press("e", *typed("echo once"))
        holder = sqlite3.connect(home / "queue.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        await pilot.press("enter")
        await until(console, pilot, "waits for the store")
        await pilot.press("escape", "e")
        await until(console, pilot, "echo once")
        await pilot.press("enter")
        await said(console, pilot, "this is being done already")
        holder.execute("ROLLBACK")
        holder.close()
        await said(console, pilot, "enqueued")
        await settled(console, pilot)
        assert len(console.screen_stack) == 1
        assert await console.connections.reader.count_range(Filter()) == before + 1
        assert console.drafts["enqueue"] == {}


async def test_a_form_says_what_failed_and_takes_enter_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after an error that is a bug of queuectl."""
    carry_out = Console.carry_out
    faults = [RuntimeError("a fault")]

    async def once(console: Console, action: Action) -> None:
        if faults:
            raise faults.pop()
        await carry_out(console, action)

    monkeypatch.setattr(Console, "carry_out", once)
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("e", *typed("echo again"), "enter")
        await until(console, pilot, "a fault")
        assert "RuntimeError: a fault" in console.last_message
        await pilot.press("enter")
        await said(console, pilot, "✓ enqueued")


async def test_the_draft_of_an_edit_is_for_one_job_and_one_command(home: Path) -> None:
    """Another job may get the id. In the past the draft replaced the command of that job."""
    async with Queue.open(str(home / "queue.db"), env={}) as queue:

        async def cancelled(command: str) -> None:
            [job] = await queue.enqueue([{"id": "same", "command": command}])
            await queue.cancel([job])

        await cancelled("echo one")
        async with opened(home, SIZE) as (console, pilot):

            async def edit() -> str:
                console.edit_job(await console.connections.reader.find("same"))
                return await until(console, pilot, "another command")

            await settled(console, pilot)
            assert "a draft" not in await edit()
            await pilot.press("end", *typed(" two"), "escape")
            text = await edit()
            assert "echo one two" in text
            assert "a draft, not sent yet" in text
            await pilot.press("escape")
            # Another process changes the command.
            job = await queue.find("same")
            await amend(queue, job, "echo other")
            text = await edit()
            assert "echo other" in text
            assert "two" not in text.split("another command")[1].split("esc")[0]
            await pilot.press("end", *typed(" two"), "escape")
            # Another job gets the id, with the same command.
            await queue.cancel([await queue.find("same")])
            await queue.remove([await queue.find("same")])
            await cancelled("echo other")
            assert "a draft" not in await edit()
