"""A job that kills its shim costs its neighbours one crash at most, and never makes them dead."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from itertools import accumulate
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from queuectl_core.domain.model import Job, Outcome, State
from queuectl_core.queue import Queue
from queuectl_core.runner.journal_reader import make_first
from queuectl_core.supervisor import shims
from queuectl_core.supervisor.attempt import journal_name
from queuectl_core.supervisor.processes import Processes, shim_processes
from queuectl_core.supervisor.triage import triage

from ..store.stores import PLACES
from ..support import TOKEN, eventually_async, kill_marked

POISON = "sleep 0.2; kill -9 $PPID"
INNOCENT = "sleep 0.5; echo $QUEUECTL_JOB_ID >> ran"


@pytest.fixture(params=sorted(PLACES))
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Queue]:
    """A queue on a store of each kind."""
    place = PLACES[request.param](tmp_path)
    token = f"suspects-{tmp_path}"
    env = {**os.environ, TOKEN: token, "XDG_DATA_HOME": str(tmp_path / "data")}
    env["PGPASSWORD"] = urlsplit(place.url).password or ""  # for other supervisors
    async with Queue.open(place.url, env=env) as opened:
        opened.cwd = str(tmp_path)
        yield opened
    kill_marked(token)
    await place.clear()


async def ended(queue: Queue, jobs: list[Job]) -> list[Job]:
    return [await queue.find(job.id) for job in jobs]


async def until_empty(queue: Queue, workers: int) -> None:
    async with asyncio.timeout(25):
        await queue.run_workers(workers, until_empty=True)


@pytest.mark.parametrize(("poison", "innocent"), [(1, 7), (2, 10)])
async def test_neighbours_of_a_job_that_kills_its_shim_complete(
    either: Queue, tmp_path: Path, poison: int, innocent: int
) -> None:
    jobs = await either.enqueue([POISON] * poison + [INNOCENT] * innocent)
    await until_empty(either, 8)
    found = await ended(either, jobs)
    assert [(job.state, job.crashes) for job in found[:poison]] == [(State.DEAD, 3)] * poison
    assert {job.state for job in found[poison:]} == {State.COMPLETED}
    assert max(job.crashes for job in found[poison:]) <= 1
    # On a slow host one that had crashed may have written its line before it was ended.
    assert set((tmp_path / "ran").read_text().split()) == {job.id for job in jobs[poison:]}
    left = [path for path in (either.directory / "run").rglob("*") if not path.is_dir()]
    assert not left


async def test_a_poison_that_comes_again_and_again(either: Queue) -> None:
    """New neighbours crash once; those that have, are never hit again."""
    jobs = await either.enqueue([INNOCENT] * 4)
    work = asyncio.create_task(either.run_workers(6))
    for number in range(1, 4):
        await either.enqueue([{"command": POISON, "priority": 5}])
        jobs += await either.enqueue([INNOCENT])

        async def dead(number: int = number) -> bool:
            return (await either.status()).counts.get(State.DEAD) == number

        await eventually_async(dead)

    async def completed() -> bool:
        return {job.state for job in await ended(either, jobs)} == {State.COMPLETED}

    await eventually_async(completed)
    assert max(job.crashes for job in await ended(either, jobs)) <= 1
    await either.stop_workers(await either.workers(), now=False)
    await work


async def test_a_suspect_goes_before_short_jobs_that_keep_the_workers_busy(queue: Queue) -> None:
    """They are held by the shim; a suspect may not be, and still gets a worker."""
    await queue.enqueue([{"command": POISON, "priority": 1}])
    short = await queue.enqueue(["true"] * 300)
    await until_empty(queue, 2)
    found = await ended(queue, short)
    assert {job.state for job in found} == {State.COMPLETED}
    assert (await queue.status()).counts == {State.COMPLETED: 300, State.DEAD: 1}


async def test_a_suspect_can_be_cancelled_and_times_out(queue: Queue) -> None:
    again = "test -e {0} || {{ touch {0}; sleep 0.1; kill -9 $PPID; }}; touch again{0}; sleep 60"
    slow, cancelled = await queue.enqueue(
        [
            {"command": again.format("a"), "timeout_seconds": 0.3, "max_retries": 1},
            {"command": again.format("b")},
        ]
    )
    work = asyncio.create_task(queue.run_workers(2))

    async def runs_again() -> bool:
        return (Path(queue.cwd) / "againb").exists()

    await eventually_async(runs_again)
    await queue.cancel([await queue.find(cancelled.id)])

    async def over() -> bool:
        return {job.state for job in await ended(queue, [slow, cancelled])} == {
            State.DEAD,
            State.CANCELLED,
        }

    await eventually_async(over)
    attempts = await queue.attempts(slow)
    assert [one.outcome for one in attempts] == [Outcome.CRASHED, Outcome.TIMEOUT]
    await queue.stop_workers(await queue.workers(), now=False)
    await work


async def test_suspects_of_a_killed_supervisor_are_adopted(either: Queue, tmp_path: Path) -> None:
    """Another supervisor finds them, in their own shims, by what the store says of them."""
    from .test_triage import Supervisors, alive

    supervisors = Supervisors(either)
    (job,) = await either.enqueue(
        [
            f"echo $$ >> {tmp_path}/pids; test -e second || {{ touch second; kill -9 $PPID; }};"
            f"until test -e {tmp_path}/go; do sleep 0.02; done"
        ]
    )
    try:
        victim = await supervisors.start(1)

        async def second() -> list[str]:
            text = (tmp_path / "pids").read_text() if (tmp_path / "pids").exists() else ""
            return text.split() if text.count("\n") > 1 else []

        pids = await eventually_async(second)
        supervisors.kill(victim)
        work = asyncio.create_task(either.run_workers(1, until_empty=True))

        async def adopted() -> bool:
            mine = [one for one in await either.workers() if one.pid == os.getpid()]
            return any(one.job == job.id for one in mine)

        await eventually_async(adopted)
        assert alive(int(pids[1]))
        (tmp_path / "go").touch()
        await work
        (found,) = await ended(either, [job])
        assert (found.state, found.crashes, found.runs) == (State.COMPLETED, 1, 2)
        assert await second() == pids
    finally:
        supervisors.close()


async def test_suspects_are_in_other_shims_than_everybody_else(queue: Queue) -> None:
    parents = "ps -o ppid= $$ > $QUEUECTL_JOB_ID; until test -e go; do sleep 0.02; done"
    await queue.enqueue([{"id": name, "command": parents} for name in ("a", "b", "c", "d")])
    work = asyncio.create_task(queue.run_workers(4))
    place = Path(queue.cwd)

    async def shims() -> list[int]:
        texts = [(place / name).read_text() if (place / name).exists() else "" for name in "abcd"]
        return [int(text) for text in texts] if all(texts) else []

    (before,) = set(await eventually_async(shims))
    for name in "abcd":
        (place / name).unlink()
    os.kill(before, signal.SIGKILL)
    after = await eventually_async(shims)
    assert len({before, *after}) == 5
    (place / "go").touch()

    async def completed() -> bool:
        return (await queue.status()).counts == {State.COMPLETED: 4}

    await eventually_async(completed)

    async def gone() -> bool:
        return not any(map(psutil.pid_exists, after))

    await eventually_async(gone)
    await queue.stop_workers(await queue.workers(), now=False)
    await work


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_suspect_whose_shim_was_never_started(
    queue: Queue, tmp_path: Path, deleted: bool
) -> None:
    """Its supervisor died between the claim and the start. Where the whole run directory was
    deleted, nobody can say that."""
    (job,) = await queue.enqueue(["true"])
    job = job._replace(state=State.PROCESSING, runs=2, crashes=1, shim="abcde")
    run = tmp_path / "journals"
    if not deleted:
        make_first(run / "abcde.journal")
    assert journal_name(job) == f"abcde+{job.seq}.2"
    for _ in range(2):  # a successor that dies, and the next one
        plan = await triage([job], run, Processes())
        assert (plan.unstarted, plan.crashed) == (([], [job]) if deleted else ([job], []))


async def test_only_so_many_suspects_run_at_once(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The others wait in the store, and everything runs in the end."""
    monkeypatch.setattr(shims, "OWN_SHIMS_AT_MOST", 2)
    # They crash together with the poison, and are traced when they run again.
    first = "test -e seen-$QUEUECTL_JOB_ID || { touch seen-$QUEUECTL_JOB_ID; sleep 60; }"
    trace = "echo start >> trace; sleep 0.3; echo end >> trace"
    poison = "until test $(ls seen-* | wc -l) -eq 6; do sleep 0.02; done; kill -9 $PPID"
    await queue.enqueue([poison] + [f"{first}; {trace}"] * 6)
    work = asyncio.create_task(queue.run_workers(8, until_empty=True))

    async def in_the_queue() -> int:
        return (await queue.status()).counts.get(State.PENDING, 0)

    await eventually_async(in_the_queue)
    await queue.enqueue(["true"] * 3)
    async with asyncio.timeout(25):
        await work
    assert (await queue.status()).counts == {State.COMPLETED: 9, State.DEAD: 1}
    steps = [1 if line == "start" else -1 for line in (tmp_path / "trace").read_text().split()]
    assert steps.count(1) == 6
    assert max(accumulate(steps)) <= 2


