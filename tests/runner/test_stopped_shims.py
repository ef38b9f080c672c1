"""A shim that is stopped, or cannot run for another reason, blocks nobody for long."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from queuectl_core.domain.model import State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.runner.events import Pong, RunnerEvent, Trouble
from queuectl_core.runner.journal_reader import make_first
from queuectl_core.supervisor import recovery, shim_client
from queuectl_core.supervisor.maintenance import liveness, services
from queuectl_core.supervisor.maintenance.liveness import SILENT_AT_MOST, Liveness
from queuectl_core.supervisor.resource_limits import ResourceLimits
from queuectl_core.supervisor.shim_client import ShimClient
from queuectl_core.supervisor.supervisor import Supervisor
from queuectl_core.system.host import DISK_SLEEP

from ..supervisor.test_shim_client import Heard, process_of, program
from ..supervisor.test_shim_client import heard as heard  # noqa: PLC0414 - a fixture
from ..supervisor.test_triage import Supervisors, alive, finish, run_elsewhere, until_output
from ..supervisor.test_triage import supervisors as supervisors  # noqa: PLC0414 - a fixture
from ..support import eventually_async

STOPPED = "the shim was stopped, by a job perhaps; it was told to continue"
# The shim is stopped until somebody tells it to continue; then it is stopped again.
HOLD = "while kill -STOP $PPID; do sleep 0.01; done"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "LOOK_AT_SHIMS_EVERY", 0.1)


async def test_a_job_that_stops_its_shim_holds_up_nobody(queue: Queue) -> None:
    jobs = await queue.enqueue(["kill -STOP $PPID; sleep 0.1; exit 0", "sleep 0.2", "true"])
    events: list[Notice] = []
    async with asyncio.timeout(15):
        await queue.run_workers(2, until_empty=True, on_notice=events.append)
    for job in jobs:
        found = await queue.find(job.id)
        assert (found.state, found.crashes) == (State.COMPLETED, 0)
    assert STOPPED in [event.message for event in events if event.kind is NoticeKind.TROUBLE]


async def test_a_job_that_keeps_its_shim_stopped_harms_only_itself(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "STOPS_AT_MOST", 2)
    (poison,) = await queue.enqueue([HOLD])
    others = await queue.enqueue(["sleep 0.2"] * 3)
    async with asyncio.timeout(25):
        await queue.run_workers(2, until_empty=True)
    for job in others:
        found = await queue.find(job.id)
        assert (found.state, found.crashes <= 1) == (State.COMPLETED, True)
    found = await queue.find(poison.id)
    assert (found.state, found.crashes) == (State.DEAD, 3)


async def test_workers_of_a_stopped_shim_can_be_stopped_now(queue: Queue, tmp_path: Path) -> None:
    (job,) = await queue.enqueue(["touch up; kill -STOP $PPID; sleep 300"])
    work = asyncio.create_task(queue.run_workers(1))
    await eventually_async(lambda: asyncio.sleep(0, (tmp_path / "up").exists()))
    async with asyncio.timeout(15):
        await queue.stop_workers(await queue.workers(), now=True)
        await work
    found = await queue.find(job.id)
    assert (found.state, found.attempts, found.crashes) == (State.PENDING, 0, 0)


@pytest.mark.parametrize("ended", [False, True])
async def test_a_stopped_shim_of_a_killed_supervisor_is_adopted(
    queue: Queue, supervisors: Supervisors, tmp_path: Path, ended: bool
) -> None:
    """Also one that was stopped before it saw its job end."""
    command = f"echo $$; until test -e {tmp_path}/go; do sleep 0.02; done; touch {tmp_path}/done"
    (job,) = await queue.enqueue([command])
    victim = await supervisors.start(1)
    (text,) = await until_output(queue, job)
    leader = psutil.Process(int(text))
    shim = leader.parent()
    assert shim
    shim.send_signal(signal.SIGSTOP)
    supervisors.kill(victim)
    if ended:
        (tmp_path / "go").touch()
        await eventually_async(lambda: asyncio.sleep(0, (tmp_path / "done").exists()))
    work = asyncio.create_task(finish(queue))

    async def adopted() -> bool:
        return any(worker.job == job.id and worker.pid == os.getpid() for worker in await workers())

    workers = queue.workers
    if not ended:
        await eventually_async(adopted)
        (tmp_path / "go").touch()
    async with asyncio.timeout(15):
        await work
    found = await queue.find(job.id)
    assert (found.state, found.runs, found.crashes) == (State.COMPLETED, 1, 0)


async def test_a_stopped_shim_without_a_job_leaves(queue: Queue, supervisors: Supervisors) -> None:
    """Else it would be there for ever, and no backup could be restored."""
    victim = await supervisors.start(1)
    (shim,) = psutil.Process(victim.pid).children()
    (path,) = (queue.directory / "run").glob("*.journal")
    await eventually_async(lambda: asyncio.sleep(0, b'["H"' in path.read_bytes()))
    shim.send_signal(signal.SIGSTOP)
    supervisors.kill(victim)
    await finish(queue)
    await eventually_async(lambda: asyncio.sleep(0, not alive(shim.pid)))


async def test_an_adopted_shim_that_stays_stopped_is_given_up(
    queue: Queue, supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(liveness, "STOPS_AT_MOST", 2)
    again = tmp_path / "again"
    (job,) = await queue.enqueue([f"test -e {again} || {{ touch {again}; {HOLD}; }}"])
    victim = await supervisors.start(1)
    await eventually_async(lambda: asyncio.sleep(0, again.exists()))
    supervisors.kill(victim)
    async with asyncio.timeout(15):
        await finish(queue)
    found = await queue.find(job.id)
    assert (found.state, found.runs, found.crashes) == (State.COMPLETED, 2, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="nobody can limit another process elsewhere")
async def test_an_adopted_shim_whose_disk_is_full_is_left_alone(
    queue: Queue, supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It cannot write down that a job has ended, and does so later."""
    monkeypatch.setattr(liveness, "SILENT_AT_MOST", 15)
    looks = 0
    look_at = recovery._look_at

    def counted(*args: Any) -> Any:
        nonlocal looks
        found = look_at(*args)
        looks += any(owes for _, owes, *_ in found.values())
        return found

    monkeypatch.setattr(recovery, "_look_at", counted)
    command = f"echo $$; until test -e {tmp_path}/go; do sleep 0.02; done"
    job, victim, _, shim = await run_elsewhere(queue, supervisors, command)
    supervisors.kill(victim)
    soft, hard = resource.prlimit(shim.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(shim.pid, resource.RLIMIT_FSIZE, (0, hard))
    (tmp_path / "go").touch()
    work = asyncio.create_task(finish(queue))
    await eventually_async(lambda: asyncio.sleep(0, looks > 20 or work.done()))
    resource.prlimit(shim.pid, resource.RLIMIT_FSIZE, (soft, hard))
    async with asyncio.timeout(15):
        await work
    found = await queue.find(job.id)
    assert (found.state, found.runs, found.crashes) == (State.COMPLETED, 1, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="ptrace is called as on Linux")
async def test_an_adopted_shim_that_does_not_run_is_given_up(
    queue: Queue, supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A debugger holds it, and it does not see that its job has ended."""
    monkeypatch.setattr(liveness, "SILENT_AT_MOST", 15)
    again = tmp_path / "again"
    command = f"test -e {again} && exit; touch {again}; echo $$; sleep 300"
    job, victim, pid, shim = await run_elsewhere(queue, supervisors, command)
    hold = f"""
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
held = libc.ptrace(16, {shim.pid}, None, None) == 0  # PTRACE_ATTACH
if held:
    os.waitpid({shim.pid}, 0)
print(held, flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as debugger:
        try:
            assert debugger.stdout
            if await asyncio.to_thread(debugger.stdout.readline) != b"True\n":
                pytest.skip("nobody may trace another process here")
            supervisors.kill(victim)
            work = asyncio.create_task(finish(queue))

            async def adopted() -> bool:
                return any(one.pid == os.getpid() and one.job for one in await queue.workers())

            await eventually_async(adopted)
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(20):
                await work
        finally:
            debugger.kill()
    found = await queue.find(job.id)
    assert (found.state, found.runs, found.crashes) == (State.COMPLETED, 2, 1)


async def test_one_that_does_not_answer_is_replaced(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A debugger holds it, say: it is not stopped, and it does not run."""
    program(monkeypatch, "import time; time.sleep(60)")
    shim = ShimClient(heard.events.append, heard.die, heard.fail)
    await shim.start(tmp_path, "s", os.environ)

    async def dead() -> int:
        shim.look(urgent=False)  # one look may find it in the middle of a read from the disk
        return heard.deaths

    await eventually_async(dead)
    assert heard.events == [Trouble(None, "the shim does not answer; killing it")]
    assert process_of(shim).poll() == -signal.SIGKILL
    assert heard.deaths == 1


async def test_one_that_is_idle_answers(heard: Heard, tmp_path: Path) -> None:
    make_first(tmp_path / "s.journal")
    shim = ShimClient(heard.events.append, heard.die, heard.fail)
    await shim.start(tmp_path, "s", os.environ)
    for _ in range(SILENT_AT_MOST):
        shim.look(urgent=False)
    await eventually_async(lambda: asyncio.sleep(0, Pong() in heard.events))
    for _ in range(SILENT_AT_MOST - 1):
        shim.look(urgent=False)
    assert process_of(shim).poll() is None
    assert await shim.close()
    assert heard.deaths == 0


async def test_one_that_cannot_be_killed_is_left_after_a_while(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cgroup freezer holds it, say: its supervisor goes on with another."""
    program(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(shim_client, "KILLED_PATIENCE", 0.1)
    shim = ShimClient(heard.events.append, heard.die, heard.fail)
    await shim.start(tmp_path, "s", os.environ)
    process = process_of(shim)
    monkeypatch.setattr(process, "kill", lambda: None)
    for _ in range(SILENT_AT_MOST + 1):
        shim.look(urgent=False)
    await eventually_async(lambda: asyncio.sleep(0, heard.deaths))
    os.kill(process.pid, signal.SIGKILL)
    await eventually_async(lambda: asyncio.sleep(0, process.poll() is not None))
    await asyncio.sleep(0.05)  # the end of its output is heard
    assert heard.deaths == 1


def test_one_that_waits_for_a_disk_is_left_alone_unless_somebody_waits() -> None:
    told: list[str] = []
    known = Liveness(told.append)
    assert {known.look(DISK_SLEEP, urgent=False) for _ in range(10 * SILENT_AT_MOST)} == {0}
    assert known.look(DISK_SLEEP, urgent=True) == signal.SIGKILL
    assert told == ["the shim does not answer; killing it"]


def test_the_time_that_one_waits_for_a_disk_does_not_count() -> None:
    """When the disk answers, it has not seen the ping yet, and has time for that."""
    told: list[str] = []
    known = Liveness(told.append)
    for _ in range(SILENT_AT_MOST + 10):
        known.look(DISK_SLEEP, urgent=False)
    pings = 0
    for _ in range(SILENT_AT_MOST):
        assert known.look("R", urgent=False) == 0
        pings += known.ping_is_due
    assert pings >= 2
    assert told == []
    assert known.look("R", urgent=False) == signal.SIGKILL


def test_stops_are_forgotten_by_and_by() -> None:
    known = Liveness(lambda text: None)
    for _ in range(50):
        assert known.look("T", urgent=False) == signal.SIGCONT
        for _ in range(10):
            known.heard()
            assert known.look("S", urgent=False) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="nobody can lower them elsewhere")
@pytest.mark.parametrize("permitted", [True, False])
async def test_a_job_that_lowers_the_limits_of_its_shim_blocks_nobody(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, permitted: bool
) -> None:
    """What is lowered can be raised again, by root at least; else there is a new shim."""
    hard = "hard" if permitted else "5"
    code = (
        "import os, resource; parent, kind = os.getppid(), resource.RLIMIT_NOFILE\n"
        "open('ran', 'x')  # only once: it may be killed with its shim, and run again\n"
        "soft, hard = resource.prlimit(parent, kind)\n"
        f"resource.prlimit(parent, kind, (5, {hard}))"
    )
    if not permitted:  # also where this test runs as root
        prlimit = resource.prlimit

        def refused(pid: int, kind: int, *limits: tuple[int, int]) -> tuple[int, int]:
            if limits:
                raise PermissionError
            return prlimit(pid, kind)

        monkeypatch.setattr(resource, "prlimit", refused)
    await queue.enqueue([{"command": [sys.executable, "-c", code], "priority": 1}])
    later = await queue.enqueue(["true"] * 3)
    events: list[Notice] = []
    async with asyncio.timeout(20):
        await queue.run_workers(1, until_empty=True, on_notice=events.append)
    for job in later:
        assert (await queue.find(job.id)).state is State.COMPLETED
    told = [event.message for event in events if event.message.startswith(shim_client.LOWERED)]
    assert told == [shim_client.LOWERED + ("they are restored" if permitted else "killing it")]


def test_limits_that_are_lowered_again_and_again_are_told_of_once() -> None:
    """Each look finds them lowered, and restores them."""
    told: list[RunnerEvent] = []
    shim = ShimClient(told.append, lambda: None, Heard.fail)
    shim._limits = ResourceLimits()
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as child:
        soft, hard = resource.prlimit(child.pid, resource.RLIMIT_FSIZE)
        for _ in range(3):
            resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (5, hard))
            assert shim._keeps_limits(child.pid)
            assert resource.prlimit(child.pid, resource.RLIMIT_FSIZE) == (soft, hard)
        assert told == [Trouble(None, shim_client.LOWERED + "they are restored")]
        assert shim._keeps_limits(child.pid)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (5, hard))
        assert shim._keeps_limits(child.pid)
        assert len(told) == 2
        child.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="nobody can lower them elsewhere")
@pytest.mark.parametrize("permitted", [True, False])
async def test_a_job_that_lowers_the_limits_of_its_supervisor(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, permitted: bool
) -> None:
    """What is lowered is raised again; where that is not permitted the supervisor leaves."""
    kind = resource.RLIMIT_NPROC
    limits = resource.getrlimit(kind)
    if not permitted:
        prlimit = resource.prlimit

        def refused(pid: int, which: int, *new: tuple[int, int]) -> tuple[int, int]:
            if new and pid == os.getpid():
                raise PermissionError
            return prlimit(pid, which, *new)

        monkeypatch.setattr(resource, "prlimit", refused)
    code = f"import resource; resource.prlimit({os.getpid()}, {kind}, (5, {limits[1]}))"
    command = f"until test -e {tmp_path}/go; do sleep 0.02; done"
    await queue.enqueue([{"command": [sys.executable, "-c", code]}, command])
    events: list[Notice] = []
    supervisor = Supervisor(queue.store, queue.env, program=True, on_notice=events.append)
    work = asyncio.create_task(supervisor.run(2, ()))
    try:

        async def told() -> list[str]:
            found = [event.message for event in events if event.kind is NoticeKind.TROUBLE]
            return [text for text in found if text.startswith(services.LOWERED)]

        outcome = "they are restored" if permitted else "stopping after the running jobs"
        assert await eventually_async(told) == [services.LOWERED + outcome]
        if permitted:
            assert resource.getrlimit(kind) == limits
            supervisor.stop(now=False)
    finally:
        (tmp_path / "go").touch()
        resource.setrlimit(kind, limits)
    async with asyncio.timeout(15):
        summary = await work
    assert summary.done == 2
