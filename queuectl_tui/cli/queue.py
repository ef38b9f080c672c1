"""``queuectl queue``: list, show, pause, resume, set, remove."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from queuectl_core.domain.model import QueueInfo, QueueSettings
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time
from queuectl_core.system.postcommit import after_commit

from ..presentation.columns import table
from ..presentation.queues import QUEUE_COLUMNS, limits_text
from .declare import Noun, UsageError, argument, option, verb
from .durations import optional_duration
from .jobs import complete_queue
from .output import View
from .selection import tell_unknown_queues
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.queue import Queue

queue = Noun(
    "queue",
    {
        "list": ("queue:list_queues", "List queues: what runs and waits, limits, pauses."),
        "show": ("queue:show", "Show everything about one queue."),
        "pause": ("queue:pause", "Start no more jobs of a queue."),
        "resume": ("queue:resume", "End the pause of a queue."),
        "set": ("queue:set_limits", "Limit how many jobs of a queue run or start."),
        "remove": ("queue:remove", "Forget the settings of a queue."),
    },
    about="Queues: named lanes of jobs, with limits of their own. A queue exists as soon as a job "
    "is in it. Without settings it has no limit.",
    examples=(
        "queuectl queue list",
        "queuectl queue set mail --limit 2 --rate 60/1m",
        "queuectl queue pause mail --for 30m --reason 'mail server is down'",
        "queuectl queue resume mail",
    ),
)

QUEUES: View[QueueInfo] = View(QueueInfo.to_json, QUEUE_COLUMNS)

name_argument = argument("name", metavar="NAME", complete=complete_queue)


@verb("list", examples=("queuectl queue list", "queuectl queue list --json"))
def list_queues(session: Session) -> None:
    """List queues: those with jobs, with settings, or that a worker serves by name.

    RUNNING is how many jobs run, and of how many (its limit). WAITING counts jobs that have not
    ended and do not run. OLDEST is for how long the job that has waited longest has been due.
    """
    found = session.run(lambda queue: queue.queues(), read_only=True)
    session.show_all(QUEUES, found)
    if not found and session.out.terminal and not session.json:
        session.err.note("no queues yet: a queue exists as soon as a job is in it")


@verb("show", examples=("queuectl queue show mail", "queuectl queue show mail --json"))
@name_argument
def show(session: Session, /, name: str) -> None:
    """Show one queue: what runs and waits, its limits, its workers, and who paused it."""
    info = session.run(lambda queue: queue.queue(name), read_only=True)
    now = session.clock()
    if session.json:
        session.out.json(info.to_json(now))
    elif session.out.terminal:
        _pretty(session, info, now)
    else:
        session.out.pairs([(column.name, column.value(info, now)) for column in QUEUES.pipe])


@verb(
    "pause",
    examples=(
        "queuectl queue pause mail",
        "queuectl queue pause mail --for 30m --reason 'mail server is down'",
    ),
)
@name_argument
@option("--for", dest="seconds", metavar="TIME", about="Resume by itself after this long: 30m.")
@option("--reason", metavar="TEXT", about="Shown where somebody asks why a job waits.")
def pause(session: Session, /, name: str, seconds: str | None, reason: str | None) -> None:
    """Start no more jobs of a queue. Jobs that run go on, and jobs can still be added.

    A queue that is paused already is paused anew, with this time and reason.
    """
    length = optional_duration("--for", seconds)
    if length == 0:
        raise UsageError("--for: give a time above 0, such as 30m")

    info = session.run(
        lambda queue: _changed(
            session, queue, name, lambda: queue.pause_queue(name, seconds=length, reason=reason)
        ),
        create=True,
    )
    until = info.settings.paused_until
    end = f"until {format_time(until)}" if until is not None else "until it is resumed"
    _answer(session, info, f"is paused {end}; jobs that run go on")


@verb("resume", examples=("queuectl queue resume mail",))
@name_argument
def resume(session: Session, /, name: str) -> None:
    """End the pause of a queue. A queue that is not paused stays as it is."""
    info = session.run(
        lambda queue: _changed(session, queue, name, lambda: queue.resume_queue(name))
    )
    _answer(session, info, "is open")


@verb(
    "set",
    examples=(
        "queuectl queue set mail --limit 2",
        "queuectl queue set api --rate 60/1m --per-host 4",
        "queuectl queue set mail --limit none",
    ),
)
@name_argument
@option("--limit", metavar="N", about="At most so many jobs run at a time, over all hosts.")
@option("--per-host", metavar="N", about="At most so many run at a time on each host.")
@option("--per-key", metavar="N", about="At most so many with the same key; 1 if not set.")
@option("--rate", metavar="N/TIME", about="At most N starts in any such time: 60/1m, 1/10s.")
def set_limits(session: Session, /, name: str, **given: str | None) -> None:
    """Limit how many jobs of a queue run at a time, or start in a period. "none" takes a limit
    away; what is not given stays as it is. The queue need not exist yet.

    A limit is never exceeded. A lower limit ends no job: nothing starts until enough have ended.
    """
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise UsageError("say what to set: --limit, --per-host, --per-key or --rate")

    info = session.run(
        lambda queue: _changed(session, queue, name, lambda: queue.set_queue(name, changes)),
        create=True,
    )
    limits = limits_text(info.settings)
    _answer(session, info, f"has {limits}" if limits else "has no limits")


@verb("remove", examples=("queuectl queue remove mail",))
@name_argument
def remove(session: Session, /, name: str) -> None:
    """Forget the settings of a queue: its limits and its pause. Its jobs and their history stay.

    Refused (exit code 4) while jobs of this queue wait or run.
    """

    async def act(queue: Queue) -> QueueInfo:
        info = await queue.queue(name)
        await queue.remove_queue(name)
        return info

    _answer(session, session.run(act), "has no settings any more")


async def _changed(
    session: Session, queue: Queue, name: str, change: Callable[[], Awaitable[QueueSettings]]
) -> QueueInfo:
    """Change a queue; the queue as it is then. A queue that was not there before is noted: its name
    may be misspelt."""
    there = any(info.settings.name == name for info in await queue.queues())
    settings = await change()
    with after_commit("reading the queue again"):
        if not there:
            await tell_unknown_queues(session, queue, [name])
        for info in await queue.queues():
            if info.settings.name == name:
                return info
    return QueueInfo(settings, {}, None, 0)


def _answer(session: Session, info: QueueInfo, said: str) -> None:
    """A sentence at a terminal, the name in a pipe, an object as JSON."""
    name = clean_line(info.settings.name)
    if session.json:
        session.out.json(info.to_json(session.clock()))
    elif session.out.terminal:
        session.out.line(f"Queue {name} {said}.")
    else:
        session.out.line(name)


def _pretty(session: Session, info: QueueInfo, now: float) -> None:
    from rich.table import Table
    from rich.text import Text

    from .output import styled

    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for column in table(QUEUE_COLUMNS, "show"):
        text, role = column.cell(info, now)
        if text:
            made.add_row(Text(column.name), styled((text, role)))
    session.out.render(made)
