"""Schedules in the browser and through the API."""

from __future__ import annotations

import html
from collections.abc import Iterator

import pytest

from ..support import Cli
from .conftest import cli_in
from .dashboard import Browser
from .test_admission import act, buttons


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A store of this module. No worker runs."""
    made = cli_in(tmp_path_factory.mktemp("schedules"))
    made("schedule", "add", "nightly", "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "true")
    poll = '{"command": "true", "stdin": "hello"}'
    made("schedule", "add", "poll", "--every", "5m", "--env", "SECRET=x", poll)
    yield made
    made.close()


def test_the_api_pauses_resumes_and_runs(there: Browser) -> None:
    answer = there.api("POST", "/schedules/poll/pause", {"reason": "disk full"})
    assert (answer.status, answer.json["paused_reason"]) == (200, "disk full")
    assert there.api("GET", "/schedules/poll").json["paused"]
    answer = there.api("POST", "/schedules/poll/resume")
    assert (answer.status, answer.json["paused"]) == (200, False)
    job = there.api("POST", "/schedules/poll/run")
    assert (job.status, job.json["schedule"], job.json["scheduled_at"]) == (201, "poll", None)
    assert job.json["stdin"] == "hello"
    again = there.api("POST", "/schedules/poll/run")
    assert (again.status, again.json["exit_code"]) == (409, 4)
    shown = there.api("GET", "/schedules/poll").json
    assert [run["id"] for run in shown["runs"]] == [job.json["id"]]
    assert len(shown["next_times"]) == 5
    assert shown["job"]["env"] == {"SECRET": "***"}
    refused = there.api("POST", "/schedules/poll/pause", {"reason": 5})
    assert refused.status == 400


def test_a_cron_expression_stays_on_one_line(there: Browser) -> None:
    assert "td[data-label=when] { white-space: nowrap; }" in there.get("/static/app.css").text
    assert 'data-label="when"' in there.get("/schedules").text


def test_the_pages_show_and_change_them(there: Browser) -> None:
    page = html.unescape(there.get("/schedules").text)
    assert 'href="/schedules/nightly"' in page
    page = html.unescape(there.get("/schedules/nightly").text)
    assert "02:30 CE" in page
    assert buttons(there.get("/schedules/nightly")) == {"pause-schedule", "run-schedule"}
    page = act(there, "pause-schedule", schedule="nightly", reason="why not", back="/schedules")
    assert "schedule nightly is paused" in page
    assert there.site.cli.json("schedule", "show", "nightly")["paused_reason"] == "why not"
    page = html.unescape(there.get("/schedules/nightly").text)
    assert "why not" in page
    assert buttons(there.get("/schedules/nightly")) == {"resume-schedule", "run-schedule"}
    page = act(there, "resume-schedule", schedule="nightly", back="/schedules")
    assert "schedule nightly is resumed" in page
    page = act(there, "run-schedule", schedule="nightly", back="/schedules")
    assert "is enqueued" in page
    assert len(there.site.cli.json("schedule", "show", "nightly")["runs"]) == 1
    page = html.unescape(there.get("/schedules/nightly").text)
    assert "Last runs" in page
    [run] = there.site.cli.json("schedule", "show", "nightly")["runs"]
    assert f'<a href="/jobs/{run["id"]}">' in page
