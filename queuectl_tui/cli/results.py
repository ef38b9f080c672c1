"""What verbs that change jobs answer."""

from __future__ import annotations

from collections.abc import Sequence

from queuectl_core.domain.model import Job
from queuectl_core.domain.text import clean_line

from .session import Session

EXISTING_SHOWN = 5
"""Ids of existing jobs that a note names."""


def show_changed(session: Session, jobs: Sequence[Job], word: str) -> None:
    """The jobs something was done to: ids in a pipe, sentences at a terminal, objects as JSON."""
    session.err.clear()
    if session.json:
        session.out.json([job.to_json() for job in jobs])
    elif session.out.terminal:
        for job in jobs:
            session.out.line(f"Job {clean_line(job.id)} {word}.")
    else:
        for job in jobs:
            session.out.line(clean_line(job.id))


def show_count(session: Session, count: int | None, word: str) -> int:
    """How many jobs something was done to; None: the answer to the question was no. Returns the
    exit code."""
    session.err.clear()
    if count is None:
        session.err.note(f"nothing {word}")
    if session.json:
        session.out.json({word: count or 0})
    elif count is not None:
        session.out.line(f"{count} {'job' if count == 1 else 'jobs'} {word}")
    return 1 if count is None else 0


def tell_existing(session: Session, ids: Sequence[str], on_conflict: str) -> None:
    """Say that jobs were not added, because another one holds their unique value."""
    if not ids:
        return
    done = "its fields were replaced" if on_conflict == "replace" else "nothing was added for it"
    if len(ids) == 1:
        session.err.note(f"{clean_line(ids[0])} exists and holds the unique value; {done}")
        return
    done = done.replace("its", "their").replace("for it", "for them")
    shown = ", ".join(map(clean_line, ids[:EXISTING_SHOWN]))
    more = " …" if len(ids) > EXISTING_SHOWN else ""
    session.err.note(f"{len(ids):,} jobs exist and hold the unique values ({shown}{more}); {done}")
