"""From what a user writes after ``--store`` to an open store."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from ..domain.errors import InvalidInput, StoreUnreachable
from ..domain.text import clean_line
from .protocol import Store

MISSPELT = r"(?sa)(?:[\w+.-]*:/?|[\w+.-]*//)?[^/]*:[^@]*@|.*[?&](?:ssl)?password="
"""A URL with a password whose scheme is misspelt, as in ``postgres//me:secret@host`` or
``postgresq:/me:secret@host``. Taken for a path it would be shown, with the password."""


def data_directory(env: Mapping[str, str]) -> Path:
    """The user's data directory for queuectl: XDG on Linux, Library on macOS."""
    home = Path(env.get("HOME") or os.path.expanduser("~"))
    if not home.is_absolute():  # neither HOME nor an entry in the list of users
        raise InvalidInput("your home directory is not known", "set HOME, or give --store")
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "queuectl"
    base = env.get("XDG_DATA_HOME", "")
    return Path(base if base.startswith("/") else home / ".local" / "share") / "queuectl"


def needs_loop(url: str | None, env: Mapping[str, str]) -> bool:
    """Whether the store ``url`` names can only be used under an event loop.

    SQLite can do without: see :mod:`queuectl_core.system.run_sync`.
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
) -> Store:
    """Open the store ``url`` names: a path, ``sqlite:///PATH``, ``postgresql://…``, or None for
    the default.

    The default is ``QUEUECTL_STORE``, or else queue.db in the user's data directory, which
    is created. ``create`` False, or ``read_only``: a store that is not there is not made, but
    unreachable; with ``absent_ok``, the default store is then an empty one.
    ``marked``: also a store that is half a copy, which is a Conflict else.
    Raises InvalidInput for a URL we do not know, StoreError when it cannot be
    opened.
    """
    url = chosen(url, env)
    if url is not None and on_server(url):
        create = create and not read_only
        return await _open_postgres(url, env, read_only=read_only, create=create, marked=marked)
    from .sqlite.store import SqliteStore, absent_store

    if url is None:
        path = data_directory(env) / "queue.db"
        if absent_ok and (read_only or not create) and not os.path.lexists(path):
            return await absent_store(path)
        return await SqliteStore.open(
            path, create_parent=create, create=create, read_only=read_only, marked=marked
        )
    path = Path(sqlite_path(url))
    return await SqliteStore.open(path, create=create, read_only=read_only, marked=marked)


def chosen(url: str | None, env: Mapping[str, str]) -> str | None:
    """The store that is asked for, or set in the environment; None: the default."""
    if url is not None:
        return url
    # The last two are what other implementations call it.
    named = env.get("QUEUECTL_STORE") or env.get("QUEUECTL_DB") or env.get("QUEUECTL_DB_PATH")
    return named or None


def on_server(url: str) -> bool:
    """Whether a URL names a PostgreSQL database."""
    return url.startswith(("postgresql://", "postgres://"))


async def _open_postgres(
    url: str, env: Mapping[str, str], *, read_only: bool, create: bool, marked: bool
) -> Store:
    try:
        from .postgres.store import PostgresStore
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise StoreUnreachable(
            "the driver for PostgreSQL is not installed",
            "in the clone, in the environment queuectl is in: pip install '.[postgres]'",
        ) from None
    from .postgres.dsn import parse

    data = data_directory(env)
    return await PostgresStore.open(
        parse(url), data, read_only=read_only, create=create, marked=marked
    )


def sqlite_path(url: str) -> str:
    """The file an SQLite URL or a path names. InvalidInput for other URLs."""
    if not url or "\0" in url:
        raise InvalidInput("the store is an empty path", "give a file or a PostgreSQL URL")
    if "://" not in url and re.match(MISSPELT, url):
        raise InvalidInput(
            "the store looks like a URL, but its scheme is not known",
            "give postgresql://…, sqlite:///PATH, or for a file of that name ./NAME",
        )
    scheme, separator, rest = url.partition("://")
    # Half a URL is no path: as one it would be shown in full, with the password in it.
    if not separator and not url.startswith(("postgres:", "postgresql:")):
        return os.path.expanduser(url)
    if scheme == "sqlite" and rest.startswith("/"):
        return rest[1:] if rest.startswith("//") else rest
    scheme = scheme.partition(":")[0]
    raise InvalidInput(
        f"store '{clean_line(scheme, 20)}://…' is not supported",
        "give a path, sqlite:///PATH or postgresql://…",
    )
