"""What every request passes before a page or the API sees it.

The checks, in this order: the Host header (DNS rebinding), who asks (a session or a bearer token),
the size and speed of the body, and for changes: read-only mode, the Origin, and the token of the
form. Every answer gets headers that forbid inline code, framing and referrers.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import BadRequest, refuse
from .sessions import Session, Sessions

MAX_BODY = 4 << 20
"""Bytes of a request's body, at most."""

BODY_SECONDS = 20.0
"""How long a body may take to arrive."""

MAX_URL = 8192
"""Bytes of a path with its query, at most."""

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods that change nothing."""

PUBLIC = ("/healthz", "/readyz", "/login", "/static/")
"""What can be asked for without signing in."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With no-referrer, browsers send "Origin: null" with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "interest-cohort=(), camera=(), microphone=(), geolocation=()",
}


class Hosts:
    """The names by which this server may be asked for."""

    def __init__(self, address: str, extra: Iterable[str] = ()) -> None:
        """``address``: what it listens on. ``extra``: names of a proxy in front, with or without a
        port."""
        self._names = {"localhost", "127.0.0.1", "::1", *map(str.lower, extra)}
        if address not in ("", "0.0.0.0", "::"):  # noqa: S104 # compared, not listened on
            self._names.add(address.lower())
        self._any_address = address in ("", "0.0.0.0", "::")  # noqa: S104

    def knows(self, header: str | None) -> bool:
        """Whether a Host header names this server. A name of somebody else's, which resolves to our
        address, would make a foreign page of the same origin as ours (DNS rebinding). An address
        cannot be rebound, so any is good if we listen on all."""
        if header is None:
            return False
        try:
            parts = urlsplit(f"//{header}")
            name, port = parts.hostname, parts.port
        except ValueError:
            return False
        if not name or parts.username is not None or parts.path or parts.query or parts.fragment:
            return False
        if port is not None and not 0 < port < 65536:
            return False
        return name in self._names or (self._any_address and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to an address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def cookie_name(port: int) -> str:
    """Cookies do not belong to a port, so the name does."""
    return f"queuectl-{port}"


class Guard:
    """The outermost application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        sessions: Sessions,
        hosts: Hosts,
        cookie: str,
        read_only: bool,
    ) -> None:
        self.app = app
        self.sessions = sessions
        self.hosts = hosts
        self.cookie = cookie
        self.read_only = read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            receive = await self._check(scope, receive)
        except BadRequest as problem:
            response: Response = refuse(scope, problem)
            await response(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)

    async def _check(self, scope: Scope, receive: Receive) -> Receive:
        headers = Headers(scope=scope)
        state: dict[str, Any] = scope.setdefault("state", {})
        state |= {"session": None, "bearer": False, "read_only": self.read_only}
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.hosts.knows(hosts[0]):
            raise BadRequest(403, "the Host header does not name this server", "use its own link")
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL:
            raise BadRequest(414, "the address is too long", "shorten the filter")
        state["session"] = self._session(headers)
        state["bearer"] = self._bearer(headers)
        path: str = scope["path"]
        known = state["session"] is not None or state["bearer"]
        if not known and not any(path == one or path.startswith("/static/") for one in PUBLIC):
            raise BadRequest(401, "not signed in", "use the link that queuectl dashboard prints")
        if scope["method"] in SAFE:
            return receive
        return await self._check_change(scope, headers, receive, hosts[0])

    async def _check_change(
        self, scope: Scope, headers: Headers, receive: Receive, host: str
    ) -> Receive:
        state = scope["state"]
        signing_in = scope["path"] == "/login"
        if self.read_only and scope["path"] not in ("/login", "/logout"):
            raise BadRequest(403, "this dashboard is read-only", "start it without --read-only")
        origin = headers.get("origin")
        if origin is not None or not state["bearer"]:
            self._check_origin(origin, host)
        body = await self._body(headers, receive)
        content = headers.get("content-type", "").split(";")[0].strip().lower()
        state["body"], state["content"] = body, content
        state["form"] = _form(body) if content == "application/x-www-form-urlencoded" else []
        if not state["bearer"] and not signing_in:
            session: Session = state["session"]
            given = headers.get("x-csrf-token") or dict(state["form"]).get("csrf", "")
            if not hmac.compare_digest(given.encode(), session.csrf.encode()):
                raise BadRequest(403, "the form is not from this session", "load the page again")

        async def nothing_more() -> Message:
            return await receive()

        return nothing_more

    def _check_origin(self, origin: str | None, host: str) -> None:
        """A change must come from a page of ours. Browsers send the Origin with every POST."""
        if origin is None:
            raise BadRequest(403, "the Origin header is missing", "use the dashboard's own pages")
        try:
            parts = urlsplit(origin)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or parts.netloc.lower() != host.lower():
            raise BadRequest(403, "the request is from another site", "use the dashboard's pages")

    def _session(self, headers: Headers) -> Session | None:
        jar: SimpleCookie = SimpleCookie()
        try:
            jar.load(headers.get("cookie", ""))
        except CookieError:
            return None
        found = jar.get(self.cookie)
        return None if found is None else self.sessions.find(found.value)

    def _bearer(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.sessions.is_bearer(token.strip())

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        too_long = BadRequest(413, f"the body is longer than {MAX_BODY} bytes", "send it in parts")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > MAX_BODY:
            raise too_long
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise BadRequest(400, "the connection was closed", "try again")
                    size += len(message.get("body", b""))
                    if size > MAX_BODY:
                        raise too_long
                    parts.append(message.get("body", b""))
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise BadRequest(408, "the body did not arrive in time", "try again") from None


def _form(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=20_000)
    except ValueError:
        raise BadRequest(400, "the form cannot be read", "load the page again") from None
