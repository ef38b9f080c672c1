"""Stores with jobs, and the keys for each screen. Screenshots and snapshot tests use them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import textual.app
import textual.pilot
from textual._context import active_app, visible_screen_stack
from textual._wait import SLEEP_GRANULARITY, wait_for_idle
from textual.pilot import Pilot, WaitForScreenTimeout

from queuectl_core.domain.claims import AttemptResult, ClaimRequest, ClaimSlot
from queuectl_core.domain.lifecycle import Policy, settle
from queuectl_core.domain.model import Attempt, Job, Outcome, SupervisorRow
from queuectl_core.operations.attempt_output import log_path
from queuectl_core.queue import Queue
from queuectl_tui.console.app import Console
from queuectl_tui.console.widgets.status_bars import Notice
from queuectl_tui.presentation.connections import Connections
from queuectl_tui.presentation.monitor import Monitor

NOW = 1_790_000_000.0
POLICY = Policy(backoff_max=3600.0, backoff_jitter=0.0, max_crashes=3)
SUPERVISOR = SupervisorRow(
    id="w3kd",
    host="alpha",
    host_key="another-boot:1",
    pid=4242,
    pid_start=1.0,
    detached=True,
    heartbeat_at=NOW,
    lease_until=NOW + 1e9,
    lease_mono=0.0,
)
DEAD = (
    ("fetch-prices", "curl -fsS https://prices.example/{n}", "exit 22: error 503 from node-{n}"),
    ("resize", "convert photo-{n}.png -resize 800x out.png", "exit 1: no space left on device"),
    ("sync", "rsync -a /srv/{n}/ backup:/srv/{n}/", "exit 12: connection to 10.0.0.{n} refused"),
)

Notice.PASSES = Notice.BAD_PASSES = 3600.0  # messages stay, also on a slow machine


@dataclass(frozen=True, slots=True)
class Scene:
    """A screen: the keys that lead to it, and a word that is only on this screen."""

    keys: tuple[str, ...]
    shows: str


def typed(text: str) -> tuple[str, ...]:
    """The keys for a text."""
    names = {" ": "space", "-": "minus", "/": "slash", ".": "full_stop", "+": "plus"}
    return tuple(names.get(char, char) for char in text)


SCENES = {
    "console": Scene((), "4 jobs"),
    "dlq": Scene(("3", "j", "enter"), "sync-3"),
    "confirm": Scene(("3", "D"), "Delete"),
    "job": Scene(("slash", *typed("report"), "enter", "enter"), "attempts"),
    "output": Scene(("slash", *typed("report"), "enter", "l"), "page 60"),
    "enqueue": Scene(("e", *typed("make nightly"), "tab", *typed("nightly"), "tab", "tab", "tab",
                      *typed("+2h")), "runs at"),
    "queues": Scene(("5",), "5 queues 1"),
    "why": Scene(("j", "w"), "NotDue"),
    "edit": Scene(("j", "E", "tab", "7"), "enter: change"),
    "help": Scene(("question_mark",), "this screen"),
}  # fmt: skip


async def seed(home: Path) -> None:
    """A store at ``home/queue.db``: jobs in every state, three workers, three causes of death."""
    env = {"HOME": str(home)}
    async with Queue.open(str(home / "queue.db"), env=env, clock=lambda: NOW - 900) as queue:
        queue.cwd = "/srv/app"
        await queue.store.register(SUPERVISOR, [(f"w3kd-{n}", ()) for n in (1, 2, 3)], NOW - 5)
        for kind, command, error in DEAD:
            for n in range(1, 8 if kind == "fetch-prices" else 4):
                job = {"id": f"{kind}-{n}", "command": command.format(n=n), "max_retries": 1}
                await _run(queue, job, NOW - 800 + n, error.format(n=n))
        for n in range(1, 25):
            await _run(
                queue,
                {"id": f"mail-{n}", "command": f"send-mail --to {n}@example.org"},
                NOW - 5 * n,
            )
        await _run(
            queue,
            {"id": "flaky-7", "command": "./import.sh", "max_retries": 5},
            NOW - 40,
            "exit 75: the other side is busy",
        )
        await queue.enqueue(
            [
                {
                    "id": "report-q3",
                    "command": "make report QUARTER=3",
                    "priority": 5,
                    "env": {"LANG": "C.UTF-8"},
                }
            ]
        )
        await queue.enqueue([{"id": "index", "command": "reindex --all --jobs 4"}])
        jobs = await _claim(queue, NOW - 75, 2)
        report = next(job for job in jobs if job.id == "report-q3")
        path = log_path(queue.directory, report.seq, report.runs)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"rendering page {n} of 120\n" for n in range(1, 61)))
        await queue.store.sample(
            [("w3kd-1", 4250, 97.0, 412 << 20), ("w3kd-2", 4260, 12.0, 9 << 20)]
        )
        await queue.enqueue(
            [{"id": f"thumb-{n}", "command": f"thumbnail {n}.jpg"} for n in (1, 2, 3)]
        )
        await queue.enqueue([{"id": "later", "command": "cleanup", "run_at": NOW + 7200}])
        doomed = (await queue.enqueue([{"id": "typo", "command": "gti pull"}]))[0]
        await queue.cancel([doomed])


async def _claim(queue: Queue, at: float, count: int) -> list[Job]:
    openings = [ClaimSlot(f"w3kd-{n}") for n in range(1, count + 1)]
    return list(
        (await queue.store.settle_and_claim(ClaimRequest(SUPERVISOR.id, [], openings, at))).claimed
    )


async def _run(
    queue: Queue, source: dict[str, object], at: float, error: str | None = None
) -> None:
    await queue.enqueue([source])
    job = (await _claim(queue, at, 1))[0]
    outcome = Outcome.FAILED if error else Outcome.COMPLETED
    code = int(error.split()[1].rstrip(":")) if error else 0
    after = settle(outcome, error, attempts=0, crashes=0, max_retries=job.max_retries,
                   backoff_base=job.backoff_base, policy=POLICY, now=at + 2)  # fmt: skip
    attempt = Attempt(
        number=1, started_at=at, finished_at=at + 2, outcome=outcome, exit_code=code, signal=None,
        reason=error, worker="w3kd-3", host="alpha", peak_memory=30 << 20, cpu_seconds=1.25,
        output_bytes=0, waited=1.0,
    )  # fmt: skip
    await queue.store.settle_and_claim(
        ClaimRequest(SUPERVISOR.id, [AttemptResult(job.seq, 1, attempt, after)], [], at + 2)
    )


@asynccontextmanager
async def opened(
    home: Path,
    size: tuple[int, int],
    *,
    read_only: bool = False,
    env: dict[str, str] | None = None,
    url: str | None = None,
) -> AsyncIterator[tuple[Console, Pilot[int]]]:
    """The console on ``home/queue.db`` (or on ``url``). Its clock stands still."""
    env = {"HOME": str(home), "TERM": "xterm-256color", **(env or {})}
    connections = Connections(
        url or str(home / "queue.db"), read_only=read_only, env=env, clock=lambda: NOW
    )
    monitor = Monitor(connections)
    try:
        console = Console(monitor, await monitor.first(), host="alpha")
        async with console.run_test(size=size) as pilot:
            _bound_waiting(pilot)
            yield console, pilot
    finally:
        await connections.drop()


def _bound_waiting(pilot: Pilot[int]) -> None:
    """Limit how long the pilot waits. After a key it waits until every widget has answered. If the
    screen of a widget closes meanwhile, this widget never answers, and the pilot fails after half a
    minute."""
    wait = pilot._wait_for_screen

    async def bounded(timeout: float = 2.0) -> bool:
        try:
            return await wait(timeout)
        except WaitForScreenTimeout:
            return True

    pilot._wait_for_screen = bounded  # type: ignore[method-assign]


QUIET_ROUNDS = 3
"""So many turns of the event loop one after the other, each after a millisecond, find nothing."""


async def _idle(min_sleep: float = 0.0, max_sleep: float = 1.0) -> None:
    """Wait until the console has nothing to do. Textual sleeps for 20 ms, twice after each key, and
    guesses by the time of the processor. This one looks. If the console has something to do for so
    long (it may wait for a store that is locked), Textual's own way decides."""
    app = active_app.get(None)
    deadline = time.monotonic() + SLEEP_GRANULARITY
    quiet = 0
    while isinstance(app, Console) and time.monotonic() < deadline:
        await asyncio.sleep(0.001)
        quiet = quiet + 1 if _nothing_to_do(app) else 0
        if quiet == QUIET_ROUNDS:
            return
    await wait_for_idle(min_sleep, max_sleep)


