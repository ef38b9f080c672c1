"""The stores the conformance suite runs on: another database is one more entry here."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from pathlib import Path

import asyncpg

from queuectl_core.store.open import open_store
from queuectl_core.store.protocol import Store

from ..pgserver import server_url


class Place(ABC):
    """A new, empty database, and how to open it again and again."""

    url: str
    """What another process opens it by."""
    copies = True
    """Whether queuectl can back it up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: list[Store] = []

    async def open(self) -> Store:
        """One more connection; closed with the place if the test has not closed it."""
        store = await open_store(self.url, {"HOME": str(self.folder)})
        self._open.append(store)
        return store

    async def close(self, store: Store) -> None:
        """Close one of them early."""
        self._open.remove(store)
        await store.close()

    async def clear(self) -> None:
        """Close what is open, and drop the database where the folder's end does not."""
        for store in list(self._open):
            await self.close(store)
        await self.drop()

    @abstractmethod
    async def drop(self) -> None:
        """Remove the database."""


class SqlitePlace(Place):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = str(folder / "queue.db")

    async def drop(self) -> None:
        """Nothing to do: the folder is the test's own."""


class PostgresPlace(Place):
    """A schema of its own on the test server."""

    copies = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.schema = f"t{uuid.uuid4().hex}"
        self.url = f"{server_url()}?schema={self.schema}"

    async def drop(self) -> None:
        connection = await asyncpg.connect(server_url())
        try:
            await connection.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")
        finally:
            await connection.close()


PLACES: dict[str, type[Place]] = {"sqlite": SqlitePlace, "postgres": PostgresPlace}
COPIED = sorted(name for name, place in PLACES.items() if place.copies)
