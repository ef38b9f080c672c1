"""Serving the dashboard: the address, the link, limits for connections, signals and systemd."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from queuectl_core.domain.errors import InvalidInput, QueueError
from queuectl_core.domain.text import clean_line
from queuectl_core.system.host import hostname
from queuectl_core.system.postcommit import report_to
from queuectl_core.system.systemd import notify_systemd
from queuectl_tui.presentation.connections import Connections

from .app import make_app
from .context import Context
from .guard import HEADERS, Hosts, cookie_name, is_loopback
from .live import STALLED, Live
from .overview import parts
from .sessions import Sessions, read_token

PORT = 3000
MAX_CONNECTIONS = 400
REQUEST_SECONDS = 10.0
"""How long a request line and its headers may take to arrive."""

DRAIN_SECONDS = 5
"""How long requests may take to end when the server is stopped."""

OPENING_SECONDS = 30.0
"""How long a browser may take to read the file that leads to the dashboard."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What ``queuectl dashboard`` was given."""

    store: str | None
    listen: str
    read_only: bool
    token_file: str | None
    names: Sequence[str]
    """Further names in the Host header: those of a proxy in front."""
    open_browser: bool


def parse_listen(text: str) -> tuple[str, int]:
    """(address, port) in ``HOST:PORT``, ``PORT``, ``:PORT`` or ``[::1]:PORT``. Port 0: any free
    one. Raises InvalidInput."""
    text = text.strip()
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = ("", text) if text.isdigit() else (text, str(PORT))
    elif text.endswith("]") or (host.count(":") and not host.startswith("[")):
        host, port = text, str(PORT)
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or not text:
        raise InvalidInput(
            f"--listen: '{clean_line(text, 60)}' is no address",
            "write HOST:PORT",
        )
    return host.strip("[]") or "127.0.0.1", int(port)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. QueueError if the port is taken, InvalidInput if it is no address."""
    shown = f"{clean_line(host, 60)}:{port}"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise InvalidInput(f"--listen: '{clean_line(host, 60)}' is no address of a host") from None
    made = socket.socket(family, kind, proto)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
    except OSError as error:
        made.close()
        raise QueueError(
            f"cannot listen on {shown}: {error.strerror}", "choose another: --listen 127.0.0.1:3001"
        ) from None
    made.set_inheritable(False)
    return made


class Connection(H11Protocol):
    """A connection that is closed if its request does not arrive in time, or if it takes nothing
    of the answer. If there are too many connections, the one is closed whose request has been
    awaited for the longest time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arriving: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._since = self.loop.time()
        self._wait_for_request()
        if len(self.connections) > MAX_CONNECTIONS:
            others = [one for one in self.connections if one is not self]
            waiting = [one for one in others if isinstance(one, Connection) and one.is_waiting]
            longest = min(waiting, key=lambda one: one._since, default=self)
            longest.transport.abort()

    @property
    def is_waiting(self) -> bool:
        """Whether no request is being answered. One whose body is not there yet is not."""
        cycle: RequestResponseCycle | None = self.cycle
        busy = cycle is not None and not cycle.response_complete and not cycle.more_body
        return not busy and not self.transport.is_closing()

    def send_400_response(self, msg: str) -> None:
        """What was sent is no HTTP."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()  # within an answer there is no place for another one
            return
        headers = {**HEADERS, "content-type": "text/plain; charset=utf-8", "connection": "close"}
        told = h11.Response(status_code=400, headers=list(headers.items()), reason=b"Bad Request")
        for event in (
            told,
            h11.Data(data=b"this is not HTTP/1.1, or its head is too long\n"),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self._wait_for_request()
        elif self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _wait_for_request(self) -> None:
        if self._arriving is None:
            self._since = self.loop.time()
            self._arriving = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._arriving is not None:  # the next request has its own time
            self._arriving.cancel()
            self._arriving = None

    def _cancel(self) -> None:
        for timer in (self._arriving, self._stalled):
            if timer is not None:
                timer.cancel()


class Server(uvicorn.Server):
    """A server whose signals are handled here: SIGTERM is a normal end."""

    def __init__(
        self, config: uvicorn.Config, ready: Callable[[], None], closing: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._closing = closing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and say so."""
        await super().startup(sockets)
        notify_systemd(os.environ, "READY=1")
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal ends the server when its requests have ended, the second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._heard)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
                signal.signal(number, lambda *_: _end_now())

    def _heard(self) -> None:
        if self.should_exit:
            _end_now()
        self.should_exit = True
        notify_systemd(os.environ, "STOPPING=1")
        self._closing()


