"""A real ``queuectl dashboard``, asked with bytes on a socket: a client library is too polite."""

from __future__ import annotations

import html
import json
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlencode

from ..support import PATIENCE, Cli

TOKEN = "a-token-that-nobody-guesses-0123456789"

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for header, value in self.headers if header.lower() == name]

    def __getitem__(self, name: str) -> str:
        """A header; empty if it is missing."""
        return ", ".join(self.all(name))

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        assert self["content-type"].split(";")[0] in ("application/json", PROBLEM), self
        return json.loads(self.body)


PROBLEM = "application/problem+json"


def read_answer(sock: socket.socket, method: str = "GET") -> Answer:
    """The next answer on a socket."""
    response = HTTPResponse(sock, method=method)
    response.begin()
    return Answer(response.status, response.getheaders(), response.read())


@dataclass(slots=True)
class Browser:
    """One browser: its cookie, and the token of its forms."""

    site: Dashboard
    cookie: str = ""
    csrf: str = ""

    def ask(self, method: str, target: str, body: bytes = b"", headers: Headers = ()) -> Answer:
        """Send a request as this browser."""
        own = [("Cookie", self.cookie)] if self.cookie else []
        return self.site.ask(method, target, body, [*own, *headers])

    def get(self, target: str, headers: Headers = ()) -> Answer:
        """Load a page."""
        return self.ask("GET", target, headers=headers)

    def post(
        self, target: str, form: Sequence[tuple[str, str]] = (), headers: Headers | None = None
    ) -> Answer:
        """Send a form of ours. ``headers``: instead of the Origin."""
        body = urlencode([("csrf", self.csrf), *form]).encode()
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        origin = [("Origin", self.site.base)] if headers is None else headers
        return self.ask("POST", target, body, [kind, *origin])

    def follow(self, answer: Answer) -> Answer:
        """The page that a form leads to."""
        assert answer.status == 303, answer
        return self.get(answer["location"])

    def api(self, method: str, path: str, body: Any = None, headers: Headers = ()) -> Answer:
        """Ask the API as a page's script would."""
        text = b"" if body is None else json.dumps(body).encode()
        given = [("Content-Type", "application/json"), ("Origin", self.site.base)]
        given += [("X-CSRF-Token", self.csrf)]
        return self.ask(method, f"/api/v1{path}", text, [*given, *headers])


@dataclass(slots=True)
class Dashboard:
    """A dashboard that is served."""

    cli: Cli
    process: subprocess.Popen[str]
    port: int
    link: str
    """The path of the link that was printed, with its token."""
    address: str = "127.0.0.1"
    said: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, cli: Cli, *options: str, listen: str = "127.0.0.1:0") -> Dashboard:
        """Serve the store of ``cli`` on a free port."""
        process = cli.start("dashboard", "--listen", listen, *options)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://[^/]+:(\d+)(\S*)", line)
        assert found, process.communicate()
        return cls(cli, process, int(found[1]), found[2], said=[line])

    @property
    def base(self) -> str:
        """The origin of its pages."""
        return f"http://{self.host}"

    @property
    def host(self) -> str:
        """The Host header that a browser sends."""
        return f"{self.address}:{self.port}"

    @contextmanager
    def connect(self, timeout: float = PATIENCE) -> Iterator[socket.socket]:
        """A connection."""
        with socket.create_connection((self.address, self.port), timeout) as sock:
            yield sock

    def raw(self, data: bytes, method: str = "GET") -> Answer:
        """Send exactly these bytes."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_answer(sock, method)

    def ask(self, method: str, target: str, body: bytes = b"", headers: Headers = ()) -> Answer:
        """Send a request, with a Host header unless ``headers`` have one."""
        lines = [f"{method} {target} HTTP/1.1", "Connection: close"]
        if not any(name == "Host" for name, _ in headers):
            lines.append(f"Host: {self.host}")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in headers]
        return self.raw("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body, method)

    def new_link(self) -> str:
        """The path of the link that is printed when the one before was used."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.said.append(line)
        self.link = re.search(r"http://[^/]+(\S+)", line)[1]
        return self.link

    def sign_in(self, token: str | None = None) -> Browser:
        """A new browser, signed in with the link or a token."""
        once = self.link.partition("token=")[2]
        browser = Browser(self)
        answer = browser.post("/login", [("token", token or once)])
        assert answer.status == 303, answer
        browser.cookie = answer["set-cookie"].split(";")[0]
        browser.csrf = csrf_in(browser.get("/settings").text)
        if token is None:
            self.new_link()
        return browser

    def stop(self) -> tuple[int, str, str]:
        """End it: (exit code, what it printed since, what it said on standard error)."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


def csrf_in(page: str) -> str:
    """The token in the forms of a page."""
    return fields_in(page)["csrf"]


def fields_in(page: str) -> dict[str, str]:
    """The hidden fields of the forms of a page."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page)
    return {name: html.unescape(value) for name, value in found}
