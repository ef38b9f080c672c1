"""Enqueueing, reading and changing jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ...domain.errors import Conflict, InvalidInput
from ...domain.events import EventKind
from ...domain.model import Filter, Job, JobSpec, State
from ...system.clocks import monotonic
from ..protocol import LAST
from ..rows import conditions, held_unique, new_ids, spec_params, to_job, unscheduled
from .admission import NewJobs, connect_parents, connect_replaced, replace_job, unique_holder
from .errors import damaged
from .events import record, record_jobs
from .session import NEW_JOBS, Session

KEYS = 0x71756575
"""The advisory lock for taking keys. Nobody takes a key while a block of keys is taken."""

MOST_TURNS = 100
"""For more unique values than this no turns are taken: the server can keep only so many locks. Then
a deadlock is possible, and the transaction is done again."""

T = TypeVar("T")

COLUMNS = (
    *("id", "command", "is_argv", "max_retries", "backoff_base", "priority", "run_at"),
    *("timeout_seconds", "cwd", "env", "queue", "nice", "memory_limit", "cpu_seconds"),
    *("output_limit", "key", "unique", "unique_until", "unique_for", "parents"),
    *("on_parent_failure", "hold", "held_by", "secrets", "schedule"),
    "scheduled_at",
)
"""The parameters of ``insert_jobs`` and of a bulk enqueue that come from a spec."""


async def rows(
    session: Session,
    query: str,
    convert: Callable[[Any], T],
    values: Mapping[str, Any],
    check: Callable[[list[T]], None] | None = None,
) -> list[T]:
    """The rows of a query, each converted. ``check`` gets them and may raise an error. StoreDamaged
    if a row cannot be converted."""
    read = await session.rows(query, **values)
    try:
        found = [convert(row) for row in read]
    except ValueError as error:
        raise damaged(session.shown, str(error)) from error
    if check is not None:
        check(found)
    return found


def check_text(spec: JobSpec) -> None:
    """InvalidInput for text with a NUL, which this store cannot keep."""
    words = (spec.command,) if isinstance(spec.command, str) else spec.command
    parents = (*spec.after, *spec.after_any, *spec.after_failed)
    more = (spec.key or "", spec.unique or "", spec.actor)
    if any("\0" in text for text in (spec.id or "", *words, spec.cwd, spec.queue, *parents, *more)):
        raise InvalidInput("a text holds a NUL, which no process can be given", "leave it out")


async def enqueue(session: Session, specs: Sequence[JobSpec], now: float) -> list[Job]:
    session.news = NEW_JOBS
    for spec in specs:
        check_text(spec)
    if any(spec.unique is not None for spec in specs):
        return await _enqueue_unique(session, specs, now)
    made = await _insert(session, specs, now)
    if told := unscheduled(made):
        await record_jobs(session, EventKind.ENQUEUED, now, told)
    if any(spec.parents for spec in specs):
        await _connect(session, made, now)
        made = await _again(session, made)
    return made


async def insert(session: Session, specs: Sequence[JobSpec], now: float) -> dict[str, Job]:
    """The new jobs by id. Those whose id or unique value is taken are left out. Each spec has an
    id."""
    rows = [spec_params(spec, now) for spec in specs]
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    columns["has_stdin"] = [row["stdin"] is not None for row in rows]
    found = await session.rows("insert_jobs", gate=KEYS, now=now, **columns)
    made = {row["id"]: to_job(row) for row in found}
    inputs = {
        made[row["id"]].seq: row["stdin"]
        for row in rows
        if row["stdin"] is not None and row["id"] in made
    }
    if inputs:
        await session.execute("insert_inputs", jobs=list(inputs), inputs=list(inputs.values()))
    return made


async def _insert(session: Session, specs: Sequence[JobSpec], now: float) -> list[Job]:
    """The new jobs, in the order of ``specs``. Empty if the unique value of the only one was taken
    meanwhile."""
    given = [spec.id or "" for spec in specs]
    wanted = [
        spec if spec.id else spec._replace(id=name)
        for spec, name in zip(specs, new_ids(len(specs)), strict=True)
    ]
    made = await insert(session, wanted, now)
    if len(made) < len(wanted):
        is_unique = len(specs) == 1 and specs[0].unique is not None
        if is_unique and not await session.rows("ids_taken", ids=[wanted[0].id]):
            return []
        _refuse(given, made)
        # A generated id was taken, which nearly never happens. Nothing is enqueued.
        raise Conflict("could not find free ids", "try again")
    return [made[spec.id or ""] for spec in wanted]


async def _connect(session: Session, made: Sequence[Job], now: float) -> None:
    """Record what new jobs wait for, and judge them."""
    seqs = sorted(job.seq for job in made)
    await connect_parents(session, NewJobs(seqs[0], seqs[-1], seqs), now)


async def _again(session: Session, made: Sequence[Job]) -> list[Job]:
    """The jobs as they are now. Those that were removed meanwhile are returned as they were."""
    seqs = [job.seq for job in made]
    found = {row["seq"]: to_job(row) for row in await session.rows("jobs_by_seqs", seqs=seqs)}
    return [found.get(job.seq, job) for job in made]


async def _enqueue_unique(session: Session, specs: Sequence[JobSpec], now: float) -> list[Job]:
    """One after another, because a value may be given twice."""
    answer: list[Job] = []
    made: list[Job] = []
    await take_turns(session, {spec.unique for spec in specs if spec.unique is not None})
    existing: list[bool] = []
    replaced: list[int] = []
    for spec in specs:
        job, is_new = await _insert_or_hold(session, spec, now)
        answer.append(job)
        existing.append(not is_new)
        made += [job] * is_new
        replaced += [job.seq] * (not is_new and spec.on_conflict == "replace")
    if told := unscheduled(made):
        await record_jobs(session, EventKind.ENQUEUED, now, told)
    # After all of them are there, because a job may wait for one that comes later.
    if any(spec.parents for spec in specs) and made:
        await _connect(session, made, now)
    await connect_replaced(session, replaced, now)
    again = await _again(session, answer)
    return [job._replace(existing=known) for job, known in zip(again, existing, strict=True)]


async def take_turns(session: Session, values: set[str]) -> None:
    """Wait for others that enqueue some of these unique values, unless there are very many."""
    if 0 < len(values) <= MOST_TURNS:
        await session.rows("unique_turns", values=sorted(values))


async def _insert_or_hold(session: Session, spec: JobSpec, now: float) -> tuple[Job, bool]:
    """The new job, or the one that holds its unique value; and whether it is new.

    An insert waits for a transaction that is inserting the same value. If that one is undone, the
    value is free, so we look again.
    """
    while True:
        holder = None
        if spec.unique is not None:
            replaces = spec.on_conflict == "replace"
            holder = await unique_holder(session, spec.unique, now, lock=replaces)
        if holder is None:
            made = await _insert(session, [spec], now)
            if made:
                return made[0], True
            continue
        if spec.on_conflict == "fail":
            raise held_unique(holder)
        if spec.on_conflict == "replace":
            await replace_job(session, holder, spec_params(spec, now), now)
        return holder, False


def _refuse(given: Sequence[str], made: Mapping[str, Job]) -> None:
    for name in filter(None, given):
        if name not in made:
            raise Conflict(f"id '{name}' is taken", "choose another, or leave it out")
    for name in filter(None, given):
        if given.count(name) > 1:
            raise Conflict(f"id '{name}' is given twice", "choose another")


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


async def set_config(
    session: Session, key: str, value: str | None, now: float | None = None
) -> None:
    old = await session.value("config_value", key=key)
    if value == old:
        return
    if value is None:
        await session.execute("config_unset", key=key)
    else:
        await session.execute("config_set", key=key, value=value)
    detail = {"old": old, "new": value}
    await record(session, EventKind.CONFIG_CHANGED, now, name=key, detail=detail)


async def changes(session: Session) -> tuple[Any, ...]:
    asked = monotonic()
    row = await session.row("changes")
    session.clock.read(row["clock"], asked, monotonic())
    return row["last"], row["number"], row["total"]
