"""The notices that a supervisor gives while it runs."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from .model import Attempt, Job, State


class NoticeKind(StrEnum):
    """Kinds of notice."""

    UP = "up"
    """Workers are ready; ``message`` lists them."""
    STARTED = "started"
    """``job`` was started."""
    ENDED = "ended"
    """An attempt of ``job`` ended; ``attempt`` and the job's new ``state`` say how."""
    ADOPTED = "adopted"
    """``job`` was running under a supervisor that died, and continues under this one."""
    RECOVERED = "recovered"
    """``job`` belonged to a supervisor that died, and its attempt was settled."""
    ATTEMPT = "attempt"
    """The attempt of ``job`` has a new state, which ``message`` names. Only if asked for."""
    STOPPING = "stopping"
    """No new jobs are taken. ``message`` says what the supervisor waits for."""
    TROUBLE = "trouble"
    """Something is wrong, and the supervisor handles it. ``message`` says what."""


class Notice(NamedTuple):
    """Something that happened in a supervisor."""

    kind: NoticeKind
    message: str = ""
    job: Job | None = None
    attempt: Attempt | None = None
    state: State | None = None
    retry_at: float | None = None
    """When a failed job is due again (epoch seconds)."""
    worker: str = ""
    """The worker that runs ``job`` now."""


class Summary(NamedTuple):
    """What a supervisor did from start to end."""

    done: int
    """Attempts that completed."""
    failed: int
    """Attempts that failed."""
    seconds: float
