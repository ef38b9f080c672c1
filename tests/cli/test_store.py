"""``store copy``."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from queuectl_core.operations import copy

from ..store.stores import PLACES, Place
from ..support import Cli, eventually, spec
from .conftest import Here, Terminal
from .test_globals import one_line


@pytest.fixture(params=sorted(PLACES))
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Where a copy can be made."""
    folder = tmp_path / "target"
    folder.mkdir()
    made = PLACES[request.param](folder)
    yield made
    await made.clear()


def test_a_queue_moves_and_goes_on(cli: Cli, target: Place) -> None:
    cli("enqueue", "--id", "said", "printf %70000d 1; echo whole")
    cli("enqueue", "--id", "bad", "--max-retries", "1", "echo why; false")
    cli("enqueue", "--id", "later", "--delay", "1h", "true")
    cli("config", "set", "max-retries", "7")
    cli("worker", "start", "--until-empty")
    before, whole = cli("list", "--json").out, cli("logs", "said").out
    stats = cli.json("stats")
    copied = cli("store", "copy", "--to", target.url)
    assert copied.out.splitlines() == [
        "WHAT\tSOURCE\tCOPY",
        "pending in default\t1\t1",
        "completed in default\t1\t1",
        "dead in default\t1\t1",
        "attempts\t2\t2",
        "events\t6\t6",
        "stored outputs\t2\t2",
    ]
    first, second = copied.err.splitlines()
    assert first.endswith(f"{cli.store} is as it was")
    assert "next: export QUEUECTL_STORE='" in second
    there = ("--store", target.url)
    for where in ((), there):
        assert cli(*where, "list", "--json").out == before
        assert cli(*where, "logs", "said").out == whole, "more than its stored end"
    assert cli(*there, "config", "get", "max-retries").out == "7\n"
    moved = cli.json(*there, "stats")
    same = ("completed", "failed", "dead", "run_time", "wait_time")
    assert {key: moved[key] for key in same} == {key: stats[key] for key in same}
    cli(*there, "retry", "bad")
    cli(*there, "enqueue", "--id", "new", "true")
    cli(*there, "worker", "start", "--until-empty")
    states = {job["id"]: job["state"] for job in cli.json(*there, "list")}
    assert states == {"said": "completed", "bad": "dead", "later": "pending", "new": "completed"}


def test_a_copy_as_json(here: Here, store_path: Path, tmp_path: Path) -> None:
    here("enqueue", "true")
    target = tmp_path / "copy.db"
    answer = here("store", "copy", "--to", target, "--json")
    assert answer.json == {
        "from": str(store_path),
        "to": str(target),
        "same": True,
        "resumed": False,
        "outputs": 0,
        "counts": [
            {"what": "pending in default", "source": 1, "target": 1},
            {"what": "attempts", "source": 0, "target": 0},
            {"what": "events", "source": 1, "target": 1},
            {"what": "stored outputs", "source": 0, "target": 0},
        ],
    }


def test_a_copy_goes_nowhere_else(here: Here, store_path: Path, tmp_path: Path) -> None:
    here("enqueue", "true")
    full = tmp_path / "full.db"
    here("--store", full, "enqueue", "true")
    refused = {
        full: (4, "is not empty (1 job)"),
        store_path: (2, "is the store itself"),
        tmp_path: (5, "is a directory"),
        tmp_path / "no" / "x.db": (5, "does not exist"),
    }
    for target, (code, said) in refused.items():
        assert said in one_line(here("store", "copy", "--to", target, code=code).err)
    assert "--to" in one_line(here("store", "copy", code=2).err)
    assert "empty path" in one_line(here("store", "copy", "--to", "", code=2).err)
    assert "not supported" in one_line(here("store", "copy", "--to", "mysql://x/y", code=2).err)
    assert "say what to do: copy" in one_line(here("store", code=2).err)


def test_workers_must_be_stopped_first(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    cli("worker", "start", "--detach")
    before = os.listdir(tmp_path)
    said = one_line(cli("store", "copy", "--to", target, code=4).err)
    assert "workers are up on store" in said
    assert "worker stop" in said
    assert os.listdir(tmp_path) == before, "an empty store there would look like the copy"
    cli("worker", "stop")
    eventually(lambda: cli.json("worker", "list") == [])
    cli("store", "copy", "--to", target)


def test_a_store_that_is_half_a_copy_is_of_no_use_to_anybody(
    here: Here, store_path: Path, tmp_path: Path
) -> None:
    here("enqueue", "true", "--id", "a")
    target = tmp_path / "copy.db"
    here("--store", target, "config", "unset", "lease")
    with closing(sqlite3.connect(target)) as raw, raw:
        raw.execute(
            "INSERT INTO config VALUES ('.copy', ?)",
            (f'{{"from": "{store_path}.d", "shown": "old", "turn": "x", "upto": 0}}',),
        )
    raw.close()
    for words in (("enqueue", "true"), ("status",), ("worker", "start", "--until-empty")):
        said = one_line(here("--store", target, *words, code=4).err)
        assert "is half a copy of old; go on with: queuectl store copy" in said
    assert here("store", "copy", "--to", target, "--json").json["resumed"]
    assert [job["id"] for job in here("--store", target, "list", "--json").json] == ["a"]


def test_a_copy_shows_how_far_it_is(terminal: Terminal, tmp_path: Path) -> None:
    terminal.cli("enqueue", "true")
    shown = terminal("store", "copy", "--to", tmp_path / "copy.db")
    assert "copying ━" in shown
    assert "comparing ━" in shown
    assert "all of it copied" in shown


def test_a_copy_that_differs_is_said_and_not_used(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here("enqueue", "true", "--id", "a")
    target = tmp_path / "copy.db"
    begin = copy._Copy.begin

    async def crowded(self: copy._Copy) -> bool:
        resumed = await begin(self)
        await self.target.enqueue([spec()], self.target.clock())  # by an older connection
        return resumed

    monkeypatch.setattr(copy._Copy, "begin", crowded)
    answer = here("store", "copy", "--to", target, code=1)
    assert "pending in default\t1\t2\n" in answer.out
    assert "warning: they differ" in one_line(answer.err)
    assert "half a copy" in one_line(here("--store", target, "status", code=4).err)
