"""Queues that get settings while workers run many short jobs, some of which are prefetched."""

from __future__ import annotations

import asyncio
import json
import os
import time

import pytest

from queuectl_core.domain.model import State
from queuectl_core.domain.times import parse_time
from queuectl_core.queue import Queue
from queuectl_core.supervisor.prefetch import DEEPEST
from tests.support import Cli, eventually

JOBS = 20_000
STEP = 0.01
"""Seconds. The times of the store and ours are not the same to the last digit."""


@pytest.fixture
def busy(cli: Cli) -> Cli:
    """Workers in the middle of very many short jobs."""
    cli("enqueue", "-", stdin='{"command": "true"}\n' * JOBS)
    assert cli("worker", "start", "--detach", "--count", "4").code == 0
    eventually(lambda: counts(cli)["completed"] > 300)
    return cli


def counts(cli: Cli) -> dict[str, int]:
    found: dict[str, int] = cli.json("status")["jobs"]
    return found


def starts(cli: Cli) -> list[float]:
    """When the jobs that have run were started, in order."""
    jobs = cli.json("list", "--state", "completed", "--limit", str(JOBS))
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
    assert len(done) < JOBS
    assert done[-1] < answered + STEP
    assert busy("queue", "resume", "default").code == 0
    eventually(lambda: counts(busy)["completed"] > len(done))


def test_prefetched_jobs_keep_a_rate_that_is_set(busy: Cli) -> None:
    assert busy("queue", "set", "default", "--rate", "4/1s").code == 0
    answered = time.time()
    eventually(lambda: sum(at > answered for at in starts(busy)) > 12)
    after = [at for at in starts(busy) if at > answered + STEP]
    assert min(last - first for first, last in zip(after, after[4:], strict=False)) > 1.0


def test_jobs_are_prefetched_again_when_a_pause_has_ended_by_itself(busy: Cli) -> None:
    """Without anybody who writes to the store meanwhile: jobs are given back for no reason then."""
    assert busy("queue", "pause", "default", "--for", "1s").code == 0
    before = counts(busy)["completed"]
    eventually(lambda: counts(busy)["completed"] > before)
    assert busy.json("status")["jobs"]["processing"] <= 4 * (DEEPEST + 1)
    eventually(lambda: counts(busy)["processing"] > 8)


def test_a_job_with_a_rate_does_not_wait_behind_prefetched_ones(busy: Cli) -> None:
    busy("queue", "set", "mail", "--rate", "100/1s")
    busy("enqueue", "--queue", "mail", "--priority", "9", "--id", "urgent", "true")
    eventually(lambda: busy.json("show", "urgent")["state"] == "completed")
    assert counts(busy)["pending"] > 0


def test_claimed_jobs_have_started_when_a_pause_is_answered(cli: Cli) -> None:
    """The first claim of workers that have just come up: their shim is still starting."""
    lines = [json.dumps({"command": "sleep 1", "queue": "q"})] * 8
    cli("enqueue", "-", stdin="\n".join(lines))

    async def pause_when_claimed() -> float:
        async with Queue.open(str(cli.store), env=dict(os.environ)) as queue:
            while not (await queue.status()).counts.get(State.PROCESSING):
                await asyncio.sleep(0.001)
            await queue.pause_queue("q")
            return time.time()

    worker = cli.start("worker", "start", "--count", "4")
    answered = asyncio.run(pause_when_claimed())
    eventually(lambda: counts(cli)["processing"] == 0)
    done = starts(cli)
    assert 0 < len(done) < 8
    assert done[-1] < answered + STEP
    worker.terminate()
    worker.wait(60)
