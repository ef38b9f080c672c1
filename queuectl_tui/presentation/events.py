"""What is shown of an event: one line that says who did what."""

from __future__ import annotations

from typing import Any

from queuectl_core.domain.events import Event, EventKind
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time

from .columns import BOTH, Cell, Column, Place
from .format import clock_time, short

KIND_ROLES: dict[str, str] = {
    EventKind.STARTED: "busy",
    EventKind.COMPLETED: "good",
    EventKind.FAILED: "warn",
    EventKind.DEAD: "bad",
    EventKind.CANCELLED: "muted",
    EventKind.REMOVED: "caution",
    EventKind.HELD: "caution",
    EventKind.QUEUE_PAUSED: "caution",
    EventKind.SCHEDULE_SKIPPED: "caution",
    EventKind.SCHEDULE_MISSED: "warn",
    EventKind.WORKER_LOST: "bad",
}
"""The role of a kind's name."""


def subject(event: Event) -> str:
    """What the event is about: the id of a job, a queue, a schedule, a setting; or how many
    jobs."""
    if event.job_id is not None:
        return clean_line(event.job_id)
    if event.count is not None and event.kind != EventKind.SCHEDULE_MISSED:
        return f"{event.count:,} job{'s' * (event.count != 1)}"
    return clean_line(event.name or "")


def event_words(event: Event) -> str:
    """The rest of what is known of it, in words on one line."""
    detail = event.detail
    if "attempt" in detail:
        return _attempt_words(detail)
    if event.kind is EventKind.CONFIG_CHANGED:
        old, new = (detail.get(key) for key in ("old", "new"))
        return " → ".join("default" if one is None else _value(one) for one in (old, new))
    words: list[str] = []
    if event.kind == EventKind.SCHEDULE_MISSED and event.count is not None:
        more = "" if detail.get("complete", True) else "more than "
        words.append(f"{more}{event.count:,} run{'s' * (event.count != 1)}")
        detail = {name: value for name, value in detail.items() if name != "complete"}
    rest = {}
    for name, value in detail.items():
        if name == "changes" and isinstance(value, dict):
            words += [f"{key} {_value(new)}" for key, new in value.items()]
        elif name == "filter" and isinstance(value, dict):
            words.append(" ".join(f"{key}={_value(one)}" for key, one in value.items()) or "all")
        elif value is True:
            words.append(name)
        elif value is None and name == "reason":
            continue  # none was given
        elif name != "before":
            rest[name] = value
    if event.job_id is not None and event.name is not None:
        words.append(event.name)
    words += [f"{name} {_value(value)}" for name, value in rest.items()]
    return clean_line(", ".join(words), 2000)


def _attempt_words(detail: Any) -> str:
    words = f"attempt {detail['attempt']}"
    outcome = detail.get("outcome")
    if outcome not in (None, "completed", "failed", "cancelled"):
        words += f", {outcome}"
    if "worker" in detail and outcome is None:
        words += f" by {detail['worker']}"
    reason = detail.get("reason")
    return clean_line(f"{words}: {reason}" if reason else words, 2000)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def who(event: Event) -> str:
    """Who did it, and by which front end."""
    return clean_line(" ".join(filter(None, (event.actor, event.via))))


def _at(event: Event, now: float) -> Cell:
    return clock_time(event.at, now), "muted"


def _clock(event: Event, now: float) -> Cell:
    """The time without its zone, for a screen."""
    return clock_time(event.at, now).rpartition(" ")[0], "muted"


def _kind(event: Event, now: float) -> Cell:
    return clean_line(event.kind), KIND_ROLES.get(event.kind, "text")


def _subject(event: Event, now: float) -> Cell:
    return short(subject(event), 128), "name"


def _words(event: Event, now: float) -> Cell:
    return event_words(event), "text"


def _who(event: Event, now: float) -> Cell:
    return who(event), "muted"


EVENT_COLUMNS: tuple[Column[Event], ...] = (
    Column("time", "terminal", _at),
    Column("time", "", _clock, console=Place(8), page=Place()),
    Column("time", "pipe", value=lambda e, _: format_time(e.at) or ""),
    Column("kind", f"{BOTH} page", _kind, console=Place(16)),
    Column(
        "about",
        "page",
        _subject,
        terminal=Place(limit=40, wrap=True),
        console=Place(10, flex=1),
    ),
    Column("job", "pipe", value=lambda e, _: clean_line(e.job_id or "")),
    Column("who", "", _who, terminal=Place(limit=30, room=70), page=Place()),
    Column("actor", "pipe", value=lambda e, _: clean_line(e.actor)),
    Column("via", "pipe", value=lambda e, _: clean_line(e.via)),
    Column(
        "detail",
        "page",
        _words,
        terminal=Place(flex=1, room=50),
        console=Place(10, flex=3, rank=1),
    ),
    Column("about", "pipe", value=lambda e, _: subject(e) if e.job_id is None else ""),
    Column("detail", "pipe", value=lambda e, _: event_words(e)),
    Column("who", "", _who, console=Place(12, flex=1, rank=2)),
)
"""Tables: ``terminal``, ``pipe``, ``console`` and ``page`` (of the dashboard)."""
