"""Queues that get settings while workers run many short jobs, some of which are prefetched."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from queuectl_core.domain.times import parse_time
from queuectl_core.queue import Queue
from tests.support import Cli, eventually

STEP = 0.01
"""Seconds. The times of the store and ours are not the same to the last digit."""


@pytest.fixture
def busy(cli: Cli) -> Cli:
    """Workers in the middle of very many short jobs."""
    cli("enqueue", "-", stdin='{"command": "true"}\n' * 20_000)
    assert cli("worker", "start", "--detach", "--count", "4").code == 0
    eventually(lambda: counts(cli)["completed"] > 300)
    return cli


def counts(cli: Cli) -> dict[str, int]:
    found: dict[str, int] = cli.json("status")["jobs"]
    return found


def starts(cli: Cli) -> list[float]:
    """When the jobs that have run were started, in order."""
    jobs = cli.json("list", "--state", "completed", "--limit", "20000")
    return sorted(parse_time(job["started_at"], 0.0) for job in jobs)


async def pause(cli: Cli) -> float:
    """Pause the queue as an embedding program does, which sees at once when it is answered."""
    async with Queue.open(str(cli.store), env=dict(os.environ)) as queue:
        await queue.pause_queue("default")
        return time.time()


def test_nothing_starts_after_a_pause_was_answered(busy: Cli) -> None:
    answered = asyncio.run(pause(busy))
    eventually(lambda: counts(busy)["processing"] == 0)
    done = starts(busy)
    assert len(done) < 20_000
    assert done[-1] < answered + STEP
    assert busy("queue", "resume", "default").code == 0
    eventually(lambda: counts(busy)["completed"] > len(done))


def test_prefetched_jobs_keep_a_rate_that_is_set(busy: Cli) -> None:
    assert busy("queue", "set", "default", "--rate", "4/1s").code == 0
    answered = time.time()
    eventually(lambda: sum(at > answered for at in starts(busy)) > 12)
    after = [at for at in starts(busy) if at > answered + STEP]
    assert min(last - first for first, last in zip(after, after[4:], strict=False)) > 1.0
