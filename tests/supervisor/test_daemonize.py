"""Workers in the background: started, added to, stopped, and reported when they cannot start."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from queuectl_core.domain.errors import Conflict, InvalidInput, NotFound, WorkersNotStarted
from queuectl_core.domain.model import State
from queuectl_core.queue import Queue
from queuectl_core.supervisor import children, daemonize
from queuectl_core.system.host import STOPPED, process_state
from tests.support import eventually, eventually_async


async def stop_all(queue: Queue) -> None:
    await queue.stop_workers(await queue.workers(), now=False)

    async def gone() -> bool:
        return not await queue.workers()

    await eventually_async(gone)


async def test_detached_workers_come_up_and_work(queue: Queue) -> None:
    workers = await queue.start_workers(2)
    assert len(workers) == 2
    assert {worker.state for worker in workers} == {"idle"}
    assert all(worker.detached for worker in workers)
    assert os.getsid(workers[0].pid) == workers[0].pid  # no terminal can take it down
    (job,) = await queue.enqueue(["true"])

    async def done() -> bool:
        return (await queue.find(job.id)).state is State.COMPLETED

    await eventually_async(done)
    await stop_all(queue)


async def test_more_workers_join_the_supervisor_that_is_there(queue: Queue) -> None:
    first = await queue.start_workers(1)
    more = await queue.start_workers(2, ["mail"])
    assert {worker.supervisor for worker in more} == {first[0].supervisor}
    assert [worker.queues for worker in more] == [("mail",), ("mail",)]
    assert len({worker.id for worker in [*first, *more]}) == 3
    await stop_all(queue)


async def test_twelve_starts_at_once_make_one_supervisor(queue: Queue) -> None:
    """In processes of their own, as twelve terminals would."""
    program = (
        "import asyncio, os, sys\n"
        "from queuectl_core.queue import Queue\n"
        "async def main():\n"
        "    async with Queue.open(sys.argv[1], env=dict(os.environ)) as queue:\n"
        "        [worker] = await queue.start_workers(1)\n"
        "        print(worker.supervisor)\n"
        "asyncio.run(main())\n"
    )
    starts = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, queue.store.address),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(12)
    ]
    said = await asyncio.gather(*(start.communicate() for start in starts))
    assert [error.decode() for _, error in said if error] == []
    assert len({out for out, _ in said}) == 1
    assert len({worker.id for worker in await queue.workers()}) == 12
    await stop_all(queue)


async def test_no_zombie_is_left(queue: Queue) -> None:
    (worker,) = await queue.start_workers(1)
    await stop_all(queue)
    await eventually_async(lambda: _is_reaped(worker.pid))


async def _is_reaped(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def test_a_start_that_gets_no_answer_ends_and_leaves_nothing(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cancelled (ctrl-c), or its time is over."""
    silent = tmp_path / "silent.py"
    note = tmp_path / "pid"
    silent.write_text(
        f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    )
    monkeypatch.setattr(daemonize, "PROGRAM", silent)
    start = asyncio.ensure_future(queue.start_workers(1))

    async def is_started() -> int:
        return int(note.read_text() or 0) if note.exists() else 0

    pid = await eventually_async(is_started)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await eventually_async(lambda: _is_reaped(pid))
    monkeypatch.setattr(daemonize, "START_PATIENCE", 0.2)
    with pytest.raises(WorkersNotStarted, match="did not come up within"):
        await queue.start_workers(1)


async def test_the_log_is_private_and_says_when_it_began_and_ended(queue: Queue) -> None:
    (worker,) = await queue.start_workers(1)
    await stop_all(queue)
    log = queue.directory / "supervisor.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600

    async def ended() -> bool:
        return "stopped; 0 done, 0 failed" in log.read_text()

    await eventually_async(ended)
    assert f"up {worker.id}" in log.read_text()


async def test_workers_that_cannot_come_up_say_why(queue: Queue) -> None:
    queue.directory.mkdir()
    (queue.directory / "run").write_text("in the way")
    with pytest.raises(WorkersNotStarted, match="workers did not come up"):
        await queue.start_workers(1)
    assert await queue.workers() == []


async def test_a_number_of_workers_has_bounds(queue: Queue) -> None:
    for count in (0, -1, 10_000):
        with pytest.raises(InvalidInput):
            await queue.start_workers(count)


async def test_workers_are_found_by_id_supervisor_and_prefix(queue: Queue) -> None:
    workers = await queue.start_workers(2)
    supervisor = workers[0].supervisor
    assert [w.id for w in await queue.find_workers([workers[1].id])] == [workers[1].id]
    assert len(await queue.find_workers([supervisor])) == 2
    assert len(await queue.find_workers([supervisor[:3]])) == 2
    assert len(await queue.find_workers([])) == 2
    with pytest.raises(NotFound):
        await queue.find_workers(["nobody"])
    await stop_all(queue)


async def test_a_refused_thread_is_no_failure(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers are up; only their end has to be seen later."""

    def refuse(**_: Any) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(children, "threading", SimpleNamespace(Thread=refuse))
    (worker,) = await queue.start_workers(1)
    await stop_all(queue)
    (process,) = children._unreaped
    assert process.pid == worker.pid
    await eventually_async(lambda: asyncio.sleep(0, process.poll() is not None))


async def test_ctrl_c_takes_back_the_workers_that_were_asked_for(queue: Queue) -> None:
    (first,) = await queue.start_workers(1)
    with closing(sqlite3.connect(queue.url, isolation_level=None)) as raw:
        raw.execute("BEGIN IMMEDIATE")  # it must not be stopped while it holds the writer lock
        os.kill(first.pid, signal.SIGSTOP)
        assert eventually(lambda: process_state(first.pid) == STOPPED)
        raw.execute("ROLLBACK")
    try:
        start = asyncio.create_task(queue.start_workers(2))

        async def asked() -> bool:
            return len(await queue.workers()) == 3

        await eventually_async(asked)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
    finally:
        os.kill(first.pid, signal.SIGCONT)

    async def alone() -> bool:
        return [worker.id for worker in await queue.workers()] == [first.id]

    await eventually_async(alone)
    await stop_all(queue)


async def test_names_that_are_always_taken(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = await queue.start_workers(1)

    async def taken(*_: Any, **__: Any) -> NoReturn:
        raise Conflict("that id is taken")

    with monkeypatch.context() as patch:
        patch.setattr(daemonize, "PATIENCE", 0.1)
        patch.setattr(queue.store, "add_workers", taken)
        with pytest.raises(WorkersNotStarted):
            await asyncio.wait_for(queue.start_workers(1), 10)
    assert [worker.id for worker in await queue.workers()] == [first.id]
    await stop_all(queue)
