"""A way to the test server that breaks when it is told to, at a commit or at once; or that speaks
TLS, which the test server does not."""

from __future__ import annotations

import asyncio
import ssl
import struct
from enum import Enum
from types import TracebackType
from urllib.parse import urlsplit

COMMIT = b"COMMIT\x00"
SSL_REQUEST = struct.pack(">II", 8, 80877103)
"""What a client asks first that wants TLS (PostgreSQL's documentation, "Message Formats")."""


class Cut(Enum):
    """When to break every connection, and let nobody in until it is mended."""

    NEVER = "never"
    BEFORE_COMMIT = "the commit never arrives"
    AFTER_COMMIT = "it is done, and the answer is lost"


class Proxy:
    """Entered while it runs; ``url`` leads through it. With ``tls`` it takes no other clients."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self._to = urlsplit(url)
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut = Cut.NEVER
        self.down = False
        self.came = 0
        """Connections that were asked for."""
        self.stays_down = True
        """After a cut, until it is mended."""
        self._passes = asyncio.Event()
        """Cleared while nothing gets through, and nobody is told."""
        self._passes.set()
        self._answered = asyncio.Event()
        """Cleared while the answer to a commit is waited for."""
        self._answered.set()

    @property
    def url(self) -> str:
        user = self._to.netloc.rpartition("@")[0]
        return self._to._replace(netloc=f"{user}@127.0.0.1:{self._port}").geturl()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self._passes.set()
        self.break_all()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def break_all(self) -> None:
        """Break every connection there is."""
        for writer in list(self._writers):
            writer.transport.abort()

    def swallow(self) -> None:
        """Nothing gets through, though every connection stays; what was sent arrives once it is
        mended, as by a network that lost its way for a while."""
        self._passes.clear()

    def mend(self) -> None:
        """Let everybody through again."""
        self.cut, self.down = Cut.NEVER, False
        self._passes.set()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.came += 1
        if self.down:
            writer.transport.abort()
            return
        if self._tls is not None:
            try:
                if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
                    raise EOFError
                writer.write(b"S")
                await writer.start_tls(self._tls)
            except (OSError, EOFError):
                writer.transport.abort()
                return
        await self._passes.wait()
        there, back = await asyncio.open_connection(self._to.hostname, self._to.port)
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, back, there))
                group.create_task(self._carry(there, writer, None))
        except* (OSError, EOFError):
            pass
        finally:
            self._writers -= {writer, back}
            for one in (writer, back):
                one.transport.abort()

    async def _carry(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        answers: asyncio.StreamReader | None,
    ) -> None:
        while data := await source.read(65536):
            if answers is not None and COMMIT in data and self.cut is not Cut.NEVER:
                await self._cut_at(data, target)
            if answers is None and not self._answered.is_set():
                self._answered.set()
                return
            await self._passes.wait()
            target.write(data)
            await target.drain()
        raise EOFError

    async def _cut_at(self, data: bytes, target: asyncio.StreamWriter) -> None:
        cut, self.cut = self.cut, Cut.NEVER
        self.down = self.stays_down
        if cut is Cut.AFTER_COMMIT:
            self._answered.clear()
            target.write(data)
            await target.drain()
            await self._answered.wait()  # it is done: the answer goes nowhere
        self.break_all()
        raise EOFError
