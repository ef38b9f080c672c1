"""What becomes of the jobs of a supervisor that died: adopted, settled, or put back.

The store hands the jobs over in one transaction (``take_over``); from then on the dead
supervisor's results are refused, should it only have been stopped. Then, job by job:

=====================================  =================================================
the journal says it ended              its true result is recorded
it runs, and its shim lives            adopted: it goes on, and keeps its result
it runs, but its shim is dead          its exit will never be known: ended, then a crash
it was started, and is gone            a crash
it was about to be, and all died       a crash: it may have run
its journal was deleted                a crash, unless its shim lives and wrote it anew
it was never started                   back to pending, nothing counted
its host is another, or has rebooted   a crash
=====================================  =================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..model import Job, SupervisorRow
from .attempt import token_of
from .journal import Exit, Journal, Started
from .process import end_all, is_in_group, is_started, marked

LEFTOVER_GRACE = 0.5
"""Seconds from SIGTERM to SIGKILL for what is left of a job whose outcome is lost."""


@dataclass(slots=True)
class Verdict:
    """What was found for each job of a dead supervisor."""

    exited: list[tuple[Job, Exit]] = field(default_factory=list)
    adopted: list[tuple[Job, Started, Journal]] = field(default_factory=list)
    """With the process that runs it, and the journal that will tell its end."""
    crashed: list[tuple[Job, str]] = field(default_factory=list)
    unstarted: list[Job] = field(default_factory=list)
    host: str = ""
    """Where they ran, if that was another host."""


async def examine(dead: SupervisorRow, jobs: list[Job], host: str, here: str, run: Path) -> Verdict:
    """Find out what became of ``jobs``, which ``dead`` held; ends what must not go on.

    ``host`` is this host's name, ``here`` ``Store.here()``, ``run`` the store's run directory on
    it.
    """
    verdict = Verdict()
    if dead.host_key != here:
        verdict.host = dead.host
        same_boot = dead.host_key.partition(":")[0] == here.partition(":")[0]
        rebooted = dead.host == host and not same_boot
        for job in jobs:
            reason = f"host {dead.host} {'restarted' if rebooted else 'stopped answering'}"
            verdict.crashed.append((job, reason))
        return verdict
    journals: dict[str, Journal] = {}
    for job in jobs:
        name = job.shim or dead.id
        if name not in journals:
            journals[name] = Journal(run, name)
            await journals[name].revoke()
        await _examine_job(job, journals[name], verdict)
    return verdict


async def _examine_job(job: Job, journal: Journal, verdict: Verdict) -> None:
    token = token_of(job)
    started = journal.started.get(token)
    if token in journal.exits:
        ended = journal.exits[token]
        if ended.leftover and ended.code != 0:
            await _end_leftover(job, journal.name, started)
        verdict.exited.append((job, ended))
        return
    shim_alive = journal.shim_alive()
    if started is not None and shim_alive:
        verdict.adopted.append((job, started, journal))
        return
    if started is None and shim_alive:
        verdict.unstarted.append(job)
        return
    exit_, begun = await bury(job, journal.run, journal.name)
    if exit_ is not None:
        verdict.exited.append((job, exit_))
    elif begun or journal.lost:
        verdict.crashed.append((job, "its supervisor and its shim died; its outcome is unknown"))
    else:
        verdict.unstarted.append(job)


async def bury(job: Job, run: Path, shim: str) -> tuple[Exit | None, bool]:
    """What is known of an attempt whose shim is dead: its exit, and whether it ever began.

    When its exit was not written down, whatever of it still runs has been ended.
    """
    journal = Journal(run, shim)
    journal.refresh()
    token = token_of(job)
    if token in journal.exits:
        return journal.exits[token], True
    started = journal.started.get(token)
    ended = await _end_leftover(job, shim, started)
    return None, token in journal.begun or started is not None or ended


async def _end_leftover(job: Job, shim: str, started: Started | None) -> bool:
    """End what still runs of an attempt that nobody watched; whether there was anything."""
    strays = marked(job.id, job.runs, shim)
    group = None
    if started is not None:
        # A group outlives its leader, and its number is not given away before it is empty.
        known = is_started(started) or any(is_in_group(one, started.pid) for one in strays)
        group = started.pid if known else None
    if group is not None or strays:
        await end_all(group, strays, LEFTOVER_GRACE)
    return group is not None or bool(strays)
