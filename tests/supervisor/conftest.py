"""A queue on a store of the test's own, and workers run inside the test's process."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from queuectl_core.domain.notices import Notice
from queuectl_core.queue import Queue
from tests.support import TOKEN, kill_marked, make_store

Run = Callable[..., Awaitable[list[Notice]]]


@pytest.fixture
async def queue(store_path: Path, tmp_path: Path) -> AsyncIterator[Queue]:
    """An empty queue; whatever its jobs left running is killed at the end."""
    token = uuid.uuid4().hex
    env = {**os.environ, TOKEN: token}
    make_store(store_path)
    async with Queue.open(str(store_path), env=env) as opened:
        opened.cwd = str(tmp_path)
        yield opened
    kill_marked(token)


@pytest.fixture
def run(queue: Queue) -> Run:
    """``await run(workers)``: work until the queue is empty; returns the events."""

    async def until_empty(workers: int = 1, queues: tuple[str, ...] = ()) -> list[Notice]:
        events: list[Notice] = []
        await queue.run_workers(workers, queues, until_empty=True, on_notice=events.append)
        return events

    return until_empty
