"""A front end's two connections to the store, and what happens when they break.

One only reads. It never waits for the other one, which makes changes and may wait for a lock. A
store that is lost is opened again, but never created again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from queuectl_core.domain.errors import QueueError, StoreReadOnly, StoreUnreachable
from queuectl_core.queue import Queue

CLOSING = 2.0
"""Seconds that a connection which waits for a lock may take to close."""


class Connections:
    """Connections to the store at ``url``. ``read_only``: there is no connection for changes."""

    def __init__(
        self,
        url: str | None,
        *,
        read_only: bool,
        env: Mapping[str, str] | None = None,
        clock: Callable[[], float] | None = None,
        via: str = "tui",
    ) -> None:
        self.url = url
        self.read_only = read_only
        self.env = os.environ if env is None else env
        self._clock = clock
        self._via = via
        self._now = clock or time.time
        self._reader: Queue | None = None
        self._writer: Queue | None = None
        self._reading = AsyncExitStack()
        self._writing = AsyncExitStack()
        self._opening = asyncio.Lock()

    @property
    def connected(self) -> bool:
        return self._reader is not None

    @property
    def reader(self) -> Queue:
        """The reading connection. StoreUnreachable while the store is lost."""
        if self._reader is None:
            raise StoreUnreachable("the store is not connected", "it is tried again by itself")
        return self._reader

    def reads_with(self, queue: Queue) -> bool:
        return self._reader is queue

    def clock(self) -> float:
        """Epoch seconds by the queue's clock (by this host's until it was reached once)."""
        return self._now()

    async def connect(self, *, create: bool = False) -> None:
        """Open the reading connection. Raises the StoreError family.

        ``create``: make the store if it does not exist. A read-only front end treats a default
        store that does not exist as empty.
        """
        try:
            await self._connect(absent_ok=create and self.read_only)
        except StoreUnreachable:
            if not create or self.read_only:
                raise
            async with self._open():
                pass
            await self._connect()

    def _open(self, **how: bool) -> AbstractAsyncContextManager[Queue]:
        return Queue.open(self.url, env=self.env, clock=self._clock, via=self._via, **how)

    async def _connect(self, *, absent_ok: bool = False) -> None:
        opened = self._open(read_only=True, absent_ok=absent_ok)
        self._reader = await self._reading.enter_async_context(opened)
        self._now = self._reader.clock

    async def writer(self) -> Queue:
        """The connection for changes, opened when it is first needed."""
        if self.read_only:
            raise StoreReadOnly("this console is read-only", "start it without --read-only")
        async with self._opening:
            if self._writer is None:
                stack = self._writing
                opened = await stack.enter_async_context(self._open(create=False))
                if stack is not self._writing:
                    await stack.aclose()
                    raise StoreUnreachable("the store was lost meanwhile", "try again")
                self._writer = opened
            return self._writer

    async def drop(self) -> None:
        """Close both connections; :meth:`connect` opens them again."""
        self._reader = self._writer = None
        stacks = (self._reading, self._writing)
        # First of all: others may open the store anew while these are being closed.
        self._reading, self._writing = AsyncExitStack(), AsyncExitStack()
        for stack in stacks:
            try:
                async with asyncio.timeout(CLOSING):
                    await stack.aclose()
            except (QueueError, TimeoutError):
                pass  # it does not work, which is why it is closed
