"""The supervisor's end of a shim: it never blocks the event loop, and kills none that leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import psutil
import pytest

from queuectl_core.runner.events import RunnerEvent
from queuectl_core.runner.journal_reader import JournalReader, make_first
from queuectl_core.supervisor import shim_client
from queuectl_core.supervisor.shim_client import ShimClient

from ..support import eventually, eventually_async


class Heard:
    """What a shim's supervisor heard, and whether the loop went on meanwhile."""

    def __init__(self) -> None:
        self.events: list[RunnerEvent] = []
        self.deaths = 0
        self.longest = 0.0

    def die(self) -> None:
        self.deaths += 1

    @staticmethod
    def fail(error: Exception) -> None:
        raise error

    async def watch_loop(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            self.longest = max(self.longest, time.monotonic() - before)


@pytest.fixture
async def heard() -> AsyncIterator[Heard]:
    made = Heard()
    watching = asyncio.create_task(made.watch_loop())
    yield made
    watching.cancel()


def program(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> Callable[[Path, str, Sequence[str]], list[str]]:
    """Start ``text`` in place of the shim."""

    def line(run: Path, name: str, deadline: Sequence[str] = ()) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", text]

    monkeypatch.setattr(shim_client, "command_line", line)
    return line


def process_of(shim: ShimClient) -> subprocess.Popen[bytes]:
    assert shim._process
    return shim._process


async def test_one_that_closes_its_output_and_lives_does_not_block_the_loop(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(monkeypatch, "import os, time; os.close(1); time.sleep(60)")
    monkeypatch.setattr(shim_client, "DYING_PATIENCE", 1.5)
    shim = ShimClient(heard.events.append, heard.die, heard.fail)
    await shim.start(tmp_path, "s", os.environ)
    await eventually_async(lambda: asyncio.sleep(0, heard.deaths))
    await asyncio.sleep(0.05)  # the watch of the loop comes first
    assert heard.longest < 1.2
    assert process_of(shim).poll() == -signal.SIGKILL  # it might run jobs still


async def test_a_stopped_shim_is_not_killed_when_we_leave(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shim_client, "LEAVING_PATIENCE", 0.1)
    make_first(tmp_path / "s.journal")
    shim = ShimClient(heard.events.append, heard.die, heard.fail)
    await shim.start(tmp_path, "s", os.environ)
    await asyncio.to_thread(eventually, JournalReader(tmp_path, "s").shim_alive)
    process_of(shim).send_signal(signal.SIGSTOP)
    assert await shim.close()
    await eventually_async(lambda: asyncio.sleep(0, process_of(shim).poll() is not None))
    assert process_of(shim).returncode == 0
    assert heard.deaths == 0


async def test_one_that_cannot_leave_stays(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its journal cannot be written, say; it may read output of processes that jobs left."""
    monkeypatch.setattr(shim_client, "LEAVING_PATIENCE", 0.1)
    monkeypatch.setattr(shim_client, "WOKEN_PATIENCE", 0.1)
    program(monkeypatch, "import time; time.sleep(60)")
    shim = ShimClient(heard.events.append, heard.die, heard.fail)
    await shim.start(tmp_path, "s", os.environ)
    assert not await shim.close()
    process = process_of(shim)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    # Nobody asks for it any more, and it does not stay as a zombie.
    await eventually_async(lambda: asyncio.sleep(0, not psutil.pid_exists(process.pid)))


async def test_one_that_is_left_to_others_is_reaped_when_it_ends(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may run jobs for hours, and the loop that started it is gone by then."""
    program(monkeypatch, "import signal; signal.pause()")
    shim = ShimClient(heard.events.append, heard.die, heard.fail)

    async def start_and_leave() -> int:
        await shim.start(tmp_path, "s", os.environ)
        shim.abandon()
        return process_of(shim).pid

    pid = await asyncio.to_thread(asyncio.run, start_and_leave())
    os.kill(pid, signal.SIGKILL)
    await eventually_async(lambda: asyncio.sleep(0, not psutil.pid_exists(pid)))
    assert heard.deaths == 0


async def test_one_whose_start_is_cancelled_leaves_and_is_reaped(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(monkeypatch, "import sys; sys.stdin.read()")
    shim = ShimClient(heard.events.append, heard.die, heard.fail)
    start = asyncio.create_task(shim.start(tmp_path, "s", os.environ))
    await asyncio.sleep(0)  # it has the process, and waits for the loop to read its output
    pid = process_of(shim).pid
    start.cancel()
    await asyncio.wait([start])
    await eventually_async(lambda: asyncio.sleep(0, not psutil.pid_exists(pid)))
    assert start.cancelled()
    assert heard.deaths == 0
