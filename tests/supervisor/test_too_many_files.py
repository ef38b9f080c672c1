"""A supervisor that has too many open files knows less, and decides nothing by that."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from queuectl_core.domain.model import State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.runner.journal_reader import JournalReader, abandoned, make_first
from queuectl_core.supervisor import executor
from queuectl_core.supervisor.processes import Process, marked_processes
from queuectl_core.system.clocks import monotonic
from queuectl_core.system.host import is_gone, is_process, may_be_process, process_start

from ..support import eventually_async, supervisor
from .test_triage import Supervisors, until_output
from .test_triage import supervisors as supervisors  # noqa: PLC0414 - a fixture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is read, which takes files")


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process can open nothing more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_living_supervisor_is_not_gone() -> None:
    """Its lease still decides."""
    pid = os.getpid()
    start = process_start(pid)
    assert start is not None
    row = supervisor(pid=pid, pid_start=start, lease_mono=monotonic() + 60)
    late = row._replace(lease_mono=monotonic() - 60)
    assert not is_gone(row, time.time(), monotonic())
    with no_more_files():
        with pytest.raises(OSError, match="Too many open files"):
            is_process(pid, start)
        assert may_be_process(pid, start)
        assert not is_gone(row, time.time(), monotonic())
        assert is_gone(late, time.time(), monotonic())


def test_the_processes_of_jobs_are_not_gone() -> None:
    start = process_start(os.getpid())
    assert start is not None
    list(marked_processes())  # what it needs is imported
    with no_more_files():
        with pytest.raises(OSError, match="Too many open files"):
            _ = Process(os.getpid(), start).alive
        with pytest.raises(OSError, match="Too many open files"):
            list(marked_processes())


@pytest.mark.parametrize("lacking", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_an_environment_that_cannot_be_read_just_now(
    monkeypatch: pytest.MonkeyPatch, lacking: int
) -> None:
    def refuse(self: psutil.Process) -> dict[str, str]:
        raise OSError(lacking, os.strerror(lacking))

    monkeypatch.setattr(psutil.Process, "environ", refuse)
    with pytest.raises(OSError, match=os.strerror(lacking)):
        list(marked_processes())


def test_a_living_shim_is_not_dead(tmp_path: Path) -> None:
    make_first(tmp_path / "s.journal")
    journal = JournalReader(tmp_path, "s")
    with open(tmp_path / "s.alive", "w") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        assert journal.shim_alive()
        with no_more_files():
            with pytest.raises(OSError, match="Too many open files"):
                journal.shim_alive()
            with pytest.raises(OSError, match="Too many open files"):
                journal.refresh()
            assert journal.may_be_alive()
        assert abandoned(tmp_path) == []
    assert not journal.shim_alive()
    assert abandoned(tmp_path) == [tmp_path / "s.journal"]


async def test_adopted_jobs_go_on(queue: Queue, supervisors: Supervisors, tmp_path: Path) -> None:
    command = f"echo $$; until test -e {tmp_path}/go; do sleep 0.02; done"
    jobs = await queue.enqueue([command] * 2)
    victim = await supervisors.start(2)
    await until_output(queue, *jobs)
    supervisors.kill(victim)
    events: list[Notice] = []
    work = asyncio.create_task(queue.run_workers(2, until_empty=True, on_notice=events.append))

    async def both_adopted() -> bool:
        return [event.kind for event in events].count(NoticeKind.ADOPTED) == 2

    await eventually_async(both_adopted)
    with no_more_files():

        async def told() -> bool:
            return any(event.message.startswith("cannot watch adopted") for event in events)

        await eventually_async(told)
    (tmp_path / "go").touch()
    async with asyncio.timeout(15):
        await work
    for job in jobs:
        found = await queue.find(job.id)
        assert (found.state, found.runs, found.crashes) == (State.COMPLETED, 1, 0)


async def test_a_shim_that_is_killed_meanwhile(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What became of its jobs is found out later."""
    monkeypatch.setattr(executor, "SHIM_PAUSE", 0.1)
    triage, calls = executor.triage, 0

    async def refused_once(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return await triage(*args, **options)

    monkeypatch.setattr(executor, "triage", refused_once)
    (job,) = await queue.enqueue(["test -e again || { touch again; kill -9 $PPID; sleep 60; }"])
    events: list[Notice] = []
    async with asyncio.timeout(15):
        await queue.run_workers(1, until_empty=True, on_notice=events.append)
    found = await queue.find(job.id)
    assert (found.state, found.runs, found.crashes) == (State.COMPLETED, 2, 1)
    told = [event.message for event in events if event.message.startswith("cannot find out")]
    assert told == ["cannot find out how jobs ended: Too many open files; trying again"]
