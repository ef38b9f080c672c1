"""What idle supervisors cost the server: to estimate the costs of a large fleet.

``HOSTS`` supervisors of four workers are in the store's tables. One process does for them what
each does by itself, many times over, and the server's processor time is divided by that.

- *tick*, once a second: has anything changed, who else is alive, is maintenance due.
- *beat*: the heartbeat, a commit.
- *wake*, when it is notified of new jobs: a claim that finds nothing.
- *apply*, when it is notified of anything else, and at a tick when something changed: commands,
  settings, and a claim.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from harness import QUEUECTL, in_turns, middle, progress, timed
from postgres_server import PostgresScratch

from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.model import SupervisorRow
from queuectl_core.store.open import open_store
from queuectl_core.store.protocol import Store
from queuectl_core.system.clocks import monotonic

HOSTS = 100
TIMES = 500
CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'queuectl' AND backend_type = 'client backend'
"""


def measure(scratch: PostgresScratch, rounds: int) -> dict[str, Any]:
    """Milliseconds of the server's processor time for each, medians of the rounds."""
    scratch.new()
    timed([*QUEUECTL, "config", "set", "max-retries", "3"], scratch.env)
    asyncio.run(_hire(scratch.env))
    names = ("tick", "beat", "wake", "apply")
    figures = in_turns(rounds, *(lambda n=name: _one(scratch, n) for name in names))
    return {
        "hosts": HOSTS,
        "rounds": rounds,
        "server_cpu_ms": {name: middle(each) for name, each in zip(names, figures, strict=True)},
        "connections": {"a supervisor at rest": _at_rest(scratch)},
    }


def _row(number: int, store: Store) -> SupervisorRow:
    now, lease = store.clock(), 3600.0
    name = f"host{number:03}"
    return SupervisorRow(name, name, name, 1, 0.0, True, now, now + lease, monotonic() + lease)


async def _hire(env: dict[str, str]) -> None:
    store = await open_store(None, env)
    try:
        for number in range(HOSTS):
            row = _row(number, store)
            workers = [(f"{row.id}-{n}", ()) for n in range(4)]
            await store.register(row, workers, store.clock())
    finally:
        await store.close()


def _one(scratch: PostgresScratch, name: str) -> float:
    return asyncio.run(_times(scratch, name))


async def _times(scratch: PostgresScratch, name: str) -> float:
    store = await open_store(None, scratch.env)
    try:
        row = _row(0, store)
        openings = [ClaimSlot(f"{row.id}-{n}", ()) for n in range(4)]

        async def tick() -> None:
            await store.changed()
            await store.supervisors()
            await store.checkpoint()

        async def beat() -> None:
            await store.heartbeat(row)

        async def wake() -> None:
            await store.settle_and_claim(ClaimRequest(row.id, [], openings, store.clock()))

        async def apply() -> None:
            await store.commands(row.id)
            await store.config()
            await wake()

        all_of_them = (tick, beat, wake, apply)
        does: dict[str, Callable[[], Awaitable[None]]] = {one.__name__: one for one in all_of_them}
        for _ in range(20):
            await does[name]()
        before = scratch.server.cpu()
        for _ in range(TIMES):
            await does[name]()
        used = 1000 * (scratch.server.cpu() - before) / TIMES
    finally:
        await store.close()
    progress(f"{name}: {used:.2f} ms of the server's")
    return used


def _at_rest(scratch: PostgresScratch) -> int:
    """Connections of one detached supervisor."""
    scratch.new()
    timed([*QUEUECTL, "worker", "start", "--count", "4", "--detach", "--quiet"], scratch.env)
    try:
        time.sleep(3.0)
        return int(scratch.query(CONNECTIONS)[0][0])
    finally:
        timed([*QUEUECTL, "worker", "stop"], scratch.env)


def table(found: dict[str, Any]) -> str:
    tick, beat, wake, apply = (figure["value"] for figure in found["server_cpu_ms"].values())
    held = found["connections"]["a supervisor at rest"]
    return (
        f"the server's CPU with {found['hosts']} supervisors: a tick {tick:.2f} ms, a heartbeat"
        f" {beat:.2f} ms, a wake-up that finds nothing {wake:.2f} ms,"
        f" {apply:.2f} ms with orders and settings;"
        f" a supervisor at rest holds {held} connections"
    )
