"""Limits of a job: what they do to its processes, and what is said when they ended it."""

from __future__ import annotations

import resource
import signal
import sys
from typing import Any

import pytest

from queuectl_core.domain.model import Job, Outcome, State
from queuectl_core.queue import Queue
from queuectl_core.runner.events import Exit
from queuectl_core.supervisor.maintenance.output_limit import Capture
from queuectl_core.supervisor.result import used_up
from queuectl_core.supervisor.shim_client import launch_spec

from .conftest import Run

LIMITED = {"nice": 1}
"""Enough to be started the other way: with fork and exec."""

READ_LIMITS = (
    "import os, resource as r, signal as s;"
    "print(os.nice(0), r.getrlimit(r.RLIMIT_AS)[0], r.getrlimit(r.RLIMIT_CPU)[0],"
    " os.getpid() == os.getpgid(0), s.pthread_sigmask(s.SIG_BLOCK, ()),"
    " s.getsignal(s.SIGTERM) == s.SIG_DFL, os.readlink('/proc/self/fd/0'),"
    " sorted(os.listdir('/proc/self/fd')))"
)


async def one(where: Queue, run: Run, /, **fields: Any) -> Job:
    """Enqueue one job, run it to its end, return it."""
    (job,) = await where.enqueue([{"max_retries": 1, **fields}])
    await run()
    return await where.find(job.id)


async def said(queue: Queue, job: Job) -> str:
    return (await queue.output(job)).read(0, 1 << 20).decode()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and macOS has no RLIMIT_AS")
async def test_limits_are_set_and_the_rest_is_as_without(queue: Queue, run: Run) -> None:
    command = [sys.executable, "-c", READ_LIMITS]
    plain = await said(queue, await one(queue, run, command=command))
    job = await one(
        queue, run, command=command, nice=5, memory_limit="2GiB", cpu_seconds=50, max_retries=1
    )
    limited = await said(queue, job)
    before = plain.split(" ", 3)
    assert limited.split(" ", 3) == [
        str(min(19, int(before[0]) + 5)),
        str(2 << 30),
        "50",
        before[3],
    ]


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        ("exit 7", 7, "exit 7"),
        (["no-such-command-here"], 127, "command not found: no-such-command-here"),
        (["/etc/passwd"], 126, "cannot execute /etc/passwd"),
        (["/etc/passwd/x"], 127, "command not found: /etc/passwd/x"),
        ("kill -9 $$", 137, "killed by SIGKILL"),
    ],
)
async def test_failures_are_as_exact_with_limits(
    queue: Queue, run: Run, command: Any, code: int, error: str
) -> None:
    job = await one(queue, run, command=command, **LIMITED)
    assert (job.state, job.exit_code) == (State.DEAD, code)
    assert job.last_error
    assert job.last_error.startswith(error)


async def test_a_job_that_uses_up_its_cpu_time_is_told_so(queue: Queue, run: Run) -> None:
    job = await one(queue, run, command="while :; do :; done", cpu_seconds=1)
    assert job.last_error == "cpu limit of 1 s reached"
    assert job.exit_code == 128 + signal.SIGXCPU


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no RLIMIT_AS")
async def test_a_job_cannot_have_more_memory_than_its_limit(queue: Queue, run: Run) -> None:
    command = [sys.executable, "-c", "x = bytearray(1 << 30)"]
    job = await one(queue, run, command=command, memory_limit="256MiB")
    assert job.exit_code == 1
    assert job.last_error == "exit 1: MemoryError"


async def test_a_limit_never_exceeds_that_of_the_supervisor(queue: Queue, run: Run) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    job = await one(queue, run, command="ulimit -t", cpu_seconds=10_000_000)
    expected = 10_000_000 if hard == resource.RLIM_INFINITY else min(10_000_000, hard)
    assert (await said(queue, job)).strip() == str(expected)


async def test_output_is_kept_up_to_the_limit_of_the_job(queue: Queue, run: Run) -> None:
    job = await one(queue, run, command="seq 100000", output_limit=8192)
    output = await queue.output(job)
    assert 0 < output.size() <= 8192
    assert output.total == len("".join(f"{n}\n" for n in range(1, 100_001)))
    assert "output-limit is 8192" in await said(queue, job)


async def test_a_limited_job_is_timed_out_with_its_group(queue: Queue, run: Run) -> None:
    job = await one(queue, run, command="sleep 300 & sleep 300", timeout_seconds=0.3, **LIMITED)
    (attempt,) = await queue.attempts(job)
    assert attempt.outcome is Outcome.TIMEOUT


async def test_a_job_without_limits_is_started_the_quick_way(queue: Queue) -> None:
    plain, limited = await queue.enqueue(["true", {"command": "true", "cpu_seconds": 9}])
    output = Capture("out", 4096)
    assert launch_spec(plain, "/bin/sh", output)[-1] is None
    assert launch_spec(limited, "/bin/sh", output)[-1] == (0, 0, 9)


@pytest.mark.parametrize(
    ("limit", "code", "number", "used", "reached"),
    [
        (5, None, signal.SIGXCPU, 5.0, True),
        (5, 128 + signal.SIGXCPU, None, 5.0, True),
        (5, None, signal.SIGKILL, 10.0, True),
        (5, None, signal.SIGKILL, 0.1, False),
        (5, 1, None, 9.0, False),
        (5, None, signal.SIGTERM, 9.0, False),
        (0, None, signal.SIGXCPU, 9.0, False),
        (0, None, signal.SIGKILL, 9.0, False),
    ],
)
def test_when_a_cpu_limit_is_to_blame(
    limit: int, code: int | None, number: int | None, used: float, reached: bool
) -> None:
    assert used_up(limit, Exit(code, number, used, None, 0.0, False)) is reached
