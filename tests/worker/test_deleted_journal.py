"""A journal that is deleted while its shim lives: its job is not run beside itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from queuectl_core.model import Job, State
from queuectl_core.queue import Queue
from queuectl_core.worker.journal import make_first
from queuectl_core.worker.process import Processes
from queuectl_core.worker.recovery import triage

from ..support import eventually
from .test_shim import Driver


async def test_a_stopped_supervisor_whose_journal_was_deleted(queue: Queue, tmp_path: Path) -> None:
    """The shim heard no end of its input, so it did not write its journal anew."""
    run = tmp_path / "run"
    make_first(run / "s.journal")
    (job,) = await queue.enqueue(["sleep 300"])
    job = dataclasses.replace(job, state=State.PROCESSING, runs=1, shim="s", worker="s-1")
    driver = Driver(run)
    try:
        token = f"{job.seq}.1"
        env = {"QUEUECTL_JOB_ID": job.id, "QUEUECTL_ATTEMPT": "1"}
        how = [["/bin/sleep", "300"], None, "/", env, driver.output(token), None]
        driver.send(["start", token, "s-1", "", *how])
        pid = driver.hear()[2]
        (run / "s.journal").unlink()
        plan = await triage([job], run, Processes(), revoke=True)
        assert not plan.unstarted
        assert [(left.job.id, left.exit) for left in plan.leftovers] == [(job.id, None)]
        await plan.leftovers[0].end(Processes())
        eventually(lambda: driver.hear()[:2] == ["X", token])
        assert not Path(f"/proc/{pid}").exists()
        assert await jobs_of(plan.crashed) == []
    finally:
        driver.close()


async def jobs_of(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]
