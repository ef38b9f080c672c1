"""Reading supervisors and workers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from ...domain.model import SupervisorRow, Worker
from ...system.clocks import monotonic
from .connection import Driver
from .namespaces import has_lapsed, is_foreign
from .queries import SQL, to_supervisor, to_worker


def supervisors(conn: sqlite3.Connection) -> list[SupervisorRow]:
    return [to_supervisor(row) for row in conn.execute(SQL["supervisors"])]


def known_supervisors(conn: Driver) -> list[SupervisorRow]:
    return list(with_lapses(conn, supervisors(conn)).values())


def workers(conn: Driver) -> list[tuple[Worker, SupervisorRow]]:
    found = [
        (to_worker(row), to_supervisor(row, "supervisor")) for row in conn.execute(SQL["workers"])
    ]
    owners = with_lapses(conn, (row for _, row in found))
    return [(worker, owners[row.id]) for worker, row in found]


def with_lapses(conn: Driver, rows: Iterable[SupervisorRow]) -> dict[str, SupervisorRow]:
    """Supervisors by id. Those of another pid namespace get ``lapsed``."""
    found = {row.id: row for row in rows}
    for row in [row for row in found.values() if is_foreign(row)]:
        lapsed = has_lapsed(row, shims_of(conn, row), conn.file.run_directory, monotonic())
        found[row.id] = row._replace(lapsed=lapsed)
    return found


def shims_of(conn: sqlite3.Connection, row: SupervisorRow) -> list[str]:
    """The shims of its jobs."""
    return list({shim for (shim,) in conn.execute(SQL["shims_of"], {"id": row.id}) if shim})
