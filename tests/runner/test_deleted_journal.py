"""A journal that is deleted while its shim lives: its job is not run beside itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

from queuectl_core.domain.model import State
from queuectl_core.queue import Queue
from queuectl_core.runner.journal_reader import make_first
from queuectl_core.supervisor.processes import Processes
from queuectl_core.supervisor.triage import triage

from ..supervisor.test_triage import Supervisors, finish
from ..supervisor.test_triage import supervisors as supervisors  # noqa: PLC0414 - a fixture
from ..support import eventually, eventually_async
from .test_shim import Driver


async def test_a_stopped_supervisor_whose_journal_was_deleted(queue: Queue, tmp_path: Path) -> None:
    """The shim heard no end of its input, so it did not write its journal anew by itself."""
    run = tmp_path / "run"
    make_first(run / "s.journal")
    (job,) = await queue.enqueue(["sleep 300"])
    job = job._replace(state=State.PROCESSING, runs=1, shim="s", worker="s-1")
    driver = Driver(run)
    try:
        token = f"{job.seq}.1"
        env = {"QUEUECTL_JOB_ID": job.id, "QUEUECTL_ATTEMPT": "1"}
        how = [["/bin/sleep", "300"], None, "/", env, driver.output(token), None]
        driver.send(["start", token, "s-1", "", *how])
        pid = driver.hear()[2]
        (run / "s.journal").unlink()
        plan = await triage([job], run, Processes())
        ((adopted, started, journal),) = plan.adopted
        assert (adopted.id, started.pid) == (job.id, pid)
        assert [plan.unstarted, plan.crashed, plan.remains] == [[], [], []]
        driver.start("2.1", "true")  # its supervisor may only have been stopped
        assert driver.hear() == ["R", "2.1"]
        os.kill(pid, signal.SIGKILL)
        assert driver.hear()[:2] == ["X", token]
        eventually(lambda: journal.refresh() and token in journal.exits)
    finally:
        driver.close()


@pytest.mark.parametrize("adopted", [False, True])
async def test_a_job_of_an_orphaned_shim_goes_on_without_the_directory(
    queue: Queue, supervisors: Supervisors, tmp_path: Path, adopted: bool
) -> None:
    """Its environment does not name it: nothing but its shim knows it. ``adopted``: before the
    directory is deleted."""
    script = f"echo $$ >> {tmp_path}/pids; until test -e {tmp_path}/go; do sleep 0.02; done"
    (job,) = await queue.enqueue([f"exec env -i /bin/sh -c '{script}'"])
    victim = await supervisors.start(1)
    pids = tmp_path / "pids"
    await eventually_async(lambda: asyncio.sleep(0, pids.exists()))
    supervisors.kill(victim)
    if not adopted:
        shutil.rmtree(queue.directory)
    work = asyncio.create_task(finish(queue))

    async def is_adopted() -> bool:
        return any(one.job == job.id and one.pid == os.getpid() for one in await queue.workers())

    await eventually_async(is_adopted)
    run = queue.directory / "run"
    if adopted:
        shutil.rmtree(queue.directory)
        await eventually_async(lambda: asyncio.sleep(0, list(run.glob("*.journal"))))
    (tmp_path / "go").touch()
    async with asyncio.timeout(20):
        await work
    found = await queue.find(job.id)
    assert (found.state, found.runs, found.crashes) == (State.COMPLETED, 1, 0)
    assert pids.read_text().count("\n") == 1
