"""Opening the store that a user names with ``--store``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..domain.errors import InvalidInput, StoreUnreachable
from ..domain.text import clean_line

if TYPE_CHECKING:
    from .protocol import Store

MISSPELT = r"(?sa)(?:[\w+.-]*:/?|[\w+.-]*//)?[^/]*:[^@]*@|.*[?&](?:ssl)?password="
"""A URL with a password and a misspelt scheme, as in ``postgres//me:secret@host`` or
``postgresq:/me:secret@host``. As a path it would be shown, with the password."""


def data_directory(env: Mapping[str, str]) -> str:
    """The user's data directory for queuectl: XDG on Linux, Library on macOS."""
    home = env.get("HOME") or os.path.expanduser("~")
    if not home.startswith("/"):  # there is neither HOME nor an entry in the user database
        raise InvalidInput("your home directory is not known", "set HOME, or give --store")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Application Support", "queuectl")
    base = env.get("XDG_DATA_HOME", "")
    if not base.startswith("/"):
        base = os.path.join(home, ".local", "share")
    return os.path.join(base, "queuectl")


def needs_loop(url: str | None, env: Mapping[str, str]) -> bool:
    """Whether the store that ``url`` names needs an event loop.

    SQLite does not need one: see :mod:`queuectl_core.system.run_sync`.
    """
    named = chosen(url, env)
    return named is not None and on_server(named)


async def open_store(
    url: str | None,
    env: Mapping[str, str],
    *,
    read_only: bool = False,
    create: bool = True,
    marked: bool = False,
    absent_ok: bool = False,
    via: str = "python",
) -> Store:
    """Open the store that ``url`` names: a path, ``sqlite:///PATH``, ``postgresql://…``, or None
    for the default.

    The default is ``QUEUECTL_STORE``, or queue.db in the user's data directory, which is created.
    ``create`` False, or ``read_only``: StoreUnreachable if the store does not exist. ``absent_ok``:
    if the default store does not exist, open an empty one. ``marked``: also open an unfinished
    copy, which is a Conflict otherwise. ``via``: the front end, in the events that it writes.
    Raises InvalidInput for an unknown kind of URL, and StoreError if the store cannot be opened.
    """
    from .signature import Signature

    url = chosen(url, env)
    how: dict[str, Any] = {"read_only": read_only, "marked": marked}
    how["signature"] = Signature(via, env)
    if url is not None and on_server(url):
        create = create and not read_only
        return await _open_postgres(url, env, create=create, **how)
    from .sqlite.store import SqliteStore, absent_store

    if url is None:
        path = os.path.join(data_directory(env), "queue.db")
        if absent_ok and (read_only or not create) and not os.path.lexists(path):
            return await absent_store(path)
        return await SqliteStore.open(path, create_parent=create, create=create, **how)
    path = sqlite_path(url)
    return await SqliteStore.open(path, create=create, **how)


def chosen(url: str | None, env: Mapping[str, str]) -> str | None:
    """The store that is given, or named in the environment; None: the default."""
    if url is not None:
        return url
    # Other implementations of queuectl use the last two names.
    named = env.get("QUEUECTL_STORE") or env.get("QUEUECTL_DB") or env.get("QUEUECTL_DB_PATH")
    return named or None


def on_server(url: str) -> bool:
    """Whether a URL names a PostgreSQL database."""
    return url.startswith(("postgresql://", "postgres://"))


async def _open_postgres(url: str, env: Mapping[str, str], *, create: bool, **how: Any) -> Store:
    try:
        from .postgres.store import PostgresStore
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise StoreUnreachable(
            "the driver for PostgreSQL is not installed",
            "in the clone, in the environment queuectl is in: pip install '.[postgres]'",
        ) from None
    from pathlib import Path

    from .postgres.dsn import parse

    data = Path(data_directory(env))
    return await PostgresStore.open(parse(url), data, create=create, **how)


def sqlite_path(url: str) -> str:
    """The file that an SQLite URL or a path names. InvalidInput for other URLs."""
    if not url or "\0" in url:
        raise InvalidInput("the store is an empty path", "give a file or a PostgreSQL URL")
    if "://" not in url and re.match(MISSPELT, url):
        raise InvalidInput(
            "the store looks like a URL, but its scheme is not known",
            "give postgresql://…, sqlite:///PATH, or for a file of that name ./NAME",
        )
    scheme, separator, rest = url.partition("://")
    # An incomplete URL must not be used as a path: it would be shown in full, with its password.
    if not separator and not url.startswith(("postgres:", "postgresql:")):
        return os.path.expanduser(url)
    if scheme == "sqlite" and rest.startswith("/"):
        return rest[1:] if rest.startswith("//") else rest
    scheme = scheme.partition(":")[0]
    raise InvalidInput(
        f"store '{clean_line(scheme, 20)}://…' is not supported",
        "give a path, sqlite:///PATH or postgresql://…",
    )