async def test_jobs_go_on_while_as_many_suspects_run_as_may(
    either: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And suspects that wait are claimed when one of those that run has ended."""
    monkeypatch.setattr(shims, "OWN_SHIMS_AT_MOST", 2)
    again = "test -e r$QUEUECTL_JOB_ID || { touch r$QUEUECTL_JOB_ID; exec sleep 60; }; "
    until = f"touch s$QUEUECTL_JOB_ID; until test -e {tmp_path}/go; do sleep 0.02; done"
    suspects = await either.enqueue([again + until] * 4)
    work = asyncio.create_task(either.run_workers(5))

    async def started(what: str, count: int) -> bool:
        return sum((tmp_path / f"{what}{job.id}").exists() for job in suspects) == count

    await eventually_async(lambda: started("r", 4))
    [shim] = shim_processes(either.directory / "run").values()
    shim.signal(signal.SIGKILL)
    await eventually_async(lambda: started("s", 2))
    others = await either.enqueue(["true"] * 6)

    async def completed() -> bool:
        return {job.state for job in await ended(either, others)} == {State.COMPLETED}

    await eventually_async(completed)
    assert await started("s", 2)
    (tmp_path / "go").touch()
    await eventually_async(lambda: started("s", 4))
    await either.stop_workers(await either.workers(), now=False)
    await work
    assert {job.state for job in await ended(either, suspects)} == {State.COMPLETED}
