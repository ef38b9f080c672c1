"""Copying a PostgreSQL store, or into one: see the protocol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg

from ...domain.rollup import Rollup, merged, pack, unpack
from ..copy import AttemptRow, CopyBatch, Copying, Piece, Tail, lost_mark, taken
from ..rows import attempt_row, job_row, to_attempt
from .connections import Connections
from .session import Session


class PostgresCopying(Copying):
    """A :class:`~queuectl_core.store.copy.Copying`; ``connections`` must be a patient one."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def highest(self) -> int:
        return await self._connections.read(_highest)

    async def attempts(self, after: tuple[int, int], last: int, limit: int) -> list[AttemptRow]:
        return await self._connections.read(_attempts, after, last, limit)

    async def tails(self, after: tuple[int, int], last: int, limit: int) -> list[Tail]:
        return await self._connections.read(_tails, after, last, limit)

    async def pieces(self, now: float) -> list[Piece]:
        return await self._connections.read(_pieces)

    async def totals(self) -> tuple[int, int]:
        return await self._connections.read(_totals)

    async def mark(self) -> str | None:
        return await self._connections.read(mark)

    async def begin(self, mark: str, above: int) -> bool:
        return await self._connections.write(_begin, mark, above)

    async def receive(self, batch: CopyBatch, old: str, new: str, now: float) -> None:
        await self._connections.write(
            _receive, self._connections.shown, batch, old=old, new=new, now=now
        )

    async def finish(
        self, mark: str, config: Mapping[str, str], pieces: Sequence[Piece], highest: int
    ) -> None:
        await self._connections.announce(
            _finish, self._connections.shown, mark, config=config, pieces=pieces, highest=highest
        )


async def mark(session: Session) -> str | None:
    """The mark of a store that is being copied into."""
    found: str | None = await session.value("copy_mark")
    return found


async def _highest(session: Session) -> int:
    return int(await session.value("copy_highest"))


async def _attempts(
    session: Session, after: tuple[int, int], last: int, limit: int
) -> list[AttemptRow]:
    found = await session.rows(
        "copy_attempts", seq=after[0], number=after[1], last=last, limit=limit
    )
    return [AttemptRow(row["job"], row["made_dead"], to_attempt(row)) for row in found]


async def _tails(session: Session, after: tuple[int, int], last: int, limit: int) -> list[Tail]:
    found = await session.rows("copy_tails", seq=after[0], number=after[1], last=last, limit=limit)
    return [Tail(*row) for row in found]


async def _pieces(session: Session) -> list[Piece]:
    parts: dict[tuple[int, int], list[Rollup]] = defaultdict(list)
    for span, at, data in await session.rows("copy_rollups"):
        parts[span, at].append(unpack(data))
    return [(span, at, merged(found)) for (span, at), found in sorted(parts.items())]


async def _totals(session: Session) -> tuple[int, int]:
    row = await session.row("copy_totals")
    return row["attempts"], row["tails"]


async def _begin(session: Session, new: str, above: int) -> bool:
    await session.run("copy_alone")
    if await session.value("copy_any"):
        return False
    await session.run("copy_mark_set", new=new)
    await session.value("copy_highest_set", highest=above)
    return True


async def _receive(
    session: Session, url: str, batch: CopyBatch, *, old: str, new: str, now: float
) -> None:
    if not await session.run("copy_mark_changed", old=old, new=new):
        raise lost_mark(url)
    if batch.emptied is not None:
        first, last = batch.emptied
        await session.run("copy_emptied", first=first, last=last)
    try:
        await _add(session, "jobs", (job_row(job, now) for job in batch.jobs))
    except asyncpg.UniqueViolationError as error:
        raise taken(url) from error
    await _add(session, "attempts", (attempt_row(kept) for kept in batch.attempts))
    await _add(session, "tails", ((one.seq, one.number, one.tail) for one in batch.tails))


async def _add(session: Session, table: str, rows: Iterable[Sequence[Any]]) -> None:
    records = list(rows)
    if records:
        await session.raw.copy_records_to_table(table, records=records, timeout=None)


async def _finish(
    session: Session,
    url: str,
    old: str,
    *,
    config: Mapping[str, str],
    pieces: Sequence[Piece],
    highest: int,
) -> None:
    if not await session.run("copy_mark_gone", old=old):
        raise lost_mark(url)
    for key, value in config.items():
        await session.run("config_set", key=key, value=value)
    spans: dict[int, list[Piece]] = defaultdict(list)
    for piece in pieces:
        spans[piece[0]].append(piece)
    for span, found in spans.items():
        moments = [at for _, at, _ in found]
        datas = [pack(rollup) for _, _, rollup in found]
        await session.run("rollups_put", span=span, moments=moments, source="", datas=datas)
    await session.value("copy_highest_set", highest=highest)
