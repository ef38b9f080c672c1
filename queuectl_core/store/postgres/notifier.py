"""Notifying supervisors: LISTEN on a separate connection, and a pipe for each supervisor.

A transaction that changes something that supervisors must know sends a NOTIFY. It arrives only if
the transaction is committed. The listener writes one byte to each pipe that is empty, so many
notifications wake a supervisor only once. After each new connection the listener notifies everybody
once, because it may have missed something. It waits longer after each failed attempt to connect,
for a random time, so that hosts do not connect at the same moments.
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import suppress
from typing import Any

from ..protocol import Notifier
from .connections import FIRST_PAUSE, LONGEST_PAUSE, Connections
from .errors import explain
from .session import ANYTHING, NEW_JOBS, Session

LOOK = 15.0
"""Seconds without a notification after which the connection is tested. This finds a server that
disappeared without closing the connection."""
STEADY = 2.0
"""Seconds that a connection must last before the trouble counts as over."""


class PipeNotifier(Notifier):
    """The reading side. ``close`` ends it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._fd, self._writer = os.pipe()
        for fd in (self._fd, self._writer):
            os.set_blocking(fd, False)
        self._notified = self._more = False

    def fileno(self) -> int:
        """A descriptor that is readable after a notification."""
        return self._fd

    def notify(self, what: str = ANYTHING) -> None:
        """Make it readable. ``what``: what has changed."""
        self._more = self._more or what != NEW_JOBS
        if not self._notified:
            self._notified = True
            with suppress(OSError):  # nobody reads any more
                os.write(self._writer, b"\0")

    def clear(self) -> bool:
        """Take the notifications that came. False: they were for new jobs only."""
        more, self._notified, self._more = self._more, False, False
        with suppress(BlockingIOError):
            while os.read(self._fd, 4096):
                pass
        return more

    @property
    def trouble(self) -> str | None:
        """Why it cannot notify at the moment; None: it can."""
        return self._listener.trouble

    def close(self) -> None:
        """Stop listening."""
        self._listener.forget(self)
        os.close(self._fd)
        self.mute()

    def mute(self) -> None:
        """Stop notifying."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        self._notified = True


class Listener:
    """Listens for one process while it has notifiers."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._notifiers: set[PipeNotifier] = set()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self.trouble: str | None = None
        """Why nothing can arrive at the moment; None: it can."""

    def notifier(self) -> PipeNotifier:
        """A new notifier. It notifies once as soon as the listener is connected."""
        made = PipeNotifier(self)
        self._notifiers.add(made)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._listen())
        else:
            made.notify()
        return made

    def forget(self, notifier: PipeNotifier) -> None:
        """Stop notifying this one."""
        self._notifiers.discard(notifier)

    async def close(self) -> None:
        """Stop listening. Remaining notifiers stay silent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for notifier in self._notifiers:
            notifier.mute()
        self._notifiers.clear()

    def _received(self, *notification: Any) -> None:
        self._notify_all(notification[-1])  # its payload

    def _notify_all(self, what: str = ANYTHING) -> None:
        for notifier in self._notifiers:
            notifier.notify(what)

    async def _listen(self) -> None:
        while True:
            try:
                connection = await self._connections.connect()
                try:
                    await self._hear(connection)
                finally:
                    connection.terminate()
                self.trouble = "the connection broke"
            except Exception as error:  # after every error, try another connection
                self.trouble = explain(self._connections.shown, error).message
            pause = min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
            self._failures = min(self._failures + 1, 10)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _hear(self, connection: Any) -> None:
        """Returns when the connection has broken."""
        closed = asyncio.Event()
        connection.add_termination_listener(lambda _: closed.set())
        await connection.add_listener(self._connections.channel, self._received)
        self._notify_all()
        if await self._is_set(closed, STEADY):
            return  # it broke too soon: the pauses keep growing
        self._failures, self.trouble = 0, None
        ours = self._connections
        session = Session(connection, ours.shown, ours.clock, ours.signature)
        while not await self._is_set(closed, LOOK):
            await session.value("clock")

    @staticmethod
    async def _is_set(event: asyncio.Event, seconds: float) -> bool:
        """Wait for up to ``seconds``. Returns whether it happened."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        return event.is_set()
