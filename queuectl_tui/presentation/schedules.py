"""What is shown of a schedule: its times, its last run, and why a run was skipped."""

from __future__ import annotations

from typing import Any

from queuectl_core.domain.model import plain_number
from queuectl_core.domain.schedule import LATE, Schedule, ScheduleInfo, format_every
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time
from queuectl_core.operations.schedules import Shown

from .columns import BOTH, STATE_ROLES, Cell, Column, Place
from .format import ago, command_text, exact_age, short, variables


def schedule_state(info: ScheduleInfo) -> str:
    """``paused``, ``never`` (it has no more times) or ``active``."""
    if info.schedule.paused:
        return "paused"
    return "active" if info.schedule.next_at is not None else "never"


def pause_text(schedule: Schedule) -> str:
    """Who paused it, and why; empty: it is not paused."""
    if not schedule.paused:
        return ""
    text = f"by {schedule.paused_by}" if schedule.paused_by else "paused"
    return clean_line(f"{text}: {schedule.paused_reason}" if schedule.paused_reason else text)


def skip_text(info: ScheduleInfo, now: float) -> str:
    """The last time that was skipped or missed, and why, unless a later time has run since."""
    one = info.schedule
    if one.skipped_at is None or (one.last_at is not None and one.last_at > one.skipped_at):
        return ""
    when = "" if one.skipped_at > now else f"{exact_age(one.skipped_at, now)} ago: "
    return clean_line(f"{when}{one.skipped_reason or 'skipped'}")


def command_of(schedule: Schedule) -> str:
    """The command of its job."""
    command = schedule.job.get("command", "")
    return command_text(tuple(command) if isinstance(command, list) else command)


def local_time(at: float, zone: str) -> str:
    """A time in a zone: ``2026-11-26 10:30 CET``. Empty if this host does not know the zone."""
    from datetime import UTC, datetime

    from queuectl_core.domain.cron import zone as find_zone
    from queuectl_core.domain.errors import InvalidInput

    try:
        here = datetime.fromtimestamp(at, UTC).astimezone(find_zone(zone).info)
    except InvalidInput:
        return ""
    seconds = ":%S" if here.second else ""
    return clean_line(here.strftime(f"%a %Y-%m-%d %H:%M{seconds} %Z"))


def _name(info: ScheduleInfo, now: float) -> Cell:
    return short(info.schedule.name, 100), "name"


def _state(info: ScheduleInfo, now: float) -> Cell:
    state = schedule_state(info)
    return state, {"paused": "caution", "never": "caution"}.get(state, "idle")


def _next(info: ScheduleInfo, now: float) -> Cell:
    one = info.schedule
    if one.paused:
        return "paused", "caution"
    due = enqueued_at(one)
    if due is None:
        return "never", "caution"
    if is_overdue(info, now):
        return "overdue", "bad"
    return (exact_age(due, now) if due > now else "now"), "text"


def enqueued_at(schedule: Schedule) -> float | None:
    """When it enqueues its next run: the nominal time and the jitter."""
    return schedule.next_at if schedule.due_at is None else schedule.due_at


def next_words(one: Schedule, now: float) -> str:
    """When it enqueues its next run, and for which time; empty: it enqueues none."""
    due = enqueued_at(one)
    if one.paused or due is None:
        return ""
    passed = "" if due > now else " ago"
    nominal = "" if due == one.next_at else f", for the time {_time(one.next_at)}"
    return f"{_time(due)} ({exact_age(due, now)}{passed}){nominal}"


def is_overdue(info: ScheduleInfo, now: float) -> bool:
    """Whether nobody fires it."""
    due = info.schedule.due_at
    return not info.schedule.paused and due is not None and due < now - LATE


def _last(info: ScheduleInfo, now: float) -> Cell:
    at = info.schedule.last_at
    if info.last is not None:
        at = info.last.started_at or at
    return "" if at is None else ago(now - at), "muted"


def _outcome(info: ScheduleInfo, now: float) -> Cell:
    if info.last is None:
        return "", "muted"
    return info.last.state.value, STATE_ROLES.get(info.last.state.value, "text")


def _skipped(info: ScheduleInfo, now: float) -> Cell:
    return skip_text(info, now), "caution"


def _command(info: ScheduleInfo, now: float) -> Cell:
    return short(command_of(info.schedule), 300), "text"


def _time(at: float | None) -> str:
    return format_time(at) or ""


