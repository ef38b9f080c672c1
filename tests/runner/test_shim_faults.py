"""Calls in the shim fail, one after another: no event is lost, and each job is answered."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .test_shim import Driver

SCRIPT = Path(__file__).with_name("faulty_shim.py")
NEVER = str(10**9)
"""When the lease runs out."""
LONGEST = {"memory": 500, "system": 500, "often": 20, "exit": 0}
"""Rounds at the most. The first two end when no call fails any more: after about 80."""


class Rounds:
    """A supervisor that asks for the same jobs again and again."""

    def __init__(self, kind: str, run: Path) -> None:
        words = [sys.executable, "-X", "utf8", str(SCRIPT), kind, str(run), "s", NEVER, NEVER]
        self.longest = LONGEST[kind]
        self.faults = run / "faults"
        with self.faults.open("wb") as told:
            self.driver = Driver(run, words=words, stderr=told)
        self.run = run
        self.number = 0
        self.waiting: set[str] = set()
        self.events: dict[str, list[str]] = {}
        self.received = b""

    def how(self, name: str) -> list[Any]:
        """What this job is."""
        bad = "/no/such/program"
        argv, plain, cwd, limits = ["/bin/sh", "-c", "exit 3"], None, "/", None
        limit = 1 << 16
        if name == "plain":
            plain = ["true"]
        elif name == "forked":
            limits = [1, 0, 0]
        elif name == "no folder":
            cwd = bad
        elif name == "no program":
            argv, limits = [bad], [1, 0, 0]
        elif name == "prints":
            script = "head -c 400000 /dev/zero; sleep 0.02; head -c 100000 /dev/zero; echo end"
            argv = ["/bin/sh", "-c", script]
        elif name == "daemon":
            argv = ["/bin/sh", "-c", "echo said; (sleep 0.03; echo late) & exit 0"]
        elif name == "ended":
            argv = ["/bin/sleep", "300"]
        path = self.run.parent / "logs" / f"{self.token(name)}.log"
        return [argv, plain, cwd, {"A": "b"}, [str(path), limit], limits]

    def token(self, name: str) -> str:
        return f"{name}.{self.number}"

    def play(self) -> None:
        """One round: start all kinds of jobs, and hear how they end."""
        self.number += 1
        started = ["plain", "forked", "no folder", "no program", "prints", "daemon", "ended"]
        held = ["held plain", "held forked", "held prints"]
        self.waiting = {self.token(name) for name in started + held}
        requests: list[list[Any]] = [["use", "w0", ""], ["use", "w9", "idle"]]
        for number, name in enumerate(started):
            worker = f"w{number % 3}"
            requests.append(["start", self.token(name), worker, "", *self.how(name)])
        for name in held:
            how = self.how(name.removeprefix("held "))
            requests.append(["hold", self.token(name), "", *how])
        settled = [token for token in self.events if token.endswith(f".{self.number - 1}")]
        requests += [["start", self.token("malformed")], ["settled", settled]]
        if self.number % 3 == 0:
            (self.run / "s.journal").unlink(missing_ok=True)
        self.driver.send(*requests)
        while self.waiting:
            kind, token, *_ = self.hear()
            if kind == "S" and token == self.token("ended"):
                self.driver.send(["kill", token, 9])
            elif kind == "W":
                self.waiting -= set(token)
            if kind in "SFNXR":
                self.take(kind, token)
        self.driver.send(["recall", ["w0", "w1", "w2", "w9"]])
        while self.hear()[0] != "W":
            pass

    def take(self, kind: str, token: str) -> None:
        """It is told in the right order, and once."""
        told = self.events.setdefault(token, [])
        told.append(kind)
        assert "".join(told) in ("S", "SX", "SN", "SF", "N", "F"), f"{token}: {told}"
        if kind != "S":
            self.waiting.discard(token)

    def hear(self) -> list[Any]:
        assert self.driver.process.stdout
        fd = self.driver.process.stdout.fileno()
        while b"\n" not in self.received:
            ready, _, _ = select.select([fd], [], [], 10)
            data = os.read(fd, 1 << 16) if ready else b""
            last = self.faults.read_text().splitlines()[-5:]
            assert data, f"round {self.number}: nothing about {self.waiting}; faults: {last}"
            self.received += data
        line, _, self.received = self.received.partition(b"\n")
        event: list[Any] = json.loads(line)
        return event


@pytest.fixture
def rounds(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rounds]:
    run = tmp_path / "run"
    run.mkdir()
    rounds = Rounds(request.param, run)
    yield rounds
    rounds.driver.close()


@pytest.mark.parametrize("rounds", ["memory", "system", "often"], indirect=True)
def test_no_event_is_lost_when_a_call_fails(rounds: Rounds) -> None:
    """A MemoryError in a round of starts lost the starts, and one at an exit the exit."""
    quiet, before = 0, -1
    while quiet < 3 and rounds.number < rounds.longest:
        rounds.play()
        found = rounds.faults.read_text().count("\n")
        quiet = quiet + 1 if found == before else 0
        before = found
    assert before > 150
    ended = {token for token, told in rounds.events.items() if told[-1] in "XF"}
    assert len(ended) > rounds.number
    last = {token for token in ended if token.endswith(f".{rounds.number}")}
    rounds.driver.leave()
    try:
        assert rounds.driver.process.wait(10) == 0
    except subprocess.TimeoutExpired:
        pytest.fail("it stays: " + rounds.faults.read_text()[-300:])
    journal = rounds.driver.journal
    assert last <= journal.exits.keys()
    assert not journal.shim_alive()


@pytest.mark.parametrize("rounds", ["exit"], indirect=True)
def test_an_exit_that_the_kernel_tells_only_once_is_missed(rounds: Rounds) -> None:
    """There was no memory for what it had to say: the job ends nevertheless."""
    rounds.driver.start("1.1", "exit 3")
    assert rounds.hear()[:2] == ["S", "1.1"]
    lost = "how it ended was lost: not enough memory"
    events = [rounds.hear(), rounds.hear()]
    assert ["F", "1.1", None, lost] in [event[:4] for event in events]
    rounds.driver.start("2.1", "exit 4")
    assert [rounds.hear()[0], rounds.hear()[2]] == ["S", 4]
