"""Tasks of an operator in a real terminal, without a manual. The screen names each key before it is
pressed. Afterwards the test checks in the store that the task is done, and counts the keys.

``pytest -s tests/console/test_tasks.py`` prints the counts.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.model import Outcome
from queuectl_core.domain.times import parse_time
from queuectl_core.queue import Queue

from ..support import Cli, ending, eventually, supervisor
from .terminal import Terminal

SIZES = [(120, 40), (40, 12)]

BARS = {
    "find what fails and why": 2,
    "fix one job and retry it": 8,
    "retry the 500 with the same cause": 4,
    "cancel a runaway": 3,
    "start three workers for one queue": 4,
    "stop one": 3,
    "watch a job": 3,
    "schedule one in ten minutes": 6,
}
"""The limit of keys for each task, from the main screen and back to it. Text that is typed into a
field is not counted."""

UP, DOWN = "\x1b[A", "\x1b[B"
NAMES = {UP: "↑", DOWN: "↓", "\r": "⏎", "\t": "tab", "\x1b": "esc", "\x7f": "backspace"}


REPORT = "for n in $(seq 1 2000); do echo line $n; sleep 0.05; done"


async def incident(path: Path) -> None:
    """A store in which 500 jobs died of one cause and three of another."""
    node = supervisor("old")
    async with Queue.open(str(path)) as queue:
        await queue.enqueue(
            [
                {"id": f"fetch-{n}", "command": f"fetch node-{n}", "max_retries": 1, "queue": "net"}
                for n in range(500)
            ]
            + [
                {"id": f"sum-{n}", "command": "test 2 -eq 2x", "max_retries": 1, "queue": "sum"}
                for n in range(3)
            ]
            + [{"id": f"media-{n}", "command": "true", "queue": "media"} for n in range(3)]
            + [{"id": "report", "command": REPORT}]
            + [{"id": "crunch", "command": "while :; do :; done", "priority": 1}]
        )  # fmt: skip
        now = time.time()
        await queue.store.register(node, [("old-1", ("net", "sum"))], now)
        openings = [ClaimSlot("", ("net", "sum"))] * 503
        claimed = (
            await queue.store.settle_and_claim(ClaimRequest(node.id, [], openings, now))
        ).claimed
        endings = [
            ending(
                job,
                Outcome.FAILED,
                now=now,
                reason=f"exit 1: node {job.id[6:]} is away"
                if job.queue == "net"
                else "exit 1: not a number",
            )
            for job in claimed
        ]
        assert len(endings) == 503
        await queue.store.settle_and_claim(ClaimRequest(node.id, endings, [], now))
        await queue.store.deregister(node.id)


class Operator:
    """Presses keys that the screen names, checks their effect, and counts them."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.keys: list[str] = []

    def press(self, key: str, told: str, shows: str, without: str | None = None) -> None:
        """Press a key. ``told``: the text that names it on the screen. ``shows``: the text that
        appears then."""
        self.terminal.until(told)
        self.keys.append(NAMES.get(key, key))
        self.terminal.press(key)
        self.terminal.until(shows, without=without)

    def type(self, text: str, shows: str) -> None:
        """Type text into the field with the focus."""
        self.terminal.press(text)
        self.terminal.until(shows)


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def operator(request: Any, cli: Cli, store_path: Path) -> Iterator[Operator]:
    asyncio.run(incident(store_path))
    cli("worker", "start", "--detach", "--count", "2", "--queue", "default")
    env = cli.environment() | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    terminal = Terminal([sys.executable, "-m", "queuectl_tui", "tui"], env, request.param)
    yield Operator(terminal)
    terminal.close()


