"""Hooks in the browser and through the API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..support import Cli
from ..webhook import receiver
from .conftest import cli_in
from .dashboard import Browser, Dashboard
from .test_admission import act, buttons


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A store of this module with two hooks. No worker runs."""
    made = cli_in(tmp_path_factory.mktemp("hooks"))
    made("hook", "add", "command", "--on", "dead", "--digest", "1m", "--", "cat", "<b>$(x)</b>")
    with receiver() as server:
        made("hook", "add", "url", "--on", "queue.empty", "--url", f"{server.url}/503/SECRET")
        yield made
    made.close()


def test_the_api_lists_pauses_resumes_and_tests_hooks(there: Browser) -> None:
    listed = there.api("GET", "/hooks")
    assert listed.status == 200
    assert listed.json == there.site.cli.json("hook", "list")
    assert "SECRET" not in listed.text
    assert there.api("GET", "/hooks/url").json == listed.json[1]
    paused = there.api("POST", "/hooks/url/pause", {"reason": "it is down"})
    assert (paused.json["paused"], paused.json["paused_reason"]) == (True, "it is down")
    assert there.api("POST", "/hooks/url/resume").json["paused"] is False
    tested = there.api("POST", "/hooks/url/test").json
    assert (tested["accepted"], tested["status"]) == (False, 503)
    assert there.api("POST", "/hooks/command/test").json["exit_code"] == 1
    for path in ("/hooks/none", "/hooks/none/pause", "/hooks/none/resume", "/hooks/none/test"):
        method = "GET" if path == "/hooks/none" else "POST"
        assert there.api(method, path).status == 404
    assert there.api("POST", "/hooks/url/pause", {"reason": 1}).status == 400
    assert there.api("POST", "/hooks/url/pause", {"until": "x"}).status == 400


def test_the_page_shows_pauses_and_tests_hooks(there: Browser) -> None:
    page = there.get("/hooks")
    assert buttons(page) == {"pause-hook", "resume-hook", "test-hook"}
    assert "SECRET" not in page.text
    assert "<b>$(x)" not in page.text
    assert "hook command paused" in act(there, "pause-hook", hook="command", reason="why not")
    assert there.site.cli.json("hook", "show", "command")["paused_reason"] == "why not"
    assert ": why not" in there.get("/hooks").text
    assert "hook command active" in act(there, "resume-hook", hook="command")
    assert there.site.cli.json("hook", "show", "command")["paused"] is False
    assert "HTTP 503" in act(there, "test-hook", hook="url")
    assert "no hook is marked" in act(there, "pause-hook")


def test_a_read_only_dashboard_changes_no_hook(store: Cli) -> None:
    site = Dashboard.start(store, "--read-only")
    browser = site.sign_in()
    assert buttons(browser.get("/hooks")) == set()
    for verb in ("pause", "resume", "test"):
        assert browser.api("POST", f"/hooks/url/{verb}").status == 403
    assert site.stop()[0] == 0
