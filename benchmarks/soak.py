"""Ten minutes of everything at once: whether anything grows, slows down, is lost or complains.

    python benchmarks/soak.py [--minutes N] [--rate N] [--json]

Two producers enqueue, two supervisors of four workers run what they enqueue (some of it prints,
some fails and is retried, some dies and is retried from the DLQ), an operator asks and acts with
the command line, and a console is open in a terminal. Then everything ends, and what was
accepted is compared with the store. Latencies and memory of the last quarter are compared with
those of the first. Ends with exit code 1 if a bar is missed.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any

import psutil
from console import BYTECODE, Terminal
from harness import (
    PYTHON,
    QUEUECTL,
    Scratch,
    judged,
    machine,
    options,
    progress,
    report,
    word,
)

PRODUCERS = 2
SUPERVISORS = 2
WORKERS = 4
RATE = 40.0
"""Jobs a second, from all producers together."""

WAL_BAR = 16.0
"""MB: four times what makes a supervisor empty it at its next look, a second later at most."""
GROWTH_BARS = {"p50": 1.25, "p99": 1.5, "memory": 1.1}
"""The last quarter beside the first, at most."""
FDS_BAR = 8.0
"""More open files at most; a job that runs has some."""

VERBS: tuple[tuple[str, ...], ...] = (
    ("list", "--limit", "100", "--json"),
    ("status", "--json"),
    ("dlq", "list", "--json"),
    ("dlq", "retry", "--all"),
    ("stats", "--json"),
    ("worker", "list", "--json"),
    ("list", "--state", "dead", "--json"),
    ("logs", "0-0"),
    ("show", "1-1"),
)
KEYS = b"jjG\x04g4/\x1b2j1"
"""Pressed in the console, one with each verb."""


class Soak:
    """The processes, what they said, and what was seen of them."""

    def __init__(self, scratch: Scratch, stack: ExitStack) -> None:
        self.scratch = scratch
        self.errors: list[str] = []
        self.samples: list[dict[str, float]] = []
        self.verbs: list[tuple[float, float]] = []
        self.wal = Path(f"{scratch.store}-wal")
        self._stack = stack
        self._named: dict[str, subprocess.Popen[bytes]] = {}
        self._turn = 0

    # -- processes ------------------------------------------------------------------------

    def start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """A process whose output and complaints go to files; it is killed if we fail."""
        process = subprocess.Popen(
            command,
            env=self.scratch.env,
            stdin=subprocess.PIPE,
            stdout=self._file(f"{name}.out"),
            stderr=self._file(f"{name}.err"),
        )
        self._named[name] = process
        self._stack.callback(lambda: process.kill() if process.poll() is None else None)
        return process

    def _file(self, name: str) -> IO[bytes]:
        return self._stack.enter_context(open(self.scratch.folder / name, "wb"))

    def end(self, name: str, tell: Callable[[subprocess.Popen[bytes]], object]) -> None:
        """Tell a process to end, and wait until it has; it must have had no complaints."""
        process = self._named.pop(name)
        tell(process)
        try:
            code: int | None = process.wait(120)
        except subprocess.TimeoutExpired:
            code = None
        said = (self.scratch.folder / f"{name}.err").read_text().strip()
        if code != 0 or said:
            self.errors.append(f"{name}: exit {code}: {said[-300:]}")

    def printed(self, name: str) -> list[str]:
        """The whole lines a process has printed."""
        return (self.scratch.folder / f"{name}.out").read_text().split("\n")[:-1]

    def workers(self) -> int:
        return len(json.loads(self.verb("worker", "list", "--json")))

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            if time.monotonic() > deadline or any(p.poll() for p in self._named.values()):
                raise SystemExit(f"it did not come up: {self.errors}")
            time.sleep(0.1)

    def verb(self, *words: str) -> str:
        """One command line, to its end. Its time is kept."""
        at, began = time.time(), time.perf_counter()
        done = subprocess.run(
            [*QUEUECTL, *words], env=self.scratch.env, capture_output=True, text=True, check=False
        )
        self.verbs.append((at, time.perf_counter() - began))
        if done.returncode:
            self.errors.append(f"{' '.join(words)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    # -- while it runs ------------------------------------------------------------------------

    def run(self, seconds: float, console: Terminal, supervisors: list[psutil.Process]) -> None:
        """Ask, act, press keys and look at everything, for so long."""
        began = told = time.monotonic()
        turn = min(1.0, seconds / 30)
        while (passed := time.monotonic() - began) < seconds:
            self.verb(*VERBS[self._turn % len(VERBS)])
            console.press(KEYS[self._turn % len(KEYS)])
            self._turn += 1
            self.samples.append(self._sample(passed, console, supervisors))
            if time.monotonic() - told > 60:
                told = time.monotonic()
                progress(f"{passed / 60:.0f} minutes …")
            console.read_for(max(0.0, turn - (time.monotonic() - began - passed)))
            console.output = b""

    def _sample(
        self, at: float, console: Terminal, supervisors: list[psutil.Process]
    ) -> dict[str, float]:
        shims = [shim for supervisor in supervisors for shim in supervisor.children()]
        family = [*supervisors, *shims, console.process]
        return {
            "at": at,
            "wal": self.wal.stat().st_size / (1 << 20),
            "supervisors": sum(resident(process) for process in supervisors),
            "shims": sum(resident(process) for process in shims),
            "console": resident(console.process),
            "fds": sum(process.num_fds() for process in family),
        }

    def settle(self) -> None:
        """Let everything end; the dead get their other chance."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            counts = json.loads(self.verb("status", "--json"))["jobs"]
            if counts["dead"]:
                self.verb("dlq", "retry", "--all", "--quiet")
            elif not any(counts[state] for state in ("pending", "processing", "failed")):
                return
            time.sleep(0.2)
        self.errors.append(f"not everything ended: {counts}")


def resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss / (1 << 20))


# -- the whole of it --------------------------------------------------------------------------


def measure(scratch: Scratch, minutes: float, rate: float) -> dict[str, Any]:
    BYTECODE["PYTHONPYCACHEPREFIX"] = scratch.env["PYTHONPYCACHEPREFIX"]
    with ExitStack() as stack:
        soak = Soak(scratch, stack)
        soak.verb("config", "unset", "lease")  # there is a store
        start = [*QUEUECTL, "worker", "start", "--count", str(WORKERS), "--quiet"]
        hosts = [f"supervisor-{number}" for number in range(SUPERVISORS)]
        supervisors = [psutil.Process(soak.start(name, start).pid) for name in hosts]
        soak.until(lambda: soak.workers() == SUPERVISORS * WORKERS)
        script = str(Path(__file__).with_name("soak_producer.py"))
        sources = [str(number) for number in range(PRODUCERS)]
        for name in sources:
            soak.start(name, [PYTHON, script, str(scratch.store), name, f"{rate / PRODUCERS:g}"])
        soak.until(lambda: all(len(soak.printed(name)) > 1 for name in sources))
        console = Terminal([*QUEUECTL, "--store", str(scratch.store), "tui"])
        stack.callback(console.close)
        console.until(b"pending", 60)
        began = time.time()
        soak.run(60 * minutes, console, supervisors)
        ended = time.time()
        for name in sources:
            soak.end(name, lambda process: process.stdin and process.stdin.close())
        soak.settle()
        for name in hosts:
            soak.end(name, lambda process: process.terminate())
        accepted = [line.split() for name in sources for line in soak.printed(name)]
        return judge(soak, accepted, began, ended)


def judge(soak: Soak, accepted: list[list[str]], began: float, ended: float) -> dict[str, Any]:
    """What was seen, beside its bars."""
    with closing(sqlite3.connect(soak.scratch.store)) as conn:
        states = dict(conn.execute("SELECT id, state FROM jobs"))
        attempts = conn.execute("SELECT started_at, waited, outcome FROM attempts").fetchall()
        died = conn.execute("SELECT count(*) FROM attempts WHERE made_dead").fetchone()[0]
        twice = conn.execute("SELECT count(*) FROM jobs WHERE runs > 3").fetchone()[0]
    lost = [name for name, *_ in accepted if states.get(name) != "completed"]
    latencies = {
        "enqueue": [(float(at), float(took)) for _, at, took in accepted],
        "pick-up": [(at, waited) for at, waited, _ in attempts],
        "verb": soak.verbs,
    }
    memory = {
        part: [(began + sample["at"], sample[part]) for sample in soak.samples]
        for part in ("supervisors", "shims", "console", "fds")
    }
    files = quarters(memory.pop("fds"), began, ended)
    return {
        "minutes": (ended - began) / 60,
        "jobs": len(accepted),
        "attempts": len(attempts),
        "failed": sum(outcome != "completed" for *_, outcome in attempts),
        "died": died,
        "lost": {"found": lost, **none_of(lost)},
        "ran too often": none_of(range(twice)),
        "errors": {"found": soak.errors, **none_of(soak.errors)},
        "wal_mb": judged(spread([s["wal"] for s in soak.samples], max), at_most=WAL_BAR),
        "more_fds": judged(
            {"value": max(files[1]) - max(files[0]), "spread": [min(files[0]), max(files[1])]},
            at_most=FDS_BAR,
        ),
        "latency_ms": {
            name: rising([(at, 1000 * took) for at, took in points], began, ended)
            for name, points in latencies.items()
        },
        "memory_mb": {
            name: beside(statistics.median, *quarters(points, began, ended), GROWTH_BARS["memory"])
            for name, points in memory.items()
        },
        "machine": machine(),
    }


