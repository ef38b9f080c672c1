"""Bringing a database up to this version's schema by numbered files. There is no way back.

All steps run in one transaction under an advisory lock. So processes that open a new database
together wait for each other, and a failed step changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import asyncpg

from ...domain.errors import StoreError, StoreForeign, StoreTooNew, StoreUnreachable
from ...system.clocks import monotonic
from .connections import Connections
from .errors import CommitUnknown
from .session import Session

FOLDER = Path(__file__).parent / "migrations"
LATEST = 4
"""The schema of this code: the number of the last migration, which a test checks."""
OLDEST_SERVER = 130000
"""PostgreSQL 13, the first version with ``pg_current_xact_id_if_assigned``."""
TURN = 0x7175657565
"""The advisory lock, 'queue'. All schemas of a database share it. It is held only for a moment."""


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """Facts about an open store."""

    store: str
    """Identifies the store. It never changes."""
    database: str
    mark: str | None
    """Set while another store is being copied into it."""


async def open_database(connections: Connections, *, create: bool) -> DatabaseInfo:
    """Look at the database, and migrate it if needed. ``create`` False: do not create tables.

    Raises StoreTooNew, StoreForeign if the tables are not ours, and StoreUnreachable if they do not
    exist and must not be created.
    """
    found = await connections.read(_look)
    if found is None or found[0] < LATEST:
        if found is None and not create:
            raise StoreUnreachable(
                f"store {connections.shown} is not there yet", "enqueue a job first"
            )
        await _migrate(connections)
        found = await connections.read(_look)
    if found is None:
        raise StoreError(
            f"store {connections.shown}: the connection does not see its schema",
            "connect to the server directly, and look at its log",
        )
    version, known = found
    if version > LATEST:
        raise too_new(connections.shown, version)
    return known


def too_new(shown: str, version: int) -> StoreTooNew:
    """The error for a database that a newer queuectl has migrated."""
    return StoreTooNew(
        f"store {shown} has schema {version}, this queuectl knows up to {LATEST}",
        "upgrade queuectl",
    )


async def _look(session: Session) -> tuple[int, DatabaseInfo] | None:
    """The version of the schema, and facts about the store; None if there is none yet."""
    asked = monotonic()
    try:
        row = await session.row("opened")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None
    session.clock.read(row["clock"], asked, monotonic())
    return row["version"], DatabaseInfo(row["store"], row["database"], row["mark"])


async def _migrate(connections: Connections) -> None:
    """Run the missing steps."""
    patient = Connections(connections.dsn, patient=True)  # not read-only, whatever the caller has
    try:
        await patient.write(_steps, patient)
    except CommitUnknown:
        await patient.write(_steps, patient)  # finished steps are skipped
    finally:
        await patient.close()


async def _steps(session: Session, connections: Connections) -> None:
    schema = connections.dsn.schema
    await session.value("migration_turn", key=TURN)
    place = await session.row("place", schema=schema)
    if place["server"] < OLDEST_SERVER:
        raise StoreUnreachable(
            f"the server of store {connections.shown} is too old", "use PostgreSQL 13 or newer"
        )
    if place["encoding"] != "UTF8":
        raise StoreUnreachable(
            f"the database of store {connections.shown} is in {place['encoding']}",
            "create one with: ENCODING 'UTF8' TEMPLATE template0",
        )
    if not place["made"]:
        await session.raw.execute(await session.value("schema_statement", schema=schema))
    elif place["schema"] is None:  # it exists, but this user cannot see it
        raise StoreUnreachable(
            f"store {connections.shown}: permission denied for schema {schema}",
            "grant this user its rights on the schema and its tables",
        )
    elif place["jobs"] and not place["ours"]:
        raise StoreForeign(
            f"schema {schema} of store {connections.shown} holds tables of some other program",
            "name another in the URL: ?schema=NAME",
        )
    done = await session.value("version") if place["ours"] else 0
    if done > LATEST:
        raise too_new(connections.shown, done)
    for number, script in steps():
        if number > done:
            await session.raw.execute(script.read_text("utf-8"))
            await session.execute("version_is", version=number)


def steps() -> list[tuple[int, Path]]:
    """(number, file) of every migration, in order; numbers run 1, 2, 3 …"""
    return [(int(path.name[:4]), path) for path in sorted(FOLDER.glob("[0-9]*.sql"))]
