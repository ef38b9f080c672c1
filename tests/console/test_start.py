"""The first frame of the console is complete. The store is not read while it is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.model import Filter, State
from queuectl_core.queue import Queue
from queuectl_core.store.postgres import connections
from queuectl_tui.console.app import Console
from queuectl_tui.presentation.connections import Connections
from queuectl_tui.presentation.monitor import AHEAD, Monitor

from ..store.stores import PostgresPlace
from ..support import spec
from .scenes import opened, settled, text_of, until

SIZES = [(70, 40), (80, 24), (120, 40), (200, 60)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
async def test_the_first_frame_is_what_the_console_settles_on(
    home: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[str] = []
    display = Console._display

    def kept(self: Console, screen: Any, update: Any) -> None:
        frames.append(text_of(self))
        display(self, screen, update)

    monkeypatch.setattr(Console, "_display", kept)
    async with opened(home, size) as (console, pilot):
        last = await settled(console, pilot)
    assert frames[0].splitlines() == last.splitlines()


async def test_the_store_is_not_read_again_for_the_first_frame(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    overview = Monitor.overview

    async def counted(self: Monitor) -> Any:
        nonlocal read
        read += 1
        return await overview(self)

    monkeypatch.setattr(Monitor, "overview", counted)
    async with opened(home, (80, 24)) as (console, pilot):
        await settled(console, pilot)
        assert read == 1
        async with Queue.open(str(home / "queue.db"), env={}) as queue:
            await queue.enqueue([{"id": "just-now", "command": "true"}])
        await until(console, pilot, "just-now")


async def test_jobs_beyond_those_read_ahead_are_reached(home: Path) -> None:
    async with Queue.open(str(home / "queue.db"), env={}) as queue:
        oldest = (await queue.store.scan(Filter(), 1000))[-1].id
        await queue.enqueue([f"echo {number}" for number in range(AHEAD)])
    async with opened(home, (120, 40)) as (console, pilot):
        await settled(console, pilot)
        for _ in range(AHEAD // 10):
            await pilot.press("pagedown")
            await settled(console, pilot)
        assert console.main.jobs.current is not None
        assert console.main.jobs.current.id == oldest
        await pilot.press("g")
        assert f"echo {AHEAD - 1} " in await settled(console, pilot)


async def test_on_a_server_one_connection_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0
    connect = connections.connect

    async def counted(*given: Any, **more: Any) -> Any:
        nonlocal made
        made += 1
        return await connect(*given, **more)

    place = PostgresPlace(tmp_path)
    store = await place.open()
    await store.enqueue([spec("backup-1")], store.clock())
    monkeypatch.setattr(connections, "connect", counted)
    ours = Connections(place.url, read_only=False, env={"HOME": str(tmp_path)})
    monitor = Monitor(ours)
    try:
        # All that the first screen shows. Later, a second read may begin before the first is done.
        assert (await monitor.first()).counts[State.PENDING] == 1
        assert [job.command for job in monitor.newest] == ["backup-1"]
        assert made == 1
    finally:
        await ours.drop()
        await place.clear()
