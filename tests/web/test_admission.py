"""Queues, holds, edits, reasons and trees in the browser and through the API: what is answered, and
what the store has afterwards."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support import Cli, eventually
from .conftest import cli_in
from .dashboard import TOKEN, Answer, Browser, Dashboard, fields_in
from .hostile import TEXTS
from .test_security import is_harmless


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A store of this module. No worker runs."""
    made = cli_in(tmp_path_factory.mktemp("admission"))
    made("enqueue", "true", "--id", "first", "--run-at", "+1d")
    yield made
    made.close()


def enqueue(browser: Browser, **fields: Any) -> str:
    answer = browser.api("POST", "/jobs", {"command": "true", **fields})
    assert answer.status == 201, answer.body
    return str(answer.json["id"])


def shown(browser: Browser, job: str) -> dict[str, Any]:
    """The job as the command line shows it."""
    found: dict[str, Any] = browser.site.cli.json("show", job)
    return found


def queue(browser: Browser, name: str) -> dict[str, Any]:
    found: dict[str, Any] = browser.site.cli.json("queue", "show", name)
    return found


def act(browser: Browser, action: str, **fields: str) -> str:
    """Send a form, confirm what is asked, and return the next page."""
    answer = browser.post("/act", [("action", action), *fields.items()])
    if answer.status == 200:
        question = fields_in(answer.text)
        answer = browser.post("/answer", list(question.items()))
    return html.unescape(browser.follow(answer).text)


def buttons(answer: Answer) -> set[str]:
    return set(re.findall(r'<button name="action" value="([^"]*)"', answer.text))


# -- queues ---------------------------------------------------------------------------------


def test_limits_are_set_and_taken_away_through_the_api(there: Browser) -> None:
    given = {"limit": 2, "per_host": "1", "rate": "60/1m"}
    answer = there.api("POST", "/queues/limits/set", given)
    assert answer.status == 200
    assert answer.json == queue(there, "limits")
    assert (answer.json["limit"], answer.json["per_host"], answer.json["rate"]) == (2, 1, "60/1m")
    answer = there.api("POST", "/queues/limits/set", {"limit": None, "rate": "none"})
    assert answer.json == queue(there, "limits")
    assert (answer.json["limit"], answer.json["per_host"], answer.json["rate"]) == (None, 1, None)
    gone = there.api("POST", "/queues/limits/remove")
    assert (gone.status, gone.json["name"], gone.json["per_host"]) == (200, "limits", 1)
    assert there.api("GET", "/queues/limits").status == 404


def test_a_queue_is_paused_and_resumed_through_the_api(there: Browser) -> None:
    enqueue(there, queue="stopped")
    answer = there.api("POST", "/queues/stopped/pause", {"for": "10m", "reason": "disk full"})
    assert answer.status == 200
    found = answer.json
    assert found["paused"]
    assert found["paused_reason"] == "disk full"
    assert "@" in found["paused_by"]
    assert found["paused_until"] > found["paused_at"]
    assert queue(there, "stopped")["paused_until"] == found["paused_until"]
    assert there.api("POST", "/queues/stopped/pause").json["paused_until"] is None
    refused = there.api("POST", "/queues/stopped/remove")
    assert (refused.status, refused.json["exit_code"]) == (409, 4)
    assert queue(there, "stopped")["paused"]
    resumed = there.api("POST", "/queues/stopped/resume")
    assert (resumed.status, resumed.json["paused"], resumed.json["paused_by"]) == (200, False, None)
    assert not queue(there, "stopped")["paused"]


SENSELESS: tuple[tuple[str, Any], ...] = (
    *(("pause", {"for": given}) for given in ("x", -1, 0, True, "11y", 1e12)),
    *(("pause", {name: 1}) for name in ("reason", "until")),
    *(("pause", given) for given in ("10m", 10)),
    *(("set", {name: -1}) for name in ("limit", "per_host", "per_key", "rate", "limits")),
    *(("set", {"limit": given}) for given in (1.5, True, "many")),
    *(("set", given) for given in (None, "4")),
    ("set", {}),
    ("set", []),
    ("pause", []),
    ("resume", {"for": "1m"}),
)


@pytest.mark.parametrize(("verb", "body"), SENSELESS)
def test_a_change_of_a_queue_that_makes_no_sense_is_refused(
    there: Browser, verb: str, body: Any
) -> None:
    answer = there.api("POST", f"/queues/senseless/{verb}", body)
    assert answer.status == 400
    assert len(answer.json["detail"].splitlines()) == 1
    assert there.api("GET", "/queues/senseless").status == 404


