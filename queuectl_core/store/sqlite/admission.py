"""Queues with limits, keys and dependencies, as transactions. The rules are in
:mod:`queuectl_core.domain.admission`.

A function that changes something runs inside ``BEGIN IMMEDIATE`` (see ``Connection.write``).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...domain.admission import (
    Candidate,
    QueueFacts,
    Room,
    Start,
    cycle,
    heads,
    kept_start,
    key_room,
    next_start,
    rate_window,
    room,
)
from ...domain.errors import InvalidInput, JobChanged
from ...domain.events import EventKind
from ...domain.model import Job, QueueSettings
from ..protocol import LAST, Changed, JobAction, Said, changed_meanwhile
from ..rows import (
    edit_params,
    edited_fields,
    new_job,
    no_parent,
    not_replaced,
    queue_events,
    queue_params,
    replaced_fields,
    to_queue,
    told_changes,
    unended,
    waits_for_itself,
)
from .connection import Driver
from .events import record, record_jobs, tell
from .queries import SQL, job_at, reading, to_job, to_params

JUDGED = 400
"""Children that are judged in one transaction, at most. It takes about 10 ms, in which nobody else
can write. A claim may wait for one such transaction, and judges too."""
KEYS = 500
"""Keys whose first jobs are chosen anew at a time."""

ToldStart = tuple[int, int, float | None]
"""(seq, run, when this attempt was started; None: it was not)."""

_to_queue = reading(to_queue)


# -- queues ---------------------------------------------------------------------------


def all_settings(conn: sqlite3.Connection) -> dict[str, QueueSettings]:
    """The settings of each queue that has some."""
    return {row["name"]: _to_queue(row) for row in conn.execute(SQL["queues"])}


def _settings(conn: sqlite3.Connection, name: str) -> QueueSettings:
    row = conn.execute(SQL["queue_by_name"], {"name": name}).fetchone()
    return QueueSettings(name) if row is None else _to_queue(row)


def set_queue(
    conn: Driver, name: str, changes: Mapping[str, Any], now: float | None = None
) -> QueueSettings:
    before = _settings(conn, name)
    after = before._replace(**changes)
    for kind, detail in queue_events(before, after):
        record(conn, kind, now, name=name, detail=detail)
    conn.execute(SQL["queue_put"], queue_params(after))
    stricter = changes.get("rate") is not None or changes.get("paused_at") is not None
    if stricter and before.rate is None:
        conn.execute(SQL["attempts_are_starting"], {"name": name})
    if after.per_key != before.per_key:
        if (after.per_key or 1) < (before.per_key or 1):
            conn.execute(SQL["hide_keys"], {"name": name})
        conn.execute(SQL["mark_keys"], {"name": name})
    return after


def remove_queue(conn: Driver, name: str, now: float | None = None) -> bool:
    if conn.execute(SQL["queue_by_name"], {"name": name}).fetchone() is None:
        return False
    left = conn.execute(SQL["queue_unended"], {"name": name}).fetchone()[0]
    if left:
        raise unended(name, left)
    conn.execute(SQL["starts_forgotten"], {"name": name, "before": float("inf")})
    conn.execute(SQL["starting_of_queue_gone"], {"name": name})
    conn.execute(SQL["queue_remove"], {"name": name})
    record(conn, EventKind.QUEUE_CHANGED, now, name=name, detail={"removed": True})
    return True


def room_in(conn: sqlite3.Connection, queue: QueueSettings, owner: str, now: float) -> Room:
    """How many attempts of ``queue`` the supervisor ``owner`` may start at ``now``."""
    params = {"name": queue.name, "owner": owner}
    running = here = 0
    if queue.limit is not None:
        running = conn.execute(SQL["queue_running"], params).fetchone()[0]
    if queue.per_host is not None:
        here = conn.execute(SQL["queue_running_here"], params).fetchone()[0]
    return room(queue, running, here, _starts(conn, queue, now), now)


def _starts(conn: sqlite3.Connection, queue: QueueSettings, now: float) -> list[Start]:
    """The starts that count for the rate of a queue, oldest first."""
    if queue.rate is None:
        return []
    params = {"name": queue.name, "since": now - rate_window(queue)}
    return sorted(
        Start(at, number, bool(known)) for at, number, known in conn.execute(SQL["starts"], params)
    )


def starting(
    conn: sqlite3.Connection, queue: QueueSettings, jobs: Sequence[Job], now: float
) -> None:
    """Attempts of a queue with a rate were claimed. Starts that no longer count are forgotten."""
    params = {"name": queue.name, "at": now}
    conn.executemany(SQL["starting"], [params | {"seq": job.seq, "run": job.runs} for job in jobs])
    before = now - 2 * rate_window(queue)
    conn.execute(SQL["starts_forgotten"], {"name": queue.name, "before": before})


def started(conn: sqlite3.Connection, attempts: Sequence[ToldStart]) -> None:
    """It is known now when these attempts were started. Only those of queues with a rate count."""
    if not conn.execute(SQL["any_starting"]).fetchone()[0]:
        return
    known = all_settings(conn)
    for seq, run, at in attempts:
        found = conn.execute(SQL["starting_gone"], {"seq": seq, "run": run}).fetchone()
        queue = None if found is None else known.get(found["queue"])
        if at is not None and queue is not None and queue.rate is not None:
            params = {"name": queue.name, "at": kept_start(queue.rate, at), "count": 1}
            conn.execute(SQL["started"], params)


# -- keys -----------------------------------------------------------------------------


def choose_heads(conn: sqlite3.Connection, settings: QueueSettings) -> bool:
    """Choose anew the visible jobs of some marked keys. Returns whether more are marked."""
    queue = settings.name
    keys = [row[0] for row in conn.execute(SQL["key_marks"], {"queue": queue, "limit": KEYS})]
    ready: dict[int, list[int]] = {1: [], 2: []}
    for key in keys:
        params: dict[str, Any] = {"queue": queue, "key": key}
        count = key_room(settings, conn.execute(SQL["key_running"], params).fetchone()[0])
        visible = [Candidate(*row) for row in conn.execute(SQL["key_heads"], params)]
        following = conn.execute(SQL["key_next"], params | {"limit": count}).fetchall()
        shown, hidden = heads(visible, (Candidate(*row) for row in following), count)
        ready[1] += shown
        ready[2] += hidden
    for value, seqs in ready.items():
        if seqs:
            conn.execute(SQL["key_ready"], {"ready": value, "seqs": json.dumps(seqs)})
    if keys:
        conn.executemany(SQL["key_mark_gone"], [{"queue": queue, "key": key} for key in keys])
    return len(keys) == KEYS


# -- dependencies ---------------------------------------------------------------------


def judge(
    conn: sqlite3.Connection, seqs: Iterable[int], now: float, parent: int | None = None
) -> int:
    """Let these jobs start, cancel, hold or revive them, as the states of their parents say.
    ``parent``: only this one has changed. Returns how many may start."""
    low, high = (0, LAST) if parent is None else (parent, parent)
    params = {"seqs": json.dumps(list(seqs)), "now": now, "low": low, "high": high}
    revived = [row[0] for row in conn.execute(SQL["judge_revive"], params).fetchall()]
    conn.execute(SQL["judge_fail"], params)
    if revived and parent is not None:  # another parent may be the cause now
        every = {"seqs": json.dumps(revived), "now": now, "low": 0, "high": LAST}
        conn.execute(SQL["judge_fail"], every)
    return len(conn.execute(SQL["judge_free"], params).fetchall())


def judge_marked(
    conn: sqlite3.Connection,
    now: float,
    budget: int | None = JUDGED,
    low: int = 0,
    high: int = LAST,
) -> tuple[bool, int]:
    """Judge the children of marked parents with seqs from ``low`` to ``high``, up to ``budget`` of
    them (None: all). Returns whether more are left, and how many jobs may start."""
    span = {"low": low, "high": high}
    left, freed = JUDGED if budget is None else budget, 0
    while left > 0:
        mark = conn.execute(SQL["parent_mark"], span).fetchone()
        if mark is None:
            return False, freed
        parent, after = mark
        params = {"parent": parent, "after": after, "limit": left}
        children = [row[0] for row in conn.execute(SQL["children_after"], params)]
        # Before judging: that may mark the same parent again.
        if len(children) < left:
            conn.execute(SQL["parent_mark_gone"], {"parent": parent})
        else:
            conn.execute(SQL["parent_mark_moved"], {"parent": parent, "after": children[-1]})
        if children:
            freed += judge(conn, children, now, parent)
        left = JUDGED if budget is None else left - max(1, len(children))
    return conn.execute(SQL["parent_mark"], span).fetchone() is not None, freed


def judge_some(conn: sqlite3.Connection, now: float) -> bool:
    return judge_marked(conn, now)[0]


def connect_parents(
    conn: sqlite3.Connection,
    low: int,
    high: int,
    now: float,
    name: Callable[[str], str] = new_job,
) -> None:
    """Record what the new jobs with seqs from ``low`` to ``high`` wait for, and judge them.
    ``name`` says which job an error is about."""
    span = {"low": low, "high": high}
    missing = conn.execute(SQL["orphans"], span).fetchone()
    if missing is not None:
        raise no_parent(name(missing["id"]), missing["parent"])
    conn.execute(SQL["depend"], span)
    if conn.execute(SQL["depends_forward"], span).fetchone():
        _refuse_cycle(conn, span)
    waiting = [row[0] for row in conn.execute(SQL["waiting_range"], span)]
    for start in range(0, len(waiting), JUDGED):
        judge(conn, waiting[start : start + JUDGED], now)
    # Only what follows among these jobs. Others may have marked a parent with very many children.
    judge_marked(conn, now, None, low, high)


def _refuse_cycle(conn: sqlite3.Connection, span: Mapping[str, int]) -> None:
    edges: dict[int, list[int]] = {}
    for child, parent in conn.execute(SQL["edges"], span):
        edges.setdefault(child, []).append(parent)
    circle = cycle(edges)
    if circle:
        names = [
            conn.execute(SQL["job_by_seq"], {"seq": seq}).fetchone()["id"] for seq in circle[:10]
        ]
        raise InvalidInput(f"jobs wait for each other in a circle: {' → '.join(names)}")


# -- unique values --------------------------------------------------------------------


def unique_holder(conn: sqlite3.Connection, value: str, now: float) -> Job | None:
    """The job that holds this unique value; None: it is free."""
    params = {"value": value, "now": now}
    conn.execute(SQL["unique_expired"], params)
    row = conn.execute(SQL["unique_holder"], params).fetchone()
    return None if row is None else to_job(row)


def replace_job(conn: Driver, holder: Job, params: Mapping[str, Any], now: float) -> None:
    """Give the job that holds a unique value the fields of another spec. It waits until
    :func:`connect_replaced`."""
    if not conn.execute(SQL["replace_job"], {**params, "seq": holder.seq, "now": now}).rowcount:
        raise not_replaced(holder)
    conn.execute(SQL["dependencies_gone"], {"seq": holder.seq})
    conn.execute(SQL["input_gone"], {"seq": holder.seq})
    if params["stdin"] is not None:
        conn.execute(SQL["insert_input"], {"seq": holder.seq, "stdin": params["stdin"]})
    detail = {"replaced": True, "changes": told_changes(replaced_fields(holder, params))}
    record_jobs(conn, EventKind.EDITED, now, [(holder.seq, holder.id)], detail=detail)


def connect_replaced(conn: sqlite3.Connection, seqs: Iterable[int], now: float) -> None:
    """Record what replaced jobs wait for, and judge them. New jobs are connected before."""
    for seq in dict.fromkeys(seqs):
        connect_parents(conn, seq, seq, now)
        if conn.execute(SQL["ancestors"], {"seq": seq}).fetchone():
            raise waits_for_itself(job_at(conn, seq))
        judge_marked(conn, now)  # what follows for jobs that wait for this one


# -- changing jobs --------------------------------------------------------------------


def act(
    conn: Driver,
    action: JobAction,
    params: Mapping[str, Any],
    check: Callable[[list[tuple[int, int]]], None] | None,
    said: Said,
) -> Changed:
    now = params["now"]
    if action is JobAction.RETRY:
        changed = _retry(conn, params)
    else:
        changed = _change(conn, action, params)
    if action is JobAction.RELEASE:
        conn.execute(SQL["waive"], _seqs(changed))
        _judge_changed(conn, changed, now)
    judge_marked(conn, now)
    left: list[int] = []
    if action in (JobAction.RETRY, JobAction.REMOVE) and len(changed) < len(params["seqs"]):
        left = [row[0] for row in conn.execute(SQL["left_over"], to_params(params))]
    if check is not None:
        check(changed)
    return Changed(changed, left, tell(conn, action, now, changed, said))


def _change(
    conn: sqlite3.Connection, action: JobAction, params: Mapping[str, Any]
) -> list[tuple[int, int]]:
    found = conn.execute(SQL[action.value], to_params(params)).fetchall()
    return [(row[0], row[1]) for row in found]


def _seqs(changed: Sequence[tuple[int, int]]) -> dict[str, str]:
    return {"seqs": json.dumps([seq for seq, _ in changed])}


def _judge_changed(
    conn: sqlite3.Connection, changed: Sequence[tuple[int, int]], now: float
) -> list[int]:
    """Judge those of these jobs that have parents. Returns their seqs."""
    # First what follows for others: a parent may be revived by the retry of its own parent.
    judge_marked(conn, now)
    waiting = [row[0] for row in conn.execute(SQL["waiting_of"], _seqs(changed))]
    if waiting:
        judge(conn, waiting, now)
        judge_marked(conn, now)
    return waiting


def _retry(conn: sqlite3.Connection, params: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Retry jobs. Those that would be cancelled again because of a parent stay as they were. Which
    they are is only known when all others are retried, so that is undone and done without them."""
    seqs = list(params["seqs"])
    conn.execute("SAVEPOINT retrying")
    while True:
        changed = _change(conn, JobAction.RETRY, {**params, "seqs": seqs})
        waiting = {"seqs": json.dumps(_judge_changed(conn, changed, params["now"]))}
        again = {row[0] for row in conn.execute(SQL["failed_again"], waiting)}
        if not again:
            conn.execute("RELEASE retrying")
            return changed
        conn.execute("ROLLBACK TO retrying")
        seqs = [seq for seq in seqs if seq not in again]