SCHEDULE_COLUMNS: tuple[Column[ScheduleInfo], ...] = (
    Column("name", "", _name, terminal=Place(limit=28), console=Place(10, flex=2)),
    Column("name", "pipe", value=lambda s, _: clean_line(s.schedule.name)),
    Column("state", "pipe", _state),
    Column(
        "when",
        BOTH,
        value=lambda s, _: clean_line(s.schedule.when, 100),
        console=Place(12, rank=4, flex=1),
    ),
    Column("tz", "pipe", value=lambda s, _: clean_line(s.schedule.tz, 60), terminal=Place(room=90)),
    Column("next", "", _next, right=True, terminal=Place(), console=Place(10, rank=1)),
    Column(
        "next_at", "pipe", value=lambda s, _: "" if s.schedule.paused else _time(s.schedule.next_at)
    ),
    Column("last", "", _last, right=True, terminal=Place(room=60), console=Place(5, rank=3)),
    Column("last_at", "pipe", value=lambda s, _: _time(s.schedule.last_at)),
    Column("outcome", BOTH, _outcome, console=Place(10, rank=2)),
    Column("last_job", "pipe", value=lambda s, _: "" if s.last is None else clean_line(s.last.id)),
    Column(
        "skipped",
        "",
        _skipped,
        terminal=Place(flex=1, room=80, keep=True),
        console=Place(12, rank=5, flex=3),
    ),
    Column("skipped_at", "pipe", value=lambda s, _: _time(s.schedule.skipped_at)),
    Column(
        "skipped_reason", "pipe", value=lambda s, _: clean_line(s.schedule.skipped_reason or "")
    ),
    Column(
        "command",
        "",
        _command,
        terminal=Place(flex=1, room=110),
        console=Place(14, rank=6, flex=3),
    ),
    Column("command", "pipe", value=lambda s, _: clean_line(command_of(s.schedule))),
    Column(
        "due_at", "pipe", value=lambda s, _: "" if s.schedule.paused else _time(s.schedule.due_at)
    ),
)


def schedule_fields(
    info: ScheduleInfo, now: float, *, show_env: bool = False
) -> list[tuple[str, str, str]]:
    """(name, text, role) of everything about one schedule except its times and runs. Empty texts
    are left out. Values of ``env`` are masked unless ``show_env``."""
    one, last = info.schedule, info.last
    state, state_role = _state(info, now)
    job = [
        f"{name}: {_value(name, value, show_env=show_env)}"
        for name, value in one.job.items()
        if name != "command"
    ]
    found = [
        ("name", clean_line(one.name), "name"),
        ("state", state, state_role),
        ("paused", pause_text(one), "caution"),
        ("when", clean_line(one.when), "text"),
        ("time zone", clean_line(one.tz), "text"),
        ("next", next_words(one, now), "text"),
        ("jitter", format_every(one.jitter) if one.jitter else "", "text"),
        ("missed", f"{one.missed}, within {format_every(one.missed_within)}", "text"),
        ("overlap", one.overlap, "text"),
        ("command", clean_line(command_of(one)), "text"),
        ("job", clean_line("; ".join(job)), "muted"),
        ("last time", _time(one.last_at), "text"),
        ("last run", "" if last is None else f"{last.id}: {last.state}", _outcome(info, now)[1]),
        ("last error", "" if last is None else clean_line(last.last_error or ""), "problem"),
        ("last success", _time(info.success_at), "text"),
        ("last skipped", _skip_words(one), "caution"),
        ("created", _time(one.created_at), "muted"),
    ]
    return [(name, text, role) for name, text, role in found if text]


def times_and_runs(shown: Shown, now: float) -> list[list[Cell]]:
    """The next times in the zone and in UTC, and the last runs, as lines of cells."""
    lines: list[list[Cell]] = []
    if shown.trouble:
        lines += [[], [(clean_line(shown.trouble), "bad")]]
    if shown.times:
        later = " if it were resumed now" if shown.info.schedule.paused else ""
        lines += [[], [(f"next times{later}", "strong")]]
        for at in shown.times:
            local = local_time(at, shown.info.schedule.tz)
            lines.append([(f"  {local:<30} ", "text"), (_time(at), "muted")])
    if shown.runs:
        lines += [[], [("last runs", "strong")]]
        for job in shown.runs:
            role = STATE_ROLES.get(job.state.value, "text")
            error = short(job.last_error, 200)
            lines.append(
                [
                    (f"  {short(job.id, 128)} ", "name"),
                    (job.state.value, role),
                    (f" {ago(now - (job.started_at or job.created_at))}", "muted"),
                    (f" {error}" if error else "", "problem"),
                ]
            )
    return lines


def shown_json(shown: Shown, *, show_env: bool = False) -> dict[str, Any]:
    """The public JSON of ``schedule show``."""
    zone = shown.info.schedule.tz
    return shown.info.to_json(show_env=show_env) | {
        "next_times": [
            {"at": format_time(at), "local": local_time(at, zone)} for at in shown.times
        ],
        "runs": [job.to_json(show_env=show_env) for job in shown.runs],
    }


def _skip_words(one: Schedule) -> str:
    if one.skipped_at is None:
        return ""
    return f"{_time(one.skipped_at)}: {clean_line(one.skipped_reason or 'skipped')}"


def _value(name: str, value: object, *, show_env: bool) -> str:
    if isinstance(value, dict):  # env, secrets
        return variables(value, show=show_env or name != "env")
    if name == "stdin":
        return f"{len(str(value)):,} characters"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(plain_number(value)) if isinstance(value, float) else str(value)