def test_the_pages_of_queues_show_and_change_them(there: Browser) -> None:
    enqueue(there, queue="mail", id="letter")
    said = act(there, "set-queue", queue="mail", limit="4", per_host="2", rate="60/1m",
               back="/queues")  # fmt: skip
    assert "queuectl queue set mail --limit 4 --per-host 2 --rate 60/1m" in said
    said = act(there, "pause-queue", queue="mail", reason="the server  is\ndown", **{"for": "2h"})
    assert "queue mail paused for 2h00m" in said
    found = queue(there, "mail")
    assert (found["limit"], found["per_host"], found["rate"]) == (4, 2, "60/1m")
    assert (found["paused"], found["paused_reason"]) == (True, "the server is down")
    page = html.unescape(there.get("/queues").text)
    for text in ('href="/queues/mail"', "0/4", "60/1m", found["paused_by"], "the server is down"):
        assert text in page, text
    page = html.unescape(there.get("/queues/mail").text)
    for text in (found["paused_by"], "the server is down", found["paused_until"], 'value="4"'):
        assert text in page, text
    assert 'href="/queues"' in there.get("/").text
    assert "resumed" in act(there, "resume-queue", queue="mail")
    assert not queue(there, "mail")["paused"]
    assert "has a job that has not ended" in act(there, "remove-queue", queue="mail")
    assert queue(there, "mail")["limit"] == 4


def test_several_queues_are_paused_at_once(there: Browser) -> None:
    form = [("action", "pause-queue"), ("queue", "one"), ("queue", "two")]
    question = fields_in(there.post("/act", form).text)
    assert there.api("GET", "/queues/one").status == 404, "nothing before the answer"
    there.follow(there.post("/answer", list(question.items())))
    assert queue(there, "one")["paused"]
    assert queue(there, "two")["paused"]


def test_limits_that_have_changed_meanwhile_stay(there: Browser) -> None:
    there.api("POST", "/queues/stale/set", {"limit": 1})
    form = fields_in(there.get("/queues/stale").text)
    there.site.cli("queue", "set", "stale", "--limit", "7", "--per-key", "2")
    del form["csrf"]
    said = act(there, "set-queue", **form | {"limit": "3"})
    assert "have changed meanwhile" in said
    assert (queue(there, "stale")["limit"], queue(there, "stale")["per_key"]) == (7, 2)
    form = fields_in(there.get("/queues/stale").text)
    del form["csrf"]
    act(there, "set-queue", **form | {"limit": "3", "per_key": "", "per_host": "", "rate": ""})
    assert (queue(there, "stale")["limit"], queue(there, "stale")["per_key"]) == (3, None)


@pytest.mark.parametrize(
    "form",
    [
        {"action": "pause-queue"},
        {"action": "pause-queue", "queue": "a b"},
        {"action": "pause-queue", "queue": "wrong", "for": "soon"},
        {"action": "pause-queue", "queue": "wrong", "reason": "a" * 301},
        {"action": "resume-queue", "queue": "wrong"},
        {"action": "set-queue", "queue": "wrong"},
        {"action": "set-queue", "queue": "wrong", "limit": "many"},
        {"action": "set-queue", "queue": ""},
        {"action": "remove-queue", "queue": "wrong"},
    ],
)
def test_a_form_of_a_queue_that_makes_no_sense_changes_nothing(
    there: Browser, form: dict[str, str]
) -> None:
    said = act(there, **form)
    assert 'class="banner bad"' in said
    assert there.api("GET", "/queues/wrong").status == 404


# -- why and tree ---------------------------------------------------------------------------


