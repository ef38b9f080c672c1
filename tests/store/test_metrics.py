"""What ``metrics`` reads, on every store."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuectl_core.domain.metrics import MOST_LABELS, OTHER, Histogram
from queuectl_core.domain.model import Filter, Outcome
from queuectl_core.domain.rollup import DAY, HOUR, MINUTE
from queuectl_core.operations.metrics import read_metrics
from queuectl_core.queue import Queue
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, ending, spec, supervisor
from .tools import change, claim, finish, hired

Numbers = dict[tuple[str, ...], float]


@pytest.fixture
def queue(store: Store, tmp_path: Path) -> Queue:
    return Queue(store, {}, clock=lambda: NOW + 7, cwd=str(tmp_path))


async def read(queue: Queue) -> Numbers:
    """Every number, by the name of its metric and the values of its labels."""
    found: Numbers = {}
    for metric in await read_metrics(queue):
        for labels, value in metric.values:
            where = (metric.name.removeprefix("queuectl_"), *labels.values())
            if isinstance(value, Histogram):
                found |= {(*where, str(n)): number for n, number in enumerate(value.buckets)}
                found |= {(*where, "count"): value.count, (*where, "sum"): value.total}
            else:
                found[where] = value
    return found


def counters(found: Numbers) -> Numbers:
    return {
        where: number
        for where, number in found.items()
        if where[0] in ("attempts_total", "attempt_duration_seconds", "wait_seconds")
    }


async def end_one(store: Store, moment: float, outcome: Outcome = Outcome.COMPLETED) -> None:
    [job] = await store.enqueue([spec(run_at=moment - 3, max_retries=1)], moment - 3)
    [held] = await claim(store, now=moment - 1)
    assert held.seq == job.seq
    await finish(store, "sup", ending(held, outcome, now=moment), now=moment)


async def test_an_empty_store(queue: Queue) -> None:
    found = await read(queue)
    assert set(counters(found).values()) == {0}
    assert [where for where in found if where[0] == "jobs"] == []


async def test_queues_and_workers(queue: Queue) -> None:
    store = queue.store
    await hired(store, "sup", "sup-1", "sup-2")
    await store.enqueue([spec(queue="a", run_at=NOW - 30), spec(queue="b")], NOW - 60)
    await store.enqueue([spec(queue="late", run_at=NOW + 3600)], NOW)
    await queue.pause_queue("b")
    found = await read(queue)
    assert found["jobs", "a", "pending"] == 1
    assert found["jobs", "a", "dead"] == 0
    assert found["queue_oldest_ready_seconds", "a"] == pytest.approx(37)
    assert found["queue_oldest_ready_seconds", "late"] == 0
    assert (found["queue_paused", "a"], found["queue_paused", "b"]) == (0, 1)
    hosts = {where[1] for where in found if where[0] == "workers"}
    assert len(hosts) == 1
    assert sum(number for where, number in found.items() if where[0] == "workers") == 2


async def test_a_job_that_became_due_while_no_worker_runs_is_due(queue: Queue) -> None:
    await queue.store.enqueue([spec(queue="a", run_at=NOW - 40)], NOW - 100)
    found = await read(queue)
    assert found["queue_oldest_ready_seconds", "a"] == pytest.approx(47)
    [info] = await queue.queues()
    assert info.oldest_due_at == pytest.approx(NOW - 40)


async def test_counters_survive_what_is_removed(queue: Queue) -> None:
    store = queue.store
    await hired(store)
    await end_one(store, NOW - 60)
    await end_one(store, NOW - 50, Outcome.FAILED)
    before = await read(queue)
    assert before["attempts_total", "default", "completed"] == 1
    assert before["attempts_total", "default", "dead"] == 1
    assert before["wait_seconds", "count"] == 2
    assert await queue.prune(1) == 1
    [left] = await store.scan(Filter(), 5)
    await change(store, JobAction.REMOVE, [left.seq], NOW, strict=True)
    after = await read(queue)
    assert counters(after) == counters(before)
    assert after.get(("jobs", "default", "completed"), 0) == 0


async def test_counters_never_decrease_in_two_years(queue: Queue) -> None:
    """Rollups are merged again and again, and leave the last window."""
    store = queue.store
    await hired(store)
    moment, before, ended = NOW - 800 * DAY, {}, 0
    while moment < NOW:
        moment += 9 * DAY + HOUR + MINUTE
        await end_one(store, moment)
        ended += 1
        for _ in range(3):  # each minute of work merges a little
            moment += MINUTE
            await end_one(store, moment)
            ended += 1
        after = counters(await read(queue))
        assert all(after[where] >= number for where, number in before.items())
        assert after["attempts_total", "default", "completed"] == ended
        before = after


async def test_queues_stay_in_the_order_in_which_they_came(queue: Queue) -> None:
    """Whatever is merged: the first of them have labels of their own."""
    store = queue.store
    await hired(store)
    names = [f"q{n}" for n in (5, 3, 8, 1, 9, 2)]
    for n, name in enumerate(names):
        await end_in(store, NOW + n * 7 * MINUTE, name)
    moment, there = NOW + HOUR, list((await store.totals()).queues)
    for _ in range(12):  # each minute of work merges a little
        moment += 20 * DAY
        for name in ("q0", *names[::-1]):
            moment += MINUTE
            await end_in(store, moment, name)
        assert list((await store.totals()).queues) == [*there, "q0"]
    assert there == names


async def end_in(store: Store, moment: float, name: str) -> None:
    [job] = await store.enqueue([spec(queue=name, run_at=moment - 3)], moment - 3)
    [held] = await claim(store, now=moment - 1)
    assert held.seq == job.seq
    await finish(store, "sup", ending(held, Outcome.COMPLETED, now=moment), now=moment)


async def test_many_queues_are_added_up(queue: Queue) -> None:
    names = [f"q{n:03}" for n in range(MOST_LABELS + 3)]
    await queue.store.enqueue([spec(queue=name, run_at=NOW - 20) for name in names], NOW - 20)
    found = await read(queue)
    assert found["jobs", OTHER, "pending"] == 3
    assert found["queue_oldest_ready_seconds", OTHER] == pytest.approx(27)
    labels = {where[1] for where in found if where[0] == "jobs"}
    assert len(labels) == MOST_LABELS + 1


async def test_a_host_has_any_name(queue: Queue) -> None:
    row = supervisor("sup", host='a"b\\c\nd\u202e')
    await queue.store.register(row, [("sup-1", ())], NOW)
    found = await read(queue)
    assert {where[1] for where in found if where[0] == "workers"} == {'a"b\\c\\nd\\u202e'}


async def test_labels_name_no_job_and_no_worker(queue: Queue) -> None:
    await hired(queue.store, "sup", "sup-secretworker")
    await queue.store.enqueue([spec("secretcommand", id="secretid", key="secretkey")], NOW)
    assert "secret" not in str(await read(queue))
