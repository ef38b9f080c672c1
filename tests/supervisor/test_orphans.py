"""Processes that outlive their attempts: ``doctor`` names them, whoever's they are not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil

from queuectl_core.operations.doctor import orphans
from queuectl_core.operations.orphans import orphaned_processes
from queuectl_core.queue import Queue
from tests.support import eventually_async

from .conftest import Run

DAEMON = "setsid sleep 300 >/dev/null 2>&1 & echo $!"


async def pid_of(queue: Queue, name: str) -> int:
    job = await queue.find(name)
    return int((await queue.output(job)).read(0, 100))


async def test_a_daemon_of_a_completed_job_is_named_with_a_warning(queue: Queue, run: Run) -> None:
    assert (await orphans(queue)).level == "ok"
    await queue.enqueue([{"id": "starter", "command": DAEMON}])
    await run()
    pid = await pid_of(queue, "starter")

    async def named() -> bool:
        found = await orphans(queue)
        return found.level == "warn" and f"pid {pid} of starter" in found.message

    await eventually_async(named)  # by its environment, which it has once its exec is done
    psutil.Process(pid).kill()

    async def clear() -> bool:
        return (await orphans(queue)).level == "ok"

    await eventually_async(clear)


async def test_what_a_running_job_started_is_no_leftover(queue: Queue) -> None:
    await queue.enqueue([{"id": "busy", "command": "sleep 300 & echo $!; wait"}])
    working = asyncio.create_task(queue.run_workers(1))

    async def begun() -> bool:
        return (await queue.output(await queue.find("busy"))).size() > 0

    await eventually_async(begun)
    assert await orphaned_processes(queue.store) == []
    await queue.stop_workers(await queue.workers(), now=True)
    await working


async def test_a_process_of_another_queue_is_not_claimed(
    queue: Queue, run: Run, tmp_path: Path
) -> None:
    async with Queue.open(str(tmp_path / "other.db"), env=queue.env) as other:
        await other.enqueue([{"id": "same", "command": DAEMON}])
        await other.run_workers(1, until_empty=True)

        async def one() -> bool:
            return len(await orphaned_processes(other.store)) == 1

        await eventually_async(one)
        await queue.enqueue([{"id": "same", "command": "true"}])
        await run()
        assert await orphaned_processes(queue.store) == []
