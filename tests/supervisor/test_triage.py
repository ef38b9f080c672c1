"""Supervisors killed and stopped with jobs in hand, as real processes.

The jobs write what they do to files, so that what is counted is what really ran.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from queuectl_core.domain.model import Job, Outcome, State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from tests.support import eventually_async

PROGRAM = """
import asyncio, sys
from queuectl_core.queue import Queue
async def main():
    async with Queue.open(sys.argv[1]) as queue:
        await queue.run_workers(int(sys.argv[2]), until_empty="until-empty" in sys.argv)
asyncio.run(main())
"""


class Supervisors:
    """Supervisors as processes of their own on one queue."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.processes: list[subprocess.Popen[bytes]] = []

    async def start(self, workers: int = 2, *options: str) -> subprocess.Popen[bytes]:
        before = {worker.pid for worker in await self.queue.workers()}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, self.queue.store.url, str(workers), *options],
            env=dict(self.queue.env),
            start_new_session=True,
        )
        self.processes.append(process)

        async def up() -> bool:
            return any(w.pid == process.pid for w in await self.queue.workers())

        if process.pid not in before:
            await eventually_async(up)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def supervisors(queue: Queue) -> Iterator[Supervisors]:
    made = Supervisors(queue)
    yield made
    made.close()


async def until_output(queue: Queue, *jobs: Job) -> list[bytes]:
    """Wait until each job runs and has written something; what they wrote."""

    async def written() -> list[bytes]:
        found = [await queue.output(await queue.find(job.id)) for job in jobs]
        texts = [output.read(0, 100) for output in found if output.running]
        return texts if len(texts) == len(jobs) and all(texts) else []

    return await eventually_async(written)


async def run_elsewhere(
    queue: Queue, supervisors: Supervisors, command: str
) -> tuple[Job, subprocess.Popen[bytes], int, psutil.Process]:
    """Have another process run a job that writes its pid first: the job, its supervisor, that pid,
    and its shim."""
    (job,) = await queue.enqueue([command])
    supervisor = await supervisors.start(1)
    (text,) = await until_output(queue, job)
    shim = psutil.Process(int(text)).parent()
    assert shim
    return job, supervisor, int(text), shim


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def finish(queue: Queue) -> list[Notice]:
    """Work in this process until the queue is empty."""
    events: list[Notice] = []
    await queue.run_workers(2, until_empty=True, on_notice=events.append)
    return events


async def test_jobs_outlive_a_killed_supervisor_and_keep_their_results(
    queue: Queue, supervisors: Supervisors, tmp_path: Path
) -> None:
    good, bad = await queue.enqueue(
        [
            {"command": f"echo $$; sleep 1; echo good >> {tmp_path}/ran"},
            {"command": f"echo $$; sleep 1; echo bad >> {tmp_path}/ran; exit 9", "max_retries": 1},
        ]
    )
    victim = await supervisors.start()
    pids = [int(text) for text in await until_output(queue, good, bad)]
    supervisors.kill(victim)
    assert all(alive(pid) for pid in pids)
    assert {worker.state for worker in await queue.workers()} == {"lost"}
    events = await finish(queue)
    assert [event.kind for event in events][:2] == [NoticeKind.ADOPTED, NoticeKind.ADOPTED]
    good, bad = await queue.find(good.id), await queue.find(bad.id)
    assert (good.state, good.attempts, good.crashes, good.exit_code) == (State.COMPLETED, 1, 0, 0)
    assert (bad.state, bad.attempts, bad.crashes, bad.exit_code) == (State.DEAD, 1, 0, 9)
    assert sorted((tmp_path / "ran").read_text().split()) == ["bad", "good"]
    (attempt,) = await queue.attempts(good)
    assert attempt.cpu_seconds is not None  # a true record, not a guess


