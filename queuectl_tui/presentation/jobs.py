"""What is shown of a job."""

from __future__ import annotations

from collections.abc import Mapping

from queuectl_core.domain.model import Job, State
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_bytes, format_duration, format_time

from .columns import Cell, Column, number, state_cell
from .format import ago, clock_time, command_line, command_text, exact_age, lasting, short


def times_tried(job: Job) -> str:
    """Attempts of those allowed, the one that runs included: ``1/3``."""
    return f"{job.tries}/{max(1, job.max_retries)}"


def died_at(job: Job) -> float:
    """When a dead job died."""
    return job.finished_at or job.updated_at


def _when(job: Job, now: float) -> Cell:
    if job.state is State.PROCESSING and job.started_at is not None:
        return lasting(now - job.started_at), "busy"
    if job.state in (State.PENDING, State.FAILED) and job.run_at > now + 1:
        return ago(now - job.run_at), "muted"
    return ago(now - job.updated_at), "muted"


def _error(job: Job, now: float) -> Cell:
    if job.state is State.COMPLETED or not job.last_error:
        return "", "muted"
    return short(job.last_error), {State.DEAD: "bad", State.FAILED: "warn"}.get(job.state, "muted")


def _exit(job: Job, now: float) -> Cell:
    failed = job.exit_code and job.state in (State.DEAD, State.FAILED)
    return number(job.exit_code), "warn" if failed else "muted"


def _why(job: Job, now: float) -> Cell:
    waits = job.state in (State.PENDING, State.FAILED) and job.run_at > now
    why = f"due {exact_age(job.run_at, now)}" if waits else ""
    if job.last_error and job.state in (State.FAILED, State.DEAD):
        why = clean_line(job.last_error, 200) + (f" ({why})" if why else "")
    return why, "error" if job.state is State.DEAD else "warn"


JobColumn = Column[Job]

ID = JobColumn("id", lambda j, _: (short(j.id, 128), "name"), sort="id")
STATE = JobColumn("state", lambda j, _: state_cell(j.state.value), sort="state")
TRIES = JobColumn("tries", lambda j, _: (times_tried(j), "minor"), right=True, sort="attempts")
PRIORITY = JobColumn(
    "prio",
    lambda j, _: (str(j.priority) if j.priority else "", "minor"),
    right=True,
    sort="priority",
)
QUEUE = JobColumn("queue", lambda j, _: (short(j.queue, 128), "muted"), sort="queue")
COMMAND = JobColumn("command", lambda j, _: (command_line(j.command), "text"), sort="command")
WHEN = JobColumn("when", _when, right=True, sort="updated_at")
"""How long it has run, when it is due, or when it last changed."""
EXIT = JobColumn("exit", _exit, right=True, sort="exit_code")
EXIT_CODE = JobColumn("exit", lambda j, _: (number(j.exit_code), "text"), right=True)
"""The same in a list of dead jobs only, where every one has failed."""
ERROR = JobColumn("error", _error, sort="last_error")
WHY = JobColumn("why", _why)
"""Why it does not run: the error, and when it is due."""
AGE = JobColumn("age", lambda j, now: (exact_age(j.created_at, now), "muted"), right=True)
DIED = JobColumn(
    "died",
    lambda j, now: (f"{format_duration(max(0.0, now - died_at(j)))} ago", "muted"),
    right=True,
)
DEATH_REASON = JobColumn("reason", lambda j, _: (clean_line(j.last_error or "", 200), "error"))


def _timeout(job: Job) -> str:
    return format_duration(job.timeout_seconds) if job.timeout_seconds else "none"


def _limits(job: Job) -> str:
    found = (
        (job.nice, f"nice {job.nice}"),
        (job.memory_limit, f"memory {format_bytes(job.memory_limit)}"),
        (job.cpu_seconds, f"CPU {format_duration(job.cpu_seconds)}"),
        (job.output_limit, f"output {format_bytes(job.output_limit)}"),
    )
    return ", ".join(text for limit, text in found if limit)


def all_fields(job: Job, env: Mapping[str, str], now: float) -> list[tuple[str, str, str]]:
    """(name, text, role) of every field that has a value, with exact times."""

    def moment(when: float | None) -> str:
        if when is None:
            return ""
        away = exact_age(when, now)
        return f"{format_time(when)}  ({away if away.startswith('in ') else f'{away} ago'})"

    rows = [
        ("id", clean_line(job.id), "name"),
        ("state", *state_cell(job.state.value)),
        ("command", clean_line(command_text(job.command)), "text"),
        ("last error", clean_line(job.last_error or ""), "error"),
        ("exit code", number(job.exit_code), "text"),
        ("attempts", f"{job.attempts} of {max(1, job.max_retries)}", "text"),
        ("crashes", str(job.crashes) if job.crashes else "", "error"),
        ("backoff base", f"{job.backoff_base:g}", "text"),
        ("priority", str(job.priority), "text"),
        ("queue", clean_line(job.queue), "text"),
        ("timeout", _timeout(job), "text"),
        ("cwd", clean_line(job.cwd), "text"),
        ("env", " ".join(clean_line(f"{k}={v}") for k, v in env.items()), "text"),
        ("limits", _limits(job), "text"),
        ("worker", clean_line(job.worker or ""), "text"),
        ("created", moment(job.created_at), "text"),
        ("due", moment(job.run_at), "text"),
        ("started", moment(job.started_at), "text"),
        ("finished", moment(job.finished_at), "text"),
        ("updated", moment(job.updated_at), "text"),
    ]
    return [row for row in rows if row[1]]


def short_fields(job: Job, now: float) -> list[tuple[str, str]]:
    """(name, text) of the fields whose values are short, with times that change rarely."""

    def moment(when: float | None) -> str:
        if when is None:
            return "-"
        since = ago(now - when)
        at = clock_time(when, now)
        return f"{at}  {since if since.startswith(('in', 'now')) else since + ' ago'}"

    return [
        ("tries", f"{job.tries} of {max(1, job.max_retries)}"),
        ("crashes", str(job.crashes)),
        ("exit", number(job.exit_code) or "-"),
        ("priority", str(job.priority)),
        ("queue", short(job.queue)),
        ("timeout", _timeout(job)),
        ("backoff", f"{job.backoff_base:g}^n s"),
        ("worker", short(job.worker) or "-"),
        ("created", moment(job.created_at)),
        ("due", moment(job.run_at)),
        ("started", moment(job.started_at)),
        ("finished", moment(job.finished_at)),
    ]
