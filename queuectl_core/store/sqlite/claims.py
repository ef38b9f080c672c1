"""Leases, claims and results, as transactions.

A function that changes something runs inside ``BEGIN IMMEDIATE`` (see ``Connection.write``).
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, TypeVar

from ...domain.admission import Candidate, Room, started_at
from ...domain.claims import AttemptResult, ClaimRequest, ClaimResult, by_queues
from ...domain.errors import Conflict, NotFound, StoreGone
from ...domain.events import EventKind
from ...domain.lifecycle import claimed_ahead
from ...domain.model import Job, Outcome, QueueSettings, SupervisorRow
from ...system.clocks import monotonic
from ..hooks import Deliveries
from ..rows import WORKER, report_params, result_params, started_detail
from . import clock, statistics
from .admission import (
    ToldStart,
    all_settings,
    choose_heads,
    judge_marked,
    room_in,
    started,
    starting,
)
from .connection import Driver
from .errors import BadValue
from .events import record
from .hooks import deliver, deliver_all, pause_gone
from .jobs import check_whole
from .namespaces import is_foreign, may_be_alive
from .queries import SQL, to_job
from .supervisors import shims_of, supervisors

ROUNDS = 4
"""How often one claim chooses the first jobs of more keys, if there are too few jobs for it."""

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
    told: list[ToldStart] = [
        (one.seq, one.run, started_at(one.attempt))
        for one in request.results
        if (one.seq, one.run) not in refused
    ]
    for start in request.started:
        if conn.execute(SQL["attempt_started"], start._asdict() | {"owner": owner}).rowcount:
            told.append((start.seq, start.run, start.started_at))
    for job in request.released:
        params = {"seq": job.seq, "run": job.runs, "owner": owner, "now": now}
        if conn.execute(SQL["give_back"], params).rowcount:
            told.append((job.seq, job.runs, None))
    if told:
        started(conn, told)
    more, freed = judge_marked(conn, now)
    if slots:
        conn.execute(SQL["promote"], {"now": now})
    limited, marked, happened = conn.execute(SQL["admission_used"]).fetchone()
    settings = all_settings(conn) if limited else {}
    delivered = deliver(conn, now, "worker") if happened else Deliveries()
    more = more or delivered.more
    looks = [now] if more else []
    claimed: list[Job] = []
    delayed = more
    rated: set[str] = set()
    if slots and conn.execute(SQL["supervisor_live"], {"id": owner}).fetchone():
        for queues, workers in by_queues(slots):
            claim = _Claim(conn, request, settings, workers, marked=bool(marked))
            claimed += claim.run(queues)
            looks += claim.looks
            delayed = delayed or claim.delayed
            rated |= claim.rated
    next_due = conn.execute(SQL["next_due"]).fetchone()[0]
    if next_due is not None:
        looks.append(next_due)
    # An attempt with a key has marked it.
    left = bool(limited or marked) and _left_for_others(conn, request, settings)
    return ClaimResult(
        refused,
        tuple(claimed),
        min(looks, default=None),
        delayed,
        bool(freed) or left or delivered.wakes,
        frozenset(rated),
    )


def _left_for_others(
    conn: sqlite3.Connection, request: ClaimRequest, settings: Mapping[str, QueueSettings]
) -> bool:
    """Whether attempts have ended that kept jobs from starting, and other supervisors may start
    those."""
    ended = [result.seq for result in request.results] + [job.seq for job in request.released]
    if not ended or conn.execute(SQL["supervisor_count"]).fetchone()[0] < 2:
        return False
    params = {"seqs": json.dumps(ended), "limited": json.dumps(list(settings))}
    return conn.execute(SQL["held_up"], params).fetchone() is not None


def _finish(
    conn: Driver, owner: str, results: Sequence[AttemptResult], now: float
) -> frozenset[tuple[int, int]]:
    params = [result_params(one) | {"owner": owner} for one in results]
    taken = _settle(conn, results, params)
    written = params if len(taken) == len(results) else [result_params(one) for one in taken]
    conn.executemany(SQL["insert_attempt"], written)
    conn.executemany(SQL["insert_tail"], [one for one in written if one["tail"]])
    if reports := report_params(taken):
        conn.executemany(SQL["reported"], reports)
        conn.executemany(
            SQL["insert_result"], [one for one in reports if one["result"] is not None]
        )
    conn.execute(SQL["unique_ended"], {"seqs": json.dumps([one.seq for one in taken])})
    statistics.record(conn, taken, now)
    pause_gone(conn, taken, now)
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


class _Claim:
    """Claims jobs for workers that serve the same queues."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        request: ClaimRequest,
        settings: Mapping[str, QueueSettings],
        workers: Sequence[str],
        *,
        marked: bool,
    ) -> None:
        self._marked = marked
        self._conn = conn
        self._request = request
        self._settings = settings
        self._workers = workers
        self._idle = [worker for worker in workers if worker]
        self.looks: list[float] = []
        """When to look again, although no attempt ends."""
        self.delayed = False
        """A due job waits for the rate of its queue, or there may be more for a further claim."""
        self.rated: set[str] = set()
        """The queues with a rate of which jobs were claimed."""

    def run(self, queues: Sequence[str]) -> list[Job]:
        """The claimed jobs: first those for idle workers, then the prefetched ones."""
        conn, request, idle = self._conn, self._request, self._idle
        names = queues or [row[0] for row in conn.execute(SQL["waiting_queues"])]
        found: list[Candidate] = []
        rated: set[int] = set()
        for name in dict.fromkeys(names):  # a queue that is named twice must not offer jobs twice
            there = self._candidates(name)
            found += there
            settings = self._settings.get(name)
            if settings is not None and settings.rate is not None:
                rated.update(one.seq for one in there)
        found.sort(key=lambda one: one.place)
        seqs = [one.seq for one in found]
        # Jobs of a queue with a rate are not prefetched: they would use it up while they wait. Nor
        # is what comes after them, or no worker would ever become idle for them.
        following = list(takewhile(lambda seq: seq not in rated, seqs[len(idle) :]))
        wanted = len(self._workers) - len(idle)
        ahead = claimed_ahead(len(idle) + len(following), len(idle), wanted)
        params = {"owner": request.owner, "now": request.now}
        jobs = []
        for seq, worker in zip(seqs, idle, strict=False):
            row = conn.execute(SQL["claim"], params | {"seq": seq, "worker": worker}).fetchone()
            jobs.append(to_job(_there(row, seq)))
        self._free_unique(jobs)
        self._record([job for job in jobs if job.seq in rated])
        seqs = following[:ahead]
        if seqs:
            rows = conn.execute(SQL["claim_ahead"], params | {"seqs": json.dumps(seqs)}).fetchall()
            claimed = {job.seq: job for job in map(to_job, rows)}
            jobs += [_there(claimed.get(seq), seq) for seq in seqs]
        return jobs

    def _candidates(self, name: str) -> list[Candidate]:
        """The first jobs of a queue, as many as may start."""
        limit = len(self._workers)
        settings = self._settings.get(name)
        params: dict[str, Any] = {"queue": name, "suspects": self._request.suspects}
        if settings is not None:
            room = room_in(self._conn, settings, self._request.owner, self._request.now)
            if room.free is not None:
                limit = min(limit, room.free)
        more = self._marked and choose_heads(self._conn, settings or QueueSettings(name))
        if settings is not None:
            self._look(name, room)
        if limit <= 0:
            return []
        for _ in range(ROUNDS):
            rows = self._conn.execute(SQL["candidates"], params | {"limit": limit}).fetchall()
            if len(rows) == limit or not more:
                break
            more = choose_heads(self._conn, settings or QueueSettings(name))
        else:
            self.looks.append(self._request.now)
            self.delayed = True
        return [Candidate(*row) for row in rows]

    def _free_unique(self, jobs: Sequence[Job]) -> None:
        """Jobs that start now hold a unique value no longer, if it is held until the start."""
        started = [job.seq for job in jobs if job.holds_unique and job.unique_until == "start"]
        if started:
            self._conn.execute(SQL["unique_started"], {"seqs": json.dumps(started)})

    def _record(self, jobs: Sequence[Job]) -> None:
        """These jobs of queues with a rate were claimed."""
        now = self._request.now
        self.rated = {job.queue for job in jobs}
        for name in self.rated:
            settings = self._settings[name]
            starting(self._conn, settings, [job for job in jobs if job.queue == name], now)
            # This may have used the rate up.
            self._look(name, room_in(self._conn, settings, self._request.owner, now))

    def _look(self, name: str, room: Room) -> None:
        """Look again when there is more room. Whether a job waits for the rate only."""
        if room.next_at is None:
            return
        self.looks.append(room.next_at)
        params = {"queue": name, "suspects": self._request.suspects, "limit": 1}
        if room.by_rate and self._conn.execute(SQL["candidates"], params).fetchone():
            self.delayed = True


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
    if not workers:
        record(conn, EventKind.WORKER_STARTED, now, name=row.id, detail={"workers": []}, via=WORKER)


