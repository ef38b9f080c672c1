"""The API: whatever it is asked, it answers as it is described, and as the command line does."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from queuectl_core.domain.errors import WorkersNotStarted
from queuectl_core.domain.model import Filter, State
from queuectl_core.domain.text import clean_line
from queuectl_core.supervisor import daemonize
from queuectl_web.context import filter_of, query_of

from .conftest import cli_in
from .dashboard import PROBLEM, Answer, Browser
from .description import DESCRIPTION, ODD, fitting, mismatch, worn
from .hostile import TEXTS
from .inside import Inside, inside

PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "6"))
OPERATIONS = [
    (method.upper(), path, operation)
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
]


@pytest.fixture(scope="module")
def app(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """The application on a store of its own. It starts no workers."""
    folder = tmp_path_factory.mktemp("fuzzed")
    shutil.copytree(filled, folder, dirs_exist_ok=True)
    cli = cli_in(folder)

    async def start_detached(*_: Any) -> list[str]:
        raise WorkersNotStarted("not in a test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daemonize, "start_detached", start_detached)
        with inside(cli.store, cli.environment()) as made:
            yield made


def check(answer: Answer, operation: dict[str, Any]) -> None:
    """Fails unless the answer is as described."""
    described = operation["responses"]
    assert str(answer.status) in described, (answer.status, answer.body[:300])
    assert answer["content-security-policy"]
    assert not [name for name, _ in answer.headers if name.startswith("access-control")]
    kind = answer["content-type"].split(";")[0]
    content = described[str(answer.status)]["content"]
    assert kind in content, (kind, list(content))
    if kind.endswith("json"):
        document = json.loads(answer.body)
        assert mismatch(document, content[kind]["schema"]) == ""
        if kind == PROBLEM:
            assert document["status"] == answer.status
            assert clean_line(document["detail"]) == document["detail"]


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[f"{m} {p}" for m, p, _ in OPERATIONS]
)
def test_every_operation_answers_as_described(
    app: Inside, method: str, path: str, operation: dict[str, Any]
) -> None:
    queries = [one for one in operation["parameters"] if one["in"] == "query"]
    places = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")

    @settings(max_examples=EXAMPLES, phases=PHASES, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        odd = data.draw(st.sampled_from(["", "query", "path", "body", "bytes"]))
        target = f"/api/v1{path}"
        for name in places:
            value = data.draw(ODD if odd == "path" else fitting({"type": "string"}, name))
            text = str(value).encode("utf-8", "replace").decode()
            target = target.replace(f"{{{name}}}", quote(text or "-", safe=""))
        items = []
        for one in queries:
            if data.draw(st.booleans()):
                strange = odd == "query" and data.draw(st.booleans())
                value = data.draw(ODD if strange else fitting(one["schema"], one["name"]))
                for each in value if isinstance(value, list) else [value]:
                    text = json.dumps(each) if isinstance(each, bool) else str(each)
                    items.append((one["name"], text.encode("utf-8", "replace")))
        if items:
            target += f"?{urlencode(items)}"
        raw = b""
        if body is not None:
            value = data.draw(fitting(body["schema"]))
            value = data.draw(worn(value)) if odd == "body" else value
            raw = data.draw(st.binary(max_size=9)) if odd == "bytes" else json.dumps(value).encode()
        answer = app.ask(method, target, raw, [(b"content-type", b"application/json")])
        if len(target) > 8000 or (answer.status == 404 and b"no such page" in answer.body):
            return  # the odd path leads elsewhere
        check(answer, operation)

    run()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["state", "queue", "search", "exit_code", "exit-code",
       "reason", "key", "limit", "x"]), ODD.map(str)), max_size=4))  # fmt: skip
def test_a_filter_is_read_or_refused(items: list[tuple[str, str]]) -> None:
    from queuectl_core.domain.errors import InvalidInput

    try:
        where = filter_of(items)
    except InvalidInput:
        return
    assert filter_of(query_of(where)) == where


@settings(max_examples=40)
@given(
    st.builds(
        Filter,
        states=st.lists(st.sampled_from(State), unique=True).map(tuple),
        queues=st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,9}", fullmatch=True),
                        unique=True).map(tuple),
        search=st.none() | st.text(min_size=1),
        exit_codes=st.lists(st.integers(-999, 999), unique=True).map(tuple),
        seqs=st.none(),
        reasons=st.lists(st.text(min_size=1), unique=True).map(tuple),
        keys=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1,
                              max_size=99), unique=True).map(tuple),
    )
)  # fmt: skip
def test_a_filter_survives_the_query(where: Filter) -> None:
    assert filter_of(query_of(where)) == where


# -- beside the command line ----------------------------------------------------------------

SAME = (
    ("/jobs", ["list"]),
    ("/jobs?state=dead&limit=3", ["list", "--state", "dead", "--limit", "3"]),
    ("/jobs?queue=javascript:alert.2&search=TRUE", ["list", "--queue", "javascript:alert.2"]),
    ("/jobs?state=dead&search=SCRIPT&show_env=true",
     ["list", "--state", "dead", "--search", "SCRIPT", "--show-env"]),
    ("/jobs?state=waiting", ["list", "--state", "waiting"]),
    ("/jobs?key=%3Cscript%3Ealert(1)%3C/script%3E", ["list", "--key", TEXTS[0]]),
    ("/jobs/dead-0", ["show", "dead-0"]),
    ("/jobs/waits-0/why", ["why", "waits-0"]),
    ("/jobs/later-0/why", ["why", "later-0"]),
    ("/queues", ["queue", "list"]),
    ("/queues/javascript:alert.2", ["queue", "show", "javascript:alert.2"]),
    ("/schedules", ["schedule", "list"]),
    ("/schedules/nightly", ["schedule", "show", "nightly"]),
    ("/jobs/done-1?show_env=true", ["show", "done-1", "--show-env"]),
    ("/jobs/dead-3/output", ["logs", "dead-3"]),
    ("/dlq/groups", ["dlq", "list", "--group"]),
    ("/status", ["status"]),
    ("/config", ["config", "list"]),
)  # fmt: skip


@pytest.mark.parametrize(("path", "words"), SAME, ids=[path for path, _ in SAME])
def test_the_api_answers_as_the_command_line(browser: Browser, path: str, words: list[str]) -> None:
    answer = browser.api("GET", path)
    assert answer.status == 200
    wanted = browser.site.cli.json(*words)
    shown = answer.json
    for document in (shown, wanted):
        for one in document if isinstance(document, list) else [document]:
            if "oldest_waiting_seconds" in one:
                one["oldest_waiting_seconds"] = None
    if path.endswith("/output"):
        assert {name: shown[name] for name in wanted if name in shown} == {
            name: value for name, value in wanted.items() if name in shown
        }
    else:
        assert shown == wanted


WRONG = (
    ("GET", "/jobs/nobody", None, ["show", "nobody"]),
    ("GET", "/jobs/dead-0/output?attempt=9", None, ["logs", "dead-0", "--attempt", "9"]),
    ("GET", "/jobs?queue=a%20b", None, ["list", "--queue", "a b"]),
    ("POST", "/jobs", {"id": "dead-0", "command": "true"},
     ["enqueue", "--id", "dead-0", "true"]),
    ("POST", "/jobs", {"command": "true", "priority": "high"},
     ["enqueue", '{"command": "true", "priority": "high"}']),
    ("POST", "/jobs", {"comand": "true"}, ["enqueue", '{"comand": "true"}']),
    ("POST", "/jobs/done-0/cancel", None, ["cancel", "done-0"]),
    ("POST", "/jobs/done-0/hold", None, ["hold", "done-0"]),
    ("POST", "/jobs/later-0/release", None, ["release", "later-0"]),
    ("POST", "/jobs/waits-0/release", None, ["release", "waits-0"]),
    ("POST", "/jobs/later-0/edit", {"priority": 10**9},
     ["edit", "later-0", "--priority", "1000000000"]),
    ("GET", "/jobs/nobody/why", None, ["why", "nobody"]),
    ("GET", "/jobs/nobody/tree", None, ["show", "--tree", "nobody"]),
    ("DELETE", "/jobs/later-0", None, ["remove", "later-0"]),
    ("POST", "/jobs", {"id": "x", "command": "true", "after": ["nobody"]},
     ["enqueue", "--id", "x", "--after", "nobody", "true"]),
    ("POST", "/jobs", {"command": "true", "unique_for": 9},
     ["enqueue", "--unique-for", "9", "true"]),
    ("POST", "/jobs", {"command": "true", "unique": TEXTS[0], "on_conflict": "fail"},
     ["enqueue", "--unique", TEXTS[0], "--on-conflict", "fail", "true"]),
    ("GET", "/schedules/nobody", None, ["schedule", "show", "nobody"]),
    ("POST", "/schedules/nobody/pause", None, ["schedule", "pause", "nobody"]),
    ("POST", "/schedules/a%20b/resume", None, ["schedule", "resume", "a b"]),
    ("POST", "/schedules/nobody/run", None, ["schedule", "run", "nobody"]),
    ("GET", "/queues/nobody", None, ["queue", "show", "nobody"]),
    ("POST", "/queues/nobody/resume", None, ["queue", "resume", "nobody"]),
    ("POST", "/queues/a%20b/pause", None, ["queue", "pause", "a b"]),
    ("POST", "/queues/mail/set", {"limit": "many"}, ["queue", "set", "mail", "--limit", "many"]),
    ("POST", "/queues/mail/set", {"rate": "1/never"},
     ["queue", "set", "mail", "--rate", "1/never"]),
    ("POST", "/queues/nobody/remove", None, ["queue", "remove", "nobody"]),
    ("POST", "/queues/default/remove", None, ["queue", "remove", "default"]),
    ("PUT", "/config/max-retrys", {"value": 1}, ["config", "set", "max-retrys", "1"]),
    ("POST", "/workers/start", {"count": 513}, ["worker", "start", "--detach", "--count", "513"]),
    ("POST", "/workers/stop", {"workers": ["nobody"]}, ["worker", "stop", "nobody"]),
)  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body", "words"), WRONG, ids=[" ".join(words)[:40] for *_, words in WRONG]
)
def test_an_error_is_that_of_the_command_line(
    browser: Browser, method: str, path: str, body: Any, words: list[str]
) -> None:
    answer = browser.api(method, path, body)
    refused = browser.site.cli(*words, code=None)
    document = answer.json
    assert refused.err == f"queuectl: error: {document['detail']}\n"
    assert document["exit_code"] == refused.code
    assert {2: 400, 3: 404, 4: 409}[refused.code] == answer.status == document["status"]


def test_a_batch_names_its_bad_lines(browser: Browser) -> None:
    batch = [{"command": "true"}, {"command": 1}, {"queue": "a"}]
    answer = browser.api("POST", "/jobs", batch)
    refused = browser.site.cli("enqueue", "-", stdin=json.dumps(batch), code=2)
    assert answer.status == 400
    lines = [f"queuectl: error: line {p['line']}: {p['detail']}" for p in answer.json["problems"]]
    assert [*lines, f"queuectl: error: {answer.json['detail']}"] == refused.err.splitlines()


def test_pages_have_each_job_once_while_others_come_and_go(browser: Browser) -> None:
    def enqueue(name: str) -> None:
        job = {"id": name, "command": "#", "queue": "paged", "run_at": "+1d"}
        assert browser.api("POST", "/jobs", job).status == 201

    names = [f"paged-{n}" for n in range(12)]
    made = [{"id": name, "command": "#", "queue": "paged", "run_at": "+1d"} for name in names]
    assert browser.api("POST", "/jobs", made).status == 201
    seen: list[str] = []
    path = "/jobs?queue=paged&limit=3"
    for number in itertools.count():
        answer = browser.api("GET", path)
        seen += [job["id"] for job in answer.json]
        enqueue(f"new-{number}")
        if number < 2:  # one that was shown, and one that was not
            assert browser.api("DELETE", f"/jobs/paged-{11 - number}").status == 200
            assert browser.api("DELETE", f"/jobs/paged-{number}").status == 200
        if not answer["link"]:
            break
        path = answer["link"].partition(">")[0].removeprefix("</api/v1")
    assert seen == names[:1:-1]
