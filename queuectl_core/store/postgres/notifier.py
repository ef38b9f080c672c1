"""Waking supervisors: LISTEN on a connection of its own, and a pipe for each bell.

Who changes something a supervisor should know sends a NOTIFY in the same transaction, so it
arrives when, and only if, that is committed. The listener writes one byte to each pipe that is
not ringing already: being told a lot wakes nobody more often. Whenever the listener has to
connect, the bells ring once: something may have been missed. Attempts to connect are further and
further apart, and not at the same moments on every host.
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
from .session import ANYTHING, JOBS, Session

LOOK = 15.0
"""Seconds of silence after which the connection is tried: a server that vanished without a word
is noticed."""
STEADY = 2.0
"""Seconds that a connection must hold before what was wrong is over."""


class PipeNotifier(Notifier):
    """The listening side; ``close`` ends it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._fd, self._ringer = os.pipe()
        for fd in (self._fd, self._ringer):
            os.set_blocking(fd, False)
        self._rung = self._more = False

    def fileno(self) -> int:
        """Readable when rung."""
        return self._fd

    def notify(self, what: str = ANYTHING) -> None:
        """Make it readable, because of ``what``."""
        self._more = self._more or what != JOBS
        if not self._rung:
            self._rung = True
            with suppress(OSError):  # nobody reads any more
                os.write(self._ringer, b"\0")

    def clear(self) -> bool:
        """Make it silent until it is rung again. False: it rang for nothing but new jobs."""
        more, self._rung, self._more = self._more, False, False
        with suppress(BlockingIOError):
            while os.read(self._fd, 4096):
                pass
        return more

    @property
    def trouble(self) -> str | None:
        """Why it cannot ring just now; None: it can."""
        return self._listener.trouble

    def close(self) -> None:
        """Stop listening."""
        self._listener.forget(self)
        os.close(self._fd)
        self.mute()

    def mute(self) -> None:
        """Never ring again."""
        if self._ringer >= 0:
            os.close(self._ringer)
            self._ringer = -1
        self._rung = True


class Listener:
    """Listens for one process while there are bells."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._notifiers: set[PipeNotifier] = set()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self.trouble: str | None = None
        """Why nothing is heard just now."""

    def notifier(self) -> PipeNotifier:
        """A new bell. It rings once as soon as it can be rung at all."""
        made = PipeNotifier(self)
        self._notifiers.add(made)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._listen())
        else:
            made.notify()
        return made

    def forget(self, notifier: PipeNotifier) -> None:
        """This one is not to be rung any more."""
        self._notifiers.discard(notifier)

    async def close(self) -> None:
        """Stop listening; bells that are still there stay silent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for notifier in self._notifiers:
            notifier.mute()
        self._notifiers.clear()

    def _told(self, *notification: Any) -> None:
        self._ring(notification[-1])  # its payload

    def _ring(self, what: str = ANYTHING) -> None:
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
            except Exception as error:  # whatever it is, another connection mends it
                self.trouble = explain(self._connections.shown, error).message
            pause = min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
            self._failures = min(self._failures + 1, 10)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _hear(self, connection: Any) -> None:
        """Returns when the connection has broken."""
        closed = asyncio.Event()
        connection.add_termination_listener(lambda _: closed.set())
        await connection.add_listener(self._connections.channel, self._told)
        self._ring()
        if await self._is_set(closed, STEADY):
            return  # such a connection mends nothing: the pauses go on growing
        self._failures, self.trouble = 0, None
        session = Session(connection)
        while not await self._is_set(closed, LOOK):
            await session.value("clock")

    @staticmethod
    async def _is_set(event: asyncio.Event, seconds: float) -> bool:
        """Wait so long; whether it happened."""
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)
        return event.is_set()
