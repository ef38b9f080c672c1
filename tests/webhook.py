"""A small HTTP server for tests: it keeps what it gets, and answers as the path says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Got(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    content: bytes


class Receiver:
    """A running server. ``/503/x`` is answered with 503. ``answer``: what each response says. After
    that ``/200/open`` leaves the connection open."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answer = b"thanks\n"
        self.released = threading.Event()
        """``/hang`` is answered when this is set."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append(Got(self.path, headers, content))
                word = self.path.split("/")[1]
                if word == "hang":
                    receiver.released.wait(60)
                elif word == "noise":
                    self.wfile.write(b"\x00\xff not HTTP\r\n\r\n")
                    return
                elif word == "drip":
                    while not receiver.released.wait(0.05):
                        try:
                            self.wfile.write(b"HTTP/1.1 200 OK\r\nx: y\r\n"[:1])
                        except OSError:
                            return
                    return
                self.send_response(int(word) if word.isdigit() else 200, "\x1b[31mwords")
                self.send_header("location", f"{receiver.url}/moved")
                self.end_headers()
                try:
                    self.wfile.write(receiver.answer)
                except OSError:
                    return  # it read enough
                if self.path.endswith("/open"):
                    receiver.released.wait(60)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    try:
        yield made
    finally:
        made.close()