def test_the_operators_tasks(operator: Operator, cli: Cli) -> None:
    counts: dict[str, str] = {}
    small = operator.terminal.screen.columns < 60
    press, screen = operator.press, operator.terminal
    screen.until("● live")

    def task(name: str) -> None:
        """A task is done, and the next one begins."""
        counts[name] = f"{len(operator.keys)} keys: {' '.join(operator.keys)}"
        assert len(operator.keys) <= BARS[name], counts
        operator.keys.clear()

    if small:
        press("3", "1-4", "exit 1: node # is away")
    screen.until("exit 1: node # is away")
    screen.until("500 exit 1")
    screen.until("exit 1: not a number")
    task("find what fails and why")

    press("3", "3 dlq", "r retry 500 dead")
    press(DOWN, "3 exit 1", "r retry 3 dead")
    press("\r", "⏎ open", "4 jobs 3  dead")
    press("\r", "⏎ open", "attempts 1")
    press("e", "e edit", "another command")
    operator.type("\x7f", "test 2 -eq 2 ")
    press("\r", "enter: run it", "✓ sum-2 is due again")
    fixed = cli.json("show", "sum-2")
    assert (fixed["command"], fixed["state"]) == ("test 2 -eq 2", "pending")
    press("\x1b", "esc back", "4 jobs 2  dead")
    press("\x1b", "esc clear filter", "4 jobs 508")
    task("fix one job and retry it")

    press("3", "1-4" if small else "3 dlq", "r retry 2 dead")
    press(UP, "500 exit 1", "r retry 500 dead")
    press("r", "r retry 500 dead", "Retry 500 dead jobs?")
    press("y", " y  yes", "✓ retried 500 jobs")
    status = cli.json("status")["jobs"]
    assert (status["dead"], status["pending"]) == (2, 500 + 3 + 1)
    task("retry the 500 with the same cause")

    press("2", "1-4" if small else "2 workers", "c cancel its job")
    press("c", "c cancel its job", "Cancel crunch?")
    press("y", " y  yes", "✓ crunch is being ended")
    assert eventually(lambda: cli.json("show", "crunch")["state"] == "cancelled")
    task("cancel a runaway")

    press("s", "s start", "how many workers")
    operator.type("3", "count    3")
    press("\t", "tab: queue", "queue")
    operator.type("media", "queue    media")
    press("\r", "enter: confirm", "✓ 3 workers up")
    workers = cli.json("worker", "list")
    assert [w["queues"] for w in workers].count(["media"]) == 3
    done = ("list", "--queue", "media", "--state", "completed")
    assert eventually(lambda: len(cli.json(*done)) == 3)
    task("start three workers for one queue")

    for _ in range(2):  # the first of the three
        press(DOWN, "2 workers 5", "2 workers 5")
    screen.until("x stop worker")
    while re.search(r"busy\s+media-", screen.text()):
        screen.read(0.1)  # it is idle soon; then there is no question
    press("x", "x stop worker", "✓ stopping")
    stopped = eventually(lambda: _only(cli.json("worker", "list"), 4))
    assert [w["queues"] for w in stopped].count(["media"]) == 2
    task("stop one")

    row = next(n for n, w in enumerate(stopped) if w["job"] == "report")
    for _ in range(2 - row):  # the cursor is at the third worker
        press(UP, "report", "2 workers 4")
    press("l", "l output", "running  fol", without="2 workers")
    first = _line(screen)
    screen.until(f"line {first + 5}")
    assert cli("logs", "report").out.startswith("line 1\nline 2\n")
    press("\x1b", "esc back", "2 workers 4")
    task("watch a job")

    press("e", "e enqueue", "enqueue a job")
    operator.type("echo later", "echo later")
    for _ in range(4):
        press("\t", "run_at", "run_at")
    operator.type("+10m", "runs at")
    before = time.time()
    press("\r", "enter: enqueue", "✓ enqueued")
    (job,) = cli.json("list", "--search", "echo later")
    assert job["state"] == "pending"
    assert abs(parse_time(job["run_at"], before) - before - 600) < 30
    task("schedule one in ten minutes")

    screen.press("q")
    assert screen.ended() == 0
    screen.check_restored()
    assert counts.keys() == BARS.keys()
    table = "\n".join(f"  {name:<36} {count}" for name, count in counts.items())
    sys.stdout.write(f"\n{screen.screen.columns}x{screen.screen.lines}\n{table}\n")


def _only(rows: list[Any], count: int) -> list[Any]:
    return rows if len(rows) == count else []


def _line(screen: Terminal) -> int:
    """The newest line of the report on the screen."""
    return max(map(int, re.findall(r"line (\d+)", screen.text())), default=0)
