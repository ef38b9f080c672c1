"""A signal after the commit of a verb, for every verb, on both stores.

The signal comes when the commit begins. The tests call :meth:`Commits.stop`, as the handler of the
signal does. ``test_interrupted.py`` sends real signals.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import queuectl_core.operations.maintenance
import queuectl_core.queue
from queuectl_core.system.postcommit import Commits
from queuectl_tui.cli.command import ClickNoun

from ..store.stores import PLACES, Place
from ..support import Cli
from .conftest import Here
from .test_after_commit import states
from .test_given_twice import root

READS = {
    *("list", "show", "why", "logs", "status", "stats", "metrics", "wait", "worker list"),
    "dlq list",
    *("queue list", "queue show"),
    *("config list", "config get", "completion"),
    *("events", "schedule list", "schedule show", "hook list", "hook show", "hook test"),
    "progress",
}
OWN_HANDLERS = {"dashboard", "demo", "tui"}
"""Verbs that handle signals themselves. Their own tests cover that, as those of ``worker start`` in
the foreground."""

CHANGES: dict[str, list[tuple[str, str]]] = {
    "enqueue": [("--id a true", "a"), ("--file jobs", "n1 n2 n3 n4 n5 n6")],
    "hold": [("a", "a"), ("--search n1", "1 job held")],
    "release": [("a", "a"), ("--all", "1 job released")],
    "edit": [("a --priority 1", "a")],
    "queue set": [("default --limit 100", "default")],
    "queue pause": [("default", "default")],
    "queue resume": [("default", "default")],
    "queue remove": [("empty", "empty")],
    "cancel": [("a", "a"), ("n1 n2 n3", "n1 n2 n3"), ("--all", "3 jobs cancelled")],
    "retry": [("a", "a"), ("n1 --command false", "n1"), ("--search n2", "1 job retried")],
    "remove": [("a", "a"), ("--search n1 -y", "1 job removed")],
    "dlq retry": [("dead1", "1 job retried"), ("--search dead2", "1 job retried")],
    "dlq purge": [("dead3 -y", "1 job purged"), ("--all -y", "1 job purged")],
    "config set": [("max-retries 7", "7")],
    "config unset": [("max-retries", "3")],
    "prune": [("--older-than 0s --state cancelled", "4 jobs pruned")],
    "doctor": [("--repair", ".* counter set right .*")],
    "store copy": [("--to other.db", "WHAT .*")],
    "backup": [("copy.db", ".*/copy.db")],
    "worker start": [("-d", r"\w+-1"), ("-d", r"\w+-2")],
    "worker stop": [("", "")],
    "restore": [("copy.db -y", "3 jobs restored from .*")],
    "schedule add": [("s --every 1h true", "s")],
    "schedule edit": [("s --every 2h", "s")],
    "schedule pause": [("s", "s")],
    "schedule resume": [("s", "s")],
    "schedule run": [("s", r"\w+")],
    "schedule import": [("crontab", ".*")],
    "schedule remove": [("s", "s")],
    "hook add": [("h --on dead -- cat", "h")],
    "hook pause": [("h", "h")],
    "hook resume": [("h", "h")],
    "hook remove": [("h", "h")],
}
"""Arguments, and what is printed. In this order each of them can run."""
FIRST = {("store copy", "WHAT .*"): 2, ("worker start", r"\w+-2"): 2}
"""The number of the commit that counts, if it is not the first one. The first one makes the new
store, or asks for workers. This request is taken back if they do not start."""


def verbs(noun: ClickNoun, path: str = "") -> Iterator[str]:
    context = click.Context(noun)
    for name in noun.list_commands(context):
        found = noun.get_command(context, name)
        if isinstance(found, ClickNoun):
            yield from verbs(found, f"{path}{name} ")
        else:
            yield path + name


class Strike:
    """Stops the verb at its ``at``-th commit (from 1)."""

    def __init__(self) -> None:
        self.at = 0

    def __call__(self, commits: Commits) -> None:
        self.at -= 1
        if self.at == 0:
            assert not commits.stop(), "it is told later"


@pytest.fixture
def strike(monkeypatch: pytest.MonkeyPatch) -> Strike:
    found = Strike()
    begin = Commits.begin

    def struck(self: Commits) -> None:
        begin(self)
        found(self)

    monkeypatch.setattr(Commits, "begin", struck)
    return found


@pytest.fixture(params=sorted(PLACES))
def place(
    request: pytest.FixtureRequest, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    made = PLACES[request.param](tmp_path / request.param)
    (tmp_path / request.param).mkdir()
    monkeypatch.setenv("QUEUECTL_STORE", made.url)
    monkeypatch.chdir(tmp_path)
    yield made
    asyncio.run(made.clear())


def test_every_verb_is_here() -> None:
    assert set(verbs(root())) == {*READS, *OWN_HANDLERS, *CHANGES}


def test_it_is_done_so_it_says_so(here: Here, place: Place, strike: Strike, tmp_path: Path) -> None:
    cli = Cli(place.url, tmp_path)
    for name in ("dead1", "dead2", "dead3", "dead4"):
        here("enqueue", "--id", name, "--max-retries", "1", "false")
    cli("worker", "start", "--until-empty")
    lines = "".join(f'{{"id": "n{n}", "command": "true"}}\n' for n in range(1, 7))
    (tmp_path / "jobs").write_text(lines)
    (tmp_path / "crontab").write_text("@daily true\n")
    try:
        for verb, cases in CHANGES.items():
            if verb in ("backup", "restore") and not place.copies:
                continue
            for words, said in cases:
                if verb == "doctor":
                    odd = "INSERT INTO counts (state, queue, n) VALUES ('dead', 'odd', 1)"
                    asyncio.run(place.execute(odd))
                if verb == "queue remove":
                    here("queue", "set", words, "--limit", "1")
                if verb == "store copy":
                    here("cancel", "--all")
                strike.at = FIRST.get((verb, said), 1)
                done = here(*verb.split(), *words.split(), code=None)
                assert strike.at <= 0, f"{done} does not say that it commits"
                if verb == "store copy":  # it has many commits
                    assert done.code == 130
                    assert "is half a copy; the same command goes on with it" in done.err
                    strike.at = 4
                    done = here(*verb.split(), *words.split(), code=None)
                    assert strike.at == 0, "the fourth commit is the last one"
                if verb == "worker stop":  # it waits after its commit
                    assert done.code in (0, 130)
                    assert done.code == 0 or "interrupted; asked to stop, but still" in done.err
                    here("worker", "stop")
                    continue
                assert done.code == (1 if verb == "doctor" and done.code == 1 else 0), done
                assert "interrupted" not in done.err
                assert re.fullmatch(said, " ".join(done.out.split())), done
    finally:
        cli.close()


BULK = {
    "cancel": ("cancel --all", "cancel"),
    "hold": ("hold --all --state pending", "hold"),  # a held job can be held again
    "release": ("release --all", "release"),
    "retry": ("retry --all", "retry"),
    "remove": ("remove --all -y", "remove"),
    "dlq retry": ("dlq retry --all", "retry"),
    "dlq purge": ("dlq purge --all -y", "remove"),
    "prune": ("prune --older-than 0s --state cancelled --state dead", ""),
}


@pytest.mark.parametrize("verb", BULK)
def test_between_two_commits_it_says_what_was_done_so_far(
    here: Here, place: Place, strike: Strike, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(queuectl_core.queue, "BULK", 2)
    monkeypatch.setattr(queuectl_core.operations.maintenance, "BATCH", 2)
    words, action = BULK[verb]
    for name in "abcdef":
        here("enqueue", "--id", name, "true")
    if verb == "release":
        here("hold", "--all")
    elif verb not in ("cancel", "hold"):
        here("cancel", "--all")
    if verb.startswith("dlq"):
        asyncio.run(place.execute("UPDATE jobs SET state = 'dead'"))
    before = states(place)
    strike.at = 1
    done = here(*words.split(), code=130)
    said = f"{action} was done to 2 jobs before" if action else "2 jobs were forgotten before"
    assert (done.out, done.err) == ("", f"queuectl: interrupted; {said}\n")
    after = states(place)
    assert len([name for name in before if after.get(name) != before[name]]) == 2
    strike.at = 2  # the last one
    assert here(*words.split()).out.startswith("4 jobs ")
