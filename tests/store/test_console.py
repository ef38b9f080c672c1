"""Conformance: what a console reads of a store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain.errors import Conflict, StoreUnreachable
from queuectl_core.domain.figures import ThroughputSample
from queuectl_core.domain.fingerprint import LIMIT, dead_reason
from queuectl_core.domain.model import Filter, Outcome, State
from queuectl_core.domain.text import clean_line
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, ending, spec
from .tools import change, claim, finish, hired, run


async def test_bounds(store: Store) -> None:
    assert await store.bounds() is None
    made = await store.enqueue([spec() for _ in range(5)], NOW)
    assert await store.bounds() == (made[0].seq, made[-1].seq)
    await change(store, JobAction.REMOVE, [made[0].seq, made[-1].seq], NOW, strict=True)
    assert await store.bounds() == (made[1].seq, made[-2].seq)


FILTERS = [
    Filter(),
    Filter(states=(State.PENDING,)),
    Filter(states=(State.CANCELLED, State.PENDING, State.PENDING)),
    Filter(queues=("mail",)),
    Filter(search="_1", states=(State.PENDING,)),
    Filter(seqs=(2, 4, 5, 7, 12, 12, 99)),
    Filter(seqs=(4, 5, 7), states=(State.PENDING,), queues=("mail",)),
]


@pytest.mark.parametrize("where", FILTERS)
@pytest.mark.parametrize("up", [True, False])
async def test_a_scan_reads_a_range_in_either_direction(
    store: Store, where: Filter, up: bool
) -> None:
    made = await store.enqueue(
        [spec(id=f"job_{n}", queue=("default", "mail")[n % 2]) for n in range(20)], NOW
    )
    await change(store, JobAction.CANCEL, [job.seq for job in made[::3]], NOW, strict=True)
    floor, ceiling = made[3].seq, made[15].seq
    matching = [job for job in await store.scan(where, 100) if floor <= job.seq <= ceiling]
    if up:
        matching.reverse()
    for limit in (1, 5, 100):
        assert await store.scan(where, limit, low=floor, high=ceiling, up=up) == matching[:limit]
    assert await store.count_range(where, floor, ceiling) == len(matching)
    assert await store.scan(where, 100, low=ceiling, high=floor, up=up) == []
    assert await store.count_range(where, ceiling, floor) == 0


async def died(store: Store, name: str, reason: str, now: float = NOW) -> None:
    [job] = await store.enqueue([spec(id=name, max_retries=1, priority=9)], now)
    await run(store, job, Outcome.FAILED, now=now, reason=reason)


async def test_the_dead_by_cause(store: Store) -> None:
    await hired(store)
    assert await store.dead_groups(10) == []
    for n in range(3):
        await died(store, f"net-{n}", f"connection to 10.0.0.{n}:80 refused", NOW + n)
    await died(store, "disk", "disk full")
    [first, second] = await store.dead_groups(10)
    assert (first.count, first.last_at) == (3, NOW + 2)
    assert (second.count, second.reason) == (1, "disk full")
    assert [group.reason for group in await store.dead_groups(1)] == [first.reason]

    where = Filter(states=(State.DEAD,), reasons=(first.reason,))
    jobs = await store.scan(where, 10)
    assert [job.id for job in jobs] == ["net-2", "net-1", "net-0"]
    assert jobs[0].seq == first.newest
    assert await store.count_range(where) == 3
    bounds = await store.bounds()
    assert bounds is not None
    assert await store.scan(where, 2, low=bounds[0], high=bounds[1]) == jobs[:2]
    assert await store.scan(where, 2, low=bounds[0], high=bounds[1], up=True) == jobs[:0:-1]
    assert await store.count_range(where, *bounds) == 3

    both = Filter(states=(State.DEAD,), reasons=(first.reason, second.reason, "no such reason"))
    names = ["disk", "net-2", "net-1", "net-0"]
    assert [job.id for job in await store.scan(both, 10)] == names
    assert await store.count_range(both) == await store.count_range(both, *bounds) == 4
    assert [job.id for job in await store.scan(both, 9, low=bounds[0], high=bounds[1])] == names
    low, high = bounds
    assert len(await store.candidates(both, low - 1, high, 10)) == 4

    await change(store, JobAction.RETRY, [job.seq for job in jobs], NOW, strict=True)
    assert [group.reason for group in await store.dead_groups(10)] == ["disk full"]
    assert await store.count_range(where) == 0


async def test_throughput(store: Store) -> None:
    await hired(store)
    outcomes = [Outcome.COMPLETED, Outcome.COMPLETED, Outcome.FAILED, Outcome.CANCELLED]
    await store.enqueue([spec() for _ in outcomes] + [spec()], NOW)
    for outcome in outcomes:
        [held] = await claim(store)
        await finish(store, "sup", ending(held, outcome, now=NOW + 0.5))
    [held] = await claim(store)
    await finish(store, "sup", ending(held, now=NOW + 3.9))
    second = int(NOW)
    assert await store.throughput(NOW) == [
        ThroughputSample(second, 2, 1),
        ThroughputSample(second + 3, 1, 0),
    ]
    assert await store.throughput(NOW + 1) == [ThroughputSample(second + 3, 1, 0)]
    assert await store.throughput(NOW + 100) == []


async def test_amending(store: Store) -> None:
    await hired(store)
    await died(store, "a", "exit 1")
    [job] = await store.by_id("a")
    after = await store.amend(job, ("printf", "é"), NOW + 5)
    assert (after.command, after.state, after.attempts) == (("printf", "é"), State.PENDING, 0)
    assert (after.run_at, after.runs) == (NOW + 5, 1)
    assert after == await store.by_seq(job.seq)
    assert await store.count_range(Filter(search="é")) == 1
    assert len(await store.attempts(job.seq)) == 1, "its history stays"
    with pytest.raises(Conflict, match="is pending"):
        await store.amend(job, "true", NOW)
    await change(store, JobAction.REMOVE, [job.seq], NOW, strict=True)
    with pytest.raises(Conflict, match="is gone"):
        await store.amend(job, "true", NOW)


async def test_a_store_that_was_deleted_or_replaced_is_noticed(
    store: Store, tmp_path: Path
) -> None:
    await store.check()
    path = Path(store.url)
    if not path.is_file():
        return  # a server's database has no file to lose
    os.rename(path, tmp_path / "moved.db")
    with pytest.raises(StoreUnreachable):
        await store.check()
    path.touch()
    with pytest.raises(StoreUnreachable):
        await store.check()
    path.unlink()
    os.rename(tmp_path / "moved.db", path)
    await store.check()


# -- the cause ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("timed out after 30s", "timed out after 31s"),
        ("no such file: /tmp/a1b2c3d4e5", "no such file: /tmp/f6a7b8c9d0"),
        ("at 2026-01-01T00:00:00Z it broke", "at 2026-12-31 23:59:59.5+02:00 it broke"),
        ("user 123e4567-e89b-12d3-a456-426614174000", "user 00000000-0000-0000-0000-000000000000"),
    ],
)
def test_what_differs_from_job_to_job_is_left_out(one: str, other: str) -> None:
    assert dead_reason(1, one) == dead_reason(1, other)


def test_different_causes_stay_apart() -> None:
    assert dead_reason(1, "disk full") != dead_reason(1, "disk gone")
    assert dead_reason(1, "exit 1") != dead_reason(2, "exit 2")
    assert dead_reason(None, None) == dead_reason(None, "") != ""


@given(st.none() | st.integers(0, 255), st.none() | st.text(st.characters()))
def test_a_cause_is_one_short_clean_line(exit_code: int | None, error: str | None) -> None:
    reason = dead_reason(exit_code, error)
    assert reason
    assert reason == clean_line(reason)
    assert len(reason) <= LIMIT + len("exit 255: ")
