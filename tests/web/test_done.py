"""What is refused, in which words, and what forms and operations do: each on one line of a table.

``UPDATE_SNAPSHOTS=1 pytest tests/web/test_done.py`` writes them again. Read the diff.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from queuectl_core import queue as queue_module
from queuectl_core.domain import hooks as values
from queuectl_core.domain.model import Worker
from queuectl_core.operations import hooks
from queuectl_core.queue import Queue

from ..snapshots import same_as
from .dashboard import Answer, fields_in
from .inside import FORM, Inside
from .scene import plain, scene

FOLDER = Path(__file__).parent / "snapshots"
JSON = (b"content-type", b"application/json")
START, STOP, JOB = "/workers/start", "/workers/stop", "/jobs"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with scene(tmp_path_factory.mktemp("refused")) as (made, _):
        yield made


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Inside]:
    with scene(tmp_path) as (made, _), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Queue, "start_workers", start_workers)
        patch.setattr(hooks, "test", tried)
        patch.setattr(queue_module, "PAUSE_PATIENCE", 0.0)
        yield made


def ask(app: Inside, method: str, path: str, body: Any = None) -> Answer:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return app.ask(method, f"/api/v1{path}", raw, [JSON])


def line(app: Inside, method: str, path: str, body: Any = None) -> str:
    """What was asked, and what was answered."""
    answer = ask(app, method, path, body)
    shown = json.loads(answer.body)
    if isinstance(shown, dict) and "detail" in shown and "title" in shown:
        more = [f"line {one['line']}: {one['detail']}" for one in shown.get("problems", ())]
        said = " | ".join([shown["detail"], *more])
    else:
        said = json.dumps(shown)
    asked = str(body) if isinstance(body, bytes) else "" if body is None else json.dumps(body)
    return plain(f"{method} {path[:80]} {asked[:80]}\n    {answer.status} {said[:1600]}", app)


REFUSED: dict[str, Sequence[tuple[Any, ...]]] = {
    "jobs": (
        ("GET", "/jobs?limit=0"),
        ("GET", "/jobs?limit=1001"),
        ("GET", "/jobs?limit=x"),
        ("GET", "/jobs?before=0"),
        ("GET", "/jobs?before=99999999999999999999"),
        ("GET", "/jobs?befor=1"),
        ("GET", "/jobs?state="),
        ("GET", "/jobs?state=nonsense"),
        ("GET", "/jobs?exit_code=1x"),
        ("GET", "/jobs?exit-code=1234567890"),
        ("GET", "/jobs?show_env=yes"),
        ("GET", "/jobs?search=%ff"),
        ("GET", "/jobs/typo?show_env=2"),
        ("GET", "/jobs/typo/output?attempt=0"),
        ("GET", "/jobs/typo/output?offset=x"),
        ("GET", "/jobs/typo/output?raw=x"),
        ("GET", "/jobs/sync-1/output/stream?attempt=2"),
        ("GET", "/jobs/sync"),
        ("GET", "/jobs/typo/tree?limit=1001"),
        ("POST", JOB, b"{"),
        ("POST", JOB, b'"\xff"'),
        ("POST", JOB, 5),
        ("POST", JOB, {"command": "true", "on_conflict": "both"}),
        ("POST", JOB, {"command": "true", "on_conflict": "fail", "onConflict": "fail"}),
        ("POST", JOB, [{"command": "true"}, 5, {"comand": "x"}]),
        ("POST", "/jobs/sync/cancel"),
        ("POST", "/jobs/done/cancel"),
        ("POST", "/jobs/done/cancel", {"now": True}),
        ("POST", "/jobs/done/hold", []),
        ("POST", "/jobs/done/hold"),
        ("POST", "/jobs/later/release"),
        ("POST", "/jobs/report/retry"),
        ("POST", "/jobs/later/retry", {"command": ""}),
        ("POST", "/jobs/later/edit", {}),
        ("POST", "/jobs/later/edit", []),
        ("POST", "/jobs/later/edit", {"id": "x"}),
        ("POST", "/jobs/done/edit", {"priority": 1}),
        ("DELETE", "/jobs/report"),
        ("DELETE", "/jobs/later"),
        ("DELETE", "/jobs/done?cascade=2"),
    ),
    "bulk": (
        ("POST", "/retry", {}),
        ("POST", "/cancel"),
        ("POST", "/remove", {"all": 1}),
        ("POST", "/remove", {"all": False}),
        ("POST", "/hold", {"search": ["a"]}),
        ("POST", "/release", {"queue": ""}),
        ("POST", "/release", {"queue": [None]}),
        ("POST", "/release", {"exit_code": True}),
        ("POST", "/release", {"exit_code": 1.5}),
        ("POST", "/release", {"colour": "red"}),
        ("POST", "/dlq/retry", {"state": "failed"}),
        ("POST", "/dlq/purge", {"state": ["dead", "failed"]}),
        ("POST", "/dlq/purge", {}),
    ),
    "workers": (
        ("POST", START, {"count": True}),
        ("POST", START, {"count": "2"}),
        ("POST", START, {"count": 0}),
        ("POST", START, {"queues": "mail"}),
        ("POST", START, {"queues": [1]}),
        ("POST", START, {"queues": ["a b"]}),
        ("POST", START, {"many": 2}),
        ("POST", STOP, {}),
        ("POST", STOP, {"all": True, "workers": ["w3kd-1"]}),
        ("POST", STOP, {"all": 1}),
        ("POST", STOP, {"workers": "w3kd-1"}),
        ("POST", STOP, {"workers": [1]}),
        ("POST", STOP, {"workers": ["nobody"]}),
        ("POST", STOP, {"all": True, "now": 1}),
    ),
    "queues": (
        ("GET", "/queues/nobody"),
        ("POST", "/queues/mail/pause", {"for": 0}),
        ("POST", "/queues/mail/pause", {"for": True}),
        ("POST", "/queues/mail/pause", {"for": [1]}),
        ("POST", "/queues/mail/pause", {"for": "soon"}),
        ("POST", "/queues/mail/pause", {"for": 1e12}),
        ("POST", "/queues/mail/pause", {"reason": 5}),
        ("POST", "/queues/mail/pause", {"until": 5}),
        ("POST", "/queues/mail/resume", {"reason": "x"}),
        ("POST", "/queues/nobody/resume"),
        ("POST", "/queues/mail/set", {}),
        ("POST", "/queues/mail/set", ["limit"]),
        ("POST", "/queues/mail/set", {"limit": 0}),
        ("POST", "/queues/mail/set", {"width": 1}),
        ("POST", "/queues/mail/remove"),
        ("POST", "/queues/nobody/remove"),
    ),
    "rest": (
        ("GET", "/stats?since=0s"),
        ("GET", "/stats?since=367d"),
        ("GET", "/stats?since=x"),
        ("GET", "/dlq/groups?limit=1001"),
        ("GET", "/events?limit=1001"),
        ("GET", "/events?limit=0"),
        ("GET", "/events?cursor=5"),
        ("GET", "/events?kind=nonsense"),
        ("GET", "/events?since=x"),
        ("GET", "/events?after=x"),
        ("GET", "/events?job=nobody"),
        ("GET", "/events?job=%ff"),
        ("GET", "/events?jobs=" + "x" * 50),
        ("GET", "/events/stream?after=5"),
        ("GET", "/events/stream?cursor=x"),
        ("GET", "/hooks/nobody"),
        ("POST", "/hooks/chat/pause", {"reason": 5}),
        ("POST", "/hooks/chat/pause", {"for": 5}),
        ("POST", "/hooks/nobody/pause"),
        ("POST", "/hooks/chat/resume", {"reason": "x"}),
        ("POST", "/hooks/chat/test", {"reason": "x"}),
        ("POST", "/schedules/nobody/pause"),
        ("POST", "/schedules/nightly/pause", {"reason": 5}),
        ("POST", "/schedules/nightly/pause", {"for": 5}),
        ("POST", "/schedules/nightly/resume", {"reason": "x"}),
        ("POST", "/schedules/nightly/run", {"now": True}),
        ("POST", "/schedules/poll/pause", {"reason": "a" * 301}),
        ("GET", "/stream?since=-1"),
        ("PUT", "/config/max-retries", {"value": True}),
        ("PUT", "/config/max-retries", {"value": None}),
        ("PUT", "/config/max-retries", {}),
        ("PUT", "/config/max-retries", {"value": 1, "key": 2}),
        ("PUT", "/config/max-retries", {"value": "x"}),
        ("PUT", "/config/nonsense", {"value": 1}),
        ("DELETE", "/config/nonsense"),
        ("GET", "/nonsense"),
        ("PATCH", "/jobs"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(app: Inside, name: str) -> None:
    same_as(FOLDER / f"refused-{name}.txt", "\n".join(line(app, *one) for one in REFUSED[name]))


def test_a_limit_is_the_number_that_is_said(app: Inside) -> None:
    assert len(ask(app, "GET", "/jobs?limit=1000").json) == 13
    assert len(ask(app, "GET", "/jobs").json) == 13
    assert ask(app, "GET", "/dlq/groups?limit=1000").status == 200
    assert ask(app, "GET", "/events?limit=1000").status == 200
    assert ask(app, "GET", "/jobs/later/tree?limit=1000").status == 200
    assert ask(app, "GET", "/stats?since=366d").status == 200
    assert ask(app, "GET", "/jobs?" + "&".join(["queue=mail"] * 200)).status == 200
    assert ask(app, "GET", "/jobs?" + "&".join(["queue=mail"] * 201)).status == 400
    assert ask(app, "GET", "/events?" + "&".join(["kind=job"] * 200)).status == 200
    assert ask(app, "GET", "/events?" + "&".join(["kind=job"] * 201)).status == 400
    many = ask(app, "POST", JOB, [5] * 5001)
    assert (many.status, many.json["detail"]) == (413, "more than 5000 jobs; send them in parts")
    most = ask(app, "POST", JOB, [5] * 5000)
    assert most.status == 400
    assert [one["line"] for one in most.json["problems"]] == list(range(1, 101))
    name = "x" * 41
    assert (
        ask(app, "GET", f"/jobs?{name}=1")
        .json["detail"]
        .startswith(f"unknown parameter '{'x' * 39}…'")
    )
    assert (
        ask(app, "GET", f"/events?{name}=1")
        .json["detail"]
        .startswith(f"unknown parameter '{'x' * 39}…'")
    )
    assert (
        ask(app, "POST", START, {name: 1}).json["detail"].startswith(f"unknown field '{'x' * 40}'")
    )


async def start_workers(self: Queue, count: int, queues: Sequence[str] = ()) -> list[Worker]:
    found = await self.workers()
    return [found[0]._replace(id=f"new-{n}", queues=tuple(queues)) for n in range(min(count, 3))]


async def tried(*_: object) -> values.Tested:
    return values.Tested(
        accepted=False, said="it was refused", output="no\n", status=500, exit_code=None
    )


CHANGES: dict[str, Sequence[tuple[Any, ...]]] = {
    "jobs": (
        ("POST", JOB, "true"),
        ("POST", JOB, {"command": ["a", "b"], "id": "new", "unique": "n"}),
        ("POST", JOB, {"command": "x", "unique": "n", "on-conflict": "existing"}),
        ("POST", JOB, []),
        ("POST", JOB, [{"command": "1", "id": "m-1"}, {"command": "2", "id": "m-2"}]),
        ("POST", "/jobs/new/hold"),
        ("POST", "/jobs/new/release"),
        ("POST", "/jobs/new/edit", {"priority": 3, "key": "k"}),
        ("POST", "/jobs/new/cancel"),
        ("POST", "/jobs/new/retry"),
        ("POST", "/jobs/sync-1/retry", {"command": "sync --again"}),
        ("POST", "/jobs/report/cancel"),
        ("DELETE", "/jobs/later?cascade=1"),
        ("DELETE", "/jobs/done"),
        ("GET", "/status"),
    ),
    "bulk": (
        ("POST", "/hold", {"queue": "mail"}),
        ("POST", "/release", {"state": "pending", "queue": ["mail"]}),
        ("POST", "/cancel", {"search": "send"}),
        ("POST", "/retry", {"state": "cancelled"}),
        ("POST", "/dlq/retry", {"exit_code": [12, 13]}),
        ("POST", "/dlq/purge", {"all": True}),
        ("POST", "/remove", {"key": "done"}),
        ("POST", "/hold", {"all": True}),
        ("POST", "/release", {"all": True}),
        ("POST", "/cancel", {"all": True}),
        ("GET", "/status"),
    ),
    "rest": (
        ("POST", "/queues/mail/resume"),
        ("POST", "/queues/mail/pause", {"for": "10m", "reason": "why not"}),
        ("POST", "/queues/new/pause", {"for": 60}),
        ("POST", "/queues/new/pause"),
        ("POST", "/queues/new/set", {"limit": 3, "rate": "5/1s"}),
        ("POST", "/queues/new/remove"),
        ("POST", "/hooks/chat/pause", {"reason": "too loud"}),
        ("POST", "/hooks/chat/resume"),
        ("POST", "/hooks/chat/test"),
        ("POST", "/schedules/nightly/pause", {"reason": "it rains"}),
        ("POST", "/schedules/nightly/resume"),
        ("POST", "/schedules/poll/resume"),
        ("PUT", "/config/max-retries", {"value": 7}),
        ("PUT", "/config/timeout", {"value": "1m"}),
        ("DELETE", "/config/max-retries"),
        ("POST", START, {}),
        ("POST", START, {"count": 2, "queues": ["mail", "default"]}),
        ("POST", STOP, {"workers": ["w3kd-2"]}),
        ("POST", STOP, {"all": True, "now": True}),
        ("GET", "/workers"),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_operations_do(fresh: Inside, name: str) -> None:
    lines = [line(fresh, *one) for one in CHANGES[name]]
    text = re.sub(r'"id": "[0-9a-z]{10}"', '"id": "ID"', "\n".join(lines))
    same_as(FOLDER / f"operations-{name}.txt", text)


# -- forms --------------------------------------------------------------------------------

Form = tuple[tuple[str, str], ...]


def form(action: str, *pairs: tuple[str, str], **fields: str) -> Form:
    named = [(name.rstrip("_"), value) for name, value in fields.items()]
    return (("action", action), ("back", "/settings"), *pairs, *named)


def jobs(*marks: str) -> Form:
    return tuple(("job", mark) for mark in marks)


LATER, HELD, SYNC = "7.0.pending.later", "10.0.waiting.held", "1.1.dead.sync-1"
DONE, REPORT = "4.1.completed.done", "6.1.processing.report"

FORMS: dict[str, Sequence[Form]] = {
    "jobs": (
        form("hold", *jobs(LATER)),
        form("hold", *jobs(LATER)),
        form("release", *jobs("7.0.waiting.later")),
        form("hold", *jobs(LATER, HELD)),
        form("remove", *jobs(DONE)),
        form("retry", *jobs(SYNC, "2.1.dead.sync-2")),
        form("retry", *jobs(SYNC)),
        form("retry", *jobs("3.1.dead.resize", SYNC)),
        form("cancel", *jobs(REPORT, DONE, SYNC)),
        form("remove", *jobs(DONE)),
        form("remove", *jobs(REPORT)),
        form("remove"),
        form("remove", *jobs("nonsense")),
        form("remove-with-children", *jobs("7.0.waiting.later")),
        form("remove-with-children", *jobs(LATER, HELD)),
        form("retry", *jobs("11.0.cancelled.typo")),
        form("edit", *jobs("2.0.dead.sync-2"), command="x"),
        form("edit", *jobs("3.0.pending.resize"), command="resize\r\n--again"),
        form("copy", *jobs("3.0.dead.resize"), command="copy 'it"),
        form("edit", *jobs("5.1.failed.flaky"), command="x 'y"),
    ),
    "matching": (
        form("hold-all", queue="mail"),
        form("release-all", queue="mail"),
        form("retry-all", state="dead", search="sync"),
        form("cancel-all", state="waiting"),
        form("remove-all", reason="exit 1: <no> luck with resize"),
        form("remove-all", state="processing"),
        form("nonsense"),
    ),
    "workers": (
        form("start-workers"),
        form("start-workers", count=" 32 ", queue="mail, default"),
        form("start-workers", count="33"),
        form("start-workers", count="many"),
        form("start-workers", count="99999"),
        form("start-workers", count="100000"),
        form("stop-workers"),
        form("stop-workers", worker="w3kd-2"),
        form("stop-workers", worker="w3kd-1"),
        form("stop-all-workers"),
    ),
    "rest": (
        form("pause-queue", queue="default", for_=" 1h ", reason=" two\nlines "),
        form("pause-queue", queue="default", for_="soon"),
        form("pause-queue"),
        form("resume-queue", ("queue", "mail"), ("queue", "default"), ("queue", "mail")),
        form("resume-queue", queue="nobody"),
        form("set-queue", queue="new", limit="2", rate=""),
        form("set-queue", queue="mail", was="2 none 1 60/1m", limit="3", per_host="1", rate=""),
        form("set-queue", queue="mail", was="2 none 1 60/1m", limit="4"),
        form("set-queue", queue="mail", limit=""),
        form("set-queue", queue="mail", limit="x"),
        form("remove-queue", queue="new"),
        form("pause-schedule", schedule="nightly", reason="because"),
        form("pause-schedule", schedule="nightly"),
        form("resume-schedule", schedule="nightly"),
        form("resume-schedule", schedule="nightly"),
        form("run-schedule", schedule="poll"),
        form("pause-hook", hook="chat", reason="x" * 300),
        form("pause-hook", hook="chat", reason="x" * 301),
        form("pause-hook", hook="chat", reason="a\0b"),
        form("resume-hook", ("hook", "chat"), ("hook", "mail"), ("hook", "mail")),
        form("test-hook", hook="chat"),
        form("test-hook", ("hook", "chat"), ("hook", "mail")),
        form("test-hook"),
        form("set-setting", key="max-retries", value="9"),
        form("set-setting", key="max-retries", value="x"),
        form("unset-setting", key="max-retries"),
    ),
}


def send(app: Inside, target: str, given: Form) -> list[str]:
    """What a form leads to: the question, if there is one, and after its answer what is said."""
    answer = app.browse(target, given)
    lines = [str(answer.status)]
    if answer.status == 200:
        lines += said(answer.text, r"<h1>(.*?)</h1>|<li>([^<]*)</li>|<code>(.*?)</code>")
        answer = app.browse("/answer", [("key", fields_in(answer.text)["key"])])
    if answer.status == 303:
        shown = app.browse("/settings").text
        lines += [f"→ {answer['location']}", *banners(shown)]
    else:
        lines += [
            str(answer.status),
            *said(answer.text, r"<(?:h1|p|div class=.banner)[^>]*>(.+)</"),
        ]
    return lines


def said(text: str, pattern: str) -> list[str]:
    found = [next(filter(None, one.groups()), "") for one in re.finditer(pattern, text)]
    return [html.unescape(re.sub("<[^>]+>", " ", one)) for one in found]


def banners(text: str) -> list[str]:
    found = re.findall(r'<div class="banner (\w+)" role="status">(.*?)</div>', text)
    return [f"{role}: {html.unescape(re.sub('<[^>]+>', '  ', one))}" for role, one in found]


@pytest.mark.parametrize("name", FORMS)
def test_what_forms_do(fresh: Inside, name: str) -> None:
    lines = []
    for given in FORMS[name]:
        asked = " ".join(f"{n}={v[:40]!r}" for n, v in given if n != "back")
        lines.append(asked + "".join(f"\n    {one}" for one in send(fresh, "/act", given)))
    text = re.sub(r"\b(?=[a-z]*\d)[0-9a-z]{10}\b", "ID", plain("\n".join(lines), fresh))
    same_as(FOLDER / f"forms-{name}.txt", text)


FIELDS: Sequence[tuple[str, Form]] = (
    ("/enqueue", (("command", ""),)),
    ("/enqueue", (("command", "a\r\nb"), ("id", "n-1"), ("unique", "u-1"), ("priority", "4"))),
    ("/enqueue", (("command", "x"), ("unique", "u-1"))),
    ("/enqueue", (("command", "x"), ("id", "n-1"))),
    ("/enqueue", (("command", "x"), ("after", "nobody"))),
    ("/enqueue", (("command", "x"), ("max_retries", "many"))),
    ("/jobs/later/edit", (("job", LATER), ("was", "x"))),
    ("/jobs/later/edit", (("job", LATER),)),
    ("/jobs/later/edit", (("job", LATER), ("was", "W"))),
    ("/jobs/later/edit", (("job", LATER), ("was", "W"), ("priority", "high"))),
    ("/jobs/later/edit", (("job", LATER), ("was", "W"), ("command", "clean\r\nup"),
     ("priority", " 3 "), ("key", "k"), ("queue", "mail"))),
    ("/jobs/later/edit", (("job", LATER), ("was", "W"), ("key", " "),
     ("run_at", "2031-01-31T09:00Z"))),
    ("/jobs/flaky/edit", (("job", "5.1.failed.flaky"), ("was", "W"), ("command", "./x 'a b"))),
    ("/jobs/flaky/edit", (("job", "5.1.failed.flaky"), ("was", "W"), ("command", "./x 'a b'"))),
    ("/jobs/flaky/edit", (("job", "5.2.failed.flaky"), ("was", "W"))),
    ("/jobs/report/edit", (("job", REPORT), ("was", "W"))),
    ("/logout", ()),
)  # fmt: skip


def test_what_the_forms_with_fields_do(fresh: Inside) -> None:
    lines = []
    for target, given in FIELDS:
        sent = list(given)
        if ("was", "W") in sent:  # as the form has it now
            page = fresh.browse(target).text
            sent[sent.index(("was", "W"))] = ("was", fields_in(page).get("was", ""))
        lines.append(f"{target} " + " ".join(f"{n}={v!r}" for n, v in given))
        lines += [f"    {one}" for one in send(fresh, target, tuple(sent))]
        name = target.split("/")[2] if "/jobs/" in target else "n-1"
        job = ask(fresh, "GET", f"/jobs/{name}").json
        shown = ("command", "priority", "key", "queue", "run_at", "id")
        lines.append(f"    {[job[one] for one in shown if one in job]}")
    same_as(FOLDER / "forms-fields.txt", plain("\n".join(lines), fresh))


def test_programs_send_no_forms(app: Inside) -> None:
    for target in ("/act", "/answer", "/enqueue", "/jobs/later/edit"):
        answer = app.ask("POST", target, b"action=hold&job=7.0.pending.later", [FORM])
        assert answer.status == 403
        assert "this form needs a browser session" in answer.text.lower()


def test_a_change_needs_the_whole_id(app: Inside) -> None:
    for verb in ("retry", "cancel", "hold", "release"):
        for body in (None, {"command": "true"} if verb == "retry" else None):
            assert ask(app, "POST", f"/jobs/flak/{verb}", body).status == 404
    assert ask(app, "POST", "/jobs/flak/edit", {"priority": 1}).status == 404
    assert ask(app, "DELETE", "/jobs/flak").status == 404
    assert ask(app, "GET", "/jobs/flak").json["id"] == "flaky"
    page = app.browse("/jobs/flak")
    assert (page.status, page["location"]) == (303, "/jobs/flaky")
    assert app.browse("/jobs/flak/edit").status == 404


def test_a_form_has_500_marks_at_most(app: Inside) -> None:
    marks = [form("hold", *jobs(*(f"{n}.0.pending.x" for n in range(1, 1 + count))))
             for count in (500, 501)]  # fmt: skip
    assert "nothing was done" in send(app, "/act", marks[0])[-1]
    assert "more than 500 jobs are marked" in send(app, "/act", marks[1])[-1]
