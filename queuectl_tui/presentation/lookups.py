"""Changing jobs that are looked up first, by their ids."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from queuectl_core.domain.errors import JobChanged
from queuectl_core.domain.model import Job

TRIES = 5
"""How often jobs that other processes change at the same time are looked up again."""


async def change_as_found(
    find: Callable[[], Awaitable[list[Job]]], change: Callable[[Sequence[Job]], Awaitable[int]]
) -> list[Job]:
    """Find jobs and change them, all or none; the jobs as they were found.

    When a job changes between the two steps, they are looked up again. So the answer is about the
    job as it is now, and cancelling a job that is being claimed works.
    """
    for _ in range(TRIES):
        jobs = await find()
        try:
            await change(jobs)
        except JobChanged:
            continue
        return jobs
    jobs = await find()
    await change(jobs)
    return jobs
