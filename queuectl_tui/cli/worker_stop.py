"""``queuectl worker stop``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from queuectl_core.domain.errors import StoreError, TimedOut
from queuectl_core.domain.model import Worker
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_duration
from queuectl_core.system.postcommit import commits
from queuectl_core.system.run_sync import sleep

from ..presentation.format import plural
from ..presentation.workers import running_for
from .declare import argument, option, verb
from .durations import optional_duration
from .session import Session
from .worker import complete_host, complete_worker

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

POLL = 0.05
REMIND = 10.0
"""Seconds between lines about the progress where a line cannot be replaced."""


@verb(
    "stop",
    examples=(
        "queuectl worker stop",
        "queuectl worker stop --timeout 60",
        "queuectl worker stop k3f9a-1 --now",
        "queuectl worker stop --host web-2",
    ),
)
@argument("refs", metavar="[WORKER]...", many=True, complete=complete_worker)
@option("--now", is_flag=True, about="End running jobs; they go back to pending.")
@option("--host", metavar="NAME", complete=complete_host, about="Workers of this host.")
@option("--timeout", metavar="TIME", about="Give up waiting after this long: 30s, 5m.")
def stop(
    session: Session, /, *, refs: tuple[str, ...], now: bool, host: str | None, timeout: str | None
) -> int:
    """Stop all workers, on whatever host they are, or those named (a worker's id, or its
    process's for all of them). With --host only those of that host, of all or of those named.

    Waits until they are gone, showing what is still running: a worker finishes its job first. In
    a job, it does not wait for the worker that runs this very job.
    Exit code 124 when the time runs out; the workers stop all the same, later. Exit code 1 when
    one was lost on the way: it was killed, or its host is not heard of any more.
    """
    seconds = optional_duration("--timeout", timeout)

    found: list[Worker] = []

    async def act(queue: Queue) -> tuple[list[Worker], list[Worker], list[Worker]]:
        named = {worker.id for worker in await queue.find_workers(refs, host)}
        found.extend(await queue.running_workers(named))
        stopped, left = await _stop(session, queue, found, now, seconds)
        there = {worker.id for worker in await queue.workers()} - {worker.id for worker in left}
        return stopped, left, [worker for worker in stopped if worker.id in there]

    stopped, left, missing = session.run(act)
    session.err.clear()
    still = {worker.id for worker in left + missing}
    done = [worker for worker in stopped if worker.id not in still]
    if session.json:
        session.out.json([worker.to_json(session.clock()) for worker in done])
    elif session.out.terminal:
        if done:
            names = ", ".join(clean_line(worker.id) for worker in done)
            session.out.line(f"{plural(len(done), 'worker')} stopped: {names}.")
    else:
        for worker in done:
            session.out.line(clean_line(worker.id))
    if left:
        passed, jobs = format_duration(seconds or 0), _running(left, session.clock())
        raise TimedOut(
            f"{len(left)} of {len(stopped)} workers still run after {passed}: {jobs}",
            "they stop once their job has been ended"
            if now
            else "they stop when their job ends; --now ends it",
        )
    if missing:
        session.err.warn(
            f"{len(missing)} of {len(stopped)} workers were lost before they stopped: "
            f"{_running(missing, session.clock())}; the next worker to start looks after their jobs"
        )
        return 1
    if not found:
        session.err.note("no workers are running: nothing to stop")
    return 0


async def _stop(
    session: Session, queue: Queue, found: Sequence[Worker], now: bool, seconds: float | None
) -> tuple[list[Worker], list[Worker]]:
    """The workers that we waited for, and those of them that did not stop in time."""
    asked = list(found)
    if not asked:
        return [], []
    await queue.stop_workers(asked, now=now)
    own = own_worker(asked, os.environ)
    if own is not None:
        session.err.note(
            f"this job runs on {clean_line(own.id)}, which stops when the job ends: not waited for"
        )
        asked = [worker for worker in asked if worker is not own]
    try:
        return asked, await _until_gone(session, queue, asked, seconds)
    except StoreError as error:  # waiting for them is part of the verb
        error.message = f"the workers were asked to stop, but not seen to go: {error.message}"
        raise


def own_worker(workers: Sequence[Worker], env: Mapping[str, str]) -> Worker | None:
    """The worker that runs this process as a part of its job; None: we are not in a job.

    Ids of workers are random. So a worker with this id that runs a job with this id is ours, and
    the store is the same.
    """
    name, job = env.get("QUEUECTL_WORKER"), env.get("QUEUECTL_JOB_ID")
    found = (worker for worker in workers if worker.id == name and worker.job == job)
    return next(found, None)


async def _until_gone(
    session: Session, queue: Queue, asked: Sequence[Worker], seconds: float | None
) -> list[Worker]:
    """Wait until these workers are gone. Returns those that are not gone in time."""
    names = {worker.id for worker in asked}
    began = told = time.monotonic()
    told -= REMIND - 0.5  # the first line after half a second
    while True:
        left = await queue.running_workers(names)
        passed = time.monotonic() - began
        jobs = _running(left, session.clock())
        if left:
            commits.goes_on(f"asked to stop, but still running: {jobs}")
        if not left or (seconds is not None and passed >= seconds):
            return left
        if session.err.animated:
            session.err.bar("stopping", len(asked) - len(left), len(asked), jobs)
        elif time.monotonic() - told >= REMIND:
            told = time.monotonic()
            session.err.note(f"waiting for {len(left)} of {len(asked)} workers: {jobs}")
        await sleep(POLL)


def _running(workers: Sequence[Worker], now: float) -> str:
    words = []
    for worker in workers[:3]:
        seconds = running_for(worker, now)
        if worker.job is None or seconds is None:
            words.append(clean_line(worker.id, 40))
        else:
            words.append(f"{clean_line(worker.job, 40)} for {format_duration(seconds)}")
    more = len(workers) - len(words)
    return ", ".join(words) + (f" and {more} more" if more else "")
