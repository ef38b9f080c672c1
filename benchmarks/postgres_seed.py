"""The store of ``flat_seed.py`` in PostgreSQL: the same jobs, with its triggers."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import asyncpg
import console_seed
from flat_seed import JOB, Size, rows
from harness import QUEUECTL, timed
from postgres_server import PostgresScratch

from queuectl_core.domain.model import Outcome
from queuectl_core.domain.rollup import MINUTE, Ended, Rollup, floor, pack
from queuectl_core.store.postgres.maintenance import fold
from queuectl_core.store.postgres.session import Session
from queuectl_core.store.postgres.statistics import thin

SAME = """
SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
WHERE attrelid = 'jobs'::regclass AND attnum > 0 AND attname <> ALL ($1)
"""
ATTEMPTS = """
INSERT INTO attempts (job, number, started_at, finished_at, outcome, made_dead, exit_code, worker,
                      host, output_bytes, waited)
SELECT seq, n, started_at, finished_at, CASE state WHEN 'dead' THEN 'failed' ELSE state END,
       state = 'dead' AND n = runs, exit_code, 'abcde-1', 'bench', 0, started_at - run_at
FROM jobs CROSS JOIN generate_series(1, 3) AS n WHERE runs >= n
"""
ENDED = "SELECT finished_at, outcome, made_dead, finished_at - started_at, waited FROM attempts"


def seed(scratch: PostgresScratch, size: Size) -> None:
    """Make the store of ``scratch`` that ``flat.py`` needs."""
    now = time.time()

    async def rest(connection: Any) -> None:
        await connection.execute(ATTEMPTS)
        await _roll_up(connection, now)

    timed([*QUEUECTL, "enqueue", "true", "--quiet"], scratch.env)
    asyncio.run(_fill(scratch, JOB, rows(size, now), rest))


def seed_console(scratch: PostgresScratch, count: int) -> None:
    """Make the store of ``scratch`` that ``console.py`` needs."""

    async def rest(connection: Any) -> None:
        pass

    timed([*QUEUECTL, "enqueue", "true", "--quiet"], scratch.env)
    asyncio.run(_fill(scratch, console_seed.COLUMNS, console_seed.rows(count), rest))


async def _fill(
    scratch: PostgresScratch,
    columns: Sequence[str],
    records: Iterable[tuple[object, ...]],
    rest: Callable[[Any], Awaitable[None]],
) -> None:
    connection = await asyncpg.connect(
        scratch.server.url, server_settings={"search_path": scratch.schema, "jit": "off"}
    )
    try:
        async with connection.transaction():
            await _jobs(connection, columns, records)
            await rest(connection)
            await fold(Session(connection))
        # What autovacuum does within a minute or two, and the checkpointer within five.
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _jobs(
    connection: Any, columns: Sequence[str], records: Iterable[tuple[object, ...]]
) -> None:
    """What differs from job to job is copied in, the rest is as in a job just enqueued."""
    same = await connection.fetchval(SAME, [*columns, "seq"])
    names = ", ".join(columns)
    await connection.execute(f"CREATE TEMP TABLE pattern AS SELECT {same} FROM jobs")
    await connection.execute("DELETE FROM jobs")
    await connection.execute(f"CREATE TEMP TABLE fresh AS SELECT {names} FROM jobs")
    await connection.copy_records_to_table(
        "fresh", schema_name="pg_temp", columns=columns, records=records
    )
    await connection.execute(
        f"INSERT INTO jobs ({names}, {same}) SELECT {names}, {same} FROM fresh, pattern"
    )
    await connection.execute("DROP TABLE fresh, pattern")


async def _roll_up(connection: Any, now: float) -> None:
    """What the product would have added up as these attempts ended, and thinned since."""
    minutes: dict[int, list[Ended]] = defaultdict(list)
    async for end, outcome, *rest in connection.cursor(ENDED, prefetch=10_000):
        minutes[floor(end, MINUTE)].append((Outcome(outcome), *rest))
    datas = []
    for ended in minutes.values():
        rollup = Rollup()
        rollup.add(ended)
        datas.append(pack(rollup))
    session = Session(connection)
    await session.run("rollups_put", span=MINUTE, moments=list(minutes), source="", datas=datas)
    left, before = len(minutes), 0
    while left != before:
        await thin(session, now)
        left, before = await connection.fetchval("SELECT count(*) FROM rollups"), left
