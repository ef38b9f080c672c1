"""A supervisor that loses its store, its lease or its patience."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from queuectl_core.domain.errors import StoreGone
from queuectl_core.domain.model import Outcome, State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.supervisor.maintenance.output_limit import Capture
from queuectl_core.supervisor.shortage import Shortage
from queuectl_core.supervisor.supervisor import Supervisor

from ..support import eventually_async


@asynccontextmanager
async def supervising(queue: Queue) -> AsyncIterator[tuple[Supervisor, asyncio.Task[object]]]:
    """A supervisor that is up, with one worker, and its life."""
    up = asyncio.Event()

    def hear(event: Notice) -> None:
        if event.kind is NoticeKind.UP:
            up.set()

    supervisor = Supervisor(queue.store, queue.env, on_notice=hear)
    life: asyncio.Task[object] = asyncio.create_task(supervisor.run(1, ()))
    await up.wait()
    yield supervisor, life
    if not life.done():
        supervisor.stop(now=True)
        await asyncio.wait_for(life, 20)


async def test_a_store_that_is_gone_and_a_lost_lease(queue: Queue, tmp_path: Path) -> None:
    (job,) = await queue.enqueue(["until test -e go; do sleep 0.02; done"])
    async with supervising(queue) as (supervisor, life):

        async def runs() -> bool:
            return any(one.pid for one in supervisor.executor.attempts)

        await eventually_async(runs)
        supervisor.dispatcher.store_gone(StoreGone("the store was moved away"))
        supervisor.heartbeat.lost = True
        (tmp_path / "go").touch()
        with pytest.raises(StoreGone):  # an endless loop is ended by the time limit of all tests
            await asyncio.wait_for(life, 10)
    assert (await queue.find(job.id)).state is State.PROCESSING  # for the new owner to see to


async def test_signals_are_heard_by_a_supervisor_that_waits_for_its_store(queue: Queue) -> None:
    supervisor = Supervisor(queue.store, queue.env)
    supervisor.stop(now=False)  # just before the pause
    await asyncio.wait_for(supervisor.context.pause(60.0), 5)
    with pytest.raises(TimeoutError):  # it was heard: the next pause is one
        await asyncio.wait_for(supervisor.context.pause(60.0), 0.05)


async def test_after_starting_over_nothing_waits_for_a_start_that_was_being_tried(
    queue: Queue,
) -> None:
    async with supervising(queue) as (supervisor, _):
        shortage = supervisor.executor.shortage
        shortage.reason = "no space left"
        shortage.tries("99.1")  # its job has another owner after this
        assert shortage.slots == 0
        supervisor.executor.revoked = True
        supervisor.context.wake()
        (job,) = await queue.enqueue(["true"])

        async def completed() -> bool:
            return (await queue.find(job.id)).state is State.COMPLETED

        await eventually_async(completed)
        assert shortage.slots is None


async def test_a_large_output_of_a_crashed_job_is_not_copied_on_the_loop(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    finish = Capture.finish

    def where(self: Capture, written: int | None = None) -> tuple[int, bytes]:
        threads.append(threading.current_thread())
        return finish(self, written)

    monkeypatch.setattr(Capture, "finish", where)
    command = (
        "test -e again && exit; touch again; head -c 140000 /dev/zero; echo $$ > pid; sleep 60"
    )
    (job,) = await queue.enqueue([{"command": command, "output_limit": 1 << 16}])
    async with supervising(queue):
        place = Path(queue.cwd) / "pid"
        pid = await eventually_async(lambda: asyncio.sleep(0, place.exists() and place.read_text()))
        os.kill(psutil.Process(int(pid)).ppid(), signal.SIGKILL)

        async def completed() -> bool:
            return (await queue.find(job.id)).state is State.COMPLETED

        await eventually_async(completed)
    outcomes = [attempt.outcome for attempt in await queue.attempts(job)]
    assert outcomes == [Outcome.CRASHED, Outcome.COMPLETED]
    assert threads[0] is not threading.main_thread()


async def test_an_error_at_an_event_of_the_shim_ends_the_supervisor(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a fault of ours. The next supervisor has the job, which goes on meanwhile."""
    async with supervising(queue) as (_, life):

        def fail(_: Shortage) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(Shortage, "started", fail)
        (job,) = await queue.enqueue(["sleep 60"])
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(life, 10)
    assert (await queue.find(job.id)).state is State.PROCESSING
