"""``docs/reference/json.md`` says what ``--json`` prints: the fields and their types."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ..support import Cli
from .conftest import Here

PAGE = Path(__file__).parents[2] / "docs/reference/json.md"

Fields = dict[str, str]
"""Name of a field -> its types, in the words of the page: ``string or null``."""

KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def documents() -> dict[str, Fields]:
    """The tables of the page, by their headings."""
    found = {}
    for part in PAGE.read_text("utf-8").split("\n## ")[1:]:
        heading = part.partition("\n")[0]
        rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", part, re.MULTILINE)
        found[heading.lower()] = {name: kinds.strip() for name, kinds in rows}
    return found


DOCUMENTS = documents()


def fits(value: Any, kinds: str) -> bool:
    for kind in kinds.split(" or "):
        allowed = KINDS[kind.split()[0]]
        if isinstance(value, allowed) and (not isinstance(value, bool) or bool in allowed):
            return True
    return False


def check(document: Any, name: str, *, more: Fields | None = None) -> None:
    """The document has the fields of this table, in this order, and no others."""
    fields = DOCUMENTS[name] | (more or {})
    assert list(document) == list(fields), name
    for field, value in document.items():
        assert fits(value, fields[field]), f"{name}: {field} is {value!r}, not {fields[field]}"


def check_all(found: Any, name: str) -> None:
    assert isinstance(found, list)
    assert found
    for document in found:
        check(document, name)


def check_one_of(document: Any, name: str) -> None:
    """The document has one of the fields of this table."""
    ((field, value),) = document.items()
    assert fits(value, DOCUMENTS[name][field])


def test_jobs_and_what_became_of_them(cli: Cli, tmp_path: Path) -> None:
    check(cli.json("enqueue", "echo out", "--id", "good"), "job")
    cli("enqueue", "--id", "argv", "--env", "A=b", "--", "true")
    cli("enqueue", "exit 3", "--id", "bad", "--max-retries", "1")
    cli("enqueue", "kill -9 $$", "--id", "killed", "--max-retries", "1")
    check_all(cli.json("enqueue", "sleep 1", "exec true"), "job")
    check(cli.json("logs", "good"), "output")
    check(cli.json("wait", "good", "--timeout", "0", code=124), "wait")
    check(cli.json("worker", "start", "--until-empty"), "summary")
    check(cli.json("wait", "--all", code=1), "wait")
    check_all(cli.json("list"), "job")
    check_all(cli.json("dlq", "list"), "job")
    check_all(cli.json("dlq", "list", "--group"), "group")
    for name in ("good", "bad", "killed"):
        shown = cli.json("show", name)
        check(shown, "job", more={"history": "array of attempts"})
        check_all(shown["history"], "attempt")
    check(cli.json("logs", "good"), "output")
    stats = cli.json("stats")
    check(stats, "stats")
    check(stats["run_time"], "distribution")
    check(stats["wait_time"], "distribution")
    check_all(cli.json("events"), "event")
    check_all(cli.json("metrics"), "metric")
    check(cli.json("metrics", "--textfile", tmp_path / "queue.prom"), "backup")
    check_all(cli.json("retry", "bad"), "job")
    check_all(cli.json("cancel", "bad"), "job")
    check_one_of(cli.json("cancel", "--state", "pending"), "count")
    check_one_of(cli.json("retry", "--state", "cancelled"), "count")
    check_one_of(cli.json("dlq", "retry", "killed"), "count")
    check_one_of(cli.json("dlq", "purge", "--all", "-y"), "count")
    check_one_of(cli.json("prune", "--older-than", "0", "--dry-run"), "pruned")
    check_one_of(cli.json("prune", "--older-than", "0"), "pruned")
    check_all(cli.json("remove", "bad"), "job")
    check_one_of(cli.json("remove", "--all", "-y"), "count")


def test_admission(cli: Cli) -> None:
    check(cli.json("enqueue", "--id", "p", "--unique", "u", "true"), "job")
    existing = cli.json("enqueue", "--unique", "u", "true")
    check(existing, "job", more={"existing": "boolean"})
    cli("enqueue", "--id", "c", "--after", "p", "--delay", "1h", "--key", "k", "true")
    check_all(cli.json("hold", "p"), "job")
    shown = cli.json("show", "c", "--tree")
    check(shown, "job", more={"history": "array of attempts", "tree": "object"})
    check(shown["tree"], "tree")
    check_all(shown["tree"]["parents"], "dependency")
    for name in ("p", "c"):
        why = cli.json("why", name)
        check(why, "why")
        check_all(why["blockers"], "blocker")
    check(cli.json("edit", "c", "--priority", "1"), "job")
    check_all(cli.json("release", "p"), "job")
    check_one_of(cli.json("hold", "--key", "k"), "count")
    check_one_of(cli.json("release", "--key", "k"), "count")
    for words in (("pause", "default", "--for", "1h"), ("resume", "default"), ("show", "default")):
        check(cli.json("queue", *words), "queue")
    check(cli.json("queue", "set", "other", "--limit", "1", "--rate", "5/1s"), "queue")
    check_all(cli.json("queue", "list"), "queue")
    check(cli.json("queue", "remove", "other"), "queue")
    check(cli.json("status", "--why"), "status", more={"why": "object"})


def test_workers(cli: Cli) -> None:
    cli("enqueue", "sleep 60", "--id", "long")
    check_all(cli.json("worker", "start", "--detach"), "worker")
    check_all(cli.json("worker", "list"), "worker")
    status = cli.json("status")
    check(status, "status")
    check_all(status["workers"], "worker")
    check_all(cli.json("worker", "stop", "--now"), "worker")


def test_the_store(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "true")
    check_all(cli.json("config", "list"), "setting")
    check(cli.json("config", "set", "shell", "/bin/sh"), "setting")
    check(cli.json("config", "unset", "shell"), "setting")
    check(cli.json("config", "get", "timeout"), "setting")
    check_all(cli.json("doctor", code=None), "finding")
    check(cli.json("backup", tmp_path / "b.db"), "backup")
    check(cli.json("restore", tmp_path / "b.db", "-y"), "restored")
    copied = cli.json("store", "copy", "--to", tmp_path / "other.db")
    check(copied, "copied")
    for row in copied["counts"]:
        assert list(row) == ["what", "source", "target"]
    check(cli.json("completion", "zsh"), "script")


def test_schedules(cli: Cli) -> None:
    check(cli.json("schedule", "add", "s", "--every", "1h", "--env", "A=b", "true"), "schedule")
    check(cli.json("schedule", "edit", "s", "--cron", "@daily"), "schedule")
    for word in ("pause", "resume"):
        check(cli.json("schedule", word, "s"), "schedule")
    check(cli.json("schedule", "run", "s"), "job")
    check_all(cli.json("schedule", "list"), "schedule")
    shown = cli.json("schedule", "show", "s")
    times, runs = shown.pop("next_times"), shown.pop("runs")
    check(shown, "schedule")
    assert [list(one) for one in times] == [["at", "local"]] * 5
    check_all(runs, "job")
    check(cli.json("schedule", "remove", "s"), "schedule")
    found = cli.json("schedule", "import", "-", stdin="@daily true\n@reboot x\n", code=1)
    check(found, "imported")
    check_all(found["added"], "schedule")
    assert [list(one) for one in found["problems"]] == [["line", "message"]]


def test_hooks(here: Here) -> None:
    def answer(*words: str, code: int = 0) -> Any:
        return json.loads(here("hook", *words, "--json", code=code).out)

    check(json.loads(here("hook", "add", "c", "--on", "dead", "--json", "--", "false").out), "hook")
    check(answer("add", "u", "--on", "dead", "--url", "http://h/", "--digest", "1m"), "hook")
    check_all(answer("list"), "hook")
    for word in ("show", "pause", "resume"):
        check(answer(word, "c"), "hook")
    check(answer("test", "c", code=1), "tested")
    check(answer("remove", "c"), "hook")


def test_the_demo(cli: Cli) -> None:
    found = cli.json("demo")
    check(found, "demo")
    check_all(found["jobs"], "job")


def test_an_empty_answer_is_a_document(cli: Cli) -> None:
    cli("config", "set", "timeout", "0")
    assert cli.json("list") == []
    assert json.loads(cli("enqueue", "-", "--json", stdin="").out) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_table_is_used(name: str) -> None:
    """Otherwise a table would stay on the page when its document no longer exists."""
    assert DOCUMENTS[name], f"{name} has no fields"
    assert f'"{name}"' in Path(__file__).read_text("utf-8")
