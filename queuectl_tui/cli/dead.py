"""What the verbs of ``dlq`` share: which dead jobs are meant, and how they are shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from queuectl_core.errors import Conflict
from queuectl_core.model import Filter, Job, State
from queuectl_core.text import clean_line
from queuectl_core.times import format_time

from .jobs import command_text, complete_id, document, number, resolve, times_tried
from .output import Column, View

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

F = TypeVar("F", bound=Callable[..., Any])
DEAD = (State.DEAD,)


def filters(function: F) -> F:
    """The options ``--search`` and ``--exit-code``."""
    search = click.option("--search", metavar="TEXT", help="Only with this in id, command, error.")
    code = click.option("--exit-code", metavar="N", type=int, help="Only with this exit code.")
    return search(code(function))


def chosen(function: F) -> F:
    """``ID...``, ``--all`` and the filters."""
    ids = click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=complete_id)
    every = click.option("--all", "every", is_flag=True, help="All jobs (that match).")
    return ids(every(filters(function)))


async def selection(
    ctx: click.Context,
    queue: Queue,
    *,
    ids: Sequence[str],
    every: bool,
    search: str | None,
    exit_code: int | None,
) -> Filter:
    """The dead jobs meant; usage error when nothing says which, Conflict when one named is
    not dead."""
    filtered = search is not None or exit_code is not None
    if bool(ids) == (every or filtered) and not (ids and filtered and not every):
        raise click.UsageError("name jobs, or give --all (with --search, --exit-code)", ctx)
    if not ids:
        return Filter(DEAD, search=search, exit_code=exit_code)
    jobs = await resolve(queue, ids)
    for job in jobs:
        if job.state is not State.DEAD:
            raise Conflict(
                f"job '{clean_line(job.id)}' is {job.state}, not in the DLQ",
                "see: queuectl dlq list",
            )
    return Filter(DEAD, search=search, exit_code=exit_code, seqs=tuple(job.seq for job in jobs))


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
    from queuectl_core.times import format_duration

    since = max(0.0, time.time() - (job.finished_at or job.updated_at))
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
