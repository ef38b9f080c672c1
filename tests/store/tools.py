"""Steps that many conformance tests share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import asyncpg

from queuectl_core.domain.claims import AttemptResult, ClaimRequest, ClaimResult, ClaimSlot
from queuectl_core.domain.model import Filter, Job, Outcome, State, SupervisorRow
from queuectl_core.store.protocol import JobAction, Store

from ..pgserver import server_url
from ..support import NOW, ending, supervisor


async def real_counts(store: Store) -> dict[tuple[State, str], int]:
    """Jobs by state and queue, counted by reading them all."""
    jobs = await store.scan(Filter(), 1_000_000)
    return dict(Counter((job.state, job.queue) for job in jobs))


async def hired(store: Store, name: str = "sup", *workers: str) -> str:
    """A registered supervisor with ``workers`` (default: one, ``NAME-1``)."""
    slots = [(worker, ()) for worker in workers or (f"{name}-1",)]
    await store.register(supervisor(name), slots, NOW)
    return name


async def row_of(store: Store, name: str) -> SupervisorRow:
    """A supervisor's row in the store. A store that hosts share sets the times itself."""
    [row] = [row for row in await store.supervisors() if row.id == name]
    return row


async def claim(
    store: Store,
    owner: str = "sup",
    count: int = 1,
    *,
    now: float = NOW,
    queues: tuple[str, ...] = (),
) -> list[Job]:
    """Claim up to ``count`` jobs."""
    slots = [ClaimSlot(f"{owner}-{n}", queues) for n in range(1, count + 1)]
    return list((await store.settle_and_claim(ClaimRequest(owner, [], slots, now))).claimed)


async def change(
    store: Store, action: JobAction, seqs: Sequence[int], now: float, strict: bool
) -> int:
    """Change the jobs with these keys as they are now. Returns how many were changed."""
    seen = [await store.by_seq(seq) or never_there(seq) for seq in seqs]
    return len(await store.change(action, seen, now, strict=strict))


def never_there(seq: int) -> Job:
    """A job that is in no store."""
    return Job(
        seq=seq,
        id="gone",
        command="true",
        max_retries=1,
        backoff_base=1.0,
        priority=0,
        run_at=NOW,
        timeout_seconds=0.0,
        cwd="/",
        env={},
        queue="default",
        state=State.CANCELLED,
        attempts=0,
        crashes=0,
        runs=0,
        created_at=NOW,
        updated_at=NOW,
        started_at=None,
        finished_at=NOW,
        exit_code=None,
        last_error=None,
        worker=None,
    )


async def finish(
    store: Store, owner: str, *results: AttemptResult, now: float = NOW
) -> ClaimResult:
    """Write results, and claim nothing."""
    return await store.settle_and_claim(ClaimRequest(owner, results, [], now))


async def run(
    store: Store,
    job: Job,
    outcome: Outcome = Outcome.COMPLETED,
    *,
    owner: str = "sup",
    now: float = NOW,
    reason: str | None = None,
    tail: bytes = b"",
) -> Job:
    """Claim ``job``, which must be the next, and end it. Returns the job as it is then."""
    [held] = await claim(store, owner, now=now)
    assert held.id == job.id
    done = await finish(store, owner, ending(held, outcome, now=now, reason=reason, tail=tail))
    assert not done.refused
    found = await store.by_seq(job.seq)
    assert found is not None
    return found


async def blocked_by(pid: int) -> bool:
    """Whether a session of the PostgreSQL server waits for the one with this pid."""
    connection = await asyncpg.connect(server_url())
    try:
        blocked = "SELECT count(*) > 0 FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))"
        return bool(await connection.fetchval(blocked, pid))
    finally:
        await connection.close()
