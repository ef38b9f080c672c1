"""How quick the queue is, each figure beside what it should be measured against.

    python benchmarks/core.py [--jobs N] [--rounds N] [--json]

Absolute figures are this machine's, today; the ratios are what to compare. The bars are taken
in turns (A B A B …), and the median of the rounds is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from queuectl_core.model import State
from queuectl_core.queue import Queue

PYTHON = sys.executable
QUEUECTL = [PYTHON, "-m", "queuectl_tui"]


def timed(command: list[str], env: dict[str, str], stdin: bytes = b"") -> float:
    """Seconds a command takes from start to exit; it must succeed."""
    began = time.perf_counter()
    subprocess.run(command, input=stdin, env=env, check=True, capture_output=True)
    return time.perf_counter() - began


def in_turns(rounds: int, *bars: Callable[[], float]) -> list[list[float]]:
    """Each bar once a round, in turns; one list of figures for each."""
    figures: list[list[float]] = [[] for _ in bars]
    for _ in range(rounds):
        for bar, found in zip(bars, figures, strict=True):
            found.append(bar())
    return figures


class Scratch:
    """A store that is made anew for each measurement."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="queuectl-bench-"))
        self.store = self.folder / "queue.db"
        self.env = {**os.environ, "QUEUECTL_STORE": str(self.store), "HOME": str(self.folder)}
        # Compiled once, as an installed package is, whatever the caller's settings.
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)
        self.bytecode = Path(tempfile.mkdtemp(prefix="queuectl-bench-pyc-"))
        self.env["PYTHONPYCACHEPREFIX"] = str(self.bytecode)

    def new(self) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self) -> None:
        shutil.rmtree(self.folder)
        shutil.rmtree(self.bytecode)


def drain(scratch: Scratch, jobs: int, rounds: int) -> dict[str, Any]:
    """N times ``true`` on 4 workers, from ``worker start`` to its exit, and by xargs."""
    lines = b"".join(b'{"command": "true"}\n' for _ in range(jobs))
    numbers = "\n".join(map(str, range(jobs))).encode()

    def ours() -> float:
        scratch.new()
        timed([*QUEUECTL, "enqueue", "-", "--quiet"], scratch.env, lines)
        start = [*QUEUECTL, "worker", "start", "--count", "4", "--until-empty", "--quiet"]
        return jobs / timed(start, scratch.env)

    def xargs() -> float:
        return jobs / timed(["xargs", "-P4", "-I{}", "sh", "-c", "true"], scratch.env, numbers)

    mine, other = in_turns(rounds, ours, xargs)
    return {
        "jobs_per_second": statistics.median(mine),
        "xargs_per_second": statistics.median(other),
        "ratio": statistics.median(a / b for a, b in zip(mine, other, strict=True)),
    }


def bulk(scratch: Scratch, jobs: int, rounds: int) -> dict[str, Any]:
    """JSON Lines from standard input, accepted in one transaction, as a whole process."""
    lines = b"".join(b'{"id": "job-%d", "command": "echo %d"}\n' % (i, i) for i in range(jobs))

    def ours() -> float:
        scratch.new()
        return jobs / timed([*QUEUECTL, "enqueue", "-", "--quiet"], scratch.env, lines)

    (mine,) = in_turns(rounds, ours)
    return {"jobs": jobs, "jobs_per_second": statistics.median(mine)}