def _end_now() -> None:
    """Wait for nothing: neither for a browser nor for a lock of the store. A commit is whole or has
    not happened."""
    os._exit(0)


class _OneLine(logging.Formatter):
    """One line for each record. The traceback is shown only with ``--debug``."""

    def __init__(self, *, debug: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        if not self._debug:
            record.exc_info = record.exc_text = record.stack_info = None
        text = super().format(record)
        return text if self._debug else clean_line(text, 2000)


def set_up_log(*, debug: bool) -> None:
    """Faults go to standard error, one line each. Requests are not logged."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(debug=debug))
    # What uvicorn says of a fault of ours has been said already.
    levels = {
        "queuectl.web": logging.WARNING,
        "uvicorn.error": logging.CRITICAL,
        "asyncio": logging.ERROR,
    }
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.DEBUG if debug else level)


async def serve(options: Options, *, say: Say, warn: Say, debug: bool = False) -> int:
    """Serve until a signal. Returns the exit code. Raises QueueError if it cannot start."""
    host, port = parse_listen(options.listen)
    token = None if options.token_file is None else read_token(Path(options.token_file))
    if not is_loopback(host):
        if token is None:
            raise InvalidInput(
                f"--listen {clean_line(host, 60)}: other machines could connect",
                "give --token-file FILE, with a token in it: openssl rand -hex 32",
            )
        warn(
            "other machines can connect, and what is sent can be read on the way; "
            "put a proxy with TLS in front"
        )
    set_up_log(debug=debug)
    listening = bind(host, port)
    port = listening.getsockname()[1]
    connections = Connections(options.store, read_only=options.read_only, via="dashboard")
    report_to(warn)
    live = Live(connections, parts, on_trouble=lambda text: warn(f"{text}; trying again"))
    try:
        await connections.connect(create=True)
        await live.fresh()
        sessions = Sessions(token)
        base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        address = listening.getsockname()[0]
        if address in ("0.0.0.0", "::"):  # noqa: S104 # shown, not listened on
            base = f"http://{hostname(connections.env)}:{port}"

        def show_link(what: str) -> str:
            link = base if sessions.has_token else f"{base}/login?token={sessions.new_link_token()}"
            say(f"{what}: {link}")
            return link

        def on_sign_in() -> None:
            show_link("signed in; for another browser")

        title = f"{clean_line(connections.reader.url, 80)} on {hostname(connections.env)}"
        found = Context(
            connections,
            sessions,
            live,
            cookie_name(port),
            title,
            on_sign_in=on_sign_in,
        )
        hosts = Hosts(address, [host, *options.names, hostname(connections.env)])
        app = make_app(found, hosts, read_only=options.read_only)
        await _serve(app, listening, live, lambda: _ready(show_link, options.open_browser))
    finally:
        listening.close()
        await connections.drop()
    return 0


def _ready(show_link: Callable[[str], str], open_browser: bool) -> None:
    link = show_link("the dashboard is at")
    if open_browser:
        threading.Thread(target=_open, args=(link,), daemon=True).start()


def _open(link: str) -> None:
    """Open the browser with a file that leads to the link. Everybody on this machine can see the
    arguments of the browser, and nobody else shall use the link."""
    import tempfile
    import webbrowser

    with tempfile.NamedTemporaryFile("w", suffix=".html", prefix="queuectl-") as file:  # mode 0600
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(link)}">')
        file.flush()
        webbrowser.open(f"file://{file.name}")
        time.sleep(OPENING_SECONDS)


async def _serve(app: Any, listening: socket.socket, live: Live, ready: Callable[[], None]) -> None:
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        h11_max_incomplete_event_size=32 << 10,
    )
    server = Server(config, ready, live.close)
    watching = asyncio.create_task(live.run())
    try:
        await server.serve(sockets=[listening])
    finally:
        live.close()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