def none_of(found: Sequence[object]) -> dict[str, Any]:
    return judged({"value": len(found), "spread": [len(found)] * 2}, at_most=0)


def spread(figures: list[float], pick: Callable[[list[float]], float]) -> dict[str, Any]:
    return {"value": pick(figures), "spread": [min(figures), max(figures)]}


def quarters(
    points: Iterable[tuple[float, float]], began: float, ended: float
) -> tuple[list[float], list[float]]:
    """The figures of the first and of the last quarter of the time."""
    quarter = (ended - began) / 4
    points = [(at, value) for at, value in points if began <= at <= ended]
    first = [value for at, value in points if at <= began + quarter]
    last = [value for at, value in points if at >= ended - quarter]
    return first or [0.0], last or [0.0]


def rising(points: list[tuple[float, float]], began: float, ended: float) -> dict[str, Any]:
    first, last = quarters(points, began, ended)
    return {
        "p50": beside(statistics.median, first, last, GROWTH_BARS["p50"]),
        "p99": beside(p99, first, last, GROWTH_BARS["p99"]),
    }


def beside(
    pick: Callable[[list[float]], float], first: list[float], last: list[float], bar: float
) -> dict[str, Any]:
    """``value`` is how many times what it was at first."""
    before, after = pick(first), pick(last)
    value = after / before if before else 1.0
    return {"first": before, "last": after, **judged({"value": value}, at_most=bar)}


def p99(figures: list[float]) -> float:
    return sorted(figures)[int(0.99 * (len(figures) - 1))]


def table(found: dict[str, Any]) -> str:
    wal, files = found["wal_mb"], found["more_fds"]
    rows = [
        f"{found['minutes']:.1f} minutes: {found['jobs']} jobs, {found['attempts']} attempts,"
        f" {found['failed']} failed, {found['died']} died",
    ]
    for name in ("lost", "ran too often", "errors"):
        rows.append(f"{name:<22}{found[name]['value']:8.0f}  {word(found[name])}")
    rows += [f"  {error}" for error in found["errors"]["found"][:20]]
    rows.append(f"{'WAL, at most':<22}{wal['value']:8.1f} MB, bar {wal['bar']:g}: {word(wal)}")
    rows.append(
        f"{'more open files':<22}{files['value']:8.0f}  bar {files['bar']:g}: {word(files)}"
    )
    figures = [
        (f"{name}, {part}", "ms", figure)
        for name, parts in found["latency_ms"].items()
        for part, figure in parts.items()
    ]
    figures += [(f"memory, {name}", "MB", part) for name, part in found["memory_mb"].items()]
    for name, unit, figure in figures:
        rows.append(
            f"{name:<22}{figure['first']:8.1f} {unit} at first, {figure['last']:.1f} at last:"
            f" {figure['value']:.2f}, bar {figure['bar']:g}: {word(figure)}"
        )
    return "\n".join(rows)


def main() -> int:
    parser = options(__doc__, 1)
    parser.add_argument("--minutes", type=float, default=10.0, help="default: 10")
    parser.add_argument("--rate", type=float, default=RATE, help=f"jobs a second; {RATE:g}")
    given = parser.parse_args()
    with Scratch() as scratch:
        found = measure(scratch, given.minutes, given.rate)
    return report(found, given.json, table)


if __name__ == "__main__":
    sys.exit(main())
