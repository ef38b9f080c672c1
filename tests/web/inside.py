"""The application in this process, without a socket: for thousands of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from queuectl_tui.presentation.connections import Connections
from queuectl_web.app import make_app
from queuectl_web.context import Context
from queuectl_web.guard import Guard, Hosts
from queuectl_web.live import Live
from queuectl_web.overview import parts
from queuectl_web.sessions import Sessions

from .dashboard import TOKEN, Answer, csrf_in

HOST = (b"host", b"localhost")
OWN = [HOST, (b"authorization", f"Bearer {TOKEN}".encode())]
ORIGIN = (b"origin", b"http://localhost")
FORM = (b"content-type", b"application/x-www-form-urlencoded")


@dataclass(slots=True)
class Inside:
    """The application, and the loop that it runs in."""

    runner: asyncio.Runner
    app: Guard
    live: Live
    csrf: str = ""
    """The token in the forms of the browser that has signed in."""
    _browser: list[tuple[bytes, bytes]] = field(default_factory=list)

    def sign_in(self) -> None:
        """Sign in, as a browser."""
        answer = self.runner.run(
            self._ask("POST", "/login", f"token={TOKEN}".encode(), [HOST, ORIGIN, FORM])
        )
        self._browser = [HOST, ORIGIN, (b"cookie", answer["set-cookie"].split(";")[0].encode())]
        self.csrf = csrf_in(self.browse("/settings").text)

    def browse(self, target: str, form: Sequence[tuple[str, str]] | None = None) -> Answer:
        """Load a page as the browser that has signed in, or send a form."""
        if form is None:
            return self.runner.run(self._ask("GET", target, b"", self._browser))
        body = urlencode([("csrf", self.csrf), *form]).encode()
        return self.runner.run(self._ask("POST", target, body, [*self._browser, FORM]))

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> Answer:
        """Send a request as a program. A stream ends after its first event."""
        return self.runner.run(self._ask(method, target, body, [*OWN, *headers]))

    def ask_all(self, requests: Sequence[tuple[str, str]]) -> list[Answer]:
        """Send requests at the same time."""

        async def together() -> list[Answer]:
            return await asyncio.gather(*(self._ask(*one, b"", OWN) for one in requests))

        return self.runner.run(together())

    async def _ask(
        self, method: str, target: str, body: bytes, headers: list[tuple[bytes, bytes]]
    ) -> Answer:
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        sent: list[Any] = []
        arriving = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if arriving:
                return arriving.pop()
            await asyncio.sleep(0.001)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start = sent[0]
        found = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]
        ]
        return Answer(start["status"], found, b"".join(one.get("body", b"") for one in sent[1:]))


@contextmanager
def inside(
    store: Path | str,
    env: dict[str, str],
    *,
    clock: Callable[[], float] | None = None,
    read_only: bool = False,
) -> Iterator[Inside]:
    """The application on a store."""
    with asyncio.Runner() as runner:
        connections = Connections(
            str(store), read_only=read_only, env=env, clock=clock, via="dashboard"
        )
        live = Live(connections, parts)
        runner.run(connections.connect(create=True))
        context = Context(connections, Sessions(TOKEN), live, "queuectl-2", "a store")
        app = make_app(context, Hosts("127.0.0.1"), read_only=read_only)
        yield Inside(runner, app, live)
        runner.run(connections.drop())
