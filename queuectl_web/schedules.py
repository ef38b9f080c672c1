"""The pages of schedules, their forms, and their part of the API."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.schedule import ScheduleInfo, check_name
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time
from queuectl_core.operations.schedules import get
from queuectl_core.queue import Queue
from queuectl_tui.presentation import columns
from queuectl_tui.presentation import schedule_actions as actions
from queuectl_tui.presentation.actions import Action
from queuectl_tui.presentation.format import cli
from queuectl_tui.presentation.jobs import JOB_COLUMNS
from queuectl_tui.presentation.schedules import (
    SCHEDULE_COLUMNS,
    local_time,
    pause_text,
    schedule_fields,
    schedule_state,
    shown_json,
)

from .context import context, form_of, reason_of
from .links import job_link, schedule_link
from .rendering import page
from .tables import no_mark, table

SCHEDULES = columns.table(SCHEDULE_COLUMNS, "terminal")
RUNS = columns.table(JOB_COLUMNS, "console")


async def schedules(request: Request) -> Response:
    """All schedules."""
    found = context(request)
    since = found.live.changes
    queue = await found.reader()
    infos = await queue.schedules()
    return page(
        request,
        "schedules.html",
        where=found.title,
        count=len(infos),
        table=table(
            SCHEDULES,
            infos,
            queue.clock(),
            caption="Schedules",
            links={"name": lambda info: schedule_link(info.schedule.name)},
            mark=no_mark,
        ),
        command=cli("schedule", "list"),
        since=since,
    )


async def show(request: Request) -> Response:
    """One schedule: its rules, the next times, the last runs, and the forms that change it."""
    found = context(request)
    since = found.live.changes
    queue = await found.reader()
    shown = await queue.schedule(request.path_params["name"])
    now, one = queue.clock(), shown.info.schedule
    state = schedule_state(shown.info)
    return page(
        request,
        "schedule.html",
        where=found.title,
        name=clean_line(one.name, 100),
        raw=one.name,
        state=(state, "idle" if state == "active" else "caution"),
        paused=pause_text(one) if one.paused else "",
        is_paused=one.paused,
        fields=[cell for cell in schedule_fields(shown.info, now) if cell[0] not in ELSEWHERE],
        trouble=clean_line(shown.trouble),
        times=[(local_time(at, one.tz), format_time(at)) for at in shown.times],
        runs=table(
            RUNS,
            shown.runs,
            now,
            caption="Last runs",
            links={"id": lambda job: job_link(job.id)},
            mark=no_mark,
        ),
        command=cli("schedule", "show", one.name),
        since=since,
    )


ELSEWHERE = ("name", "state", "paused")
"""Fields that the page shows in another place."""


async def action(request: Request, queue: Queue, name: str) -> Action | None:
    """The action that a form about schedules asks for; None: it is about something else. Raises
    QueueError."""
    form = form_of(request)
    if name not in ("pause-schedule", "resume-schedule", "run-schedule"):
        return None
    info = await get(queue.store, check_name(form.get("schedule", "")))
    if name == "run-schedule":
        return actions.run_now(info.schedule.name)
    reason = reason_of(request)
    if info.schedule.paused == (name == "pause-schedule"):
        state = "paused already" if info.schedule.paused else "not paused"
        raise InvalidInput(f"schedule {info.schedule.name} is {state}", "look again")
    return actions.pause_or_resume(info, queue.clock(), reason)


# -- API ----------------------------------------------------------------------------------


async def api_list(request: Request) -> Response:
    """All schedules."""
    queue = await context(request).reader()
    return JSONResponse([info.to_json() for info in await queue.schedules()])


async def api_show(request: Request) -> Response:
    """One schedule, with its next times and last runs."""
    queue = await context(request).reader()
    return JSONResponse(shown_json(await queue.schedule(request.path_params["name"])))


async def api_pause(request: Request, reason: str | None) -> ScheduleInfo:
    """Enqueue nothing more for a schedule."""
    queue = await context(request).writer()
    return await queue.pause_schedule(request.path_params["name"], reason)


async def api_resume(request: Request) -> ScheduleInfo:
    """End the pause of a schedule."""
    queue = await context(request).writer()
    return await queue.resume_schedule(request.path_params["name"])
