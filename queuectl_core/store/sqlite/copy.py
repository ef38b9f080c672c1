"""Copying an SQLite store, or into one: see the protocol."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ...domain.rollup import SPANS, Ended, Rollup, floor, pack
from ..copy import AttemptRow, CopyBatch, Copying, Piece, Tail, lost_mark, taken
from ..rows import attempt_row, job_row
from .connection import Connection
from .queries import SQL, to_attempt, to_ended
from .statistics import to_rollup


class SqliteCopying(Copying):
    """A :class:`~queuectl_core.store.copy.Copying` on a store's connection."""

    def __init__(self, connection: Connection, url: str) -> None:
        self._connection = connection
        self._url = url

    async def highest(self) -> int:
        return await self._connection.read(highest)

    async def attempts(self, after: tuple[int, int], last: int, limit: int) -> list[AttemptRow]:
        return await self._connection.read(_attempts, after, last, limit)

    async def tails(self, after: tuple[int, int], last: int, limit: int) -> list[Tail]:
        return await self._connection.read(_tails, after, last, limit)

    async def pieces(self, now: float) -> list[Piece]:
        return await self._connection.read(_pieces, now)

    async def totals(self) -> tuple[int, int]:
        return await self._connection.read(_totals)

    async def mark(self) -> str | None:
        return await self._connection.read(mark)

    async def begin(self, mark: str, above: int) -> bool:
        return await self._connection.write(_begin, mark, above)

    async def receive(self, batch: CopyBatch, old: str, new: str, now: float) -> None:
        await self._connection.write(_receive, self._url, batch, old=old, new=new, now=now)

    async def finish(
        self, mark: str, config: Mapping[str, str], pieces: Sequence[Piece], highest: int
    ) -> None:
        await self._connection.write(
            _finish, self._url, mark, config=config, pieces=pieces, highest=highest
        )


def mark(conn: sqlite3.Connection) -> str | None:
    """The mark of a store that is being copied into."""
    row = conn.execute(SQL["copy_mark"]).fetchone()
    return None if row is None else str(row[0])


def highest(conn: sqlite3.Connection) -> int:
    """The highest seq ever given to a job; 0: none was."""
    row = conn.execute(SQL["copy_highest"]).fetchone()
    return 0 if row is None else int(row[0])


def _attempts(
    conn: sqlite3.Connection, after: tuple[int, int], last: int, limit: int
) -> list[AttemptRow]:
    params = {"seq": after[0], "number": after[1], "last": last, "limit": limit}
    return [
        AttemptRow(row["job"], bool(row["made_dead"]), to_attempt(row))
        for row in conn.execute(SQL["copy_attempts"], params)
    ]


def _tails(conn: sqlite3.Connection, after: tuple[int, int], last: int, limit: int) -> list[Tail]:
    params = {"seq": after[0], "number": after[1], "last": last, "limit": limit}
    return [Tail(*row) for row in conn.execute(SQL["copy_tails"], params)]


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


def _totals(conn: sqlite3.Connection) -> tuple[int, int]:
    attempts, tails = conn.execute(SQL["copy_totals"]).fetchone()
    return attempts, tails


def _begin(conn: sqlite3.Connection, new: str, above: int) -> bool:
    if conn.execute(SQL["copy_any"]).fetchone():
        return False
    conn.execute(SQL["copy_mark_set"], {"new": new})
    go_on_above(conn, above)
    return True


def go_on_above(conn: sqlite3.Connection, given: int) -> None:
    """Give the next job a seq above ``given``."""
    conn.execute(SQL["copy_highest_gone"])
    conn.execute(SQL["copy_highest_set"], {"highest": given})


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
    conn.executemany(SQL["copy_attempt"], (attempt_row(kept) for kept in batch.attempts))
    tails = ((one.seq, one.number, one.tail) for one in batch.tails)
    conn.executemany(SQL["copy_tail"], tails)


def _finish(
    conn: sqlite3.Connection,
    url: str,
    old: str,
    *,
    config: Mapping[str, str],
    pieces: Sequence[Piece],
    highest: int,
) -> None:
    if not conn.execute(SQL["copy_mark_gone"], {"old": old}).rowcount:
        raise lost_mark(url)
    for key, value in config.items():
        conn.execute(SQL["config_set"], {"key": key, "value": value})
    for span, at, rollup in pieces:
        conn.execute(SQL["rollup_put"], {"span": span, "at": at, "data": pack(rollup)})
    go_on_above(conn, highest)
