"""Writing events, in the transaction of the change that they are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..rows import event_row
from .connection import Driver
from .queries import SQL


def record(
    conn: Driver,
    kind: str,
    now: float,
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
    was opened. Returns its key."""
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
