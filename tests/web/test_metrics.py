"""``GET /metrics``."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from ..support import Cli, eventually
from .conftest import Starter
from .dashboard import PROBLEM, TOKEN, Browser, Dashboard

BEARER = [("Authorization", f"Bearer {TOKEN}")]


def test_it_is_what_the_command_prints(browser: Browser, shared: Cli) -> None:
    answer = browser.get("/metrics")
    assert answer.status == 200
    assert answer["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer["cache-control"] == "no-store"
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    printed = list(text_string_to_metric_families(shared("metrics").out))
    assert list(families) == [family.name for family in printed]
    jobs = {tuple(one.labels.values()): one.value for one in families["queuectl_jobs"].samples}
    [wanted] = [family for family in printed if family.name == "queuectl_jobs"]
    assert jobs == {tuple(one.labels.values()): one.value for one in wanted.samples}


def test_nobody_reads_it_without_signing_in(site: Dashboard) -> None:
    answer = site.ask("GET", "/metrics")
    assert answer.status == 401
    assert answer["content-type"] == PROBLEM
    assert answer["www-authenticate"] == "Bearer"
    assert "Bearer TOKEN" in answer.json["detail"]
    assert site.ask("GET", "/metrics", headers=[("Authorization", "Bearer x")]).status == 401


def test_a_program_sends_the_token(public: Dashboard) -> None:
    assert public.ask("GET", "/metrics", headers=BEARER).status == 200
    foreign = [("Host", "evil.example"), *BEARER]
    assert public.ask("GET", "/metrics", headers=foreign).status == 403


def test_it_only_reads(read_only: Browser) -> None:
    assert read_only.get("/metrics").status == 200
    origin = [("Origin", read_only.site.base)]
    assert read_only.ask("POST", "/metrics", b"x", origin).status == 403


def test_without_the_store_it_says_so(serve: Starter, cli: Cli) -> None:
    cli("enqueue", "true")
    browser = serve().sign_in()
    assert browser.get("/metrics").status == 200
    for path in cli.cwd.glob("queue.db*"):
        if path.is_file():
            path.unlink()
    # What was read within the last second is still told.
    eventually(lambda: browser.get("/metrics").status == 503)
    assert browser.get("/metrics")["content-type"] == PROBLEM