def heartbeat(conn: sqlite3.Connection, row: SupervisorRow) -> bool:
    return conn.execute(SQL["heartbeat"], row._asdict()).rowcount == 1


def add_workers(
    conn: Driver,
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
    if workers:
        detail = started_detail(workers)
        via = WORKER if up else None
        record(conn, EventKind.WORKER_STARTED, now, name=supervisor, detail=detail, via=via)


def deregister(conn: Driver, supervisor: str, now: float | None = None) -> None:
    there = [row[0] for row in conn.execute(SQL["workers_of"], {"id": supervisor})]
    if conn.execute(SQL["deregister"], {"id": supervisor}).rowcount:
        detail = {"workers": there}
        record(conn, EventKind.WORKER_STOPPED, now, name=supervisor, detail=detail, via=WORKER)


def workers_gone(conn: Driver, workers: Sequence[str], now: float | None = None) -> None:
    found: dict[str, list[str]] = {}
    params = {"ids": json.dumps(list(workers))}
    for worker, supervisor in conn.execute(SQL["workers_gone"], params).fetchall():
        found.setdefault(supervisor, []).append(worker)
    for supervisor, gone in found.items():
        detail = {"workers": sorted(gone)}
        record(conn, EventKind.WORKER_STOPPED, now, name=supervisor, detail=detail, via=WORKER)


def take_over(conn: Driver, dead: SupervisorRow, successor: str, now: float) -> list[Job] | None:
    current = {row.id: row for row in supervisors(conn)}
    if successor not in current or not dead.is_unchanged(current.get(dead.id)):
        return None
    rows = conn.execute(
        SQL["take_over"], {"id": dead.id, "successor": successor, "now": now}
    ).fetchall()
    conn.execute(SQL["deregister"], {"id": dead.id})
    detail = {"host": dead.host, "jobs": len(rows), "successor": successor}
    record(conn, EventKind.WORKER_LOST, now, name=dead.id, detail=detail, via=WORKER)
    deliver_all(conn, now)
    return [to_job(row) for row in rows]
