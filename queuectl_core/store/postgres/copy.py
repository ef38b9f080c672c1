"""Copying a PostgreSQL store, or into one: see the protocol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import asyncpg

from ...domain.rollup import Rollup, merged, pack, unpack
from ..copy import CopyBatch, Copying, Piece, Queues, lost_mark, taken
from ..rows import (
    EVENT_FIELDS,
    attempt_row,
    copied_event,
    dependency_row,
    job_row,
    queue_params,
    schedule_params,
)
from . import jobs
from .connections import Connections
from .hooks import receive as receive_hooks
from .session import Session

T = TypeVar("T")


class PostgresCopying(Copying):
    """A :class:`~queuectl_core.store.copy.Copying`; ``connections`` must be a patient one."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def _rows(self, query: str, convert: Callable[[Any], T], **values: Any) -> list[T]:
        return await self._connections.read(jobs.rows, query, convert, values)

    async def pieces(self, now: float) -> list[Piece]:
        return await self._connections.read(_pieces)

    async def begin(self, mark: str, above: int) -> bool:
        return await self._connections.write(_begin, mark, above)

    async def receive(self, batch: CopyBatch, old: str, new: str, now: float) -> None:
        await self._connections.write(_receive, batch, old=old, new=new, now=now)

    async def finish(
        self,
        mark: str,
        config: Mapping[str, str],
        pieces: Sequence[Piece],
        highest: int,
        queues: Queues,
    ) -> None:
        await self._connections.announce(
            _finish, mark, config=config, pieces=pieces, highest=highest, queues=queues
        )


async def _pieces(session: Session) -> list[Piece]:
    parts: dict[tuple[int, int], list[Rollup]] = defaultdict(list)
    for span, at, data in await session.rows("copy_rollups"):
        parts[span, at].append(unpack(data))
    return [(span, at, merged(found)) for (span, at), found in sorted(parts.items())]


async def _begin(session: Session, new: str, above: int) -> bool:
    await session.execute("copy_alone")
    if await session.value("copy_any"):
        return False
    await session.execute("copy_mark_set", new=new)
    await session.value("copy_highest_set", highest=above)
    await session.execute("copy_no_events")
    await session.value("copy_events_above", highest=above)
    return True


async def _receive(session: Session, batch: CopyBatch, *, old: str, new: str, now: float) -> None:
    if not await session.execute("copy_mark_changed", old=old, new=new):
        raise lost_mark(session.shown)
    if batch.emptied is not None:
        first, last = batch.emptied
        await session.execute("copy_emptied", first=first, last=last)
    try:
        await _add(session, "jobs", (job_row(job, now) for job in batch.jobs))
    except asyncpg.UniqueViolationError as error:
        raise taken(session.shown) from error
    await _add(
        session,
        "attempts",
        (attempt_row(*one) for one in batch.attempts),
    )
    await _add(session, "tails", batch.tails)
    await _add(session, "inputs", batch.inputs)
    await _add(session, "results", batch.results)
    await _add(session, "dependencies", map(dependency_row, batch.dependencies))
    if batch.no_events:
        await session.execute("copy_no_events")
    await _add(session, "events", map(copied_event, batch.events), columns=EVENT_FIELDS)


async def _add(
    session: Session,
    table: str,
    rows: Iterable[Sequence[Any]],
    columns: Sequence[str] | None = None,
) -> None:
    records = list(rows)
    if records:
        await session.raw.copy_records_to_table(
            table, records=records, columns=columns, timeout=None
        )


async def _finish(
    session: Session,
    old: str,
    *,
    config: Mapping[str, str],
    pieces: Sequence[Piece],
    highest: int,
    queues: Queues,
) -> None:
    if not await session.execute("copy_mark_gone", old=old):
        raise lost_mark(session.shown)
    for key, value in config.items():
        await session.execute("config_set", key=key, value=value)
    for settings in queues.settings:
        await session.execute("queue_put", **queue_params(settings))
    await _add(session, "starts", queues.starts)
    await receive_hooks(session, queues.hooks, queues.entries)
    await _add(session, "hook_marks", queues.marks, ("kind", "job", "event"))
    for schedule in queues.schedules:
        await session.execute("schedule_add", **schedule_params(schedule))
    await session.execute("readmit_parents")  # the source may not have judged all children yet
    spans: dict[int, list[Piece]] = defaultdict(list)
    for piece in pieces:
        spans[piece[0]].append(piece)
    for span, found in spans.items():
        moments = [at for _, at, _ in found]
        datas = [pack(rollup) for _, _, rollup in found]
        await session.execute("rollups_put", span=span, moments=moments, source="", datas=datas)
    await session.value("copy_highest_set", highest=highest)
    await session.value("copy_events_above", highest=0)
