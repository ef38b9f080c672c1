"""``queuectl wait``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from queuectl_core.domain.errors import TimedOut
from queuectl_core.domain.model import WaitState
from queuectl_core.domain.times import format_duration
from queuectl_core.system.run_sync import sleep

from .declare import UsageError, argument, option, verb
from .durations import optional_duration
from .jobs import complete_id, resolve
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

POLL = 0.05
"""Seconds between checks for a commit. The jobs are only counted after one."""

LOOK = 1.0
"""Seconds between checks that a worker serves the jobs."""


@verb(
    "wait",
    examples=(
        "queuectl wait job1 job2",
        "queuectl wait --all --timeout 10m",
        "queuectl wait $(queuectl enqueue 'make test') && echo passed",
    ),
)
@argument("ids", metavar="[ID]...", many=True, complete=complete_id)
@option("--all", dest="every", is_flag=True, about="All jobs in the store, also those due later.")
@option("--timeout", metavar="TIME", about="Give up after this long: 30s, 5m.")
def wait(session: Session, /, *, ids: tuple[str, ...], every: bool, timeout: str | None) -> int:
    """Wait until jobs have ended: completed, dead or cancelled. A job that was removed and
    enqueued again under its id is waited for as that job.

    Exit code 0: all completed; 1: some are dead, cancelled or removed; 124: the time ran out.
    """
    if ids and every:
        raise UsageError("name jobs or give --all, not both")
    if not ids and not every:
        raise UsageError("name jobs, or give --all")
    seconds = optional_duration("--timeout", timeout)
    state = session.run(lambda queue: _wait(session, queue, ids, seconds), read_only=True)
    session.err.clear()
    good = state.done - state.bad
    if session.json:
        session.out.json(
            {
                "total": state.total,
                "completed": good,
                "dead_or_cancelled": state.bad,
                "timed_out": not state.finished,
            }
        )
    if not state.finished:
        left = state.total - state.done
        raise TimedOut(
            f"{left:,} of {state.total:,} jobs had not ended after {format_duration(seconds or 0)}",
            "they go on",
        )
    if state.bad:
        session.err.note(
            f"{state.bad:,} of {state.total:,} dead, cancelled or removed, {good:,} completed"
        )
        return 1
    return 0


async def _wait(
    session: Session, queue: Queue, ids: tuple[str, ...], seconds: float | None
) -> WaitState:
    jobs = await resolve(session, queue, ids, to_change=False)
    began = time.monotonic()
    warned, look = False, 0.0
    while True:
        await queue.changed()
        asked = time.monotonic()
        # A job that was removed and enqueued again is found by its id.
        jobs = [await queue.same(job) or job for job in jobs]
        state = await queue.wait_state([job.seq for job in jobs] if ids else None)
        cost = time.monotonic() - asked
        passed = time.monotonic() - began
        session.err.bar("waiting", state.done, state.total, _extra(state, passed))
        if state.finished or (seconds is not None and passed >= seconds):
            return state
        if not warned and passed >= look:
            from ..presentation.workers import no_worker_for

            look = passed + LOOK
            queues = {job.queue for job in jobs} if ids else None
            if said := no_worker_for(await queue.status(), queues):
                session.err.note(said)
                warned = True
        pause = max(POLL, 4 * cost)  # do not load a busy store that has many jobs
        while True:
            if seconds is not None:
                pause = min(pause, max(0.0, began + seconds - time.monotonic()))
            await sleep(pause)
            passed = time.monotonic() - began
            if await queue.changed() or (seconds is not None and passed >= seconds):
                break
            session.err.bar("waiting", state.done, state.total, _extra(state, passed))


def _extra(state: WaitState, passed: float) -> str:
    bad = f" · {state.bad:,} dead or cancelled" if state.bad else ""
    return f"{format_duration(passed)}{bad}"
