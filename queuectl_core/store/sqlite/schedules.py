"""Schedules, as transactions. The rules are in :mod:`queuectl_core.domain.schedule`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...domain.errors import Conflict, InvalidInput, NotFound
from ...domain.events import EventKind
from ...domain.model import Job, JobSpec
from ...domain.schedule import (
    Fired,
    Firing,
    Outcome,
    Schedule,
    Step,
    judge,
    no_schedule,
    run_detail,
    stands_for,
    success_of,
    there_already,
    waits_for,
)
from ..protocol import JobAction, cancel_params, replaced_by
from ..rows import schedule_params, to_schedule
from .admission import act
from .connection import Driver
from .events import record
from .hooks import deliver_all
from .jobs import enqueue
from .queries import SQL, reading, to_job

_to_schedule = reading(to_schedule)


def add_schedule(conn: Driver, schedule: Schedule, now: float) -> None:
    if not conn.execute(SQL["schedule_add"], schedule_params(schedule)).rowcount:
        raise there_already(schedule.name)
    _changed(conn, schedule.name, now, {"action": "added"})


def change_schedule(
    conn: Driver, seen: Schedule, new: Schedule, detail: Mapping[str, Any], now: float
) -> bool:
    params = schedule_params(new) | {"version": seen.version, "seen_at": seen.next_at}
    if not conn.execute(SQL["schedule_change"], params).rowcount:
        return False
    _changed(conn, new.name, now, detail)
    return True


def remove_schedule(conn: Driver, name: str, now: float) -> bool:
    if not conn.execute(SQL["schedule_remove"], {"name": name}).rowcount:
        return False
    _changed(conn, name, now, {"action": "removed"})
    return True


def _changed(conn: Driver, name: str, now: float, detail: Mapping[str, Any]) -> None:
    record(conn, EventKind.SCHEDULE_CHANGED, now, name=name, detail=detail)


def fire(conn: Driver, firings: Sequence[Firing], now: float) -> list[Fired]:
    done = [_fire(conn, firing, now) for firing in firings]
    deliver_all(conn, now)
    return [one for one in done if one is not None]


def _fire(conn: Driver, firing: Firing, now: float) -> Fired | None:
    seen, plan = firing.schedule, firing.plan
    row = conn.execute(
        SQL["schedule_locked"],
        {"name": seen.name, "version": seen.version, "seen_at": seen.next_at},
    ).fetchone()
    if row is None:
        return None  # somebody else has fired it, or has changed it
    previous = _job(conn, row[0])
    outcome = Outcome(firing, row[0], {} if previous is None else {previous.seq: previous})
    for at in plan.times:
        spec = firing.spec_at(at)
        found: Job | str = firing.problem
        if spec is not None:
            previous = outcome.previous
            found = _start(conn, seen, spec, previous, now, catches_up=plan.catches_up)
        outcome.take(at, found)
    conn.execute(SQL["schedule_fired"], outcome.changes())
    for kind, about in outcome.events():
        record(conn, kind, now, via="schedule", **about)
    return outcome.fired()


def _not_over(conn: Driver, ids: Sequence[str]) -> list[str]:
    found = {row[0] for row in conn.execute(SQL["not_over"], {"ids": json.dumps(list(ids))})}
    return [name for name in ids if name in found]


def _job(conn: Driver, seq: int | None) -> Job | None:
    row = None if seq is None else conn.execute(SQL["job_by_seq"], {"seq": seq}).fetchone()
    return None if row is None else to_job(row)


def _start(
    conn: Driver,
    schedule: Schedule,
    spec: JobSpec,
    previous: Job | None,
    now: float,
    *,
    catches_up: bool = False,
) -> Job | str:
    """Enqueue a run, or say why not."""
    step, reason = judge(schedule.overlap, previous, catches_up=catches_up)
    if step is Step.SKIP:
        return reason
    conn.execute("SAVEPOINT run")
    try:
        if previous is not None and step is not Step.RUN:
            if step is Step.REPLACE:
                params = cancel_params(previous, now, spec.actor)
                act(
                    conn, JobAction.CANCEL, params, None, replaced_by(spec.schedule or "", previous)
                )
            waited = stands_for(step, previous)
            spec = waits_for(spec, _not_over(conn, waited) if waited else [previous.id])
        [job] = enqueue(conn, [spec], now)
        if job.existing:
            raise Conflict(f"job '{job.id}' holds the unique value")
    except (Conflict, InvalidInput, NotFound) as error:
        conn.execute("ROLLBACK TO run")
        return error.message
    finally:
        conn.execute("RELEASE run")
    return job


def run_schedule(conn: Driver, name: str, spec: JobSpec, now: float) -> Job:
    row = conn.execute(SQL["schedule_by_name"], {"name": name}).fetchone()
    if row is None:
        raise no_schedule(name)
    schedule = _to_schedule(row)
    previous = _job(conn, schedule.last_job)
    found = _start(conn, schedule, spec, previous, now)
    if isinstance(found, str):
        raise Conflict(f"{found}; nothing was enqueued", f"see: queuectl schedule show {name}")
    ran = {"name": name, "last_job": found.seq, "success_at": success_of(previous)}
    conn.execute(SQL["schedule_ran"], ran)
    about: dict[str, Any] = {"job": found.seq, "job_id": found.id, "detail": run_detail(None)}
    record(conn, EventKind.SCHEDULE_FIRED, now, name=name, **about)
    deliver_all(conn, now)
    return found
