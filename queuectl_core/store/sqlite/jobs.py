"""Enqueueing, reading and changing jobs, as transactions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeVar

from ...domain.errors import Conflict
from ...domain.events import EventKind
from ...domain.model import Filter, Job, JobSpec, State
from ..protocol import LAST
from ..rows import conditions, held_unique, new_ids, spec_params, unscheduled
from .connection import Driver
from .events import record, record_jobs
from .queries import SQL, job_at, reading, to_job, to_params

T = TypeVar("T")


def rows(
    conn: sqlite3.Connection,
    query: str,
    convert: Callable[[Any], T],
    values: Mapping[str, Any],
    check: Callable[[list[T]], None] | None = None,
) -> list[T]:
    """The rows of a query, each converted. ``check`` gets them and may raise an error."""
    convert = reading(convert)
    found = [convert(row) for row in conn.execute(SQL[query], to_params(values))]
    if check is not None:
        check(found)
    return found


def enqueue(conn: Driver, specs: Sequence[JobSpec], now: float) -> list[Job]:
    # Only loaded for jobs that need it.
    if any(spec.unique is not None for spec in specs):
        return _enqueue_unique(conn, specs, now)
    made = _insert(conn, specs, now)
    record_jobs(conn, EventKind.ENQUEUED, now, unscheduled(made))
    if any(spec.parents for spec in specs):
        made = _connect(conn, made, now)
    return made


def _insert(conn: sqlite3.Connection, specs: Sequence[JobSpec], now: float) -> list[Job]:
    wanted = [spec.id for spec in specs if spec.id is not None]
    taken = set(ids_taken(conn, wanted))
    for name in wanted if taken else ():
        if name in taken:
            raise Conflict(f"id '{name}' is taken", "choose another, or leave it out")
    made = []
    for spec in specs:
        params = spec_params(spec._replace(id=free_id(conn)) if spec.id is None else spec, now)
        try:
            made += [to_job(row) for row in conn.execute(SQL["insert_job"], params)]
            if spec.stdin is not None:
                conn.execute(SQL["insert_input"], {"seq": made[-1].seq, "stdin": params["stdin"]})
        except sqlite3.IntegrityError:
            raise Conflict(f"id '{spec.id}' is given twice", "choose another") from None
    return made


def _connect(conn: sqlite3.Connection, made: Sequence[Job], now: float) -> list[Job]:
    """Record what new jobs wait for. Returns them as they are then."""
    from .admission import connect_parents

    connect_parents(conn, made[0].seq, made[-1].seq, now)
    return [job_at(conn, job.seq) for job in made]


def _enqueue_unique(conn: Driver, specs: Sequence[JobSpec], now: float) -> list[Job]:
    """One after another, because a value may be given twice."""
    from .admission import connect_replaced, replace_job, unique_holder

    answer: list[tuple[Job, bool]] = []
    made: list[Job] = []
    replaced: list[int] = []
    for spec in specs:
        holder = None if spec.unique is None else unique_holder(conn, spec.unique, now)
        if holder is None:
            made += _insert(conn, [spec], now)
            answer.append((made[-1], False))
            continue
        if spec.on_conflict == "fail":
            raise held_unique(holder)
        if spec.on_conflict == "replace":
            replace_job(conn, holder, spec_params(spec, now), now)
            replaced.append(holder.seq)
        answer.append((holder, True))
    record_jobs(conn, EventKind.ENQUEUED, now, unscheduled(made))
    # After all of them are there, because a job may wait for one that comes later.
    if any(spec.parents for spec in specs) and made:
        _connect(conn, made, now)
    connect_replaced(conn, replaced, now)
    return [job_at(conn, job.seq)._replace(existing=existing) for job, existing in answer]


def free_id(conn: sqlite3.Connection) -> str:
    """A generated id that is not taken."""
    while ids_taken(conn, ids := new_ids(1)):
        pass
    return ids[0]


def ids_taken(conn: sqlite3.Connection, ids: Sequence[str]) -> list[str]:
    """The ids that the store already has."""
    if not ids:
        return []
    return [row[0] for row in conn.execute(SQL["ids_taken"], {"ids": json.dumps(list(ids))})]


def scan(
    conn: sqlite3.Connection,
    where: Filter,
    limit: int,
    *,
    low: int = 0,
    high: int = LAST,
    up: bool = False,
) -> list[Job]:
    direction, sign = ("up", 1) if up else ("down", -1)
    params = to_params(conditions(where) | {"low": low, "high": high, "limit": limit})

    def found(kind: str, **more: Any) -> list[Job]:
        return [to_job(row) for row in conn.execute(SQL[f"scan_{kind}_{direction}"], params | more)]

    if where.seqs is not None:
        chosen = conn.execute(SQL["scan_seqs"], params | {"seqs": json.dumps(where.seqs)})
        jobs = [job for job in map(to_job, chosen) if job.state in (where.states or State)]
        return sorted(jobs, key=lambda job: sign * job.seq)[:limit]
    if len(where.reasons) == 1 and State.DEAD in (where.states or State):  # by its own index
        return found("reason", reason=where.reasons[0])
    if not where.states:
        return found("all")
    pages = [found("state", state=state) for state in dict.fromkeys(where.states)]
    import heapq

    return list(islice(heapq.merge(*pages, key=lambda job: sign * job.seq), limit))


def candidates(
    conn: sqlite3.Connection, where: Filter, after: int, until: int, limit: int
) -> list[int]:
    params = to_params(conditions(where) | {"after": after, "until": until, "limit": limit})
    if len(where.reasons) == 1:  # by its own index
        params["reason"] = where.reasons[0]
        return [row[0] for row in conn.execute(SQL["bulk_reason"], params)]
    found = [
        [row[0] for row in conn.execute(SQL["bulk_state"], params | {"state": state})]
        for state in dict.fromkeys(where.states)
    ]
    return sorted(chain.from_iterable(found))[:limit]


def set_config(conn: Driver, key: str, value: str | None, now: float | None = None) -> None:
    row = conn.execute(SQL["config_value"], {"key": key}).fetchone()
    old = None if row is None else row[0]
    if value == old:
        return
    if value is None:
        conn.execute(SQL["config_unset"], {"key": key})
    else:
        conn.execute(SQL["config_set"], {"key": key, "value": value})
    record(conn, EventKind.CONFIG_CHANGED, now, name=key, detail={"old": old, "new": value})


def check_whole(conn: sqlite3.Connection, url: str) -> None:
    """Conflict while another store is being copied into this one."""
    row = conn.execute(SQL["copy_mark"]).fetchone()
    if row is not None:
        from ..copy import half_copied

        raise half_copied(url, row[0])