def test_why_and_the_tree_are_on_the_page_of_a_job(there: Browser) -> None:
    enqueue(there, id="top", run_at="+1d")
    enqueue(there, id="middle", after=["top"], key="k<b>", queue="tree")
    enqueue(there, id="bottom", after_any=["middle"], on_parent_failure="hold")
    there.api("POST", "/queues/tree/pause", {"reason": "why & how"})
    why = there.api("GET", "/jobs/middle/why").json
    assert (why["id"], why["state"], why["ready"]) == ("middle", "waiting", False)
    assert [one["reason"] for one in why["blockers"]] == ["WaitingFor", "QueuePaused", "NoWorker"]
    assert why["blockers"][1]["command"] == "queuectl queue resume tree"
    tree = there.api("GET", "/jobs/middle/tree").json
    assert [(one["kind"], one["parent"]) for one in tree["parents"]] == [("after", "top")]
    assert [(one["kind"], one["child"]) for one in tree["children"]] == [("after_any", "bottom")]
    assert tree["complete"] is True
    of_cli = there.site.cli.json("show", "--tree", "middle")["tree"]
    assert {name: tree[name] for name in of_cli} == of_cli
    page = html.unescape(there.get("/jobs/middle").text)
    for text in ("WaitingFor", "top (pending) to complete", "QueuePaused", "why & how",
                 "queuectl queue resume tree", 'href="/queues/tree"', 'href="/jobs/top"',
                 'href="/jobs/bottom"', "after_any", "NoWorker"):  # fmt: skip
        assert text in page, text
    assert "remove-with-children" in buttons(there.get("/jobs/middle"))


def test_the_jobs_say_why_they_wait(there: Browser) -> None:
    enqueue(there, id="listed", queue="listed", key="a,b & c")
    enqueue(there, id="listed-held", queue="listed", hold=True)
    there.api("POST", "/queues/listed/pause")
    rows = {}
    for row in there.get("/jobs?queue=listed").text.split("<tr>")[2:]:
        cells = re.findall(r'data-label="why"[^>]*>([^<]*)<', row)
        rows[re.findall(r'href="/jobs/([^"]*)"', row)[0]] = cells
    assert rows == {"listed": ["QueuePaused"], "listed-held": ["Held"]}
    by_key = there.get("/jobs?key=a%2Cb+%26+c")
    assert re.findall(r'href="/jobs/(listed[^"]*)"', by_key.text) == ["listed"]
    assert 'name="key" value="a,b &amp; c"' in by_key.text
    by_state = there.get("/jobs?queue=listed&state=waiting").text
    assert re.findall(r'href="/jobs/(listed[^"]*)"', by_state) == ["listed-held"]
    assert [job["id"] for job in there.api("GET", "/jobs?key=a%2Cb+%26+c").json] == ["listed"]
    assert 'href="/jobs?state=waiting"' in there.get("/").text


# -- hold, release, remove ------------------------------------------------------------------


def test_a_job_is_held_and_released(there: Browser) -> None:
    job = enqueue(there)
    held = there.api("POST", f"/jobs/{job}/hold")
    assert (held.status, held.json["state"], held.json["hold"]) == (200, "waiting", True)
    assert there.api("POST", f"/jobs/{job}/release").json["state"] == "pending"
    assert there.api("POST", f"/jobs/{job}/release").status == 409
    assert "is held until it is released" in act(there, "hold", job=mark(there, job))
    assert shown(there, job)["hold"]
    assert "release" in buttons(there.get(f"/jobs/{job}"))
    assert "hold" not in buttons(there.get(f"/jobs/{job}"))
    assert "is released" in act(there, "release", job=mark(there, job))
    assert shown(there, job)["state"] == "pending"


def mark(browser: Browser, job: str) -> str:
    return fields_in(browser.get(f"/jobs/{job}").text)["job"]


def test_jobs_are_held_and_released_together(there: Browser) -> None:
    jobs = [enqueue(there, queue="together") for _ in range(3)]
    answer = there.api("POST", "/hold", {"queue": "together"})
    assert (answer.status, answer.json) == (200, {"held": 3})
    assert {shown(there, job)["hold"] for job in jobs} == {True}
    assert there.api("POST", "/release", {"queue": "together"}).json == {"released": 3}
    assert there.api("POST", "/hold", {}).status == 400
    form = [("action", "hold"), *(("job", mark(there, job)) for job in jobs[:2])]
    question = fields_in(there.post("/act", form).text)
    there.follow(there.post("/answer", list(question.items())))
    assert [shown(there, job)["hold"] for job in jobs] == [True, True, False]
    assert "held 1 job" in act(there, "hold-all", queue="together", state="pending")
    assert "released 3 jobs" in act(there, "release-all", queue="together")
    assert not any(shown(there, job)["hold"] for job in jobs)


def test_a_hold_of_a_job_that_has_changed_does_nothing(there: Browser) -> None:
    job = enqueue(there)
    before = mark(there, job)
    there.site.cli("cancel", job)
    assert "has changed since the page was loaded" in act(there, "hold", job=before)
    assert shown(there, job)["state"] == "cancelled"


