"""What every request passes before a page or the API sees it.

The checks, in this order: the Host header (DNS rebinding), who asks (a session or a bearer token),
the size and speed of the body, and for changes: read-only mode, the Origin, and the token of the
form. Every answer gets headers that forbid inline code, framing and referrers.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import BadRequest, is_for_programs, refuse
from .sessions import Session, Sessions

log = logging.getLogger("queuectl.web")

MAX_BODY = 4 << 20
"""Bytes of a request's body, at most."""

MAX_SIGN_IN = 8 << 10
"""The same for somebody who is not signed in."""

BODY_SECONDS = 20.0
"""How long a body may take to arrive."""

MAX_HEADERS = 32 << 10
"""Bytes of all headers, at most."""

MAX_URL = 8192
"""Bytes of a path with its query, at most."""

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods that change nothing."""

STATIC = "/static/"
PUBLIC = ("/healthz", "/readyz", "/login")
"""What can be asked for without signing in, beside static files."""

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


HOST = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z_.-]+)(?::(\d{1,5})?)?", re.ASCII)
"""A Host header in lower case: a name or an address, and a port."""


class Hosts:
    """The names by which this server may be asked for."""

    def __init__(self, address: str, extra: Iterable[str] = ()) -> None:
        """``address``: what it listens on. ``extra``: names of a proxy in front, with or without a
        port."""
        self._any_address = _is_address(address) and ipaddress.ip_address(address).is_unspecified
        self._names = {"localhost", "127.0.0.1", "::1"}
        self._names |= {_name_of(name) or name.lower().strip("[]") for name in (address, *extra)}

    def knows(self, header: str | None) -> bool:
        """Whether a Host header names this server. If somebody else's name resolved to our address,
        a browser would take a foreign page for one of ours (DNS rebinding). An address cannot be
        rebound, so any is good if we listen on all."""
        name = "" if header is None else _name_of(header)
        return name in self._names or (self._any_address and _is_address(name))


def _name_of(header: str) -> str:
    """The name or address in a Host header, without brackets; empty if it is none."""
    found = HOST.fullmatch(header.lower())
    if found is None or not 0 < int(found[2] or "1") < 65536:
        return ""
    return found[1].strip("[]")


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

        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith(STATIC):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            try:
                receive = await self._check(scope, receive)
            except BadRequest as problem:
                response: Response = refuse(scope, problem)
                await response(scope, receive, guarded)
                return
            await self.app(scope, receive, guarded)
        except Exception:
            # The application has answered its own faults. This is one of the checks, or of a page
            # for an error.
            if started:
                raise
            log.exception("internal error")
            plain = PlainTextResponse("internal error\n", 500, {"connection": "close"})
            await plain(scope, receive, guarded)

    async def _check(self, scope: Scope, receive: Receive) -> Receive:
        headers = Headers(scope=scope)
        state: dict[str, Any] = scope.setdefault("state", {})
        state |= {"session": None, "bearer": False, "read_only": self.read_only}
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS:
            raise BadRequest(431, "the headers are too long", "delete old cookies of this host")
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.hosts.knows(hosts[0]):
            raise BadRequest(403, "the Host header does not name this server", "use its own link")
        if not scope["path"].startswith("/"):
            raise BadRequest(400, "the request names no path", "begin it with /")
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL:
            raise BadRequest(414, "the address is too long", "shorten the filter")
        state["session"] = self._session(headers)
        state["bearer"] = self._bearer(headers)
        path: str = scope["path"]
        known = state["session"] is not None or state["bearer"]
        if not known and path not in PUBLIC and not path.startswith(STATIC):
            program = is_for_programs(path)
            hint = "send Authorization: Bearer TOKEN" if program else "use the link or the token"
            raise BadRequest(401, "not signed in", hint)
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
        origins = headers.getlist("origin")
        if origins or not state["bearer"]:
            self._check_origin(origins, host, headers.get("x-forwarded-proto", ""))
        known = state["session"] is not None or state["bearer"]
        body = await self._body(headers, receive, MAX_BODY if known else MAX_SIGN_IN)
        content = headers.get("content-type", "").split(";")[0].strip().lower()
        state["body"], state["content"] = body, content
        state["form"] = _form(body) if content == "application/x-www-form-urlencoded" else []
        if not state["bearer"] and not signing_in:
            session: Session = state["session"]
            given = headers.get("x-csrf-token") or dict(state["form"]).get("csrf", "")
            if not hmac.compare_digest(given.encode(), session.csrf.encode()):
                raise BadRequest(403, "the form is not from this session", "load the page again")
        return receive

    def _check_origin(self, origins: list[str], host: str, proxied: str) -> None:
        """A change must come from a page of ours. Browsers send the Origin with every POST.
        ``proxied``: the scheme that a proxy in front says it was asked with."""
        if not origins:
            raise BadRequest(403, "the Origin header is missing", "use the dashboard's own pages")
        schemes = (proxied,) if proxied in ("http", "https") else ("http", "https")
        ours = {f"{scheme}://{host}".lower() for scheme in schemes}
        if len(origins) != 1 or origins[0].lower() not in ours:
            raise BadRequest(403, "the request is from another site", "use the dashboard's pages")

    def _session(self, headers: Headers) -> Session | None:
        # Other servers on this host may set cookies that Python's own parser chokes on, and even
        # one of the same name for a longer path. It is then sent first.
        for pair in ";".join(headers.getlist("cookie")).split(";"):
            name, _, value = pair.strip().partition("=")
            if name == self.cookie and (found := self.sessions.find(value.strip('"'))):
                return found
        return None

    def _bearer(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.sessions.is_bearer(token.strip())

    async def _body(self, headers: Headers, receive: Receive, most: int) -> bytes:
        too_long = BadRequest(413, f"the body is longer than {most} bytes", "send it in parts")
        length = headers.get("content-length", "0")
        if len(length) > 19 or (length.isascii() and length.isdigit() and int(length) > most):
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
                    if size > most:
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
