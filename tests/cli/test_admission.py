"""The verbs of admission on both stores: what ``enqueue`` has for it, ``hold``, ``release``,
``edit``, ``why``, ``queue``, ``show --tree``, ``remove --cascade``.

Workers, and verbs that read standard input, are real processes. The others run in this one, which
takes a tenth of the time.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ..support import Cli, eventually
from .conftest import Near, Terminal
from .test_globals import one_line


@pytest.fixture
def cli(on_each_store: Near) -> Near:
    return on_each_store


def states(cli: Cli) -> dict[str, str]:
    return {job["id"]: job["state"] for job in cli.json("list")}


def run_all(cli: Cli) -> None:
    cli("worker", "start", "--until-empty", "-q")


def reasons(cli: Cli, ref: str) -> list[str]:
    return [one["reason"] for one in cli.json("why", ref)["blockers"]]


# -- enqueue: fields ------------------------------------------------------------------------


def test_options_set_the_fields(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "p1")
    cli("enqueue", "true", "--id", "p2")
    job = cli.json(
        *("enqueue", "--id", "all", "--key", "db 1", "--unique", "u", "--unique-until", "start"),
        *("--after", "p1,p2", "--after", "p1", "--after-any", "p2", "--after-failed", "p1"),
        *("--on-parent-failure", "hold", "--hold", "true"),
    )
    wanted = {
        "key": "db 1",
        "unique": "u",
        "unique_until": "start",
        "unique_for": None,
        "after": ["p1", "p2"],
        "after_any": ["p2"],
        "after_failed": ["p1"],
        "on_parent_failure": "hold",
        "hold": True,
        "state": "waiting",
        "cause": None,
    }
    assert job | wanted == job
    assert "existing" not in job
    assert cli.json("enqueue", "--unique", "v", "--unique-for", "1h", "true")["unique_for"] == 3600


def test_fields_in_json_and_in_a_file(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "true", "--id", "p1")
    made = cli.json("enqueue", '{"command": "true", "after": "p1", "key": "k", "hold": true}')
    assert (made["after"], made["key"], made["state"]) == (["p1"], "k", "waiting")
    lines = [
        {"id": "c", "command": "true", "after": ["b"]},
        {"id": "b", "command": "true", "after": ["a"]},
        {"id": "a", "command": "true"},
    ]
    text = "\n".join(map(json.dumps, lines))
    assert cli("enqueue", "-", stdin=text).out.split() == ["c", "b", "a"]
    assert states(cli) | {"a": "pending", "b": "waiting", "c": "waiting"} == states(cli)
    run_all(cli)
    assert states(cli) | dict.fromkeys("abc", "completed") == states(cli)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--after", "nobody"), 3, "nobody"),
        (("--after", ""), 2, "after: id '' is not allowed"),
        (("--after-any", "a b"), 2, "after_any: id 'a b' is not allowed"),
        (("--on-parent-failure", "ignore"), 2, "on_parent_failure must be cancel or hold"),
        (("--unique-until", "end"), 2, "unique_until needs a unique value"),
        (("--unique-for", "1h"), 2, "unique_for needs a unique value"),
        (("--unique", "u", "--unique-for", "x"), 2, "--unique-for: not a duration"),
        (("--unique", "u", "--unique-for", "1h", "--unique-until", "end"), 2, "exclude each other"),
        (("--unique", "u", "--unique-until", "never"), 2, "unique_until must be start or end"),
        (("--unique", "u", "--on-conflict", "replce"), 2, "did you mean replace?"),
        (("--key", ""), 2, "key must be a line of text"),
        (("--key", "a\nb"), 2, "key must be a line of text"),
        (("--id", "x", "--after", "x"), 2, "x"),
    ],
)
def test_what_is_refused(cli: Cli, words: tuple[str, ...], code: int, said: str) -> None:
    cli("enqueue", "true", "--id", "there")
    shown = cli("enqueue", *words, "true", code=code)
    assert said in one_line(shown.err)
    assert not shown.out
    assert states(cli) == {"there": "pending"}


def test_a_circle_is_refused_as_a_whole(cli: Cli) -> None:
    text = '{"id":"a","command":"true","after":["b"]}\n{"id":"b","command":"true","after":["a"]}\n'
    cli("config", "set", "timeout", "0")  # makes the store
    shown = cli("enqueue", "-", stdin=text, code=2)
    assert not shown.out
    assert cli.json("list") == []


# -- unique ---------------------------------------------------------------------------------


def test_a_unique_value_is_held_once(cli: Cli) -> None:
    words = ("enqueue", "--unique", "nightly", "true")
    first = cli.json(*words, "--id", "one")
    assert "existing" not in first
    shown = cli(*words, "--id", "two")
    assert shown.out == "one\n"
    assert "one exists and holds the unique value; nothing was added" in one_line(shown.err)
    assert cli.json(*words)["existing"] is True
    assert cli(*words, "-q").err == ""
    shown = cli(*words, "--on-conflict", "fail", code=4)
    assert "one" in one_line(shown.err)
    assert not shown.out
    assert states(cli) == {"one": "pending"}
    run_all(cli)
    assert "existing" not in cli.json(*words, "--id", "three")


def test_replace_changes_a_job_that_has_not_started(cli: Cli) -> None:
    cli("enqueue", "--id", "one", "--unique", "u", "--priority", "1", "echo old")
    words = ("enqueue", "--unique", "u", "--on-conflict", "replace", "--priority", "7", "echo new")
    shown = cli(*words)
    assert shown.out == "one\n"
    assert "its fields were replaced" in one_line(shown.err)
    job = cli.json("show", "one")
    assert (job["command"], job["priority"], job["state"]) == ("echo new", 7, "pending")
    assert list(states(cli)) == ["one"]


def test_replace_leaves_a_running_job_alone(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "--id", "one", "--unique", "u", "touch up; sleep 60")
    cli("worker", "start", "--detach")
    eventually((tmp_path / "up").exists)
    words = ("enqueue", "--unique", "u", "--on-conflict", "replace", "echo new")
    assert "one" in one_line(cli(*words, code=4).err)
    assert cli.json("show", "one")["state"] == "processing"


def test_existing_jobs_of_a_batch_are_named_in_the_order_of_the_input(cli: Cli) -> None:
    cli("enqueue", "--id", "old", "--unique", "u2", "true")
    lines = [{"id": f"n{n}", "command": "true", "unique": f"u{n}"} for n in range(5)]
    lines.append({"id": "again", "command": "true", "unique": "u4"})
    text = "\n\n".join(map(json.dumps, lines))
    shown = cli("enqueue", "-", stdin=text)
    assert shown.out.split() == ["n0", "n1", "old", "n3", "n4", "n4"]
    assert "2 jobs exist and hold the unique values (old, n4)" in one_line(shown.err)
    assert set(states(cli)) == {"old", "n0", "n1", "n3", "n4"}
    found = cli.json("enqueue", "-", stdin=text)
    assert [job["id"] for job in found] == ["n0", "n1", "old", "n3", "n4", "n4"]
    assert all(job["existing"] is True for job in found)
    alone = cli.json("enqueue", "-", stdin=json.dumps(lines[2]))
    assert (alone["id"], alone["existing"]) == ("old", True)
    cli("enqueue", "-", "--on-conflict", "fail", stdin=text, code=4)
    assert cli("enqueue", "-", "--on-conflict", "replace", stdin=text).out.split()[2] == "old"


# -- hold and release -----------------------------------------------------------------------


def test_hold_and_release(cli: Cli) -> None:
    for name in "ab":
        cli("enqueue", "true", "--id", name)
    assert cli("hold", "a").out == "a\n"
    (held,) = cli.json("hold", "b")
    assert (held["state"], held["hold"]) == ("waiting", True)
    cli("enqueue", "true", "--id", "c", "--hold")
    run_all(cli)
    assert set(states(cli).values()) == {"waiting"}
    assert reasons(cli, "a")[0] == "Held"
    assert cli("release", "a").out == "a\n"
    (free,) = cli.json("release", "b")
    assert (free["state"], free["hold"]) == ("pending", False)
    run_all(cli)
    assert states(cli) == {"a": "completed", "b": "completed", "c": "waiting"}


def test_hold_and_release_are_all_or_nothing(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "done")
    run_all(cli)
    cli("enqueue", "true", "--id", "a")
    cli("enqueue", "true", "--id", "child", "--after", "a")
    assert "no such job: 'nope'" in one_line(cli("hold", "a", "nope", code=3).err)
    assert "job 'done' is completed" in one_line(cli("hold", "a", "done", code=4).err)
    assert cli.json("show", "a")["hold"] is False
    assert "job 'a' is pending" in one_line(cli("release", "a", code=4).err)
    shown = cli("release", "child", code=4)
    assert "is not held; it waits for other jobs; see: queuectl why child" in one_line(shown.err)
    for verb in ("hold", "release"):
        assert "name jobs, or give --all" in one_line(cli(verb, code=2).err)
        assert "not both" in one_line(cli(verb, "a", "--all", code=2).err)


def test_hold_and_release_all_that_match(cli: Cli) -> None:
    for name, queue, key in (("a", "mail", "k"), ("b", "mail", "l"), ("c", "web", "k")):
        cli("enqueue", "true", "--id", name, "--queue", queue, "--key", key)
    assert cli("hold", "--queue", "mail").out == "2 jobs held\n"
    assert states(cli) == {"a": "waiting", "b": "waiting", "c": "pending"}
    assert cli.json("release", "--key", "k") == {"released": 1}
    assert cli.json("release", "--all") == {"released": 1}
    assert cli("release", "--all").out == "0 jobs released\n"
    assert cli.json("hold", "--all", "--search", "nothing") == {"held": 0}
    assert cli.json("hold", "--state", "pending", "--queue", "web") == {"held": 1}


# -- edit -----------------------------------------------------------------------------------


def test_edit_changes_what_is_given(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "a", "--delay", "1h", "--key", "k")
    before = cli.json("show", "a")
    words = (
        *("--command", "echo new", "--priority", "-3", "--run-at", "2030-01-31T09:00:00Z"),
        *("--queue", "mail", "--timeout", "90s", "--max-retries", "5", "--key", "other"),
    )
    changed = cli.json("edit", "a", *words)
    wanted = {
        "command": "echo new",
        "priority": -3,
        "run_at": "2030-01-31T09:00:00.000Z",
        "queue": "mail",
        "timeout_seconds": 90,
        "max_retries": 5,
        "key": "other",
    }
    assert changed | wanted == changed
    after = cli.json("show", "a")
    same = set(before) - set(wanted) - {"updated_at"}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert cli("edit", "a", "--no-key").out == "a\n"
    assert cli.json("show", "a")["key"] is None
    cli("edit", "a", "--run-at", "now")
    run_all(cli)
    assert cli("logs", "a").out == "new\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "say what to change"),
        (("--key", "x", "--no-key"), 2, "exclude each other"),
        (("--key", ""), 2, "give --no-key"),
        (("--command", " "), 2, "command is empty"),
        (("--queue", "a b"), 2, "queue 'a b' is not allowed"),
        (("--priority", "high"), 2, "higher runs first"),
        (("--max-retries", "-1"), 2, "max_retries must be"),
        (("--timeout", "x"), 2, "--timeout: not a duration"),
        (("--run-at", "10m"), 2, "did you mean +10m?"),
        (("--delay", "10m"), 2, "type: --run-at +10m"),
    ],
)
def test_what_edit_refuses(cli: Cli, words: tuple[str, ...], code: int, said: str) -> None:
    cli("enqueue", "true", "--id", "a")
    before = cli.json("show", "a")
    shown = cli("edit", "a", *words, code=code)
    assert said in one_line(shown.err)
    assert not shown.out
    assert cli.json("show", "a") == before
    assert "no such job: 'b'" in one_line(cli("edit", "b", "--priority", "1", code=3).err)


def test_a_running_job_is_not_edited(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "touch up; sleep 60", "--id", "a")
    cli("worker", "start", "--detach")
    eventually((tmp_path / "up").exists)
    shown = cli("edit", "a", "--priority", "1", code=4)
    assert "job 'a' is processing; cannot edit it; wait until it ends" in one_line(shown.err)


def test_a_job_of_the_dlq_is_edited_and_retried(cli: Cli) -> None:
    cli("enqueue", "exit 1", "--id", "a", "--max-retries", "1")
    run_all(cli)
    cli("edit", "a", "--command", "true")
    assert states(cli) == {"a": "dead"}
    cli("retry", "a")
    run_all(cli)
    assert states(cli) == {"a": "completed"}


# -- dependencies ---------------------------------------------------------------------------


def test_children_follow_the_end_of_their_parent(cli: Cli) -> None:
    cli("enqueue", "exit 1", "--id", "p", "--max-retries", "1")
    cli("enqueue", "true", "--id", "good", "--after", "p")
    cli("enqueue", "true", "--id", "next", "--after", "good")
    cli("enqueue", "true", "--id", "held", "--after", "p", "--on-parent-failure", "hold")
    cli("enqueue", "true", "--id", "any", "--after-any", "p")
    cli("enqueue", "true", "--id", "failed", "--after-failed", "p")
    run_all(cli)
    wanted = {"p": "dead", "good": "cancelled", "next": "cancelled", "held": "waiting"}
    wanted |= {"any": "completed", "failed": "completed"}
    eventually(lambda: states(cli) == wanted)
    assert cli.json("show", "good")["cause"] == "p"
    held = cli.json("show", "held")
    assert (held["cause"], held["hold"]) == ("p", True)
    assert "because of how its parent p ended" in cli("why", "good").out
    assert reasons(cli, "held")[0] == "Held"
    assert "PARENT" not in cli("list").out
    cli("edit", "p", "--command", "true")
    cli("retry", "p")
    run_all(cli)
    wanted |= {"p": "completed", "good": "completed", "next": "completed", "held": "completed"}
    eventually(lambda: states(cli) == wanted)


def test_release_lets_a_job_run_whose_parent_failed(cli: Cli) -> None:
    cli("enqueue", "exit 1", "--id", "p", "--max-retries", "1")
    cli("enqueue", "true", "--id", "c", "--after", "p", "--on-parent-failure", "hold")
    run_all(cli)
    eventually(lambda: cli.json("show", "c")["cause"] == "p")
    assert cli("release", "c").out == "c\n"
    run_all(cli)
    assert states(cli) == {"p": "dead", "c": "completed"}


def test_the_tree(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "fetch")
    cli("enqueue", "true", "--id", "clean", "--after", "fetch", "--hold")
    cli("enqueue", "true", "--id", "load", "--after", "clean", "--after-any", "fetch")
    cli("enqueue", "true", "--id", "report", "--after", "load")
    cli("enqueue", "true", "--id", "alert", "--after-failed", "load")
    shown = cli("show", "load", "--tree").out
    assert shown == (
        "load  waiting\n"
        "waits for:\n"
        "├─ fetch  pending  (after_any)\n"
        "└─ clean  waiting\n"
        "   └─ fetch  pending\n"
        "is waited for by:\n"
        "├─ report  waiting\n"
        "└─ alert  waiting  (after_failed)\n"
    )
    tree = cli.json("show", "load", "--tree")["tree"]
    edges = {(one["parent"], one["kind"], one["child"]) for one in tree["parents"]}
    assert edges == {
        ("clean", "after", "load"),
        ("fetch", "after_any", "load"),
        ("fetch", "after", "clean"),
    }
    assert {one["child"] for one in tree["children"]} == {"report", "alert"}
    assert tree["complete"] is True
    cli("enqueue", "true", "--id", "alone")
    assert "no job waits for it" in cli("show", "alone", "--tree").out
    assert "tree" not in cli.json("show", "load")
    assert "no such job" in one_line(cli("show", "nope", "--tree", code=3).err)


def test_show_has_the_new_fields(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "p")
    cli("enqueue", "true", "--id", "c", "--after", "p", "--key", "k", "--unique", "u", "--hold")
    fields = dict(line.split("\t") for line in cli("show", "c").out.splitlines())
    wanted = {"key": "k", "unique": "u", "after": '["p"]', "hold": "true", "cause": "-"}
    assert fields | wanted == fields


def test_remove_and_those_that_wait(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "p")
    cli("enqueue", "true", "--id", "c", "--after", "p")
    cli("enqueue", "true", "--id", "d", "--after", "c")
    cli("enqueue", "true", "--id", "other")
    shown = cli("remove", "p", code=4)
    assert "--cascade" in one_line(shown.err)
    assert len(states(cli)) == 4
    assert "goes with jobs that are named" in one_line(
        cli("remove", "--all", "--cascade", "-y", code=2).err
    )
    shown = cli("remove", "p", "--cascade")
    assert shown.out == "p\n"
    assert "2 jobs that waited for them removed, too" in one_line(shown.err)
    assert states(cli) == {"other": "pending"}
    cli("enqueue", "true", "--id", "last", "--after", "other")
    shown = cli("remove", "other", "--cascade")
    assert "1 job that waited for them removed, too" in one_line(shown.err)
    cli("enqueue", "true", "--id", "alone")
    assert cli("remove", "alone", "--cascade").err == ""


# -- queues ---------------------------------------------------------------------------------


def test_limits_of_a_queue(cli: Cli) -> None:
    cli("enqueue", "true", "--queue", "mail")
    words = ("--limit", "2", "--per-host", "1", "--per-key", "3", "--rate", "60/1m")
    found = cli.json("queue", "set", "mail", *words)
    wanted = {"name": "mail", "limit": 2, "per_host": 1, "per_key": 3, "rate": "60/1m"}
    assert found | wanted == found
    assert found | {"running": 0, "waiting": 1, "paused": False} == found
    assert cli("queue", "set", "mail", "--per-host", "none", "--rate", "none").out == "mail\n"
    found = cli.json("queue", "show", "mail")
    assert found | {"limit": 2, "per_host": None, "per_key": 3, "rate": None} == found
    head, row = (line.split("\t") for line in cli("queue", "list").out.splitlines())
    shown = dict(zip(head, row, strict=True))
    assert (shown["NAME"], shown["STATE"], shown["LIMIT"]) == ("mail", "open", "2")
    assert [one["name"] for one in cli.json("queue", "list")] == ["mail"]
    pairs = dict(line.split("\t") for line in cli("queue", "show", "mail").out.splitlines())
    assert pairs | {"name": "mail", "limit": "2", "per_host": "-", "waiting": "1"} == pairs


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("set", "mail"), 2, "say what to set"),
        (("set", "mail", "--limit", "-1"), 2, "limit must be a whole number from 0"),
        (("set", "mail", "--per-key", "0"), 2, "per-key must be a whole number from 1"),
        (("set", "mail", "--rate", "60"), 2, "'60' is not a rate; write starts per period"),
        (("set", "mail", "--rate", "0/1m"), 2, "is out of range"),
        (("set", "a b", "--limit", "1"), 2, "queue 'a b' is not allowed"),
        (("pause", "mail", "--for", "x"), 2, "--for: not a duration"),
        (("pause", "mail", "--for", "0"), 2, "--for: give a time above 0"),
        (("pause", "mail", "--until", "9:00"), 2, "type: --for TIME"),
        (("show", "nope"), 3, "no such queue: 'nope'; see: queuectl queue list"),
        (("resume", "nope"), 3, "no such queue: 'nope'"),
        (("remove", "nope"), 3, "no such queue: 'nope'"),
        (("remove", "mail"), 3, "queue 'mail' has no settings, so there is nothing to remove"),
    ],
)
def test_what_a_queue_refuses(cli: Cli, words: tuple[str, ...], code: int, said: str) -> None:
    cli("enqueue", "true", "--queue", "mail")
    shown = cli("queue", *words, code=code)
    assert said in one_line(shown.err)
    assert not shown.out
    found = cli.json("queue", "show", "mail")
    assert (found["limit"], found["rate"], found["paused"]) == (None, None, False)


def test_a_limit_holds_jobs_back(cli: Cli, tmp_path: Path) -> None:
    cli("queue", "set", "mail", "--limit", "1")
    for name in "ab":
        cli("enqueue", f"touch {name}; sleep 60", "--id", name, "--queue", "mail")
    cli("worker", "start", "--detach", "--count", "2")
    eventually(lambda: "processing" in states(cli).values())
    (left,) = [name for name, state in states(cli).items() if state == "pending"]
    why = cli.json("why", left)
    assert why["ready"] is False
    (blocker,) = why["blockers"]
    assert blocker["reason"] == "QueueLimit"
    assert blocker["detail"].startswith("1 of 1 run in queue mail: ")
    assert blocker["command"] == "queuectl queue set mail --limit 2"
    assert cli.json("status", "--why")["why"] == {"QueueLimit": 1}
    row = next(line for line in cli("list").out.splitlines() if line.startswith(left))
    assert row.split("\t")[-1] == "QueueLimit"
    cli.shell(blocker["command"], code=0)
    eventually((tmp_path / left).exists)


def test_a_paused_queue_starts_nothing(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "a", "--queue", "mail")
    cli("enqueue", "true", "--id", "b")
    found = cli.json("queue", "pause", "mail", "--for", "1h", "--reason", "no [b]mail[/b]\x1b now")
    assert (found["paused"], found["paused_reason"]) == (True, "no [b]mail[/b]\\x1b now")
    assert "@" in found["paused_by"]
    assert found["paused_until"] > found["paused_at"]
    cli("worker", "start", "--until-idle", "-q")
    assert states(cli) == {"a": "pending", "b": "completed"}
    blocker = cli.json("why", "a")["blockers"][0]
    assert blocker["reason"] == "QueuePaused"
    assert blocker["detail"].endswith("no [b]mail[/b]\\x1b now")
    assert blocker["until"] == found["paused_until"]
    assert blocker["since"] == found["paused_at"]
    assert "paused" in cli("queue", "list").out
    cli.shell(blocker["command"], code=0)
    found = cli.json("queue", "show", "mail")
    assert (found["paused"], found["paused_by"], found["paused_until"]) == (False, None, None)
    run_all(cli)
    assert states(cli) == {"a": "completed", "b": "completed"}


def test_a_queue_that_is_not_there_is_noted(cli: Cli) -> None:
    cli("enqueue", "true", "--queue", "mail")
    said = one_line(cli("queue", "pause", "mial").err)
    assert "no job is in queue 'mial'; did you mean mail?" in said
    assert not cli("queue", "pause", "mial").err, "it has settings now"
    assert cli("queue", "pause", "mail").out == "mail\n"
    assert "no job is in queue" in one_line(cli("queue", "set", "new", "--limit", "1").err)


def test_remove_forgets_the_settings(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "a", "--queue", "mail")
    cli("queue", "set", "mail", "--limit", "1")
    assert one_line(cli("queue", "remove", "mail", code=4).err)
    run_all(cli)
    was = cli.json("queue", "remove", "mail")
    assert (was["name"], was["limit"]) == ("mail", 1)
    assert cli.json("queue", "show", "mail")["limit"] is None
    assert states(cli) == {"a": "completed"}
    assert "has no settings" in one_line(cli("queue", "remove", "mail", code=3).err)


# -- why ------------------------------------------------------------------------------------


def test_why_names_every_blocker(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "p", "--queue", "mail")
    cli("enqueue", "true", "--id", "a", "--queue", "mail", "--after", "p", "--delay", "1h")
    cli("hold", "a")
    cli("queue", "pause", "mail")
    found = cli.json("why", "a")
    assert list(found) == ["id", "state", "ready", "blockers"]
    assert (found["id"], found["state"], found["ready"]) == ("a", "waiting", False)
    names = [one["reason"] for one in found["blockers"]]
    assert names == ["Held", "WaitingFor", "NotDue", "QueuePaused", "NoWorker"]
    for one in found["blockers"]:
        assert list(one) == ["reason", "detail", "since", "until", "command"]
    commands = [one["command"] for one in found["blockers"]]
    assert commands == [
        "queuectl release a",
        None,
        "queuectl edit a --run-at now",
        "queuectl queue resume mail",
        "queuectl worker start --detach --queue mail",
    ]
    lines = [line.split("\t") for line in cli("why", "a").out.splitlines()]
    assert lines[0] == ["REASON", "DETAIL", "SINCE", "UNTIL", "COMMAND"]
    assert [line[0] for line in lines[1:]] == names
    assert [line[4] for line in lines[1:]] == [command or "-" for command in commands]


def test_the_commands_of_why_mend_it(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "true", "--id", "a", "--delay", "1h", "--hold")
    cli("queue", "pause", "default")
    for _ in range(4):
        found = cli.json("why", "a")["blockers"]
        cli.shell(found[0]["command"], code=0)
    eventually(lambda: states(cli) == {"a": "completed"})


def test_the_store_that_was_given_is_in_the_command(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "a", "--hold")
    (first, *_) = cli.json("why", "a", "--store", str(cli.store))["blockers"]
    words = shlex.split(first["command"])
    assert words[:2] == ["queuectl", "--store"]
    assert words[3:] == ["release", "a"]
    if "://" not in str(cli.store):
        assert words[2] == str(cli.store)
    assert not re.search(r":[^/@:]*@", words[2]), "no password"


def test_why_of_a_job_that_runs_or_has_ended(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "exit 3", "--id", "bad", "--max-retries", "1")
    cli("enqueue", "true", "--id", "good")
    run_all(cli)
    cli("enqueue", "true", "--id", "gone", "--delay", "1h")
    cli("cancel", "gone")
    for name, state, said in (
        ("bad", "dead", r"bad died .* ago, after 1 attempt: exit 3.*\.\n"),
        ("good", "completed", r"good completed .* ago\.\n"),
        ("gone", "cancelled", r"gone was cancelled .* ago\.\n"),
    ):
        wanted: dict[str, Any] = {"id": name, "state": state, "ready": False, "blockers": []}
        assert cli.json("why", name) == wanted
        assert re.fullmatch(said, cli("why", name).out)
    cli("enqueue", "touch up; sleep 60", "--id", "long")
    cli("worker", "start", "--detach")
    eventually((tmp_path / "up").exists)
    assert re.fullmatch(r"long has been running for .*, attempt 1\.\n", cli("why", "long").out)
    assert "no such job: 'nope'" in one_line(cli("why", "nope", code=3).err)
    assert "ID is missing" in one_line(cli("why", code=2).err)


def test_status_counts_the_reasons(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "p", "--delay", "1h")
    cli("enqueue", "true", "--hold")
    cli("enqueue", "true", "--after", "p")
    cli("enqueue", "echo 1", "echo 2")
    found = cli.json("status", "--why")
    assert found["why"] == {"Held": 1, "WaitingFor": 1, "NotDue": 1, "NoWorker": 2}
    assert found["jobs"]["waiting"] == 2
    assert "why" not in cli.json("status")
    lines = cli("status", "--why").out.splitlines()
    assert "why\tHeld\t1" in lines
    assert "waiting\t2" in lines
    assert not any(line.startswith("why") for line in cli("status").out.splitlines())
    said = cli("status", "--why", "--watch", code=2).err
    assert "leave --watch or --why out" in one_line(said)


# -- list -----------------------------------------------------------------------------------


def test_list_by_key_and_state(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "a", "--key", "k")
    cli("enqueue", "true", "--id", "b", "--key", "l", "--hold")
    cli("enqueue", "true", "--id", "c")

    def ids(*words: str) -> list[str]:
        return [job["id"] for job in cli.json("list", *words)]

    assert ids("--key", "k") == ["a"]
    assert ids("--key", "k", "--key", "l") == ["b", "a"]
    assert ids("--key", "nothing") == []
    assert ids("--state", "waiting") == ["b"]
    assert ids("--state", "waiting,pending", "--key", "l") == ["b"]
    head, *rows = (line.split("\t") for line in cli("list").out.splitlines())
    assert head[-1] == "WHY"
    assert {row[0]: row[-1] for row in rows} == {"a": "NoWorker", "b": "Held", "c": "NoWorker"}
    assert "why" not in cli.json("list")[0]


def test_other_verbs_take_a_key(cli: Cli) -> None:
    for name, key in (("a", "k"), ("b", "l")):
        cli("enqueue", "true", "--id", name, "--key", key)
    assert cli.json("cancel", "--key", "k") == {"cancelled": 1}
    assert states(cli) == {"a": "cancelled", "b": "pending"}
    assert cli.json("retry", "--all", "--key", "l") == {"retried": 0}
    assert cli.json("remove", "--key", "k", "-y") == {"removed": 1}


def test_jobs_of_one_key_run_one_at_a_time(cli: Cli, tmp_path: Path) -> None:
    for name in "ab":
        cli("enqueue", f"touch {name}; sleep 60", "--id", name, "--key", "k")
    cli("worker", "start", "--detach", "--count", "2")
    eventually((tmp_path / "a").exists)
    (blocker,) = cli.json("why", "b")["blockers"]
    assert (blocker["reason"], blocker["detail"]) == ("KeyLimit", "1 of 1 run with key k: a")
    assert states(cli) == {"a": "processing", "b": "pending"}
    cli("cancel", "a")
    eventually((tmp_path / "b").exists)


# -- at a terminal --------------------------------------------------------------------------


def test_what_a_person_sees(terminal: Terminal) -> None:
    cli = terminal.cli
    long = "x" * 90
    cli("enqueue", "true", "--id", long, "--hold")
    cli("enqueue", "true", "--id", "later", "--delay", "1h")
    cli("enqueue", "true", "--id", "child", "--after", "later", "--queue", "mail")
    shown = terminal("why", long, columns=60, code=0)
    assert f"\n    queuectl release {long}\n" in shown, "a command is on one line"
    assert "Held" in shown
    assert "NotDue (in " in terminal("list", columns=120)
    assert "WaitingFor" in terminal("list", columns=120)
    said = terminal("status", "--why")
    assert re.search(r"waiting: .*1 .*Held .*1 .*WaitingFor .*1 .*NotDue", said)
    assert "2 waiting" in re.sub("\x1b[^m]*m", "", said)
    assert "Queue mail is paused until it is resumed; jobs that run go on." in terminal(
        "queue", "pause", "mail"
    )
    assert "paused" in terminal("queue", "list")
    assert "later" in terminal("show", "child", "--tree")
    assert "Queue mail is open." in terminal("queue", "resume", "mail")
    assert "Queue mail has limit 2, rate 1/10s." in terminal(
        *("queue", "set", "mail", "--limit", "2", "--rate", "1/10s")
    )
    assert "limit 2, rate 1/10s" in terminal("queue", "show", "mail")
    assert "Job child held." in terminal("hold", "child")
    assert "Job child released." in terminal("release", "child")
    assert "Job later changed." in terminal("edit", "later", "--run-at", "now")
    again = terminal("enqueue", "--unique", "u", "true") + terminal(
        "enqueue", "--unique", "u", "true"
    )
    assert "exists and holds the unique value" in again
