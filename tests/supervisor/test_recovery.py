"""Taking over: many jobs at once, slow disks, and what adopted jobs keep.

Supervisors are real processes; the successor runs in this one, where it can be watched.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from queuectl_core.domain.model import Job, Outcome, State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.runner import lease_clock
from queuectl_core.runner.journal_reader import JournalReader
from queuectl_core.supervisor import attempt, processes
from queuectl_core.supervisor.supervisor import Supervisor
from queuectl_core.system.clocks import monotonic
from tests.support import PATIENCE, eventually, eventually_async

from .test_triage import Supervisors, alive, until_output
from .test_triage import supervisors as supervisors  # noqa: PLC0414 - a fixture


@contextmanager
def watched_leases(path: str) -> Iterator[list[float]]:
    """Seconds that were left of each supervisor's lease, as another process would see it."""
    left: list[float] = []
    over = threading.Event()

    def watch() -> None:
        with closing(sqlite3.connect(path)) as connection:
            while not over.wait(0.05):
                rows = connection.execute("SELECT lease_mono FROM supervisors").fetchall()
                left.extend(until - monotonic() for (until,) in rows)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield left
    finally:
        over.set()
        thread.join()


def forget_the_dead(queue: Queue, *, keep: bool = True) -> None:
    """The lease of a dead supervisor is none of the watcher's business."""
    with closing(sqlite3.connect(queue.store.url)) as connection, connection:
        connection.execute("UPDATE supervisors SET lease_mono = 1e12")


async def kill_with_shim(queue: Queue, supervisors: Supervisors, pid: int) -> None:
    """Kill the supervisor, and the shim that is the parent of the job ``pid``."""
    shim = psutil.Process(pid).ppid()
    supervisors.kill(supervisors.processes[-1])
    os.kill(shim, signal.SIGKILL)


