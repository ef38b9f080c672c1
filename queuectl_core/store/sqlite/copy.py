"""Copying an SQLite store, or into one: see the protocol."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ...domain.rollup import SPANS, Ended, Rollup, floor, pack
from ..copy import CopyBatch, Copying, Piece, Queues, lost_mark, taken
from ..rows import (
    attempt_row,
    copied_event,
    dependency_row,
    job_row,
    queue_params,
    schedule_params,
)
from . import jobs
from .connection import Connection, Driver
from .hooks import receive as receive_hooks
from .queries import SQL, to_ended
from .statistics import to_rollup

T = TypeVar("T")


class SqliteCopying(Copying):
    """A :class:`~queuectl_core.store.copy.Copying` on a store's connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._url = connection.path

    async def _rows(self, query: str, convert: Callable[[Any], T], **values: Any) -> list[T]:
        return await self._connection.read(jobs.rows, query, convert, values)

    async def pieces(self, now: float) -> list[Piece]:
        return await self._connection.read(_pieces, now)

    async def begin(self, mark: str, above: int) -> bool:
        return await self._connection.write(_begin, mark, above)

    async def receive(self, batch: CopyBatch, old: str, new: str, now: float) -> None:
        await self._connection.write(_receive, self._url, batch, old=old, new=new, now=now)

    async def finish(
        self,
        mark: str,
        config: Mapping[str, str],
        pieces: Sequence[Piece],
        highest: int,
        queues: Queues,
    ) -> None:
        await self._connection.write(
            _finish, self._url, mark, config=config, pieces=pieces, highest=highest, queues=queues
        )


def highest(conn: sqlite3.Connection) -> int:
    """The highest seq ever given to a job; 0: none was."""
    return int(conn.execute(SQL["copy_highest"]).fetchone()[0])


def _pieces(conn: sqlite3.Connection, now: float) -> list[Piece]:
    found: dict[tuple[int, int], Rollup] = {
        (row[0], row[1]): to_rollup(row[2]) for row in conn.execute(SQL["copy_rollups"])
    }
    early = conn.execute(SQL["rollups_after"]).fetchone()
    if early is not None:
        for key, ended in _added_up(conn, early[0], now).items():
            found.setdefault(key, Rollup()).add(ended)
    return [(span, at, rollup) for (span, at), rollup in sorted(found.items())]


def _added_up(
    conn: sqlite3.Connection, until: float, now: float
) -> dict[tuple[int, int], list[Ended]]:
    """Attempts that ended before ``until``, by the span in which rollups of that age are kept."""
    found: dict[tuple[int, int], list[Ended]] = defaultdict(list)
    for *ended, finished_at in conn.execute(SQL["copy_ended"], {"until": until}):
        span = next((one.seconds for one in SPANS if now - finished_at < one.kept), None)
        if span is not None:  # None: it is too old for any span
            found[span, floor(finished_at, span)].append(to_ended(ended))
    return found


def _begin(conn: sqlite3.Connection, new: str, above: int) -> bool:
    if conn.execute(SQL["copy_any"]).fetchone():
        return False
    conn.execute(SQL["copy_mark_set"], {"new": new})
    go_on_above(conn, above)
    conn.execute(SQL["copy_no_events"])
    _events_go_on_above(conn, above)
    return True


def go_on_above(conn: sqlite3.Connection, given: int) -> None:
    """Give the next job a seq above ``given``."""
    conn.execute(SQL["copy_highest_gone"])
    conn.execute(SQL["copy_highest_set"], {"highest": given})


def _events_go_on_above(conn: sqlite3.Connection, given: int) -> None:
    conn.execute(SQL["copy_events_above_gone"])
    conn.execute(SQL["copy_events_above"], {"highest": given})


def _receive(
    conn: sqlite3.Connection, url: str, batch: CopyBatch, *, old: str, new: str, now: float
) -> None:
    if not conn.execute(SQL["copy_mark_changed"], {"old": old, "new": new}).rowcount:
        raise lost_mark(url)
    if batch.emptied is not None:
        first, last = batch.emptied
        conn.execute(SQL["copy_emptied"], {"first": first, "last": last})
    try:
        conn.executemany(SQL["copy_job"], (job_row(job, now) for job in batch.jobs))
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_UNIQUE:
            raise
        raise taken(url) from error
    conn.executemany(
        SQL["copy_attempt"],
        (attempt_row(*one) for one in batch.attempts),
    )
    conn.executemany(SQL["copy_tail"], batch.tails)
    conn.executemany(SQL["copy_input"], batch.inputs)
    conn.executemany(SQL["copy_result"], batch.results)
    conn.executemany(SQL["copy_dependency"], map(dependency_row, batch.dependencies))
    if batch.no_events:
        conn.execute(SQL["copy_no_events"])
    conn.executemany(SQL["copy_event"], map(copied_event, batch.events))


def _finish(
    conn: Driver,
    url: str,
    old: str,
    *,
    config: Mapping[str, str],
    pieces: Sequence[Piece],
    highest: int,
    queues: Queues,
) -> None:
    if not conn.execute(SQL["copy_mark_gone"], {"old": old}).rowcount:
        raise lost_mark(url)
    for key, value in config.items():
        conn.execute(SQL["config_set"], {"key": key, "value": value})
    conn.executemany(SQL["queue_put"], map(queue_params, queues.settings))
    starts = [{"name": name, "at": at, "count": n} for name, at, n in queues.starts]
    conn.executemany(SQL["started"], starts)
    receive_hooks(conn, queues.hooks, queues.entries)
    conn.executemany(SQL["copy_hook_mark"], queues.marks)
    conn.executemany(SQL["schedule_add"], map(schedule_params, queues.schedules))
    conn.execute(SQL["readmit_parents"])  # the source may not have judged all children yet
    for span, at, rollup in pieces:
        conn.execute(SQL["rollup_put"], {"span": span, "at": at, "data": pack(rollup)})
    go_on_above(conn, highest)
    _events_go_on_above(conn, 0)
