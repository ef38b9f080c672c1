"""Bugs that are added on purpose. A campaign that does not find them proves nothing.

Each changes the imported code of one process (see ``agent.py``).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import random
from typing import Any

from queuectl_core.domain.errors import StoreFull
from queuectl_core.domain.model import Filter
from queuectl_core.store.protocol import ALLOWED, Changed, JobAction
from queuectl_core.store.sqlite.queries import SQL
from queuectl_core.supervisor import processes, triage
from queuectl_core.supervisor.processes import Process, Processes
from queuectl_core.system import host


def no_fencing() -> None:
    """The store accepts a result also from a supervisor that has lost its lease."""
    fenced = SQL["finish"]
    head, where, _ = fenced.partition("WHERE seq = :seq AND")
    if not where:
        raise RuntimeError("the fence is not where this mutation looks for it")
    SQL.replace("finish", head + "WHERE seq = :seq")


def no_group_kill() -> None:
    """What is left of a job's process group is left running."""

    async def spare(
        self: Processes, group: int | None, strays: Iterable[Process], grace: float
    ) -> None:
        return

    vars(processes)["Processes"].end = spare


def no_start_check() -> None:
    """A process counts as the recorded one, whatever its start time is."""

    def is_process(pid: int, start: float) -> bool:
        return host.process_start(pid) is not None

    def was_started_between(pid: int, after: float, before: float) -> bool:
        return host.process_start(pid) is not None

    for module in (host, processes):
        vars(module)["is_process"] = is_process
    for module in (processes, triage):
        vars(module)["was_started_between"] = was_started_between


def second_descriptor() -> None:
    """A store's file is opened and closed beside SQLite's own connections, which drops the locks
    of all of them."""
    from queuectl_core.store.sqlite.store import SqliteStore

    original = SqliteStore.open

    async def opened(path: Path, **options: Any) -> SqliteStore:
        store = await original(path, **options)
        os.close(os.open(path, os.O_RDONLY))
        return store

    vars_of(SqliteStore, open=staticmethod(opened))


def old_page() -> None:
    """A bulk verb changes the rows that it read a moment ago, whatever became of them."""
    from queuectl_core.store.sqlite.store import SqliteStore

    original = SqliteStore.change_matching

    async def change(
        self: SqliteStore,
        action: JobAction,
        where: Filter,
        seqs: Sequence[int],
        now: float,
        actor: str = "",
        **how: Any,
    ) -> Changed:
        await asyncio.sleep(0.5)
        where = Filter(ALLOWED[action])
        return await original(self, action, where, seqs, now, actor, **how)

    vars_of(SqliteStore, change_matching=change)


def late_failure() -> None:
    """At times a step after the commit fails, and the verb says that nothing was done."""
    from queuectl_core.store.sqlite.store import SqliteStore

    original = SqliteStore.enqueue

    async def enqueue(self: SqliteStore, *args: Any) -> Any:
        made = await original(self, *args)
        if random() < 0.5:
            raise StoreFull(f"no space left for store {self.path}; nothing was lost")
        return made

    vars_of(SqliteStore, enqueue=enqueue)


def waiting_checkpoint() -> None:
    """A checkpoint of the kind TRUNCATE waits for readers, and holds the writer lock meanwhile."""
    from queuectl_core.store.sqlite.store import SqliteStore

    async def checkpoint(self: SqliteStore) -> None:
        connection = sqlite3.connect(self.path, timeout=5)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()

    vars_of(SqliteStore, checkpoint=checkpoint)


def blind_limits() -> None:
    """The claim does not see the attempts that run."""
    SQL.replace("queue_running", "SELECT 0 WHERE :name IS NOT NULL")


def vars_of(owner: type, **values: object) -> None:
    """Set attributes of a class, whatever its types say."""
    for name, value in values.items():
        setattr(owner, name, value)


MUTATIONS: dict[str, Callable[[], None]] = {
    "no-fencing": no_fencing,
    "no-group-kill": no_group_kill,
    "no-start-check": no_start_check,
    "second-descriptor": second_descriptor,
    "old-page": old_page,
    "late-failure": late_failure,
    "waiting-checkpoint": waiting_checkpoint,
    "blind-limits": blind_limits,
}

_NOBODY: dict[str, Any] = {"actors": (), "jobs": 16, "patience": 20.0}
_USERS: dict[str, Any] = {"faults": (), "kills": 0, "jobs": 30, "acts": 100, "seconds": 60}

BREAKS: dict[str, dict[str, Any] | str] = {
    # Jobs must still run when the lease of a stopped supervisor is over, or when a successor comes.
    "no-fencing": {**_NOBODY, "faults": ("stop",), "kills": 60, "longest": 4.0},
    "no-group-kill": {**_NOBODY, "faults": ("shim",), "kills": 36, "longest": 15.0},
    "no-start-check": {**_NOBODY, "faults": ("reuse",), "kills": 24},
    # Without a supervisor, which has the store open for good, a verb may be the last user.
    "second-descriptor": {**_USERS, "actors": ("verb", "console"), "supervisors": 0},
    # Nothing runs, so that a job which was cancelled and retried stays pending.
    "old-page": {**_USERS, "actors": ("verb", "program"), "supervisors": 0},
    "late-failure": {**_USERS, "actors": ("verb", "program")},
    "waiting-checkpoint": "reader",
    "blind-limits": "limits",
}
"""What finds each bug: options of a campaign, or the name of a trial."""
