"""What browsers and programs get, whole: each page and each answer, the addresses, the description.

``UPDATE_SNAPSHOTS=1 pytest tests/web/test_shown.py`` writes them again. Read the diff.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..snapshots import same_as
from .inside import Inside
from .scene import plain, scene

FOLDER = Path(__file__).parent / "snapshots"


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Inside, Inside]]:
    with scene(tmp_path_factory.mktemp("shown")) as made:
        yield made


@pytest.fixture
def app(apps: tuple[Inside, Inside]) -> Inside:
    return apps[0]


PAGES = {
    "overview": "/",
    "jobs": "/jobs",
    "jobs-filtered": "/jobs?state=dead&search=sync&exit_code=12"
    "&reason=exit+12:+%3Cno%3E+luck+with+sync-%23&key=sync-1",
    "jobs-of-queue": "/jobs?queue=mail&before=9",
    "job-dead": "/jobs/sync-1",
    "job-running": "/jobs/report",
    "job-waiting": "/jobs/child",
    "job-parent": "/jobs/later",
    "job-held": "/jobs/held",
    "job-failed": "/jobs/flaky",
    "output": "/jobs/report/output?attempt=1&find=page+1&wrap=0",
    "output-none": "/jobs/later/output",
    "edit": "/jobs/flaky/edit",
    "schedules": "/schedules",
    "schedule": "/schedules/nightly",
    "schedule-paused": "/schedules/poll",
    "queues": "/queues",
    "queue": "/queues/default",
    "queue-paused": "/queues/mail",
    "hooks": "/hooks",
    "dlq": "/dlq",
    "events": "/events",
    "events-filtered": "/events?job=typo&kind=job&since=1h",
    "events-refused": "/events?kind=nonsense",
    "events-of-nobody": "/events?job=nobody",
    "workers": "/workers",
    "enqueue": "/enqueue",
    "stats": "/stats?since=2h",
    "settings": "/settings",
    "doctor": "/doctor",
    "not-there": "/jobs/nobody",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page(app: Inside, name: str) -> None:
    answer = app.browse(PAGES[name])
    text = plain(answer.text, app)
    if name != "overview":  # header and footer are the same
        text = re.sub(r"<header>.*</header>\n|<footer>.*", "", text, flags=re.DOTALL)
    same_as(FOLDER / f"{name}.html", f"{answer.status}\n{text}")


@pytest.mark.parametrize(
    "name", ["overview", "jobs", "job-failed", "queue-paused", "hooks", "schedule", "enqueue"]
)
def test_a_page_that_only_shows(apps: tuple[Inside, Inside], name: str) -> None:
    answer = apps[1].browse(PAGES[name])
    text = plain(answer.text, apps[1])
    found = re.findall(r"<(?:form|button|input|select|textarea)\b[^>]*>|read-only|[Ee]dit", text)
    same_as(FOLDER / f"{name}-read-only.txt", "\n".join([str(answer.status), *found]))


ANSWERS = (
    "/jobs?limit=4",
    "/jobs?state=pending&show_env=true",
    "/jobs/sync-1",
    "/jobs/child/why",
    "/jobs/child/tree",
    "/jobs/later/tree?limit=1",
    "/jobs/report/output",
    "/jobs/report/output?attempt=1&offset=160",
    "/jobs/later/output",
    "/queues",
    "/queues/mail",
    "/hooks",
    "/hooks/chat",
    "/schedules",
    "/schedules/nightly",
    "/dlq/groups",
    "/dlq/groups?limit=1",
    "/status",
    "/stats",
    "/workers",
    "/events?limit=2",
    "/events?job=typo",
    "/events?kind=schedule&kind=hook.paused",
    "/events?since=10m",
    "/config",
)


@pytest.mark.parametrize("target", ANSWERS)
def test_an_answer(app: Inside, target: str) -> None:
    answer = app.ask("GET", f"/api/v1{target}")
    shown = json.dumps(answer.json, indent=1, ensure_ascii=False)
    name = re.sub(r"\W+", "-", target).strip("-")
    same_as(FOLDER / f"api-{name}.json", plain(f"{answer.status} {answer['link']}\n{shown}", app))


def test_the_addresses_of_all_pages_and_operations(app: Inside) -> None:
    lines = []
    for route in app.app.app.routes:  # type: ignore[attr-defined]
        methods = " ".join(sorted(getattr(route, "methods", None) or ()))
        made_by = getattr(route, "endpoint", None)
        lines.append(f"{methods:<10}{route.path:<34}{getattr(made_by, '__qualname__', '')}")
    same_as(FOLDER / "addresses.txt", "\n".join(lines))


def test_the_description_is_the_one_that_clients_know(app: Inside) -> None:
    answer = app.ask("GET", "/api/v1/openapi.json")
    same_as(FOLDER / "openapi.json", plain(compact(answer.json), app))


def compact(value: Any, indent: str = "") -> str:
    """JSON with everything on one line that fits there."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) <= 110 or not isinstance(value, (dict, list)):
        return line
    deeper = indent + " "
    if isinstance(value, list):
        inner = [deeper + compact(one, deeper) for one in value]
        return "[\n" + ",\n".join(inner) + f"\n{indent}]"
    inner = [f"{deeper}{json.dumps(name)}: {compact(one, deeper)}" for name, one in value.items()]
    return "{\n" + ",\n".join(inner) + f"\n{indent}}}"
