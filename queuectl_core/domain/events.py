"""Events: who did what, and when. The store keeps them; see :class:`EventKind`.

What attempts did is not stored as events: it is read from the attempts
(:mod:`queuectl_core.operations.events`). Every verb that changes something loads this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from .model import Outcome
from .times import format_time


class EventKind(StrEnum):
    """Kinds of events."""

    ENQUEUED = "job.enqueued"
    STARTED = "job.started"
    COMPLETED = "job.completed"
    FAILED = "job.failed"
    DEAD = "job.dead"
    CANCELLED = "job.cancelled"
    RETRIED = "job.retried"
    REMOVED = "job.removed"
    EDITED = "job.edited"
    HELD = "job.held"
    RELEASED = "job.released"
    QUEUE_PAUSED = "queue.paused"
    QUEUE_RESUMED = "queue.resumed"
    QUEUE_CHANGED = "queue.changed"
    SCHEDULE_FIRED = "schedule.fired"
    SCHEDULE_SKIPPED = "schedule.skipped"
    SCHEDULE_MISSED = "schedule.missed"
    SCHEDULE_CHANGED = "schedule.changed"
    WORKER_STARTED = "worker.started"
    WORKER_STOPPED = "worker.stopped"
    WORKER_LOST = "worker.lost"
    CONFIG_CHANGED = "config.changed"
    HOOK_CHANGED = "hook.changed"


OF_ATTEMPTS = frozenset(
    (EventKind.STARTED, EventKind.COMPLETED, EventKind.FAILED, EventKind.DEAD, EventKind.CANCELLED)
)
"""Kinds that attempts have. People cancel jobs too, so that kind is also stored."""


def end_kind(outcome: Outcome, *, made_dead: bool) -> EventKind:
    """The kind of the end of an attempt. One that crashed, or that a stopping worker ended, is
    ``job.failed``; its outcome says which."""
    if made_dead:
        return EventKind.DEAD
    if outcome is Outcome.COMPLETED:
        return EventKind.COMPLETED
    return EventKind.CANCELLED if outcome is Outcome.CANCELLED else EventKind.FAILED


NAMED = {
    "queue": "queue",
    "schedule": "schedule",
    "worker": "supervisor",
    "config": "key",
    "hook": "hook",
}
"""How ``detail`` calls the name of what an event is about, by the first word of its kind."""


class Event:
    """One event. (Making a NamedTuple takes longer, and every verb loads this module.)"""

    __slots__ = (
        *("seq", "at", "kind", "actor", "via", "job", "job_id", "last_job", "name", "count"),
        "detail",
    )

    def __init__(
        self,
        kind: str,
        at: float,
        *,
        seq: int | None = None,
        actor: str = "",
        via: str = "",
        job: int | None = None,
        job_id: str | None = None,
        last_job: int | None = None,
        name: str | None = None,
        count: int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """``kind``: an :class:`EventKind`, or what somebody else has written.

        ``seq``: its key; None if it was read from an attempt. ``at``: epoch seconds. ``actor``:
        user@host. ``via``: the front end (``cli``, ``tui``, ``dashboard``, ``python``), or
        ``worker``, ``schedule``, ``hook``. ``job``, ``job_id``: the key and the id of the job.
        ``last_job``: for a bulk enqueue, whose first key is ``job``. ``name``: the queue,
        schedule, hook, setting or supervisor that it is about. ``count``: how many jobs a bulk
        verb has changed."""
        self.seq = seq
        self.at = at
        self.kind = kind
        self.actor = actor
        self.via = via
        self.job = job
        self.job_id = job_id
        self.last_job = last_job
        self.name = name
        self.count = count
        self.detail = detail or {}

    @property
    def key(self) -> tuple[int, int, int]:
        """Identifies the event, and orders those of one moment."""
        if self.seq is not None:
            return 0, self.seq, 0
        place = 1 if self.kind is EventKind.STARTED else 2
        return place, self.job or 0, int(self.detail.get("attempt", 0))

    @property
    def identity(self) -> tuple[str, int, int, int]:
        """Identifies the event, also beside the others of the same attempt."""
        return str(self.kind), *self.key

    def __repr__(self) -> str:
        return f"Event({self.to_json()})"

    def all_detail(self) -> dict[str, Any]:
        """``detail``, with the name and the count."""
        found: dict[str, Any] = {}
        if self.name is not None:
            found[NAMED.get(self.kind.partition(".")[0], "name")] = self.name
        if self.count is not None:
            found["count"] = self.count
        return found | dict(self.detail)

    def to_json(self) -> dict[str, Any]:
        """The event as ``events --json`` prints it."""
        return {
            "seq": self.seq,
            "at": format_time(self.at),
            "kind": str(self.kind),
            "actor": self.actor,
            "via": self.via,
            "job": self.job_id,
            "detail": self.all_detail(),
        }
