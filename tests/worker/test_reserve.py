"""Jobs claimed ahead: held while jobs are short, never kept from whoever could run them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.model import Job, State, Turn
from queuectl_core.queue import Queue
from queuectl_core.worker.hands import Slot
from queuectl_core.worker.reserve import DEEPEST, Reserve
from queuectl_core.worker.supervisor import Supervisor
from tests.support import eventually_async

from .test_recovery import Supervisors, supervisors

__all__ = ["supervisors"]  # the fixture


async def jobs_of(queue: Queue, count: int, lane: str = "default") -> list[Job]:
    return await queue.enqueue([{"command": "true", "queue": lane}] * count)


async def test_nothing_is_held_until_jobs_have_been_short(queue: Queue) -> None:
    reserve = Reserve(lambda: None)
    slots = [Slot("w1", ()), Slot("w2", ())]
    assert reserve.openings(slots) == []
    for _ in range(100):
        reserve.ran(0.002)
    openings = reserve.openings(slots)
    assert len(openings) == 2 * DEEPEST
    assert {opening.worker for opening in openings} == {""}
    for _ in range(20):
        reserve.ran(10)
    assert reserve.openings(slots) == []


async def test_a_worker_takes_only_from_its_lanes(queue: Queue) -> None:
    reserve = Reserve(lambda: None)
    (mail,) = await jobs_of(queue, 1, "mail")
    reserve.put(mail)
    assert reserve.take(Slot("w1", ("video",)), 5.0) is None
    taken = reserve.take(Slot("w2", ("mail",)), 5.0)
    assert taken
    assert (taken.id, taken.worker, taken.started_at) == (mail.id, "w2", 5.0)
    assert reserve.take(Slot("w2", ("mail",)), 5.0) is None
    reserve.disarm()


async def test_what_waits_too_long_is_given_back(queue: Queue) -> None:
    woken = asyncio.Event()
    reserve = Reserve(woken.set)
    jobs = await jobs_of(queue, 3)
    for job in jobs:
        reserve.put(job)
    await woken.wait()
    assert reserve.released == jobs
    assert reserve.overdue
    assert reserve.openings([Slot("w", ())]) == []


async def test_jobs_behind_a_long_one_run_elsewhere(
    queue: Queue, supervisors: Supervisors, tmp_path: Path
) -> None:
    """Many short jobs, then one that runs until the test says so, then short ones again."""
    await jobs_of(queue, 60)
    (blocker,) = await queue.enqueue([{"command": "until test -e go; do sleep 0.05; done"}])
    behind = await jobs_of(queue, 10)
    await supervisors.start(1)

    async def blocked() -> bool:
        found = await queue.find(blocker.id)
        return found.state is State.PROCESSING and found.worker is not None

    await eventually_async(blocked)
    await supervisors.start(1)

    async def all_done() -> bool:
        found = [await queue.find(job.id) for job in behind]
        return all((job.state, job.attempts) == (State.COMPLETED, 1) for job in found)

    await eventually_async(all_done)
    assert (await queue.find(blocker.id)).state is State.PROCESSING
    assert len([w for w in await queue.workers() if w.job == blocker.id]) == 1
    (tmp_path / "go").touch()

    async def completed() -> bool:
        return (await queue.find(blocker.id)).state is State.COMPLETED

    await eventually_async(completed)


async def test_a_stop_while_jobs_are_being_claimed_ahead_gives_them_back(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop comes between the commit that claims them and their arrival in the reserve."""
    await jobs_of(queue, 200)
    supervisor = Supervisor(queue.store, queue.env)
    exchange = queue.store.exchange

    async def then_stop(*args: Any, **options: Any) -> Turn:
        turn = await exchange(*args, **options)
        if any(job.worker is None for job in turn.claimed):
            supervisor.stop(now=False)
        return turn

    monkeypatch.setattr(queue.store, "exchange", then_stop)
    await supervisor.run(1, ())
    counts = (await queue.status()).counts
    assert counts[State.PENDING] > 0
    assert counts.keys() == {State.PENDING, State.COMPLETED}
