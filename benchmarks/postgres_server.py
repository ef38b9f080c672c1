"""A PostgreSQL server for one run of a benchmark, and stores on it.

What it runs with is what a server has that keeps its promises: every commit is on the disk before
it is answered. The rest is PostgreSQL's own (``shared_buffers`` 128 MB, autovacuum as it comes),
but for ``max_wal_size`` and ``max_connections``.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import asyncpg
import psutil
from harness import ROOT, Scratch

sys.path.insert(0, str(ROOT))
from tests.pgserver import Server

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "max_connections": "100",
    "listen_addresses": "127.0.0.1",
    "dynamic_shared_memory_type": "mmap",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


class Postgres:
    """A server that is there while this is entered."""

    def __enter__(self) -> Postgres:
        self._home = Path(tempfile.mkdtemp(prefix="queuectl-bench-pg-"))
        self._home.chmod(0o711)
        self._log = (self._home / "log").open("w")
        self._server = Server(self._home, SETTINGS, self._log)
        self.url = self._server.start()
        self._runner = asyncio.Runner()
        self._connection: Any = None
        self._postmaster = psutil.Process(self._server.pid)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._runner.close()
        self._server.stop()
        self._log.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def sql(self, statement: str, *values: object, schema: str = "public") -> list[Any]:
        """Run one statement by itself."""

        async def run() -> list[Any]:
            if self._connection is None:
                self._connection = await asyncpg.connect(self.url)
            await self._connection.execute(f'SET search_path = "{schema}"')
            return list(await self._connection.fetch(statement, *values))

        return self._runner.run(run())

    def version(self) -> str:
        return str(self.sql("SHOW server_version")[0][0])

    def cpu(self) -> float:
        """Seconds of processor time of all of its processes, those that have ended too."""
        own = self._postmaster.cpu_times()
        used = own.user + own.system + own.children_user + own.children_system
        for child in self._postmaster.children():
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            used += times.user + times.system
        return used


class PostgresScratch(Scratch):
    """A scratch store in a schema of its own on ``server``."""

    def __init__(self, server: Postgres, schema: str) -> None:
        super().__init__()
        self.server = server
        self.schema = schema
        self.url = f"{server.url}?schema={schema}"
        self.env["QUEUECTL_STORE"] = self.url

    def new(self) -> None:
        super().new()
        self.server.sql(f'DROP SCHEMA IF EXISTS "{self.schema}" CASCADE')

    def query(self, statement: str, *values: object) -> list[Any]:
        """Run one statement in the store's schema."""
        return self.server.sql(statement, *values, schema=self.schema)
