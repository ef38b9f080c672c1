"""Events: the page, the API and its stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from queuectl_core.domain.events import Event, EventKind
from queuectl_core.operations import events as reading
from queuectl_core.queue import Queue
from queuectl_core.store.sqlite import events as sqlite_events
from queuectl_web.events import _follow as follow

from .conftest import cli_in
from .inside import Inside, inside


async def fill(store: str) -> None:
    async with Queue.open(store, env={}, via="cli") as queue:
        jobs = await queue.enqueue([{"id": "a", "command": "true"}, {"id": "b", "command": "true"}])
        await queue.pause_queue("mail", reason="<script>alert(1)</script>")
        await queue.cancel(jobs[:1])


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Inside]:
    cli = cli_in(tmp_path)
    asyncio.run(fill(str(cli.store)))
    with inside(cli.store, cli.environment()) as made:
        yield made


def test_the_api_gives_events_by_pages(app: Inside) -> None:
    first = app.ask("GET", "/api/v1/events?limit=3")
    assert [one["kind"] for one in first.json] == ["job.cancelled", "queue.paused", "job.enqueued"]
    assert {one["via"] for one in first.json} == {"cli"}
    assert first.json[1]["detail"]["queue"] == "mail"
    link = first["link"].partition(">")[0].removeprefix("<")
    second = app.ask("GET", link)
    assert [(one["kind"], one["job"]) for one in second.json] == [("job.enqueued", "a")]
    assert "link" not in dict(second.headers)
    found = app.ask("GET", "/api/v1/events?job=a&kind=job.cancelled&kind=queue&since=1h").json
    assert [one["job"] for one in found] == ["a"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        *(("job=nobody", 404), ("kind=nonsense", 400), ("since=yesterdy", 400), ("x=1", 400)),
        *(("after=1", 400), ("limit=0", 400)),
    ],
)
def test_what_makes_no_sense_is_refused(app: Inside, query: str, status: int) -> None:
    answer = app.ask("GET", f"/api/v1/events?{query}")
    assert answer.status == status
    assert len(answer.json["detail"].splitlines()) == 1
    if "limit" not in query and "x=" not in query:
        assert app.ask("GET", f"/events?{query}").status == 400


def test_the_page_filters_and_shows_text_as_text(app: Inside) -> None:
    page = app.ask("GET", "/events?kind=queue").text
    assert escape("<script>alert(1)</script>") in page
    assert "<script>alert" not in page
    assert "job.enqueued" not in page
    assert "job.cancelled" in app.ask("GET", "/jobs/a").text
    assert 'href="/jobs/a"' in app.ask("GET", "/events?job=a").text
    assert 'data-label="about"' in page


def test_a_stream_gives_what_is_new_since_its_cursor(app: Inside) -> None:
    begun = app.ask("GET", "/api/v1/events/stream").text
    data = json.loads(begun.partition("data: ")[2].splitlines()[0])
    assert data["events"] == []
    assert app.ask("POST", "/api/v1/jobs/b/cancel", b"{}", JSON).status == 200
    more = app.ask("GET", f"/api/v1/events/stream?cursor={quote(data['cursor'])}").text
    data = json.loads(more.partition("data: ")[2].splitlines()[0])
    assert [(one["kind"], one["job"], one["via"]) for one in data["events"]] == [
        ("job.cancelled", "b", "dashboard")
    ]
    assert app.ask("GET", "/api/v1/events/stream?cursor=x").status == 400


def test_a_stream_gives_very_many_events_in_parts(
    app: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sqlite_events, reading):
        monkeypatch.setattr(module, "EVENTS_AT_ONCE", 3)
    cursor, found = "0", []
    while events := parts(app, cursor):
        assert len(events["events"]) <= 3
        found += [one["kind"] for one in events["events"]]
        cursor = events["cursor"]
        if len(events["events"]) < 3:
            break
    assert found == ["job.enqueued"] * 2 + ["queue.paused", "job.cancelled"]


def parts(app: Inside, cursor: str) -> dict[str, Any]:
    """The first message of the stream."""
    text = app.ask("GET", f"/api/v1/events/stream?cursor={quote(cursor)}").text
    made: dict[str, Any] = json.loads(text.partition("data: ")[2].splitlines()[0])
    return made


async def test_the_stream_does_not_wait_while_it_is_behind(tmp_path: Path) -> None:
    class Behind:
        cursor = "7"
        left = 2

        @property
        def behind(self) -> bool:
            return self.left > 0

        async def more(self) -> list[Any]:
            self.left -= 1
            return [Event(EventKind.REMOVED, 1.0, job_id=f"j{self.left}")]

    class Still:
        closing = False
        turned = asyncio.Event()

    async with asyncio.timeout(10):
        stream = follow(Still(), Behind(), [])  # type: ignore[arg-type]
        kinds = [(await anext(stream))[0] for _ in range(3)]
    assert kinds == ["events"] * 3


JSON = [(b"content-type", b"application/json")]
