"""Many processes writing to one store at once: enqueue, claim and finish, configuration.

Run as a program it is one of the writers; it prints what it did as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from queuectl_core.domain.claims import AttemptResult, ClaimRequest, ClaimSlot
from queuectl_core.domain.errors import QueueError
from queuectl_core.domain.lifecycle import Policy, settle
from queuectl_core.domain.model import Attempt, Job, Outcome
from queuectl_core.queue import Queue
from queuectl_core.supervisor.lease import make_row, new_supervisor_id
from queuectl_core.system.host import hostname

from .plant import ROOT

ROLES = ("enqueue", "enqueue", "enqueue", "work", "work", "config")
"""What writer number n does, again and again."""
POLICY = Policy(backoff_max=3600.0, backoff_jitter=0.0, max_crashes=3)


async def _enqueue(queue: Queue, number: int) -> Callable[[int], Awaitable[object]]:
    return lambda turn: queue.enqueue([{"id": f"w{number}-{turn}", "command": "true"}])


async def _config(queue: Queue, number: int) -> Callable[[int], Awaitable[object]]:
    return lambda turn: queue.config_set("max-retries", str(1 + turn % 9))


async def _work(queue: Queue, number: int) -> Callable[[int], Awaitable[object]]:
    """A supervisor that starts no processes: it claims four jobs, and settles them later."""
    name = new_supervisor_id() + str(number)
    host = (hostname(), queue.store.host_identity())
    await queue.store.register(make_row(name, host, False, 3600.0, time.time()), [], time.time())
    held: list[Job] = []

    async def settle_and_claim(_: int) -> None:
        openings = [ClaimSlot(f"{name}-{slot}") for slot in range(4)]
        endings = [_completed(job) for job in held]
        turn = await queue.store.settle_and_claim(
            ClaimRequest(name, endings, openings, time.time())
        )
        if turn.refused:
            raise RuntimeError(f"refused: {turn.refused}")
        held[:] = turn.claimed

    return settle_and_claim


def _completed(job: Job) -> AttemptResult:
    now = time.time()
    transition = settle(
        Outcome.COMPLETED,
        None,
        attempts=job.attempts,
        crashes=job.crashes,
        max_retries=job.max_retries,
        backoff_base=job.backoff_base,
        policy=POLICY,
        now=now,
    )
    attempt = Attempt(
        number=job.runs,
        started_at=job.started_at or now,
        finished_at=now,
        outcome=Outcome.COMPLETED,
        exit_code=0,
        signal=None,
        reason=None,
        worker=job.worker,
        host="writer",
        peak_memory=None,
        cpu_seconds=None,
        output_bytes=0,
        waited=0.0,
    )
    return AttemptResult(job.seq, job.runs, attempt, transition, b"")


PARTS = {"enqueue": _enqueue, "work": _work, "config": _config}


class Report(NamedTuple):
    """The result of one writer: seconds for each round, and what went wrong."""

    role: str
    took: list[float]
    errors: list[str]


async def write(store: str, number: int, seconds: float) -> Report:
    """Be writer ``number`` for so long."""
    took: list[float] = []
    errors: list[str] = []
    async with Queue.open(store) as queue:
        turn = await PARTS[ROLES[number % len(ROLES)]](queue, number)
        print("ready", flush=True)
        sys.stdin.readline()  # all begin together
        end = time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            try:
                await turn(len(took))
            except QueueError as error:
                errors.append(str(error))
            took.append(time.monotonic() - began)
            if len(took) % 50 == 0:
                await queue.store.checkpoint()
    return Report(ROLES[number % len(ROLES)], took, errors)


def many_writers(seconds: float, writers: int = 24) -> tuple[dict[str, float], list[str]]:
    """Figures, and what is broken."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        store = str(Path(folder) / "queue.db")
        env = {key: value for key, value in os.environ.items() if not key.startswith("QUEUECTL")}
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "chaos.writers", store, str(number), str(seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=env | {"PYTHONPATH": str(ROOT)},
            )
            for number in range(writers)
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        reports = [
            Report(*json.loads(process.communicate()[0] or '["", [], ["a traceback"]]'))
            for process in processes
        ]
        figures, broken = _sum_up(reports, seconds)
        accepted = figures["writers: enqueued"]
        found = asyncio.run(_count(store))
        if found != accepted:
            broken.append(f"writers: {accepted:.0f} jobs were accepted, {found} are there")
    return figures, broken


async def _count(store: str) -> int:
    async with Queue.open(store) as queue:
        return await queue.count_range()


def _sum_up(reports: list[Report], seconds: float) -> tuple[dict[str, float], list[str]]:
    figures: dict[str, float] = {"writers: processes": len(reports)}
    for role in PARTS:
        took = sorted(t for report in reports if report.role == role for t in report.took)
        figures[f"writers: {role}, a second"] = len(took) / seconds
        figures[f"writers: {role}, 99 % within s"] = took[int(len(took) * 0.99)]
        figures[f"writers: {role}, slowest s"] = took[-1]
    errors = [error for report in reports for error in report.errors]
    figures["writers: enqueued"] = sum(
        len(report.took) for report in reports if report.role == "enqueue"
    )
    figures["writers: errors"] = len(errors)
    broken = [f"writers: {len(errors)} errors, the first: {errors[0]}"] if errors else []
    slowest = figures["writers: enqueue, slowest s"]
    if slowest >= 1.0:
        broken.append(f"writers: the slowest enqueue took {slowest:.2f} s")
    return figures, broken


if __name__ == "__main__":
    print(json.dumps(asyncio.run(write(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))))
