"""What is shown of a hook."""

from __future__ import annotations

from queuectl_core.domain.hooks import QUEUE, HookInfo, delivery_prefix, masked
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_duration, format_time

from .columns import BOTH, Cell, Column, Place
from .format import cli, exact_age, short, variables


def target(info: HookInfo) -> str:
    """Where it delivers: the masked URL, or the command."""
    import shlex

    hook = info.hook
    if hook.url is not None:
        return clean_line(masked(hook.url))
    return clean_line(shlex.join(hook.job["command"]))


def short_target(info: HookInfo, limit: int) -> str:
    """The beginning of it: a command may have 100 KB."""
    return short(target(info), limit)


def hook_state(info: HookInfo) -> str:
    """``paused`` or ``active``."""
    return "active" if info.hook.paused_at is None else "paused"


def pause_text(info: HookInfo, now: float) -> str:
    """Who paused it, when and why; empty: it is not paused."""
    hook = info.hook
    if hook.paused_at is None:
        return ""
    text = f"by {hook.paused_by}" if hook.paused_by else "paused"
    ago = "" if hook.paused_at > now else " ago"
    text += f", {exact_age(hook.paused_at, now)}{ago}"
    return clean_line(f"{text}: {hook.paused_reason}" if hook.paused_reason else text)


def digest_text(info: HookInfo) -> str:
    """``60s``; empty: each event is delivered by itself."""
    return format_duration(info.hook.digest) if info.hook.digest else ""


def _name(info: HookInfo, now: float) -> Cell:
    return short(info.hook.name, 64), "name"


def _state(info: HookInfo, now: float) -> Cell:
    state = hook_state(info)
    return state, "caution" if state == "paused" else "idle"


def _pause(info: HookInfo, now: float) -> Cell:
    return short(pause_text(info, now), 300), "caution"


def _events(info: HookInfo, now: float) -> Cell:
    return " ".join(info.hook.events), "text"


def _queue(info: HookInfo, now: float) -> Cell:
    return info.hook.queue or "", "text"


def _waiting(info: HookInfo, now: float) -> Cell:
    return f"{info.waiting:,}", "waiting" if info.waiting else "muted"


def _waiting_words(info: HookInfo, now: float) -> str:
    if not info.waiting:
        return "nothing"
    events = "an event" if info.waiting == 1 else f"{info.waiting:,} events"
    due = info.due_at
    if due is None:
        return events
    return f"{events}, sent {exact_age(due, now)}" if due > now else f"{events}, due"


def _deliveries(info: HookInfo, now: float) -> str:
    """The command that lists the deliveries."""
    return cli("list", "--queue", QUEUE, "--search", delivery_prefix(clean_line(info.hook.name)))


def env_text(info: HookInfo, *, show: bool = False) -> str:
    """The variables that were given with it, masked unless ``show``."""
    return variables(info.hook.env, show=show)


def _signed(info: HookInfo, now: float) -> str:
    if info.hook.url is None:
        return ""
    path = info.hook.secret_file
    return "no" if path is None else f"with the key in {clean_line(path)}"


HOOK_COLUMNS: tuple[Column[HookInfo], ...] = (
    Column("name", "", _name, terminal=Place(limit=28), console=Place(10, flex=1)),
    Column("name", "pipe", value=lambda h, _: clean_line(h.hook.name)),
    Column("state", BOTH, _state, console=Place(7, rank=1)),
    Column("paused", "", _pause, terminal=Place(flex=1, room=60, keep=True)),
    Column(
        "events",
        "pipe",
        _events,
        terminal=Place(flex=1, room=70),
        console=Place(14, rank=2, flex=2),
    ),
    Column("queue", "pipe", _queue, terminal=Place(room=100), console=Place(8, rank=5)),
    Column(
        "digest",
        "pipe",
        value=lambda h, _: digest_text(h),
        right=True,
        terminal=Place(room=100),
        console=Place(7, rank=6),
    ),
    Column("waiting", "", _waiting, right=True, terminal=Place(room=60), console=Place(7, rank=4)),
    Column("waiting", "pipe", value=lambda h, _: str(h.waiting)),
    Column(
        "target",
        "",
        value=lambda h, _: short_target(h, 300),
        terminal=Place(flex=2),
        console=Place(12, rank=3, flex=3),
    ),
    Column("target", "pipe", value=lambda h, _: target(h)),
    Column("paused_by", "pipe", value=lambda h, _: clean_line(h.hook.paused_by or "")),
    Column("paused_reason", "pipe", value=lambda h, _: clean_line(h.hook.paused_reason or "")),
    # One hook.
    Column("name", "show", _name),
    Column("state", "show", _state),
    Column("paused", "show", value=pause_text),
    Column("events", "show", _events),
    Column("queue", "show", value=lambda h, _: h.hook.queue or "all"),
    Column("target", "show", value=lambda h, _: target(h)),
    Column("signed", "show", value=_signed),
    Column("digest", "show", value=lambda h, _: digest_text(h) or "none"),
    Column("waiting", "show", value=_waiting_words),
    Column("deliveries", "show", value=_deliveries),
    Column("cwd", "show", value=lambda h, _: clean_line(h.hook.job["cwd"])),
    Column("env", "show", value=lambda h, _: env_text(h)),
    Column("attempts", "show", value=lambda h, _: str(max(1, h.hook.job["max_retries"]))),
    Column("timeout", "show", value=lambda h, _: format_duration(h.hook.job["timeout_seconds"])),
    Column("priority", "show", value=lambda h, _: str(h.hook.job["priority"])),
    Column("created", "show", value=lambda h, _: f"{format_time(h.hook.created_at)}"),
)
"""Tables: ``terminal``, ``pipe`` and ``console``; and the fields of one hook: ``show``."""
