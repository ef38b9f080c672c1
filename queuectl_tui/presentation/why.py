"""Why a job does not run, in words: the reason in a list, every blocker, and how a job ended."""

from __future__ import annotations

from collections.abc import Mapping

from queuectl_core.domain.admission import Blocker, Reason, Why
from queuectl_core.domain.model import Job, State
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time

from .columns import Cell, Column, Place
from .format import ago, cli, clock_time, exact_age, lasting, plural

REASON_ROLES = {
    Reason.HELD: "caution",
    Reason.QUEUE_PAUSED: "caution",
    Reason.NO_WORKER: "caution",
    Reason.UNCERTAIN: "warn",
    Reason.BACKOFF: "warn",
}
"""Other reasons are ``waiting``."""

READY = "ready"
"""Stands for no reason: these jobs start at once."""


def reason_role(reason: Reason) -> str:
    """The role of a reason's word."""
    return REASON_ROLES.get(reason, "waiting")


def own_reason(job: Job, now: float) -> Reason | None:
    """The first reason, as far as the job alone tells it: nothing is known of its queue, its key
    and the workers."""
    if job.state is State.WAITING:
        return Reason.HELD if job.held else Reason.WAITING_FOR
    if job.run_at > now and job.state in (State.PENDING, State.FAILED):
        return Reason.BACKOFF if job.state is State.FAILED else Reason.NOT_DUE
    return None


def why_cell(job: Job, now: float, reason: Reason | None) -> Cell:
    """Why a job does not run: the word of the first reason, when it is due, and the last error.

    ``reason``: the first reason; None: as far as the job alone tells it.
    """
    reason = reason or own_reason(job, now)
    word = "" if reason is None else reason.value
    if reason in (Reason.NOT_DUE, Reason.BACKOFF) and job.run_at > now:
        word += f" ({exact_age(job.run_at, now)})"
    if job.state is State.CANCELLED and job.cause:
        return f"parent {clean_line(job.cause, 60)}", "muted"
    if job.last_error and job.state in (State.FAILED, State.DEAD):
        error = clean_line(job.last_error, 200)
        return f"{word}: {error}" if word else error, _error_role(job)
    return word, "warn" if reason is None else reason_role(reason)


def _error_role(job: Job) -> str:
    return "error" if job.state is State.DEAD else "warn"


def blocker_command(blocker: Blocker, store: str | None = None) -> str | None:
    """The command line that removes a blocker. ``store``: the store that the user named."""
    if blocker.command is None:
        return None
    return cli(*(("--store", store) if store else ()), *blocker.command)


def headline(found: Why, now: float) -> str:
    """One sentence: what the job does, or how it ended."""
    job = found.job
    name = clean_line(job.id)
    if job.state is State.PROCESSING:
        if job.started_at is None:
            return f"{name} is running"
        return f"{name} has been running for {exact_age(job.started_at, now)}, attempt {job.runs}"
    if job.state is State.COMPLETED:
        return f"{name} completed{_ago(job, now)}"
    if job.state is State.DEAD:
        error = f": {clean_line(job.last_error, 300)}" if job.last_error else ""
        return f"{name} died{_ago(job, now)}, after {plural(job.attempts, 'attempt')}{error}"
    if job.state is State.CANCELLED:
        parent = clean_line(job.cause or "")
        cause = f", because of how its parent {parent} ended" if parent else ""
        return f"{name} was cancelled{_ago(job, now)}{cause}"
    if found.ready:
        return f"{name} is {job.state}, and nothing blocks it: a worker starts it at once"
    return f"{name} is {job.state}"


def _ago(job: Job, now: float) -> str:
    return f" {exact_age(job.finished_at or job.updated_at, now)} ago"


def why_lines(found: Why, now: float) -> list[list[Cell]]:
    """A page: one sentence, and each blocker with its details, its times and its command."""
    lines: list[list[Cell]] = [[(headline(found, now), "strong")]]
    for one in found.blockers:
        lines += [[], [(one.reason.value, reason_role(one.reason))]]
        lines.append([("  ", "text"), (clean_line(one.detail), "text")])
        times = [f"{word} {text}" for word, text in _times(one, now) if text]
        lines += [[("  ", "text"), (", ".join(times), "muted")]] if times else []
        if command := blocker_command(one):
            lines.append([("  $ ", "muted"), (command, "accent")])
    return lines


def _times(blocker: Blocker, now: float) -> list[tuple[str, str]]:
    since, until = blocker.since, blocker.until
    return [
        ("since", f"{clock_time(since, now)} ({lasting(now - since)})" if since else ""),
        ("until", f"{clock_time(until, now)} ({ago(now - until)})" if until else ""),
    ]


def summary_rows(counts: Mapping[Reason | None, int]) -> list[tuple[str, int]]:
    """How many jobs wait for which first reason, by its word."""
    return [(READY if reason is None else reason.value, count) for reason, count in counts.items()]


def summary_line(counts: Mapping[Reason | None, int]) -> list[Cell]:
    """The same in one line."""
    if not counts:
        return [("no job waits", "muted")]
    cells: list[Cell] = [("waiting: ", "muted")]
    for reason, count in counts.items():
        word = READY if reason is None else reason.value
        cells.append((f"{count:,} ", "idle" if reason is None else reason_role(reason)))
        cells.append((f"{word}   ", "text"))
    return cells


def _reason(blocker: Blocker, now: float) -> Cell:
    return blocker.reason.value, reason_role(blocker.reason)


def _time(when: float | None) -> str:
    return format_time(when) or ""


def blocker_columns(store: str | None = None) -> tuple[Column[Blocker], ...]:
    """Tables: ``pipe`` and ``console``. ``store``: the store that the user named."""

    def command(blocker: Blocker, now: float) -> Cell:
        return blocker_command(blocker, store) or "", "accent"

    return (
        Column("reason", "pipe", _reason, console=Place(12)),
        Column(
            "detail",
            "pipe",
            value=lambda b, _: clean_line(b.detail),
            console=Place(20, flex=3),
        ),
        Column("since", "pipe", value=lambda b, _: _time(b.since)),
        Column("until", "pipe", value=lambda b, _: _time(b.until)),
        Column("command", "pipe", command, console=Place(20, flex=3)),
    )


def blocker_lines(blocker: Blocker, now: float, store: str | None = None) -> tuple[list[Cell], str]:
    """For a screen: a line with the reason, its detail and its times; and the command that removes
    it, which is not to be broken into lines (empty: there is none)."""
    times = []
    if blocker.since is not None:
        times.append(f"for {exact_age(blocker.since, now)}")
    if blocker.until is not None:
        times.append(f"ends {exact_age(blocker.until, now)}")
    line: list[Cell] = [
        (blocker.reason.value, reason_role(blocker.reason)),
        (f": {clean_line(blocker.detail)}", "text"),
    ]
    if times:
        line.append((f"  ({', '.join(times)})", "muted"))
    return line, blocker_command(blocker, store) or ""
