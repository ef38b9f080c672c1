"""Orphans: processes and files of jobs that ended. ``doctor`` reports them."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from ..domain.model import State
from ..store.protocol import Store

OUTPUT = re.compile(r"(\d{1,18})\.(\d{1,9})\.(log|times|tmp)", re.ASCII)
DRAFT_AGE = 3600.0
"""Seconds. Rewriting an output takes much less."""


class OrphanedProcess(NamedTuple):
    """A process that still runs after its attempt has ended, such as a daemon."""

    pid: int
    job: str
    attempt: str


async def orphaned_processes(store: Store) -> list[OrphanedProcess]:
    """Processes on this host whose attempts, of this store, have ended."""
    from ..supervisor.processes import marked_processes

    found = []
    for process, mark in marked_processes():
        job = next((job for job in await store.by_id(mark.job) if job.id == mark.job), None)
        if job is None:
            continue
        running = job.state is State.PROCESSING and str(job.runs) == mark.attempt
        # A job of another store may have the same id. The worker tells them apart.
        ours = any(
            str(attempt.number) == mark.attempt and attempt.worker == mark.worker
            for attempt in await store.attempts(job.seq)
        )
        if ours and not running:
            found.append(OrphanedProcess(process.pid, mark.job, mark.attempt))
    return found


async def orphaned_files(store: Store) -> AsyncIterator[Path]:
    """Output files whose job is gone, and drafts of killed processes.

    A job is in the store before its file is created. So if we see a file first, and then find no
    job, it is an orphan.
    """
    for folder in output_folders(store):
        for path in await orphans_in(folder, store):
            yield path


async def orphans_in(folder: Path, store: Store) -> list[Path]:
    """The :func:`orphaned_files` of one folder."""
    files = await asyncio.to_thread(_outputs_in, folder)
    runs = await store.runs(sorted({int(match[1]) for _, match in files}))
    return [
        path
        for path, match in files
        if int(match[2]) > runs.get(int(match[1]), 0)
        or (match[3] == "tmp" and age(path) > DRAFT_AGE)
    ]


def _outputs_in(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    return [
        (path, match)
        for path in sorted(folder.iterdir())
        if (match := OUTPUT.fullmatch(path.name)) and not path.is_dir()
    ]


def age(path: Path) -> float:
    """Seconds since a file was last written; 0 if it is gone."""
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0


def output_folders(store: Store) -> list[Path]:
    """The folders of output files on this host."""
    logs = store.directory / "logs"
    try:
        names = sorted(os.listdir(logs))
    except OSError:
        return []
    folders = (logs / name for name in names if name.isdecimal())
    return [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]
