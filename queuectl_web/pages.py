"""The pages that only show something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from queuectl_core.domain.lifecycle import (
    CANCELLABLE,
    EDITABLE,
    HOLDABLE,
    REMOVABLE,
    RETRYABLE,
)
from queuectl_core.domain.model import Attempt, Filter, Job, State
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_duration, format_time
from queuectl_core.operations.queries import JobView, dead_groups, group_filter, ranges
from queuectl_core.queue import Queue
from queuectl_tui.presentation import columns
from queuectl_tui.presentation.actions import filter_words
from queuectl_tui.presentation.attempts import ATTEMPT_COLUMNS
from queuectl_tui.presentation.findings import FINDING_COLUMNS
from queuectl_tui.presentation.format import cli, command_text, plural, short
from queuectl_tui.presentation.job_form import ENTRIES
from queuectl_tui.presentation.jobs import JOB_COLUMNS
from queuectl_tui.presentation.settings import SETTING_COLUMNS
from queuectl_tui.presentation.stats import (
    STATS_COLUMNS,
    TIME_COLUMNS,
    precision,
    time_rows,
)
from queuectl_tui.presentation.workers import console_columns

from .context import context, filter_of, number_of, period_of, query_of
from .editing import form_values
from .events import OF_JOB, events_table
from .links import job_link, queue_link, with_query
from .marks import fingerprint
from .output import read_output
from .problems import BadRequest
from .rendering import page
from .tables import fields, no_mark, table
from .waiting import (
    DEPENDENCIES,
    tree_rows,
    waiting_children,
    why_rows,
    with_reasons,
)

JOBS_PER_PAGE = 50

SEARCHED = 60_000
"""Keys that one request searches, at most. It takes about 60 ms. A link goes on from there."""

GROUPS = 200
"""Causes of dead jobs that the page shows."""

JOBS = columns.table(JOB_COLUMNS, "console")
FIELDS = columns.table(JOB_COLUMNS, "show")
ATTEMPTS = columns.table(ATTEMPT_COLUMNS, "console")
FINDINGS = columns.table(FINDING_COLUMNS, "terminal")
SETTINGS = columns.table(SETTING_COLUMNS, "pipe")


def _read_only(request: Request) -> bool:
    found: bool = request.scope["state"]["read_only"]
    return found


async def overview(request: Request) -> Response:
    """The overview."""
    found = context(request)
    await found.live.fresh()
    parts = {name: part.html for name, part in found.live.parts.items()}
    return page(request, "overview.html", parts=parts, since=found.live.version, where=found.title)


async def jobs(request: Request) -> Response:
    """Jobs with a filter, newest first, by pages."""
    found = context(request)
    where = filter_of(request.query_params.multi_items())
    before = number_of(request, "before", least=1)
    since = found.live.changes
    queue = await found.reader()
    rows, reached = await read_page(queue, where, JOBS_PER_PAGE, before)
    query = query_of(where)
    older = with_query("/jobs", [*query, ("before", str(reached))]) if reached else ""
    now = queue.clock()
    counts = (await found.live.fresh()).counts
    matching = found.live.overview.matching(where)
    links = {"id": lambda job: job_link(job.id)}
    states = [
        {
            "name": state.value,
            "count": f"{counts.get(state, 0):,}" if where == Filter(where.states) else "",
            "on": state in where.states,
            "link": with_query("/jobs", query_of(where._replace(states=(state,)))),
        }
        for state in State
    ]
    return page(
        request,
        "jobs.html",
        where=found.title,
        table=table(
            with_reasons(JOBS, await queue.waits(rows)),
            rows,
            now,
            caption="Jobs, newest first",
            links=links,
            mark=no_mark if _read_only(request) else fingerprint,
        ),
        filter=where,
        query=query,
        states=states,
        all_link=with_query("/jobs", query_of(where._replace(states=()))),
        older=older,
        here=with_query("/jobs", [*query, ("before", str(before))] if before else query),
        newest=with_query("/jobs", query) if before else "",
        searched=len(rows) < JOBS_PER_PAGE and bool(reached),
        matching=matching,
        command=_list_command(where),
        reasons=[short(reason, 160) for reason in where.reasons],
        since=since,
    )


def _list_command(where: Filter) -> str:
    """The equivalent command line. Only ``dlq list`` knows causes and exit codes."""
    if where.states == (State.DEAD,) and (where.reasons or where.exit_codes):
        return cli("dlq", "list", *filter_words(where._replace(states=())))
    return cli("list", *filter_words(where._replace(reasons=(), exit_codes=())))


async def read_page(
    queue: Queue, where: Filter, limit: int, before: int | None
) -> tuple[list[Job], int | None]:
    """(jobs, where the next page begins; None: this is the last one). Searches at most
    :data:`SEARCHED` keys, so that no request takes long; then the page may have fewer jobs."""
    low, high = await JobView(queue).extent()
    high = high if before is None else min(high, before - 1)
    slow = JobView(queue, where).slow
    end = max(low, high - SEARCHED + 1) if slow else low
    found: list[Job] = []
    for floor, ceiling in ranges(end, high, False, 20_000 if slow else max(1, high - low + 1)):
        found += await queue.scan(where, limit - len(found), low=floor, high=ceiling)
        if len(found) >= limit:
            return found, found[-1].seq if found[-1].seq > low else None
    return found, end if end > low else None


async def job(request: Request) -> Response:
    """One job: its fields, its attempts, the end of its output."""
    found = context(request)
    since = found.live.changes
    queue = await found.reader()
    job = await queue.find(request.path_params["id"])
    if job.id != request.path_params["id"]:
        return RedirectResponse(job_link(job.id), 303)
    [job] = await queue.with_texts([job])
    attempts = await queue.attempts(job)
    tree = await queue.tree(job, DEPENDENCIES)
    why = await queue.why(job)
    output = await read_output(queue, job, number_of(request, "attempt", least=1), None)
    _, history = await queue.events_of(job.id)
    now = queue.clock()
    return page(
        request,
        "job.html",
        where=found.title,
        job=job,
        name=short(job.id, 128),
        state=columns.state_cell(job.state.value),
        fields=fields(FIELDS, job._replace(env=job.masked_env), now),
        field_links=_field_links(job),
        why=why_rows(why, now),
        tree=tree_rows(job, tree),
        attempts=attempts_table(job, attempts, now),
        output=output,
        mark=fingerprint(job),
        can_retry=job.state in RETRYABLE,
        can_cancel=job.state in CANCELLABLE,
        can_remove=job.state in REMOVABLE,
        can_hold=job.state in HOLDABLE and not job.held,
        can_release=job.held,
        has_children=bool(waiting_children(job, tree)),
        form=form_values(job, await queue.defaults()) if job.state in EDITABLE else None,
        command_text=command_text(job.command),
        events=events_table(history[:OF_JOB], now),
        more_events=len(history) > OF_JOB,
        command=cli("show", job.id),
        since=since,
    )


def _field_links(job: Job) -> dict[str, str]:
    """Where fields lead to, by the name of the field."""
    found = {"queue": queue_link(job.queue)}
    if job.key is not None:
        found["key"] = with_query("/jobs", [("queue", job.queue), ("key", job.key)])
    if job.cause is not None:
        found["cause"] = job_link(job.cause)
    return found


def attempts_table(job: Job, attempts: Sequence[Attempt], now: float) -> Any:
    """The attempts of a job, the newest first. The number leads to the output."""
    links = {"#": lambda attempt: f"{job_link(job.id)}/output?attempt={attempt.number}"}
    return table(ATTEMPTS, attempts[::-1], now, caption="Attempts", links=links)


async def output(request: Request) -> Response:
    """The output of one attempt, by pages."""
    found = context(request)
    queue = await found.reader()
    job = await queue.find(request.path_params["id"])
    number = number_of(request, "attempt", least=1)
    offset = number_of(request, "offset")
    find = request.query_params.get("find", "")[:200]
    shown = await read_output(queue, job, number, offset, find)
    return page(
        request,
        "output.html",
        where=found.title,
        job=job,
        name=short(job.id, 128),
        output=shown,
        find=find,
        wrap=request.query_params.get("wrap", "1") != "0",
        command=cli("logs", job.id, *(["--attempt", str(shown.number)] if number else [])),
        since=found.live.changes,
    )


async def dlq(request: Request) -> Response:
    """Dead jobs by cause."""
    found = context(request)
    since = found.live.changes
    queue = await found.reader()
    groups = await dead_groups(queue, GROUPS)
    now = queue.clock()
    total = (await found.live.fresh()).counts.get(State.DEAD, 0)
    return page(
        request,
        "dlq.html",
        where=found.title,
        total=total,
        groups=[
            {
                "count": f"{group.count:,}",
                "jobs": plural(group.count),
                "exit": "" if group.exit_code is None else str(group.exit_code),
                "reason": short(group.reason, 300),
                "raw": group.reason,
                "last": "" if group.last_at is None else format_duration(now - group.last_at),
                "link": with_query("/jobs", query_of(group_filter(group))),
            }
            for group in groups
        ],
        more=len(groups) == GROUPS,
        command=cli("dlq", "list", "--group"),
        since=since,
    )


async def workers(request: Request) -> Response:
    """Workers by host."""
    found = context(request)
    since = found.live.changes
    queue = await found.reader()
    known = await queue.workers()
    now = queue.clock()
    hosts: dict[str, list[Any]] = {}
    for worker in sorted(known, key=lambda worker: (worker.host, worker.id)):
        hosts.setdefault(worker.host, []).append(worker)
    links = {"job": lambda worker: job_link(worker.job) if worker.job else None}
    return page(
        request,
        "workers.html",
        where=found.title,
        hosts=[
            (
                clean_line(host, 60),
                table(
                    console_columns(here),
                    here,
                    now,
                    caption=f"Workers on {clean_line(host, 60)}",
                    links=links,
                    mark=no_mark if _read_only(request) else lambda worker: worker.id,
                ),
            )
            for host, here in hosts.items()
        ],
        count=len(known),
        command=cli("worker", "list"),
        since=since,
    )


async def enqueue(request: Request) -> Response:
    """The form for a new job."""
    if _read_only(request):
        raise BadRequest(403, "this dashboard is read-only", "start it without --read-only")
    return await form_page(request, {}, "")


async def form_page(
    request: Request, texts: dict[str, str], error: str, status: int = 200
) -> Response:
    """The form with what was typed, and what is wrong with it."""
    found = context(request)
    defaults = await (await found.reader()).defaults()
    fields = [
        {
            "name": entry.field,
            "label": entry.field.replace("_", " "),
            "hint": clean_line(entry.hint(defaults), 200),
            "value": texts.get(entry.field, ""),
        }
        for entry in ENTRIES
    ]
    return page(
        request, "enqueue.html", status=status, where=found.title, fields=fields, error=error
    )


async def stats(request: Request) -> Response:
    """Statistics of the last hour, or of another time."""
    found = context(request)
    since = request.query_params.get("since") or "1h"
    seconds = period_of(since)
    queue = await found.reader()
    made = await queue.stats(seconds)
    return page(
        request,
        "stats.html",
        where=found.title,
        since=since,
        period=format_duration(seconds),
        figures=fields(columns.table(STATS_COLUMNS, "screen"), made, 0.0),
        times=table(
            columns.table(TIME_COLUMNS, "screen"),
            time_rows(made),
            0.0,
            caption="How long attempts ran, and how long jobs waited to be started",
        ),
        precision=precision(made),
        begin=format_time(made.since),
        command=cli("stats", "--since", since),
    )


async def settings(request: Request) -> Response:
    """All settings and where their values come from."""
    found = context(request)
    queue = await found.reader()
    return page(
        request,
        "settings.html",
        where=found.title,
        settings=[
            {column.name: column.cell(setting, 0.0)[0] for column in SETTINGS}
            for setting in await queue.config_list()
        ],
        command=cli("config", "list"),
    )


async def doctor(request: Request) -> Response:
    """The checks of ``queuectl doctor``."""
    from queuectl_core.operations.doctor import examine

    found = context(request)
    findings = await found.findings.get(
        lambda: examine(found.connections.url, found.connections.env)
    )
    return page(
        request,
        "doctor.html",
        where=found.title,
        findings=[[column.cell(one, 0.0) for column in FINDINGS] for one in findings],
        command=cli("doctor"),
    )
