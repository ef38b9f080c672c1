"""Parsing a PostgreSQL URL: what to connect with, and what may be shown.

URLs are those of libpq: ``postgresql://[user[:password]@][host[:port],…][/db]``, with options after
``?`` (sslmode, host, user, passfile, service …). Missing parts come from PGHOST, PGUSER,
PGPASSWORD, PGPASSFILE, PGSERVICE … We have one more option: ``schema`` is the schema of the store's
tables.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode

from ...domain.errors import InvalidInput
from ...domain.text import clean_line, nearest

SCHEMES = ("postgresql", "postgres")
SCHEMA = "queuectl"
"""Our tables have their own schema, so that their names do not collide with others."""
CONNECT_PATIENCE = 10.0
"""Seconds to wait for a server that does not answer, unless the URL has ``connect_timeout``."""

FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
OPTIONS = frozenset(
    (
        *("host", "port", "dbname", "database", "user", "password", "passfile", "service"),
        *("sslmode", *FILES, "sslpassword"),
        *("sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
        *("target_session_attrs", "krbsrvname", "gsslib", "options", "application_name"),
        *("connect_timeout", "schema"),
    )
)
SHOWN = ("host", "port", "dbname", "service")
HOSTS = re.compile(r"[\w.:,%\[\]-]*", re.ASCII)
"""Hosts and ports, addresses in brackets, and the directory of a socket with %2F."""
PORT = re.compile(r"(?:[^:\[\]]*|\[[^\]]*\])(?::(\d{1,5})?)?", re.ASCII)

_ESCAPE = "write what is special in a name or password as %XX, or set PGPASSWORD"


@dataclass(frozen=True, slots=True)
class Dsn:
    """Where a store is. ``driver_url`` and ``given`` may hold a password. They are never shown."""

    shown: str
    """The URL without a password."""
    schema: str
    patience: float
    """Seconds to wait for a connection."""
    driver_url: str = field(repr=False)
    """The URL for the driver."""
    given: str = field(repr=False)
    """The URL with which another process opens the same store."""

    def unreadable(self) -> str:
        """The first option that names a file that cannot be read, with an explanation; empty if
        there is none. The driver's errors do not name the file."""
        for name, path in parse_qsl(self.driver_url.partition("?")[2]):
            if name in FILES and not os.access(path, os.R_OK):
                return f"{name}: cannot read '{clean_line(path)}'"
        return ""


def parse(url: str) -> Dsn:
    """Parse a URL. InvalidInput, which shows nothing secret, if it cannot be parsed."""
    try:
        url.encode()
    except UnicodeEncodeError:
        raise InvalidInput("the store's URL is not valid UTF-8 text", _ESCAPE) from None
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or any(char in rest for char in " \0\n#"):
        raise _unreadable()
    rest, _, query = rest.partition("?")
    netloc, slash, path = rest.partition("/")
    account, at, hosts = netloc.rpartition("@")
    user, colon, password = account.partition(":")
    # If a password has an unquoted slash or question mark, part of it is in one of these.
    if "@" in path + query or not HOSTS.fullmatch(hosts) or not _ports(hosts):
        raise _unreadable()
    try:
        options = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise _unreadable() from None
    for name, _ in options:
        if name not in OPTIONS:
            raise InvalidInput(
                f"the store's URL has an unknown option '{clean_line(name, 40)}'",
                nearest(name, sorted(OPTIONS)),
            )
    chosen = dict(options)
    schema = chosen.pop("schema", SCHEMA)
    if not 0 < len(schema.encode("utf-8", "replace")) < 64:
        raise InvalidInput("the schema's name is empty or too long", "give up to 63 characters")
    patience = _patience(chosen.pop("connect_timeout", ""))
    if "service" not in chosen and os.environ.get("PGSERVICE"):
        chosen["service"] = os.environ["PGSERVICE"]
    who = _quoted(user) + (colon and ":" + _quoted(password)) + at
    dsn = f"postgresql://{who}{hosts}{slash}{path}"
    shown = f"postgresql://{_quoted(user)}{at}{hosts}{slash}{path}"
    told = {name: text for name, text in chosen.items() if name in SHOWN}
    if schema != SCHEMA:
        told["schema"] = schema
    return Dsn(
        shown + (f"?{urlencode(told, safe='/')}" if told else ""),
        schema,
        patience,
        dsn + (f"?{urlencode(chosen)}" if chosen else ""),
        url,
    )


def _quoted(text: str) -> str:
    """``text``, quoted for a URL. Quoted text stays the same. People often forget to quote an ``@``
    in a password."""
    return quote(unquote(text), safe="")


def _ports(hosts: str) -> bool:
    """Whether every host has a port that is a number, or none."""
    return all(
        (found := PORT.fullmatch(one)) and int(found[1] or 1) in range(1, 65536)
        for one in hosts.split(",")
    )


def _patience(text: str) -> float:
    if not text:
        return CONNECT_PATIENCE
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise InvalidInput("connect_timeout in the store's URL is no number", "give seconds")
    return float(text) or 86_400.0  # 0 is for ever, as in libpq


def _unreadable() -> InvalidInput:
    return InvalidInput("the store's URL cannot be read", _ESCAPE)
