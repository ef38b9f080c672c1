"""What a thousand schedules cost: while none is due, and when all are due in the same second.

    python benchmarks/schedules.py [--schedules N] [--seconds N] [--rounds N] [--store STORE]…
                                   [--json]

The CPU time of an idle supervisor and its shim is measured for N seconds, without schedules and
with them. Then all schedules are due at the same moment, and two supervisors fire them: measured is
how long it takes until each has its job. Ends with exit code 1 if the bar is missed, or if a
schedule was not fired exactly once.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any

import psutil
from both_stores import STORES, add_store, places, query, url_of
from harness import (
    QUEUECTL,
    Scratch,
    judged,
    machine,
    middle,
    options,
    progress,
    report,
    word,
)

from queuectl_core.domain.schedule import Schedule
from queuectl_core.queue import Queue

BAR = 0.5
"""Percent of a core, at most, for an idle supervisor with all schedules."""
PATIENCE = 120.0


async def add(scratch: Scratch, count: int, due: float | None) -> None:
    """Schedules that are due at this moment (None: on another day)."""
    async with Queue.open(url_of(scratch), env=scratch.env) as queue:
        now = queue.clock()
        info = await queue.check_schedule("s", {"cron": "0 0 1 1 *", "tz": "UTC"}, "true")
        first = info.schedule
        at = first.next_at if due is None else due
        for number in range(count):
            made: Schedule = first._replace(name=f"s{number:05}", next_at=at, due_at=at)
            await queue.store.add_schedule(made, now)


def cpu_of(supervisor: subprocess.Popen[bytes], seconds: float) -> float:
    """Percent of a core that the supervisor and its shim use."""
    processes = [psutil.Process(supervisor.pid)]
    processes += processes[0].children(recursive=True)

    def used() -> float:
        return sum(sum(one.cpu_times()[:2]) for one in processes)

    before, began = used(), time.monotonic()
    time.sleep(seconds)
    return 100.0 * (used() - before) / (time.monotonic() - began)


def start(scratch: Scratch) -> subprocess.Popen[bytes]:
    command = [*QUEUECTL, "worker", "start", "--quiet", "--count", "1"]
    return subprocess.Popen(command, env=scratch.env, start_new_session=True)


def idle(scratch: Scratch, count: int, seconds: float) -> float:
    """Percent of a core."""
    scratch.new()
    asyncio.run(add(scratch, count, None))
    supervisor = start(scratch)
    try:
        time.sleep(5.0)  # until it is up, and has looked after everything once
        return cpu_of(supervisor, seconds)
    finally:
        supervisor.terminate()
        supervisor.wait()


def at_once(scratch: Scratch, count: int) -> float:
    """Seconds until all are fired."""
    scratch.new()
    due = time.time() + 12.0
    asyncio.run(add(scratch, count, due))
    supervisors = [start(scratch) for _ in range(2)]
    try:
        jobs = "SELECT count(*) FROM jobs"
        while True:
            [(done,)] = query(scratch, jobs)
            took = time.time() - due
            if done >= count:
                break
            if took > PATIENCE:
                raise SystemExit(f"{done} of {count} were fired in {took:.0f} s")
            time.sleep(0.02)
        time.sleep(1.0)
        [(done,)] = query(scratch, jobs)
        if done != count:
            raise SystemExit(f"{done} jobs for {count} schedules")
        return took
    finally:
        for one in supervisors:
            one.terminate()
        for one in supervisors:
            one.wait()


def measure(scratch: Scratch, given: Any) -> dict[str, Any]:
    without, with_all, times = [], [], []
    for _ in range(given.rounds):
        without.append(idle(scratch, 0, given.seconds))
        with_all.append(idle(scratch, given.schedules, given.seconds))
        times.append(at_once(scratch, given.schedules))
        progress(f"{without[-1]:.2f} %, {with_all[-1]:.2f} %, {times[-1]:.2f} s")
    return {
        "idle without": middle(without),
        "idle": judged(middle(with_all), at_most=BAR),
        "at once": middle(times),
    }


def table(found: dict[str, Any]) -> str:
    lines = []
    for store in STORES:
        if store not in found:
            continue
        idle_, without, took = (found[store][name] for name in ("idle", "idle without", "at once"))
        lines.append(
            f"{store}: idle supervisor with {found['schedules']} schedules:"
            f" {idle_['value']:.2f} % of a core (bar {BAR:g} %; without {without['value']:.2f} %)"
            f" {word(idle_)}; all due at once: {took['value']:.2f} s"
        )
    return "\n".join(lines)


def main() -> int:
    parser = options(__doc__, rounds=1)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    add_store(parser)
    given = parser.parse_args()
    found: dict[str, Any] = {"schedules": given.schedules, "machine": machine()}
    for store in given.store or STORES:
        progress(store)
        with places(store, "schedules") as (scratch,):
            found[store] = measure(scratch, given)
    return report(found, given.json, table)


if __name__ == "__main__":
    sys.exit(main())
