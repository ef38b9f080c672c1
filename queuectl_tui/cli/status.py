"""``queuectl status``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from queuectl_core.domain.model import State, Status, Worker
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time
from queuectl_core.system.run_sync import sleep

from .declare import UsageError, option, verb
from .output import TerminalTable, line_of
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.domain.admission import Reason
    from queuectl_core.queue import Queue

    Waits = Mapping[Reason | None, int] | None

EVERY = 1.0
"""Seconds between looks with ``--watch``: running times go on even when nothing changes."""


@verb(
    "status",
    examples=("queuectl status", "queuectl status --watch", "queuectl status --why --json"),
)
@option("-w", "--watch", is_flag=True, about="Keep showing it until ctrl-c.")
@option("--why", is_flag=True, about="Also show how many jobs wait for which reason.")
def status(session: Session, /, watch: bool, why: bool) -> None:
    """Show how the queue stands: the number of jobs in each state, the DLQ, live workers with
    what each is running, and how long the oldest job has been waiting.

    In a pipe: name, tab, value on each line, then a line for each worker: the word worker, id,
    state, job, seconds, percent of its progress. With --watch in a pipe: a line of counts whenever
    they change.

    With --why every job that waits is counted for the first reason that queuectl why says; "ready"
    is for jobs that start at once. In a pipe: the word why, reason, number.
    """
    if watch and session.json:
        raise UsageError("--json is one document; leave --watch or --json out")
    if watch and why and not session.out.terminal:
        raise UsageError("--watch in a pipe shows counts only; leave --watch or --why out")

    async def act(queue: Queue) -> None:
        if not watch:
            _show(session, await queue.status(), await queue.wait_summary() if why else None)
        elif session.out.terminal:
            await _screen(session, queue, why)
        else:
            await _stream(session, queue)

    session.run(act, read_only=True)


def _show(session: Session, found: Status, waits: Waits) -> None:
    now = session.clock()
    if session.json:
        document = found.to_json(now)
        if waits is not None:
            from ..presentation.why import summary_rows

            document["why"] = dict(summary_rows(waits))
        session.out.json(document)
    elif session.out.terminal:
        session.out.render(*pretty(session, found, waits))
    else:
        session.out.pairs(_pairs(found, now))
        if waits is not None:
            from ..presentation.why import summary_rows

            for word, count in summary_rows(waits):
                session.out.line(f"why\t{word}\t{count}")
        for worker in found.workers:
            session.out.line("\t".join(_worker_cells(worker, now)))


def _worker_cells(worker: Worker, now: float) -> list[str]:
    from ..presentation.workers import running_seconds

    seconds = running_seconds(worker, now) or "-"
    progress = "-" if worker.progress is None else f"{worker.progress:g}"
    cells = (worker.id, worker.state, worker.job or "-", seconds, progress)
    return ["worker", *map(clean_line, cells)]


def _pairs(found: Status, now: float) -> list[tuple[str, str]]:
    waiting = found.to_json(now)["oldest_waiting_seconds"]
    return [
        *((state.value, str(found.counts.get(state, 0))) for state in State),
        ("total", str(sum(found.counts.values()))),
        ("dlq", str(found.counts.get(State.DEAD, 0))),
        ("oldest_waiting_seconds", "" if waiting is None else str(waiting)),
        ("workers", str(len(found.workers))),
    ]


def pretty(session: Session, found: Status, waits: Waits = None) -> list[Any]:
    from rich.text import Text

    from ..presentation.summary import status_lines
    from ..presentation.workers import terminal_columns

    now = session.clock()
    shown: list[Any] = [line_of(cells) for cells in status_lines(found, now)]
    if waits is not None:
        from ..presentation.why import summary_line

        shown.append(line_of(summary_line(waits)))
    if found.workers:
        workers = TerminalTable(session.out, terminal_columns(found.workers))
        for worker in found.workers:
            workers.add(worker, now)
        shown += [Text(), workers.made]
    return shown


async def _screen(session: Session, queue: Queue, why: bool) -> None:
    from rich.text import Text

    session.out.write("\x1b[2J")
    while True:
        head = Text(f"{clean_line(queue.url)}   {time.strftime('%X')}   ctrl-c ends", "dim")
        waits = await queue.wait_summary() if why else None
        session.out.redraw(head, Text(), *pretty(session, await queue.status(), waits))
        for _ in range(round(EVERY / 0.1)):
            await sleep(0.1)
            if await queue.changed():
                break


async def _stream(session: Session, queue: Queue) -> None:
    if not session.err.quiet:
        names = [state.value.upper() for state in State]
        session.out.line("\t".join(["TIME", *names, "WORKERS"]))
    last: list[str] = []
    while True:
        found = await queue.status()
        counts = [str(found.counts.get(state, 0)) for state in State]
        cells = [*counts, str(len(found.workers))]
        if cells != last:
            session.out.line("\t".join([format_time(session.clock()) or "", *cells]))
            session.out.flush()
            last = cells
        await sleep(0.2)