def test_a_parent_is_removed_only_with_its_children(there: Browser) -> None:
    for n in (1, 2):
        enqueue(there, id=f"parent-{n}", run_at="+1d")
        enqueue(there, id=f"child-{n}", after=[f"parent-{n}"])
    refused = there.api("DELETE", "/jobs/parent-1")
    assert (refused.status, refused.json["exit_code"]) == (409, 4)
    assert shown(there, "parent-1")["state"] == "pending"
    assert there.api("DELETE", "/jobs/parent-1?cascade=true").status == 200
    assert there.api("GET", "/jobs/child-1").status == 404
    assert "is deleted" in act(there, "remove-with-children", job=mark(there, "parent-2"))
    assert there.api("GET", "/jobs/parent-2").status == 404
    assert there.api("GET", "/jobs/child-2").status == 404


# -- edit -----------------------------------------------------------------------------------


def test_fields_are_changed_through_the_api(there: Browser) -> None:
    job = enqueue(there, key="old", priority=1)
    changes = {"command": ["echo", "a b"], "priority": 5, "run_at": "2031-01-31T09:00:00Z",
               "queue": "edited", "timeout": "5m", "maxRetries": 7, "key": None}  # fmt: skip
    answer = there.api("POST", f"/jobs/{job}/edit", changes)
    assert answer.status == 200
    assert answer.json == {k: v for k, v in shown(there, job).items() if k != "history"}
    found = answer.json
    assert found["command"] == ["echo", "a b"]
    assert (found["priority"], found["queue"], found["key"]) == (5, "edited", None)
    assert (found["timeout_seconds"], found["max_retries"]) == (300, 7)
    assert found["run_at"] == "2031-01-31T09:00:00.000Z"
    nothing: tuple[Any, ...] = ({}, [])
    for wrong in (*nothing, {"id": "x"}, {"priority": "high"}, {"env": "x"}, {"command": ""}):
        assert there.api("POST", f"/jobs/{job}/edit", wrong).status == 400, wrong
    assert {k: v for k, v in shown(there, job).items() if k != "history"} == found


def save(browser: Browser, job: str, form: dict[str, str], **typed: str) -> Answer:
    return browser.post(f"/jobs/{job}/edit", list((form | typed).items()))


def edit_form(browser: Browser, job: str) -> dict[str, str]:
    """The fields of the form, with what they show."""
    answer = browser.get(f"/jobs/{job}/edit")
    assert answer.status == 200
    found = dict(re.findall(r'<input name="([^"]*)" value="([^"]*)"', answer.text))
    area = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", answer.text, re.DOTALL)
    assert area is not None
    return fields_in(answer.text) | {
        name: html.unescape(text) for name, text in {**found, "command": area[1]}.items()
    }


def test_the_form_changes_what_was_typed_and_nothing_else(there: Browser) -> None:
    job = enqueue(there, command="\n  echo 'two\n lines'\n", key="k", timeout=1.5, run_at="+1d")
    before = shown(there, job)
    form = edit_form(there, job)
    assert "nothing was changed" in there.follow(save(there, job, form)).text
    assert shown(there, job) == before
    typed = {"priority": "7", "key": "", "timeout_seconds": "2m"}
    said = html.unescape(there.follow(save(there, job, form, **typed)).text)
    assert f"queuectl edit {job} --priority 7 --timeout 120 --no-key" in said
    after = shown(there, job)
    assert (after["priority"], after["key"], after["timeout_seconds"]) == (7, None, 120)
    assert after["command"] == before["command"]
    assert after["run_at"] == before["run_at"]
    form = edit_form(there, job)
    there.follow(save(there, job, form, command=form["command"].replace("\n", "\r\n") + "true"))
    assert shown(there, job)["command"] == before["command"] + "true"


def test_a_command_without_a_shell_stays_one(there: Browser) -> None:
    job = enqueue(there, command=["echo", "$HOME", "a b"])
    form = edit_form(there, job)
    there.follow(save(there, job, form, command="echo '$HOME' 'c d'"))
    assert shown(there, job)["command"] == ["echo", "$HOME", "c d"]
    assert save(there, job, edit_form(there, job), command="echo 'x").status == 400


def test_what_is_wrong_in_the_edit_is_said_and_nothing_is_lost(there: Browser) -> None:
    job = enqueue(there)
    form = edit_form(there, job)
    for typed in ({"priority": "high<b>"}, {"queue": "a b"}, {"command": "  "}, {"run_at": "soon"}):
        answer = save(there, job, form, **{"max_retries": "8"} | typed)
        assert answer.status == 400, typed
        is_harmless(answer)
        assert 'name="max_retries" value="8"' in answer.text
    assert shown(there, job)["max_retries"] == 3


