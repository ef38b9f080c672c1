"""A signal at any moment of a supervisor's life has its effect, whatever else happens then.

The program below counts the turns of its event loop. At a given turn it sends itself a signal, and
at the same moment kills its shim or locks its store. Each turn is tried in some run: those of one
run of the suite are drawn by lot. ``SWEEP=1`` tries all.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from queuectl_core.domain.claims import Commands
from queuectl_core.domain.errors import StoreUnreachable
from queuectl_core.domain.model import State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.supervisor.supervisor import Supervisor
from tests.support import Cli, eventually, eventually_async, kill_marked, marked

from .conftest import Run as RunQueue

PROGRAM = """
import asyncio, faulthandler, os, signal, sqlite3, sys, threading
from pathlib import Path

step, what, place = int(sys.argv[1]), sys.argv[2].split(","), Path(sys.argv[3])
faulthandler.register(signal.SIGUSR1, file=(place / "stacks").open("w"))
main, turns = threading.current_thread(), 0
run_once = asyncio.base_events.BaseEventLoop._run_once

def lock():
    connection = sqlite3.connect(os.environ["QUEUECTL_STORE"], timeout=5, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    threading.Timer(1.5, connection.close).start()

def kill_shim():
    import psutil
    for child in psutil.Process().children():
        child.kill()

def strike():
    # The loop's handler: from there on the supervisor leaves in order. Before, the verb ends.
    if getattr(signal.getsignal(signal.SIGTERM), "__name__", "") == "_sighandler_noop":
        (place / "handled").touch()
    if "lock" in what:
        lock()
    if "shim" in what:
        kill_shim()
    os.kill(os.getpid(), signal.SIGINT if "int" in what else signal.SIGTERM)

def turn(self):
    global turns
    if threading.current_thread() is main:
        turns += 1
        if turns == step:
            strike()
        elif turns == step + 5 and "int" in what:
            os.kill(os.getpid(), signal.SIGINT)
    run_once(self)

asyncio.base_events.BaseEventLoop._run_once = turn
from queuectl_tui.__main__ import main as queuectl
sys.argv = ["queuectl", "worker", "start", "--count", "2", "--until-empty"]
code = queuectl()
(place / "turns").write_text(str(turns))
sys.exit(code)
"""

PATIENCE = 25.0
TURNS = 60
"""Of a short life: from the start until the last jobs run. It has 73 turns or more. In the last
eight the supervisor has ended, so a signal is not for it."""
SWEEP = bool(os.environ.get("SWEEP"))


@dataclass
class Run:
    """One life of a supervisor, with a signal at one turn of its loop."""

    cli: Cli
    place: Path
    step: int
    what: str

    def __post_init__(self) -> None:
        self.place.mkdir()
        self.cli.store = self.place / "queue.db"
        # With two interrupts the jobs are ended, else they end by themselves.
        seconds = 300 if "int" in self.what else 0.2
        jobs = "".join(f'{{"command": "sleep {seconds}"}}\n' for _ in range(3))
        self.cli("enqueue", "-", stdin=jobs)

    async def live(self) -> None:
        """Run it, and see that it left as it should."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            str(self.step),
            self.what,
            str(self.place),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.cli.environment(),
        )
        told = f"{self.what} at turn {self.step}"
        try:
            said, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        except TimeoutError:
            process.send_signal(10)
            await asyncio.sleep(0.5)
            stacks = (self.place / "stacks").read_text()
            process.kill()
            pytest.fail(f"{told}: it does not leave\n{stacks}")
        self.judge(process.returncode, f"{told}: {said.decode()}")

    def judge(self, code: int | None, told: str) -> None:
        handled = (self.place / "handled").exists()
        reached = (
            not (self.place / "turns").exists()
            or int((self.place / "turns").read_text()) >= self.step
        )
        if not reached and "int" in self.what:
            return  # cannot be: it would run for ever
        if handled or not reached:
            assert code == 0, told
        else:
            assert code in (-15, 130, 143), told  # before it was a supervisor, or after
        assert "Traceback" not in told
        assert "internal error" not in told
        with closing(sqlite3.connect(self.place / "queue.db")) as connection:
            states = connection.execute("SELECT state, attempts, crashes FROM jobs").fetchall()
            left = connection.execute("SELECT count(*) FROM supervisors").fetchone()[0]
        for state, attempts, crashes in states:
            assert (state, attempts) in (("completed", 1), ("pending", 0)), told
            assert crashes <= ("shim" in self.what), told
        if handled:
            assert left == 0, told
        eventually(lambda: not [p for p in marked(self.cli.token) if p.pid != os.getpid()], 10)


