"""What happens to single jobs, with real processes: how they are started, end and are ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from queuectl_core.domain.model import Job, Outcome, State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.runner.journal_reader import JournalReader
from queuectl_core.supervisor.supervisor import Supervisor
from tests.support import eventually, eventually_async

from .conftest import Run


async def one(where: Queue, run: Run, /, **fields: Any) -> Job:
    """Enqueue one job, run it to its end, return it."""
    (job,) = await where.enqueue([{"max_retries": 1, **fields}])
    await run()
    return await where.find(job.id)


async def said(queue: Queue, job: Job) -> bytes:
    return (await queue.output(job)).read(0, 1 << 20)


async def test_a_job_completes_with_its_record(queue: Queue, run: Run) -> None:
    job = await one(queue, run, command="echo out; echo err >&2; exit 0")
    assert (job.state, job.attempts, job.exit_code, job.last_error) == (
        State.COMPLETED,
        1,
        0,
        None,
    )
    assert await said(queue, job) == b"out\nerr\n"
    (attempt,) = await queue.attempts(job)
    assert attempt.outcome is Outcome.COMPLETED
    assert attempt.worker == job.worker
    assert attempt.output_bytes == 8
    assert attempt.peak_memory
    assert attempt.cpu_seconds is not None
    assert attempt.finished_at
    assert attempt.finished_at >= attempt.started_at


@pytest.mark.parametrize(
    ("fields", "code", "error"),
    [
        ({"command": "exit 7"}, 7, "exit 7"),
        ({"command": "echo why >&2; exit 1"}, 1, "exit 1: why"),
        ({"command": "no-such-command-here"}, 127, "command not found (exit 127)"),
        ({"command": ["no-such-command-here"]}, 127, "command not found: no-such-command-here"),
        ({"command": ["/etc/passwd"]}, 126, "cannot execute /etc/passwd"),
        ({"command": "kill -9 $$"}, 137, "killed by SIGKILL"),
        ({"command": "kill -SEGV $$"}, 139, "killed by SIGSEGV"),
        ({"command": "true", "cwd": "/no/such/place"}, None, "cannot use cwd /no/such/place"),
        ({"command": "sleep 60", "timeout_seconds": 0.2}, 143, "timed out after 200ms"),
    ],
)
async def test_a_failure_names_its_reason(
    queue: Queue, run: Run, fields: dict[str, Any], code: int | None, error: str
) -> None:
    job = await one(queue, run, **fields)
    assert job.state is State.DEAD
    assert job.attempts == 1
    assert job.exit_code == code
    assert job.last_error
    assert job.last_error.startswith(error)


async def test_a_signal_is_recorded_as_one(queue: Queue, run: Run) -> None:
    job = await one(queue, run, command="kill -TERM $$")
    (attempt,) = await queue.attempts(job)
    assert (attempt.exit_code, attempt.signal) == (None, signal.SIGTERM)


async def test_an_argv_is_run_without_a_shell(queue: Queue, run: Run) -> None:
    job = await one(queue, run, command=["printf", "%s|", "$HOME", "a b", "*"])
    assert await said(queue, job) == b"$HOME|a b|*|"


async def test_an_argv_is_found_on_the_path_the_job_asks_for(
    queue: Queue, run: Run, tmp_path: Path
) -> None:
    tool = tmp_path / "my-tool"
    tool.write_text("#!/bin/sh\necho mine\n")
    tool.chmod(0o700)
    job = await one(queue, run, command=["my-tool"], env={"PATH": f"/nowhere:{tmp_path}"})
    assert await said(queue, job) == b"mine\n"


async def test_the_shell_is_the_configured_one(queue: Queue, run: Run, tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\necho "mine $1 $2"\n')
    shell.chmod(0o700)
    await queue.config_set("shell", str(shell))
    job = await one(queue, run, command="anything")
    assert await said(queue, job) == b"mine -c anything\n"


async def test_a_job_gets_its_surroundings(queue: Queue, run: Run, tmp_path: Path) -> None:
    job = await one(
        queue,
        run,
        id="me",
        queue="lane",
        # Its own values of our names change nothing: by these its stray processes are found.
        env={"MINE": "a b\n", "HOME": "/else"}
        | dict.fromkeys(("QUEUECTL_JOB_ID", "QUEUECTL_ATTEMPT", "QUEUECTL_WORKER"), "other")
        | {"QUEUECTL_QUEUE": "other"},
        command='pwd; printf "%s|" "$MINE" "$HOME" "$QUEUECTL_JOB_ID" "$QUEUECTL_ATTEMPT"'
        ' "$QUEUECTL_WORKER" "$QUEUECTL_QUEUE" "$NOTIFY_SOCKET"; readlink /proc/self/fd/0',
    )
    output = await said(queue, job)
    assert output == (f"{tmp_path}\na b\n|/else|me|1|{job.worker}|lane||/dev/null\n".encode()), (
        output
    )


async def test_a_job_starts_with_default_signals_and_its_own_group(queue: Queue, run: Run) -> None:
    job = await one(
        queue,
        run,
        command="sed -n 's/^Sig\\(Ign\\|Blk\\):..../0x/p' /proc/self/status;"
        f"{sys.executable} -c 'import os; print(os.getpgrp())'; echo $$",
    )
    *masks, group, pid = (await said(queue, job)).decode().split()
    standard = (1 << 31) - 1  # the C library keeps 32 and 33 for itself
    assert [int(mask, 16) & standard for mask in masks] == [0, 0]
    assert group == pid


async def test_a_writer_to_a_closed_pipe_dies_quietly(queue: Queue, run: Run) -> None:
    """Python ignores SIGPIPE; a job must not inherit that."""
    job = await one(queue, run, command="yes | head -n 1")
    assert job.state is State.COMPLETED
    assert await said(queue, job) == b"y\n"


async def test_output_that_is_not_utf8_is_kept_byte_for_byte(queue: Queue, run: Run) -> None:
    job = await one(queue, run, command=r"printf '\377\376\000\200caf\351'; exit 3")
    assert await said(queue, job) == b"\xff\xfe\x00\x80caf\xe9"
    assert job.exit_code == 3
    assert await queue.store.tail(job.seq, 1) == b"\xff\xfe\x00\x80caf\xe9"


async def test_an_attempt_without_output_leaves_no_file(queue: Queue, run: Run) -> None:
    await one(queue, run, command="true")
    assert not [path for path in queue.directory.glob("logs/**/*") if path.is_file()]


async def test_retries_wait_longer_each_time_and_end_in_the_dlq(queue: Queue, run: Run) -> None:
    await queue.enqueue([{"id": "f", "command": "exit 1", "max_retries": 3, "backoff_base": 0.3}])
    events = await run()
    job = await queue.find("f")
    assert (job.state, job.attempts) == (State.DEAD, 3)
    ends = [event for event in events if event.kind is NoticeKind.ENDED]
    assert [event.state for event in ends] == [State.FAILED, State.FAILED, State.DEAD]
    attempts = await queue.attempts(job)
    for attempt, event, delay in zip(attempts, ends, (0.3, 0.09), strict=False):
        assert attempt.finished_at
        assert event.retry_at == pytest.approx(attempt.finished_at + delay)
    for before, after in pairwise(attempts):
        assert before.finished_at
        assert after.started_at > before.finished_at


async def test_a_retry_from_the_dlq_starts_anew_and_keeps_the_history(
    queue: Queue, run: Run, tmp_path: Path
) -> None:
    job = await one(queue, run, command="echo $QUEUECTL_ATTEMPT; test -e now-it-works")
    assert job.state is State.DEAD
    (tmp_path / "now-it-works").touch()
    await queue.retry([job])
    again = await queue.find(job.id)
    assert (again.state, again.attempts) == (State.PENDING, 0)
    await run()
    job = await queue.find(job.id)
    assert (job.state, job.attempts) == (State.COMPLETED, 1)
    assert [a.outcome for a in await queue.attempts(job)] == [Outcome.FAILED, Outcome.COMPLETED]
    assert (await queue.output(job, 1)).read(0, 10) == b"1\n"
    assert (await queue.output(job, 2)).read(0, 10) == b"2\n"


async def test_order_is_priority_then_time_then_arrival(queue: Queue, run: Run) -> None:
    now = queue.clock()
    await queue.enqueue(
        [
            {"id": "third", "command": "true", "run_at": now - 50},
            {"id": "fourth", "command": "true", "run_at": now - 50},
            {"id": "second", "command": "true", "run_at": now - 90},
            {"id": "first", "command": "true", "priority": 5},
            {"id": "last", "command": "true", "priority": -1, "run_at": now - 99},
        ]
    )
    events = await run()
    order = [event.job.id for event in events if event.kind is NoticeKind.STARTED and event.job]
    assert order == ["first", "second", "third", "fourth", "last"]


async def test_workers_take_only_their_lanes(queue: Queue, run: Run) -> None:
    await queue.enqueue(
        [
            {"id": "a", "command": "true", "queue": "mail"},
            {"id": "b", "command": "true", "queue": "video"},
        ]
    )
    await run(1, ("mail",))
    assert (await queue.find("a")).state is State.COMPLETED
    assert (await queue.find("b")).state is State.PENDING


async def test_a_scheduled_job_does_not_hold_until_empty(queue: Queue, run: Run) -> None:
    await queue.enqueue([{"id": "later", "command": "true", "run_at": "+1h"}, "true"])
    await run()
    assert (await queue.find("later")).state is State.PENDING


# -- ending jobs ----------------------------------------------------------------------

STUBBORN = "trap '' TERM; (trap '' TERM; echo $$; exec sleep 300) & echo $!; wait; sleep 300"


def alive(pids: list[int]) -> list[int]:
    return [
        pid
        for pid in pids
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    ]


async def test_a_timeout_ends_a_group_that_ignores_sigterm(queue: Queue, run: Run) -> None:
    await queue.config_set("kill-grace", "0.3")
    job = await one(queue, run, command=STUBBORN, timeout_seconds=0.5)
    assert job.state is State.DEAD
    assert job.last_error == "timed out after 500ms"
    assert not alive([int(line) for line in (await said(queue, job)).split()])


async def test_a_timeout_finds_a_child_that_left_the_group(queue: Queue, run: Run) -> None:
    await queue.config_set("kill-grace", "0.3")
    job = await one(
        queue,
        run,
        command="setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & sleep 60",
        timeout_seconds=0.5,
    )
    assert not alive([int(line) for line in (await said(queue, job)).split()])


async def test_a_timeout_finds_a_process_that_cut_its_ties(queue: Queue, run: Run) -> None:
    """Its own session, and its parent has gone: neither of the group nor a descendant."""
    job = await one(
        queue,
        run,
        command="(setsid sh -c 'echo $$; exec sleep 300' &); sleep 60",
        timeout_seconds=1,
    )
    assert not alive([int(await said(queue, job))])


async def test_processes_of_another_queue_with_the_same_ids_are_left_alone(
    queue: Queue, run: Run, tmp_path: Path
) -> None:
    async with Queue.open(str(tmp_path / "other.db"), env=queue.env) as other:
        (job,) = await other.enqueue([{"id": "same", "command": "echo $$; exec sleep 300"}])
        working = asyncio.create_task(other.run_workers(1))

        async def begun() -> bytes:
            return await said(other, await other.find("same"))

        pid = int(await eventually_async(begun))
        await one(queue, run, id="same", command="sleep 300", timeout_seconds=0.2)
        assert alive([pid])
        await other.cancel([await other.find(job.id)])
        await other.stop_workers(await other.workers(), now=False)
        await working


async def test_what_a_failed_attempt_left_running_is_ended(queue: Queue, run: Run) -> None:
    job = await one(queue, run, command="sleep 300 & echo $!; exit 1")
    assert job.last_error
    assert job.last_error.startswith("exit 1")
    assert not alive([int(await said(queue, job))])


async def test_a_daemon_of_a_completed_job_is_left_alone(queue: Queue, run: Run) -> None:
    job = await one(queue, run, command="sleep 300 & echo $!")
    assert job.state is State.COMPLETED  # and nobody waited for the daemon to close its output
    assert alive([int(await said(queue, job))])


async def until_running(queue: Queue, job: Job) -> Job:
    """Wait until the job runs and has said something."""

    async def running() -> bool:
        found = await queue.find(job.id)
        return found.state is State.PROCESSING and (await queue.output(found)).size() > 0

    await eventually_async(running)
    return await queue.find(job.id)


async def test_cancelling_a_running_job_ends_it(queue: Queue) -> None:
    (job,) = await queue.enqueue(["echo $$; exec sleep 300"])
    work = asyncio.create_task(queue.run_workers(1, until_empty=True))
    running = await until_running(queue, job)
    await queue.cancel([running])
    await work
    job = await queue.find(job.id)
    assert (job.state, job.attempts) == (State.CANCELLED, 0)
    (attempt,) = await queue.attempts(job)
    assert attempt.outcome is Outcome.CANCELLED
    assert not alive([int(await said(queue, job))])


async def test_stop_finishes_the_running_job_and_takes_no_new_one(queue: Queue) -> None:
    (job, waiting) = await queue.enqueue(["echo $$; sleep 1; echo end", "true"])
    work = asyncio.create_task(queue.run_workers(1))
    await until_running(queue, job)
    await queue.stop_workers(await queue.workers(), now=False)
    await work
    assert (await queue.find(job.id)).state is State.COMPLETED
    assert (await said(queue, await queue.find(job.id))).endswith(b"end\n")
    assert (await queue.find(waiting.id)).state is State.PENDING
    assert await queue.workers() == []


@pytest.mark.parametrize(
    "command",
    [
        "echo $$; exec sleep 300",
        "exec 2>&-; trap 'exit 0' TERM; echo $$; while :; do sleep 0.01; done",
    ],
    ids=["ended", "that-exits-0-when-told"],
)
async def test_stop_now_puts_the_job_back_uncounted(queue: Queue, command: str) -> None:
    (job,) = await queue.enqueue([command])
    work = asyncio.create_task(queue.run_workers(1))
    await until_running(queue, job)
    await queue.stop_workers(await queue.workers(), now=True)
    await work
    job = await queue.find(job.id)
    assert (job.state, job.attempts, job.crashes) == (State.PENDING, 0, 0)
    (attempt,) = await queue.attempts(job)
    assert attempt.outcome is Outcome.INTERRUPTED
    assert not alive([int(await said(queue, job))])


async def test_a_job_that_was_done_before_it_could_be_told_to_end_is_done(queue: Queue) -> None:
    await queue.enqueue(["true"])

    def stop_too_late(event: Notice) -> None:
        if event.kind is NoticeKind.STARTED:  # call_soon: the shim is asked to start it first
            asyncio.get_running_loop().call_soon(once_it_has_ended)

    def once_it_has_ended() -> None:
        journal = JournalReader(queue.directory / "run", supervisor.context.id)
        eventually(lambda: journal.refresh() and journal.exits)
        supervisor.stop(now=True)

    supervisor = Supervisor(queue.store, queue.env, on_notice=stop_too_late)
    await supervisor.run(1, ())
    assert (await queue.status()).counts == {State.COMPLETED: 1}


async def test_one_of_several_workers_can_be_stopped(queue: Queue) -> None:
    work = asyncio.create_task(queue.run_workers(3))

    async def up() -> bool:
        return len(await queue.workers()) == 3

    await eventually_async(up)
    first, *others = await queue.workers()
    await queue.stop_workers([first], now=False)

    async def left() -> bool:
        return [w.id for w in await queue.workers()] == [w.id for w in others]

    await eventually_async(left)
    await queue.enqueue(["true"])

    async def done() -> bool:
        return (await queue.status()).counts == {State.COMPLETED: 1}

    await eventually_async(done)
    await queue.stop_workers(others, now=False)
    await work


async def test_a_killed_shim_is_a_counted_crash_and_the_job_runs_again(
    queue: Queue, tmp_path: Path
) -> None:
    (job,) = await queue.enqueue(
        [{"command": "echo $$; test -e second && exit 0; touch second; exec sleep 300"}]
    )
    events: list[Notice] = []
    work = asyncio.create_task(queue.run_workers(1, until_empty=True, on_notice=events.append))
    running = await until_running(queue, job)
    pid = int(await said(queue, running))
    os.kill(psutil.Process(pid).ppid(), signal.SIGKILL)
    await work
    job = await queue.find(job.id)
    assert (job.state, job.attempts, job.crashes) == (State.COMPLETED, 1, 1)
    outcomes = [attempt.outcome for attempt in await queue.attempts(job)]
    assert outcomes == [Outcome.CRASHED, Outcome.COMPLETED]
    assert not alive([pid])


async def test_a_config_change_reaches_running_workers(queue: Queue) -> None:
    work = asyncio.create_task(queue.run_workers(1))
    await queue.config_set("backoff-max", "0.1")
    await queue.enqueue([{"id": "f", "command": "exit 1", "max_retries": 2, "backoff_base": 100}])

    async def dead() -> bool:
        return (await queue.find("f")).state is State.DEAD

    await eventually_async(dead)
    await queue.stop_workers(await queue.workers(), now=False)
    await work


async def test_retries_is_fixed_when_a_job_is_enqueued(queue: Queue, run: Run) -> None:
    await queue.config_set("max-retries", "2")
    await queue.config_set("backoff-base", "0")
    (job,) = await queue.enqueue(["exit 1"])
    await queue.config_set("max-retries", "5")
    await run()
    assert (await queue.find(job.id)).attempts == 2


async def test_a_lost_bell_is_made_good(queue: Queue) -> None:
    """Whoever enqueued died before ringing: the job is found all the same."""
    work = asyncio.create_task(queue.run_workers(1))

    async def listening() -> list[Path]:
        return list(queue.directory.glob("run/*.bell"))

    for notifier in await eventually_async(listening):
        notifier.unlink()
    async with Queue.open(queue.store.url, env=queue.env) as elsewhere:
        (job,) = await elsewhere.enqueue(["true"])

        async def done() -> bool:
            return (await elsewhere.find(job.id)).state is State.COMPLETED

        await eventually_async(done)
        await elsewhere.stop_workers(await elsewhere.workers(), now=False)
        await work


async def test_samples_show_what_a_running_job_uses(queue: Queue) -> None:
    await queue.enqueue(["while :; do :; done"])
    work = asyncio.create_task(queue.run_workers(1))

    async def sampled() -> bool:
        workers = await queue.workers()
        return bool(workers and workers[0].cpu_percent and workers[0].memory)

    await eventually_async(sampled)
    await queue.stop_workers(await queue.workers(), now=True)
    await work