def test_an_edit_of_a_job_that_has_changed_meanwhile_is_a_conflict(there: Browser) -> None:
    job = enqueue(there, run_at="+1d")
    form = edit_form(there, job)
    there.site.cli("edit", job, "--priority", "3")
    answer = save(there, job, form, priority="9", command="echo typed")
    assert answer.status == 409
    assert "has changed since the page was loaded" in answer.text
    assert "echo typed" in answer.text
    assert shown(there, job)["priority"] == 3
    form = edit_form(there, job)
    there.site.cli("cancel", job)
    assert save(there, job, form, priority="9").status == 409
    assert shown(there, job)["priority"] == 3
    there.site.cli("remove", job)
    assert save(there, job, form, priority="9").status == 409


def test_the_edit_form_is_for_browsers(store: Cli) -> None:
    path = Path(store.cwd) / "token"
    path.touch(0o600)
    path.write_text(TOKEN)
    site = Dashboard.start(store, "--token-file", str(path))
    headers = [("Authorization", f"Bearer {TOKEN}")]
    assert site.ask("POST", "/jobs/first/edit", b"priority=3", headers).status == 403
    assert store.json("show", "first")["priority"] == 0
    site.stop()


def test_a_running_job_is_neither_edited_nor_held(cli: Cli) -> None:
    gate = cli.cwd / "gate"
    cli("enqueue", "--id", "runs", f"until test -e {gate}; do sleep 0.05; done")
    site = Dashboard.start(cli)
    browser = site.sign_in()
    form = edit_form(browser, "runs")
    worker = cli.start("worker", "start", "--until-empty", "--quiet")
    eventually(lambda: shown(browser, "runs")["state"] == "processing")
    assert browser.api("POST", "/jobs/runs/edit", {"priority": 1}).status == 409
    assert browser.api("POST", "/jobs/runs/hold").status == 409
    assert save(browser, "runs", form, priority="1").status == 409
    assert browser.get("/jobs/runs/edit").status == 409
    page = browser.get("/jobs/runs")
    assert not {"hold", "release"} & buttons(page)
    assert 'action="/jobs/runs/edit"' not in page.text
    assert browser.api("GET", "/jobs/runs/why").json["blockers"] == []
    gate.touch()
    worker.wait()
    assert shown(browser, "runs")["priority"] == 0


# -- enqueue --------------------------------------------------------------------------------


def test_the_new_fields_are_accepted(there: Browser) -> None:
    enqueue(there, id="before", run_at="+1d")
    fields = {"key": "k", "unique": "u-1", "unique_for": 60, "after": ["before"],
              "on_parent_failure": "hold", "hold": True}  # fmt: skip
    job = enqueue(there, **fields)
    found = shown(there, job)
    assert {name: found[name] for name in fields} == fields
    assert found["state"] == "waiting"


def test_a_conflict_on_unique_is_answered_as_was_asked(there: Browser) -> None:
    job = {"command": "echo 1", "unique": "u-2", "id": "holds-2"}
    first = there.api("POST", "/jobs", job)
    assert (first.status, "existing" in first.json) == (201, False)
    again = there.api("POST", "/jobs", {"command": "echo 2", "unique": "u-2"})
    assert (again.status, again.json["id"], again.json["existing"]) == (200, "holds-2", True)
    assert again["location"] == "/api/v1/jobs/holds-2"
    fails = there.api(
        "POST", "/jobs", {"command": "echo 3", "unique": "u-2", "on_conflict": "fail"}
    )
    assert (fails.status, fails.json["exit_code"]) == (409, 4)
    assert shown(there, "holds-2")["command"] == "echo 1"
    replaced = {"command": "echo 4", "unique": "u-2", "on_conflict": "replace"}
    assert there.api("POST", "/jobs", replaced).status == 200
    assert shown(there, "holds-2")["command"] == "echo 4"
    many = there.api("POST", "/jobs", [replaced, {"command": "echo 5"}])
    assert many.status == 201
    assert [one.get("existing", False) for one in many.json] == [True, False]
    wrongs: tuple[Any, ...] = ("skip", 1, ["fail"], {})
    for wrong in wrongs:
        bad = {"command": "true", "on_conflict": wrong}
        assert there.api("POST", "/jobs", bad).status == 400


