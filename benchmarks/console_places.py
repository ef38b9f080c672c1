"""Where the console's store is: what the benchmark writes into it behind the console's back."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Protocol

from console_seed import seed
from postgres_seed import seed_console
from postgres_server import PostgresScratch

SEEN = 20
"""Jobs that are changed at a time: the newest, which the console shows."""
PATTERN = 20
"""The seq of the job that new ones are like: it waits."""


class Place(Protocol):
    url: str

    def seed(self, count: int) -> None:
        """Make the store, with so many jobs."""

    def newest(self) -> str:
        """The newest job's id."""

    def change(self, exit_code: int) -> None:
        """Change a cell of each of the newest jobs, in one commit."""

    def add(self, name: str) -> None:
        """Add a job of this id."""

    def close(self) -> None: ...


class SqlitePlace:
    def __init__(self, path: Path) -> None:
        self.url = str(path)
        self._conn: sqlite3.Connection | None = None

    def seed(self, count: int) -> None:
        seed(Path(self.url), count)

    @property
    def conn(self) -> sqlite3.Connection:
        if self._conn is None:
            self._conn = sqlite3.connect(self.url, isolation_level=None)
            self._conn.execute("PRAGMA busy_timeout = 2000")
        return self._conn

    def newest(self) -> str:
        found = self.conn.execute("SELECT id FROM jobs ORDER BY seq DESC LIMIT 1").fetchone()
        return str(found[0])

    def change(self, exit_code: int) -> None:
        self.conn.execute(
            "UPDATE jobs SET exit_code = ? WHERE seq IN"
            " (SELECT seq FROM jobs ORDER BY seq DESC LIMIT ?)",
            (exit_code, SEEN),
        )

    def add(self, name: str) -> None:
        columns = [row[1] for row in self.conn.execute("PRAGMA table_info(jobs)")]
        same = ", ".join(column for column in columns if column not in ("seq", "id"))
        self.conn.execute(
            f"INSERT INTO jobs (id, {same}) SELECT ?, {same} FROM jobs WHERE seq = ?",
            (name, PATTERN),
        )

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()


class PostgresPlace:
    def __init__(self, scratch: PostgresScratch) -> None:
        self.url = scratch.url
        self._scratch = scratch

    def seed(self, count: int) -> None:
        seed_console(self._scratch, count)

    def newest(self) -> str:
        return str(self._query("SELECT id FROM jobs ORDER BY seq DESC LIMIT 1")[0][0])

    def change(self, exit_code: int) -> None:
        self._query(
            "UPDATE jobs SET exit_code = $1 WHERE seq = ANY(ARRAY("
            "SELECT seq FROM jobs ORDER BY seq DESC LIMIT $2))",
            exit_code,
            SEEN,
        )

    def add(self, name: str) -> None:
        [[same]] = self._query(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid ="
            " 'jobs'::regclass AND attnum > 0 AND attname NOT IN ('seq', 'id')"
        )
        self._query(
            f"INSERT INTO jobs (id, {same}) SELECT $1, {same} FROM jobs WHERE seq ="
            " (SELECT min(seq) FROM jobs WHERE ready = 1)",
            name,
        )

    def _query(self, statement: str, *values: object) -> list[Any]:
        return self._scratch.query(statement, *values)

    def close(self) -> None:
        pass
