"""What is shown of a job. To show something else, add it to :data:`JOB_COLUMNS`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from queuectl_core.domain.admission import Reason
from queuectl_core.domain.lifecycle import FINAL
from queuectl_core.domain.model import Job, State
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_bytes, format_duration, format_time

from .columns import Cell, Column, Place, number, state_cell
from .format import ago, clock_time, command_line, command_text, exact_age, lasting, short
from .progress import progress_line
from .why import own_reason, reason_role, why_cell


def tries(job: Job, now: float) -> Cell:
    """Attempts of those allowed, the one that runs included: ``1/3``."""
    return f"{job.tries}/{max(1, job.max_retries)}", "minor"


def died_at(job: Job) -> float:
    return job.finished_at or job.updated_at


def _when(job: Job, now: float) -> Cell:
    """How long it has run, when it is due, or when it last changed."""
    if job.state is State.PROCESSING and job.started_at is not None:
        return lasting(now - job.started_at), "busy"
    if job.state in (State.PENDING, State.FAILED) and job.run_at > now + 1:
        return ago(now - job.run_at), "muted"
    return ago(now - job.updated_at), "muted"


def _error_role(job: Job) -> str:
    return "bad" if job.state is State.DEAD else "warn"


def _error(job: Job, now: float) -> Cell:
    if job.state is State.COMPLETED or not job.last_error:
        return "", "muted"
    ended = job.state in (State.DEAD, State.FAILED)
    return short(job.last_error), _error_role(job) if ended else "muted"


def short_why(job: Job, now: float, reason: Reason | None = None) -> Cell:
    """Why a job does not run, for a narrow column beside its state and times: the word of the first
    reason, or the last error. ``reason``: the first reason; None: as far as the job tells it."""
    reason = reason or own_reason(job, now)
    if job.state in FINAL or reason is None:
        by_parent = job.state is State.CANCELLED and job.cause
        return (f"parent {short(job.cause, 128)}", "muted") if by_parent else _error(job, now)
    if job.state is State.FAILED and job.last_error:
        if reason is Reason.BACKOFF:  # the state says so, and another column says until when
            return _error(job, now)
        return f"{reason.value}: {short(job.last_error)}", "warn"
    return reason.value, reason_role(reason)


def _exit(job: Job, now: float) -> Cell:
    failed = job.exit_code and job.state in (State.DEAD, State.FAILED)
    return number(job.exit_code), "warn" if failed else "muted"


def _parents(job: Job, now: float) -> str:
    """``a, b; after_failed c``: jobs that must complete come without a word."""
    parts = []
    for kind, ids in job.parents.items():
        shown = ", ".join(ids)
        parts.append(shown if kind == "after" else f"{kind} {shown}")
    return clean_line("; ".join(parts))


def _unique(job: Job, now: float) -> str:
    if job.unique is None:
        return ""
    until = f"for {format_duration(job.unique_for)}" if job.unique_for else job.unique_until
    return f"{clean_line(job.unique)} ({until if job.unique_for else f'until {until}'})"


def _held(job: Job, now: float) -> str:
    if not job.held:
        return ""
    if job.held_at is None:
        return "because of how a parent ended"
    by = f"by {job.held_by}, " if job.held_by else ""
    return clean_line(f"{by}{exact_age(job.held_at, now)} ago")


def _timeout(job: Job, now: float) -> str:
    return format_duration(job.timeout_seconds) if job.timeout_seconds else "none"


def _limits(job: Job, now: float) -> str:
    found = (
        (job.nice, f"nice {job.nice}"),
        (job.memory_limit, f"memory {format_bytes(job.memory_limit)}"),
        (job.cpu_seconds, f"CPU {format_duration(job.cpu_seconds)}"),
        (job.output_limit, f"output {format_bytes(job.output_limit)}"),
    )
    return ", ".join(text for limit, text in found if limit)


def _progress(job: Job, now: float, width: int = 20) -> Cell:
    runs = job.state is State.PROCESSING and job.started_at is not None
    running = max(0.0, now - (job.started_at or now)) if runs else None
    return progress_line(
        job.progress, job.progress_text, running, width
    ), "busy" if runs else "text"


def _stdin(job: Job, now: float) -> str:
    if not job.has_stdin:
        return ""
    if job.stdin is None:
        return "yes"
    shown = short(job.stdin, 200)
    return f"{format_bytes(len(job.stdin.encode()))}: {shown}" if shown else "empty"


def _secrets(job: Job, now: float) -> str:
    return _env(sorted(job.secrets.items()), "  ")


def _result(job: Job, now: float) -> Cell:
    if not job.has_result:
        return "", "text"
    if job.result is None:
        return "yes", "text"
    text = job.result.strip()
    return short(text, RESULT_SHOWN) or "empty", "text"


def _env(variables: Iterable[tuple[str, str]], between: str) -> str:
    return between.join(clean_line(f"{name}={value}") for name, value in variables)


def _exact(when: float | None, now: float) -> str:
    """A time, and how long ago that was."""
    if when is None:
        return ""
    away = exact_age(when, now)
    return f"{format_time(when)}  ({away if when > now else f'{away} ago'})"


def _rough(when: float | None, now: float) -> str:
    """The same in a form that changes rarely."""
    if when is None:
        return ""
    since = ago(now - when)
    at = clock_time(when, now)
    return f"{at}  {since if since.startswith(('in', 'now')) else since + ' ago'}"


def _id(job: Job, now: float) -> Cell:
    return short(job.id, 128), "name"


def _state(job: Job, now: float) -> Cell:
    return state_cell(job.state.value)


def _age(job: Job, now: float) -> Cell:
    return exact_age(job.created_at, now), "muted"


def _died(job: Job, now: float) -> Cell:
    return f"{format_duration(max(0.0, now - died_at(job)))} ago", "muted"


def _command(job: Job, now: float) -> Cell:
    return command_line(job.command), "text"


def _exit_code(job: Job, now: float) -> Cell:
    return number(job.exit_code), "text"


def _priority(job: Job, now: float) -> Cell:
    return str(job.priority) if job.priority else "", "minor"


def _queue(job: Job, now: float) -> Cell:
    return short(job.queue, 128), "muted"


def _whole_command(job: Job, now: float) -> str:
    return clean_line(command_text(job.command))


def _whole_error(job: Job, now: float) -> str:
    return clean_line(job.last_error or "")


RESULT_SHOWN = 2000
"""Characters of a result that are shown of one job."""
LIMITED = Place(limit=40)
WRAPPED = Place(wrap=True)


def _schedule(job: Job) -> str:
    """The schedule that made it, and the nominal time."""
    if job.schedule is None:
        return ""
    at = "" if job.scheduled_at is None else f", {format_time(job.scheduled_at)}"
    return clean_line(f"{job.schedule}{at}", 200)


JOB_COLUMNS: tuple[Column[Job], ...] = (
    # At a terminal and in the console.
    Column("id", "", _id, sort="id", list=LIMITED, dead=LIMITED, console=Place(10, flex=1)),
    Column("state", "list", _state, sort="state", console=Place(10, rank=2)),
    Column("tries", "list dead", tries, right=True, sort="attempts", console=Place(5, rank=4)),
    Column("prio", "", _priority, right=True, list=Place(room=100)),
    Column("queue", "", _queue, list=Place(limit=20, room=80)),
    Column("age", "", _age, right=True, list=Place(room=60)),
    Column("when", "", _when, right=True, sort="updated_at", console=Place(7, rank=3)),
    Column("exit", "dead", _exit_code, right=True),
    Column("died", "", _died, right=True, dead=Place(room=70)),
    Column("command", "", _command, list=Place(flex=3), dead=Place(flex=1)),
    Column("command", "", _command, sort="command", console=Place(14, flex=4)),
    Column("exit", "", _exit, right=True, sort="exit_code", console=Place(4, rank=6)),
    Column("reason", "", lambda j, _: (short(j.last_error, 200), "error"), dead=Place(flex=1)),
    Column("why", "", short_why, sort="last_error", console=Place(18, rank=5, flex=3)),
    Column("prio", "", _priority, right=True, sort="priority", console=Place(4, rank=8)),
    Column("queue", "", _queue, sort="queue", console=Place(9, rank=7)),
    # In a pipe.
    Column("id", "list_pipe dead_pipe", _id),
    Column("state", "list_pipe", _state),
    Column("attempts", "list_pipe dead_pipe", value=lambda j, _: str(j.attempts)),
    Column("max_retries", "list_pipe", value=lambda j, _: str(j.max_retries)),
    Column("priority", "list_pipe", value=lambda j, _: str(j.priority)),
    Column("exit_code", "dead_pipe", _exit_code),
    Column("died_at", "dead_pipe", value=lambda j, _: format_time(died_at(j)) or ""),
    Column("queue", "list_pipe dead_pipe", _queue),
    Column("created_at", "list_pipe", value=lambda j, _: format_time(j.created_at) or ""),
    Column("updated_at", "list_pipe", value=lambda j, _: format_time(j.updated_at) or ""),
    Column("exit_code", "list_pipe", _exit_code),
    Column("command", "list_pipe dead_pipe", value=_whole_command),
    Column("last_error", "list_pipe dead_pipe", value=_whole_error),
    # One job.
    Column("id", "show", _id),
    Column("state", "show", _state),
    Column("command", "show", value=_whole_command),
    Column("command", "", lambda j, now: (_whole_command(j, now), "strong"), page=WRAPPED),
    Column("last error", "show", lambda j, now: (_whole_error(j, now), "error")),
    Column("progress", "show", _progress),
    Column("progress", "", lambda j, now: _progress(j, now, 10), page=WRAPPED),
    Column("result", "show", _result),
    Column("exit code", "show", _exit_code),
    Column("attempts", "show", value=lambda j, _: f"{j.tries} of {max(1, j.max_retries)}"),
    Column("crashes", "show", lambda j, _: (str(j.crashes) if j.crashes else "", "error")),
    Column("backoff base", "show", value=lambda j, _: f"{j.backoff_base:g}"),
    Column("tries", "page", value=lambda j, _: f"{j.tries} of {max(1, j.max_retries)}"),
    Column("crashes", "page", value=lambda j, _: str(j.crashes)),
    Column("exit", "page", _exit_code),
    Column("priority", "show page", value=lambda j, _: str(j.priority)),
    Column("queue", "show page", value=lambda j, _: clean_line(j.queue)),
    Column("key", "show page", value=lambda j, _: clean_line(j.key or "")),
    Column("unique", "show page", value=_unique),
    Column("after", "show", value=_parents),
    Column(
        "on parent failure", "show", value=lambda j, _: j.on_parent_failure if j.parents else ""
    ),
    Column("held", "show page", lambda j, now: (_held(j, now), "caution")),
    Column("schedule", "show page", lambda j, _: (_schedule(j), "text")),
    Column("cause", "show page", lambda j, _: (clean_line(j.cause or ""), "caution")),
    Column("timeout", "show page", value=_timeout),
    Column("backoff", "page", value=lambda j, _: f"{j.backoff_base:g}^n s"),
    Column("cwd", "show", value=lambda j, _: clean_line(j.cwd)),
    Column("env", "show", value=lambda j, _: _env(j.env.items(), " ")),
    Column("stdin", "show", value=_stdin),
    Column("secrets", "show", value=_secrets),
    Column("limits", "show", value=_limits),
    Column("worker", "show page", value=lambda j, _: clean_line(j.worker or "")),
    Column("created", "show", value=lambda j, now: _exact(j.created_at, now)),
    Column("due", "show", value=lambda j, now: _exact(j.run_at, now)),
    Column("started", "show", value=lambda j, now: _exact(j.started_at, now)),
    Column("finished", "show", value=lambda j, now: _exact(j.finished_at, now)),
    Column("updated", "show", value=lambda j, now: _exact(j.updated_at, now)),
    Column("created", "page", value=lambda j, now: _rough(j.created_at, now)),
    Column("due", "page", value=lambda j, now: _rough(j.run_at, now)),
    Column("started", "page", value=lambda j, now: _rough(j.started_at, now)),
    Column("finished", "page", value=lambda j, now: _rough(j.finished_at, now)),
    Column("cwd", "", value=lambda j, _: clean_line(j.cwd), page=WRAPPED),
    Column("env", "", value=lambda j, _: _env(sorted(j.env.items()), "  "), page=WRAPPED),
    Column("secrets", "", value=_secrets, page=WRAPPED),
    Column("stdin", "", value=_stdin, page=WRAPPED),
    Column("result", "", _result, page=WRAPPED),
    Column("error", "", lambda j, now: (_whole_error(j, now), _error_role(j)), page=WRAPPED),
)
"""Tables: ``list`` and ``dead`` (``dlq list``) at a terminal, ``list_pipe`` and ``dead_pipe`` in a
pipe, the ``console``; and the fields of one job: ``show`` at a terminal, the ``page`` of the
console. JSON has the fields of the model."""


def job_columns(waits: Mapping[int, Reason]) -> tuple[Column[Job], ...]:
    """:data:`JOB_COLUMNS`, and the column ``why`` with the first reason of each job that waits.
    ``waits``: the reasons by seq, see :meth:`queuectl_core.queue.Queue.waits`. It may be filled
    after this call. What a job alone tells needs no reason there."""

    def cell(job: Job, now: float) -> Cell:
        return why_cell(job, now, waits.get(job.seq))

    def word(job: Job, now: float) -> str:
        reason = waits.get(job.seq) or own_reason(job, now)
        return "" if reason is None else reason.value

    return (
        *JOB_COLUMNS,
        Column("why", "", cell, list=Place(flex=2, room=70)),
        Column("why", "list_pipe", value=word),
    )
