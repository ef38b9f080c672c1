"""What queues with limits, keys and dependencies cost, beside stores that use none of this.

    python benchmarks/admission.py [--jobs N] [--blocked N] [--children N] [--total N]
        [--rounds N] [--store STORE]… [--only PART]… [--json]

- *blocked*: the drain of N times ``true`` in a store with 700,000 jobs of higher priority that
  cannot start, beside a store without them. A quarter each is in a paused queue, in a queue whose
  limit is reached, has a key that is taken, and waits for a parent. The last two are in the queue
  that is drained. From the start of the workers, which serve all queues, to the end of the last.
- *children*: a parent of 10,000 jobs ends. How long until all of them may start, beside another
  process that claims again and again; and how long the longest claim of that process takes, which
  judges a part of the children too. With no bar: the longest commit on the way, measured without
  that process, and its longest claim before the parent ends.
- *limit*: the drain of a queue with a limit that is not reached, beside the same queue without; on
  PostgreSQL by 8 supervisors. Beside it, with no bar, a limit as high as the number of workers.
- *why*: how long ``Queue.why`` takes in a store of a million jobs, the slowest of each kind.

Ends with exit code 1 if a bar is missed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from both_stores import STORES, add_store, figures, places, query, tidy, url_of
from harness import (
    PYTHON,
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

from queuectl_core.domain.claims import AttemptResult, ClaimRequest, ClaimSlot, Transition
from queuectl_core.domain.model import Attempt, Job, JobSpec, Outcome, State, SupervisorRow
from queuectl_core.queue import Queue
from queuectl_core.store.protocol import Store
from queuectl_core.system.clocks import monotonic
from queuectl_core.system.host import process_start

BLOCKED_BAR = 0.9
SETTLED_BAR, HELD_UP_BAR = 2.0, 50.0
"""Seconds; milliseconds."""
LIMIT_BARS = {"sqlite": 0.8, "postgres": 0.6}
WHY_BAR = 50.0
"""Milliseconds."""
PARTS = ("blocked", "children", "limit", "why")
WORKERS = 4
SUPERVISORS = {"sqlite": 1, "postgres": 8}
"""In the part *limit*."""
PAGE = 10_000
"""Jobs that are given to a batch at a time."""
HIGH = 9
"""The priority of what is blocked."""
BENCH, PAUSED, FULL = "default", "paused", "full"
"""Queues: the one that is drained, and others."""
KINDS = ("paused", "limit", "key", "parent")
DAY = 86_400.0


def spec(command: str = "true", **fields: Any) -> JobSpec:
    values: dict[str, Any] = {
        "id": None,
        "max_retries": 1,
        "backoff_base": 2.0,
        "priority": 0,
        "run_at": 0.0,
        "timeout_seconds": 0.0,
        "cwd": "/",
        "env": {},
        "queue": BENCH,
    }
    return JobSpec(command=command, **(values | fields))


async def hire(store: Store, name: str, queues: tuple[str, ...] = ()) -> None:
    """A supervisor that lives as long as this process, and that no process runs."""
    store.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    now, start = store.clock(), process_start(os.getpid())
    assert start is not None
    row = SupervisorRow(
        name,
        "bench",
        store.host_identity(),
        os.getpid(),
        start,
        False,
        now,
        now + DAY,
        monotonic() + DAY,
    )
    await store.register(row, [(f"{name}-1", queues)], now)


async def claim(store: Store, name: str, queue: str) -> Job:
    """The next job of a queue, for a supervisor that :func:`hire` made."""
    slot = ClaimSlot(f"{name}-1", (queue,))
    result = await store.settle_and_claim(ClaimRequest(name, [], [slot], store.clock()))
    [job] = result.claimed
    return job


def done(job: Job, now: float) -> AttemptResult:
    assert job.started_at is not None
    attempt = Attempt(
        number=job.runs,
        started_at=job.started_at,
        finished_at=now,
        outcome=Outcome.COMPLETED,
        exit_code=0,
        signal=None,
        reason=None,
        worker=job.worker,
        host="bench",
        peak_memory=None,
        cpu_seconds=None,
        output_bytes=0,
        waited=0.0,
    )
    return AttemptResult(job.seq, job.runs, attempt, Transition(State.COMPLETED, 1, 0, None, None))


# -- blocked ------------------------------------------------------------------------------------


async def holders(url: str) -> None:
    """What both stores have: a queue that is paused, one that is full, and a key that is taken."""
    async with Queue.open(url, env=os.environ) as queue:
        await queue.pause_queue(PAUSED)
        await queue.set_queue(FULL, {"limit": 1})
        fields: dict[str, Any] = {"priority": 2 * HIGH}
        await queue.enqueue_specs(
            [
                spec(id="holds-limit", queue=FULL, **fields),
                spec(id="holds-key", key="k", **fields),
                spec(id="parent", run_at=queue.clock() + DAY),
            ]
        )
        for name, its in (("holder1", FULL), ("holder2", BENCH)):
            await hire(queue.store, name, ("none",))
            await claim(queue.store, name, its)


def blocked(number: int) -> Iterator[JobSpec]:
    """Jobs that cannot start, of each kind in turn."""
    for n in range(number):
        kind = KINDS[n % len(KINDS)]
        fields: dict[str, Any] = {
            "paused": {"queue": PAUSED},
            "limit": {"queue": FULL},
            "key": {"key": "k"},
            "parent": {"after": ("parent",)},
        }[kind]
        yield spec(id=f"{kind}-{n}", priority=HIGH, **fields)


async def put_in(url: str, specs: Iterator[JobSpec]) -> None:
    async with Queue.open(url, env=os.environ) as queue, queue.batch() as batch:
        page: list[tuple[int, JobSpec]] = []
        for line, one in enumerate(specs, 1):
            page.append((line, one))
            if len(page) == PAGE:
                await batch.add(page)
                page = []
        await batch.add(page)
        await batch.commit(queue.clock())


def drained(scratch: Scratch, jobs: int) -> float:
    """Jobs a second: what can run, by workers of all queues."""
    line = json.dumps({"command": "true", "max_retries": 1}) + "\n"
    timed([*QUEUECTL, "enqueue", "-", "--quiet"], scratch.env, line.encode() * jobs)
    [(last,)] = query(scratch, "SELECT max(seq) FROM jobs")
    tidy(scratch)
    return drained_by(scratch, jobs, f"seq > {last - jobs} AND state = 'completed'", WORKERS)


def drained_by(scratch: Scratch, jobs: int, ended_jobs: str, workers: int) -> float:
    """Jobs a second, from the start of the workers until ``jobs`` are as ``ended_jobs`` says."""
    began = time.time()
    command = [*QUEUECTL, "worker", "start", "--count", str(workers), "--quiet"]
    process = subprocess.Popen(command, env=scratch.env)
    # With a LIMIT instead of the count, PostgreSQL would read the whole table.
    try:
        while query(scratch, f"SELECT count(*) FROM jobs WHERE {ended_jobs}")[0][0] < jobs:
            if process.poll() is not None:
                raise SystemExit(f"the workers have left: exit {process.returncode}")
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    [(ended,)] = query(scratch, f"SELECT max(finished_at) FROM jobs WHERE {ended_jobs}")
    return float(jobs / (ended - began))


def measure_blocked(
    with_them: Scratch, without: Scratch, number: int, jobs: int, rounds: int
) -> dict[str, Any]:
    for scratch in (with_them, without):
        scratch.new()
        asyncio.run(holders(url_of(scratch)))
    progress(f"enqueuing {number:,} jobs that cannot start …")
    asyncio.run(put_in(url_of(with_them), blocked(number)))

    def bar(scratch: Scratch) -> Callable[[], float]:
        def run() -> float:
            rate = drained(scratch, jobs)
            progress(f"{'blocked' if scratch is with_them else 'beside':<10}{rate:8.0f} jobs/s")
            return rate

        return run

    ours, others = in_turns(rounds, bar(with_them), bar(without))
    counts = query(with_them, "SELECT count(*) FROM jobs WHERE state IN ('pending', 'waiting')")
    assert counts[0][0] == number + 1, f"{counts[0][0]} jobs wait, not {number + 1}"
    return {
        "blocked": number,
        "with them": middle(ours),
        "without": middle(others),
        "ratio": judged(ratio(ours, others), at_least=BLOCKED_BAR),
    }


# -- children -----------------------------------------------------------------------------------

PROBE = """
import asyncio, json, sys, time
from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.queue import Queue

