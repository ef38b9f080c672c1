"""Random keys, pastes, resizes and clicks in a real terminal, while the store changes and workers
are killed.

The console must not crash, and at the end the screen must agree with the store. The console must
also change nothing without the key for it, and without the answer if it asks. Triggers in the store
keep a log of all changes. The monkey keeps another log: before a key that may change something, it
looks at the screen and notes what this key may change. It must have noted each change in the store
before.

``make monkey`` runs it for longer. It prints the seed, and ``MONKEY_SEED`` repeats a run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.model import Filter, State
from queuectl_core.queue import Queue

from ..support import PATIENCE, Cli, eventually
from .terminal import Terminal
from .test_tasks import incident

KEYS = int(os.environ.get("MONKEY_KEYS", "250"))
LEAVING = 5.0
"""Seconds that a console may take to end. It closes its connections first. Meanwhile more keys may
be pressed."""
SEED = int(os.environ.get("MONKEY_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
TAKEN = b"\x1b[?2004h"
"""The last thing that the console sends when it takes the terminal."""
BUSY = "busy"
"""The queue that other processes change meanwhile. Its jobs are not in the log."""

NOW = "(julianday('now') - 2440587.5) * 86400"


def trigger(what: str, when: str, name: str, *, on: str) -> str:
    """A trigger that writes to the log: ``what`` was done to ``name``."""
    return f"""
        CREATE TRIGGER monkey_{what}_{on.split(maxsplit=1)[0]} AFTER {on} WHEN {when}
        BEGIN INSERT INTO monkey_log VALUES ({NOW}, '{what}', {name}); END;
    """


EDITED = " OR ".join(
    f"old.{column} IS NOT new.{column}"
    for column in ("command", "priority", "queue", "timeout_seconds", "max_retries", "key")
)
LOG = "CREATE TABLE monkey_log (at REAL, what TEXT, job TEXT);" + "".join(
    [
        trigger(
            "retry",
            f"new.queue <> '{BUSY}' AND new.state = 'pending' "
            "AND old.state IN ('completed', 'failed', 'dead', 'cancelled')",
            "new.id",
            on="UPDATE ON jobs",
        ),
        trigger(
            "cancel",
            f"new.queue <> '{BUSY}' AND (new.cancel > old.cancel "
            "OR old.state IN ('pending', 'waiting', 'failed') AND new.state = 'cancelled')",
            "new.id",
            on="UPDATE ON jobs",
        ),
        trigger(
            "hold",
            f"new.queue <> '{BUSY}' AND old.held_at IS NULL AND new.held_at IS NOT NULL",
            "new.id",
            on="UPDATE ON jobs",
        ),
        trigger(
            "release",
            f"new.queue <> '{BUSY}' AND old.held_at IS NOT NULL AND new.state = 'pending'",
            "new.id",
            on="UPDATE ON jobs",
        ),
        trigger(
            "edit",
            f"new.queue <> '{BUSY}' AND ({EDITED})",
            "new.id",
            on="UPDATE ON jobs",
        ),
        trigger(
            "pause",
            "old.paused_at IS NOT new.paused_at",
            "new.name",
            on="UPDATE ON queues",
        ),
        trigger("pause", "true", "new.name", on="INSERT ON queues"),
        trigger("delete", f"old.queue <> '{BUSY}'", "old.id", on="DELETE ON jobs"),
        trigger("enqueue", f"new.queue <> '{BUSY}'", "new.id", on="INSERT ON jobs"),
        # A supervisor that takes jobs over makes a worker for each, which stops after the job. Here
        # only jobs of the queue BUSY are taken over.
        trigger(
            "stop",
            "old.stop IS NULL AND new.stop = 'drain' AND NOT EXISTS (SELECT 1 FROM jobs "
            f"WHERE owner = new.supervisor AND queue = '{BUSY}' "
            "AND worker NOT LIKE new.supervisor || '-%')",
            "new.id",
            on="UPDATE ON workers",
        ),
        trigger("start", "new.detached = 1", "new.id", on="INSERT ON supervisors"),
        trigger("config", "true", "new.key", on="INSERT ON config"),
        trigger("config", "true", "old.key", on="DELETE ON config"),
    ]
)

SAFE = [
    *"jjjkkkGgnN12345[]<>I/:?ewlsmpfbRDcDRcV+-E0369wP ",
    *("\t", "\x1b[Z", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[5~", "\x1b[6~"),
    *("\x1b[H", "\x1b[F", "\x04", "\x15", "\x06", "\x12", "\x0c", "\x1c", "\x7f", "\x07"),
]
"""Keys that change nothing on any screen."""

OPENING = [
    *("D", "c", "R", "s", "e", "2c", "3D", "4D", "4c", "4  D", "1R", ":retr", ":config"),
    *("4P", "4E", "4w", "5P", "5", "4  h", ":hold", ":queue"),
]
"""Keys that usually open a question or a form. No "y", because a question may be open already."""

DECISIVE = ["y", "y", "y", "\r", "\r", "\r", "r", "x", "h", "\x0e", "click", "click"]

PASTES = [
    "y\r\ry\n", "D", "rm -rf\nx\ny", "ünïcödé ☃ 漢字", "a" * 300, "\x00\x01\x7f", "retry all",
    "true", "queue 3", "x;y", "",
]  # fmt: skip

SIZES = [(120, 40), (80, 24), (40, 12), (60, 18), (200, 50), (40, 40), (81, 13), (30, 8)]
TOO_SMALL = [(1, 1), (3, 2), (20, 5), (120, 4)]
"""Sizes at which the console draws one line, and no key may change anything. Textual itself fails
at some of them: at 1x1, page down in its palette raised "KeyError: 0"."""

DRAWN = "\x1b]777;drawn\x07"
CONSOLE = f"""
import asyncio, faulthandler, os, signal, sys
from queuectl_tui.__main__ import main
from queuectl_tui.console.inputs import InputQueue
from queuectl_tui.console.minimum_size import ALWAYS

