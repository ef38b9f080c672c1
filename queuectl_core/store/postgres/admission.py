"""Queues with limits, keys and dependencies, by the rules of :mod:`queuectl_core.domain.admission`.

Marks say what must be looked at again: triggers write them. To judge children, a transaction takes
marks that nobody else works on, and it skips children that others have locked: their marks stay. So
it never waits while it holds other jobs. A transaction that has done nothing else may wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...domain.admission import QueueFacts, Start, cycle, next_start, rate_window
from ...domain.errors import InvalidInput, JobChanged
from ...domain.events import EventKind
from ...domain.model import Job, QueueSettings, State
from ..protocol import Changed, JobAction, Said, changed_meanwhile
from ..rows import (
    edit_params,
    edited_fields,
    new_job,
    no_parent,
    not_replaced,
    queue_events,
    queue_params,
    replaced_fields,
    to_job,
    to_queue,
    told_changes,
    unended,
    waits_for_itself,
)
from .connections import CLAIMS, LOOK_UP
from .events import record, record_jobs, tell, tell_count
from .session import NEW_JOBS, Session

JUDGED = 250
"""Children that are judged in one transaction, at most. A claim judges too, so this
decides how long it may take."""


# -- queues ---------------------------------------------------------------------------


async def set_queue(
    session: Session, name: str, changes: Mapping[str, Any], now: float | None = None
) -> QueueSettings:
    stricter = changes.get("rate") is not None or changes.get("paused_at") is not None
    row = None if stricter else await session.row("queue_held", name=name)
    if row is None:
        # A claim that has read that the queue has no row does not lock it. So wait for such claims.
        # The same if it is paused or gets a rate: no attempt may start or end meanwhile.
        await session.value("claims_gate", gate=CLAIMS)
        row = await session.row("queue_held", name=name)
    before = QueueSettings(name) if row is None else to_queue(row)
    after = before._replace(**changes)
    await session.execute("queue_put", **queue_params(after))
    for kind, detail in queue_events(before, after):
        await record(session, kind, now, name=name, detail=detail)
    if stricter and before.rate is None:
        await session.execute("attempts_are_starting", name=name)
    if after.per_key != before.per_key:
        await session.execute("mark_keys", name=name)
        if (after.per_key or 1) < (before.per_key or 1):
            await session.execute("queue_strict", name=name)
    return after


async def remove_queue(session: Session, name: str, now: float | None = None) -> bool:
    row = await session.row("queue_leaving", name=name)
    if row is None or not row["given"]:
        return False
    left = await session.value("queue_unended", name=name)  # after the lock, so that it is exact
    if left:
        raise unended(name, left)
    await session.execute("starts_of_queue_gone", name=name)
    if await session.execute("queue_remove", name=name) != 1:
        return False
    await record(session, EventKind.QUEUE_CHANGED, now, name=name, detail={"removed": True})
    return True


# -- dependencies ---------------------------------------------------------------------


async def judge(
    session: Session,
    seqs: Sequence[int],
    now: float,
    parents: Sequence[int] | None = None,
    *,
    caused: bool = True,
) -> tuple[int, bool]:
    """Let these jobs start, cancel, hold or revive them, as the states of their parents say.

    The caller has locked them. ``parents``: only these have changed. ``caused``: some of the jobs
    may be cancelled or held because of a parent. Returns how many may start, and whether some were
    cancelled.
    """
    revived: list[int] = []
    if caused:
        revived = [row[0] for row in await session.rows("judge_revive", seqs=seqs, now=now)]
    failed = await session.rows("judge_fail", seqs=seqs, parents=parents, now=now)
    if revived and parents is not None:  # another parent may be the cause now
        failed += await session.rows("judge_fail", seqs=revived, parents=None, now=now)
    freed = await session.rows("judge_free", seqs=seqs, now=now)
    return len(freed), any(row["ended"] for row in failed)


async def judge_marked(
    session: Session, now: float, budget: int | None = JUDGED
) -> tuple[bool, int]:
    """Judge the children of marked parents, up to ``budget`` of them (None: all). Returns whether
    more are left, also if others judge them, and how many jobs may start."""
    left, freed = JUDGED if budget is None else budget, 0
    while left > 0:
        rows = await session.rows("marked_children", limit=left)
        if not rows:
            return await any_marks(session), freed
        children = [row for row in rows if row["child"] is not None]
        done, moved = _progress(rows, complete=len(children) < left)
        ours = sorted({row["child"] for row in children if row["locked"]})
        if ours:
            caused = any(row["caused"] for row in children)
            parents = sorted({row["parent"] for row in children})
            number, _ = await judge(session, ours, now, parents, caused=caused)
            freed += number
        more = await session.value(
            "marks_done", gone=done, ids=list(moved), afters=list(moved.values())
        )
        if not more or len(ours) < len({row["child"] for row in children}):
            return bool(more), freed  # others work on the same jobs, and may wait for us
        left = JUDGED if budget is None else left - max(1, len(children))
    return True, freed


def _progress(rows: Sequence[Any], *, complete: bool) -> tuple[list[int], dict[int, int]]:
    """The marks whose children are all judged, and for others the child up to which they are.
    ``complete``: ``rows`` has all children of these marks."""
    marks: dict[int, list[Any]] = {}
    for row in rows:
        marks.setdefault(row["id"], []).append(row)
    last = max((row["id"] for row in rows if row["child"] is not None), default=None)
    done: list[int] = []
    moved: dict[int, int] = {}
    for mark, found in marks.items():
        skipped = [row["child"] for row in found if row["child"] is not None and not row["locked"]]
        if skipped:
            moved[mark] = min(skipped) - 1
        elif complete or (last is not None and mark < last):
            done.append(mark)
        elif mark == last:
            moved[mark] = max(row["child"] for row in found)
    return done, moved


async def judge_some(session: Session, now: float) -> bool:
    """Judge some children of marked parents. Returns whether more are left."""
    session.news = NEW_JOBS
    await session.raw.execute(LOOK_UP)
    # If others have all marks, their children are judged when those commit. The caller must see
    # that, so we wait for the first mark. We hold nothing that others need.
    if not await session.rows("marks_free"):
        await session.rows("mark_awaited")
    return (await judge_marked(session, now))[0]


async def any_marks(session: Session) -> bool:
    return bool(await session.value("any_marks"))


async def _named(job_id: str) -> str:
    return new_job(job_id)


class NewJobs(NamedTuple):
    """Jobs that this transaction has added, or given new parents."""

    low: int
    high: int
    """Their lowest and highest seq."""
    seqs: Sequence[int] | None = None
    """Only these; None: all in the range."""


async def connect_parents(
    session: Session,
    new: NewJobs,
    now: float,
    name: Callable[[str], Awaitable[str]] = _named,
) -> None:
    """Record what new jobs wait for, and judge them. ``name`` says which job an error is about."""
    await session.raw.execute(LOOK_UP)
    span = new._asdict()
    locked = [row[0] for row in await session.rows("parents_locked", **span)]
    missing = await session.rows("orphans", **span, locked=locked)
    if missing:
        raise no_parent(await name(missing[0]["id"]), missing[0]["parent"])
    await session.execute("depend", **span)
    if await session.rows("depends_forward", low=new.low, high=new.high):
        await _refuse_cycle(session, new.low, new.high)
    waiting = [row[0] for row in await session.rows("waiting_range", **span)]
    ended = False
    for start in range(0, len(waiting), JUDGED):
        ended = (await judge(session, waiting[start : start + JUDGED], now))[1] or ended
    if ended:
        await judge_marked(session, now, None)


async def _refuse_cycle(session: Session, low: int, high: int) -> None:
    edges: dict[int, list[int]] = {}
    for child, parent in await session.rows("edges", low=low, high=high):
        edges.setdefault(child, []).append(parent)
    circle = cycle(edges)
    if circle:
        names = [(await session.row("job_by_seq", seq=seq))["id"] for seq in circle[:10]]
        raise InvalidInput(f"jobs wait for each other in a circle: {' → '.join(names)}")


# -- unique values --------------------------------------------------------------------


async def unique_holder(session: Session, value: str, now: float, *, lock: bool) -> Job | None:
    """The job that holds this unique value; None: it is free. ``lock``: it is about to be
    changed."""
    await session.execute("unique_expired", value=value, now=now)
    row = await session.row("unique_holder_locked" if lock else "unique_holder", value=value)
    return None if row is None else to_job(row)


async def replace_job(session: Session, holder: Job, params: Mapping[str, Any], now: float) -> None:
    """Give the job that holds a unique value, which is locked, the fields of another spec. It waits
    until :func:`connect_replaced`."""
    values = {**params, "seq": holder.seq, "now": now}
    if not await session.execute("replace_job", **values):
        raise not_replaced(holder)
    await session.execute("dependencies_gone", seq=holder.seq)
    await session.execute("input_gone", seq=holder.seq)
    if params["stdin"] is not None:
        await session.execute("insert_inputs", jobs=[holder.seq], inputs=[params["stdin"]])
    detail = {"replaced": True, "changes": told_changes(replaced_fields(holder, params))}
    await record_jobs(session, EventKind.EDITED, now, [(holder.seq, holder.id)], detail=detail)


async def connect_replaced(session: Session, seqs: Iterable[int], now: float) -> None:
    """Record what replaced jobs wait for, and judge them. New jobs are connected before."""
    for seq in dict.fromkeys(seqs):
        await connect_parents(session, NewJobs(seq, seq), now)
        # Without parents it only waits if somebody holds it.
        await judge(session, [seq], now)
        if await session.rows("ancestors", seq=seq):
            raise waits_for_itself(to_job(await session.row("job_by_seq", seq=seq)))


# -- changing jobs --------------------------------------------------------------------


async def act(
    session: Session,
    action: JobAction,
    params: Mapping[str, Any],
    check: Callable[[list[tuple[int, int]]], None] | None,
    said: Said,
) -> Changed:
    now = params["now"]
    await session.raw.execute(LOOK_UP)
    if action is JobAction.REMOVE:
        await session.rows("seqs_locked", seqs=params["seqs"])
    if action is JobAction.RETRY:
        found = await _retry(session, params)
    else:
        found = await session.rows(action.value, **params)
    if action is JobAction.RELEASE:
        await session.execute("waive", seqs=_waiting(found))
        await _judge_changed(session, found, now)
    await judge_marked(session, now)
    changed = [(row["seq"], row["runs"]) for row in found]
    left: list[int] = []
    if action in (JobAction.RETRY, JobAction.REMOVE) and len(changed) < len(params["seqs"]):
        left = [row["seq"] for row in await session.rows("left_over", **params)]
    if check is not None:
        check(changed)
    return Changed(changed, left, await tell(session, action, now, changed, said))


def _waiting(found: Sequence[Any]) -> list[int]:
    return sorted(row["seq"] for row in found if row["waits"])


async def _judge_changed(session: Session, found: Sequence[Any], now: float) -> list[int]:
    """Judge those of these jobs that have parents. Returns their seqs."""
    waiting = _waiting(found)
    if waiting:
        # First what follows for others: a parent may be revived by the retry of its own parent.
        await judge_marked(session, now)
        await judge(session, waiting, now)
        await judge_marked(session, now)
    return waiting


async def _retry(session: Session, params: Mapping[str, Any]) -> Sequence[Any]:
    """Retry jobs. Those that would be cancelled again because of a parent stay as they were. Which
    they are is only known when all others are retried, so that is undone and done without them."""
    seqs = list(params["seqs"])
    await session.execute("before_retry")
    while True:
        found = await session.rows("retry", **{**params, "seqs": seqs})
        waiting = await _judge_changed(session, found, params["now"])
        again = {row[0] for row in await session.rows("failed_again", seqs=waiting)}
        if not again:
            return found
        await session.execute("as_before_retry")
        seqs = [seq for seq in seqs if seq not in again]


async def prune(
    session: Session,
    seqs: Sequence[int],
    state: State,
    before: float,
    *,
    said: Said | None = None,
    now: float | None = None,
) -> Changed:
    await session.rows("seqs_locked", seqs=seqs)
    found = await session.rows("prune", seqs=seqs, state=state, before=before)
    event = None
    if said is not None:
        event = await tell_count(session, EventKind.REMOVED, now, len(found), said)
    return Changed([(row["seq"], row["runs"]) for row in found], [], event)


async def amend(session: Session, params: Mapping[str, Any]) -> Job:
    await session.raw.execute(LOOK_UP)
    row = await session.row("amend", **params)
    if row is None:
        raise JobChanged("")
    now = params["now"]
    await judge_marked(session, now)
    job = to_job(row)
    if job.state is State.WAITING:
        await judge(session, [job.seq], now)
        job = to_job(await session.row("job_by_seq", seq=job.seq))
    if job.cause is not None:
        raise JobChanged("")
    detail = {"changes": told_changes({"command": job.command}), "retried": True}
    await record_jobs(session, EventKind.EDITED, now, [(job.seq, job.id)], detail=detail)
    return job


async def edit(session: Session, job: Job, changes: Mapping[str, Any], now: float) -> Job:
    row = await session.row("edit_job", **edit_params(job, changes, now))
    if row is None:
        there = await session.row("job_by_seq", seq=job.seq)
        raise changed_meanwhile("edit", job, None if there is None else to_job(there))
    if edited := edited_fields(job, changes):
        detail = {"changes": told_changes(edited)}
        await record_jobs(session, EventKind.EDITED, now, [(job.seq, job.id)], detail=detail)
    return to_job(row)


# -- why ------------------------------------------------------------------------------


async def queue_facts(session: Session, names: Sequence[str], now: float) -> dict[str, QueueFacts]:
    known = {row["name"]: to_queue(row) for row in await session.rows("queues")}
    found = {}
    for name in names:
        settings = known.get(name) or QueueSettings(name)
        hosts: dict[str, int] = {}
        ids: tuple[str, ...] = ()
        running = 0
        starts: list[Start] = []
        if settings.limit is not None:
            running = await session.value("queue_running", name=name)
            ids = tuple(row[0] for row in await session.rows("queue_running_ids", name=name))
        if settings.per_host is not None:
            hosts = dict(map(tuple, await session.rows("queue_running_by_host", name=name)))
        if settings.rate is not None:
            since = now - rate_window(settings)
            starts = [Start(*row) for row in await session.rows("starts", name=name, since=since)]
        rate_next = next_start(settings, starts, now)
        found[name] = QueueFacts(settings, running, ids, hosts, rate_next)
    return found


async def readmit(session: Session, now: float) -> None:
    await session.execute("readmit_queues")
    await session.execute("readmit_keys")
    after = 0
    while True:
        rows = await session.rows("waiting_after", after=after, limit=JUDGED)
        if not rows:
            break
        await judge(session, [row[0] for row in rows], now)
        after = rows[-1][0]
    await judge_marked(session, now, None)
