"""``keep-completed``: completed jobs are forgotten once they are old enough."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from queuectl_core.domain.model import Filter, Job, Outcome, State, SupervisorRow
from queuectl_core.operations.maintenance import forget_events
from queuectl_core.queue import Queue
from queuectl_core.store.protocol import Store
from queuectl_core.supervisor.maintenance import retention
from queuectl_core.supervisor.maintenance.retention import BATCH, EVENTS_EVERY, Retention
from queuectl_core.system.host import host_key, hostname, process_start
from tests.store.tools import claim, finish
from tests.support import NOW, PATIENCE, ending, eventually_async, spec, supervisor

from .conftest import Run


def living(name: str) -> SupervisorRow:
    """A supervisor that is_gone takes for alive: this process, with a lease that lasts."""
    import os

    pid = os.getpid()
    start = process_start(pid) or 0.0
    return supervisor(
        name, host=hostname(), host_key=host_key(), pid=pid, pid_start=start, lease_mono=1e12
    )


async def completed(store: Store, count: int, at: float) -> list[Job]:
    jobs = await store.enqueue([spec(run_at=at) for _ in range(count)], at)
    held = await claim(store, "a", count, now=at)
    await finish(store, "a", *(ending(job, now=at) for job in held))
    return jobs


async def names(store: Store) -> set[str]:
    return {job.id for job in await store.scan(Filter(), 10_000)}


async def test_jobs_are_kept_for_as_long_as_configured(queue: Queue) -> None:
    store = queue.store
    await store.register(living("a"), [("a-1", ())], NOW)
    old = await completed(store, 2, NOW)
    new = await completed(store, 2, NOW + 60)
    (waiting,) = await store.enqueue([spec()], NOW)
    everything = {job.id for job in (*old, *new, waiting)}
    part = Retention(store, lambda: "a")
    await part.turn(0, NOW + 1e6)
    assert await names(store) == everything, "0 is for ever"
    await part.turn(100, NOW + 90)
    assert await names(store) == everything
    await part.turn(100, NOW + 110)
    assert await names(store) == everything - {job.id for job in old}
    await part.turn(30, NOW + 110)
    assert await names(store) == {waiting.id}


async def test_much_is_forgotten_in_small_steps(queue: Queue) -> None:
    store = queue.store
    await store.register(living("a"), [("a-1", ())], NOW)
    await completed(store, 3 * BATCH + 1, NOW)
    part = Retention(store, lambda: "a")

    async def none_left() -> bool:
        await part.turn(1, NOW + 100)
        return not await names(store)

    await eventually_async(none_left)


async def test_the_first_of_those_alive_does_it(queue: Queue) -> None:
    store = queue.store
    for name in ("a", "b"):
        await store.register(living(name), [(f"{name}-1", ())], NOW)
    await completed(store, 1, NOW)
    await Retention(store, lambda: "b").turn(1, NOW + 100)
    assert len(await names(store)) == 1
    await store.deregister("a")
    await store.register(supervisor("0-dead", pid_start=1.0), [], NOW)
    await Retention(store, lambda: "b").turn(1, NOW + 100)
    assert not await names(store)


async def test_an_attempt_settled_late_is_not_overlooked_for_ever(
    queue: Queue, monkeypatch: object
) -> None:
    store = queue.store
    await store.register(living("a"), [("a-1", ())], NOW)
    part = Retention(store, lambda: "a")
    await part.turn(10, NOW + 100)
    await completed(store, 1, NOW)
    await part.turn(10, NOW + 100)
    assert len(await names(store)) == 1, "it is behind what was looked at"
    part._started = float("-inf")  # as after FROM_THE_START
    await part.turn(10, NOW + 100)
    assert not await names(store)


async def test_what_did_not_complete_is_never_forgotten(queue: Queue) -> None:
    store = queue.store
    await store.register(living("a"), [("a-1", ())], NOW)
    (dead,) = await store.enqueue([spec(max_retries=1)], NOW)
    (held,) = await claim(store, "a")
    await finish(store, "a", ending(held, Outcome.FAILED, reason="x"))
    await Retention(store, lambda: "a").turn(1, NOW + 1e6)
    (job,) = await store.scan(Filter(), 10)
    assert (job.id, job.state) == (dead.id, State.DEAD)


async def test_a_running_supervisor_does_it_with_the_output(
    queue: Queue, run: Run, store_path: Path
) -> None:
    await queue.enqueue(["echo x"])
    await run()
    logs = Path(f"{store_path}.d") / "logs"
    assert list(logs.rglob("*.log"))
    await queue.config_set("keep-completed", "0.1")
    working = asyncio.create_task(queue.run_workers(1))

    async def gone() -> bool:
        return not await queue.scan() and not list(logs.rglob("*.log"))

    await eventually_async(gone)
    await queue.stop_workers(await queue.workers(), now=False)
    await working


async def test_events_are_kept_for_as_long_as_configured(queue: Queue) -> None:
    store = queue.store
    await store.enqueue([spec(id=f"j{n}") for n in range(BATCH + 1)], NOW)
    await store.register(living("a"), [("a-1", ())], NOW + 50)
    part = Retention(store, lambda: "a")
    await part.forget_events(0, NOW + 1e6)
    await part.forget_events(100, NOW + 90)
    assert len(await store.events_between(0, NOW + 1e6)) == BATCH + 2
    other = Retention(store, lambda: "a")
    await other.forget_events(100, NOW + 120)
    assert [one.kind for one in await store.events_between(0, NOW + 1e6)] == ["worker.started"]


async def test_prune_forgets_old_events_too(queue: Queue) -> None:
    await queue.store.enqueue([spec(id="old")], NOW)
    await queue.config_set("keep-events", "1h")
    await queue.prune(60)
    kinds = [one.kind for one in await queue.store.events_between(0, 1e11)]
    assert kinds == ["config.changed"]


async def test_old_events_that_are_left_are_forgotten_at_the_next_tick(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When none is left, they are looked at again after a minute."""
    await queue.store.register(living("a"), [("a-1", ())], NOW)
    looks: list[float] = []
    left = [False, True, True]
    moments = [1000.0]

    async def forget(store: Store, keep: float, now: float, seconds: float) -> bool:
        looks.append(moments[-1])
        return left.pop(0)

    monkeypatch.setattr(retention, "forget_events", forget)
    monkeypatch.setattr(retention, "monotonic", lambda: moments[-1])
    part = Retention(queue.store, lambda: "a")
    for at in (1000.0, 1001.0, 1002.0, 1000.0 + EVENTS_EVERY, 1001.0 + EVENTS_EVERY):
        moments.append(at)
        await part.forget_events(0, NOW)
        await part.forget_events(100, NOW)
    assert looks == [1000.0, 1001.0, 1001.0 + EVENTS_EVERY]


async def test_supervisors_that_are_not_the_first_seldom_ask_who_is(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them would read the store every second."""
    moments = [1000.0]
    asked: list[float] = []

    async def first(self: Retention, now: float) -> bool:
        asked.append(moments[-1])
        return False

    monkeypatch.setattr(Retention, "_first", first)
    monkeypatch.setattr(retention, "monotonic", lambda: moments[-1])
    part = Retention(queue.store, lambda: "b")
    for at in (1000.0, 1001.0, 1000.0 + EVENTS_EVERY):
        moments.append(at)
        await part.forget_events(100, NOW)
    assert asked == [1000.0, 1000.0 + EVENTS_EVERY]


async def test_events_that_take_long_to_forget_are_left(queue: Queue) -> None:
    """Others want to write, too."""
    await queue.store.register(living("a"), [("a-1", ())], NOW)
    await queue.store.enqueue([spec()], NOW)
    assert await queue.store.oldest_event() == NOW
    assert not await forget_events(queue.store, 100, NOW + 1000, seconds=-1)
    assert await queue.store.oldest_event() == NOW
    assert await forget_events(queue.store, 100, NOW + 1000, seconds=PATIENCE)
    assert await queue.store.oldest_event() is None
