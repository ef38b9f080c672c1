"""What a supervisor tells whoever runs it in the foreground, as it happens."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from .model import Attempt, Job, State


class Kind(StrEnum):
    """Kinds of event."""

    UP = "up"
    """Workers are ready; ``message`` lists them."""
    STARTED = "started"
    """``job`` was started."""
    ENDED = "ended"
    """An attempt of ``job`` ended; ``attempt`` and the job's new ``state`` say how."""
    ADOPTED = "adopted"
    """``job`` was running under a supervisor that died, and goes on under this one."""
    RECOVERED = "recovered"
    """``job`` was left by a supervisor that died, and was put back."""
    ATTEMPT = "attempt"
    """The attempt of ``job`` came into another state; ``message`` says which. Only if asked for."""
    STOPPING = "stopping"
    """No new jobs are taken; ``message`` says what is waited for."""
    TROUBLE = "trouble"
    """Something is wrong and being dealt with; ``message`` says what."""


class Event(NamedTuple):
    """One thing that happened in a supervisor."""

    kind: Kind
    message: str = ""
    job: Job | None = None
    attempt: Attempt | None = None
    state: State | None = None
    retry_at: float | None = None
    """When a failed job is due again (epoch seconds)."""
    worker: str = ""
    """Which worker runs ``job`` now."""


class Summary(NamedTuple):
    """What a supervisor did from start to end."""

    done: int
    """Attempts that completed."""
    failed: int
    """Attempts that failed."""
    seconds: float
