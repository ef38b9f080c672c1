"""What is left lying about: processes and files of jobs that ended. ``doctor`` names them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from .model import State
from .store.base import Store

OUTPUT = re.compile(r"(\d{1,18})\.(\d{1,9})\.(log|tmp)", re.ASCII)
DRAFT_AGE = 3600.0
"""Seconds: rewriting an output takes far less."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process that outlived its attempt: a daemon, or something that got away."""

    pid: int
    job: str
    attempt: str


async def leftover_processes(store: Store) -> list[Leftover]:
    """Processes on this host of attempts of this store that are over."""
    from .worker.process import marked_processes

    found = []
    for process, mark in marked_processes():
        job = next((job for job in await store.by_id(mark.job) if job.id == mark.job), None)
        if job is None:
            continue
        running = job.state is State.PROCESSING and str(job.runs) == mark.attempt
        # The worker tells it from a job of another store that happens to have this id.
        ours = any(
            str(attempt.number) == mark.attempt and attempt.worker == mark.worker
            for attempt in await store.attempts(job.seq)
        )
        if ours and not running:
            found.append(Leftover(process.pid, mark.job, mark.attempt))
    return found


async def orphaned_files(store: Store) -> AsyncIterator[Path]:
    """Output files whose job is gone, and drafts that a killed process left.

    A job is in the store before its file is made, so a file that was seen first and whose job is
    not there belongs to nobody.
    """
    for folder in _folders(store.directory / "logs"):
        files = [
            (path, match)
            for path in sorted(folder.iterdir())
            if (match := OUTPUT.fullmatch(path.name)) and not path.is_dir()
        ]
        runs = await store.runs(sorted({int(match[1]) for _, match in files}))
        for path, match in files:
            known = int(match[2]) <= runs.get(int(match[1]), 0)
            if not known or (match[3] == "tmp" and _age(path) > DRAFT_AGE):
                yield path


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0  # gone: it was in use


def _folders(logs: Path) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(logs))
    except OSError:
        return
    for name in names:
        folder = logs / name
        if name.isdecimal() and folder.is_dir() and not folder.is_symlink():
            yield folder
