"""Writing events, in the transaction of the change that they are about."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...domain.events import Event
from ..protocol import EVENT_OF, EVENTS_AT_ONCE, JobAction, Said
from ..rows import bad_cursor, event_row, to_event
from .connection import Driver
from .queries import SQL, reading

_to_event = reading(to_event)


def record(
    conn: Driver,
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
    was opened. ``now`` None: the time of this host. Returns its key."""
    now = time.time() if now is None else now
    row = event_row(conn.signature, kind, now, name=name, count=count, detail=detail, via=via)
    row |= {"job": job, "job_id": job_id, "last_job": last_job}
    return int(conn.execute(SQL["insert_event"], row).lastrowid or 0)


def record_jobs(
    conn: Driver,
    kind: str,
    now: float,
    jobs: Iterable[tuple[int, str]],
    *,
    name: str | None = None,
    detail: Mapping[str, Any] | None = None,
    via: str | None = None,
) -> None:
    """Write one event for each of these jobs (key, id)."""
    row = event_row(conn.signature, kind, now, name=name, detail=detail, via=via)
    for seq, job_id in jobs:
        conn.execute(SQL["insert_event"], row | {"job": seq, "job_id": job_id})


def add_to(conn: Driver, event: int, count: int) -> None:
    """The verb that wrote this event has changed ``count`` more jobs. Its row may be gone."""
    conn.execute(SQL["event_counts"], {"seq": event, "count": count})


def tell(
    conn: Driver,
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
            record_jobs(conn, kind, now, jobs, detail=detail, via=said.via)
        return None
    return tell_count(conn, kind, now, len(changed), said)


def tell_count(conn: Driver, kind: str, now: float | None, count: int, said: Said) -> int | None:
    """Write how many jobs a bulk verb has changed. Returns the key of its event."""
    if not count:
        return said.event
    if said.event is None:
        return record(conn, kind, now, count=count, detail=said.detail)
    add_to(conn, said.event, count)
    return said.event


def since(conn: Driver, cursor: str | None) -> tuple[list[Event], str]:
    last = int(conn.execute(SQL["events_last"]).fetchone()[0])
    found = []
    if cursor is not None:
        params = {"after": read_cursor(cursor), "limit": EVENTS_AT_ONCE}
        found = [_to_event(row) for row in conn.execute(SQL["events_after"], params)]
    if len(found) == EVENTS_AT_ONCE:
        return found, str(found[-1].seq)
    return found, str(last)


def read_cursor(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdecimal() or len(cursor) > 18:
        raise bad_cursor(cursor)
    return int(cursor)
