"""Triage: what becomes of attempts whose supervisor or shim is gone.

One function, :func:`triage`, serves a supervisor that takes over from a dead one, one whose own
shim was killed, and one that watches adopted jobs.

A successor gets the jobs from the store in one transaction (``take_over``); from then on the dead
supervisor's results are refused, should it only have been stopped. Then, for each job:

=====================================  =================================================
the journal says it ended              its true result is recorded
it runs, and its shim lives            adopted: it goes on, and keeps its result
it runs, but its shim is dead          its exit will never be known: ended, then a crash
it was started, and is gone            a crash
it was about to be, and all died       a crash: it may have run
its journal was deleted                a crash, unless its shim lives: it is woken, and writes it
                                       anew; what still runs of it is ended first
an earlier shim of that name had it    a crash, whatever still runs of it is ended
it was never started                   back to pending, nothing counted
its host is another, or has rebooted   a crash
=====================================  =================================================

Each journal is read once, and the processes of the host are looked at once for all jobs, both in
threads. What is left of jobs is ended for all of them at the same time.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..domain.model import Job, SupervisorRow, supervisor_of
from ..runner.events import Exit, Started
from ..runner.journal_reader import JournalReader
from .attempt import journal_name, token_of
from .processes import (
    POLL,
    Marked,
    Process,
    Processes,
    is_in_group,
    shim_processes,
    was_started_between,
)

WAKING_PATIENCE = 2.0
"""Seconds in which a shim must write a journal anew that was deleted."""
LEFTOVER_GRACE = 0.5
"""Seconds from SIGTERM to SIGKILL for what is left of a job whose outcome is lost."""


class Remains(NamedTuple):
    """What still runs of an attempt that is over, or whose outcome will never be known."""

    job: Job
    exit: Exit | None
    """How it ended; None: a crash."""
    group: int | None
    strays: list[Process]

    async def end(self, processes: Processes) -> None:
        """Returns when nothing of it runs any more."""
        await processes.end(self.group, self.strays, LEFTOVER_GRACE)


@dataclass(slots=True)
class RecoveryPlan:
    """What was found for each job."""

    exited: list[tuple[Job, Exit]] = field(default_factory=list)
    adopted: list[tuple[Job, Started, JournalReader]] = field(default_factory=list)
    """With the process that runs it, and the journal that will tell its end."""
    crashed: list[Job] = field(default_factory=list)
    unstarted: list[Job] = field(default_factory=list)
    remains: list[Remains] = field(default_factory=list)
    """Exited or crashed, once their processes have been ended."""


def elsewhere(dead: SupervisorRow, host: str, here: str) -> str | None:
    """Why the jobs of ``dead`` have crashed if it was not on this host, or before it started
    again; None: they are to be looked for here. ``host``: our name, ``here``:
    ``Store.host_identity()``."""
    if dead.host_key == here:
        return None
    same_boot = dead.host_key.partition(":")[0] == here.partition(":")[0]
    rebooted = dead.host == host and not same_boot
    return f"host {dead.host} {'restarted' if rebooted else 'stopped answering'}"


async def triage(
    jobs: Iterable[Job],
    run: Path,
    processes: Processes,
    *,
    shim: str = "",
    dead: bool = False,
) -> RecoveryPlan:
    """Find out what became of ``jobs``. OSError when that cannot be done now.

    ``run``: the run directory. ``shim``: whose journal to read for a job that names none.
    ``dead``: their shims are known to be dead, though another may use the journal by now.
    Otherwise the right to start jobs is taken from the shims first.
    """
    by_shim: dict[str, list[Job]] = {}
    for job in jobs:
        by_shim.setdefault(journal_name(job, shim), []).append(job)
    journals = [JournalReader(run, name) for name in by_shim]
    lives = await asyncio.gather(*(asyncio.to_thread(_read, one, dead) for one in journals))
    deleted = [one for one in journals if one.lost and one.shim_pid is None]
    if deleted and not dead:
        await asyncio.to_thread(_wake_shims, run, deleted)
        lives = await asyncio.gather(*(asyncio.to_thread(one.shim_alive) for one in journals))
    plan = RecoveryPlan()
    unclear: list[tuple[Job, JournalReader]] = []
    for journal, alive in zip(journals, lives, strict=True):
        for job in by_shim[journal.name]:
            if not _is_clear(job, journal, alive and not dead, plan):
                unclear.append((job, journal))
    if unclear:
        marked = await processes.marked()
        await asyncio.to_thread(_look_for, unclear, marked, plan)
    return plan


def _read(journal: JournalReader, dead: bool) -> bool:
    """Read the journal; whether its shim lives. Runs in a thread: the disk may be slow."""
    if not dead:
        asyncio.run(journal.revoke())
    alive = journal.shim_alive()
    # After that: one that died has written everything it will.
    journal.refresh()
    supervisor = supervisor_of(journal.name)
    if journal.lost and not alive and supervisor != journal.name:
        shared = JournalReader(journal.run, supervisor)
        shared.refresh()
        # Both are in one directory: the other one is as it was made, so nobody deleted them.
        journal.never_made = shared.original
    return alive


def _wake_shims(run: Path, journals: list[JournalReader]) -> None:
    """These journals were deleted. A shim that lives writes its own anew when it is woken: wait for
    that, and read them. Runs in a thread."""
    found = shim_processes(run)
    waiting = [journal for journal in journals if journal.name in found]
    for journal in waiting:
        for number in (signal.SIGCONT, signal.SIGCHLD):
            found[journal.name].signal(number)
    deadline = time.monotonic() + WAKING_PATIENCE
    while waiting and time.monotonic() < deadline:
        time.sleep(POLL)
        for journal in waiting:
            journal.refresh()
        waiting = [one for one in waiting if one.shim_pid is None]


def _is_clear(job: Job, journal: JournalReader, alive: bool, plan: RecoveryPlan) -> bool:
    """Put ``job`` into the plan if the journal says enough."""
    token = token_of(job)
    ended = journal.exits.get(token)
    started = journal.started.get(token)
    if ended is not None and not (ended.leftover and ended.code != 0):
        plan.exited.append((job, ended))
    elif ended is not None or not alive or token in journal.earlier:
        return False
    elif started is not None:
        plan.adopted.append((job, started, journal))
    elif token in journal.begun or journal.lost:
        return False  # that it was started could not be written, or was deleted
    else:
        plan.unstarted.append(job)
    return True


def _look_for(unclear: list[tuple[Job, JournalReader]], marked: Marked, plan: RecoveryPlan) -> None:
    """Put jobs into the plan whose processes may still run."""
    for job, journal in unclear:
        token = token_of(job)
        ended, started = journal.exits.get(token), journal.started.get(token)
        strays = marked.get((job.id, str(job.runs), supervisor_of(journal.name)), [])
        group = None
        # A group outlives its leader, and its number is not given away before it is empty.
        if started is not None and (
            was_started_between(started.pid, started.after, started.before)
            or any(is_in_group(one, started.pid) for one in strays)
        ):
            group = started.pid
        if group is not None or strays:
            plan.remains.append(Remains(job, ended, group, strays))
        elif ended is not None:
            plan.exited.append((job, ended))
        elif started is not None or token in journal.begun or journal.lost:
            plan.crashed.append(job)
        else:
            plan.unstarted.append(job)
