"""A proxy between queuectl and a PostgreSQL server that damages the traffic when it is told to.

It runs in a thread of its own, and every method may be called from any thread::

    with Proxy(server_url) as proxy:
        ...                                 # give proxy.url to queuectl
        proxy.break_all()                   # every connection is reset now
        proxy.refuse(2.0)                   # and nobody gets in for two seconds
        proxy.stall(3.0)                    # nothing passes; then all of it is delivered, late
        proxy.drop_answers(1.0)             # the server works, but its answers are thrown away
        proxy.cut_commit(Cut.AFTER_ANSWER)  # the next commit is done, and its answer is lost
        proxy.cut_after(17)                 # break everything at the 17th message from now on
        proxy.act(rng)                      # one of these by chance; returns what it did
        proxy.mend()                        # everything passes again at once

It reads the protocol's messages ("Message Formats" in PostgreSQL's documentation), so a cut is
always between two messages. It answers "no" to a client that asks for TLS. The server may crash
and come back on the same port. Until then connections are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum
from random import Random
from types import TracebackType
from urllib.parse import urlsplit

ENCRYPTION = {80877103, 80877104}
"""The codes of a client's request for TLS and for GSSAPI encryption."""
COMMIT = b"QCOMMIT\x00"
"""The type and the text of the message that commits (its length between them is left out)."""


class Cut(Enum):
    """Where in a commit the connections break."""

    BEFORE = "the commit never arrives"
    UNANSWERED = "the commit is sent, and nobody waits for its answer"
    AFTER_ANSWER = "the commit is done, and its answer is lost"
    IN_ANSWER = "the commit is done, and half of its answer arrives"