send = InputQueue._send

def send_or_tell(self, event):
    if getattr(event, "key", "") == "f12":
        self._app.action_draw_again()
        self._app._driver.write({DRAWN!r})
    else:
        send(self, event)

def tell_where(number, frame):
    with open(os.environ["MONKEY_STACKS"], "w") as file:
        for task in asyncio.all_tasks():
            task.print_stack(limit=4, file=file)
        faulthandler.dump_traceback(file)

signal.signal(signal.SIGUSR1, tell_where)
InputQueue._send = send_or_tell
ALWAYS.add("f12")
sys.argv[:] = ["queuectl", "tui"]
sys.exit(main())
"""
"""The console. At F12 it draws everything again, and says that all keys before have done their
work."""

VERBS = {"Retry": "retry", "Run": "retry", "Cancel": "cancel", "Delete": "delete", "Stop": "stop"}
VERBS |= {"Hold": "hold", "Release": "release", "Pause": "pause", "Resume": "pause"}
ASKED = re.compile(rf"({'|'.join(VERBS)})\s+(all )?([\d,]+ )?")


class Monkey:
    """Presses keys, and knows which changes they may cause."""

    def __init__(self, cli: Cli, store: Path, seed: int) -> None:
        self.cli = cli
        self.store = store
        self.random = random.Random(seed)
        self.pressed = 0
        self.allowed: list[tuple[float, Counter[str], str]] = []
        """For each key: when it was pressed, which changes it may cause, and why."""
        self.log: list[str] = []
        self.may_leave_until = 0.0
        """Until when the console may end. A click or key may have chosen "quit" in the key bar or
        the palette."""
        self.stacks = cli.cwd / "stacks"
        self.terminal = self._start()

    def _start(self) -> Terminal:
        env = self.cli.environment() | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        env |= {"PAGER": "true", "EDITOR": "true", "VISUAL": "true"}
        env |= {"MONKEY_STACKS": str(self.stacks)}
        env |= {"PYTHONPATH": os.getcwd()}  # the console runs where its jobs can write
        argv = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(self.cli.cwd)]
        argv += [sys.executable, "-c", CONSOLE]
        terminal = Terminal(argv, env, SIZES[0], shell=True)
        terminal.until("● live")
        return terminal

    # -- what it does ---------------------------------------------------------------------

    def send(self, keys: str) -> None:
        self.log.append(repr(keys))
        self.pressed += 1
        self.terminal.press(keys)

    def turn(self) -> None:
        """Press some keys that change nothing, then do something else."""
        for _ in range(self.random.randrange(1, 30)):
            self.send(self.random.choice(SAFE))
            if self.random.random() < 0.1:
                self.terminal.read(0)
        chance = self.random.random()
        if chance < 0.6:
            self.decide(self.random.choice(DECISIVE))
        elif chance < 0.7:
            self.resize()
        elif chance < 0.8:
            self.send(f"\x1b[200~{self.random.choice(PASTES)}\x1b[201~")
        elif chance < 0.95:
            self.send("\x1b")  # sent alone, because it may be the beginning of a sequence
            self.terminal.read(0.15)
        elif chance < 0.98:
            self.suspend()
        else:
            self.leave()

    def decide(self, key: str) -> None:
        """Look at the screen, note what ``key`` may change here, then press it."""
        if self.random.random() < 0.7:
            for opens in self.random.choice(OPENING):
                self.send(opens)
        text = self.sync()
        if " y  yes" in text and self.random.random() < 0.6:
            key = "y"
        x, y = (self.random.randrange(size) for size in self.size)
        if key == "click":
            lines = text.splitlines()
            # Usually click on something that reacts.
            x, y = self.random.choice([(x, y), (x, len(lines) - 1), *_answers(lines)])
            key = f"\x1b[<0;{x + 1};{y + 1}M\x1b[<0;{x + 1};{y + 1}m"
        workers = re.search(r"count\s+(\d+)", text)
        if "how many workers" in text and workers and int(workers[1]) > 2:
            key = "\x1b"
        if "quit" in text and key != "y":
            self.may_leave_until = time.monotonic() + LEAVING
        self.allow(text, key)
        self.send(key)
        self.terminal.read(0.05)
        if self.size in TOO_SMALL:
            self.sync()  # otherwise the next resize may come first, and the key would act

    def allow(self, text: str, key: str) -> None:
        """Note what ``key`` may change when this is on the screen."""
        may: Counter[str] = Counter()
        flat = re.sub(r"[│╭╮╰╯─\s]+", " ", text)
        if " y yes n no" in flat:
            # A small screen may cut the number. Then it may be any number.
            found = ASKED.search(flat)
            if found:
                count = int(found[3].replace(",", "")) if found[3] else 1
                may[VERBS[found[1]]] += count
                if found[2]:
                    may["stop"] = 99
            else:
                may.update(dict.fromkeys(VERBS.values(), 9999))
        elif self.size in TOO_SMALL:
            pass  # no key may change anything here
        elif min(self.size) < 12:  # too low to show everything
            may.update(dict.fromkeys((*VERBS.values(), "enqueue", "start", "config", "edit"), 1))
            may.update(retry=9999, cancel=9999, delete=9999, stop=99, hold=9999, release=9999)
        else:
            # One job or one worker, without a question.
            if key in ("r", "h", "\r", "x") or "<" in key:
                may.update(retry=1, stop=1, hold=1, release=1)
            if key in ("\r", "\x0e") or "<" in key:
                may.update(retry=1, edit=1)
                if "enqueue" in flat or "another command" in flat:
                    may.update(enqueue=1)
                if "how many workers" in flat:
                    may.update(start=1)
                if "Which setting" in flat:
                    may.update(config=1)
        self.allowed.append((time.time(), may, f"{key!r} at\n{text}"))

    def resize(self) -> None:
        columns, lines = self.random.choice([*SIZES, *TOO_SMALL])
        self.terminal.resize(columns, lines)
        self.log.append(f"{columns}x{lines}")

    @property
    def size(self) -> tuple[int, int]:
        return self.terminal.screen.columns, self.terminal.screen.lines

    def suspend(self) -> None:
        self.log.append("suspended")
        process = self.terminal.process
        process.send_signal(signal.SIGTSTP)
        status = Path(f"/proc/{process.pid}/stat")
        while status.read_text().rpartition(") ")[2][0] != "T":
            self.terminal.read(0.02)
        # The console does not get keys that are typed before it has the terminal again.
        taken = self.terminal.raw.count(TAKEN)
        process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + PATIENCE
        while self.terminal.raw.count(TAKEN) == taken:
            self.terminal.read(0.05)
            assert time.monotonic() < deadline, f"it does not come back\n{self.told()}"

    def leave(self) -> None:
        """Quit the console and start it again."""
        self.sync()
        self.send("\x11")
        assert self.terminal.ended() == 0, self.told()
        self.terminal.close()
        self.terminal = self._start()

    # -- what it sees ---------------------------------------------------------------------

    def sync(self) -> str:
        """Wait until all keys have done their work. Returns the screen."""
        terminal = self.terminal
        terminal.raw = terminal.raw[-10_000:]
        before = terminal.raw.count(DRAWN.encode())
        terminal.press("\x1b[24~")
        deadline = time.monotonic() + PATIENCE
        while terminal.raw.count(DRAWN.encode()) == before:
            terminal.read(0.05)
            self.check_alive()
            if self.terminal is not terminal:
                return self.sync()
            if time.monotonic() > deadline:
                raise AssertionError(f"it does not answer\n{self.told()}\n{self.where()}")
        # Then the whole screen is drawn again. On a busy machine this takes a while. Until then the
        # screen is as it was before the last keys.
        frame = time.monotonic() + (0.5 if self.size in TOO_SMALL else PATIENCE)
        while not terminal.raw.rpartition(DRAWN.encode())[2] and time.monotonic() < frame:
            terminal.read(0.05)
        seen, until = 0, time.monotonic() + 0.5
        while seen < len(terminal.raw) and time.monotonic() < until:
            seen = len(terminal.raw)
            terminal.read(0.07)
        return terminal.text()

    def check_alive(self) -> None:
        code = self.terminal.process.poll()
        if code == 0 and time.monotonic() < self.may_leave_until:
            self.may_leave_until = 0.0
            self.terminal.close()
            self.terminal = self._start()
            return
        assert code is None, f"it ended with {code}\n{self.told()}\n{self.terminal.raw[-3000:]!r}"

    def where(self) -> str:
        """For the report: the load of the machine, whether the console answers, and its tasks."""
        load = f"load {os.getloadavg()[0]:.1f}"
        self.terminal.process.send_signal(signal.SIGUSR1)
        eventually(self.stacks.exists, 60)
        drawn = self.terminal.raw.count(DRAWN.encode())
        until = time.monotonic() + 60
        while time.monotonic() < until and self.terminal.raw.count(DRAWN.encode()) == drawn:
            self.terminal.read(0.1)
        late = time.monotonic() - until + 60
        goes_on = self.terminal.raw.count(DRAWN.encode()) > drawn
        answer = f"it answered {late:.0f} s later" if goes_on else "it never answered"
        return f"{load}; {answer}\n{self.stacks.read_text()}"

    def told(self) -> str:
        """For the report: the seed, the screen and the last keys."""
        return f"MONKEY_SEED={SEED}, key {self.pressed}\n{self.terminal.text()}\n" + " ".join(
            self.log[-80:]
        )

    def check_changes(self) -> Counter[str]:
        """Check that every change in the log of the store was allowed before."""
        with closing(sqlite3.connect(self.store)) as raw:
            changes = raw.execute("SELECT at, what, job FROM monkey_log ORDER BY rowid").fetchall()
        left: Counter[str] = Counter()
        allowed = iter(self.allowed)
        next_ = next(allowed, None)
        for at, what, job in changes:
            while next_ is not None and next_[0] <= at + 0.01:
                left.update(next_[1])
                next_ = next(allowed, None)
            left[what] -= 1
            if left[what] < 0:
                last = [why for when, _, why in self.allowed if when <= at + 0.01][-3:]
                times = [(round(when, 2), what, job) for when, what, job in changes]
                times += [(round(when, 2), "may", dict(may)) for when, may, _ in self.allowed]
                told = "\n".join(map(str, sorted(times, key=lambda one: one[0])))
                raise AssertionError(
                    f"{what} of {job}, which nobody asked for\n"
                    + "\n".join([*last, told, self.told()])
                )
        return Counter(what for _, what, _ in changes)


def _answers(lines: list[str]) -> list[tuple[int, int]]:
    """The places of the answers yes and no."""
    return [
        (line.index(word) + 1, y)
        for y, line in enumerate(lines)
        for word in ("yes  ", "no ")
        if " y  yes" in line and word in line
    ]


class Others(threading.Thread):
    """Other processes that use the store meanwhile. They change their own jobs and kill workers."""

    def __init__(self, cli: Cli, store: Path, seed: int) -> None:
        super().__init__(name="others", daemon=True)
        self.cli = cli
        self.store = store
        self.random = random.Random(seed)
        self.done = threading.Event()
        self.kills = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self.error = error

    async def _run(self) -> None:
        workers = self._start()
        changes: list[Callable[[Queue], object]] = [
            lambda queue: queue.enqueue(
                [{"command": c, "queue": BUSY, "max_retries": 1} for c in ("true", "false")] * 5
            ),
            lambda queue: queue.enqueue([{"command": "sleep 20", "queue": BUSY}]),
            lambda queue: queue.retry_all(Filter((State.DEAD,), (BUSY,))),
            lambda queue: queue.cancel_all(Filter((State.PENDING,), (BUSY,))),
            lambda queue: queue.remove_all(Filter((State.COMPLETED,), (BUSY,))),
        ]
        async with Queue.open(str(self.store)) as queue:
            last = time.monotonic()
            while not self.done.is_set():
                try:
                    await self.random.choice(changes)(queue)  # type: ignore[misc]
                except QueueError as error:
                    if "busy" not in str(error):
                        raise
                if time.monotonic() - last > 3:
                    workers.kill()
                    self.kills += 1
                    workers = self._start()
                    last = time.monotonic()
                await asyncio.sleep(self.random.random() / 2)
        workers.kill()

    def _start(self) -> subprocess.Popen[str]:
        return self.cli.start("worker", "start", "--count", "2", "--queue", BUSY, "--quiet")


def test_a_monkey(cli: Cli, store_path: Path) -> None:
    sys.stdout.write(f"MONKEY_SEED={SEED}\n")
    asyncio.run(incident(store_path))
    cli("config", "set", "kill-grace", "0.1")
    with closing(sqlite3.connect(store_path)) as raw:
        raw.executescript(LOG)
    others = Others(cli, store_path, SEED)
    others.start()
    monkey = Monkey(cli, store_path, SEED)
    try:
        while monkey.pressed < KEYS:
            monkey.turn()
            monkey.check_alive()
            assert others.error is None, others.error
            if monkey.pressed % 1000 < 15:
                monkey.check_changes()
        others.done.set()
        others.join()
        monkey.sync()
        changes = monkey.check_changes()
        check_counts(monkey, cli)
        sys.stdout.write(f"{monkey.pressed} keys, {others.kills} kills, {dict(changes)}\n")
    finally:
        others.done.set()
        monkey.terminal.close()


def check_counts(monkey: Monkey, cli: Cli) -> None:
    """At the end the console shows the same counts as the store."""
    terminal = monkey.terminal
    cli("worker", "stop", "--now", "--timeout", "20", code=None)
    terminal.resize(*SIZES[0])
    for _ in range(12):  # close everything that is open
        # A dialog and the palette cover only a part of the screen.
        text = monkey.sync()
        if len(COUNT.findall(text)) == len(State) and "4 jobs" in text and "╭" not in text:
            break
        terminal.press("\x1b")
        terminal.read(0.15)
    if "paused" in terminal.text().splitlines()[0]:
        terminal.press("p")

    def same() -> bool:
        store = json.loads(cli("status", "--json").out)["jobs"]
        terminal.press("\x12")
        monkey.sync()
        shown = {
            name: int(count.replace(",", "")) for name, count in COUNT.findall(terminal.text())
        }
        expected = {state.value: store[state.value] for state in State}
        assert shown == expected, f"{shown} on the screen, {expected}\n{monkey.told()}"
        return True

    assert eventually(same)


COUNT = re.compile(
    rf"^ ({'|'.join(state.value for state in State)})\s+([\d,]+)\s", flags=re.MULTILINE
)
