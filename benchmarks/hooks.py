"""What hooks cost while very many jobs die at once, beside the same jobs without hooks.

    python benchmarks/hooks.py [--jobs N] [--rounds N] [--refused N] [--store STORE]… [--json]

- *each*: the drain of N times ``false``, which die at the first failure, with a hook that delivers
  each death by itself. From the start of the workers, which serve all queues, to the last death.
  Each death must have exactly one delivery.
- *digest*: the same with ``--digest 60s``. With no bar: how many messages there were. The counts in
  them must add up to the number of deaths.
- *other*: the same with a hook that asks for another event.
- *refused*: so many deaths with a URL at which nobody listens, until all deliveries are dead. How
  much memory the supervisor has at the end, beside what it had after a fifth of them. The reason of
  all deliveries must be that the connection was refused.

Ends with exit code 1 if a bar is missed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
from admission import drained_by, put_in, spec
from both_stores import STORES, add_store, figures, places, query, tidy, url_of
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
)

from queuectl_core.queue import Queue

BARS = {"each": 0.8, "digest": 0.9, "other": 0.9}
MEMORY_BAR = 1.25
"""How many times the memory after a fifth of the deliveries."""
WORKERS = 4
HOOKS: dict[str, tuple[str, float | None]] = {
    "each": ("dead", None),
    "digest": ("dead", 60.0),
    "other": ("cancelled", None),
}


async def prepare(url: str, jobs: int, kind: str) -> None:
    async with Queue.open(url, env=os.environ) as queue:
        if kind in HOOKS:
            event, digest = HOOKS[kind]
            await queue.add_hook("bench", [event], digest=digest, command=("true",))
    await put_in(url, (spec("false", id=f"j{n}") for n in range(jobs)))


async def flush(url: str) -> None:
    """Deliver what waits for the digest."""
    async with Queue.open(url, env=os.environ) as queue:
        await queue.store.deliver_hooks(queue.clock() + 3600)


def bodies(scratch: Scratch) -> list[dict[str, Any]]:
    """What was delivered. Whole bodies are only needed of digests."""
    found = query(
        scratch,
        "SELECT i.stdin FROM jobs j JOIN inputs i ON i.job = j.seq WHERE j.queue = 'hooks'",
    )
    return [json.loads(bytes(row[0])) for row in found]


def drain(scratch: Scratch, jobs: int, kind: str) -> float:
    """Deaths a second."""
    scratch.new()
    asyncio.run(prepare(url_of(scratch), jobs, kind))
    tidy(scratch)
    rate = drained_by(scratch, jobs, "queue = 'default' AND state = 'dead'", WORKERS)
    if kind == "each":
        names = [one["job"] for one in bodies(scratch)]
        assert len(names) == len(set(names)) == jobs, f"{len(names)} deliveries"
    elif kind == "digest":
        asyncio.run(flush(url_of(scratch)))
        found = bodies(scratch)
        assert sum(one["detail"]["count"] for one in found) == jobs
        progress(f"{len(found)} messages for {jobs:,} deaths")
    progress(f"{kind:<10}{rate:8.0f} deaths/s")
    return rate


def measure_refused(scratch: Scratch, jobs: int) -> dict[str, Any]:
    scratch.new()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"

        async def setup() -> None:
            async with Queue.open(url_of(scratch), env=os.environ) as queue:
                await queue.add_hook("bench", ["dead"], url=url, max_retries=1)

        asyncio.run(setup())
        asyncio.run(put_in(url_of(scratch), (spec("false", id=f"j{n}") for n in range(jobs))))
        command = [*QUEUECTL, "worker", "start", "--count", str(WORKERS), "--quiet"]
        process = subprocess.Popen(command, env=scratch.env)
        dead = "SELECT count(*) FROM jobs WHERE queue = 'hooks' AND state = 'dead'"
        early = 0
        try:
            while (number := query(scratch, dead)[0][0]) < jobs:
                if not early and number >= jobs / 5:
                    early = psutil.Process(process.pid).memory_info().rss
                time.sleep(0.2)
            late = psutil.Process(process.pid).memory_info().rss
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    reasons = query(scratch, "SELECT DISTINCT reason FROM jobs WHERE queue = 'hooks'")
    assert [row[0] for row in reasons] == ["exit 1: connection refused"], reasons
    growth = judged(middle([late / early]), at_most=MEMORY_BAR)
    return {"deliveries": jobs, "MiB at the end": middle([late / 2**20]), "growth": growth}


def measure(kind: str, given: Any) -> dict[str, Any]:
    with places(kind, "hooks") as (scratch,):
        os.environ["HOME"] = scratch.env["HOME"]
        timed([*QUEUECTL, "--version"], scratch.env)

        def bar(name: str) -> Callable[[], float]:
            return lambda: drain(scratch, given.jobs, name)

        plain, *others = in_turns(given.rounds, bar("none"), *map(bar, BARS))
        found: dict[str, Any] = {"none": {"deaths a second": middle(plain)}}
        for name, figures in zip(BARS, others, strict=True):
            found[name] = {
                "deaths a second": middle(figures),
                "ratio": judged(ratio(figures, plain), at_least=BARS[name]),
            }
        if given.refused:
            found["refused"] = measure_refused(scratch, given.refused)
    return found


def table(found: dict[str, Any]) -> str:
    return figures(found, f"{found['jobs']:,} deaths, {found['rounds']} rounds", 48)


def main() -> int:
    parser = options(__doc__, 3)
    parser.add_argument("--jobs", type=int, default=50_000, help="that die; default: 50,000")
    parser.add_argument("--refused", type=int, default=500, help="deliveries to nobody; 0: none")
    add_store(parser)
    given = parser.parse_args()
    found: dict[str, Any] = {"jobs": given.jobs, "rounds": given.rounds}
    for kind in given.store or STORES:
        progress(f"-- {kind}")
        found[kind] = measure(kind, given)
    found["machine"] = machine()
    return report(found, given.json, table)


if __name__ == "__main__":
    sys.exit(main())