async def test_a_result_that_came_while_nobody_watched_is_recorded(
    queue: Queue, supervisors: Supervisors
) -> None:
    (job,) = await queue.enqueue([{"command": "echo $$; sleep 0.5; exit 9", "max_retries": 1}])
    victim = await supervisors.start()
    (text,) = await until_output(queue, job)
    supervisors.kill(victim)

    async def ended() -> bool:
        return not alive(int(text))

    await eventually_async(ended)
    await finish(queue)
    found = await queue.find(job.id)
    assert (found.state, found.exit_code, found.attempts, found.crashes) == (State.DEAD, 9, 1, 0)


async def test_a_live_supervisor_takes_over_by_itself(
    queue: Queue, supervisors: Supervisors
) -> None:
    jobs = await queue.enqueue(["echo $$; sleep 1"] * 2)
    victim = await supervisors.start(2)
    await until_output(queue, *jobs)
    await supervisors.start(1)
    supervisors.kill(victim)

    async def done() -> bool:
        return (await queue.status()).counts == {State.COMPLETED: 2}

    await eventually_async(done)
    assert [job.crashes for job in await queue.scan()] == [0, 0]


async def test_timeout_cancel_and_stop_work_on_an_adopted_job(
    queue: Queue, supervisors: Supervisors
) -> None:
    late, unwanted, interrupted = await queue.enqueue(
        [
            {"command": "echo $$; exec sleep 300", "timeout_seconds": 3, "max_retries": 1},
            {"command": "echo $$; exec sleep 300"},
            {"command": "echo $$; exec sleep 300"},
        ]
    )
    victim = await supervisors.start(3)
    pids = [int(text) for text in await until_output(queue, late, unwanted, interrupted)]
    supervisors.kill(victim)
    heir = await supervisors.start(1)  # fewer workers than jobs to look after

    async def states(*wanted: State) -> bool:
        found = [await queue.find(job.id) for job in (late, unwanted, interrupted)]
        return [job.state for job in found] == list(wanted)

    await queue.cancel([await queue.find(unwanted.id)])
    await eventually_async(lambda: states(State.DEAD, State.CANCELLED, State.PROCESSING))
    await queue.stop_workers(await queue.workers(), now=True)
    await eventually_async(lambda: states(State.DEAD, State.CANCELLED, State.PENDING))
    assert heir.wait(30) == 0
    assert not any(alive(pid) for pid in pids)
    assert (await queue.find(late.id)).last_error == "timed out after 3.0s"


async def test_when_the_shim_is_killed_too_the_leftover_is_ended_before_it_runs_again(
    queue: Queue, supervisors: Supervisors, tmp_path: Path
) -> None:
    (job,) = await queue.enqueue(
        [{"command": f"cd {tmp_path}; test -e again && exit 0; touch again; echo $$; sleep 300"}]
    )
    victim = await supervisors.start(1)
    (text,) = await until_output(queue, job)
    pid = int(text)
    shim = psutil.Process(pid).ppid()
    supervisors.kill(victim)
    os.kill(shim, signal.SIGKILL)
    await finish(queue)
    assert not alive(pid)
    found = await queue.find(job.id)
    assert (found.state, found.attempts, found.crashes) == (State.COMPLETED, 1, 1)


async def test_a_job_that_always_takes_everything_down_ends_in_the_dlq(
    queue: Queue, supervisors: Supervisors
) -> None:
    await queue.config_set("max-crashes", "2")
    script = (
        "import os, psutil, time; shim = os.getppid(); boss = psutil.Process(shim).ppid();"
        "os.kill(boss, 9); os.kill(shim, 9); time.sleep(300)"
    )
    (job,) = await queue.enqueue([{"command": [sys.executable, "-c", script]}])
    for _ in range(2):
        victim = await supervisors.start(1, "until-empty")
        assert victim.wait(30) == -signal.SIGKILL
    await finish(queue)
    found = await queue.find(job.id)
    assert (found.state, found.crashes, found.attempts) == (State.DEAD, 2, 0)
    assert found.last_error
    assert found.last_error.startswith("crashed 2 times, max-crashes is 2")
    outcomes = [attempt.outcome for attempt in await queue.attempts(found)]
    assert outcomes == [Outcome.CRASHED, Outcome.CRASHED]