SCENARIOS = ["term", "term,shim", "term,lock", "int", "int,shim", "int,lock,shim"]


# A test has 120 seconds.
FEW = [range(first, min(first + 5, TURNS)) for first in range(1, TURNS, 5)]


@pytest.mark.parametrize("turns", FEW if SWEEP else [None])
@pytest.mark.parametrize("what", SCENARIOS)
async def test_a_signal_at_any_turn(what: str, turns: range | None, tmp_path: Path) -> None:
    for step in turns or sorted(random.sample(range(1, TURNS), 3)):
        cli = Cli(tmp_path / "queue.db", tmp_path)
        run = Run(cli, tmp_path / f"{step}", step, what)
        try:
            await run.live()
        finally:
            kill_marked(cli.token)


# -- while the store is away --------------------------------------------------------------


async def away(*args: object, **options: object) -> None:
    raise StoreUnreachable("store cannot be reached", "start it")


class Watched:
    """A supervisor in this process, and what it tells."""

    def __init__(self, queue: Queue) -> None:
        self.events: list[Notice] = []
        self.supervisor = Supervisor(queue.store, queue.env, on_notice=self.events.append)
        self.task = asyncio.create_task(self.supervisor.run(1, ()))

    async def told(self, kind: NoticeKind, text: str = "") -> None:
        async def heard() -> bool:
            return any(e.kind is kind and text in e.message for e in self.events)

        await eventually_async(heard)


async def test_one_that_starts_over_while_the_store_is_away_leaves_when_told(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(queue)
    await watched.told(NoticeKind.UP)

    async def unknown(identity: str) -> Commands:
        return Commands(known=False)

    with monkeypatch.context() as patched:
        patched.setattr(queue.store, "register", away)
        patched.setattr(queue.store, "commands", unknown)
        watched.supervisor.heartbeat.lost = True
        watched.supervisor.context.wake()
        await watched.told(NoticeKind.TROUBLE, "trying again")
        watched.supervisor.stop(now=False)
        await asyncio.wait_for(watched.task, 10)


async def test_a_lease_in_doubt_is_asked_for_with_pauses(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    watched = Watched(queue)
    await watched.told(NoticeKind.UP)

    async def counted(identity: str) -> Commands:
        nonlocal calls
        calls += 1
        raise StoreUnreachable("store cannot be reached", "start it")

    with monkeypatch.context() as patched:
        patched.setattr(queue.store, "commands", counted)
        watched.supervisor.heartbeat.lost = True
        watched.supervisor.context.look()
        await watched.told(NoticeKind.TROUBLE, "trying again")
        await eventually_async(lambda: asyncio.sleep(0, calls >= 3))
        assert calls < 20
    watched.supervisor.stop(now=False)
    await asyncio.wait_for(watched.task, 10)


async def test_what_cannot_be_written_down_is_left_to_the_next_supervisor(
    queue: Queue, run: RunQueue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It leaves when the store has failed for as long as a lease, and says so by its exit code."""
    await queue.config_set("lease", "2")
    command = f"until test -e {tmp_path}/go; do sleep 0.02; done; echo >> {tmp_path}/ran"
    (job,) = await queue.enqueue([command])
    watched = Watched(queue)
    await watched.told(NoticeKind.STARTED)
    with monkeypatch.context() as patched:
        patched.setattr(queue.store, "settle_and_claim", away)
        (tmp_path / "go").touch()
        await eventually_async(lambda: asyncio.sleep(0, (tmp_path / "ran").exists()))
        watched.supervisor.stop(now=False)
        with pytest.raises(StoreUnreachable):
            await asyncio.wait_for(watched.task, 20)
    await run()
    found = await queue.find(job.id)
    assert (found.state, found.runs, found.crashes) == (State.COMPLETED, 1, 0)
    assert (tmp_path / "ran").read_text() == "\n"


async def test_a_shim_that_cannot_be_started_again_is_tried_again(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process is left when the shim has been killed: it is told of, and work goes on later."""
    watched = Watched(queue)
    await watched.told(NoticeKind.UP)

    def refuse(*args: object, **options: object) -> None:
        raise BlockingIOError(11, os.strerror(11))

    process = watched.supervisor.executor.shims.shared._process
    assert process is not None
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", refuse)
        process.kill()
        await watched.told(NoticeKind.TROUBLE, "cannot start a shim")
        (job,) = await queue.enqueue(["true"])

    async def completed() -> bool:
        return (await queue.find(job.id)).state is State.COMPLETED

    await eventually_async(completed)
    watched.supervisor.stop(now=False)
    await asyncio.wait_for(watched.task, 10)
