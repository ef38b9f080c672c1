"""What is pushed to browsers, and when a stream ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.errors import StoreUnreachable
from queuectl_core.queue import Queue
from queuectl_web import live as module
from queuectl_web.live import EventStream, Live
from queuectl_web.sessions import Session

from ..support import PATIENCE
from .inside import Inside
from .scene import NOW, scene
from .test_faults import move


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Inside]:
    with scene(tmp_path) as (made, _):
        yield made


async def stream(
    live: Live,
    *given: tuple[str, str] | Exception | None,
    session: Session | None = None,
    leaves: bool = False,
    stalls: bool = False,
) -> list[Any]:
    """What is sent of a stream with these events. None: it waits for more."""
    sent: list[Any] = []

    async def events() -> AsyncIterator[tuple[str, str]]:
        for one in given:
            if one is None:
                await asyncio.Event().wait()
            elif isinstance(one, Exception):
                raise one
            else:
                yield one

    async def receive() -> Any:
        while not leaves or len(sent) < 3:
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if stalls and sent:
            await asyncio.Event().wait()
        assert live.streams == (1 if sent and message.get("more_body") else 0)
        sent.append(message)
        if session is not None and len(sent) == 3:
            session.ended.set()

    async with asyncio.timeout(PATIENCE):
        await EventStream(live, events(), session)({"method": "GET"}, receive, send)
    assert live.streams == 0
    return [one.get("body", one.get("status")) for one in sent]


def test_when_a_stream_ends(app: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    live, run = app.live, app.runner.run
    hello, quiet = ("hello", "1"), ("", "")
    head = [200, b"retry: 2000\n\n", b"event: hello\ndata: 1\n\n"]
    assert run(stream(live, hello, quiet)) == [*head, b":\n\n", b""]
    assert run(stream(live, hello, None, leaves=True)) == [*head, b""]
    assert run(stream(live, hello, None, session=Session())) == [*head, b""]
    with pytest.raises(ValueError, match="ours"):
        run(stream(live, hello, ValueError("ours")))
    monkeypatch.setattr(module, "STALLED", 0.01)
    assert run(stream(live, hello, None, stalls=True)) == [200]


def test_a_browser_gets_what_is_newer_than_what_it_has(app: Inside) -> None:
    live = app.live

    async def look() -> None:
        await live.fresh()
        events = live.events(0, overview=True)
        assert await anext(events) == ("trouble", "null")
        word, data = await anext(events)
        assert word == "parts"
        assert set(json.loads(data)) == {"attention", "states", "throughput", "queues", "workers"}
        before = {name: part.html for name, part in live.parts.items()}
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        live.publish()  # nothing is another
        await asyncio.sleep(0)
        assert not waiting.done()
        live.overview = module.Overview()
        live.publish()
        word, data = await waiting
        changed = json.loads(data)
        assert changed == {
            name: part.html for name, part in live.parts.items() if part.html != before[name]
        }
        assert len(changed) > 1
        await live.lose(live.connections.reader, StoreUnreachable("it is gone", "put it back"))
        assert await anext(events) == ("trouble", json.dumps("it is gone; put it back"))
        await live.reconnect()
        assert await anext(events) == ("trouble", "null")
        word, data = await anext(events)
        assert word == "parts"
        seen = live.changes
        others = live.events(seen - 1, overview=False)
        assert await anext(others) == ("trouble", "null")
        assert await anext(others) == ("changed", str(seen))
        waiting = asyncio.ensure_future(anext(others))
        await asyncio.sleep(0)
        live.close()
        with pytest.raises(StopAsyncIteration):
            await waiting

    app.runner.run(look())


def test_the_store_is_looked_at_while_somebody_looks(
    app: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", 0.005)
    monkeypatch.setattr(module, "RETRY", 0.005)
    live = app.live
    told: list[str] = []
    live.on_trouble = told.append
    store = tmp_path / "queue.db"

    async def enqueue(name: str) -> None:
        async with Queue.open(str(store), env={}, clock=lambda: NOW) as queue:
            await queue.enqueue([{"id": name, "command": "true"}])

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.002)

    async def watch() -> None:
        await live.fresh()
        total, seen = live.overview.total, live.changes
        watching = asyncio.create_task(live.run())
        await enqueue("unseen")
        await asyncio.sleep(0.03)
        assert live.changes == seen, "nobody looks"
        live.streams = 1
        await until(lambda: live.overview.total == total + 1)
        assert live.changes == seen + 1
        await enqueue("seen")
        await until(lambda: f">{total + 2}<" in live.parts["states"].html)
        assert live.changes == seen + 2
        version = live.version
        await until(lambda: live.version >= version + 2)  # a job runs, so its time is another
        move(store, store.with_name("away.db"))
        await until(lambda: bool(told))
        assert not live.connections.connected
        assert not store.exists()
        move(store.with_name("away.db"), store)
        await until(lambda: live.trouble is None)
        assert len(told) == 1, "once"
        assert live.overview.total == total + 2
        live.streams = 0
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    app.runner.run(watch())


def test_an_overview_is_used_again_for_half_a_second(
    app: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = module.time.monotonic() + 100
    monkeypatch.setattr(module.time, "monotonic", lambda: now)

    async def look() -> None:
        nonlocal now
        first = await app.live.fresh()
        now += 0.5
        assert await app.live.fresh() is first
        now += 0.01
        assert await app.live.fresh() is not first

    app.runner.run(look())
