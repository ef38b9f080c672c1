"""How many jobs a second a store can claim and settle, if running them costs nothing.

Each supervisor is a process that does what a supervisor's dispatcher does
(``Store.settle_and_claim``): one commit settles the jobs of the last round and claims as many more.
``BATCH`` is about as many as a supervisor of four workers settles and claims at a time while its
jobs are short. It is compared with one job a round, as if jobs were long. No process is started for
a job, so only the store is measured: no fleet can exceed this rate on this server.

    python benchmarks/postgres_claims.py NAME BATCH

is one such supervisor; ``postgres.py`` starts them.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from harness import PYTHON, QUEUECTL, Scratch, in_turns, middle, progress, timed
from postgres_server import PostgresScratch

from queuectl_core.domain.claims import AttemptResult, ClaimRequest, ClaimSlot, Transition
from queuectl_core.domain.model import Attempt, Job, Outcome, State, SupervisorRow
from queuectl_core.store.open import open_store
from queuectl_core.store.protocol import Store
from queuectl_core.system.clocks import monotonic

BATCH = 30
JOBS = 20_000
COUNTS = (1, 2, 4, 8)
SINGLES, SINGLE_COUNT = 4000, 4
"""Jobs, and supervisors, of the measurement with one job a round."""
COMPLETED = Transition(State.COMPLETED, 1, 0, None, None)


# -- one supervisor -------------------------------------------------------------------------------


async def supervise(name: str, batch: int) -> dict[str, Any]:
    """Claim and settle until nothing is left; begins when a line comes on standard input."""
    store = await open_store(None, os.environ)
    try:
        now, mono = store.clock(), monotonic()
        lease = 600.0
        row = SupervisorRow(
            name, "bench", "bench", os.getpid(), 0.0, False, now, now + lease, mono + lease
        )
        workers = [f"{name}-{number}" for number in range(4)]
        await store.register(row, [(worker, ()) for worker in workers], now)
        await turn(store, name, [], [])
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        found = await drained(store, name, workers, batch)
        await store.deregister(name)
    finally:
        await store.close()
    return found


async def drained(store: Store, name: str, workers: list[str], batch: int) -> dict[str, Any]:
    openings = [ClaimSlot(workers[n] if n < len(workers) else "", ()) for n in range(batch)]
    times, done, cpu, began = [], 0, time.process_time(), time.time()
    ended, jobs = began, await turn(store, name, [], openings)
    while jobs:
        endings = [ending(job, workers[n % len(workers)], name) for n, job in enumerate(jobs)]
        at = time.perf_counter()
        jobs = await turn(store, name, endings, openings)
        times.append(time.perf_counter() - at)
        done, ended = done + len(endings), time.time()
    return {
        "done": done,
        "began": began,
        "ended": ended,
        "cpu": time.process_time() - cpu,
        "turns": times,
    }


async def turn(
    store: Store, name: str, endings: list[AttemptResult], openings: list[ClaimSlot]
) -> tuple[Job, ...]:
    """One commit; repeated while other supervisors hold the rows."""
    while True:
        now = store.clock()
        found = await store.settle_and_claim(ClaimRequest(name, endings, openings, now))
        if found.refused:
            raise SystemExit(f"{len(found.refused)} endings were refused")
        if found.claimed or found.next_due is None or not openings:
            return found.claimed
        endings = []
        await asyncio.sleep(max(0.0, found.next_due - now))


def ending(job: Job, worker: str, host: str) -> AttemptResult:
    """It has just completed."""
    began = job.started_at or 0.0
    attempt = Attempt(
        number=job.runs,
        started_at=began,
        finished_at=began + 0.001,
        outcome=Outcome.COMPLETED,
        exit_code=0,
        signal=None,
        reason=None,
        worker=worker,
        host=host,
        peak_memory=None,
        cpu_seconds=None,
        output_bytes=0,
        waited=0.0,
    )
    return AttemptResult(job.seq, job.runs, attempt, COMPLETED)


# -- some of them ---------------------------------------------------------------------------------


def together(scratch: Scratch, count: int, batch: int = BATCH, jobs: int = JOBS) -> dict[str, Any]:
    """What ``count`` of them do on a new store of ``jobs`` jobs, ``batch`` a turn."""
    scratch.new()
    lines = b'{"command": "true"}\n' * jobs
    timed([*QUEUECTL, "enqueue", "-", "--quiet"], scratch.env, lines)
    server = scratch.server if isinstance(scratch, PostgresScratch) else None
    processes = [
        subprocess.Popen(
            [PYTHON, __file__, f"claims-{number}", str(batch)],
            env=scratch.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout
            if process.stdout.readline() != "ready\n":
                raise SystemExit("a supervisor of the benchmark failed")
        used = server.cpu() if server else 0.0
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        found = [json.loads(process.communicate()[0]) for process in processes]
        used = (server.cpu() if server else 0.0) - used
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if (done := sum(one["done"] for one in found)) != jobs:
        raise SystemExit(f"{done} of {jobs} jobs were done")
    seconds = max(one["ended"] for one in found) - min(one["began"] for one in found)
    turns = sorted(1000 * each for one in found for each in one["turns"])
    kind = "PostgreSQL" if server else "SQLite"
    progress(f"{count} claim together, {kind}: {jobs / seconds:.0f} jobs/s")
    return {
        "rate": jobs / seconds,
        "ours": 1000 * sum(one["cpu"] for one in found) / jobs,
        "server": 1000 * used / jobs,
        "turn": statistics.median(turns),
        "turn_p99": turns[int(0.99 * (len(turns) - 1))],
        "turns": len(turns),
    }


def measure(postgres: Scratch, sqlite: Scratch, rounds: int) -> dict[str, Any]:
    """In turns; the medians of the rounds."""
    bars: list[tuple[Any, ...]] = [(s, count) for count in COUNTS for s in (postgres, sqlite)]
    bars.append((postgres, SINGLE_COUNT, 1, SINGLES))
    figures = in_turns(rounds, *(lambda b=bar: together(*b) for bar in bars))
    found: dict[str, Any] = {"jobs": JOBS, "batch": BATCH, "rounds": rounds}
    for (scratch, count, *single), runs in zip(bars, figures, strict=True):
        name = "one a turn" if single else "postgres" if scratch is postgres else "sqlite"
        found.setdefault(name, {})[str(count)] = {
            "claims_per_second": middle([run["rate"] for run in runs]),
            "cpu_ms_a_job": middle([run["ours"] for run in runs]),
            "server_cpu_ms_a_job": middle([run["server"] for run in runs]),
            "turn_ms": middle([run["turn"] for run in runs]),
            "turn_p99_ms": middle([run["turn_p99"] for run in runs]),
            "turns": middle([run["turns"] for run in runs]),
        }
    return found


def table(found: dict[str, Any]) -> str:
    rows = [
        f"claims a second, {found['batch']} a turn, {found['jobs']:,} jobs that cost nothing",
        f"{'supervisors':<14}{'PostgreSQL':>12}{'SQLite':>9}{'turn, ms':>10}{'99 %':>8}"
        f"{'CPU a job, µs: ours':>22}{'the server':>12}",
    ]
    for count, part in found["postgres"].items():
        other = found["sqlite"][count]["claims_per_second"]["value"]
        rows.append(
            f"{count:<14}{part['claims_per_second']['value']:>12,.0f}{other:>9,.0f}"
            f"{part['turn_ms']['value']:>10.1f}{part['turn_p99_ms']['value']:>8.1f}"
            f"{1000 * part['cpu_ms_a_job']['value']:>22.0f}"
            f"{1000 * part['server_cpu_ms_a_job']['value']:>12.0f}"
        )
    for count, part in found["one a turn"].items():
        rows.append(
            f"{count}, one a turn: {part['claims_per_second']['value']:,.0f} a second,"
            f" {part['turn_ms']['value']:.1f} ms a turn,"
            f" {1000 * part['server_cpu_ms_a_job']['value']:.0f} µs of the server's CPU"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(supervise(sys.argv[1], int(sys.argv[2])))))
