"""What ``cancel``, ``retry`` and ``remove`` answer."""

from __future__ import annotations

from collections.abc import Sequence

from queuectl_core.model import Job
from queuectl_core.text import clean_line

from .command import Session


def show_changed(session: Session, jobs: Sequence[Job], word: str) -> None:
    """The jobs something was done to: ids in a pipe, a line at a terminal, objects as JSON."""
    session.err.clear()
    if session.json:
        session.out.json([job.to_json() for job in jobs])
    elif session.out.terminal:
        for job in jobs:
            session.out.line(f"{clean_line(job.id)} {word}")
    else:
        for job in jobs:
            session.out.line(clean_line(job.id))
