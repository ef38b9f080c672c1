"""The progress of running jobs: read from their files, and written to the store when it changed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ...system.clocks import monotonic
from ..context import Context
from ..executor import Executor
from ..reports import read_all_progress

EVERY = 1.0
"""Seconds between two looks. However often a job writes, it costs one look and one write."""


@dataclass(slots=True)
class ProgressReader:
    """Looks at the progress of one supervisor's jobs."""

    context: Context
    executor: Executor
    _looked: float = 0.0

    async def look(self) -> None:
        """Read the progress of all running jobs, and write what changed in one statement; to be
        called about once a second. StoreError or OSError when that fails."""
        now = monotonic()
        running = {one.token: one for one in self.executor.attempts if one.runs and one.pid}
        if not running or now - self._looked < EVERY / 2:
            return
        self._looked = now
        owner, run = self.context.id, self.context.run_directory
        found = await asyncio.to_thread(read_all_progress, run, running.keys())
        changed = [
            (running[token], progress)
            for token, progress in found.items()
            if running[token].progress != progress and running[token].runs
        ]
        reports = [(one.job.seq, one.job.runs, *progress) for one, progress in changed]
        await self.context.store.report_progress(owner, reports)
        for attempt, progress in changed:
            attempt.progress = progress
