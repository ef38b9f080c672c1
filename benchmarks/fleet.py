"""Eight supervisors on one store, compared with one: what sharing a store costs.

    python benchmarks/fleet.py [--jobs N] [--rounds N] [--json]

Each supervisor has eight workers. All of them are up before the jobs (N times ``true``) are put
in with one ``enqueue``; the rate is that from the start of the first job to the end of the last,
by the store's own records. *start to exit* is from starting the supervisors, with
``--until-empty``, to the exit of the last of them: it has the start of eight Pythons in it, on the
same cores. A supervisor that says anything on standard error, or ends with another exit code than
0, is an error. Ends with exit code 1 if a bar is missed.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

from harness import (
    QUEUECTL,
    Scratch,
    in_turns,
    judged,
    machine,
    middle,
    options,
    progress,
    ratio,
    report,
    timed,
    word,
)

SUPERVISORS = 8
WORKERS = 8
BAR = 0.9
"""Eight together, beside one: at least."""

Supervisors = list[subprocess.Popen[bytes]]


class Fleet:
    """Some supervisors on a scratch store; what they complained of is in ``errors``."""

    def __init__(self, scratch: Scratch, jobs: int) -> None:
        self.scratch = scratch
        self.lines = b'{"command": "true"}\n' * jobs
        self.jobs = jobs
        self.errors: list[str] = []

    def together(self, count: int) -> float:
        """Jobs a second of ``count`` supervisors that were up before."""
        with self._up(count):
            self._fill()
            timed([*QUEUECTL, "wait", "--all", "--timeout", "300", "-q"], self.scratch.env)
        with closing(sqlite3.connect(self.scratch.store)) as conn:
            query = "SELECT count(*), max(finished_at) - min(started_at) FROM attempts"
            ended, seconds = conn.execute(query).fetchone()
        return self._rate(count, "up before", ended, seconds)

    def start_to_exit(self, count: int) -> float:
        """Jobs a second of ``count`` supervisors, from their start to the last's exit."""
        self.scratch.new()
        self._fill()
        began = time.perf_counter()
        supervisors = self._start(count, "--until-empty")
        self._ended(supervisors)
        seconds = time.perf_counter() - began
        with closing(sqlite3.connect(self.scratch.store)) as conn:
            ended = conn.execute("SELECT count(*) FROM attempts").fetchone()[0]
        return self._rate(count, "start to exit", ended, seconds)

    def _fill(self) -> None:
        timed([*QUEUECTL, "enqueue", "-", "--quiet"], self.scratch.env, self.lines)

    def _rate(self, count: int, what: str, ended: int, seconds: float) -> float:
        if ended != self.jobs:
            self.errors.append(f"{ended} attempts of {self.jobs} jobs")
        progress(f"{count} supervisor{'s' * (count > 1)}, {what}: {ended / seconds:.0f} jobs/s")
        return ended / seconds

    @contextmanager
    def _up(self, count: int) -> Iterator[None]:
        self.scratch.new()
        supervisors = self._start(count)
        try:
            deadline = time.monotonic() + 60
            while self._workers() < count * WORKERS:
                if time.monotonic() > deadline or any(s.poll() is not None for s in supervisors):
                    self.errors.append("not every supervisor came up")
                    break
                time.sleep(0.1)
            yield
        finally:
            for supervisor in supervisors:
                supervisor.send_signal(signal.SIGTERM)
            self._ended(supervisors)

    def _workers(self) -> int:
        done = subprocess.run(
            [*QUEUECTL, "worker", "list", "--json"],
            env=self.scratch.env,
            capture_output=True,
            check=False,
        )
        return len(json.loads(done.stdout)) if done.returncode == 0 else 0

    def _start(self, count: int, *more: str) -> Supervisors:
        command = [*QUEUECTL, "worker", "start", "--count", str(WORKERS), "--quiet", *more]
        return [
            subprocess.Popen(
                command,
                env=self.scratch.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for _ in range(count)
        ]

    def _ended(self, supervisors: Supervisors) -> None:
        for supervisor in supervisors:
            said = supervisor.communicate()[1].decode(errors="replace").strip()
            if said or supervisor.returncode:
                self.errors.append(f"exit {supervisor.returncode}: {said}")


def measure(scratch: Scratch, jobs: int, rounds: int) -> dict[str, Any]:
    Fleet(scratch, 20).start_to_exit(1)  # compiles
    fleet = Fleet(scratch, jobs)
    return {
        "jobs": jobs,
        "supervisors": SUPERVISORS,
        "workers_each": WORKERS,
        "rounds": rounds,
        "up before": side_by_side(fleet.together, rounds, BAR),
        "start to exit": side_by_side(fleet.start_to_exit, rounds, None),
        "errors": {"found": fleet.errors, **judged(middle([len(fleet.errors)]), at_most=0)},
        "machine": machine(),
    }


def side_by_side(bar: Callable[[int], float], rounds: int, at_least: float | None) -> Any:
    one, many = in_turns(rounds, partial(bar, 1), partial(bar, SUPERVISORS))
    times = ratio(many, one)
    return {
        "one": middle(one),
        "fleet": middle(many),
        "ratio": judged(times, at_least=at_least) if at_least else times,
    }


def table(found: dict[str, Any]) -> str:
    rows = [
        f"{found['supervisors']} supervisors of {found['workers_each']} workers beside one,"
        f" {found['jobs']} times true, {found['rounds']} rounds"
    ]
    for name in ("up before", "start to exit"):
        part = found[name]
        low, high = part["ratio"]["spread"]
        bar = f", bar {part['ratio']['bar']}: {word(part['ratio'])}" if name == "up before" else ""
        rows.append(
            f"{name:<14}{part['fleet']['value']:6.0f} beside {part['one']['value']:.0f} jobs/s:"
            f" {part['ratio']['value']:.2f} ({low:.2f} to {high:.2f}{bar})"
        )
    errors = found["errors"]
    rows.append(f"{'errors':<14}{len(errors['found']):6} {word(errors)}")
    return "\n".join([*rows, *errors["found"]])


def main() -> int:
    parser = options(__doc__, 5)
    parser.add_argument("--jobs", type=int, default=3000, help="default: 3000")
    given = parser.parse_args()
    with Scratch() as scratch:
        found = measure(scratch, given.jobs, given.rounds)
    return report(found, given.json, table)


if __name__ == "__main__":
    sys.exit(main())
