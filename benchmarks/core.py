"""Detached workers at rest: what they use, and how soon they start a job.

    python benchmarks/core.py [--jobs N] [--rounds N] [--json]

One detached supervisor with four workers. Each job prints the time it began; that is set against
the moment ``enqueue`` returned, compared with ``date`` run as a child of the same process.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any

import psutil
from harness import Scratch, machine, middle, options, ratio, report

from queuectl_core.domain.model import State
from queuectl_core.queue import Queue

IDLE = 10.0
"""Seconds of doing nothing in which CPU is measured."""


async def measure(scratch: Scratch, jobs: int, rounds: int) -> dict[str, Any]:
    async with Queue.open(None, env=scratch.env) as queue:
        workers = await queue.start_workers(4)
        process = psutil.Process(workers[0].pid)
        family = [process, *process.children()]
        idle, medians, worst, bare = [], [], [], []
        try:
            for _ in range(rounds):
                idle.append(await cpu(family))
                delays = sorted([await pick_up(queue) for _ in range(jobs)])
                medians.append(delays[len(delays) // 2])
                worst.append(delays[int(0.99 * (len(delays) - 1))])
                bare.append(sorted(child() for _ in range(jobs))[jobs // 2])
            memory = [p.memory_info().rss / (1 << 20) for p in family]
        finally:
            await queue.stop_workers(await queue.workers(), now=False)
            while await queue.workers():
                await asyncio.sleep(0.05)
    return {
        "jobs": jobs,
        "rounds": rounds,
        "idle_cpu_percent": middle(idle),
        "memory_mb": {"supervisor": memory[0], "shim": sum(memory[1:])},
        "pick_up_ms": {
            "median": middle(medians),
            "p99": middle(worst),
            "a child of our own": middle(bare),
            "median to that": ratio(medians, bare),
        },
        "machine": machine(),
    }


async def cpu(family: list[psutil.Process]) -> float:
    """Percent of a core, while nothing is to be done."""
    before, began = sum(sum(p.cpu_times()[:2]) for p in family), time.monotonic()
    await asyncio.sleep(IDLE)
    used = sum(sum(p.cpu_times()[:2]) for p in family) - before
    return 100 * used / (time.monotonic() - began)


async def pick_up(queue: Queue) -> float:
    """Milliseconds from the return of ``enqueue`` until the job runs."""
    (job,) = await queue.enqueue([{"command": ["date", "+%s.%N"]}])
    committed = time.time()
    while (now := await queue.get(job.seq)) and now.state is not State.COMPLETED:
        await asyncio.sleep(0.01)
    assert now
    return 1000 * (float((await queue.output(now)).read(0, 100)) - committed)


def child() -> float:
    """Milliseconds from the decision to start a process until it runs: the least possible."""
    began = time.time()
    said = subprocess.run(["date", "+%s.%N"], capture_output=True, check=True).stdout
    return 1000 * (float(said) - began)


def table(found: dict[str, Any]) -> str:
    idle, memory, delays = found["idle_cpu_percent"], found["memory_mb"], found["pick_up_ms"]
    low, high = idle["spread"]
    rows = [
        f"{'idle':<14}{idle['value']:8.2f} % of a core ({low:.2f} to {high:.2f}),"
        f" {memory['supervisor']:.0f} + {memory['shim']:.0f} MB (supervisor + shim)"
    ]
    for name in ("median", "p99"):
        low, high = delays[name]["spread"]
        row = f"{'pick-up, ' + name:<14}{delays[name]['value']:8.1f} ms ({low:.1f} to {high:.1f})"
        rows.append(row)
    own = delays["a child of our own"]["value"]
    rows.append(f"{'':14}{own:8.1f} ms for a child of one's own")
    return "\n".join(rows)


def main() -> int:
    parser = options(__doc__, 3)
    parser.add_argument("--jobs", type=int, default=200, help="for each round; default: 200")
    given = parser.parse_args()
    with Scratch() as scratch:
        scratch.new()
        found = asyncio.run(measure(scratch, given.jobs, given.rounds))
    return report(found, given.json, table)


if __name__ == "__main__":
    sys.exit(main())