async def main():
    async with Queue.open(None) as queue:
        request = lambda: ClaimRequest("probe", [], [ClaimSlot("probe-1", ("other",))], time.time())
        took = []
        print("ready", flush=True)
        line = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        while not line.done():
            began = time.perf_counter()
            await queue.store.settle_and_claim(request())
            took.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(0.002)
        print(json.dumps(took))

asyncio.run(main())
"""


@contextmanager
def probe(scratch: Scratch, found: list[float]) -> Iterator[None]:
    """Another process claims again and again; ``found`` gets the milliseconds of each claim."""
    process = subprocess.Popen(
        [PYTHON, "-c", PROBE],
        env=scratch.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    yield
    out, _ = process.communicate("enough\n", timeout=60)
    found += json.loads(out)


async def family(url: str, children: int) -> None:
    jobs = [spec(id="parent"), *(spec(after=("parent",)) for _ in range(children))]
    await put_in(url, iter(jobs))
    async with Queue.open(url, env=os.environ) as queue:
        await hire(queue.store, "probe", ("none",))
        await hire(queue.store, "sup", ("none",))


async def settle_parent(url: str, children: int) -> tuple[float, float]:
    """Seconds from the settling commit on until every child may start, and milliseconds of the
    longest commit. The supervisor settles and
    judges as its dispatcher does: a part in each commit, and gives way in between."""
    async with Queue.open(url, env=os.environ) as queue:
        store = queue.store
        parent = await claim(store, "sup", BENCH)
        assert parent.id == "parent"
        ends = [done(parent, store.clock())]
        began = moment = time.perf_counter()
        await store.settle_and_claim(ClaimRequest("sup", ends, [], store.clock()))
        longest = time.perf_counter() - moment
        while (await store.counts()).get((State.PENDING, BENCH), 0) < children:
            await store.give_way(longest)
            moment = time.perf_counter()
            await store.judge_marked(store.clock())  # at times the other process has the rest
            longest = max(longest, time.perf_counter() - moment)
        took = time.perf_counter() - began
        return took, 1000 * longest


def measure_children(scratch: Scratch, children: int, rounds: int) -> dict[str, Any]:
    took, commits, longest, quiet = [], [], [], []
    url = url_of(scratch)

    def prepared() -> None:
        scratch.new()
        asyncio.run(family(url, children))
        tidy(scratch)

    for _ in range(rounds):
        prepared()
        commits.append(asyncio.run(settle_parent(url, children))[1])
        prepared()
        before: list[float] = []
        with probe(scratch, before):
            time.sleep(1.0)
        quiet.append(max(before))
        waits: list[float] = []
        with probe(scratch, waits):
            took.append(asyncio.run(settle_parent(url, children))[0])
        longest.append(max(waits))
        progress(f"{children:,} children: {took[-1]:.2f} s, commits of {commits[-1]:.0f} ms")
    return {
        "children": children,
        "seconds": judged(middle(took), at_most=SETTLED_BAR),
        "longest commit, ms": middle(commits),
        "longest claim meanwhile, ms": judged(middle(longest), at_most=HELD_UP_BAR),
        "longest claim before, ms": middle(quiet),
    }


# -- limit --------------------------------------------------------------------------------------


def drained_with(scratch: Scratch, jobs: int, limit: int | None, supervisors: int) -> float:
    """Jobs a second, from the start of all supervisors to the end of the last job."""
    scratch.new()
    line = b'{"command": "true", "max_retries": 1}\n'
    timed([*QUEUECTL, "enqueue", "-", "--quiet"], scratch.env, line * jobs)
    if limit is not None:
        timed([*QUEUECTL, "queue", "set", BENCH, "--limit", str(limit)], scratch.env)
    command = [*QUEUECTL, "worker", "start", "--count", str(WORKERS), "--until-empty", "--quiet"]
    began = time.time()
    fleet = [subprocess.Popen(command, env=scratch.env) for _ in range(supervisors)]
    for process in fleet:
        if process.wait(600):
            raise SystemExit(f"the workers ended with exit {process.returncode}")
    rows = query(scratch, "SELECT count(*), max(finished_at) FROM jobs WHERE state = 'completed'")
    assert rows[0][0] == jobs, f"{rows[0][0]} of {jobs} jobs were done"
    rate = float(jobs / (rows[0][1] - began))
    progress(f"limit {limit or 'none':<8}{rate:8.0f} jobs/s")
    return rate


def measure_limit(scratch: Scratch, kind: str, jobs: int, rounds: int) -> dict[str, Any]:
    count = SUPERVISORS[kind]
    high, equal = 1000, count * WORKERS
    limited, none, tight = in_turns(
        rounds,
        lambda: drained_with(scratch, jobs, high, count),
        lambda: drained_with(scratch, jobs, None, count),
        lambda: drained_with(scratch, jobs, equal, count),
    )
    return {
        "supervisors": count,
        f"limit {high}": middle(limited),
        "no limit": middle(none),
        f"limit {equal}, as many as workers": middle(tight),
        "ratio": judged(ratio(limited, none), at_least=LIMIT_BARS[kind]),
        "ratio, as many as workers": ratio(tight, none),
    }


# -- why ----------------------------------------------------------------------------------------


async def whys(url: str, total: int, times: int) -> dict[str, list[float]]:
    async with Queue.open(url, env=os.environ) as queue:
        there = sum((await queue.store.counts()).values())
    if there < total:
        progress(f"enqueuing {total - there:,} more …")
        await put_in(url, (spec(id=f"plain-{n}") for n in range(total - there)))
    found: dict[str, list[float]] = {}
    async with Queue.open(url, env=os.environ) as queue:
        pages = await queue.scan(limit=1)
        wanted = {"newest": pages[0].id, "parent of many": "parent"}
        for number, kind in enumerate(KINDS):
            ids = await queue.store.by_id(f"{kind}-{number}")
            if ids:
                wanted[kind] = ids[0].id
        for name, job_id in wanted.items():
            job = await queue.find(job_id)
            found[name] = []
            for _ in range(times):
                began = time.perf_counter()
                answer = await queue.why(job)
                found[name].append(1000 * (time.perf_counter() - began))
            assert answer.blockers, f"nothing blocks {job.id}"
    return found


def measure_why(scratch: Scratch, total: int) -> dict[str, Any]:
    found = asyncio.run(whys(url_of(scratch), total, 20))
    slowest = {name: middle(sorted(each)[1:-1]) for name, each in found.items()}
    worst = max(slowest.values(), key=lambda figure: float(figure["value"]))
    return {"jobs": total, "kinds": slowest, "slowest": judged(worst, at_most=WHY_BAR)}


# -- all of it ----------------------------------------------------------------------------------


def measure(kind: str, given: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    parts = given.only or PARTS
    with places(kind, "one", "two") as (one, two):
        # The processes and this one must agree about where the store keeps its files.
        os.environ["HOME"] = one.env["HOME"]
        two.env["HOME"] = one.env["HOME"]
        timed([*QUEUECTL, "--version"], one.env)
        if "blocked" in parts:
            found["blocked"] = measure_blocked(one, two, given.blocked, given.jobs, given.rounds)
        if "why" in parts:
            if "blocked" not in parts:
                one.new()
                asyncio.run(holders(url_of(one)))
                asyncio.run(put_in(url_of(one), blocked(min(given.blocked, given.total))))
            found["why"] = measure_why(one, given.total)
        if "children" in parts:
            found["children"] = measure_children(two, given.children, given.rounds)
        if "limit" in parts:
            found["limit"] = measure_limit(two, kind, given.jobs, given.rounds)
    return found


def table(found: dict[str, Any]) -> str:
    return figures(found, f"{found['jobs']:,} jobs to drain, {found['rounds']} rounds", 58)


def main() -> int:
    parser = options(__doc__, 3)
    parser.add_argument("--jobs", type=int, default=3000, help="to drain; default: 3000")
    parser.add_argument("--blocked", type=int, default=700_000, help="jobs that cannot start")
    parser.add_argument("--children", type=int, default=10_000, help="of one parent")
    parser.add_argument("--total", type=int, default=1_000_000, help="jobs of the part why")
    add_store(parser)
    parser.add_argument("--only", action="append", choices=PARTS, help="default: all")
    given = parser.parse_args()
    found: dict[str, Any] = {"jobs": given.jobs, "rounds": given.rounds}
    for kind in given.store or STORES:
        progress(f"-- {kind}")
        found[kind] = measure(kind, given)
    found["machine"] = machine()
    return report(found, given.json, table)


if __name__ == "__main__":
    sys.exit(main())