def amend(conn: Driver, params: Mapping[str, Any]) -> Job:
    row = conn.execute(SQL["amend"], params).fetchone()
    if row is None:
        raise JobChanged("")
    seq, now = params["seq"], params["now"]
    _judge_changed(conn, [(seq, params["runs"])], now)
    job = job_at(conn, seq)
    if job.cause is not None:
        raise JobChanged("")
    detail = {"changes": told_changes({"command": job.command}), "retried": True}
    record_jobs(conn, EventKind.EDITED, now, [(job.seq, job.id)], detail=detail)
    return job


def edit(conn: Driver, job: Job, changes: Mapping[str, Any], now: float) -> Job:
    row = conn.execute(SQL["edit_job"], edit_params(job, changes, now)).fetchone()
    if row is None:
        there = conn.execute(SQL["job_by_seq"], {"seq": job.seq}).fetchone()
        raise changed_meanwhile("edit", job, None if there is None else to_job(there))
    if edited := edited_fields(job, changes):
        detail = {"changes": told_changes(edited)}
        record_jobs(conn, EventKind.EDITED, now, [(job.seq, job.id)], detail=detail)
    return to_job(row)


# -- why ------------------------------------------------------------------------------


def queue_facts(
    conn: sqlite3.Connection, names: Sequence[str], now: float
) -> dict[str, QueueFacts]:
    known, found = all_settings(conn), {}
    for name in names:
        settings = known.get(name) or QueueSettings(name)
        params = {"name": name}
        hosts: dict[str, int] = {}
        ids: tuple[str, ...] = ()
        running = 0
        if settings.limit is not None:
            running = conn.execute(SQL["queue_running"], params).fetchone()[0]
            ids = tuple(row[0] for row in conn.execute(SQL["queue_running_ids"], params))
        if settings.per_host is not None:
            hosts = dict(map(tuple, conn.execute(SQL["queue_running_by_host"], params)))
        rate_next = next_start(settings, _starts(conn, settings, now), now)
        found[name] = QueueFacts(settings, running, ids, hosts, rate_next)
    return found


def readmit(conn: sqlite3.Connection, now: float) -> None:
    conn.execute(SQL["readmit_keys"])
    after = 0
    while True:
        params = {"after": after, "limit": JUDGED}
        seqs = [row[0] for row in conn.execute(SQL["waiting_after"], params)]
        if not seqs:
            break
        judge(conn, seqs, now)
        after = seqs[-1]
    judge_marked(conn, now, None)
