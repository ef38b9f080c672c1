"""Enqueueing, reading and changing jobs, as transactions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeVar

from ...domain.errors import Conflict
from ...domain.model import Command, Filter, Job, JobSpec, State
from ..protocol import ALLOWED, LAST, JobAction, changed_meanwhile
from ..rows import counted, is_counted, new_ids
from .queries import SQL, conditions, reading, spec_params, to_job, to_state

T = TypeVar("T")


def rows(
    conn: sqlite3.Connection, query: str, convert: Callable[[Any], T], values: Mapping[str, Any]
) -> list[T]:
    """The rows of a query, each converted. Lists become JSON, which ``json_each`` reads."""
    params = {k: json.dumps(v) if isinstance(v, list) else v for k, v in values.items()}
    return [reading(convert)(row) for row in conn.execute(SQL[query], params)]


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
    """The ids that the store already has."""
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


def scan(
    conn: sqlite3.Connection,
    where: Filter,
    limit: int,
    *,
    low: int = 0,
    high: int = LAST,
    up: bool = False,
) -> list[Job]:
    direction, sign = ("up", 1) if up else ("down", -1)
    params = conditions(where) | {"low": low, "high": high, "limit": limit}

    def found(kind: str, **more: Any) -> list[Job]:
        return [to_job(row) for row in conn.execute(SQL[f"scan_{kind}_{direction}"], params | more)]

    if where.seqs is not None:
        chosen = conn.execute(SQL["scan_seqs"], params | {"seqs": json.dumps(where.seqs)})
        jobs = [job for job in map(to_job, chosen) if job.state in (where.states or State)]
        return sorted(jobs, key=lambda job: sign * job.seq)[:limit]
    if len(where.reasons) == 1 and State.DEAD in (where.states or State):  # by its own index
        return found("reason", reason=where.reasons[0])
    if not where.states:
        return found("all")
    pages = [found("state", state=state) for state in dict.fromkeys(where.states)]
    import heapq

    return list(islice(heapq.merge(*pages, key=lambda job: sign * job.seq), limit))


def count_range(conn: sqlite3.Connection, where: Filter, low: int = 0, high: int = LAST) -> int:
    if where.seqs is not None:
        return len(scan(conn, where, len(where.seqs), low=low, high=high))
    if is_counted(where) and (low, high) == (0, LAST):
        return counted(counts(conn), where)
    params = conditions(where) | {"low": low, "high": high}
    if not where.states:
        return int(conn.execute(SQL["count_all"], params).fetchone()[0])
    return sum(
        conn.execute(SQL["count_state"], params | {"state": state}).fetchone()[0]
        for state in dict.fromkeys(where.states)
    )


def faults(conn: sqlite3.Connection) -> list[str]:
    found = [str(row[0]) for row in conn.execute("PRAGMA quick_check(5)")]
    return [] if found == ["ok"] else found


def counts(conn: sqlite3.Connection) -> dict[tuple[State, str], int]:
    return {(to_state(state), queue): n for state, queue, n in conn.execute(SQL["counts"])}


def candidates(
    conn: sqlite3.Connection, where: Filter, after: int, until: int, limit: int
) -> list[int]:
    params = conditions(where) | {"after": after, "until": until, "limit": limit}
    if len(where.reasons) == 1:  # by its own index
        params["reason"] = where.reasons[0]
        return [row[0] for row in conn.execute(SQL["bulk_reason"], params)]
    found = [
        [row[0] for row in conn.execute(SQL["bulk_state"], params | {"state": state})]
        for state in dict.fromkeys(where.states)
    ]
    return sorted(chain.from_iterable(found))[:limit]


def change(
    conn: sqlite3.Connection, action: JobAction, seen: Sequence[Job], now: float, *, strict: bool
) -> list[tuple[int, int]]:
    changed = []
    for job in seen:
        if job.state in ALLOWED[action]:
            params = conditions(Filter()) | {"runs": job.runs, "now": now}
            changed += _change(conn, action, [job.seq], [job.state], params)
        if strict and (not changed or changed[-1][0] != job.seq):
            raise changed_meanwhile(action, job, by_seq(conn, job.seq))
    return changed


def change_matching(
    conn: sqlite3.Connection, action: JobAction, where: Filter, seqs: Sequence[int], now: float
) -> list[tuple[int, int]]:
    states = where.narrowed(ALLOWED[action]).states
    return _change(conn, action, seqs, states, conditions(where) | {"runs": None, "now": now})


def _change(
    conn: sqlite3.Connection,
    action: JobAction,
    seqs: Sequence[int],
    states: Sequence[State],
    params: dict[str, Any],
) -> list[tuple[int, int]]:
    chosen = {"seqs": json.dumps(list(seqs)), "states": json.dumps(list(states))}
    # Read all rows: a statement with RETURNING ends with its last row.
    return [(row[0], row[1]) for row in conn.execute(SQL[action], params | chosen).fetchall()]


def amend(conn: sqlite3.Connection, job: Job, command: Command, now: float) -> Job:
    argv = not isinstance(command, str)
    changed = conn.execute(
        SQL["amend"],
        {
            "seq": job.seq,
            "state": job.state,
            "runs": job.runs,
            "command": json.dumps(command, ensure_ascii=False) if argv else command,
            "is_argv": argv,
            "now": now,
        },
    ).rowcount
    row = conn.execute(SQL["job_by_seq"], {"seq": job.seq}).fetchone()
    if not changed or row is None:
        state = "gone" if row is None else to_state(row["state"]).value
        raise Conflict(f"job '{job.id}' is {state} now; its command was not changed", "look again")
    return to_job(row)


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
