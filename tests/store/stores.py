"""The stores on which the tests for all stores run. A new kind of store is an entry here."""

from __future__ import annotations

import sqlite3
import uuid
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Self

import asyncpg

from queuectl_core.store.open import open_store
from queuectl_core.store.protocol import Store

from ..pgserver import server_url
from ..support import make_store

EMPTYING = """
SELECT string_agg(
    format(
        CASE
            WHEN relkind = 'S' THEN 'SELECT setval(%L, 1, false)'
            WHEN pg_relation_size(oid) > 262144 THEN 'TRUNCATE %s CASCADE'
            ELSE 'DELETE FROM %s'
        END,
        oid::regclass
    ), ';'
    ORDER BY relkind = 'S', NOT relhastriggers
)
FROM pg_class
WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'S') AND relname <> 'schema_version'
"""
"""What empties a schema: tables with triggers first, which write into others. A table that never
held much is emptied ten times as quickly by DELETE as by TRUNCATE, which makes new files for it and
for each of its indexes."""


class Place(ABC):
    """A new, empty database, and how to open it again and again."""

    url: str
    """The URL with which another process opens it."""
    copies = True
    """Whether queuectl can back it up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: list[Store] = []

    async def open(self) -> Store:
        """One more connection. :meth:`clear` closes it if the test has not done it."""
        store = await open_store(self.url, {"HOME": str(self.folder)})
        self._open.append(store)
        return store

    async def close(self, store: Store) -> None:
        """Close one of them before."""
        self._open.remove(store)
        await store.close()

    async def clear(self) -> None:
        """Close all connections and remove the database."""
        for store in list(self._open):
            await self.close(store)
        await self.drop()

    @classmethod
    def take(cls, folder: Path) -> Self:
        """An empty database. Another test may have had it before."""
        return cls(folder)

    async def give_back(self) -> None:
        """Close all connections. The next test may have the database, without what is in it."""
        await self.clear()

    @abstractmethod
    async def drop(self) -> None:
        """Remove the database."""

    @abstractmethod
    async def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement with the driver only. Returns the rows."""


class SqlitePlace(Place):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = str(folder / "queue.db")

    @classmethod
    def take(cls, folder: Path) -> Self:
        made = cls(folder)
        make_store(Path(made.url))
        return made

    async def drop(self) -> None:
        """Nothing to do: pytest removes the folder."""

    async def execute(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.url, isolation_level=None)) as connection:
            return [tuple(row) for row in connection.execute(sql)]


class PostgresPlace(Place):
    """A separate schema on the test server."""

    copies = False
    _spare: ClassVar[list[str]] = []
    """Schemas with our tables, which are empty. It takes long to make and to drop one."""

    def __init__(self, folder: Path, schema: str | None = None) -> None:
        super().__init__(folder)
        self.schema = schema or f"t{uuid.uuid4().hex}"
        self.url = f"{server_url()}?schema={self.schema}"

    @classmethod
    def take(cls, folder: Path) -> Self:
        return cls(folder, cls._spare.pop() if cls._spare else None)

    async def give_back(self) -> None:
        for store in list(self._open):
            await self.close(store)
        connection = await asyncpg.connect(server_url())
        try:
            emptying = await connection.fetchval(EMPTYING, self.schema)
            if emptying is None:  # the test made no store
                return
            if await connection.fetchval("SELECT current_setting('is_superuser') = 'on'"):
                # No triggers: to plan them takes longer than all else.
                await connection.execute("SET session_replication_role = replica")
            for attempt in range(5):
                try:
                    await connection.execute(emptying)
                    break
                except asyncpg.DeadlockDetectedError:  # with an autovacuum of a large table
                    if attempt == 4:
                        raise
            await connection.execute(f"UPDATE {self.schema}.schema_version SET store = DEFAULT")
        finally:
            await connection.close()
        self._spare.append(self.schema)

    async def drop(self) -> None:
        connection = await asyncpg.connect(server_url())
        try:
            await connection.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")
        finally:
            await connection.close()

    async def execute(self, sql: str) -> list[tuple[Any, ...]]:
        settings = {"search_path": self.schema}
        connection = await asyncpg.connect(server_url(), server_settings=settings)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()


PLACES: dict[str, type[Place]] = {"sqlite": SqlitePlace, "postgres": PostgresPlace}
COPIED = sorted(name for name, place in PLACES.items() if place.copies)
