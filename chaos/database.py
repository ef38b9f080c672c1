"""The store as the oracle reads it: straight from the database, never through queuectl."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

Rows = list[tuple[Any, ...]]

PATIENCE = 60.0
"""Seconds to wait for a server that was crashed on purpose."""
WAL_BOUND = 16 << 20
"""Bytes of WAL that may be left when no reader holds it."""


class Database(Protocol):
    """What a campaign asks of a database."""

    kind: str
    url: str
    """As queuectl is given it."""

    def sql(self, statement: str, *args: object) -> Rows:
        """Run one statement. ``?`` stands for an argument."""

    def watch_deletions(self) -> None:
        """From now on write down the command and the last state of each row that is deleted.

        A row that is gone and was not deleted is lost, whatever was asked for.
        """

    def faults(self) -> list[str]:
        """What is wrong with the file or the counters."""


class SqliteDatabase:
    """One file."""

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = str(path)

    def sql(self, statement: str, *args: object) -> Rows:
        with closing(sqlite3.connect(self.path, timeout=30)) as connection, connection:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            return connection.execute(statement, args).fetchall()

    def watch_deletions(self) -> None:
        self.sql("CREATE TABLE chaos_deleted (command TEXT NOT NULL, state TEXT NOT NULL)")
        self.sql(
            "CREATE TRIGGER chaos_deleted AFTER DELETE ON jobs BEGIN"
            " INSERT INTO chaos_deleted VALUES (old.command, old.state); END"
        )

    def wal_size(self) -> int:
        """Bytes."""
        try:
            return os.stat(f"{self.path}-wal").st_size
        except OSError:
            return 0

    def faults(self) -> list[str]:
        found = [
            f"integrity_check: {answer}"
            for (answer,) in self.sql("PRAGMA integrity_check")
            if answer != "ok"
        ]
        if self.wal_size() > WAL_BOUND:
            found.append(f"{self.wal_size()} bytes of WAL are left, though nobody reads")
        return found + _wrong_counts(
            self, "SELECT state, queue, sum(n) FROM counts GROUP BY state, queue"
        )


class PostgresDatabase:
    """The schema ``queuectl`` of a server. ``url``: as queuectl is given it; ``direct``: by no
    proxy."""

    kind = "postgres"

    def __init__(self, url: str, direct: str) -> None:
        self.url = url
        self._direct = direct

    def sql(self, statement: str, *args: object) -> Rows:
        numbers = iter(range(1, 100))
        wanted = re.sub(r"\?", lambda _: f"${next(numbers)}", statement)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return asyncio.run(self._ask(wanted, args))
            except Exception:
                # A server that was crashed on purpose says this in many ways.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    async def _ask(self, statement: str, args: tuple[object, ...]) -> Rows:
        import asyncpg

        connection = await asyncpg.connect(
            self._direct, server_settings={"search_path": "queuectl"}, timeout=10
        )
        try:
            return [tuple(row) for row in await connection.fetch(statement, *args)]
        finally:
            await connection.close(timeout=10)

    def watch_deletions(self) -> None:
        self.sql("CREATE TABLE chaos_deleted (command text NOT NULL, state text NOT NULL)")
        self.sql(
            "CREATE FUNCTION chaos_deleted() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
            " INSERT INTO queuectl.chaos_deleted VALUES (old.command, old.state); RETURN NULL;"
            " END $f$"
        )
        self.sql(
            "CREATE TRIGGER chaos_deleted AFTER DELETE ON jobs"
            " FOR EACH ROW EXECUTE FUNCTION chaos_deleted()"
        )

    def faults(self) -> list[str]:
        return _wrong_counts(
            self,
            "SELECT state, queue, sum(n)::bigint FROM (SELECT state, queue, n FROM counts"
            " UNION ALL SELECT state, queue, n FROM ledger WHERE state IS NOT NULL) c"
            " GROUP BY state, queue",
        )


def _wrong_counts(database: Database, kept: str) -> list[str]:
    real = {
        (state, queue): n
        for state, queue, n in database.sql(
            "SELECT state, queue, count(*) FROM jobs GROUP BY state, queue"
        )
    }
    shown = {(state, queue): n for state, queue, n in database.sql(kept)}
    return [
        f"the count of {state} jobs in {queue} is {shown.get((state, queue), 0)},"
        f" it should be {real.get((state, queue), 0)}"
        for state, queue in sorted(real.keys() | shown.keys())
        if shown.get((state, queue), 0) != real.get((state, queue), 0)
    ]
