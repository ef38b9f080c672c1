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
from ..rows import event_row, schedule_params, to_job, to_schedule
from .admission import act
from .events import record
from .hooks import deliver_all
from .jobs import check_text, enqueue, insert
from .session import NEW_JOBS, Session


async def add_schedule(session: Session, schedule: Schedule, now: float) -> None:
    if not await session.execute("schedule_add", **schedule_params(schedule)):
        raise there_already(schedule.name)
    await _changed(session, schedule.name, now, {"action": "added"})


async def change_schedule(
    session: Session, seen: Schedule, new: Schedule, detail: Mapping[str, Any], now: float
) -> bool:
    params = schedule_params(new) | {"version": seen.version, "seen_at": seen.next_at}
    if not await session.execute("schedule_change", **params):
        return False
    await _changed(session, new.name, now, detail)
    return True


async def remove_schedule(session: Session, name: str, now: float) -> bool:
    if not await session.execute("schedule_remove", name=name):
        return False
    await _changed(session, name, now, {"action": "removed"})
    return True


async def _changed(session: Session, name: str, now: float, detail: Mapping[str, Any]) -> None:
    await record(session, EventKind.SCHEDULE_CHANGED, now, name=name, detail=detail)


async def fire(session: Session, firings: Sequence[Firing], now: float) -> list[Fired]:
    session.news = NEW_JOBS
    names = [firing.schedule.name for firing in firings]
    rows = {row["name"]: row for row in await session.rows("schedules_locked", names=names)}
    ours = [one for one in firings if _is_same(one.schedule, rows.get(one.schedule.name))]
    if not ours:
        return []
    last = {one.schedule.name: rows[one.schedule.name]["last_job"] for one in ours}
    seqs = [seq for seq in last.values() if seq is not None]
    known = {row["seq"]: to_job(row) for row in await session.rows("jobs_by_seqs", seqs=seqs)}
    outcomes = [Outcome(one, last[one.schedule.name], known) for one in ours]
    simple = [one for one in outcomes if _is_simple(one)]
    await _enqueue_together(session, simple, now)
    for one in outcomes:
        if one not in simple:
            await _enqueue_in_order(session, one, now)
    await session.execute("schedules_fired", **_columns([one.changes() for one in outcomes]))
    await _tell(session, [event for one in outcomes for event in one.events()], now)
    await deliver_all(session, now)
    return [one.fired() for one in outcomes]


def _is_same(seen: Schedule, row: Any) -> bool:
    """Whether nobody has fired or changed the schedule since it was read."""
    if row is None or row["paused_at"] is not None:
        return False
    return (seen.version, seen.next_at) == (row["version"], row["next_at"])


def _is_simple(one: Outcome) -> bool:
    """Whether its run can be enqueued together with those of other schedules."""
    spec, plan = one.firing.spec, one.firing.plan
    if spec is None or len(plan.times) != 1 or spec.parents or spec.unique is not None:
        return False
    step, _ = judge(one.overlap, one.previous, catches_up=plan.catches_up)
    return step is Step.RUN


async def _enqueue_together(session: Session, chosen: Sequence[Outcome], now: float) -> None:
    """One run of each schedule, in one statement."""
    specs: list[JobSpec] = []
    wanted: list[tuple[Outcome, float, str]] = []
    for one in chosen:
        [at] = one.firing.plan.times
        spec = one.firing.spec_at(at)
        if spec is None:
            continue
        try:
            check_text(spec)
        except InvalidInput as error:
            one.take(at, error.message)
            continue
        specs.append(spec)
        wanted.append((one, at, spec.id or ""))
    made = await insert(session, specs, now) if specs else {}
    for one, at, name in wanted:
        one.take(at, made.get(name, f"id '{name}' is taken"))


async def _enqueue_in_order(session: Session, one: Outcome, now: float) -> None:
    plan = one.firing.plan
    for at in plan.times:
        spec = one.firing.spec_at(at)
        found: Job | str = one.firing.problem
        if spec is not None:
            found = await _start(
                session, one.overlap, spec, one.previous, now, catches_up=plan.catches_up
            )
        one.take(at, found)


async def _not_over(session: Session, ids: Sequence[str]) -> list[str]:
    found = {row["id"] for row in await session.rows("not_over", ids=list(ids))}
    return [name for name in ids if name in found]


async def _start(
    session: Session,
    overlap: str,
    spec: JobSpec,
    previous: Job | None,
    now: float,
    *,
    catches_up: bool = False,
) -> Job | str:
    """Enqueue a run, or say why not."""
    step, reason = judge(overlap, previous, catches_up=catches_up)
    if step is Step.SKIP:
        return reason
    await session.execute("before_run")
    try:
        if previous is not None and step is not Step.RUN:
            if step is Step.REPLACE:
                params = cancel_params(previous, now, spec.actor)
                await act(
                    session,
                    JobAction.CANCEL,
                    params,
                    None,
                    replaced_by(spec.schedule or "", previous),
                )
            waited = stands_for(step, previous)
            spec = waits_for(spec, await _not_over(session, waited) if waited else [previous.id])
        [job] = await enqueue(session, [spec], now)
        if job.existing:
            raise Conflict(f"job '{job.id}' holds the unique value")
    except (Conflict, InvalidInput, NotFound) as error:
        await session.execute("as_before_run")
        return error.message
    await session.execute("after_run")
    return job


def _columns(changes: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = {"name": "names"}
    return {names.get(key, key): [one[key] for one in changes] for key in changes[0]}


async def _tell(
    session: Session, events: Sequence[tuple[EventKind, dict[str, Any]]], now: float
) -> None:
    if not events:
        return
    row = event_row(session.signature, "", now)
    await session.execute(
        "insert_schedule_events",
        at=now,
        actor=row["actor"],
        via="schedule",
        kinds=[str(kind) for kind, _ in events],
        jobs=[about.get("job") for _, about in events],
        ids=[about.get("job_id") for _, about in events],
        names=[about["name"] for _, about in events],
        counts=[about.get("count") for _, about in events],
        details=[json.dumps(about["detail"]) for _, about in events],
    )


async def run_schedule(session: Session, name: str, spec: JobSpec, now: float) -> Job:
    session.news = NEW_JOBS
    row = await session.row("schedule_held", name=name)
    if row is None:
        raise no_schedule(name)
    schedule = to_schedule(row)
    previous = None
    if schedule.last_job is not None:
        found_row = await session.row("job_by_seq", seq=schedule.last_job)
        previous = None if found_row is None else to_job(found_row)
    found = await _start(session, schedule.overlap, spec, previous, now)
    if isinstance(found, str):
        raise Conflict(f"{found}; nothing was enqueued", f"see: queuectl schedule show {name}")
    success = success_of(previous)
    await session.execute("schedule_ran", name=name, last_job=found.seq, success_at=success)
    about: dict[str, Any] = {"job": found.seq, "job_id": found.id, "detail": run_detail(None)}
    await record(session, EventKind.SCHEDULE_FIRED, now, name=name, **about)
    await deliver_all(session, now)
    return found
