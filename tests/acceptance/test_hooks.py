"""Hooks while supervisors are killed with -9: each death is delivered, and has one delivery."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.model import State
from queuectl_core.queue import Queue

from ..store.stores import PLACES
from ..support import Cli, eventually

JOBS = 240


def bodies(rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [json.loads(bytes(row[0])) for row in rows]


@pytest.mark.parametrize("name", sorted(PLACES))
def test_killed_supervisors_deliver_each_death_exactly_once(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    place = PLACES[name].take(folder)
    cli = Cli(place.url, tmp_path)
    try:
        cli("hook", "add", "each", "--on", "dead", "--", "true")
        cli("hook", "add", "sum", "--on", "dead", "--digest", "1s", "--", "true")
        jobs = [{"id": f"j{n}", "command": "false", "max_retries": 1} for n in range(JOBS)]
        cli("enqueue", json.dumps(jobs))

        def dead() -> int:
            async def count() -> int:
                async with Queue.open(place.url, env={}) as queue:
                    return (await queue.store.counts()).get((State.DEAD, "default"), 0)

            return asyncio.run(count())

        for _ in range(3):
            before = dead()
            workers = [cli.start("worker", "start", "-q", "--count", "2") for _ in range(2)]
            eventually(lambda before=before: dead() >= min(JOBS, before + 20))  # type: ignore[misc]
            for worker in workers:
                worker.kill()
                worker.wait()
        worker = cli.start("worker", "start", "-q", "--count", "2")

        def all_done() -> bool:
            waits = [one["waiting"] for one in cli.json("hook", "list")]
            return dead() == JOBS and not any(waits)

        eventually(all_done)
        worker.terminate()
        worker.wait()
        query = "SELECT i.stdin FROM jobs j JOIN inputs i ON i.job = j.seq WHERE j.queue = 'hooks'"
        found = bodies(asyncio.run(place.execute(query)))
        each = [one["job"] for one in found if one["hook"] == "each"]
        assert sorted(each) == sorted(job["id"] for job in jobs)
        digests = [one["detail"] for one in found if one["hook"] == "sum"]
        assert sum(one["count"] for one in digests) == JOBS
        assert len(digests) < JOBS / 4
    finally:
        cli.close()
        asyncio.run(place.give_back())
