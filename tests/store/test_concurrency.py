"""Conformance: several processes on one store, without a lock error and without a double.

What each process did is written by the processes themselves and counted here.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.model import Filter, State
from queuectl_core.store.protocol import Store

from ..support import NOW, ending, spec
from .stores import Place
from .tools import claim, hired, real_counts

ROOT = Path(__file__).parents[2]

PROLOGUE = """
import asyncio, json, sys
from queuectl_core.store.open import open_store
from tests.store.tools import claim, finish, hired
from tests.support import NOW, ending, spec
url, me = sys.argv[1:]
async def main():
    store = await open_store(url, {})
    print("ready", flush=True)
    sys.stdin.readline()
    done = []
"""
EPILOGUE = """
    await store.close()
    print(json.dumps(done))
asyncio.run(main())
"""


def race(url: str, bodies: list[str]) -> list[Any]:
    """Run each body in a process of its own, all set off together; what each reports."""
    processes = []
    for number, body in enumerate(bodies):
        indented = "\n".join("    " + line for line in body.strip().splitlines())
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", PROLOGUE + indented + EPILOGUE, url, f"p{number}"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    reports = []
    for process in processes:
        out, err = process.communicate(timeout=90)
        assert (process.returncode, err) == (0, "")
        reports.append(json.loads(out))
    return reports


ENQUEUE = """
for n in range(60):
    jobs = await store.enqueue([spec(id=f"{me}-{n}-{i}") for i in range(3)], NOW)
    done += [job.seq for job in jobs]
"""
BULK = """
async with store.batch() as batch:
    for n in range(10):
        await batch.add([(n * 100 + i + 1, spec(queue="bulk")) for i in range(100)])
    first, count = await batch.commit(NOW)
done = [first, count]
"""
WORK = """
await hired(store, me)
idle = 0
while idle < 3:
    held = await claim(store, me, 4)
    idle = 0 if held else idle + 1
    done += [job.id for job in held]
    if held:
        turn = await finish(store, me, *(ending(job) for job in held))
        assert not turn.refused
await store.deregister(me)
"""


async def test_many_enqueue_at_once(place: Place, store: Store) -> None:
    *seqs, (first, count) = await asyncio.to_thread(race, place.url, [ENQUEUE] * 3 + [BULK])
    everybodys = [seq for own in seqs for seq in own]
    assert len(set(everybodys)) == len(everybodys) == 3 * 180
    assert not set(everybodys) & set(range(first, first + count)), "consecutive: nobody between"
    assert await store.counts() == await real_counts(store)
    assert await store.counts() == {(State.PENDING, "default"): 540, (State.PENDING, "bulk"): 1000}


async def test_no_job_is_claimed_twice(place: Place, store: Store) -> None:
    await store.enqueue([spec(id=f"j{n}") for n in range(400)], NOW)
    reports = await asyncio.to_thread(race, place.url, [WORK] * 4)
    claimed = Counter(name for report in reports for name in report)
    assert claimed == {f"j{n}": 1 for n in range(400)}
    jobs = await store.scan(Filter(), 1000)
    assert {(job.state, job.attempts, job.runs) for job in jobs} == {(State.COMPLETED, 1, 1)}
    assert await store.counts() == {(State.COMPLETED, "default"): 400}


async def test_enqueueing_working_and_bulk_at_once(place: Place, store: Store) -> None:
    await asyncio.to_thread(race, place.url, [ENQUEUE, ENQUEUE, BULK, WORK, WORK])
    await hired(store, "last")
    while held := await claim(store, "last", 100):
        await store.settle_and_claim(ClaimRequest("last", [ending(job) for job in held], [], NOW))
    jobs = await store.scan(Filter(), 10_000)
    assert len(jobs) == 2 * 180 + 1000
    assert {(job.state, job.runs) for job in jobs} == {(State.COMPLETED, 1)}
    assert await store.counts() == await real_counts(store)


async def test_tasks_of_one_process_share_a_store(store: Store) -> None:
    await hired(store)
    await asyncio.gather(*(store.enqueue([spec()], NOW) for _ in range(50)))
    turns = await asyncio.gather(
        *(
            store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot(f"w{n}")], NOW))
            for n in range(60)
        )
    )
    held = [job.seq for turn in turns for job in turn.claimed]
    assert len(held) == len(set(held)) == 50


@pytest.mark.parametrize("victim", ["enqueue", "batch"])
async def test_a_cancelled_caller_leaves_the_store_usable(store: Store, victim: str) -> None:
    async def bulk() -> None:
        async with store.batch() as batch:
            await batch.add([(n + 1, spec()) for n in range(2000)])
            await batch.commit(NOW)

    async def single() -> None:
        await store.enqueue([spec() for _ in range(200)], NOW)

    for turns in range(6):  # cancelled before, while and after it reached the database
        task = asyncio.ensure_future(bulk() if victim == "batch" else single())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    count = (await store.counts()).get((State.PENDING, "default"), 0)
    assert count % 200 == 0, "all or nothing"
    assert await store.counts() == await real_counts(store)
    assert len(await store.enqueue([spec()], NOW)) == 1
