"""Jobs whose end the store has lost, as after a failover to a replica that was behind."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from queuectl_core.domain.model import Job, State
from queuectl_core.queue import Queue
from queuectl_core.supervisor.maintenance import lost_attempts

from ..pgserver import server_url
from ..store.stores import PostgresPlace
from ..store.tools import claim, hired
from ..support import eventually_async

LOSE = (
    "DELETE FROM attempts",
    "DELETE FROM tails",
    "UPDATE jobs SET state = 'processing', finished_at = NULL, exit_code = NULL, worker = NULL, "
    "owner = (SELECT id FROM supervisors), shim = (SELECT id FROM supervisors)",
)


async def test_a_job_that_is_ours_and_unknown_to_us_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost_attempts, "EVERY", 0.0)
    place = PostgresPlace(tmp_path)
    ran = tmp_path / "ran"
    try:
        async with Queue.open(place.url, env=dict(os.environ)) as queue:
            (job,) = await queue.enqueue([{"id": "j", "command": f"echo >> {ran}"}])
            working = asyncio.create_task(queue.run_workers(1))

            async def completed() -> bool:
                return (await queue.find("j")).state is State.COMPLETED

            await eventually_async(completed)
            lost = await asyncpg.connect(
                server_url(), server_settings={"search_path": place.schema}
            )
            for statement in LOSE:
                await lost.execute(statement)
            await lost.close()
            assert not await completed()
            await eventually_async(completed)
            found = [attempt.reason for attempt in await queue.attempts(job)]
            assert found == [lost_attempts.REASON, None]
            assert ran.read_text() == "\n\n"
            await queue.stop_workers(await queue.workers(), now=False)
            await working
    finally:
        await place.clear()


async def test_only_our_own_jobs_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many jobs run on other hosts."""
    monkeypatch.setattr(lost_attempts, "EVERY", 0.0)
    place = PostgresPlace(tmp_path)
    try:
        async with Queue.open(place.url, env=dict(os.environ)) as queue:
            await hired(queue.store, "other")
            await queue.enqueue(
                [{"id": f"other{number}", "command": "true"} for number in range(5)]
            )
            theirs = await claim(queue.store, "other", 5, now=queue.clock())
            read: list[Job] = []
            held, scan = queue.store.held, queue.store.scan

            async def noted(owner: str) -> list[Job]:
                found = await held(owner)
                read.extend(found)
                looked.set()
                return found

            async def page(*args: Any, **options: Any) -> list[Job]:
                found = await scan(*args, **options)
                read.extend(found)
                return found

            looked = asyncio.Event()
            monkeypatch.setattr(queue.store, "held", noted)
            monkeypatch.setattr(queue.store, "scan", page)
            working = asyncio.create_task(queue.run_workers(1))
            await asyncio.wait_for(looked.wait(), 30)
            ours = [row.id for row in await queue.workers() if row.supervisor != "other"]
            await queue.store.stop_workers(ours, False)
            await working
            assert not {job.id for job in read} & {job.id for job in theirs}
    finally:
        await place.clear()


async def test_the_same_on_sqlite(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_attempts, "EVERY", 0.0)
    working = asyncio.create_task(queue.run_workers(1))
    (job,) = await queue.enqueue(["true"])

    async def completed() -> bool:
        return (await queue.find(job.id)).state is State.COMPLETED

    await eventually_async(completed)
    with closing(sqlite3.connect(queue.store.url)) as connection, connection:
        for statement in LOSE:
            connection.execute(statement)
    assert not await completed()
    await eventually_async(completed)
    found = [attempt.reason for attempt in await queue.attempts(job)]
    assert found == [lost_attempts.REASON, None]
    await queue.stop_workers(await queue.workers(), now=False)
    await working
