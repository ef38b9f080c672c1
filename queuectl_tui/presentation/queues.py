"""What is shown of a queue: its jobs, its limits, and whether it is paused."""

from __future__ import annotations

from queuectl_core.domain.model import QueueInfo, QueueSettings, State, format_rate
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_duration, format_time

from .columns import BOTH, Cell, Column, Place
from .format import ago, exact_age, short


def queue_state(queue: QueueInfo, now: float) -> str:
    """``paused`` or ``open``."""
    return "paused" if queue.settings.paused(now) else "open"


def pause_text(settings: QueueSettings, now: float) -> str:
    """Who paused a queue, why, and until when; empty: it is not paused."""
    if not settings.paused(now):
        return ""
    text = f"by {settings.paused_by}" if settings.paused_by else "paused"
    if settings.paused_until is not None:
        text += f", ends {exact_age(settings.paused_until, now)}"
    if settings.paused_reason:
        text += f": {settings.paused_reason}"
    return clean_line(text)


def limits_text(settings: QueueSettings) -> str:
    """The limits in words; empty: there are none."""
    rate = format_rate(settings.rate)
    found = (
        (settings.limit, "limit"),
        (settings.per_host, "per-host"),
        (settings.per_key, "per-key"),
        (rate, "rate"),
    )
    return ", ".join(f"{name} {value}" for value, name in found if value is not None)


def _name(queue: QueueInfo, now: float) -> Cell:
    return short(queue.settings.name, 128), "name"


def _state(queue: QueueInfo, now: float) -> Cell:
    state = queue_state(queue, now)
    return state, "caution" if state == "paused" else "idle"


def _running(queue: QueueInfo, now: float) -> Cell:
    """Attempts that run, of how many may: ``2/4``."""
    limit = queue.settings.limit
    full = limit is not None and queue.running >= limit
    of = "" if limit is None else f"/{limit}"
    return f"{queue.running}{of}", "accent" if full else "text"


def _waiting(queue: QueueInfo, now: float) -> Cell:
    return f"{queue.waiting:,}", "waiting" if queue.waiting else "muted"


def _oldest(queue: QueueInfo, now: float) -> Cell:
    since = queue.oldest_due_at
    return "" if since is None else ago(now - since).replace("now", "0s"), "muted"


def _oldest_seconds(queue: QueueInfo, now: float) -> str:
    since = queue.oldest_due_at
    return "" if since is None else f"{max(0.0, now - since):.3f}"


def _rate(queue: QueueInfo, now: float) -> Cell:
    return format_rate(queue.settings.rate) or "", "text"


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _workers(queue: QueueInfo, now: float) -> Cell:
    return str(queue.workers), "text" if queue.workers or not queue.waiting else "caution"


def _pause(queue: QueueInfo, now: float) -> Cell:
    return pause_text(queue.settings, now), "caution"


def _oldest_words(queue: QueueInfo, now: float) -> str:
    since = queue.oldest_due_at
    return "" if since is None else f"due for {format_duration(max(0.0, now - since))}"


def _jobs(queue: QueueInfo, now: float) -> str:
    found = ((queue.counts.get(state, 0), state.value) for state in State)
    return ", ".join(f"{count:,} {word}" for count, word in found if count) or "none"


def _until(queue: QueueInfo) -> str:
    until = queue.settings.paused_until
    return f"{format_time(until)}" if until is not None else ""


QUEUE_COLUMNS: tuple[Column[QueueInfo], ...] = (
    Column("name", "", _name, terminal=Place(limit=40), console=Place(10, flex=2)),
    Column("name", "pipe", value=lambda q, _: clean_line(q.settings.name)),
    Column("state", BOTH, _state, console=Place(7, rank=1)),
    Column("running", "terminal", _running, right=True, console=Place(7, rank=2)),
    Column("running", "pipe", value=lambda q, _: str(q.running)),
    Column("waiting", "terminal", _waiting, right=True, console=Place(7, rank=3)),
    Column("waiting", "pipe", value=lambda q, _: str(q.waiting)),
    Column("oldest", "", _oldest, right=True, terminal=Place(room=60), console=Place(6, rank=4)),
    Column("oldest_waiting_seconds", "pipe", value=_oldest_seconds),
    Column("limit", "pipe", value=lambda q, _: _number(q.settings.limit)),
    Column(
        "per-host",
        "",
        value=lambda q, _: _number(q.settings.per_host),
        right=True,
        terminal=Place(room=90),
        console=Place(8, rank=7),
    ),
    Column("per_host", "pipe", value=lambda q, _: _number(q.settings.per_host)),
    Column(
        "per-key",
        "",
        value=lambda q, _: _number(q.settings.per_key),
        right=True,
        terminal=Place(room=90),
        console=Place(7, rank=8),
    ),
    Column("per_key", "pipe", value=lambda q, _: _number(q.settings.per_key)),
    Column("rate", BOTH, _rate, right=True, console=Place(7, rank=5)),
    Column("workers", BOTH, _workers, right=True, console=Place(7, rank=6)),
    Column(
        "paused", "", _pause, terminal=Place(flex=1, room=70), console=Place(12, rank=3, flex=3)
    ),
    Column("paused_by", "pipe", value=lambda q, now: _if_paused(q, now, q.settings.paused_by)),
    Column("paused_until", "pipe", value=lambda q, now: _if_paused(q, now, _until(q))),
    Column(
        "paused_reason", "pipe", value=lambda q, now: _if_paused(q, now, q.settings.paused_reason)
    ),
    # One queue.
    Column("name", "show", _name),
    Column("state", "show", _state),
    Column("paused", "show", _pause),
    Column("running", "show", _running),
    Column("waiting", "show", _waiting),
    Column("oldest", "show", value=_oldest_words),
    Column("limits", "show", value=lambda q, _: limits_text(q.settings) or "none"),
    Column("workers", "show", _workers),
    Column("jobs", "show", value=_jobs),
)
"""Tables: ``terminal``, ``pipe`` and ``console``; and the fields of one queue: ``show``."""


def _if_paused(queue: QueueInfo, now: float, text: str | None) -> str:
    return clean_line(text or "") if queue.settings.paused(now) else ""
