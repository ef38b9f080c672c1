"""Leases, claims and results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from ...domain.claims import AttemptResult, ClaimRequest, ClaimResult, by_queues
from ...domain.errors import Conflict, NotFound
from ...domain.model import Job, SupervisorRow
from ...domain.rollup import by_minute
from ...system.clocks import monotonic
from ..rows import result_params, to_job, to_supervisor
from . import statistics
from .queries import query
from .session import Session

SOON = 0.01
"""Seconds until the next look at jobs that other transactions had locked."""

CLAIM_EXTRA = 3
"""How many columns of a claim come before those of the job."""

Key = tuple[int, int]
"""(seq, run): one attempt."""


async def settle_and_claim(session: Session, request: ClaimRequest) -> ClaimResult:
    refused: frozenset[Key] = frozenset()
    claimed: list[Job] = []
    next_due: float | None = None
    if request.results or request.started or request.released:
        refused, next_due = await _settle(session, request)
    elif not request.slots:
        next_due = await session.value("next_due")
    for queues, workers in by_queues(request.slots):
        taken, next_due = await _claim(session, request, queues, workers)
        claimed += taken
    return ClaimResult(refused, tuple(claimed), next_due)


async def waiting(session: Session, request: ClaimRequest) -> ClaimResult | None:
    """The result for a supervisor that only claims and would find no job; None: it must claim."""
    slots = request.slots
    names = {queue for slot in slots for queue in slot.queues}
    every = any(not slot.queues for slot in slots)
    row = await session.row("waiting", queues=None if every else sorted(names))
    due: float | None = row["next_due"]
    if row["ready"] or (due is not None and due <= request.now):
        return None
    return ClaimResult(frozenset(), (), due)


async def _settle(session: Session, request: ClaimRequest) -> tuple[frozenset[Key], float | None]:
    owner, results, now = request.owner, request.results, request.now
    first: dict[Key, AttemptResult] = {}
    for result in results:
        first.setdefault((result.seq, result.run), result)
    rows = [_result_params(result) for result in first.values()]
    starts = [one for one in request.started if (one.seq, one.run) not in first]
    freed = [one for one in request.released if (one.seq, one.runs) not in first]
    values: dict[str, Any] = {
        "owner": owner,
        "now": now,
        "prefetch_seq": [one.seq for one in starts],
        "prefetch_run": [one.run for one in starts],
        "prefetch_worker": [one.worker for one in starts],
        "prefetch_at": [one.started_at for one in starts],
        "released_seq": [one.seq for one in freed],
        "released_run": [one.runs for one in freed],
        "minutes": list(by_minute(list(first.values()))),
        "mark": session.mark,
    }
    # All other parameters of the query are columns of the results.
    values |= {
        name: [one[name] for one in rows] for name in query("settle").names if name not in values
    }
    row = await session.row("settle", **values)
    session.marked = True
    accepted = set(zip(row["seqs"], row["runs"], strict=True))
    there = dict(zip(row["minutes"], row["sums"], strict=True))
    written = [first[key] for key in first if key in accepted]
    await statistics.record(session, owner, written, now, there)
    twice = [(result.seq, result.run) for result in results if first[_key(result)] is not result]
    return frozenset(first.keys() - accepted) | frozenset(twice), row["next_due"]


def _key(result: AttemptResult) -> Key:
    return result.seq, result.run


def _result_params(result: AttemptResult) -> dict[str, Any]:
    params = result_params(result)
    return params | {name: _text(params[name]) for name in ("last_error", "reason")}


def _text(text: str | None) -> str | None:
    """The text without characters that a text column cannot hold. A result is never refused for
    its text."""
    if text is None:
        return None
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


async def _claim(
    session: Session, request: ClaimRequest, queues: Sequence[str], workers: Sequence[str]
) -> tuple[list[Job], float | None]:
    names = list(dict.fromkeys(queues)) or None
    idle = [worker for worker in workers if worker]
    ahead = [""] * (len(workers) - len(idle))
    found = await session.rows(
        "claim",
        owner=request.owner,
        queues=names,
        workers=idle + ahead,
        idle=len(idle),
        now=request.now,
        suspects=request.suspects,
        mark=None if session.marked else session.mark,
    )
    jobs = [to_job(tuple(row)[CLAIM_EXTRA:]) for row in found if row["seq"] is not None]
    session.marked = session.marked or bool(jobs)
    return jobs, request.now + SOON if found[0]["crowded"] else found[0]["next_due"]


async def register(
    session: Session,
    row: SupervisorRow,
    workers: Sequence[tuple[str, tuple[str, ...]]],
    now: float,
) -> None:
    ours = await session.execute(
        "register", **row._asdict(), now=now, lease=row.lease_until - row.heartbeat_at
    )
    ids, queues = _columns(workers)
    if ours and ids:
        known = await session.execute(
            "registered_workers", supervisor=row.id, ids=ids, queues=queues, now=now
        )
        ours = known == len(ids)
    if not ours:
        raise Conflict("a supervisor or worker of that name is there already", "try again")
    # Asked last. Either we see the mark, or the transaction that sets it sees our registration.
    mark = await session.value("copy_mark")
    if mark is not None:
        from ..copy import half_copied

        raise half_copied(session.shown, mark)


async def heartbeat(session: Session, row: SupervisorRow) -> bool:
    asked = monotonic()
    lease = row.lease_until - row.heartbeat_at
    beat = await session.value("heartbeat", id=row.id, lease=lease, lease_mono=row.lease_mono)
    if beat is not None:
        session.clock.read(beat, asked, monotonic())
    return beat is not None


async def add_workers(
    session: Session,
    supervisor: str,
    workers: Sequence[tuple[str, tuple[str, ...]]],
    now: float,
    up: bool,
) -> None:
    if await session.value("supervisor_kept", id=supervisor) is None:
        raise NotFound(f"supervisor {supervisor} is gone", "start the workers again")
    ids, queues = _columns(workers)
    try:
        await session.execute(
            "add_workers", supervisor=supervisor, ids=ids, queues=queues, up=up, now=now
        )
    except asyncpg.UniqueViolationError:
        raise Conflict("a worker of that name is there already", "try again") from None


def _columns(workers: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[list[str], list[str]]:
    """The ids, and the queues of each worker as they are stored."""
    return [worker for worker, _ in workers], [json.dumps(queues) for _, queues in workers]


async def take_over(
    session: Session, dead: SupervisorRow, successor: str, now: float
) -> list[Job] | None:
    held = await session.rows("supervisors_held", ids=[dead.id, successor])
    current = {row["id"]: to_supervisor(row) for row in held}
    if successor not in current or not dead.is_unchanged(current.get(dead.id)):
        return None
    rows = await session.rows("take_over", id=dead.id, successor=successor, now=now)
    await session.execute("deregister", id=dead.id)
    return [to_job(row) for row in rows]


async def dismiss(session: Session, dead: SupervisorRow) -> bool:
    held = [to_supervisor(row) for row in await session.rows("supervisors_held", ids=[dead.id])]
    if not dead.is_unchanged(next(iter(held), None)) or await session.value("holds", id=dead.id):
        return False
    await session.execute("deregister", id=dead.id)
    return True
