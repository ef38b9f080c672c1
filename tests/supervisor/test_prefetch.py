"""Prefetch: only short jobs are prefetched, and other workers still get them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain.claims import ClaimRequest, ClaimResult
from queuectl_core.domain.errors import StoreLocked
from queuectl_core.domain.lifecycle import claimed_ahead
from queuectl_core.domain.model import Job, State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.runner.events import Exit
from queuectl_core.supervisor import triage
from queuectl_core.supervisor.attempt import ActiveAttempt, no_kill, token_of
from queuectl_core.supervisor.attempt_states import AttemptEvent
from queuectl_core.supervisor.attempts import AttemptTable
from queuectl_core.supervisor.maintenance.output_limit import Capture
from queuectl_core.supervisor.prefetch import DEEPEST, PATIENCE, Prefetch
from queuectl_core.supervisor.supervisor import Supervisor
from queuectl_core.supervisor.workers import Slot
from tests.support import eventually_async

from .test_triage import Supervisors, supervisors

__all__ = ["supervisors"]  # the fixture


async def jobs_of(queue: Queue, count: int, queue_names: str = "default") -> list[Job]:
    return await queue.enqueue([{"command": "true", "queue": queue_names}] * count)


def prefetch_of(
    wake: Callable[[], None] = lambda: None,
) -> tuple[Prefetch, AttemptTable, list[list[str]]]:
    """A prefetch with its attempts, and what it asks its shim to give back."""
    recalled: list[list[str]] = []
    attempts = AttemptTable()
    return Prefetch(attempts, wake, recalled.append), attempts, recalled


def held(prefetch: Prefetch, attempts: AttemptTable, job: Job, queues: str = "") -> ActiveAttempt:
    """An attempt that the shim holds."""
    attempt = ActiveAttempt(job, "", Capture("none", 1), 1.0, no_kill, None, queues=queues)
    attempts.add(attempt)
    attempts.move(attempt, AttemptEvent.HELD)
    prefetch.moved()
    return attempt


async def test_nothing_is_held_until_jobs_have_been_short() -> None:
    prefetch, _, _ = prefetch_of()
    workers = [Slot("w1", ()), Slot("w2", ())]
    assert prefetch.slots(workers) == []
    for _ in range(100):
        prefetch.ran(0.0005)
    slots = prefetch.slots(workers)
    assert len(slots) == 2 * DEEPEST
    assert {slot.worker for slot in slots} == {""}
    for _ in range(20):
        prefetch.ran(10)
    assert prefetch.slots(workers) == []


async def test_the_longer_a_turn_takes_the_more_is_held() -> None:
    prefetch, _, _ = prefetch_of()
    workers = [Slot("w1", ())]
    for _ in range(100):
        prefetch.ran(0.03)
    depths = []
    for turn in (0.001, 0.02, 10.0):  # seconds
        for _ in range(100):
            prefetch.took(turn)
        depths.append(len(prefetch.slots(workers)))
    assert depths == [1, 6, 16]


async def test_queues_that_are_held_for_are_not_claimed_for_by_name(queue: Queue) -> None:
    prefetch, attempts, _ = prefetch_of()
    (mail,) = await jobs_of(queue, 1, "mail")
    attempt = held(prefetch, attempts, mail, "mail")
    assert prefetch.holds("mail")
    assert not prefetch.holds("video")
    assert attempts.move(attempt, AttemptEvent.STARTED)
    assert not prefetch.holds("mail")
    assert not attempts.move(attempt, AttemptEvent.STARTED)
    attempt.worker, attempt.started_at = "w2", 5.0
    attempts.unannounced[attempt.token] = attempt
    assert prefetch.unannounced(5.0 + PATIENCE / 4) == []  # it may end before it is worth a word
    (begun,) = prefetch.unannounced(5.0 + PATIENCE)
    assert (begun.seq, begun.run, begun.worker, begun.started_at) == (mail.seq, 0, "w2", 5.0)
    prefetch.disarm()


async def test_a_start_is_told_although_jobs_are_given_back_meanwhile(queue: Queue) -> None:
    woken = asyncio.Event()
    prefetch, attempts, _ = prefetch_of(woken.set)
    [job] = await jobs_of(queue, 1)
    attempt = held(prefetch, attempts, job)
    attempts.move(attempt, AttemptEvent.STARTED)
    attempt.worker, attempt.started_at = "w1", 5.0
    attempts.unannounced[attempt.token] = attempt
    prefetch.give_back()
    await asyncio.wait_for(woken.wait(), 10)
    assert prefetch.overdue
    assert prefetch.unannounced(2.0), "the clock was set back"
    prefetch.disarm()


async def test_what_waits_too_long_is_recalled_and_given_back(queue: Queue) -> None:
    woken = asyncio.Event()
    prefetch, attempts, recalled = prefetch_of(woken.set)
    first, *others = [held(prefetch, attempts, job) for job in await jobs_of(queue, 3)]
    await eventually_async(lambda: asyncio.sleep(0, bool(recalled)))
    assert recalled == [[]]
    assert not attempts.returned  # the shim may have started one meanwhile
    for _ in range(100):
        prefetch.ran(0.002)
    assert prefetch.slots([Slot("w", ())]) == []
    attempts.move(first, AttemptEvent.STARTED)
    for attempt in others:
        attempts.move(attempt, AttemptEvent.RECALLED)
    assert list(attempts.returned.values()) == others
    assert prefetch.slots([Slot("w", ())]) == []  # they go to others first
    prefetch.recalled()
    for attempt in others:
        attempts.move(attempt, AttemptEvent.SETTLED)
    assert not attempts.prefetched
    for _ in range(100):
        prefetch.ran(0.002)
    assert prefetch.slots([Slot("w", ())]) != []
    prefetch.disarm()


@given(st.integers(0, 100), st.integers(0, 50), st.integers(0, 50))
def test_idle_workers_come_first_and_others_are_left_something(
    found: int, idle: int, wanted: int
) -> None:
    ahead = claimed_ahead(found, idle, wanted)
    assert 0 <= ahead <= wanted
    assert ahead <= max(0, found - idle)
    left = max(0, found - idle)
    if left < wanted:
        assert left - ahead >= ahead


async def test_jobs_behind_a_long_one_run_elsewhere(
    queue: Queue, supervisors: Supervisors, tmp_path: Path
) -> None:
    """Many short jobs, then one that runs until the test says so, then short ones again."""
    await jobs_of(queue, 60)
    (blocker,) = await queue.enqueue([{"command": "until test -e go; do sleep 0.05; done"}])
    behind = await jobs_of(queue, 10)
    await supervisors.start(1)

    async def blocked() -> bool:
        found = await queue.find(blocker.id)
        return found.state is State.PROCESSING and found.worker is not None

    await eventually_async(blocked)
    await supervisors.start(1)

    async def all_done() -> bool:
        found = [await queue.find(job.id) for job in behind]
        return all((job.state, job.attempts) == (State.COMPLETED, 1) for job in found)

    await eventually_async(all_done)
    assert (await queue.find(blocker.id)).state is State.PROCESSING
    assert len([w for w in await queue.workers() if w.job == blocker.id]) == 1
    (tmp_path / "go").touch()

    async def completed() -> bool:
        return (await queue.find(blocker.id)).state is State.COMPLETED

    await eventually_async(completed)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_stop_while_jobs_are_being_claimed_ahead_gives_them_back(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """The stop comes between the commit that claims them and their arrival in the reserve; and
    the store may fail when it is to take them back."""
    await jobs_of(queue, 300)
    supervisor = Supervisor(queue.store, queue.env)
    settle_and_claim = queue.store.settle_and_claim
    failures = int(fails)

    async def then_stop(request: ClaimRequest) -> ClaimResult:
        nonlocal failures
        if request.released and failures:
            failures -= 1
            raise StoreLocked("store is locked", "try again")
        turn = await settle_and_claim(request)
        if any(job.worker is None for job in turn.claimed):
            supervisor.stop(now=False)
        return turn

    monkeypatch.setattr(queue.store, "settle_and_claim", then_stop)
    await supervisor.run(1, ())
    assert not failures
    counts = (await queue.status()).counts
    assert counts[State.PENDING] > 0
    assert counts.keys() == {State.PENDING, State.COMPLETED}
    assert list((queue.directory / "logs").rglob("*.log")) == []


@pytest.mark.parametrize("now", [False, True])
async def test_a_worker_that_stops_waits_for_all_that_ended_on_it(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, now: bool
) -> None:
    """The shim starts the next held job while we clear up after the last; here the first of them
    is the last to be cleared up."""
    await queue.enqueue([{"command": "sleep 100 & exit 1", "max_retries": 1}] * 300)
    events: list[Notice] = []
    supervisor = Supervisor(queue.store, queue.env, on_notice=events.append)
    clear, first = ActiveAttempt.clear_group, asyncio.Event()

    async def in_the_end(running: ActiveAttempt, ended: Exit) -> None:
        if not first.is_set() and supervisor.executor.attempts.prefetched:
            first.set()
            supervisor.stop(now=now)

            async def alone() -> bool:
                return list(supervisor.executor.attempts) == [running]

            await eventually_async(alone)
        await clear(running, ended)

    for _ in range(100):
        supervisor.executor.prefetch.ran(0.001)  # jobs are short, so that many are held at once
    monkeypatch.setattr(ActiveAttempt, "clear_group", in_the_end)
    await supervisor.run(1, ())
    assert first.is_set()
    assert State.PROCESSING not in (await queue.status()).counts
    assert await queue.workers() == []
    begun = [event for event in events if event.kind is NoticeKind.STARTED]
    assert {event.worker for event in begun} == {f"{supervisor.context.id}-1"}
    started = {token_of(event.job) for event in begun if event.job}
    ended = {
        token_of(event.job) for event in events if event.kind is NoticeKind.ENDED and event.job
    }
    assert started == ended
    assert len(started) > 1


async def test_a_prefetched_job_whose_shim_was_killed_keeps_no_worker_waiting(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The shim had started it, and was killed before it could say so. It takes long to end."""
    monkeypatch.setattr(triage, "LEFTOVER_GRACE", 60.0)
    await jobs_of(queue, 20)
    deaf = "kill -9 $PPID; trap '' TERM; until test -e go; do sleep 0.05; done"
    (killer,) = await queue.enqueue([deaf])
    others = await jobs_of(queue, 20)
    supervisor = Supervisor(queue.store, queue.env)
    for _ in range(100):
        supervisor.executor.prefetch.ran(0.001)  # jobs are short, so that many are held at once
    life = asyncio.create_task(supervisor.run(2, ()))

    async def others_done() -> bool:
        found = [await queue.find(job.id) for job in others]
        return all(job.state is State.COMPLETED for job in found)

    try:
        await eventually_async(others_done)
        assert (await queue.find(killer.id)).state is State.PROCESSING
    finally:
        (tmp_path / "go").touch()
        supervisor.stop(now=True)
        await asyncio.wait_for(life, 30)


