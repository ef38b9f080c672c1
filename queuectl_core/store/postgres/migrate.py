"""Bringing a database up to this version's schema: numbered files, forward only.

All steps run in one transaction under an advisory lock: processes that open a new database
together wait for one another, and a step that fails leaves nothing behind.
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
LATEST = 2
"""The schema this code works with: the number of the last migration (a test holds it to that)."""
OLDEST_SERVER = 130000
"""PostgreSQL 13: the first with ``pg_current_xact_id_if_assigned``."""
TURN = 0x7175657565
"""The advisory lock: 'queue'. One for a database, whatever the schema: it is held for moments."""


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """What an open store is."""

    store: str
    """Names the database for good."""
    database: str
    mark: str | None
    """Set while another store is being copied into it."""


async def open_database(connections: Connections, *, create: bool) -> DatabaseInfo:
    """Look at the database, migrating it as needed. ``create`` False: only if it is there.

    Raises StoreTooNew, StoreForeign when the tables are not ours, StoreUnreachable when they
    are not there and may not be made.
    """
    found = await connections.read(_look, connections)
    if found is None or found[0] < LATEST:
        if found is None and not create:
            raise StoreUnreachable(
                f"store {connections.shown} is not there yet", "enqueue a job first"
            )
        await _migrate(connections)
        found = await connections.read(_look, connections)
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
    """The refusal of a database that a later queuectl has migrated."""
    return StoreTooNew(
        f"store {shown} has schema {version}, this queuectl knows up to {LATEST}",
        "upgrade queuectl",
    )


async def _look(session: Session, connections: Connections) -> tuple[int, DatabaseInfo] | None:
    """The schema's version, and what it is in; None when there is nothing yet."""
    asked = monotonic()
    try:
        row = await session.row("opened")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None
    connections.clock.read(row["clock"], asked, monotonic())
    return row["version"], DatabaseInfo(row["store"], row["database"], row["mark"])


async def _migrate(connections: Connections) -> None:
    """Run what is missing."""
    patient = Connections(connections.dsn, patient=True)  # and in any case one that may write
    try:
        await patient.write(_steps, patient)
    except CommitUnknown:
        await patient.write(_steps, patient)  # those that were done are left out
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
    elif place["schema"] is None:  # it is there, but not to be seen
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
            await session.run("version_is", version=number)


def steps() -> list[tuple[int, Path]]:
    """(number, file) of every migration, in order; numbers run 1, 2, 3 …"""
    return [(int(path.name[:4]), path) for path in sorted(FOLDER.glob("[0-9]*.sql"))]