for module in (textual.app, textual.pilot):
    vars(module)["wait_for_idle"] = _idle


def _nothing_to_do(console: Console) -> bool:
    """Whether no key is at work, nothing is read from the store, and no message waits."""
    delivering = console.inputs._delivering
    if (delivering and not delivering.done()) or console.in_progress:
        return False
    if any(worker.group != "watch" and not worker.is_finished for worker in console.workers):
        return False
    pumps = (console, *console.screen.walk_children(with_self=True))
    return all(pump._message_queue.empty() for pump in pumps)


def text_of(console: Console) -> str:
    """The text on the screen, line by line."""
    # A dialog would be drawn, and kept, without the screen below it.
    visible_screen_stack.set(console._background_screens)
    strips = console.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


async def until(console: Console, pilot: Pilot[int], wanted: str, *, patience: float = 20) -> str:
    """Wait until ``wanted`` is on the screen. Returns the text on the screen."""
    deadline = time.monotonic() + patience
    while wanted not in (text := text_of(console)):
        if time.monotonic() > deadline:
            raise AssertionError(f"{wanted!r} never came:\n{text}")
        await pilot.pause(0.02)
    return text


async def settled(console: Console, pilot: Pilot[int]) -> str:
    """Wait until nothing is read and nothing changes. Returns the text on the screen."""
    before = ""
    while True:
        await pilot.pause(0.05)
        busy = [w for w in console.workers if w.group != "watch" and not w.is_finished]
        now = text_of(console)
        if not busy and now == before:
            return now
        before = now


async def play(console: Console, pilot: Pilot[int], name: str) -> str:
    """Go to a scene. Returns its text."""
    scene = SCENES[name]
    await settled(console, pilot)
    for key in scene.keys:
        await pilot.press(key)
        if key in ("enter", "e", "l", "D", "E", "w", "5", "6", "8", "9"):
            await settled(console, pilot)
    if console.size.height > 20 or name != "output":
        await until(console, pilot, scene.shows)
    return await settled(console, pilot)
