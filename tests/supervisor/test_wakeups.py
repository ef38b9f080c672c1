"""What a supervisor says when the store cannot wake it: little, and not twice."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncpg

from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.supervisor.maintenance.wakeups import WakeUps

from ..pgserver import server_url
from ..store.stores import PostgresPlace
from ..support import eventually_async


class Dispatcher:
    """What is asked of the dispatcher."""

    troubled = False
    reports = 0


class Context:
    """What is asked of the supervisor's shared state."""

    deaf: str | None = None
    looks = 0

    def __init__(self) -> None:
        self.said: list[str] = []

    def look(self) -> None:
        self.looks += 1

    def tell(self, event: Notice) -> None:
        assert event.kind is NoticeKind.TROUBLE
        self.said.append(event.message)


async def test_one_message_when_it_breaks_and_one_when_it_works() -> None:
    context, dispatcher = Context(), Dispatcher()
    wake_ups = WakeUps(context, dispatcher)  # type: ignore[arg-type]
    for _ in range(2):
        await wake_ups.look()
    assert context.said == []
    context.deaf = "broken"
    for _ in range(5):
        await wake_ups.look()
    assert len(context.said) == 1
    assert "broken" in context.said[0]
    assert context.looks == 1
    context.deaf = None
    for _ in range(5):
        await wake_ups.look()
    assert context.said[1:] == ["the store's wake-ups work again"]


async def test_a_store_that_is_away_altogether_is_told_of_by_the_pump_alone() -> None:
    context, dispatcher = Context(), Dispatcher()
    wake_ups = WakeUps(context, dispatcher)  # type: ignore[arg-type]
    await wake_ups.look()
    context.deaf = "broken"
    await wake_ups.look()
    dispatcher.troubled, dispatcher.reports = True, 1
    await wake_ups.look()
    dispatcher.troubled = False  # the pump is quicker to come back
    for _ in range(3):
        await wake_ups.look()
    context.deaf = None
    await wake_ups.look()
    assert context.said == []


async def test_a_real_listener_that_is_cut_off_is_told_of(tmp_path: Path) -> None:
    place = PostgresPlace(tmp_path)
    said: list[str] = []

    def heard(event: Notice) -> None:
        if event.kind is NoticeKind.TROUBLE:
            said.append(event.message)

    try:
        async with Queue.open(place.url, env=dict(os.environ)) as queue:
            working = asyncio.create_task(queue.run_workers(1, on_notice=heard))

            async def cut() -> bool:
                connection = await asyncpg.connect(server_url())
                try:
                    found = await connection.fetch(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE query LIKE 'LISTEN %' || $1 || '%'",
                        queue.directory.name,
                    )
                finally:
                    await connection.close()
                return bool(found)

            async def deaf() -> bool:
                # Once is not enough: it may be back before the supervisor looks.
                await cut()
                return bool(said)

            async def told() -> bool:
                return len(said) == 2

            await eventually_async(cut)
            await eventually_async(deaf)
            await eventually_async(told)
            assert "no wake-ups" in said[0]
            assert said[1] == "the store's wake-ups work again"
            await queue.stop_workers(await queue.workers(), now=False)
            await working
    finally:
        await place.clear()
