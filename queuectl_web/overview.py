"""The parts of the overview: what needs attention, states, throughput, workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from queuectl_core.domain.lifecycle import NOT_STARTED
from queuectl_core.domain.model import State, Worker
from queuectl_core.domain.times import format_duration
from queuectl_tui.presentation.columns import STATE_ROLES, Cell, Column
from queuectl_tui.presentation.columns import table as column_table
from queuectl_tui.presentation.format import plural, short
from queuectl_tui.presentation.monitor import Overview
from queuectl_tui.presentation.queues import pause_text
from queuectl_tui.presentation.workers import console_columns, queue_list

from .chart import throughput_chart
from .links import job_link, jobs_link, queue_link
from .rendering import render
from .tables import Table, table

CAUSES = 5
"""Causes of dead jobs that the overview names."""

PAUSES = 5
"""Paused queues that the overview names."""

LONG_WAIT = 60.0
"""Seconds after which the oldest waiting job is worth a look."""

MOST_WORKERS = 40
"""Workers on the overview. The page of workers has all."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that needs attention, with where to look."""

    role: str
    text: str
    link: str
    what: str
    """The text of the link."""


def alerts(overview: Overview, now: float) -> list[Alert]:
    """What needs attention, the most urgent first."""
    found: list[Alert] = []
    lost = [worker for worker in overview.workers if worker.state == "lost"]
    if lost:
        found.append(Alert("bad", f"{plural(len(lost), 'worker')} lost", "/workers", "workers"))
    waiting = sum(overview.counts.get(state, 0) for state in (State.PENDING, State.FAILED))
    if waiting and not overview.live_workers:
        text = f"No worker runs, and {plural(waiting)} wait{'s' if waiting == 1 else ''}"
        found.append(Alert("bad", text, "/workers", "workers"))
    elif overview.unserved:
        names = queue_list(list(overview.unserved))
        text = f"No worker serves queue {names}"
        found.append(Alert("bad", text, "/workers", "workers"))
    paused = [one for one in overview.paused if one.paused(now)]
    for one in paused[:PAUSES]:
        counts = overview.queues.get(one.name, {})
        waits = sum(counts.get(state, 0) for state in NOT_STARTED)
        text = f"Queue {one.name} is paused"
        text += f" {pause_text(one, now)}" if one.paused_by else ""
        text = f"{short(text, 300)} ({plural(waits)} wait{'s' if waits == 1 else ''})"
        found.append(Alert("warn", text, queue_link(one.name), "the queue"))
    if len(paused) > PAUSES:
        text = f"{plural(len(paused) - PAUSES, 'further queue')} paused"
        found.append(Alert("warn", text, "/queues", "queues"))
    for group in overview.groups[:CAUSES]:
        text = f"{plural(group.count)} dead: {short(group.reason, 120)}"
        found.append(Alert("bad", text, jobs_link(state="dead", reason=group.reason), "look"))
    more = len(overview.groups) - CAUSES
    if more > 0:
        text = f"{plural(more, 'further cause')} of dead jobs"
        found.append(Alert("bad", text, "/dlq", "all causes"))
    oldest = overview.oldest_due_at
    if oldest is not None and overview.live_workers and now - oldest > LONG_WAIT:
        text = f"The oldest waiting job has waited {format_duration(now - oldest)}"
        found.append(Alert("warn", text, jobs_link(state="pending"), "waiting jobs"))
    return found


def states(overview: Overview) -> list[dict[str, Any]]:
    """The states with their counts."""
    return [
        {
            "name": state.value,
            "count": f"{overview.counts.get(state, 0):,}",
            "role": STATE_ROLES[state] if overview.counts.get(state, 0) else "muted",
            "link": jobs_link(state=state.value),
        }
        for state in State
    ]


def worker_table(workers: Sequence[Worker], now: float) -> Table:
    """Workers as a table. The job is a link."""
    links = {"job": lambda worker: job_link(worker.job) if worker.job else None}
    return table(console_columns(workers), workers, now, caption="Workers", links=links)


MOST_QUEUES = 20
"""Queues on the overview: those with most jobs that wait or run."""

QueueRow = tuple[str, Mapping[State, int]]


def _queue_column(state: State) -> Column[QueueRow]:
    role = STATE_ROLES[state]

    def cell(row: QueueRow, now: float) -> Cell:
        count = row[1].get(state, 0)
        return f"{count:,}", role if count else "muted"

    return Column(state.value, "web", cell, right=True)


def _queue_name(row: QueueRow, now: float) -> Cell:
    return short(row[0], 128), "name"


QUEUES = column_table(
    [Column("queue", "web", _queue_name), *(_queue_column(state) for state in State)], "web"
)


def queue_table(overview: Overview, now: float) -> Table:
    """The busiest queues."""

    def busy(row: QueueRow) -> tuple[int, str]:
        states = (*NOT_STARTED, State.PROCESSING)
        return -sum(row[1].get(state, 0) for state in states), row[0]

    rows = sorted(overview.queues.items(), key=busy)[:MOST_QUEUES]
    links = {"queue": lambda row: jobs_link(queue=row[0])}
    return table(QUEUES, rows, now, caption="Queues", links=links)


def parts(overview: Overview, now: float) -> Mapping[str, str]:
    """The HTML of each part, by the id of its element."""
    done, failed = overview.rate(60)
    found = sorted(overview.workers, key=lambda worker: (worker.job is None, worker.id))
    busy = sum(worker.job is not None for worker in overview.live_workers)
    return {
        "attention": render("part_attention.html", alerts=alerts(overview, now)),
        "states": render("part_states.html", states=states(overview), total=overview.total),
        "throughput": render(
            "part_throughput.html",
            chart=throughput_chart(overview.ticks),
            done=f"{done * 60:,.0f}",
            failed=f"{failed * 60:,.0f}",
        ),
        "queues": render(
            "part_queues.html",
            table=queue_table(overview, now),
            more=max(0, len(overview.queues) - MOST_QUEUES),
        ),
        "workers": render(
            "part_workers.html",
            table=worker_table(found[:MOST_WORKERS], now),
            live=len(overview.live_workers),
            busy=busy,
            more=max(0, len(found) - MOST_WORKERS),
            prefetched=overview.prefetched,
        ),
    }
