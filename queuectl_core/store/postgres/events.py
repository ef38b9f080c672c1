"""Writing events, in the transaction of the change that they are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..rows import event_row
from .session import Session


async def record(
    session: Session,
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
