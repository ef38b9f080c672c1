"""A store that has seen a lot: what ``flat.py`` holds against an empty one.

Written with SQL into the product's own schema, triggers and all. The attempts are spread so
that statistics have much to read: half of them ended within the last hour.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from console_seed import REASONS

from queuectl_core.domain.model import Outcome
from queuectl_core.domain.rollup import MINUTE, Ended, Rollup, floor, pack
from queuectl_core.queue import Queue
from queuectl_core.store.sqlite.jobs import new_ids
from queuectl_core.store.sqlite.queries import SQL
from queuectl_core.store.sqlite.statistics import thin

QUEUES = ("default", "bench")
"""Every other job is in each: the queue that is drained is no emptier than any."""

JOB = (
    *("id", "command", "priority", "run_at", "queue", "state", "attempts", "runs", "created_at"),
    *("updated_at", "started_at", "finished_at", "exit_code", "last_error", "reason", "ready"),
)
"""What differs from job to job; the rest is as in a job that was just enqueued."""

HOUR = 3600.0
MONTH = 30 * 24 * HOUR


@dataclass(frozen=True, slots=True)
class Size:
    """How many jobs of each kind."""

    finished: int = 1_000_000
    waiting: int = 100_000
    scheduled: int = 100_000
    dead: int = 50_000

    @property
    def jobs(self) -> int:
        return self.finished + self.waiting + self.scheduled + self.dead


def seed(path: Path, size: Size) -> None:
    """Make a store at ``path``."""
    asyncio.run(_create(path))
    now = time.time()
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA synchronous = OFF")
    conn.execute("PRAGMA cache_size = -400000")
    every = [row[1] for row in conn.execute("PRAGMA table_info(jobs)")]
    same = ", ".join(name for name in every if name not in (*JOB, "seq"))
    conn.execute(f"CREATE TEMP TABLE pattern AS SELECT {same} FROM jobs")
    conn.execute("BEGIN")
    conn.execute("DELETE FROM jobs")
    marks = ", ".join("?" * len(JOB))
    conn.executemany(
        f"INSERT INTO jobs ({', '.join(JOB)}, {same}) SELECT {marks}, {same} FROM pattern",
        rows(size, now),
    )
    conn.executemany(
        "INSERT INTO attempts (job, number, started_at, finished_at, outcome, made_dead,"
        " exit_code, worker, host, output_bytes, waited) SELECT seq, :number, started_at,"
        " finished_at, CASE state WHEN 'dead' THEN 'failed' ELSE state END,"
        " state = 'dead' AND :number = runs, exit_code, 'abcde-1', 'bench', 0,"
        " started_at - run_at FROM jobs WHERE runs >= :number",
        [{"number": number} for number in (1, 2, 3)],
    )
    _roll_up(conn, now)
    conn.execute("COMMIT")
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()


async def _create(path: Path) -> None:
    async with Queue.open(str(path), env={}) as queue:
        await queue.enqueue(["true"])


def _roll_up(conn: sqlite3.Connection, now: float) -> None:
    """What the product would have added up as these attempts ended, and thinned since."""
    minutes: dict[int, list[Ended]] = defaultdict(list)
    for end, outcome, *rest in conn.execute(
        "SELECT finished_at, outcome, made_dead, finished_at - started_at, waited FROM attempts"
    ):
        minutes[floor(end, MINUTE)].append((Outcome(outcome), *rest))
    for at, ended in minutes.items():
        rollup = Rollup()
        rollup.add(ended)
        conn.execute(SQL["rollup_put"], {"span": MINUTE, "at": at, "data": pack(rollup)})
    changes = -1
    while changes != conn.total_changes:
        changes = conn.total_changes
        thin(conn, now)


def rows(size: Size, now: float) -> Iterator[tuple[object, ...]]:
    """Every job, in the order of ``JOB``."""
    names = iter(new_ids(size.jobs))
    ended = size.finished + size.dead
    for number in range(ended):
        # The newer half in the last hour, the older in the month before it.
        part = number / ended
        ago = (1 - part) * 2 * HOUR if part >= 0.5 else HOUR + (0.5 - part) * 2 * MONTH
        end = now - ago
        took, waited = 0.001 * (1 + number % 997), 0.01 * (number % 8009)
        times = (end - took - waited, end, end - took, end)
        queue = QUEUES[number % 2]
        if (number + 1) * size.dead // ended > number * size.dead // ended:
            code, error, reason = REASONS[number % 3]
            command = ("false", 0, times[0], queue, "dead", 3, 3)
            yield next(names), *command, *times, code, error.format(number), reason, None
        else:
            command = ("true", 0, times[0], queue, "completed", 1, 1)
            yield next(names), *command, *times, 0, None, None, None
    none = (None, None, None, None, None)
    for number in range(size.waiting):
        at = now - HOUR + 0.01 * number
        yield next(names), "true", 0, at, QUEUES[number % 2], "pending", 0, 0, at, at, *none, 1
    for number in range(size.scheduled):
        at = now + 24 * HOUR + 0.1 * number
        yield next(names), "true", 9, at, QUEUES[number % 2], "pending", 0, 0, now, now, *none, 0