def idempotent(browser: Browser, key: str, body: Any, *more: tuple[str, str]) -> Answer:
    return browser.api("POST", "/jobs", body, [("Idempotency-Key", key), *more])


def test_a_request_that_is_sent_again_enqueues_nothing(there: Browser) -> None:
    first = idempotent(there, "order-7", {"command": "true"})
    assert first.status == 201
    job = first.json["id"]
    again = idempotent(there, '"order-7"', "true")
    assert (again.status, again.json["id"], again.json["existing"]) == (200, job, True)
    assert shown(there, job)["unique"] == "order-7"
    # Also when the job has ended meanwhile.
    there.site.cli("cancel", job)
    assert idempotent(there, "order-7", {"command": "true"}).json["id"] == job
    assert idempotent(there, "order-8", {"command": "true"}).status == 201
    until = idempotent(there, "order-9", {"command": "true", "unique_until": "end"})
    assert (until.json["unique_until"], until.json["unique_for"]) == ("end", None)
    there.site.cli("cancel", until.json["id"])
    assert idempotent(there, "order-9", {"command": "true"}).status == 201


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("a", [{"command": "true"}]),
        ("a", {"command": "true", "unique": "b"}),
        ("a", {"command": "true", "unique": "a"}),
        ("a", 7),
        ("", {"command": "true"}),
        ('""', {"command": "true"}),
        ("\xe9", {"command": "true"}),
        ("a" * 600, {"command": "true"}),
    ],
)
def test_a_key_that_is_not_for_one_job_is_refused(there: Browser, key: str, body: Any) -> None:
    before = len(there.site.cli.json("list"))
    answer = idempotent(there, key, body)
    assert answer.status == 400
    assert len(answer.json["detail"].splitlines()) == 1
    assert len(there.site.cli.json("list")) == before


def test_two_keys_are_none(there: Browser) -> None:
    assert idempotent(there, "a", "true", ("Idempotency-Key", "b")).status == 400


def test_the_form_of_a_new_job_has_the_new_fields(there: Browser) -> None:
    enqueue(there, id="form-1", run_at="+1d")
    form = [("command", "true"), ("key", "k"), ("unique", "form"), ("after", "form-1, first"),
            ("hold", "yes"), ("on_parent_failure", "hold"), ("id", "form-2")]  # fmt: skip
    said = html.unescape(there.follow(there.post("/enqueue", form)).text)
    assert "--after form-1,first" in said
    found = shown(there, "form-2")
    assert (found["key"], found["unique"], found["hold"]) == ("k", "form", True)
    assert found["after"] == ["form-1", "first"]
    again = there.follow(there.post("/enqueue", [("command", "true"), ("unique", "form")]))
    assert "nothing was enqueued: form-2 holds this unique value" in again.text
    for wrong in ({"after": "nobody"}, {"hold": "maybe"}, {"unique_for": "1h"}):
        answer = there.post("/enqueue", [("command", "true"), *wrong.items()])
        assert answer.status == 400, wrong


# -- text -----------------------------------------------------------------------------------


def test_hostile_text_of_queues_and_keys_is_text(there: Browser) -> None:
    for text in (TEXTS[0], TEXTS[1], TEXTS[2]):
        job = enqueue(there, key=text, unique=f"{text} {text}", queue="hostile", hold=True)
        there.api("POST", "/queues/hostile/pause", {"reason": text})
        for path in ("/queues", "/queues/hostile", f"/jobs/{job}", f"/jobs/{job}/edit", "/jobs"):
            answer = there.get(path)
            assert answer.status == 200
            is_harmless(answer)
            assert text not in answer.text, path
        for path in ("/queues/hostile", f"/jobs/{job}", f"/jobs/{job}/edit"):
            assert text[:20] in html.unescape(there.get(path).text), path


def test_the_overview_names_paused_queues(there: Browser) -> None:
    for info in there.api("GET", "/queues").json:
        if info["paused"]:
            there.api("POST", f"/queues/{info['name']}/resume")
    enqueue(there, queue="paused-0")
    for number in range(7):
        there.api("POST", f"/queues/paused-{number}/pause", {"reason": "a <b> reason"})
    # For half a second the page may be the one of before.
    eventually(lambda: "2 further queues paused" in there.get("/").text)
    found = there.get("/")
    is_harmless(found)
    page = html.unescape(found.text)
    assert "Queue paused-0 is paused by" in page
    assert "a <b> reason (1 job waits)" in page
    assert 'href="/queues/paused-0"' in page
    assert "Queue paused-5" not in page
