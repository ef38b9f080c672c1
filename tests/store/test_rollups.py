"""What ended, added up as it ended, on every store."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from queuectl_core import queue as queue_module
from queuectl_core.domain.model import Outcome
from queuectl_core.domain.rollup import DAY, HOUR, MINUTE, Rollup, floor, pack, reach
from queuectl_core.queue import Queue
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, ending, spec
from .tools import change, claim, finish, hired

MINUTE_OF_NOW = floor(NOW, MINUTE)


async def ended(store: Store, *moments: float, outcome: Outcome = Outcome.COMPLETED) -> None:
    """A job that ended at each of these moments, after waiting two seconds and running one."""
    for moment in moments:
        [job] = await store.enqueue([spec(run_at=moment - 3)], moment - 3)
        [held] = await claim(store, now=moment - 1)
        assert held.seq == job.seq
        await finish(store, "sup", ending(held, outcome, now=moment), now=moment)
        if outcome is not Outcome.COMPLETED:  # out of the way of the next
            await change(store, JobAction.CANCEL, [job.seq], moment, strict=True)


def expected(count: int, *, failed: int = 0) -> bytes:
    """So many completed and failed attempts as ``ended`` makes them."""
    made = Rollup()
    outcomes = [Outcome.COMPLETED] * count + [Outcome.FAILED] * failed
    made.add(((outcome, False, 1.0, 2.0) for outcome in outcomes), "default")
    return pack(made)


async def test_what_ends_is_added_up(store: Store) -> None:
    await hired(store)
    assert pack(await store.rollup(MINUTE_OF_NOW)) == expected(0)
    await ended(store, NOW, NOW, NOW + 70)
    await ended(store, NOW + 71, outcome=Outcome.FAILED)
    assert pack(await store.rollup(MINUTE_OF_NOW)) == expected(3, failed=1)
    assert pack(await store.rollup(MINUTE_OF_NOW + MINUTE)) == expected(1, failed=1)
    assert pack(await store.rollup(MINUTE_OF_NOW + 2 * MINUTE)) == expected(0)


async def test_one_commit_may_end_many_at_different_times(store: Store) -> None:
    await hired(store, "sup", "sup-1", "sup-2", "sup-3")
    await store.enqueue([spec(run_at=NOW - 3) for _ in range(3)], NOW - 3)
    held = await claim(store, count=3, now=NOW - 1)
    ends = [
        ending(held[0], now=NOW),
        ending(held[1], Outcome.INTERRUPTED, now=NOW),
        ending(held[2], now=NOW - 2 * MINUTE, started_at=NOW - 2 * MINUTE - 1, waited=2.0),
    ]
    await finish(store, "sup", *ends)
    assert pack(await store.rollup(MINUTE_OF_NOW)) == expected(1)
    assert pack(await store.rollup(MINUTE_OF_NOW - 2 * MINUTE)) == expected(2)


async def test_supervisors_add_to_the_same_minute(store: Store, other: Store) -> None:
    await hired(store)
    await hired(other, "two")
    await store.enqueue([spec(run_at=NOW - 3) for _ in range(2)], NOW - 3)
    [one] = await claim(store, now=NOW - 1)
    [two] = await claim(other, "two", now=NOW - 1)
    await finish(other, "two", ending(two))
    await finish(store, "sup", ending(one))
    for each in (store, other):
        assert pack(await each.rollup(MINUTE_OF_NOW)) == expected(2)


async def test_a_refused_ending_counts_in_nothing(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec()], NOW)
    [held] = await claim(store)
    await finish(store, "sup", ending(held))
    turn = await finish(store, "sup", ending(held))
    assert turn.refused
    assert (await store.rollup(MINUTE_OF_NOW)).ended == 1


async def test_a_job_that_is_gone_counts_on(store: Store) -> None:
    await hired(store)
    await ended(store, NOW, NOW)
    [job, _] = await store.scan(queue_module.Filter(), 2)
    await change(store, JobAction.REMOVE, [job.seq], NOW, strict=True)
    await store.prune([job.seq - 1], job.state, NOW + 1)
    assert await store.ended_since(0.0, 10) == []
    assert pack(await store.rollup(MINUTE_OF_NOW)) == expected(2)


async def test_no_window_loses_anything_as_the_past_is_thinned(store: Store) -> None:
    """A year of attempts, the newer the denser, and some that are settled long after."""
    await hired(store)
    rand = random.Random(7)
    ages = [rand.uniform(0, 390 * DAY) for _ in range(60)]
    ages += [rand.uniform(0, 9 * DAY) for _ in range(60)]
    ages += [rand.uniform(0, 26 * HOUR) for _ in range(60)]
    ages += [rand.uniform(0, 4 * HOUR) for _ in range(30)]
    ages.sort(reverse=True)
    moments = [NOW - age for age in ages]
    await ended(store, *moments)
    late = [NOW - 30 * HOUR, NOW - 50 * DAY]
    for moment in late:
        await store.enqueue([spec(run_at=moment - 3)], moment - 3)
        [held] = await claim(store, now=moment - 1)
        await finish(store, "sup", ending(held, now=moment), now=NOW)
    for minutes in range(1, 60):  # each minute of work thins a little
        await ended(store, NOW + minutes * MINUTE)
    now = NOW + HOUR
    ever = [*moments, *late, *(NOW + minutes * MINUTE for minutes in range(1, 60))]
    hours, days = (1, 2, 3, 4, 23, 24, 25), (7, 8, 9, 40, 389)
    for window in (60, *(n * HOUR for n in hours), *(n * DAY for n in days)):
        begins = reach(now - window, now)
        wanted = sum(moment >= begins for moment in ever)
        assert pack(await store.rollup(begins)) == expected(wanted), window


# -- what stats makes of it -----------------------------------------------------------


@pytest.fixture
async def queue(store: Store, tmp_path: Path) -> Queue:
    """A queue whose clock stands still, somewhere in a minute."""
    await hired(store)
    return Queue(store, {}, clock=lambda: NOW + 7, cwd=str(tmp_path))


async def test_few_attempts_are_read_one_by_one(queue: Queue) -> None:
    await ended(queue.store, NOW - 120, NOW)
    found = await queue.stats(60)
    assert (found.completed, found.exact, found.since) == (1, True, NOW + 7 - 60)


async def test_many_are_read_added_up(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "EXACT", 3)
    await ended(queue.store, NOW - 60, NOW, NOW, NOW)
    few = await queue.stats(20)
    assert (few.completed, few.exact) == (3, True)
    many = await queue.stats(120)
    begins = floor(NOW + 7 - 120, MINUTE)
    assert (many.completed, many.exact, many.since) == (4, False, begins)
    assert many.run_time is not None
    assert (many.run_time.min, many.run_time.max, many.run_time.avg) == (1.0, 1.0, 1.0)
    assert many.jobs_per_minute == pytest.approx(4 / (NOW + 7 - begins) * 60)


async def test_a_pruned_job_stays_in_the_statistics(queue: Queue) -> None:
    await ended(queue.store, NOW - 60, NOW - 1, NOW)
    assert await queue.prune(30) == 1
    found = await queue.stats(120)
    assert (found.completed, found.exact) == (3, False)
    assert (await queue.stats(20)).exact, "from the minutes since then nothing is missing"
