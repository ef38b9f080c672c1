"""Bringing a store file up to this version's schema: numbered files, forward only.

All steps run in one ``BEGIN IMMEDIATE``: processes that open a new file together wait for
one another, and a step that fails leaves nothing behind. ``PRAGMA user_version`` counts the
steps done and is part of the transaction.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ...domain.errors import StoreForeign, StoreTooNew
from ...domain.text import clean_line
from .connection import APPLICATION_ID

FOLDER = Path(__file__).parent / "migrations"


def version(conn: sqlite3.Connection) -> int:
    """How many migrations the file has seen; 0 for a new one."""
    return int(conn.execute("PRAGMA user_version").fetchone()[0])


def steps() -> list[tuple[int, Path]]:
    """(number, file) of every migration, in order; numbers run 1, 2, 3 …"""
    return [(int(path.name[:4]), path) for path in sorted(FOLDER.glob("[0-9]*.sql"))]


LATEST = 2
"""The schema this code works with: the number of the last migration (a test holds it to
that). Known without listing the folder, so that opening a current store stays quick."""


def check(conn: sqlite3.Connection, path: Path) -> bool:
    """Whether the file must be migrated. Raises StoreTooNew, or StoreForeign if not ours."""
    found = version(conn)
    if found > LATEST:
        raise StoreTooNew(
            f"store {path} has schema {found}, this queuectl knows up to {LATEST}",
            "upgrade queuectl",
        )
    if found and conn.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise _not_ours(path)
    if not found and conn.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise _not_ours(path)
    return found < LATEST


def odd_object(conn: sqlite3.Connection) -> str | None:
    """What in the schema is not as we made it: a trigger of somebody else would run with our
    changes. None: everything is as in every store of its version."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        _run_steps(made, 0, version(conn))
        wanted = _objects(made)
    found = _objects(conn)
    for (kind, name), text in found.items():
        if (kind, name) not in wanted:
            return f"{kind} {clean_line(name, 60)} is not queuectl's"
        if text != wanted[kind, name]:
            return f"{kind} {name} is not as queuectl makes it"
    missing = wanted.keys() - found.keys()
    return "{} {} is missing".format(*min(missing)) if missing else None


def _objects(conn: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Type and name of all there is -> the table it belongs to, and how it was made."""
    found = {}
    for kind, name, table, sql in conn.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master"
    ):
        if not name.startswith("sqlite_stat"):  # what ANALYZE makes
            plain = " ".join(re.sub("--[^\n]*", "", sql or "").split())
            found[str(kind), str(name)] = f"{table}: {plain}"
    return found


def _not_ours(path: Path) -> StoreForeign:
    return StoreForeign(f"{path} is a database of some other program", "give another --store")


def migrate(conn: sqlite3.Connection, path: Path) -> None:
    """Run what is missing. Call inside ``BEGIN IMMEDIATE``."""
    if not check(conn, path):
        return  # another process was quicker
    _run_steps(conn, version(conn), LATEST)
    conn.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")


def _run_steps(conn: sqlite3.Connection, done: int, last: int) -> None:
    for number, script in steps():
        if done < number <= last:
            for statement in statements(script.read_text("utf-8")):
                conn.execute(statement)
            conn.execute(f"PRAGMA user_version = {number:d}")


def statements(script: str) -> Iterator[str]:
    """The statements of a script. ``executescript`` would commit what is open first."""
    buffer = ""
    for line in script.splitlines(keepends=True):
        buffer += line
        if sqlite3.complete_statement(buffer):
            yield buffer
            buffer = ""
    if any(not line.lstrip().startswith("--") for line in buffer.splitlines() if line.strip()):
        yield buffer
