"""A host that refuses every new thread: jobs are ended all the same, and the supervisor lives."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, NoReturn

import pytest

from queuectl_core.domain.model import Outcome, State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.system.line_writer import LineWriter

from ..support import eventually_async


def refuse(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("can't start new thread")


@pytest.fixture
async def started(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> asyncio.Task[Any]:
    """Workers that are up, and from then on no thread can be started."""
    await queue.config_set("kill-grace", "0.2")
    up = asyncio.Event()

    def hear(event: Notice) -> None:
        if event.kind is NoticeKind.UP:
            monkeypatch.setattr(threading.Thread, "start", refuse)
            up.set()

    work = asyncio.create_task(queue.run_workers(3, on_notice=hear))
    await asyncio.wait({work, asyncio.create_task(up.wait())}, return_when="FIRST_COMPLETED")
    return work


async def all_are(queue: Queue, *states: State) -> None:
    async def over() -> bool:
        return set((await queue.status()).counts) == set(states)

    await eventually_async(over)


async def test_timeouts_cancels_and_stops_work(queue: Queue, started: asyncio.Task[Any]) -> None:
    slow, unwanted, stopped = await queue.enqueue(
        [
            {"command": "sleep 60", "timeout_seconds": 0.2, "max_retries": 1},
            # One that does not obey SIGTERM is ended by looking at the processes.
            {"command": "trap '' TERM; echo x; sleep 60 & wait; sleep 60"},
            {"command": "sleep 60"},
        ]
    )

    async def runs() -> bool:
        found = await queue.find(unwanted.id)
        return found.state is State.PROCESSING and (await queue.output(found)).size() > 0

    await eventually_async(runs)
    await queue.cancel([await queue.find(unwanted.id)])
    await all_are(queue, State.DEAD, State.CANCELLED, State.PROCESSING)
    await queue.stop_workers(await queue.workers(), now=True)
    await asyncio.wait_for(started, 20)
    assert threading.Thread.start is refuse  # all the time
    outcomes = [
        attempt.outcome
        for job in (slow, unwanted, stopped)
        for attempt in await queue.attempts(job)
    ]
    assert outcomes == [Outcome.TIMEOUT, Outcome.CANCELLED, Outcome.INTERRUPTED]


async def test_large_outputs_do_not_end_the_supervisor(
    queue: Queue, started: asyncio.Task[Any]
) -> None:
    """They are brought within their limit in a thread."""
    await queue.enqueue([{"command": "head -c 300000 /dev/zero", "output_limit": 1 << 16}] * 6)
    await all_are(queue, State.COMPLETED)
    assert not started.done()
    await queue.stop_workers(await queue.workers(), now=False)
    await asyncio.wait_for(started, 20)


def test_a_log_without_a_thread_drops_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        writer = LineWriter(2)
        writer.put("lost\n")
    assert writer.close(0)
