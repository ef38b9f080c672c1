"""Bringing a store file up to this version's schema by numbered files. There is no way back.

All steps run in one ``BEGIN IMMEDIATE`` transaction. So processes that open a new file together
wait for each other, and a failed step changes nothing. ``PRAGMA user_version`` is the number of
finished steps. It is part of the transaction.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from ...domain.errors import StoreForeign, StoreTooNew
from ...domain.text import clean_line
from .connection import APPLICATION_ID
from .errors import FileName

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = os.path.join(os.path.dirname(__file__), "migrations")


def version(conn: sqlite3.Connection) -> int:
    """The number of the last migration that the file had; 0 for a new file."""
    return int(conn.execute("PRAGMA user_version").fetchone()[0])


def steps() -> list[tuple[int, Path]]:
    """(number, file) of every migration, in order; numbers run 1, 2, 3 …"""
    from pathlib import Path

    return [(int(path.name[:4]), path) for path in sorted(Path(FOLDER).glob("[0-9]*.sql"))]


LATEST = 4
"""The schema of this code: the number of the last migration, which a test checks. As a constant it
needs no listing of the folder, so opening a current store is fast."""


def check(conn: sqlite3.Connection, path: FileName) -> bool:
    """Whether the file must be migrated. Raises StoreTooNew, or StoreForeign if it is not ours."""
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
    """An object of the schema that is not as we made it; None: there is none. Somebody else's
    trigger would run with our changes."""
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
    """For each object, by type and name: its table, and the SQL that made it."""
    found = {}
    for kind, name, table, sql in conn.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master"
    ):
        if not name.startswith("sqlite_stat"):  # what ANALYZE makes
            plain = " ".join(re.sub("--[^\n]*", "", sql or "").split())
            found[str(kind), str(name)] = f"{table}: {plain}"
    return found


def _not_ours(path: FileName) -> StoreForeign:
    return StoreForeign(f"{path} is a database of some other program", "give another --store")


def migrate(conn: sqlite3.Connection, path: FileName) -> None:
    """Run the missing steps. Call it inside ``BEGIN IMMEDIATE``."""
    if not check(conn, path):
        return  # another process was faster
    _run_steps(conn, version(conn), LATEST)
    conn.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")


def _run_steps(conn: sqlite3.Connection, done: int, last: int) -> None:
    for number, script in steps():
        if done < number <= last:
            for statement in statements(script.read_text("utf-8")):
                conn.execute(statement)
            if number == ADMISSION:
                _change_checks(conn)
            conn.execute(f"PRAGMA user_version = {number:d}")


ADMISSION = 3
"""The migration that lets jobs be in state ``waiting``."""
CHECKS = (
    ("'dead', 'cancelled')", "'dead', 'cancelled', 'waiting')"),
    ("CHECK (ready IN (0, 1))", "CHECK (ready IN (0, 1, 2))"),
    ("DEFAULT 'end'", "DEFAULT 'end' CHECK (unique_until IN ('start', 'end'))"),
    (
        "unique_for REAL NOT NULL DEFAULT 0",
        "unique_for REAL NOT NULL DEFAULT 0 CHECK (unique_for >= 0)",
    ),
    (
        "unique_holds INTEGER NOT NULL DEFAULT 0",
        "unique_holds INTEGER NOT NULL DEFAULT 0 CHECK (unique_holds IN (0, 1))",
    ),
    ("DEFAULT 'cancel'", "DEFAULT 'cancel' CHECK (on_parent_failure IN ('cancel', 'hold'))"),
)
"""What is replaced in the text of the table of jobs. All rows that are there meet the new ones."""


def _change_checks(conn: sqlite3.Connection) -> None:
    """Change CHECK constraints of ``jobs`` so that they allow more, and add those of new columns.

    SQLite cannot alter a constraint, and for a new one it reads all rows. This is the way of
    sqlite.org/lang_altertable.html for changes that do not affect stored rows. Making the table
    anew would take time that grows with its size.
    """
    [(sql,)] = conn.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'jobs'")
    for old, new in CHECKS:
        if sql.count(old) != 1:
            raise sqlite3.DatabaseError("the table of jobs is not as queuectl made it")
        sql = sql.replace(old, new)
    [(schema,)] = conn.execute("PRAGMA schema_version")
    conn.execute("PRAGMA writable_schema = ON")
    try:
        conn.execute(
            "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = 'jobs'", (sql,)
        )
    finally:
        conn.execute("PRAGMA writable_schema = OFF")
    conn.execute(f"PRAGMA schema_version = {schema + 1:d}")  # others must read it again


def statements(script: str) -> Iterator[str]:
    """The statements of a script. ``executescript`` would first commit the open transaction."""
    buffer = ""
    for line in script.splitlines(keepends=True):
        buffer += line
        if sqlite3.complete_statement(buffer):
            yield buffer
            buffer = ""
    if any(not line.lstrip().startswith("--") for line in buffer.splitlines() if line.strip()):
        yield buffer
