"""What a console reads and changes, as transactions; every read is short, whatever the size."""

from __future__ import annotations

import json
import sqlite3
from itertools import islice
from typing import TYPE_CHECKING

from ...domain.errors import Conflict
from ...domain.model import Command, Filter, Job
from .queries import SQL, conditions, to_job, to_state

if TYPE_CHECKING:
    from ...domain.figures import DeadGroup, ThroughputSample


def bounds(conn: sqlite3.Connection) -> tuple[int, int] | None:
    low, high = conn.execute(SQL["bounds"]).fetchone()
    return None if low is None else (low, high)


def stretch(
    conn: sqlite3.Connection, where: Filter, floor: int, ceiling: int, limit: int, *, up: bool
) -> list[Job]:
    way = "up" if up else "down"
    params = conditions(where) | {"floor": floor, "ceiling": ceiling, "limit": limit}
    if len(where.reasons) == 1:  # by an index of its own
        params["reason"] = where.reasons[0]
        return [to_job(row) for row in conn.execute(SQL[f"{way}_reason"], params)]
    if not where.states:
        return [to_job(row) for row in conn.execute(SQL[f"{way}_all"], params)]
    pages = [
        [to_job(row) for row in conn.execute(SQL[f"{way}_state"], params | {"state": state})]
        for state in dict.fromkeys(where.states)
    ]
    sign = 1 if up else -1
    import heapq

    return list(islice(heapq.merge(*pages, key=lambda job: sign * job.seq), limit))


def span(conn: sqlite3.Connection, where: Filter, floor: int, ceiling: int) -> int:
    params = conditions(where) | {"floor": floor, "ceiling": ceiling}
    if not where.states:
        return int(conn.execute(SQL["span_all"], params).fetchone()[0])
    return sum(
        conn.execute(SQL["span_state"], params | {"state": state}).fetchone()[0]
        for state in dict.fromkeys(where.states)
    )


def dead_groups(conn: sqlite3.Connection, limit: int) -> list[DeadGroup]:
    from ...domain.figures import DeadGroup

    return [
        DeadGroup(row["reason"] or "", row["exit_code"], row["n"], row["last_at"], row["newest"])
        for row in conn.execute(SQL["dead_groups"], {"limit": limit})
    ]


def ticks(conn: sqlite3.Connection, since: float) -> list[ThroughputSample]:
    from ...domain.figures import ThroughputSample

    return [ThroughputSample(*row) for row in conn.execute(SQL["ticks"], {"since": since})]


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
