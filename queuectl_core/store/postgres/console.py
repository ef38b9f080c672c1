"""What a console reads and changes; every read is short, whatever the size."""

from __future__ import annotations

import json

from ...domain.errors import Conflict
from ...domain.figures import DeadGroup, ThroughputSample
from ...domain.model import Command, Filter, Job, State
from ..rows import conditions, to_job
from .session import Session


async def bounds(session: Session) -> tuple[int, int] | None:
    row = await session.row("bounds")
    return None if row["low"] is None else (row["low"], row["high"])


async def stretch(
    session: Session, where: Filter, floor: int, ceiling: int, limit: int, *, up: bool
) -> list[Job]:
    way = "up" if up else "down"
    params = conditions(where) | {"floor": floor, "ceiling": ceiling, "limit": limit}
    if len(where.reasons) == 1:  # by an index of its own
        params["reason"] = where.reasons[0]
        found = await session.rows(f"{way}_reason", **params)
    elif where.states:
        states = list(dict.fromkeys(where.states))
        found = await session.rows(f"{way}_states", states=states, **params)
    else:
        found = await session.rows(f"{way}_all", **params)
    return [to_job(row) for row in found]


async def span(session: Session, where: Filter, floor: int, ceiling: int) -> int:
    params = conditions(where) | {"floor": floor, "ceiling": ceiling}
    if not where.states:
        return int(await session.value("span_all", **params))
    return int(await session.value("span_states", states=list(set(where.states)), **params))


async def dead_groups(session: Session, limit: int) -> list[DeadGroup]:
    return [
        DeadGroup(row["reason"] or "", row["exit_code"], row["n"], row["last_at"], row["newest"])
        for row in await session.rows("dead_groups", limit=limit)
    ]


async def ticks(session: Session, since: float) -> list[ThroughputSample]:
    return [
        ThroughputSample(row["second"], row["completed"], row["failed"])
        for row in await session.rows("ticks", since=since)
    ]


async def amend(session: Session, job: Job, command: Command, now: float) -> Job:
    argv = not isinstance(command, str)
    text = json.dumps(command, ensure_ascii=False) if argv else command
    changed = await session.row(
        "amend",
        seq=job.seq,
        state=job.state,
        runs=job.runs,
        command=text,
        is_argv=argv,
        now=now,
    )
    if changed is not None:
        return to_job(changed)
    row = await session.row("job_by_seq", seq=job.seq)
    state = "gone" if row is None else State(row["state"]).value
    raise Conflict(f"job '{job.id}' is {state} now; its command was not changed", "look again")
