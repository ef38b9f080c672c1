"""Leases, claims and results, as transactions.

A function that changes something runs inside ``BEGIN IMMEDIATE`` (see ``Connection.write``).
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from ...domain.claims import AttemptResult, ClaimRequest, ClaimResult, by_queues
from ...domain.errors import Conflict, NotFound, StoreGone
from ...domain.lifecycle import claimed_ahead
from ...domain.model import Job, Outcome, SupervisorRow
from ...system.clocks import monotonic
from ..rows import result_params
from . import clock, statistics
from .connection import Driver
from .errors import BadValue
from .jobs import check_whole
from .namespaces import is_foreign, may_be_alive
from .queries import SQL, to_job
from .supervisors import shims_of, supervisors

T = TypeVar("T")


def settle_and_claim(conn: Driver, request: ClaimRequest) -> ClaimResult:
    owner, now, slots = request.owner, request.now, request.slots
    if slots:
        try:
            conn.file.check()
        except StoreGone:
            if not (request.results or request.started or request.released):
                raise
            slots = ()  # claim nothing, but write the results: the file may only have moved
    clock.follow(conn)  # before the new time decides what is due
    refused = _finish(conn, owner, request.results, now) if request.results else frozenset()
    for start in request.started:
        conn.execute(SQL["prefetch_started"], start._asdict() | {"owner": owner})
    for job in request.released:
        params = {"seq": job.seq, "run": job.runs, "owner": owner, "now": now}
        conn.execute(SQL["release"], params)
    claimed: list[Job] = []
    if slots and conn.execute(SQL["supervisor_live"], {"id": owner}).fetchone():
        conn.execute(SQL["promote"], {"now": now})
        for queues, workers in by_queues(slots):
            claimed += _claim(conn, request, queues, workers)
    next_due = conn.execute(SQL["next_due"]).fetchone()[0]
    return ClaimResult(refused, tuple(claimed), next_due)


def _finish(
    conn: sqlite3.Connection, owner: str, results: Sequence[AttemptResult], now: float
) -> frozenset[tuple[int, int]]:
    params = [result_params(one) | {"owner": owner} for one in results]
    taken = _settle(conn, results, params)
    written = params if len(taken) == len(results) else [result_params(one) for one in taken]
    conn.executemany(SQL["insert_attempt"], written)
    conn.executemany(SQL["insert_tail"], [one for one in written if one["tail"]])
    statistics.record(conn, taken, now)
    done: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for one in taken:
        if not one.attempt.worker:
            continue
        done[one.attempt.worker] += one.attempt.outcome is Outcome.COMPLETED
        if one.attempt.outcome in (Outcome.FAILED, Outcome.TIMEOUT, Outcome.CRASHED):
            failed[one.attempt.worker] += 1
    for worker in done:
        conn.execute(
            SQL["worker_counted"], {"id": worker, "done": done[worker], "failed": failed[worker]}
        )
    if len(taken) == len(results):
        return frozenset()
    left = list(results)  # a result that is given twice is taken once and refused once
    for one in taken:
        left.remove(one)
    return frozenset((one.seq, one.run) for one in left)


def _settle(
    conn: sqlite3.Connection, results: Sequence[AttemptResult], params: Sequence[dict[str, Any]]
) -> Sequence[AttemptResult]:
    """Change the jobs of ``results``. Returns the results of jobs that their owner still holds."""
    conn.execute("SAVEPOINT settling")
    if conn.executemany(SQL["finish"], params).rowcount == len(params):  # nearly always
        conn.execute("RELEASE settling")
        return results
    conn.execute("ROLLBACK TO settling")
    taken = [
        one
        for one, values in zip(results, params, strict=True)
        if conn.execute(SQL["finish"], values).rowcount
    ]
    conn.execute("RELEASE settling")
    return taken


def _claim(
    conn: sqlite3.Connection, request: ClaimRequest, queues: Sequence[str], workers: Sequence[str]
) -> list[Job]:
    names = queues or [row[0] for row in conn.execute(SQL["waiting_queues"])]
    found: list[tuple[Any, ...]] = []
    for name in dict.fromkeys(names):  # a queue that is named twice must not offer its jobs twice
        params = {"queue": name, "limit": len(workers), "suspects": request.suspects}
        found += [tuple(row) for row in conn.execute(SQL["candidates"], params)]
    found.sort(key=lambda row: (-row[1], row[2], row[0]))
    named = [worker for worker in workers if worker]
    ahead = claimed_ahead(len(found), len(named), len(workers) - len(named))
    params = {"owner": request.owner, "now": request.now}
    jobs = []
    for (seq, *_), worker in zip(found, named, strict=False):
        row = conn.execute(SQL["claim"], params | {"seq": seq, "worker": worker}).fetchone()
        jobs.append(to_job(_there(row, seq)))
    seqs = [seq for seq, *_ in found[len(named) : len(named) + ahead]]
    if seqs:
        rows = conn.execute(SQL["claim_ahead"], params | {"seqs": json.dumps(seqs)}).fetchall()
        claimed = {job.seq: job for job in map(to_job, rows)}
        jobs += [_there(claimed.get(seq), seq) for seq in seqs]
    return jobs


def _there(found: T | None, seq: int) -> T:
    """A row that an index names. If it is missing, the store is damaged."""
    if found is None:
        raise BadValue(f"an index has job {seq}, and the table has not")
    return found


def register(
    conn: Driver,
    row: SupervisorRow,
    workers: Sequence[tuple[str, tuple[str, ...]]],
    now: float,
) -> None:
    path, run_directory = conn.file.path, conn.file.run_directory
    check_whole(conn, path)
    for other in supervisors(conn):
        if is_foreign(other) and may_be_alive(
            other, shims_of(conn, other), run_directory, monotonic()
        ):
            raise Conflict(
                f"workers of store {path} are, or may be, alive in another pid namespace"
                f" (supervisor {other.id} on {other.host})",
                "stop them there first; workers of an SQLite store must be in one container",
            )
    conn.execute(SQL["register"], row._asdict() | {"now": now})
    add_workers(conn, row.id, workers, now, up=True)


def heartbeat(conn: sqlite3.Connection, row: SupervisorRow) -> bool:
    return conn.execute(SQL["heartbeat"], row._asdict()).rowcount == 1


def add_workers(
    conn: sqlite3.Connection,
    supervisor: str,
    workers: Sequence[tuple[str, tuple[str, ...]]],
    now: float,
    up: bool,
) -> None:
    if not conn.execute(SQL["supervisor_live"], {"id": supervisor}).fetchone():
        raise NotFound(f"supervisor {supervisor} is gone", "start the workers again")
    for worker, queues in workers:
        try:
            conn.execute(
                SQL["add_worker"],
                {
                    "id": worker,
                    "supervisor": supervisor,
                    "queues": json.dumps(queues),
                    "stop": None,
                    "up": up,
                    "now": now,
                },
            )
        except sqlite3.IntegrityError:
            raise Conflict("a worker of that name is there already", "try again") from None


def take_over(
    conn: sqlite3.Connection, dead: SupervisorRow, successor: str, now: float
) -> list[Job] | None:
    current = {row.id: row for row in supervisors(conn)}
    if successor not in current or not dead.is_unchanged(current.get(dead.id)):
        return None
    rows = conn.execute(
        SQL["take_over"], {"id": dead.id, "successor": successor, "now": now}
    ).fetchall()
    conn.execute(SQL["deregister"], {"id": dead.id})
    return [to_job(row) for row in rows]
