"""Waking supervisors: LISTEN on a connection of its own, and a pipe for each bell.

Who changes something a supervisor should know sends a NOTIFY in the same transaction, so it
arrives when, and only if, that is committed. The listener writes one byte to each pipe that is
not ringing already: being told a lot wakes nobody more often. Whenever the listener has to
connect, the bells ring once: something may have been missed.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any

from ...errors import QueueError
from ..base import Bell
from .link import Link
from .session import ANYTHING, JOBS, Session

LOOK = 15.0
"""Seconds of silence after which the connection is tried: a server that vanished without a word
is noticed."""
PAUSE = 0.1
"""Seconds until another attempt to connect, if the link does not ask for more."""


class PipeBell(Bell):
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

    def ring(self, what: str = ANYTHING) -> None:
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

    def __init__(self, link: Link) -> None:
        self._link = link
        self._bells: set[PipeBell] = set()
        self._task: asyncio.Task[None] | None = None

    def bell(self) -> PipeBell:
        """A new bell. It rings once as soon as it can be rung at all."""
        made = PipeBell(self)
        self._bells.add(made)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._listen())
        else:
            made.ring()
        return made

    def forget(self, bell: PipeBell) -> None:
        """This one is not to be rung any more."""
        self._bells.discard(bell)

    async def close(self) -> None:
        """Stop listening; bells that are still there stay silent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for bell in self._bells:
            bell.mute()
        self._bells.clear()

    def _told(self, *notification: Any) -> None:
        self._ring(notification[-1])  # its payload

    def _ring(self, what: str = ANYTHING) -> None:
        for bell in self._bells:
            bell.ring(what)

    async def _listen(self) -> None:
        while True:
            with suppress(QueueError):
                connection = await self._link.connect()
                try:
                    with suppress(Exception):  # whatever it is, another connection mends it
                        await self._hear(connection)
                finally:
                    connection.terminate()
            await asyncio.sleep(PAUSE)

    async def _hear(self, connection: Any) -> None:
        closed = asyncio.Event()
        connection.add_termination_listener(lambda _: closed.set())
        await connection.add_listener(self._link.channel, self._told)
        self._ring()
        session = Session(connection)
        while not closed.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(closed.wait(), LOOK)
                return
            await session.value("clock")
