"""Whether somebody who reads slowly keeps the others waiting.

    python benchmarks/reader.py [--jobs N] [--rounds N] [--scale X] [--json]

A store of some 280 MB (``--scale`` times that), whose jobs are due tomorrow. Jobs in a queue of
their own are drained, by ``worker start --until-empty`` from start to exit, while a producer
enqueues one job at a time. This is done in turns:

- *alone*: nobody reads;
- *a reader*: another program holds a snapshot of the store for 3 seconds, again and again;
- *a backup*: ``queuectl backup``, which is stopped for most of the time (SIGSTOP), as if its disk
  were slow; it lasts as long as the drain.

Ends with exit code 1 if a bar is missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness import (
    PYTHON,
    QUEUECTL,
    ROOT,
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

DRAIN_BAR = 0.8
ENQUEUE_BAR_MS = 100.0
LARGE = 70_000
"""Jobs that take a page each: some 280 MB."""
SNAPSHOT = 3.0
QUEUE, ASIDE = "drained", "aside"
WORKERS = [*QUEUECTL, "worker", "start", "--count", "4", "--quiet", "--until-empty"]

READER = f"""
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
while True:
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM attempts").fetchone()
    time.sleep({SNAPSHOT})
    connection.execute("COMMIT")
"""


# -- what goes on beside the drain ------------------------------------------------------


@contextmanager
def nothing(scratch: Scratch) -> Iterator[None]:
    yield


@contextmanager
def a_reader(scratch: Scratch) -> Iterator[None]:
    process = subprocess.Popen([PYTHON, "-c", READER, str(scratch.store)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def a_backup(scratch: Scratch) -> Iterator[None]:
    """One that runs for a tenth of the time; a new one when it is done."""
    ending = threading.Event()
    target = scratch.folder / "copy.db"

    def back_up() -> None:
        while not ending.is_set():
            words = [*QUEUECTL, "backup", "--force", "--quiet", str(target)]
            process = subprocess.Popen(words, env=scratch.env, stdout=subprocess.DEVNULL)
            ending.wait(0.6)  # its start
            while process.poll() is None and not ending.is_set():
                process.send_signal(signal.SIGSTOP)
                ending.wait(0.18)
                process.send_signal(signal.SIGCONT)
                ending.wait(0.02)
            process.kill()
            process.wait()

    thread = threading.Thread(target=back_up)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        for path in scratch.folder.glob("copy.db*"):
            path.unlink()


BESIDE: dict[str, Callable[[Scratch], Any]] = {
    "alone": nothing,
    "a reader": a_reader,
    "a backup": a_backup,
}


# -- what is measured -------------------------------------------------------------------


async def produce() -> None:
    """Enqueue a job every 20 ms until standard input ends; print how long each took."""
    from queuectl_core.domain.errors import QueueError
    from queuectl_core.queue import Queue

    took: list[float] = []
    failed = 0
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with Queue.open() as queue:
        while not ended.done():
            began = time.perf_counter()
            try:
                await queue.enqueue([{"command": "true", "queue": ASIDE}])
            except QueueError:
                failed += 1
            took.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)
    print(json.dumps({"took": took, "failed": failed}))


def drain(scratch: Scratch, beside: str, jobs: int) -> dict[str, Any]:
    """Jobs a second, the time each enqueue took, and how large the WAL is in the end."""
    database = sqlite3.connect(scratch.store, timeout=10)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    line = json.dumps({"command": "true", "queue": QUEUE}) + "\n"
    timed([*QUEUECTL, "enqueue", "-", "--quiet"], scratch.env, line.encode() * jobs)
    with BESIDE[beside](scratch):
        producer = subprocess.Popen(
            [PYTHON, __file__, "--produce"],
            env=scratch.env | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        seconds = timed([*WORKERS, "--queue", QUEUE], scratch.env)
        said = json.loads(producer.communicate()[0])
        wal = 0
        with contextlib.suppress(OSError):
            wal = os.stat(f"{scratch.store}-wal").st_size
    return {"rate": jobs / seconds, "wal": wal, **said}


def measure(scratch: Scratch, jobs: int, rounds: int, scale: float) -> dict[str, Any]:
    scratch.new()
    line = {"command": "true", "run_at": "+1d", "queue": "later", "env": {"TEXT": "x" * 2000}}
    large = (json.dumps(line) + "\n").encode() * int(LARGE * scale)
    timed([*QUEUECTL, "enqueue", "-", "--quiet"], scratch.env, large)
    size = scratch.store.stat().st_size
    progress(f"a store of {size / (1 << 20):.0f} MB; {rounds} rounds of {jobs} jobs")
    sides = in_turns(rounds, *(lambda name=name: drain(scratch, name, jobs) for name in BESIDE))
    found: dict[str, Any] = {"jobs": jobs, "rounds": rounds, "store_mb": size / (1 << 20)}
    alone = [one["rate"] for one in sides[0]]
    for name, side in zip(BESIDE, sides, strict=True):
        rates = [one["rate"] for one in side]
        took = sorted(1000 * seconds for one in side for seconds in one["took"])
        p99 = middle([took[int(0.99 * (len(took) - 1))]])
        found[name] = {
            "rate": middle(rates),
            "enqueue p99, ms": p99,
            "enqueue slowest, ms": took[-1],
            "enqueue failed": sum(one["failed"] for one in side),
            "wal_mb": max(one["wal"] for one in side) / (1 << 20),
        }
        if name != "alone":
            found[name]["beside alone"] = judged(ratio(rates, alone), at_least=DRAIN_BAR)
            found[name]["enqueue p99, ms"] = judged(p99, at_most=ENQUEUE_BAR_MS)
    return {**found, "machine": machine()}


def table(found: dict[str, Any]) -> str:
    rows = [
        f"{'':10}{'jobs/s':>8}{'to alone':>10}{'':7}{'enqueue p99':>13}{'':7}"
        f"{'slowest':>11}{'failed':>8}{'WAL':>9}"
    ]
    for name in BESIDE:
        side = found[name]
        share, p99 = side.get("beside alone"), side["enqueue p99, ms"]
        shown = f"{share['value']:10.2f}{word(share):>7}" if share else " " * 17
        rows.append(
            f"{name:10}{side['rate']['value']:8,.0f}{shown}{p99['value']:10.1f} ms{word(p99):>7}"
            f"{side['enqueue slowest, ms']:8,.0f} ms{side['enqueue failed']:8}"
            f"{side['wal_mb']:6.0f} MB"
        )
    return "\n".join(rows)


def main() -> int:
    parser = options(__doc__, 3)
    parser.add_argument("--jobs", type=int, default=6000)
    parser.add_argument("--scale", type=float, default=1.0, help="of the store")
    parser.add_argument("--produce", action="store_true", help="be the producer")
    given = parser.parse_args()
    if given.produce:
        asyncio.run(produce())
        return 0
    with Scratch() as scratch:
        found = measure(scratch, given.jobs, given.rounds, given.scale)
    return report(found, given.json, table)


if __name__ == "__main__":
    sys.exit(main())
