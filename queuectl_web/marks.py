"""What identifies a job on a page, so that a form changes only what was shown."""

from __future__ import annotations

import re

from starlette.requests import Request

from queuectl_core.domain.errors import Conflict
from queuectl_core.domain.model import Job
from queuectl_core.queue import Queue

from .context import session_of
from .problems import BadRequest
from .sessions import Session


def fingerprint(job: Job) -> str:
    """What identifies a job as it was shown: if it runs or ends meanwhile, this differs. The number
    of a job that was removed may be used again, so the id belongs to it."""
    return f"{job.seq}.{job.runs}.{job.state.value}.{job.id}"


async def marked_job(queue: Queue, mark: str, *, same: bool) -> Job:
    """The job that a form names. ``same``: Conflict if it has changed since the page was made."""
    found = re.fullmatch(r"([0-9]{1,18})\.[0-9]+\.[a-z]+\.(.+)", mark)
    if found is None:
        raise BadRequest(400, "the form names no job", "load the page again")
    job = await queue.get(int(found[1]))
    if job is None or job.id != found[2]:
        raise Conflict("nothing was done: this job was removed", "look again")
    if same and fingerprint(job) != mark:
        raise Conflict("nothing was done: it has changed since the page was loaded", "look again")
    return job


def session_for_forms(request: Request) -> Session:
    """The session of the browser that sent a form. BadRequest for a program."""
    session = session_of(request)
    if session is None:
        raise BadRequest(403, "this form needs a browser session", "programs use /api/v1")
    return session
