"""What changes by itself: the store is read once for all browsers, and pushed to those that look.

The overview is rendered once for each change, in parts. A stream sends the parts that are newer
than what it sent before. So a slow browser skips versions, and many browsers cost little more than
one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from queuectl_core.domain.errors import QueueError, StoreError
from queuectl_core.operations.queries import check_store
from queuectl_core.queue import Queue
from queuectl_tui.presentation.connections import Connections
from queuectl_tui.presentation.monitor import Monitor, Overview

from .sessions import Session

log = logging.getLogger("queuectl.web")

EVERY = 1.0
"""Seconds between looks at the store while somebody looks."""

AGES_EVERY = 10.0
"""Seconds after which the overview is rendered again, because ages have changed."""

RETRY = 2.0
"""Seconds between attempts to open a lost store."""

FRESH = 0.5
"""Seconds for which an overview is used again for a page."""

KEEP_ALIVE = 20.0
"""Seconds without an event after which a comment is sent, so that a dead connection is noticed."""

STALLED = 30.0
"""Seconds after which a browser that takes nothing is disconnected."""

MAX_STREAMS = 200


@dataclass(slots=True)
class Part:
    """A part of the overview, and the version since which it has been the same."""

    html: str
    version: int


@dataclass(slots=True)
class Live:
    """Reads the store and knows what browsers shall see."""

    connections: Connections
    render: Callable[[Overview, float], Mapping[str, str]]
    """Renders the parts of the overview at a moment."""
    on_trouble: Callable[[str], None] = lambda text: None
    overview: Overview = field(default_factory=Overview)
    lost: StoreError | None = None
    """Why the store cannot be read; None: it can."""
    version: int = 0
    """Rises with each change that browsers shall see."""
    changes: int = 0
    """Rises with each commit that was noticed."""
    parts: dict[str, Part] = field(default_factory=dict)
    streams: int = 0
    closing: bool = False
    monitor: Monitor = field(init=False)
    _read_at: float = -1e9
    _rendered_at: float = -1e9
    _tried_at: float = -1e9
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _turned: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.monitor = Monitor(self.connections)

    async def run(self) -> None:
        """Watch the store until cancelled. Nothing is read while nobody looks."""
        while True:
            await asyncio.sleep(EVERY if self.connections.connected else RETRY)
            if self.connections.connected and not self.streams:
                continue
            try:
                if self.connections.connected:
                    await self._look()
                else:
                    await self.reconnect()
            except QueueError:
                pass  # the browsers are told
            except Exception as error:  # a fault of ours must not end the updates for good
                log.error("internal error: %s: %s", type(error).__name__, error, exc_info=error)

    async def _look(self) -> None:
        queue = self.connections.reader
        try:
            changed = await self.monitor.changed()
            async with self._lock:
                if changed:
                    self.changes += 1
                    await self._read()
                else:
                    self.overview = await self.monitor.moved_on(self.overview)
        except StoreError as error:
            await self.lose(queue, error)
            return
        busy = any(worker.job for worker in self.overview.workers)
        if changed or busy or time.monotonic() - self._rendered_at > AGES_EVERY:
            self.publish()

    async def _read(self) -> None:
        self.overview = await self.monitor.overview()
        self._read_at = time.monotonic()

    def publish(self) -> None:
        """Render the overview. Wakes the streams if anything differs."""
        self._rendered_at = time.monotonic()
        self.version += 1
        for name, html in self.render(self.overview, self.connections.clock()).items():
            before = self.parts.get(name)
            if before is None or before.html != html:
                self.parts[name] = Part(html, self.version)
        self._turn()

    def _turn(self) -> None:
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()

    @property
    def turned(self) -> asyncio.Event:
        """Is set at the next change that browsers shall see."""
        return self._turned

    @property
    def trouble(self) -> str | None:
        """Why the store cannot be read, in words; None: it can."""
        return None if self.lost is None else str(self.lost)

    async def fresh(self) -> Overview:
        """The overview for a page. Raises StoreError."""
        queue = await self.reader()
        async with self._lock:
            if time.monotonic() - self._read_at > FRESH:
                try:
                    if await self.monitor.changed():  # nobody else is told of this change
                        self.changes += 1
                    await self._read()
                except StoreError as error:
                    await self.lose(queue, error)
                    raise
                self.publish()
        return self.overview

    async def reader(self) -> Queue:
        """The connection for reading, opened again if the store was lost or replaced. Raises
        StoreError."""
        if self.connections.connected:
            queue = self.connections.reader
            try:
                await check_store(queue)
                return queue
            except StoreError as error:
                await self.lose(queue, error)
        await self.reconnect()
        return self.connections.reader

    async def lose(self, queue: Queue, error: StoreError) -> None:
        """The store cannot be read with ``queue``: close the connections. They are opened again
        later. Nothing is done if somebody has noticed it, and the connections are others now."""
        if not self.connections.reads_with(queue):
            return
        first, self.lost = self.lost is None, _again(error)
        await self.connections.drop()
        self._read_at = -1e9
        self.version += 1
        self._turn()
        if first:
            self.on_trouble(str(error))

    async def doubt(self) -> None:
        """A request failed because of the store. Look whether the store is lost."""
        if self.connections.connected:
            queue = self.connections.reader
            try:
                await check_store(queue)
                if await queue.changed():  # nobody else is told of this change
                    self.changes += 1
                    self._turn()
            except StoreError as error:
                await self.lose(queue, error)

    async def reconnect(self) -> None:
        """Open the store again, at most once in two seconds. Raises StoreError."""
        async with self._lock:
            if self.connections.connected:
                return
            if self.lost is not None and time.monotonic() - self._tried_at < RETRY / 2:
                raise _again(self.lost)
            try:
                await self.connections.connect()
                await self._read()
                self.lost = None
            except StoreError as error:
                self.lost = _again(error)
                await self.connections.drop()
                raise
            finally:  # an attempt may take long, and others wait for it
                self._tried_at = time.monotonic()
        self.changes += 1
        self.publish()

    def close(self) -> None:
        """End all streams."""
        self.closing = True
        self._turn()

    async def events(self, since: int, *, overview: bool) -> AsyncIterator[tuple[str, str]]:
        """(event, data) for one browser. ``overview``: the parts that are newer than version
        ``since``. Otherwise only that something has changed since ``changes`` was ``since``."""
        trouble: str | None = "not known yet"
        while not self.closing:
            turned = self._turned
            if trouble != self.trouble:
                trouble = self.trouble
                yield "trouble", json.dumps(trouble)
            if overview and trouble is None and self.version != since:
                newer = {n: part.html for n, part in self.parts.items() if part.version > since}
                since = self.version
                if newer:
                    yield "parts", json.dumps(newer)
            elif not overview and self.changes != since:
                since = self.changes
                yield "changed", json.dumps(since)
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    await turned.wait()
            except TimeoutError:
                yield "", ""


def _again(error: StoreError) -> StoreError:
    """The same error without its traceback, which would keep what it names alive."""
    return type(error)(error.message, error.hint)


class EventStream(Response):
    """A response of server-sent events. It ends when the browser leaves, stalls or signs out, or
    when the server closes."""

    def __init__(
        self, live: Live, events: AsyncIterator[tuple[str, str]], session: Session | None
    ) -> None:
        """``session``: of the browser; None: a program."""
        super().__init__()
        self.live = live
        self.events = events
        self.session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"text/event-stream; charset=utf-8"),
                    (b"x-accel-buffering", b"no"),
                ],
            }
        )
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        self.live.streams += 1
        sending = asyncio.ensure_future(self._send(send))
        tasks = [sending, asyncio.ensure_future(_left(receive))]
        if self.session is not None:
            tasks.append(asyncio.ensure_future(_ended(self.session)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.live.streams -= 1
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        fault = results[0]
        if isinstance(fault, TimeoutError):
            return
        if isinstance(fault, Exception):
            raise fault
        await send({"type": "http.response.body", "body": b""})

    async def _send(self, send: Send) -> None:
        await _put(send, b"retry: 2000\n\n")
        async for event, data in self.events:
            text = f"event: {event}\ndata: {data}\n\n" if event else ":\n\n"
            await _put(send, text.encode())


async def _put(send: Send, body: bytes) -> None:
    async with asyncio.timeout(STALLED):
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _ended(session: Session) -> None:
    await session.ended.wait()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
