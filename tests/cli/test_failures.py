"""A verb that fails prints nothing on standard output and changes nothing in the store. Filters
that are given together select what matches all of them."""

from __future__ import annotations

import asyncio
import itertools
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.queue import Queue

from ..console.scenes import NOW, seed
from .conftest import Here
from .test_globals import one_line


async def fill(folder: Path) -> None:
    await seed(folder)
    async with Queue.open(str(folder / "queue.db"), env={}, clock=lambda: NOW) as queue:
        await queue.enqueue(
            [
                {"id": "parent", "command": "true", "queue": "mail", "key": "k1"},
                {"id": "child", "command": "true", "after": ["parent"], "unique": "u"},
                {"id": "kept", "command": "lp", "hold": True, "queue": "mail", "key": "k2"},
            ]
        )
        await queue.set_queue("mail", {"limit": 4})
        await queue.add_schedule("nightly", {"cron": "30 2 * * *"}, {"command": "true"})
        await queue.add_hook("pager", ["dead"], command=["true"])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Jobs in every state, workers, a queue with limits, a schedule and a hook."""
    folder = tmp_path_factory.mktemp("filled")
    asyncio.run(fill(folder))
    return folder


@pytest.fixture
def store(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(filled, tmp_path / "store")
    path = tmp_path / "store" / "queue.db"
    monkeypatch.setenv("QUEUECTL_STORE", str(path))
    return path


def content(store: Path) -> list[str]:
    with closing(sqlite3.connect(store)) as raw:
        return list(raw.iterdump())


REFUSED = {
    2: """
        enqueue
        enqueue true --id 'a b'
        enqueue true true --id a
        enqueue true --delay 1h --run-at +1h
        enqueue true --priority many
        enqueue true --hold --unique-until start
        enqueue true --on-conflict replace --unique-for 1h
        show
        logs typo --raw --timestamps
        logs typo --raw --json
        logs typo --tail -1
        cancel
        cancel thumb-1 --all
        cancel thumb-1 --queue mail
        cancel --all --state asleep
        cancel --all --reason x
        retry resize-1 --state dead
        retry resize-1 resize-2 --command true
        retry --all --command true
        retry resize-1 --command ''
        remove thumb-1 --all
        remove --all
        remove --state dead
        remove --all --cascade -y
        hold
        hold thumb-1 --queue mail
        release thumb-1 --all
        edit thumb-1
        edit thumb-1 --key a --no-key
        edit thumb-1 --priority many
        wait
        wait thumb-1 --all
        wait thumb-1 --timeout soon
        dlq retry
        dlq retry resize-1 --all
        dlq purge resize-1
        dlq purge --all
        dlq purge --all --exit-code many -y
        dlq list --group --search x
        prune
        prune --older-than 1h --state pending
        config set lease 0
        config set lease
        queue set mail
        queue set mail --limit many
        queue set mail --rate 60
        queue pause mail --for soon
        schedule add x
        schedule add x true
        schedule add x --cron '* * * * *' --every 1h true
        schedule add x --cron 'never' true
        schedule add 'a b' --every 1h true
        schedule edit nightly
        hook add x --on dead
        hook add x --on nothing -- true
        hook add x --on dead --url http://127.0.0.1/ -- true
        events --since soon
        events --kind nothing
        stats --since soon
        list --state asleep
        list --limit -1
        worker start --count 0
        worker start --until-empty --until-idle
        worker start --detach --until-idle
        worker stop --timeout soon
        progress 101
        """,
    3: """
        show nope
        why nope
        logs nope
        wait thumb-1 nope
        cancel thumb-1 nope
        retry resize-1 nope
        retry nope --command true
        remove thumb-1 nope
        remove nope --cascade
        hold thumb-1 nope
        release kept nope
        edit nope --priority 3
        enqueue true --after nope
        enqueue --after parent,nope 'true 1' 'true 2'
        dlq retry resize-1 nope
        dlq purge resize-1 nope -y
        config get nope
        config set nope 3
        config unset nope
        queue show nope
        queue resume nope
        queue remove nope
        schedule show nope
        schedule pause nope
        schedule resume nope
        schedule run nope
        schedule remove nope
        schedule edit nope --every 1h
        hook show nope
        hook pause nope
        hook resume nope
        hook remove nope
        hook test nope
        events nope
        worker stop nope
        worker stop w3kd-1 nope
        worker stop w3kd-1 --host nope
        """,
    4: """
        enqueue true --id typo
        enqueue true --unique u --on-conflict fail
        cancel thumb-1 mail-1
        retry resize-1 thumb-1
        retry report-q3 --command true
        retry thumb-1 --command true
        remove thumb-1 report-q3
        remove thumb-1 parent
        remove report-q3 --cascade
        hold thumb-1 mail-1
        hold thumb-1 report-q3
        release kept child
        release kept thumb-1
        edit report-q3 --priority 3
        dlq retry resize-1 thumb-1
        dlq purge resize-1 thumb-1 -y
        dlq retry resize-1 typo
        dlq purge resize-1 typo -y
        dlq retry mail-1
        schedule add nightly --every 1h true
        hook add pager --on dead -- true
        """,
}
"""What is refused, by its exit code."""


@pytest.mark.parametrize("code", [2, 3, 4])
def test_what_is_refused_prints_nothing_and_changes_nothing(
    store: Path, inside: Here, code: int
) -> None:
    before = content(store)
    for line in filter(None, map(str.strip, REFUSED[code].splitlines())):
        words = shlex.split(line)
        for more in ((), ("--json",)):
            result = inside(*words, *more, code=None)
            assert (result.code, result.out) == (code, ""), f"{line} {more}\n{result.err}"
            one_line(result.err)
        assert content(store) == before, line


FILTERS: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
    "--state": ("dead", lambda job: job["state"] == "dead"),
    "--queue": ("mail", lambda job: job["queue"] == "mail"),
    "--key": ("k1", lambda job: job["key"] == "k1"),
    "--search": ("-1", lambda job: "-1" in f"{job['id']} {job['command']} {job['last_error']}"),
    "--exit-code": ("22", lambda job: job["exit_code"] == 22),
    "--reason": ("Error # FROM", lambda job: "error 503 from" in str(job["last_error"])),
}
"""Filters, and the jobs that each selects."""
LISTED = ("--state", "--queue", "--key", "--search")
DEAD = ("--queue", "--key", "--search", "--exit-code", "--reason")


@pytest.fixture
def mixed(store: Path, inside: Here) -> list[dict[str, Any]]:
    """Jobs of each state in both queues, with and without a key."""
    with closing(sqlite3.connect(store)) as raw, raw:
        raw.execute("UPDATE jobs SET queue = 'mail' WHERE seq % 2 AND state <> 'processing'")
        raw.execute("UPDATE jobs SET key = 'k1' WHERE seq % 3 AND state <> 'processing'")
    found: list[dict[str, Any]] = inside("list", "--json").json
    return found


def selected(jobs: list[dict[str, Any]], *options: str) -> list[str]:
    """The jobs that match all of these filters."""
    return [job["id"] for job in jobs if all(FILTERS[option][1](job) for option in options)]


def words_of(options: Iterable[str]) -> list[str]:
    return [word for option in options for word in (option, FILTERS[option][0])]


@pytest.mark.parametrize("verb", ["list", "dlq list"])
def test_filters_that_are_listed_together(
    mixed: list[dict[str, Any]], inside: Here, verb: str
) -> None:
    known, given = (LISTED, ()) if verb == "list" else (DEAD, ("--state",))
    told = []
    for count in (1, 2):
        for options in itertools.combinations(known, count):
            shown = inside(*verb.split(), *words_of(options), "--json").json
            wanted = selected(mixed, *given, *options)
            assert [job["id"] for job in shown] == wanted, options
            told.append(len(wanted))
            shown = inside(*verb.split(), *words_of(options), "--limit", "1", "--json").json
            assert [job["id"] for job in shown] == wanted[:1], options
    assert len(set(told)) > 4, "the filters differ"


@pytest.mark.parametrize(
    ("verb", "states", "options"),
    [
        ("cancel", ("pending", "waiting"), ("--queue", "--search")),
        ("cancel", ("pending", "waiting"), ("--key", "--search")),
        ("hold", ("pending", "failed", "waiting"), ("--queue", "--key")),
        ("release", ("waiting",), ("--queue",)),
        ("retry", ("dead",), ("--state", "--queue", "--exit-code")),
        ("retry", ("dead",), ("--key", "--reason")),
        ("retry", ("dead", "completed", "cancelled", "failed"), ("--queue", "--search")),
        ("remove -y", ("dead",), ("--state", "--key", "--search")),
        ("remove -y", ("dead",), ("--queue", "--reason")),
        ("dlq retry", ("dead",), ("--exit-code", "--queue")),
        ("dlq retry", ("dead",), ("--reason", "--search")),
        ("dlq purge -y", ("dead",), ("--reason", "--key")),
        ("dlq purge -y", ("dead",), ("--exit-code", "--search")),
    ],
)
def test_filters_that_are_used_together(
    mixed: list[dict[str, Any]],
    inside: Here,
    verb: str,
    states: tuple[str, ...],
    options: tuple[str, ...],
) -> None:
    """Only jobs that match all filters are changed, and the count is right."""
    wanted = set(selected([job for job in mixed if job["state"] in states], *options))
    if verb == "release":
        wanted &= {"kept"}  # the others wait for their parents
    assert wanted
    count = inside(*verb.split(), *words_of(options), "--json").json
    assert list(count.values()) == [len(wanted)]
    after = {job["id"]: job for job in inside("list", "--json").json}
    changed = {job["id"] for job in mixed if after.get(job["id"]) != job}
    assert changed == wanted


def test_events_that_are_asked_for_together(store: Path, inside: Here) -> None:
    for ref in ((), ("flaky-7",)):
        every = inside("events", *ref, "--json").json
        assert len({event["kind"] for event in every}) > 2
        middle = every[len(every) // 2]["at"]
        assert every[-1]["at"] < middle <= every[0]["at"]
        for kinds in ((), ("job.enqueued",), ("job.started", "job.failed")):
            for since in ("", middle):
                words = [word for kind in kinds for word in ("--kind", kind)]
                words += ["--since", since] if since else []
                wanted = [
                    event
                    for event in every
                    if (not kinds or event["kind"] in kinds) and event["at"] >= since
                ]
                assert inside("events", *ref, *words, "--json").json == wanted, words
                most = inside("events", *ref, *words, "--limit", "1", "--json").json
                assert most == wanted[:1], words
