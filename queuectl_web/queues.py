"""The pages of queues, and what their forms say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from queuectl_core.domain.errors import Conflict, InvalidInput
from queuectl_core.domain.jobspec import check_queue
from queuectl_core.domain.model import QueueInfo, QueueSettings, State, format_rate
from queuectl_core.domain.queues import FIELDS, parse_settings
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_time
from queuectl_core.queue import Queue
from queuectl_tui.presentation import admission_actions as actions
from queuectl_tui.presentation import columns
from queuectl_tui.presentation.actions import Action
from queuectl_tui.presentation.format import cli, exact_age
from queuectl_tui.presentation.queues import QUEUE_COLUMNS, queue_state

from .context import all_of, context, form_of, pause_of, reason_of
from .links import jobs_link, queue_link, with_query
from .rendering import page
from .tables import fields, no_mark, table

QUEUES = columns.table(QUEUE_COLUMNS, "terminal")
SHOWN = columns.table(QUEUE_COLUMNS, "show")

LIMITS = (
    ("limit", "Limit", "running at a time, on all hosts together"),
    ("per_host", "Per host", "running at a time on each host"),
    ("per_key", "Per key", "running at a time for each key; 1 if not given"),
    ("rate", "Rate", "starts in a period, such as 60/1m"),
)
"""(name, label, what it limits)."""


async def queues(request: Request) -> Response:
    """All queues."""
    found = context(request)
    since = found.live.changes
    queue = await found.reader()
    infos = await queue.queues()
    read_only = request.scope["state"]["read_only"]
    return page(
        request,
        "queues.html",
        where=found.title,
        count=len(infos),
        table=table(
            QUEUES,
            infos,
            queue.clock(),
            caption="Queues",
            links={"name": lambda info: queue_link(info.settings.name)},
            mark=no_mark if read_only else lambda info: info.settings.name,
        ),
        limits=LIMITS,
        command=cli("queue", "list"),
        since=since,
    )


async def show(request: Request) -> Response:
    """One queue, with the forms that pause it and set its limits."""
    found = context(request)
    since = found.live.changes
    queue = await found.reader()
    info = await queue.queue(request.path_params["name"])
    now = queue.clock()
    settings = info.settings
    name = settings.name
    elsewhere = ("name", "state", "paused", "limits", "jobs")
    shown = [cell for cell in fields(SHOWN, info, now) if cell[0] not in elsewhere]
    return page(
        request,
        "queue.html",
        where=found.title,
        name=clean_line(name, 128),
        raw=name,
        state=(queue_state(info, now), "caution" if settings.paused(now) else "idle"),
        paused=_pause(settings, now),
        fields=shown,
        states=[
            {
                "name": state.value,
                "count": f"{info.counts.get(state, 0):,}",
                "link": with_query("/jobs", [("state", state.value), ("queue", name)]),
            }
            for state in State
        ],
        jobs=jobs_link(queue=name),
        limits=LIMITS,
        values=texts_of(settings),
        was=limits_mark(settings),
        has_settings=settings != QueueSettings(name),
        command=cli("queue", "show", name),
        since=since,
    )


def _pause(settings: QueueSettings, now: float) -> list[tuple[str, str]]:
    """(what, text) about a pause; empty: it is not paused."""
    if not settings.paused(now):
        return []
    until = "it is resumed"
    if settings.paused_until is not None:
        left = exact_age(settings.paused_until, now)
        until = f"{format_time(settings.paused_until)} ({left})"
    since = f"{format_time(settings.paused_at)} ({exact_age(settings.paused_at, now)} ago)"
    return [
        ("paused by", clean_line(settings.paused_by or "somebody")),
        ("why", clean_line(settings.paused_reason or "no reason was given")),
        ("since", since),
        ("until", until),
    ]


def texts_of(settings: QueueSettings) -> dict[str, str]:
    """The limits as the form shows them; empty: none."""
    values = (settings.limit, settings.per_host, settings.per_key, format_rate(settings.rate))
    return {
        field: "" if value is None else str(value)
        for field, value in zip(FIELDS, values, strict=True)
    }


def limits_mark(settings: QueueSettings) -> str:
    """Identifies the limits as they were shown."""
    return " ".join(text or "none" for text in texts_of(settings).values())


# -- forms --------------------------------------------------------------------------------


async def action(request: Request, queue: Queue, name: str) -> Action | None:
    """The action that a form about queues asks for; None: it is about something else. Raises
    QueueError."""
    form = form_of(request)
    if name == "pause-queue":
        seconds = pause_of(form["for"].strip()) if form.get("for", "").strip() else None
        reason = reason_of(request)
        chosen = [await _known(queue, one) for one in _names(request)]
        return actions.pause_queues(chosen, seconds=seconds, reason=reason)
    if name == "resume-queue":
        chosen = [await queue.queue(one) for one in _names(request)]
        return actions.resume_queues(chosen, queue.clock())
    if name == "set-queue":
        return await _set(queue, form)
    if name == "remove-queue":
        return actions.remove_queue(check_queue(form.get("queue", "")))
    return None


def _names(request: Request) -> list[str]:
    names = list(dict.fromkeys(all_of(request, "queue")))
    if not names:
        raise InvalidInput("no queue is marked", "mark some first")
    return [check_queue(name) for name in names]


async def _known(queue: Queue, name: str) -> QueueInfo:
    """A queue, which need not have jobs yet."""
    found = (info for info in await queue.queues() if info.settings.name == name)
    return next(found, QueueInfo(QueueSettings(name), {}, None, 0))


async def _set(queue: Queue, form: Mapping[str, str]) -> Action:
    """``was``: the limits as the form showed them all. Without it, an empty field means: as it
    is."""
    name = check_queue(form.get("queue", "").strip())
    given = {field: form.get(field, "").strip() for field in FIELDS}
    changes: dict[str, Any] = {field: text for field, text in given.items() if text}
    was = form.get("was")
    if was is not None:
        settings = (await _known(queue, name)).settings
        if limits_mark(settings) != was:
            raise Conflict("nothing was done: the limits have changed meanwhile", "look again")
        before = texts_of(settings)
        changes = {field: text or None for field, text in given.items() if text != before[field]}
    if not changes:
        raise InvalidInput("no limit was changed", "change one first")
    parse_settings(changes)
    return actions.set_queue(name, changes)