class Proxy:
    """Entered while it runs; ``url`` leads through it. ``figures`` counts what was done."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pairs: set[_Pair] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._refuse_until = 0.0
        self._stall_end: asyncio.TimerHandle | None = None
        self._drop_end: asyncio.TimerHandle | None = None
        self._cut: Cut | None = None
        self._messages_left: int | None = None
        self.figures: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """Where clients connect to; otherwise as the server's URL."""
        user, at, _ = self._to.netloc.rpartition("@")
        return self._to._replace(netloc=f"{user}{at}127.0.0.1:{self._port}").geturl()

    def __enter__(self) -> Proxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- what can be done to the traffic ------------------------------------------------

    def break_all(self) -> None:
        """Reset every connection there is."""
        self._do("connections broken", self._break_all)

    def refuse(self, seconds: float) -> None:
        """Reset every connection, and let nobody in for a while."""

        def act() -> None:
            self._refuse_until = time.monotonic() + seconds
            self._break_all()

        self._do("server away", act)

    def stall(self, seconds: float) -> None:
        """Hold every message back, both ways; deliver all of them when the time is over.

        A second call before that replaces the time of the first.
        """

        def act() -> None:
            self._pass()
            self._passes.clear()
            self._stall_end = self._loop.call_later(seconds, self._pass)

        self._do("network stalled", act)

    def drop_answers(self, seconds: float) -> None:
        """Throw the server's answers away; the connections break when the time is over.

        A second call before that replaces the time of the first.
        """

        def act() -> None:
            if self._drop_end is not None:
                self._drop_end.cancel()
            self._drop_end = self._loop.call_later(seconds, self._end_drop)

        self._do("answers dropped", act)

    def cut_commit(self, cut: Cut) -> None:
        """Break every connection at the next commit."""

        def act() -> None:
            self._cut = cut

        self._do(f"commit cut: {cut.value}", act)

    def cut_after(self, messages: int) -> None:
        """Break every connection at the message with this number, either way."""

        def act() -> None:
            self._messages_left = messages

        self._do("cut at a message", act)

    def mend(self) -> None:
        """Everything passes again, from now on, and nothing that was begun breaks it later.

        The time of ``drop_answers`` ends now: its connections break, because what they wait for
        was thrown away.
        """

        def act() -> None:
            self._refuse_until = 0.0
            self._cut = self._messages_left = None
            for pair in self._pairs:
                pair.cut = None
            self._pass()
            self._end_drop()

        self._do("mended", act)

    def act(self, rng: Random) -> str:
        """Do one of these at random; returns what it was, in a few words."""
        seconds = round(rng.choice((0.1, 0.5, 2.0)) * rng.uniform(0.5, 1.5), 2)
        match rng.randrange(6):
            case 0:
                self.break_all()
                return "every connection to the server reset"
            case 1:
                self.refuse(seconds)
                return f"the server out of reach for {seconds} s"
            case 2:
                self.stall(seconds)
                return f"the network stalled for {seconds} s, then late"
            case 3:
                self.drop_answers(seconds)
                return f"the server's answers dropped for {seconds} s"
            case 4:
                cut = rng.choice(list(Cut))
                self.cut_commit(cut)
                return f"the next commit cut: {cut.value}"
            case _:
                messages = rng.randint(1, 60)
                self.cut_after(messages)
                return f"every connection reset at message {messages} from now"

    # -- the thread -----------------------------------------------------------------------

    def _do(self, what: str, act: Callable[[], None]) -> None:
        async def done() -> None:
            self.figures[what] += 1
            act()

        asyncio.run_coroutine_threadsafe(done(), self._loop).result()

    async def _start(self) -> None:
        self._passes = asyncio.Event()
        self._passes.set()
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        self._passes.set()
        self._break_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _break_all(self) -> None:
        self._cut = self._messages_left = None
        for writer in self._writers:
            writer.transport.abort()

    def _pass(self) -> None:
        """End a stall, if there is one."""
        if self._stall_end is not None:
            self._stall_end.cancel()
            self._stall_end = None
        self._passes.set()

    def _end_drop(self) -> None:
        """End the time in which answers are thrown away, if there is one."""
        if self._drop_end is not None:
            self._drop_end.cancel()
            self._drop_end = None
            self._break_all()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        back: asyncio.StreamWriter | None = None
        pair = _Pair()
        self._pairs.add(pair)
        try:
            if time.monotonic() < self._refuse_until:
                return
            opening = await _opening(reader, writer)
            await self._passes.wait()
            there, back = await asyncio.open_connection(self._to.hostname, self._to.port)
            self._writers.add(back)
            back.write(opening)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, back, pair, to_server=True))
                group.create_task(self._carry(there, writer, pair, to_server=False))
        except* (OSError, EOFError):
            pass
        finally:
            self._pairs.discard(pair)
            for one in (writer, back):
                if one is not None:
                    self._writers.discard(one)
                    one.transport.abort()

    async def _carry(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        pair: _Pair,
        *,
        to_server: bool,
    ) -> None:
        while True:
            kind, body = await _message(source)
            await self._passes.wait()
            if self._messages_left is not None:
                self._messages_left -= 1
                if self._messages_left <= 0:
                    self._break_all()
            if to_server and self._cut is not None and kind + body == COMMIT:
                pair.cut, self._cut = self._cut, None
                if pair.cut is Cut.BEFORE:
                    self._break_all()
            elif not to_server and pair.cut is not None and kind in b"CE":
                # The commit was answered: done, or refused.
                if pair.cut is Cut.AFTER_ANSWER:
                    self._break_all()
                elif pair.cut is Cut.IN_ANSWER:
                    target.write(kind + struct.pack(">I", len(body) + 4) + body)
                    with contextlib.suppress(OSError):
                        await target.drain()
                    if pair.whole:  # mended meanwhile: the other half follows
                        continue
                    self._break_all()
            if not to_server and self._drop_end is not None:
                continue
            if target.transport.is_closing():
                raise EOFError
            target.write(kind + struct.pack(">I", len(body) + 4) + body)
            await target.drain()
            if to_server and pair.cut is Cut.UNANSWERED:
                self._break_all()


class _Pair:
    """One client's connection and ours to the server."""

    cut: Cut | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is to break it."""
        return self.cut is None


async def _opening(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """A client's first message, which has no type; a request for encryption is refused."""
    while True:
        length = await reader.readexactly(4)
        body = await reader.readexactly(struct.unpack(">I", length)[0] - 4)
        if struct.unpack(">I", body[:4])[0] not in ENCRYPTION:
            return length + body
        writer.write(b"N")


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The next message's type and content."""
    head = await reader.readexactly(5)
    return head[:1], await reader.readexactly(struct.unpack(">I", head[1:])[0] - 4)