async def test_a_worker_added_while_a_shim_starts_runs_one_job_at_a_time(
    queue: Queue, tmp_path: Path
) -> None:
    """The shim was told of it twice, and started two held jobs on it at the same time."""
    events: list[Notice] = []
    supervisor = Supervisor(queue.store, queue.env, on_notice=events.append)
    context, shims = supervisor.context, supervisor.executor.shims
    life = asyncio.create_task(supervisor.run(1, ()))
    await eventually_async(lambda: asyncio.sleep(0, bool(events)))  # it is up
    first = shims.shared
    assert first._process is not None
    first._process.kill()
    await eventually_async(lambda: asyncio.sleep(0, shims.shared is not first))
    added = [(f"{context.id}-2", ())]
    await queue.store.add_workers(context.id, added, context.clock(), up=False)
    await supervisor.commands.apply()
    assert shims.shared._process is None  # it has not been started yet
    for _ in range(100):
        supervisor.executor.prefetch.ran(0.001)  # jobs are short, so that many are held at once
    await eventually_async(lambda: asyncio.sleep(0, shims.shared._process is not None))
    await queue.enqueue(["echo + $QUEUECTL_WORKER >> log; sleep 0.02; echo - >> log"] * 100)

    async def done() -> bool:
        return (await queue.status()).counts.get(State.COMPLETED) == 100

    await eventually_async(done)
    supervisor.stop(now=True)
    await asyncio.wait_for(life, 30)
    running = most = 0
    for line in (tmp_path / "log").read_text().splitlines():
        running += 1 if line.startswith("+") else -1
        most = max(most, running)
    assert most <= 2
