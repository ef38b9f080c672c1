"""The keeping half of the store: enqueue, reading and changing jobs, as transactions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from ...domain.errors import Conflict
from ...domain.model import Attempt, Filter, Job, JobSpec, State
from ..protocol import ALLOWED, Action, changed_meanwhile
from ..rows import new_ids
from .queries import SQL, conditions, spec_params, to_attempt, to_job, to_outcome, to_state

if TYPE_CHECKING:
    from ...domain.rollup import Ended

LAST = 1 << 62
"""A seq above every seq."""


def enqueue(conn: sqlite3.Connection, specs: Sequence[JobSpec], now: float) -> list[Job]:
    wanted = [spec.id for spec in specs if spec.id is not None]
    taken = set(ids_taken(conn, wanted))
    for name in wanted if taken else ():
        if name in taken:
            raise Conflict(f"id '{name}' is taken", "choose another, or leave it out")
    seqs = []
    for spec in specs:
        params = spec_params(spec._replace(id=free_id(conn)) if spec.id is None else spec, now)
        try:
            seqs.append(conn.execute(SQL["insert_job"], params).fetchone()[0])
        except sqlite3.IntegrityError:
            raise Conflict(f"id '{spec.id}' is given twice", "choose another") from None
    return [to_job(conn.execute(SQL["job_by_seq"], {"seq": seq}).fetchone()) for seq in seqs]


def free_id(conn: sqlite3.Connection) -> str:
    """A generated id that is not taken."""
    while ids_taken(conn, ids := new_ids(1)):
        pass
    return ids[0]


def ids_taken(conn: sqlite3.Connection, ids: Sequence[str]) -> list[str]:
    """Those of ``ids`` that the store already has."""
    if not ids:
        return []
    return [row[0] for row in conn.execute(SQL["ids_taken"], {"ids": json.dumps(list(ids))})]


def by_id(conn: sqlite3.Connection, ref: str) -> list[Job]:
    exact = conn.execute(SQL["job_by_id"], {"id": ref}).fetchone()
    if exact is not None:
        return [to_job(exact)]
    return [to_job(row) for row in conn.execute(SQL["jobs_by_prefix"], {"prefix": ref})]


def by_seq(conn: sqlite3.Connection, seq: int) -> Job | None:
    row = conn.execute(SQL["job_by_seq"], {"seq": seq}).fetchone()
    return None if row is None else to_job(row)


def page(conn: sqlite3.Connection, where: Filter, limit: int, before: int | None) -> list[Job]:
    before = LAST if before is None else before
    params = conditions(where) | {"limit": limit, "before": before}
    if where.seqs is not None:
        chosen = conn.execute(SQL["page_seqs"], params | {"seqs": json.dumps(where.seqs)})
        found = (to_job(row) for row in chosen)
        return [job for job in found if not where.states or job.state in where.states][:limit]
    if not where.states:
        return [to_job(row) for row in conn.execute(SQL["page_all"], params)]
    pages = [
        [to_job(row) for row in conn.execute(SQL["page_state"], params | {"state": state})]
        for state in dict.fromkeys(where.states)
    ]
    import heapq

    return list(heapq.merge(*pages, key=lambda job: -job.seq))[:limit]


def ids(conn: sqlite3.Connection, first: int, number: int) -> list[str]:
    span = {"first": first, "end": first + number}
    return [row[0] for row in conn.execute(SQL["ids_from"], span)]


def faults(conn: sqlite3.Connection) -> list[str]:
    found = [str(row[0]) for row in conn.execute("PRAGMA quick_check(5)")]
    return [] if found == ["ok"] else found


def count(conn: sqlite3.Connection, where: Filter) -> int:
    if where.seqs is not None:
        return len(page(conn, where, len(where.seqs), None))
    if where.search is None and not where.exit_codes and not where.reasons:
        states = where.states or tuple(State)
        return sum(
            n
            for (state, queue), n in counts(conn).items()
            if state in states and (not where.queues or queue in where.queues)
        )
    params = conditions(where)
    if not where.states:
        return int(conn.execute(SQL["count_all"], params).fetchone()[0])
    return sum(
        conn.execute(SQL["count_state"], params | {"state": state}).fetchone()[0]
        for state in dict.fromkeys(where.states)
    )


def counts(conn: sqlite3.Connection) -> dict[tuple[State, str], int]:
    return {(to_state(state), queue): n for state, queue, n in conn.execute(SQL["counts"])}


def oldest_due(conn: sqlite3.Connection, now: float) -> float | None:
    moment: float | None = conn.execute(SQL["oldest_due"], {"now": now}).fetchone()[0]
    return moment


def attempts(conn: sqlite3.Connection, seq: int) -> list[Attempt]:
    return [to_attempt(row) for row in conn.execute(SQL["attempts_of"], {"seq": seq})]


def tail(conn: sqlite3.Connection, seq: int, number: int) -> bytes | None:
    row = conn.execute(SQL["tail_of"], {"seq": seq, "number": number}).fetchone()
    return None if row is None else bytes(row[0])


def ended_since(conn: sqlite3.Connection, since: float, limit: int) -> list[Ended]:
    params = {"since": since, "limit": limit}
    return [
        (to_outcome(outcome), bool(dead), run, waited)
        for outcome, dead, run, waited in conn.execute(SQL["ended_since"], params)
    ]


def candidates(
    conn: sqlite3.Connection, where: Filter, after: int, until: int, limit: int
) -> list[int]:
    params = conditions(where) | {"after": after, "until": until, "limit": limit}
    if len(where.reasons) == 1:  # by an index of its own
        params["reason"] = where.reasons[0]
        return [row[0] for row in conn.execute(SQL["bulk_reason"], params)]
    found = [
        [row[0] for row in conn.execute(SQL["bulk_state"], params | {"state": state})]
        for state in dict.fromkeys(where.states)
    ]
    return sorted(chain.from_iterable(found))[:limit]


def change(
    conn: sqlite3.Connection, action: Action, jobs: Sequence[Job], now: float, strict: bool
) -> list[tuple[int, int]]:
    changed = []
    for job in jobs:
        if job.state in ALLOWED[action]:
            params = conditions(Filter()) | {"runs": job.runs, "now": now}
            changed += _change(conn, action, [job.seq], [job.state], params)
        if strict and (not changed or changed[-1][0] != job.seq):
            raise changed_meanwhile(action, job, by_seq(conn, job.seq))
    return changed


def change_matching(
    conn: sqlite3.Connection, action: Action, where: Filter, seqs: Sequence[int], now: float
) -> list[tuple[int, int]]:
    states = where.narrowed(ALLOWED[action]).states
    return _change(conn, action, seqs, states, conditions(where) | {"runs": None, "now": now})


def _change(
    conn: sqlite3.Connection,
    action: Action,
    seqs: Sequence[int],
    states: Sequence[State],
    params: dict[str, Any],
) -> list[tuple[int, int]]:
    chosen = {"seqs": json.dumps(list(seqs)), "states": json.dumps(list(states))}
    # To the end: a statement with RETURNING is done when its last row was read.
    return [(row[0], row[1]) for row in conn.execute(SQL[action], params | chosen).fetchall()]


def config(conn: sqlite3.Connection) -> dict[str, str]:
    return {row["key"]: row["value"] for row in conn.execute(SQL["config_all"])}


def set_config(conn: sqlite3.Connection, values: Mapping[str, str | None]) -> None:
    for key, value in values.items():
        if value is None:
            conn.execute(SQL["config_unset"], {"key": key})
        else:
            conn.execute(SQL["config_set"], {"key": key, "value": value})


def check_whole(conn: sqlite3.Connection, url: str) -> None:
    """Conflict while another store is being copied into this one."""
    row = conn.execute(SQL["copy_mark"]).fetchone()
    if row is not None:
        from ..copy import half_copied

        raise half_copied(url, row[0])