async def test_a_slow_disk_delays_no_heartbeat(
    queue: Queue, supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the dead supervisor's journal takes twice as long as the lease."""
    await queue.config_set("lease", "2")
    (job,) = await queue.enqueue(["echo $$; test -e again && exit 0; touch again; sleep 300"])
    await supervisors.start(1)
    (text,) = await until_output(queue, job)
    await kill_with_shim(queue, supervisors, int(text))
    forget_the_dead(queue)
    refresh = JournalReader.refresh

    def slowly(self: JournalReader) -> bool:
        time.sleep(2)  # a disk
        return refresh(self)

    monkeypatch.setattr(JournalReader, "refresh", slowly)
    with watched_leases(queue.store.url) as left:
        await queue.run_workers(1, until_empty=True)
    assert min(left) > 0
    found = await queue.find(job.id)
    assert (found.state, found.crashes) == (State.COMPLETED, 1)


async def test_one_look_and_one_reading_serve_all_jobs(
    queue: Queue, supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A third of the jobs does not heed SIGTERM. All are ended at the same time."""
    count = 60
    await queue.config_set("lease", "5")
    body = f"echo $$; test -e {tmp_path}/again && exit 0; while :; do sleep 300; done"
    jobs = await queue.enqueue(
        [f"trap '' TERM; {body}" if number % 3 == 0 else body for number in range(count)]
    )
    await supervisors.start(count)
    pids = [int(text) for text in await until_output(queue, *jobs)]
    (tmp_path / "again").touch()
    await kill_with_shim(queue, supervisors, pids[0])
    forget_the_dead(queue)
    calls: dict[str, int] = {"looks": 0, "readings": 0}
    look, refresh = processes.marked_by_attempt, JournalReader.refresh

    def counted_look() -> processes.Marked:
        calls["looks"] += 1
        return look()

    def counted_refresh(self: JournalReader) -> bool:
        read = refresh(self)
        calls["readings"] += read
        return read

    monkeypatch.setattr(processes, "marked_by_attempt", counted_look)
    monkeypatch.setattr(JournalReader, "refresh", counted_refresh)
    recovered: list[float] = []
    named: set[str] = set()

    def on_notice(event: Notice) -> None:
        if event.kind is NoticeKind.RECOVERED:
            recovered.append(time.monotonic())
            named.add(event.job.id if event.job else "")

    began = time.monotonic()
    with watched_leases(queue.store.url) as left:
        await queue.run_workers(4, until_empty=True, on_notice=on_notice)
    assert not any(alive(pid) for pid in pids)
    assert len(recovered) == count
    assert named == {job.id for job in jobs}
    assert recovered[-1] - began < 10
    assert min(left) > 0
    assert calls == {"looks": 1, "readings": 1}
    assert [job.crashes for job in await queue.scan()] == [1] * count


async def test_an_adopted_job_keeps_what_is_left_of_its_timeout(
    queue: Queue, supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time its successor looks, all of it has gone by."""
    (job,) = await queue.enqueue(
        [{"command": "echo $$; exec sleep 300", "timeout_seconds": 1000, "max_retries": 1}]
    )
    victim = await supervisors.start(1)
    await until_output(queue, job)
    supervisors.kill(victim)
    monkeypatch.setattr(attempt, "lease_clock", lambda: lease_clock() + 1000)
    await asyncio.wait_for(queue.run_workers(1, until_empty=True), PATIENCE)
    (ended,) = await queue.attempts(await queue.find(job.id))
    assert ended.outcome is Outcome.TIMEOUT


@pytest.mark.parametrize("shim_dies", [False, True], ids=["adopted", "crashed"])
async def test_a_cancel_made_while_nobody_lived_is_carried_out(
    queue: Queue, supervisors: Supervisors, shim_dies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has not changed since the successor looked at it: the cancel is older."""

    async def unchanged(self: Any) -> bool:
        return False

    monkeypatch.setattr(type(queue.store), "changed", unchanged)
    (job,) = await queue.enqueue(["echo $$; exec sleep 300"])
    victim = await supervisors.start(1)
    (text,) = await until_output(queue, job)
    if shim_dies:
        await kill_with_shim(queue, supervisors, int(text))
    else:
        supervisors.kill(victim)
    await queue.cancel([await queue.find(job.id)])
    await asyncio.wait_for(queue.run_workers(1, until_empty=True), PATIENCE)
    assert (await queue.find(job.id)).state is State.CANCELLED
    assert not alive(int(text))


async def test_adopted_jobs_outlive_the_shim_of_their_successor(
    queue: Queue, supervisors: Supervisors, tmp_path: Path
) -> None:
    """Its own job is lost with its shim; those that it adopted have another, and go on."""
    command = "echo $$; until test -e {}/go; do sleep 0.05; done"
    adopted = await queue.enqueue([command.format(tmp_path)] * 2)
    victim = await supervisors.start(2)
    pids = [int(text) for text in await until_output(queue, *adopted)]
    supervisors.kill(victim)
    await supervisors.start(3)
    (own,) = await queue.enqueue([command.format(tmp_path)])
    (text,) = await until_output(queue, own)
    os.kill(psutil.Process(int(text)).ppid(), signal.SIGKILL)

    async def crashed() -> bool:
        return (await queue.find(own.id)).crashes == 1

    await eventually_async(crashed)
    assert all(alive(pid) for pid in pids)
    (tmp_path / "go").touch()

    async def done() -> bool:
        found = [await queue.find(job.id) for job in (*adopted, own)]
        return all(job.state is State.COMPLETED for job in found)

    await eventually_async(done)
    assert [(await queue.find(job.id)).crashes for job in adopted] == [0, 0]


async def test_a_cancel_in_the_grace_of_a_timeout_changes_nothing(
    queue: Queue, tmp_path: Path
) -> None:
    """One SIGTERM, and the attempt timed out; the cancel keeps it from running again."""
    await queue.config_set("kill-grace", "3")
    (job,) = await queue.enqueue(
        [
            {
                "command": f"trap 'echo x >> {tmp_path}/terms' TERM; while :; do sleep 0.05; done",
                "timeout_seconds": 0.5,
            }
        ]
    )
    working = asyncio.create_task(queue.run_workers(1, until_empty=True))
    await eventually_async(lambda: asyncio.sleep(0, (tmp_path / "terms").exists()))
    await queue.cancel([await queue.find(job.id)])
    await working
    assert (tmp_path / "terms").read_text() == "x\n"
    found = await queue.find(job.id)
    (attempt,) = await queue.attempts(found)
    assert (attempt.outcome, attempt.signal) == (Outcome.TIMEOUT, signal.SIGKILL)
    assert found.state is State.CANCELLED


async def test_a_step_that_fails_or_hangs_is_told_of_once_and_delays_nothing(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick's look at the store fails, another hangs; jobs are claimed and others recovered."""
    hung = threading.Event()

    async def fails() -> None:
        raise OSError(5, os.strerror(5))

    async def hangs() -> None:
        await asyncio.to_thread(hung.wait)

    monkeypatch.setattr(queue.store, "checkpoint", fails)
    monkeypatch.setattr(queue.store, "check", hangs)
    heard: list[Notice] = []
    supervisor = Supervisor(queue.store, queue.env, on_notice=heard.append)
    task = asyncio.create_task(supervisor.run(1, ()))

    async def told() -> list[str]:
        return [event.message for event in heard if event.kind is NoticeKind.TROUBLE]

    await eventually_async(told)
    (job,) = await queue.enqueue(["true"])

    async def completed() -> bool:
        return (await queue.find(job.id)).state is State.COMPLETED

    await eventually_async(completed)
    assert await told() == ["cannot tidy the store: Input/output error; trying again"]
    supervisor.stop(now=False)
    hung.set()
    await task


async def test_what_cannot_be_cleaned_up_does_not_end_a_supervisor(
    queue: Queue, supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The files of a dead supervisor cannot be removed."""
    (job,) = await queue.enqueue(["echo $$; exec sleep 300"])
    victim = await supervisors.start(1)
    await until_output(queue, job)

    def refuse(self: JournalReader) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(JournalReader, "remove", refuse)
    supervisors.kill(victim)
    await queue.cancel([await queue.find(job.id)])
    heard: list[Notice] = []
    await queue.run_workers(1, until_empty=True, on_notice=heard.append)
    assert (await queue.find(job.id)).state is State.CANCELLED


async def test_many_jobs_that_are_stopped_at_once_need_one_look(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 40
    calls = 0
    table = processes.ProcessTable

    def counted() -> processes.ProcessTable:
        nonlocal calls
        calls += 1
        return table()

    jobs = await queue.enqueue(["echo $$; sleep 300 & wait"] * count)
    monkeypatch.setattr(processes, "ProcessTable", counted)
    supervisor = Supervisor(queue.store, queue.env)
    task = asyncio.create_task(supervisor.run(count, ()))
    pids = [int(text) for text in await until_output(queue, *jobs)]
    supervisor.stop(now=True)
    assert calls == 0  # nothing is looked at on the loop
    await task
    assert 1 <= calls < 10
    eventually(lambda: not any(alive(pid) for pid in pids))
    found: list[Job] = await queue.scan()
    assert [(job.state, job.attempts) for job in found] == [(State.PENDING, 0)] * count


async def test_workers_asked_for_while_jobs_are_adopted_get_names_of_their_own(
    queue: Queue, supervisors: Supervisors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`worker start -d` chose the name that an extra worker was about to get: the successor failed,
    and nobody looked after the adopted jobs."""
    command = f"echo $$; until test -e {tmp_path}/go; do sleep 0.05; done; exit 0"
    jobs = await queue.enqueue([command] * 3)
    victim = await supervisors.start(3)
    await until_output(queue, *jobs)
    supervisors.kill(victim)
    add_workers = type(queue.store).add_workers
    asked: list[str] = []

    async def just_after(self: Any, supervisor: str, workers: Any, now: float, up: bool) -> None:
        if up and not asked:
            asked.append(workers[0][0])
            await add_workers(self, supervisor, [(asked[0], ())], now, up=False)
        await add_workers(self, supervisor, workers, now, up)

    monkeypatch.setattr(type(queue.store), "add_workers", just_after)
    working = asyncio.create_task(queue.run_workers(1, until_empty=True))

    async def all_named() -> bool:
        found = [await queue.find(job.id) for job in jobs]
        here = {worker.id for worker in await queue.workers() if worker.state == "idle"}
        return bool(asked) and here == set(asked) and asked[0] not in {job.worker for job in found}

    await eventually_async(all_named)
    (tmp_path / "go").touch()
    await working
    for job in jobs:
        found = await queue.find(job.id)
        assert (found.state, found.attempts, found.crashes) == (State.COMPLETED, 1, 0)


async def test_an_adopted_job_whose_shim_is_killed_is_not_recovered_twice(
    queue: Queue, supervisors: Supervisors
) -> None:
    """That it is taken over was told when it was adopted. Its end is told as any other."""
    (job,) = await queue.enqueue(["echo $$; test -e again && exit 0; touch again; sleep 300"])
    victim = await supervisors.start(1)
    (text,) = await until_output(queue, job)
    shim = psutil.Process(int(text)).ppid()
    supervisors.kill(victim)
    told: list[Notice] = []
    work = queue.run_workers(1, until_empty=True, on_notice=told.append)
    life = asyncio.create_task(work)
    await eventually_async(
        lambda: asyncio.sleep(0, any(one.kind is NoticeKind.ADOPTED for one in told))
    )
    os.kill(shim, signal.SIGKILL)
    await asyncio.wait_for(life, 30)
    about = [event.kind for event in told if event.job is not None and event.job.id == job.id]
    assert about == [NoticeKind.ADOPTED, NoticeKind.ENDED, NoticeKind.STARTED, NoticeKind.ENDED]