def start_up(scratch: Scratch, rounds: int) -> dict[str, Any]:
    """Whole processes, beside an interpreter that only imports what they stand on."""
    scratch.new()
    timed([*QUEUECTL, "enqueue", "true"], scratch.env)
    base = [PYTHON, "-c", "import click, asyncio, sqlite3"]
    light = [PYTHON, "-c", "import click"]
    result = {}
    for name, command, against in (
        ("enqueue", [*QUEUECTL, "enqueue", "true"], base),
        ("status --json", [*QUEUECTL, "status", "--json"], base),
        ("list --json", [*QUEUECTL, "list", "--json"], base),
        ("--help", [*QUEUECTL, "--help"], light),
        ("--version", [*QUEUECTL, "--version"], light),
    ):
        mine, other = in_turns(
            rounds, lambda c=command: timed(c, scratch.env), lambda a=against: timed(a, scratch.env)
        )
        result[name] = {
            "ms": 1000 * statistics.median(mine),
            "ratio": statistics.median(mine) / statistics.median(other),
        }
    return result


async def idle_and_pick_up(scratch: Scratch, jobs: int) -> dict[str, Any]:
    """A detached supervisor with 4 workers: at rest, and how soon it starts a job.

    Each job prints the time it began; that is set against the moment ``enqueue`` returned.
    """
    scratch.new()
    async with Queue.open(str(scratch.store), env=scratch.env) as queue:
        workers = await queue.start_workers(4)
        process = psutil.Process(workers[0].pid)
        family = [process, *process.children()]
        before, began = sum(sum(p.cpu_times()[:2]) for p in family), time.monotonic()
        await asyncio.sleep(10)
        used = sum(sum(p.cpu_times()[:2]) for p in family) - before
        idle = 100 * used / (time.monotonic() - began)
        memory = [p.memory_info().rss / (1 << 20) for p in family]
        delays = []
        for _ in range(jobs):
            (job,) = await queue.enqueue([{"command": ["date", "+%s.%N"]}])
            committed = time.time()
            while (now := await queue.get(job.seq)) and now.state is not State.COMPLETED:
                await asyncio.sleep(0.01)
            assert now
            delays.append(float((await queue.output(now)).read(0, 100)) - committed)
        await queue.stop_workers(await queue.workers(), now=False)
        while await queue.workers():
            await asyncio.sleep(0.05)
    delays.sort()
    return {
        "idle_cpu_percent": idle,
        "memory_mb": {"supervisor": memory[0], "shim": sum(memory[1:])},
        "pick_up_ms": {
            "median": 1000 * statistics.median(delays),
            "p99": 1000 * delays[int(0.99 * (len(delays) - 1))],
        },
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--jobs", type=int, default=3000, help="jobs to drain")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    scratch = Scratch()
    try:
        found = {
            "machine": {
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "sqlite": sqlite3.sqlite_version,
                "system": f"{platform.system()} {platform.release()}",
            },
            "drain": drain(scratch, given.jobs, given.rounds),
            "bulk": bulk(scratch, 100_000, max(1, given.rounds // 2)),
            "start_up": start_up(scratch, 3 * given.rounds),
            **asyncio.run(idle_and_pick_up(scratch, 200)),
        }
    finally:
        scratch.close()
    print(json.dumps(found, indent=2) if given.json else table(found))


def table(found: dict[str, Any]) -> str:
    machine, pick_up, memory = found["machine"], found["pick_up_ms"], found["memory_mb"]
    rows = [
        f"{machine['cores']} cores, Python {machine['python']}, SQLite {machine['sqlite']}",
        f"drain            {found['drain']['jobs_per_second']:8.0f} jobs/s"
        f"   {found['drain']['ratio']:.2f} of xargs -P4 ({found['drain']['xargs_per_second']:.0f})",
        f"bulk enqueue     {found['bulk']['jobs_per_second']:8.0f} jobs/s   one transaction",
        f"pick-up          {pick_up['median']:8.1f} ms median, {pick_up['p99']:.1f} ms p99",
        f"idle             {found['idle_cpu_percent']:8.2f} % of a core,"
        f" {memory['supervisor']:.0f} + {memory['shim']:.0f} MB (supervisor + shim)",
    ]
    for name, bar in found["start_up"].items():
        rows.append(f"{name:16} {bar['ms']:8.0f} ms       {bar['ratio']:.2f} of the bare imports")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
