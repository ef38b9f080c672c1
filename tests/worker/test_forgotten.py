"""Jobs whose end the store has lost, as after a failover to a replica that was behind."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncpg
import pytest

from queuectl_core.model import State
from queuectl_core.queue import Queue
from queuectl_core.worker import forgotten

from ..pgserver import server_url
from ..store.stores import PostgresPlace
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
    monkeypatch.setattr(forgotten, "EVERY", 0.0)
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
            assert found == [forgotten.REASON, None]
            assert ran.read_text() == "\n\n"
            await queue.stop_workers(await queue.workers(), now=False)
            await working
    finally:
        await place.clear()
