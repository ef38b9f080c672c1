"""Events: the page, and the operations of the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from queuectl_core.domain.errors import InvalidInput, NotFound, QueueError
from queuectl_core.domain.events import Event
from queuectl_core.domain.text import clean_line, nearest
from queuectl_core.operations.events import Follower, Page, page_of, parse_kinds, parse_since
from queuectl_core.queue import Queue
from queuectl_tui.presentation import columns
from queuectl_tui.presentation.events import EVENT_COLUMNS
from queuectl_tui.presentation.format import cli

from .context import context, number_of, session_of
from .links import job_link, queue_link, with_query
from .live import KEEP_ALIVE, MAX_STREAMS, EventStream, Live
from .problems import BadRequest
from .rendering import page
from .tables import Table, table

PATH = "/api/v1/events"
PER_PAGE = 100
MOST = 1000
"""Events on a page: if not given, and at most."""
SPANS = 20
"""How much one request searches. A link goes on from there."""
OF_JOB = 20
"""Events that the page of a job shows."""

COLUMNS = columns.table(EVENT_COLUMNS, "page")


class Asked:
    """Which events a request asks for."""

    def __init__(self, request: Request, now: float, *others: str) -> None:
        """``others``: parameters that are read elsewhere. InvalidInput for an unknown one."""
        known = ("job", "since", "kind", *others)
        found: dict[str, list[str]] = {}
        for name, value in _items(request):
            if name not in known:
                shown = clean_line(name, 40)
                raise InvalidInput(f"unknown parameter '{shown}'", nearest(name, known))
            if value.strip():
                found.setdefault(name, []).append(value.strip())
        self.job = found["job"][-1] if "job" in found else None
        self.kinds = parse_kinds(found.get("kind", []))
        self.words = ",".join(found.get("kind", []))
        self.since_text = found["since"][-1] if "since" in found else ""
        self.since = parse_since(self.since_text, now) if self.since_text else None
        self.after = found["after"][-1] if "after" in found else None

    def query(self, **more: str) -> list[tuple[str, str]]:
        """The same as parameters."""
        given = {"job": self.job or "", "since": self.since_text, "kind": self.words} | more
        return [(name, value) for name, value in given.items() if value]


def _items(request: Request) -> list[tuple[str, str]]:
    try:
        text = request.scope["query_string"].decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError:
        raise BadRequest(400, "the query is not UTF-8 text") from None


async def _page(queue: Queue, asked: Asked, limit: int) -> Page:
    if asked.job is None:
        return await queue.event_page(
            limit, kinds=asked.kinds, since=asked.since, after=asked.after, spans=SPANS
        )
    _, found = await queue.events_of(asked.job)
    return page_of(found, limit, kinds=asked.kinds, since=asked.since, after=asked.after)


def events_table(events: list[Event], now: float) -> Table:
    """Events with links to what they are about."""

    def about(event: Event) -> str | None:
        if event.job_id is not None:
            return job_link(event.job_id)
        if event.kind.startswith("queue.") and event.name:
            return queue_link(event.name)
        return None

    return table(COLUMNS, events, now, caption="Events, newest first", links={"about": about})


async def events(request: Request) -> Response:
    """Who did what, and what happened, newest first, by pages."""
    found = context(request)
    since = found.live.changes
    queue = await found.reader()
    now = queue.clock()
    error = ""
    asked = made = None
    try:
        asked = Asked(request, now, "after")
        made = await _page(queue, asked, PER_PAGE)
    except (InvalidInput, NotFound) as problem:
        error = str(problem)
    query = asked.query() if asked else []
    older = ""
    if asked and made and made.after:
        older = with_query("/events", asked.query(after=made.after))
    words = [("--since", asked.since_text), ("--kind", asked.words)] if asked else []
    options = [word for name, value in words if value for word in (name, value)]
    return page(
        request,
        "events.html",
        status=400 if error else 200,
        where=found.title,
        table=events_table(list(made.events) if made else [], now),
        asked=asked,
        error=error,
        query=query,
        older=older,
        newest=with_query("/events", query) if asked and asked.after else "",
        searched=bool(older) and made is not None and len(made.events) < PER_PAGE,
        command=cli("events", *([asked.job] if asked and asked.job else []), *options),
        since=since,
    )


async def list_events(request: Request) -> Response:
    """Events, newest first, by pages."""
    queue = await context(request).reader()
    asked = Asked(request, queue.clock(), "limit", "after")
    limit = number_of(request, "limit", least=1, most=MOST) or PER_PAGE
    found = await _page(queue, asked, limit)
    headers = {}
    if found.after:
        items = asked.query(limit=str(limit), after=found.after)
        headers["link"] = f'<{with_query(PATH, items)}>; rel="next"'
    return JSONResponse([event.to_json() for event in found.events], headers=headers)


async def stream_events(request: Request) -> Response:
    """New events, as server-sent events."""
    found = context(request)
    if found.live.streams >= MAX_STREAMS:
        raise BadRequest(503, "too many browsers look at the same time", "close some pages")
    queue = await found.reader()
    asked = Asked(request, queue.clock(), "cursor")
    cursor = request.query_params.get("cursor") or None
    job = None if asked.job is None else await queue.find(asked.job)
    follower = await queue.follow_events(kinds=asked.kinds, job=job, cursor=cursor)
    first = await follower.more() if cursor else []  # a cursor that is wrong is an error now
    return EventStream(found.live, _follow(found.live, follower, first), session_of(request))


async def _follow(
    live: Live, follower: Follower, events: list[Event]
) -> AsyncIterator[tuple[str, str]]:
    """(event, data): the events that are new, with the cursor after them."""
    first = True
    while not live.closing:
        turned = live.turned
        if events or first:
            first = False
            made: dict[str, Any] = {"events": [event.to_json() for event in events]}
            yield "events", json.dumps(made | {"cursor": follower.cursor})
        if not follower.behind:
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    await turned.wait()
            except TimeoutError:
                yield "", ""
        try:
            events = await follower.more()
        except QueueError:
            return  # the browser connects again, and then gets the reason
