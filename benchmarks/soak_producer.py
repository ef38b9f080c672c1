"""One of the soak's producers: enqueues a mix of jobs until its standard input is closed.

    python soak_producer.py STORE NAME JOBS_A_SECOND

Prints a line for each job that was accepted: its id, when, and how many seconds ``enqueue`` took.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
import time

from queuectl_core.queue import Queue

# Of ten jobs: six do nothing, one writes, one takes a moment, one fails once and one fails until
# it is dead, and completes when it is retried from there.
COMMANDS = (
    "true",
    "head -c 20000 /dev/zero | tr '\\0' x",
    "true",
    "sleep 0.05",
    "true",
    "true",
    "test $QUEUECTL_ATTEMPT -gt 1",
    "true",
    "test $QUEUECTL_ATTEMPT -gt 2",
    "true",
)


async def produce(store: str, name: str, rate: float) -> None:
    async with Queue.open(store, env=os.environ) as queue:
        due, number = time.monotonic(), 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            job = {
                "id": f"{name}-{number}",
                "command": COMMANDS[number % len(COMMANDS)],
                "max_retries": 2,
                "backoff_base": 0.5,
            }
            at, began = time.time(), time.perf_counter()
            await queue.enqueue([job])
            took = time.perf_counter() - began
            print(job["id"], f"{at:.6f} {took:.6f}", flush=True)
            number += 1
            due = max(due + 1 / rate, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    asyncio.run(produce(sys.argv[1], sys.argv[2], float(sys.argv[3])))
