"""Leases, claims and results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

from ...domain.admission import (
    RATE_MARGIN,
    Room,
    Start,
    kept_start,
    rate_window,
    room,
    started_at,
)
from ...domain.claims import AttemptResult, ClaimRequest, ClaimResult, by_queues
from ...domain.errors import Conflict, NotFound
from ...domain.events import EventKind
from ...domain.hooks import QUEUE, may_be_unwanted
from ...domain.model import Job, QueueSettings, SupervisorRow
from ...domain.rollup import by_minute
from ...system.clocks import monotonic
from ..rows import (
    WORKER,
    report_params,
    result_params,
    started_detail,
    to_job,
    to_queue,
    to_supervisor,
)
from . import statistics
from .admission import judge_marked
from .events import record
from .hooks import deliver, deliver_all, pause_gone
from .queries import query
from .session import Session

SOON = 0.01
"""Seconds until the next look at jobs that other transactions had locked."""

CLAIM_EXTRA = 6
"""How many columns of a claim come before those of the job."""

KEYS = 500
"""Marks of keys that are read at a time, if one job of each key may run."""

CHOOSING = 0.02
"""Seconds after which a claim leaves the other marks of keys to the next one. It holds the row of
the queue, so nobody else can claim there meanwhile."""

Key = tuple[int, int]
"""(seq, run): one attempt."""


class _Settled(NamedTuple):
    """What follows from writing results."""

    refused: frozenset[Key] = frozenset()
    next_due: float | None = None
    judge: bool = False
    """Children of parents that have ended must be judged."""
    limited: bool = False
    """There are queues that a claim must lock."""
    happened: bool = False
    """Something may have happened for which there is a hook."""
    held_up: tuple[str, ...] = ()
    """Queues in which the end of an attempt may let a job start on another supervisor."""


async def settle_and_claim(session: Session, request: ClaimRequest) -> ClaimResult:
    settled, now = _Settled(), request.now
    if request.results or request.started or request.released:
        settled = await _settle(session, request)
    elif not request.slots:
        row = await session.row("next_due")
        settled = _Settled(next_due=row["next_due"], judge=row["judge"])
    claim = _Claim(session, request, judged=settled.judge)
    if settled.judge:
        await claim.judge()
    groups = by_queues(request.slots)
    if groups and settled.limited:
        due = settled.next_due is not None and settled.next_due <= now
        await claim.admit(due=due)
    claimed: list[Job] = []
    if not groups and settled.next_due is not None:
        claim.looks.append(settled.next_due)
    for queues, workers in groups:
        claimed += await claim.run(queues, workers)
    freed = claim.freed or claim.left_for_others(settled.held_up, claimed=bool(groups))
    if claim.unjudged and len(claimed) == len(request.slots):
        freed = True  # we have no worker left with which to look again
    if settled.happened or claim.has_judged:
        delivered = await deliver(session, now, "worker")
        freed = freed or delivered.wakes
        # The deliveries came too late for this claim.
        if delivered.more or (delivered.jobs and _serves(request, QUEUE)):
            claim.looks.append(now)
            claim.delayed = True
    return ClaimResult(
        settled.refused,
        tuple(claimed),
        min(claim.looks, default=None),
        claim.delayed,
        freed,
        frozenset(claim.rated),
    )


async def waiting(session: Session, request: ClaimRequest) -> ClaimResult | None:
    """The result for a supervisor that only claims and would find no job; None: it must claim."""
    names = _served(request)
    row = await session.row("waiting", queues=names)
    due: float | None = row["next_due"]
    if row["ready"] or row["judge"] or (due is not None and due <= request.now):
        return None
    looks = [] if due is None else [due]
    delayed = False
    for found in await _rooms(session, request, names) if row["limited"] else ():
        if found.is_open:
            return None
        if found.room.next_at is not None:
            looks.append(found.room.next_at)
            delayed = delayed or (found.room.by_rate and found.work)
    return ClaimResult(frozenset(), (), min(looks, default=None), delayed)


def _serves(request: ClaimRequest, queue: str) -> bool:
    """Whether a worker that is idle serves this queue."""
    return any(not slot.queues or queue in slot.queues for slot in request.slots)


def _served(request: ClaimRequest) -> list[str] | None:
    """The queues that the workers serve; None: all."""
    if any(not slot.queues for slot in request.slots):
        return None
    return sorted({queue for slot in request.slots for queue in slot.queues})


class _Admitted:
    """A queue that has a row in ``queues``, and how many of its jobs may start."""

    def __init__(self, row: Any, now: float) -> None:
        self.settings = to_queue(row)
        self.marks: bool = row["marks"]
        self.work: bool = row["work"]
        """It has jobs for a claim, or keys that are marked."""
        self.strict_mark: int = row["strict_mark"]
        """See the migration."""
        self._running, self._here = row["running"], row["running_here"]
        known = [Start(at, int(number)) for at, number in row["starts"]]
        self._starts = sorted([*known, *(Start(at, known=False) for at in row["starting"])])
        self._now = now
        self.room = self._room(self.settings)

    def _room(self, settings: QueueSettings) -> Room:
        return room(settings, self._running, self._here, self._starts, self._now)

    @property
    def is_open(self) -> bool:
        """Whether a job may start."""
        return self.work and self.room.free != 0

    @property
    def is_open_elsewhere(self) -> bool:
        """Whether a job may start on a host on which no job of the queue runs."""
        return self._room(self.settings._replace(per_host=None)).free != 0

    def take(self, count: int) -> None:
        """So many jobs were claimed."""
        self._running += count
        self._here += count
        self._starts = [*self._starts, Start(self._now, count, known=False)]
        self.room = self._room(self.settings)


async def _rooms(
    session: Session, request: ClaimRequest, names: Sequence[str] | None
) -> list[_Admitted]:
    """The queues with a row and with jobs for a claim."""
    rows = await session.rows(
        "rooms", queues=names, owner=request.owner, now=request.now, margin=RATE_MARGIN
    )
    return [_Admitted(row, request.now) for row in rows]


class _Claim:
    """Claims jobs for the slots of one request."""

    def __init__(self, session: Session, request: ClaimRequest, *, judged: bool) -> None:
        self._session = session
        self._request = request
        self._judged = judged
        self._admitted: dict[str, _Admitted] | None = None
        """The queues whose rows are locked. None: no row is, and it is not known whether any must
        be."""
        self._full: dict[str, _Admitted] = {}
        """Queues in which no job may start here."""
        self.looks: list[float] = []
        """When to look again, although no attempt ends."""
        self.delayed = False
        """A due job waits for the rate of its queue, or there may be more for a further claim."""
        self.rated: set[str] = set()
        """The queues with a rate of which jobs were claimed."""
        self.has_judged = False
        """Some were cancelled, perhaps."""
        self.freed = False
        """Jobs whose parents have ended may start."""
        self.unjudged = False
        """Children of parents that have ended are left to be judged."""

    async def judge(self) -> None:
        """Judge the children of parents that have ended."""
        more, freed = await judge_marked(self._session, self._request.now)
        self._judged = self.has_judged = True
        self.freed = self.freed or freed > 0
        self.unjudged = more
        if more:
            self.looks.append(self._request.now + SOON)
            self.delayed = True

    async def admit(self, *, due: bool) -> None:
        """Lock the queues with limits or keys in which jobs may start, and count how many may.
        ``due``: jobs have become due."""
        session, request = self._session, self._request
        if due:
            await session.execute("promote", now=request.now)
        self._admitted = {}
        names = []
        for queue in await _rooms(session, request, _served(request)):
            if queue.is_open:
                names.append(queue.settings.name)
            else:
                self._look(queue)
                self._full[queue.settings.name] = queue
        if not names:
            return
        await session.rows("queues_locked", names=names)
        # Another statement, because it must see what was committed before we had the lock.
        for queue in await _rooms(session, request, names):
            if not queue.is_open:
                self._look(queue)
                self._full[queue.settings.name] = queue
                continue
            if not queue.marks or await self._choose_heads(queue):
                self._admitted[queue.settings.name] = queue
            else:
                self.looks.append(request.now)
                self.delayed = True

    def _look(self, queue: _Admitted) -> None:
        """Look at a queue again when there is more room."""
        if queue.room.next_at is not None:
            self.looks.append(queue.room.next_at)
            self.delayed = self.delayed or (queue.room.by_rate and queue.work)

    async def _choose_heads(self, queue: _Admitted) -> bool:
        """Choose the visible jobs of some marked keys anew. False: more jobs of a key may be
        visible than may run, so none may be claimed."""
        per_key = queue.settings.per_key or 1
        limit = max(20, KEYS // per_key)
        wanted = len(self._request.slots)
        if queue.room.free is not None:
            wanted = min(wanted, queue.room.free)
        strict = queue.strict_mark
        until = monotonic() + CHOOSING
        while True:
            row = await self._session.row(
                "choose_heads",
                queue=queue.settings.name,
                per_key=per_key,
                limit=limit,
                wanted=wanted,
            )
            if row["busy"]:
                self.looks.append(self._request.now + SOON)
                self.delayed = True
                return bool(row["first"] > strict)
            if row["marks"] < limit:
                return True
            enough = row["visible"] >= wanted
            if (enough and row["last"] >= strict) or monotonic() > until:
                if not enough:
                    self.looks.append(self._request.now)
                    self.delayed = True
                return bool(row["last"] >= strict)

    async def run(self, queues: Sequence[str], workers: Sequence[str]) -> list[Job]:
        """Claim jobs for workers that serve the same queues."""
        found = await self._rows(queues, workers)
        while found[0]["judge"] or found[0]["limited"]:
            if found[0]["judge"]:
                await self.judge()
            if found[0]["limited"]:
                await self.admit(due=True)
            found = await self._rows(queues, workers)
        jobs = [to_job(tuple(row)[CLAIM_EXTRA:]) for row in found if row["seq"] is not None]
        self._session.marked = self._session.marked or bool(jobs)
        first, now = found[0], self._request.now
        if first["crowded"]:
            self.looks.append(now + SOON)
        elif first["next_due"] is not None:
            self.looks.append(first["next_due"])
        await self._took(jobs, first["left_over"])
        return jobs

    async def _rows(self, queues: Sequence[str], workers: Sequence[str]) -> list[Any]:
        request, admitted = self._request, self._admitted or {}
        idle = [worker for worker in workers if worker]
        ahead = [""] * (len(workers) - len(idle))
        return await self._session.rows(
            "claim",
            owner=request.owner,
            queues=list(dict.fromkeys(queues)) or None,
            workers=idle + ahead,
            idle=len(idle),
            now=request.now,
            suspects=request.suspects,
            mark=None if self._session.marked else self._session.mark,
            look_judge=not self._judged,
            look_limited=self._admitted is None,
            admitted=list(admitted),
            rooms=[queue.room.free for queue in admitted.values()],
            rated=[queue.settings.rate is not None for queue in admitted.values()],
        )

    async def _took(self, jobs: Sequence[Job], left_over: Sequence[str]) -> None:
        now = self._request.now
        for name, queue in (self._admitted or {}).items():
            ours = [job for job in jobs if job.queue == name]
            queue.work = name in left_over
            queue.take(len(ours))
            self._look(queue)
            if ours and queue.settings.rate is not None:
                self.rated.add(name)
                await self._session.execute(
                    "starting",
                    queue=name,
                    at=now,
                    seqs=[job.seq for job in ours],
                    runs=[job.runs for job in ours],
                    before=now - 2 * rate_window(queue.settings),
                )

    def left_for_others(self, held_up: Sequence[str], *, claimed: bool) -> bool:
        """Whether jobs of these queues are left that other supervisors may start."""
        for name in held_up:
            queue = (self._admitted or {}).get(name) or self._full.get(name)
            if queue is None:
                if not claimed or self._admitted is None:
                    return True
                continue  # it has no job for a claim
            if queue.work and queue.is_open_elsewhere:
                return True
        return False


async def _settle(session: Session, request: ClaimRequest) -> _Settled:
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
        "began_seq": [one.seq for one in starts],
        "began_run": [one.run for one in starts],
        "began_worker": [one.worker for one in starts],
        "began_at": [one.started_at for one in starts],
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
    if row["starting"]:
        told: dict[Key, float | None] = {key: started_at(first[key].attempt) for key in accepted}
        began, back = set(row["began"]), set(row["given_back"])
        told |= {(one.seq, one.run): one.started_at for one in starts if one.seq in began}
        told |= {(one.seq, one.runs): None for one in freed if one.seq in back}
        await _started(session, told)
    unwanted = [
        first[key]
        for key in accepted
        if may_be_unwanted(first[key].queue, first[key].attempt.exit_code)
    ]
    if unwanted:
        await pause_gone(session, unwanted, now)
    if reports := report_params(first[key] for key in sorted(accepted)):
        columns = {name: [one[name] for one in reports] for name in reports[0]}
        await session.execute("reported", **columns)
    there = dict(zip(row["minutes"], row["sums"], strict=True))
    written = [first[key] for key in first if key in accepted]
    await statistics.record(session, owner, written, now, there)
    twice = [(result.seq, result.run) for result in results if first[_key(result)] is not result]
    return _Settled(
        frozenset(first.keys() - accepted) | frozenset(twice),
        row["next_due"],
        row["judge"],
        row["limited"],
        _happened(row["watched"], written, bool(row["given_back"])),
        tuple(row["held_up"]),
    )


def _happened(watched: Sequence[str], results: Sequence[AttemptResult], back: bool) -> bool:
    """Whether hooks may ask for one of these new states. ``back``: jobs were given back."""
    if not watched:
        return False
    # A job that somebody wants cancelled does not wait for its next attempt.
    if "cancelled" in watched and (back or any(not one.transition.is_end for one in results)):
        return True
    return any(one.transition.state in watched for one in results)


async def _started(session: Session, times: Mapping[Key, float | None]) -> None:
    """It is known now when these attempts were started (None: they were not). Only those of queues
    with a rate count."""
    found = await session.rows(
        "starting_gone", seqs=[seq for seq, _ in times], runs=[run for _, run in times]
    )
    known = {row["name"]: to_queue(row) for row in await session.rows("queues")} if found else {}
    numbers: Counter[tuple[str, float]] = Counter()
    for seq, run, queue in found:
        at, settings = times[seq, run], known.get(queue)
        if at is not None and settings is not None and settings.rate is not None:
            numbers[queue, kept_start(settings.rate, at)] += 1
    if numbers:
        ordered = sorted(numbers)
        await session.execute(
            "started",
            queues=[queue for queue, _ in ordered],
            ats=[at for _, at in ordered],
            numbers=[numbers[one] for one in ordered],
        )


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
    detail = started_detail(workers)
    await record(session, EventKind.WORKER_STARTED, now, name=row.id, detail=detail, via=WORKER)


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
    detail = started_detail(workers)
    via = WORKER if up else None
    await record(session, EventKind.WORKER_STARTED, now, name=supervisor, detail=detail, via=via)


async def deregister(session: Session, supervisor: str, now: float | None = None) -> None:
    there = [row[0] for row in await session.rows("workers_of", id=supervisor)]
    if await session.execute("deregister", id=supervisor):
        detail = {"workers": there}
        await record(
            session, EventKind.WORKER_STOPPED, now, name=supervisor, detail=detail, via=WORKER
        )


async def workers_gone(session: Session, workers: Sequence[str], now: float | None = None) -> None:
    found: dict[str, list[str]] = {}
    for worker, supervisor in await session.rows("workers_gone", ids=list(workers)):
        found.setdefault(supervisor, []).append(worker)
    for name, gone in found.items():
        detail = {"workers": sorted(gone)}
        await record(session, EventKind.WORKER_STOPPED, now, name=name, detail=detail, via=WORKER)


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
    detail = {"host": dead.host, "jobs": len(rows), "successor": successor}
    await record(session, EventKind.WORKER_LOST, now, name=dead.id, detail=detail, via=WORKER)
    await deliver_all(session, now)
    return [to_job(row) for row in rows]


async def dismiss(session: Session, dead: SupervisorRow, now: float | None = None) -> bool:
    held = [to_supervisor(row) for row in await session.rows("supervisors_held", ids=[dead.id])]
    if not dead.is_unchanged(next(iter(held), None)) or await session.value("holds", id=dead.id):
        return False
    await session.execute("deregister", id=dead.id)
    detail = {"host": dead.host, "jobs": 0}
    await record(session, EventKind.WORKER_LOST, now, name=dead.id, detail=detail)
    await deliver_all(session, session.clock() if now is None else now)
    return True
