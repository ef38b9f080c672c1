"""How long the jobs of a killed supervisor and shim take to be put back.

    python benchmarks/recovery.py [--jobs N] [--rounds N] [--json]

N jobs run on two supervisors; a third of them ignores SIGTERM. The supervisors and their shims are
killed with SIGKILL. Measured is the time from the start of the first successor, with a lease of 5
seconds, until each of the jobs has been ended and is put back. Ends with exit code 1 if the bar is
missed, or if a job was put back twice, which means that a successor lost its lease on the way.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
from harness import (
    QUEUECTL,
    Scratch,
    judged,
    machine,
    middle,
    options,
    progress,
    report,
    timed,
    word,
)

BAR = 10.0
"""Seconds at most."""
PATIENCE = 300.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("it takes too long")
        time.sleep(0.02)


def count(store: Path, where: str) -> int:
    with closing(sqlite3.connect(store)) as connection:
        found: int = connection.execute(f"SELECT count(*) FROM jobs WHERE {where}").fetchone()[0]
    return found


def recover(scratch: Scratch, jobs: int) -> float:
    """Seconds until all are put back."""
    scratch.new()
    env = {**scratch.env, "QUEUECTL_LEASE": "5"}
    stop = scratch.folder / "stop"
    body = f"echo >> {scratch.folder}/up; test -e {stop} && exit 0; while :; do sleep 300; done"
    commands = [f"trap '' TERM; {body}" if number % 3 == 0 else body for number in range(jobs)]
    lines = "".join(json.dumps({"command": command}) + "\n" for command in commands)
    timed([*QUEUECTL, "enqueue", "-"], env, lines.encode())
    start = [*QUEUECTL, "worker", "start", "--quiet", "--count"]
    victims = [subprocess.Popen([*start, str(n)], env=env) for n in (jobs // 2, jobs - jobs // 2)]
    until((scratch.folder / "up").exists)
    until(lambda: len((scratch.folder / "up").read_bytes()) == jobs)
    for victim in victims:
        shims = psutil.Process(victim.pid).children()
        victim.kill()
        victim.wait()
        for shim in shims:
            os.kill(shim.pid, signal.SIGKILL)
    stop.touch()
    began = time.monotonic()
    successor = subprocess.Popen([*start, "4", "--until-empty"], env=env)
    until(lambda: count(scratch.store, "crashes > 0") == jobs)
    took = time.monotonic() - began
    successor.wait()
    if count(scratch.store, "crashes = 1 AND state = 'completed'") != jobs:
        raise SystemExit("a job was put back twice, or not at all")
    return took


def table(found: dict[str, Any]) -> str:
    took = found["put back"]
    least, most = took["spread"]
    return (
        f"{found['jobs']} jobs of killed supervisors and shims, a third deaf to SIGTERM: put back"
        f" in {took['value']:.1f} s ({least:.1f} to {most:.1f}; bar {took['bar']:g} s)"
        f" {word(took)}"
    )


def main() -> int:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--jobs", type=int, default=600)
    given = parser.parse_args()
    with Scratch() as scratch:
        times = []
        for _ in range(given.rounds):
            times.append(recover(scratch, given.jobs))
            progress(f"{times[-1]:.1f} s")
    found = {
        "jobs": given.jobs,
        "rounds": given.rounds,
        "machine": machine(),
        "put back": judged(middle(times), at_most=BAR),
    }
    return report(found, given.json, table)


if __name__ == "__main__":
    sys.exit(main())
