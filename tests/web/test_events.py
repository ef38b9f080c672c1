"""Events: the page, the API and its stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

import pytest

from queuectl_core.queue import Queue

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


JSON = [(b"content-type", b"application/json")]