async def test_a_supervisor_stopped_beyond_its_lease_comes_back_to_nothing(
    queue: Queue, supervisors: Supervisors, tmp_path: Path
) -> None:
    """The fencing case: its job is taken over while it sleeps; its late word changes nothing."""
    await queue.config_set("lease", "2")
    (job,) = await queue.enqueue(
        [
            {
                "command": "echo $$; echo x >> ran; until test -e go; do sleep 0.1; done",
                "cwd": str(tmp_path),
            }
        ]
    )
    sleeper = await supervisors.start(1)
    await until_output(queue, job)
    sleeper.send_signal(signal.SIGSTOP)
    await supervisors.start(1)

    async def taken_over() -> bool:
        owners = {worker.pid for worker in await queue.workers() if worker.job == job.id}
        return owners == {supervisors.processes[1].pid}

    await eventually_async(taken_over)
    (tmp_path / "go").touch()

    async def completed() -> bool:
        return (await queue.find(job.id)).state is State.COMPLETED

    await eventually_async(completed)
    sleeper.send_signal(signal.SIGCONT)

    async def back() -> bool:
        mine = [w for w in await queue.workers() if w.pid == sleeper.pid]
        return bool(mine) and {w.state for w in mine} == {"idle"}

    await eventually_async(back)  # as somebody new
    (again,) = await queue.enqueue(["true"])
    found = await queue.find(job.id)
    assert (found.state, found.attempts, found.runs, found.crashes) == (State.COMPLETED, 1, 1, 0)
    assert len(await queue.attempts(found)) == 1
    assert (tmp_path / "ran").read_text() == "x\n"

    async def done() -> bool:
        return (await queue.find(again.id)).state is State.COMPLETED

    await eventually_async(done)


async def test_after_a_reboot_nothing_is_taken_for_the_job_that_was(
    queue: Queue, supervisors: Supervisors
) -> None:
    """Another boot id, and the pid is somebody else's: a crash, and nobody is signalled."""
    (job,) = await queue.enqueue([{"command": "echo $$; exec sleep 300"}])
    victim = await supervisors.start(1)
    (text,) = await until_output(queue, job)
    supervisors.kill(victim)
    with closing(sqlite3.connect(queue.store.url)) as connection, connection:
        connection.execute("UPDATE supervisors SET host_key = 'an-earlier-boot:1'")
        connection.execute("UPDATE jobs SET command = 'true'")
    await finish(queue)
    found = await queue.find(job.id)
    assert (found.state, found.crashes, found.attempts) == (State.COMPLETED, 1, 1)
    first, _ = await queue.attempts(found)
    assert first.reason
    assert first.reason.endswith("restarted")
    assert alive(int(text))


async def test_a_reused_pid_is_not_taken_for_a_supervisor(
    queue: Queue, supervisors: Supervisors
) -> None:
    """The supervisor's row names a pid that lives, but that process started at another time."""
    (job,) = await queue.enqueue(["echo $$; sleep 0.5"])
    victim = await supervisors.start(1)
    await until_output(queue, job)
    supervisors.kill(victim)
    with closing(sqlite3.connect(queue.store.url)) as connection, connection:
        connection.execute("UPDATE supervisors SET pid = ?", (os.getpid(),))
    await finish(queue)
    assert (await queue.find(job.id)).state is State.COMPLETED


async def test_the_run_directory_is_clean_when_all_is_done(
    queue: Queue, supervisors: Supervisors
) -> None:
    (job,) = await queue.enqueue(["echo $$; sleep 0.5"])
    victim = await supervisors.start(1)
    await until_output(queue, job)
    supervisors.kill(victim)
    await finish(queue)

    async def clean() -> bool:
        await finish(queue)
        # The folder for the files of attempts stays.
        return not [path for path in (queue.directory / "run").rglob("*") if not path.is_dir()]

    await eventually_async(clean)
