"""The console's bars, measured side by side in one run, through a real pseudo-terminal.

    python benchmarks/console.py [--jobs 1000000] [--rounds 7] [--postgres] [--json]

Ends with exit code 1 if a bar is missed.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from console_places import Place, PostgresPlace, SqlitePlace
from harness import judged, machine, options, progress, ratio, report, word
from postgres_server import Postgres, PostgresScratch

SIZE = (40, 120)
BARE = str(Path(__file__).with_name("console_bare.py"))

BYTECODE: dict[str, str] = {}
"""Where both programs keep their bytecode: compiled once, as an installed package is."""


class Terminal:
    """A process on a pseudo-terminal, and every byte it writes."""

    def __init__(self, argv: list[str], size: tuple[int, int] = SIZE) -> None:
        self.started = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", **BYTECODE)
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
            os.execv(argv[0], argv)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.output = b""
        self.process = psutil.Process(self.pid)

    def press(self, *keys: int) -> None:
        os.write(self.fd, bytes(keys))

    def read_for(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if select.select([self.fd], [], [], left)[0]:
                self.output += os.read(self.fd, 1 << 16)

    def until(self, wanted: bytes, seconds: float = 30) -> float:
        """Seconds from now until ``wanted`` comes out."""
        start = time.perf_counter()
        seen = len(self.output)
        while wanted not in self.output[max(0, seen - len(wanted)) :]:
            if time.perf_counter() - start > seconds:
                raise SystemExit(f"{wanted!r} never came")
            if select.select([self.fd], [], [], 0.01)[0]:
                self.output += os.read(self.fd, 1 << 16)
        return time.perf_counter() - start

    def answer(self, key: bytes) -> float:
        """Seconds until a key is answered with anything at all."""
        self.read_for(0.3)
        start = time.perf_counter()
        os.write(self.fd, key)
        select.select([self.fd], [], [], 5)
        answered = time.perf_counter() - start
        self.read_for(0.1)
        return answered

    def bytes_in(self, seconds: float, each: Callable[[], None] | None = None) -> float:
        """Bytes a second, calling ``each`` once a second."""
        seen = len(self.output)
        for _ in range(int(seconds)):
            if each:
                each()
            self.read_for(1.0)
        return (len(self.output) - seen) / int(seconds)

    def cpu(self, seconds: float, each: Callable[[], None] | None = None) -> float:
        """Percent of one core."""
        before = self.process.cpu_times()
        started = time.perf_counter()
        self.bytes_in(seconds, each)
        after = self.process.cpu_times()
        used = after.user + after.system - before.user - before.system
        return used / (time.perf_counter() - started) * 100

    def close(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        while True:
            try:
                if not os.read(self.fd, 1 << 16):
                    break
            except OSError:
                break
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def first_paint(argv: list[str], wanted: bytes) -> float:
    terminal = Terminal(argv)
    terminal.until(wanted)
    took = time.perf_counter() - terminal.started
    terminal.read_for(0.3)
    terminal.close()
    return took


def measure(place: Place, rounds: int) -> dict[str, Any]:
    console = [sys.executable, "-m", "queuectl_tui", "--store", place.url, "tui"]
    newest = f"{place.newest()} ".encode()
    bare_times, our_times = [], []
    for _ in range(rounds + 1):
        bare_times.append(first_paint([sys.executable, BARE], b"job-9"))
        our_times.append(first_paint(console, newest))
    # The first run of each compiles. Either takes a quarter less now and then, when its first
    # frame is in time for a tick of Textual's clock. So both run alternately; the median counts.
    paint = ratio(our_times[1:], bare_times[1:])
    note = "{:.2f} to {:.2f}".format(*paint["spread"])
    found = [("first paint / bare app", paint["value"], "x", 1.4, note)]

    terminal = Terminal(console)
    terminal.until(newest)
    terminal.read_for(3)
    turn = 0

    def change() -> None:
        nonlocal turn
        turn = 1 - turn
        place.change(turn)

    found.append(("bytes a second, nothing changing", terminal.bytes_in(10), "B/s", 200, ""))
    found.append(("CPU, nothing changing", terminal.cpu(10), "%", 2, ""))
    found.append(
        ("bytes a second, 20 cells changing", terminal.bytes_in(10, change), "B/s", 4096, "")
    )
    found.append(("CPU, 20 cells changing", terminal.cpu(10, change), "%", 2, "seen with it"))
    memory = terminal.process.memory_info().rss / 1e6
    found.append(("memory", memory, "MB", 90, ""))

    seen = []
    for number in range(5):
        terminal.read_for(1.5)
        name = f"new{number}-{time.time() % 10000:.0f}"
        place.add(name)
        seen.append(terminal.until(name.encode()))
    found.append(("a change elsewhere is seen", max(seen), "s", 1, "worst of 5"))

    keys = [b"G", b"k", b"\x15", b"g", b"j", b"\x04", b"G", b"\x15", b"g"] * 3
    slowest = max(terminal.answer(key) for key in keys)
    found.append(("slowest key, ends of the list", slowest * 1000, "ms", 50, "27 keys"))
    terminal.close()
    return {
        "first_paint_ms": {
            "bare": 1000 * statistics.median(bare_times[1:]),
            "console": 1000 * statistics.median(our_times[1:]),
        },
        "bars": {
            name: {**judged({"value": value}, at_most=bar), "unit": unit, "note": note}
            for name, value, unit, bar, note in found
        },
    }


def table(found: dict[str, Any]) -> str:
    first = found["first_paint_ms"]
    rows = [f"first paint: bare {first['bare']:.0f} ms, console {first['console']:.0f} ms"]
    rows += [
        f"{word(part):<7}{name:<36}{part['value']:>10.2f} {part['unit']:<4}"
        f" (bar {part['bar']:g}) {part['note']}"
        for name, part in found["bars"].items()
    ]
    return "\n".join(rows)


def main() -> int:
    parser = options(__doc__, 7)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--store", type=Path, help="a store seeded before (it is changed)")
    parser.add_argument("--postgres", action="store_true", help="on a server of its own")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        BYTECODE["PYTHONPYCACHEPREFIX"] = f"{folder}/bytecode"
        place: Place
        if given.postgres:
            server = stack.enter_context(Postgres())
            place = PostgresPlace(stack.enter_context(PostgresScratch(server, "console")))
        else:
            place = SqlitePlace(given.store or folder / "queue.db")
        stack.callback(place.close)
        if not given.store:
            progress(f"seeding {given.jobs:,} jobs …")
            place.seed(given.jobs)
        found = {"jobs": given.jobs, **measure(place, given.rounds), "machine": machine()}
    return report(found, given.json, table)


if __name__ == "__main__":
    sys.exit(main())
