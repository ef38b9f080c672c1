"""Writing events, in the transaction of the change that they are about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...domain.events import Event
from ..protocol import EVENT_OF, EVENTS_AT_ONCE, JobAction, Said
from ..rows import bad_cursor, event_row, to_event
from .session import Session

_SNAPSHOT = r"[0-9]{1,19}:[0-9]{1,19}:[0-9,]{0,100000}"
CURSOR = re.compile(
    rf"(?P<seen>{_SNAPSHOT})"
    rf"(_(?P<upto>{_SNAPSHOT})_(?P<xact>[0-9]{{1,18}})_(?P<seq>[0-9]{{1,18}}))?",
    re.ASCII,
)
"""A snapshot, as the server writes it. In the middle of a long read also the snapshot up to which
it reads, and the transaction and key of the last event."""


async def record(
    session: Session,
    kind: str,
    now: float | None,
    *,
    job: int | None = None,
    job_id: str | None = None,
    last_job: int | None = None,
    name: str | None = None,
    count: int | None = None,
    detail: Mapping[str, Any] | None = None,
    via: str | None = None,
) -> int:
    """Write one event; see :class:`~queuectl_core.domain.events.Event`. ``via`` None: as the store
    was opened. ``now`` None: the server's time. Returns its key."""
    now = session.clock() if now is None else now
    row = event_row(session.signature, kind, now, name=name, count=count, detail=detail, via=via)
    row |= {"job": job, "job_id": job_id, "last_job": last_job}
    return int(await session.value("insert_event", **row))


async def record_jobs(
    session: Session,
    kind: str,
    now: float,
    jobs: Iterable[tuple[int, str]],
    *,
    name: str | None = None,
    detail: Mapping[str, Any] | None = None,
    via: str | None = None,
) -> None:
    """Write one event for each of these jobs (key, id)."""
    row = event_row(session.signature, kind, now, name=name, detail=detail, via=via)
    for unused in ("job", "job_id", "last_job", "count"):
        del row[unused]
    chosen = list(jobs)
    seqs, ids = [seq for seq, _ in chosen], [job_id for _, job_id in chosen]
    await session.execute("insert_events", jobs=seqs, ids=ids, **row)


async def add_to(session: Session, event: int, count: int) -> None:
    """The verb that wrote this event has changed ``count`` more jobs. Its row may be gone."""
    await session.execute("event_counts", seq=event, count=count)


async def tell(
    session: Session,
    action: JobAction,
    now: float,
    changed: Sequence[tuple[int, int]],
    said: Said,
) -> int | None:
    """Write what ``action`` did to these jobs (key, runs). Returns the key of a bulk verb's
    event."""
    kind = EVENT_OF[action]
    if said.jobs is not None:
        for jobs, detail in said.of_named(changed):
            await record_jobs(session, kind, now, jobs, detail=detail, via=said.via)
        return None
    return await tell_count(session, kind, now, len(changed), said)


async def tell_count(
    session: Session, kind: str, now: float | None, count: int, said: Said
) -> int | None:
    """Write how many jobs a bulk verb has changed. Returns the key of its event."""
    if not count:
        return said.event
    if said.event is None:
        return await record(session, kind, now, count=count, detail=said.detail)
    await add_to(session, said.event, count)
    return said.event


async def since(session: Session, cursor: str | None) -> tuple[list[Event], str]:
    if cursor is None:
        return [], str(await session.value("events_seen"))
    given = CURSOR.fullmatch(cursor)
    if given is None:
        raise bad_cursor(cursor)
    seen, upto = given["seen"], given["upto"]
    rows = await session.rows(
        "events_after",
        seen=seen,
        upto=upto,
        xact=given["xact"] or seen.partition(":")[0],
        seq=int(given["seq"] or 0),
        limit=EVENTS_AT_ONCE,
    )
    current = str(rows[0]["current"])
    if _next(upto or seen) > _next(current):
        # From another server. In this snapshot, new events of this server would count as seen.
        raise bad_cursor(cursor)
    found = [to_event(row) for row in rows if row["seq"] is not None]
    if len(found) == EVENTS_AT_ONCE:
        last = rows[-1]
        return found, f"{seen}_{upto or current}_{last['xact']}_{last['seq']}"
    return found, upto or current


def _next(snapshot: str) -> int:
    """The number that the next transaction had."""
    return int(snapshot.split(":")[1])
