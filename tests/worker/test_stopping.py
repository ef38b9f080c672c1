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

from tests.support import Cli, eventually, kill_marked, marked

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
    from queuectl_core.worker.notify import Signals
    heard = getattr(signal.getsignal(signal.SIGTERM), "__name__", "") != "default_int_handler"
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
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
        reached = not (self.place / "turns").exists() or int(
            (self.place / "turns").read_text()
        ) >= self.step
        if not reached and "int" in self.what:
            return  # cannot be: it would run for ever
        if handled or not reached:
            assert code == 0, told
        else:
            assert code in (-15, 130), told  # before it was a supervisor, or after
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


@pytest.mark.parametrize("what", SCENARIOS)
async def test_a_signal_at_any_turn(what: str, tmp_path: Path) -> None:
    turns = range(1, 140) if SWEEP else sorted(random.sample(range(1, 140), 6))
    for step in turns:
        cli = Cli(tmp_path / "queue.db", tmp_path)
        run = Run(cli, tmp_path / f"{step}", step, what)
        try:
            await run.live()
        finally:
            kill_marked(cli.token)
