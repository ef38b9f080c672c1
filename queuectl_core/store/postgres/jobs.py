"""Enqueueing, reading and changing jobs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ...domain.errors import Conflict, InvalidInput
from ...domain.model import Command, Filter, Job, JobSpec, State
from ...system.clocks import monotonic
from ..protocol import ALLOWED, LAST, JobAction, changed_meanwhile
from ..rows import conditions, counted, is_counted, new_ids, spec_params, to_job
from .clock import ServerClock
from .session import JOBS, Session

KEYS = 0x71756575
"""The advisory lock that keeps single keys out of blocks of keys."""

T = TypeVar("T")

COLUMNS = (
    *("id", "command", "is_argv", "max_retries", "backoff_base", "priority", "run_at"),
    *("timeout_seconds", "cwd", "env", "queue", "nice", "memory_limit", "cpu_seconds"),
    "output_limit",
)


async def rows(
    session: Session, query: str, convert: Callable[[Any], T], values: Mapping[str, Any]
) -> list[T]:
    """The rows of a query, each converted."""
    return [convert(row) for row in await session.rows(query, **values)]


def check_text(spec: JobSpec) -> None:
    """InvalidInput for text with a NUL, which this store cannot keep."""
    words = (spec.command,) if isinstance(spec.command, str) else spec.command
    if any("\0" in text for text in (spec.id or "", *words, spec.cwd, spec.queue)):
        raise InvalidInput("a text holds a NUL, which no process can be given", "leave it out")


async def enqueue(session: Session, specs: Sequence[JobSpec], now: float) -> list[Job]:
    session.news = JOBS
    for spec in specs:
        check_text(spec)
    made: dict[str, Job] = {}
    given = [spec.id or "" for spec in specs]
    wanted = [
        spec if spec.id else spec._replace(id=name)
        for spec, name in zip(specs, new_ids(len(specs)), strict=True)
    ]
    rows = [spec_params(spec, now) for spec in wanted]
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    for row in await session.rows("insert_jobs", key=KEYS, now=now, **columns):
        made[row["id"]] = to_job(row)
    if len(made) < len(wanted):
        _refuse(given, made)
        # A generated id was taken, which nearly never happens. Nothing is enqueued.
        raise Conflict("could not find free ids", "try again")
    return [made[spec.id or ""] for spec in wanted]


def _refuse(given: Sequence[str], made: Mapping[str, Job]) -> None:
    for name in filter(None, given):
        if name not in made:
            raise Conflict(f"id '{name}' is taken", "choose another, or leave it out")
    for name in filter(None, given):
        if given.count(name) > 1:
            raise Conflict(f"id '{name}' is given twice", "choose another")


async def by_id(session: Session, ref: str) -> list[Job]:
    if "\0" in ref:
        return []
    exact = await session.row("job_by_id", id=ref)
    if exact is not None:
        return [to_job(exact)]
    return [to_job(row) for row in await session.rows("jobs_by_prefix", prefix=ref)]


async def by_seq(session: Session, seq: int) -> Job | None:
    row = await session.row("job_by_seq", seq=seq)
    return None if row is None else to_job(row)


def _states(where: Filter) -> list[str]:
    return list(dict.fromkeys(where.states))


async def scan(
    session: Session,
    where: Filter,
    limit: int,
    *,
    low: int = 0,
    high: int = LAST,
    up: bool = False,
) -> list[Job]:
    params = conditions(where) | {"low": low, "high": high, "limit": limit}
    params["states"] = _states(where) or None
    direction = "up" if up else "down"
    if where.seqs is not None:
        found = await session.rows("scan_seqs", seqs=list(where.seqs), up=up, **params)
    elif len(where.reasons) == 1 and State.DEAD in (where.states or State):  # by its own index
        found = await session.rows(f"scan_reason_{direction}", reason=where.reasons[0], **params)
    elif where.states:
        found = await session.rows(f"scan_states_{direction}", **params)
    else:
        found = await session.rows(f"scan_all_{direction}", **params)
    return [to_job(row) for row in found]


async def count_range(session: Session, where: Filter, low: int = 0, high: int = LAST) -> int:
    if where.seqs is not None:
        return len(await scan(session, where, len(where.seqs), low=low, high=high))
    if is_counted(where) and (low, high) == (0, LAST):
        return counted(await counts(session), where)
    params = conditions(where) | {"low": low, "high": high}
    if not where.states:
        return int(await session.value("count_all", **params))
    return int(await session.value("count_states", states=_states(where), **params))


async def counts(session: Session) -> dict[tuple[State, str], int]:
    return {(State(row["state"]), row["queue"]): row["n"] for row in await session.rows("counts")}


async def candidates(
    session: Session, where: Filter, after: int, until: int, limit: int
) -> list[int]:
    params = conditions(where) | {"after": after, "until": until, "limit": limit}
    if len(where.reasons) == 1:  # by its own index
        params["reason"] = where.reasons[0]
        found = await session.rows("bulk_reason", **params)
    else:
        found = await session.rows("bulk_states", states=_states(where), **params)
    return [row["seq"] for row in found]


async def change(
    session: Session, action: JobAction, seen: Sequence[Job], now: float, *, strict: bool
) -> list[tuple[int, int]]:
    wanted = {str(job.seq): [job.state, job.runs] for job in seen if job.state in ALLOWED[action]}
    params: dict[str, Any] = {
        "seqs": [int(seq) for seq in wanted],
        "states": [state.value for state in ALLOWED[action]],
        "seen": json.dumps(wanted),
        "now": now,
    }
    changed = await _change(session, action, conditions(Filter()) | params)
    if strict:
        done = {seq for seq, _ in changed}
        for job in seen:
            if job.seq not in done:
                raise changed_meanwhile(action, job, await by_seq(session, job.seq))
    return changed


async def change_matching(
    session: Session, action: JobAction, where: Filter, seqs: Sequence[int], now: float
) -> list[tuple[int, int]]:
    states = [state.value for state in where.narrowed(ALLOWED[action]).states]
    params: dict[str, Any] = {"seqs": list(seqs), "states": states, "seen": None, "now": now}
    return await _change(session, action, conditions(where) | params)


async def _change(
    session: Session, action: JobAction, params: dict[str, Any]
) -> list[tuple[int, int]]:
    rows = await session.rows(action.value, **params)
    return [(row["seq"], row["runs"]) for row in rows]


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


async def set_config(session: Session, values: Mapping[str, str | None]) -> None:
    kept = {key: value for key, value in values.items() if value is not None}
    gone = sorted(values.keys() - kept.keys())
    if gone:
        await session.run("config_unset", keys=gone)
    if kept:
        await session.run("config_set", keys=list(kept), values=list(kept.values()))


async def changes(session: Session, clock: ServerClock) -> tuple[Any, ...]:
    asked = monotonic()
    row = await session.row("changes")
    clock.read(row["clock"], asked, monotonic())
    return row["last"], row["number"], row["total"]
