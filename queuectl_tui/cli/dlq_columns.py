"""How dead jobs, and the groups of them that died of one cause, are shown."""

from __future__ import annotations

from queuectl_core.domain.figures import DeadGroup
from queuectl_core.domain.model import Job
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time

from .jobs import command_text, document, number, times_tried
from .output import Column, View
from .session import queue_time


def _cells(job: Job) -> list[str]:
    return [
        clean_line(job.id),
        str(job.attempts),
        number(job.exit_code),
        format_time(job.finished_at or job.updated_at) or "",
        clean_line(job.queue),
        command_text(job.command),
        clean_line(job.last_error or ""),
    ]


def _pretty(job: Job) -> list[tuple[str, str]]:
    from queuectl_core.domain.times import format_duration

    since = max(0.0, queue_time() - (job.finished_at or job.updated_at))
    return [
        (clean_line(job.id, 40), "bold"),
        (times_tried(job), ""),
        (number(job.exit_code), ""),
        (f"{format_duration(since)} ago", "dim"),
        (command_text(job.command)[:400], ""),
        (clean_line(job.last_error or "", 200), "red"),
    ]


DEAD_JOBS: View[Job] = View(
    document,
    ("ID", "ATTEMPTS", "EXIT_CODE", "DIED_AT", "QUEUE", "COMMAND", "LAST_ERROR"),
    _cells,
    (
        Column("ID"),
        Column("TRIES", right=True),
        Column("EXIT", right=True),
        Column("DIED", right=True, room=70),
        Column("COMMAND", flex=1),
        Column("REASON", flex=1),
    ),
    _pretty,
)


def _group_cells(group: DeadGroup) -> list[str]:
    return [
        str(group.count),
        number(group.exit_code),
        format_time(group.last_at) or "",
        clean_line(group.reason),
    ]


def _group_pretty(group: DeadGroup) -> list[tuple[str, str]]:
    from queuectl_core.domain.times import format_duration

    last = "" if group.last_at is None else f"{format_duration(queue_time() - group.last_at)} ago"
    return [
        (f"{group.count:,}", "bold red"),
        (number(group.exit_code), ""),
        (last, "dim"),
        (clean_line(group.reason, 400), ""),
    ]


DEAD_GROUPS: View[DeadGroup] = View(
    DeadGroup.to_json,
    ("COUNT", "EXIT_CODE", "LAST_DIED_AT", "REASON"),
    _group_cells,
    (
        Column("JOBS", right=True),
        Column("EXIT", right=True),
        Column("LAST", right=True),
        Column("REASON", flex=1),
    ),
    _group_pretty,
)
