"""When the change of a verb is committed, the verb succeeds, whatever happens afterwards.

The tests make every step after the commit fail, on both stores. Then they compare the exit code
with the content of the database, which they read with the driver only.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import queuectl_core.operations.attempt_output
import queuectl_core.operations.maintenance
import queuectl_core.queue
import queuectl_core.store.sqlite.connection
import queuectl_core.store.sqlite.store
from chaos.disk import Disk, Unavailable
from queuectl_core.domain.errors import StoreFull, StoreUnreachable
from queuectl_core.store.postgres.batch import PostgresBatch
from queuectl_core.store.postgres.connections import Connections
from queuectl_core.store.postgres.store import PostgresStore
from queuectl_core.store.sqlite.connection import Connection
from queuectl_core.store.sqlite.store import SqliteStore
from queuectl_core.store.sqlite.threaded import ThreadedConnection

from ..store.stores import PLACES, Place, PostgresPlace
from ..support import Cli, eventually
from .conftest import Here


class Faults:
    """From the first commit on that changes something, everything fails."""

    def __init__(self) -> None:
        self.armed = False
        self.committed = False

    def strike(self) -> None:
        if self.committed:
            raise StoreUnreachable("the store went away", "look for it")


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    found = Faults()
    connection = queuectl_core.store.sqlite.connection
    attempt = connection._attempt

    def sqlite_attempt(conn: sqlite3.Connection, begin: str | None, body: Any) -> Any:
        found.strike()
        before = conn.total_changes
        result = attempt(conn, begin, body)
        changed = begin == "BEGIN IMMEDIATE" and conn.total_changes > before
        found.committed = found.armed and (found.committed or changed)
        return result

    monkeypatch.setattr(connection, "_attempt", sqlite_attempt)
    transaction, once = Connections._transaction, Connections._once

    async def postgres_transaction(self: Connections, *args: Any) -> Any:
        found.strike()
        result = await transaction(self, *args)
        found.committed = found.armed
        return result

    async def postgres_once(self: Connections, *args: Any) -> Any:
        found.strike()
        return await once(self, *args)

    monkeypatch.setattr(Connections, "_transaction", postgres_transaction)
    monkeypatch.setattr(Connections, "_once", postgres_once)
    for kind in (Connection, ThreadedConnection, SqliteStore, PostgresStore):
        monkeypatch.setattr(kind, "close", _failing_close(found, kind.close))

    def close_batch(self: PostgresBatch) -> None:
        self._file.close()
        found.strike()

    monkeypatch.setattr(PostgresBatch, "close", close_batch)

    def no_file(*_: object) -> None:
        if found.committed:
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(connection, "notify", no_file)
    monkeypatch.setattr(queuectl_core.operations.attempt_output, "remove_logs", no_file)
    return found


def _failing_close(faults: Faults, close: Any) -> Any:
    async def failing(self: Any, *args: Any, **options: Any) -> None:
        await close(self, *args, **options)
        faults.strike()

    return failing


@pytest.fixture(params=sorted(PLACES))
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    made = PLACES[request.param].take(tmp_path)
    monkeypatch.setenv("QUEUECTL_STORE", made.url)
    yield made
    asyncio.run(made.give_back())


@pytest.fixture
def queue(place: Place, here: Here, monkeypatch: pytest.MonkeyPatch) -> Here:
    """The command line on a store that holds a job in several states."""
    monkeypatch.setenv("QUEUECTL_STORE", place.url)  # ``here`` has set another one
    here("enqueue", *(json.dumps({"id": name, "command": name}) for name in "abc"))
    here("cancel", "c")
    return here


def rows(place: Place, query: str) -> list[tuple[Any, ...]]:
    """What the driver reads."""
    return asyncio.run(place.execute(query))


def states(place: Place) -> dict[str, str]:
    return {str(name): state for name, state in rows(place, "SELECT id, state FROM jobs")}


START = {"a": "pending", "b": "pending", "c": "cancelled"}
VERBS: dict[str, tuple[tuple[str, ...], dict[str, str | None]]] = {
    "enqueue": (("enqueue", "--id", "new", "true"), {"new": "pending"}),
    "enqueue json": (("enqueue", "--id", "new", "true", "--json"), {"new": "pending"}),
    "cancel": (("cancel", "a"), {"a": "cancelled"}),
    "cancel json": (("cancel", "a", "b", "--json"), {"a": "cancelled", "b": "cancelled"}),
    "cancel all": (("cancel", "--all"), {"a": "cancelled", "b": "cancelled"}),
    "hold": (("hold", "a"), {"a": "waiting"}),
    "hold json": (("hold", "a", "b", "--json"), {"a": "waiting", "b": "waiting"}),
    "hold all": (("hold", "--all"), {"a": "waiting", "b": "waiting"}),
    "edit": (("edit", "a", "--priority", "3"), {}),
    "edit json": (("edit", "a", "--priority", "3", "--json"), {}),
    "queue pause": (("queue", "pause", "default"), {}),
    "queue pause json": (("queue", "pause", "default", "--json"), {}),
    "queue set": (("queue", "set", "default", "--limit", "1"), {}),
    "retry": (("retry", "c"), {"c": "pending"}),
    "retry all": (("retry", "--all"), {"c": "pending"}),
    "retry command": (("retry", "c", "--command", "false"), {"c": "pending"}),
    "remove": (("remove", "a", "c"), {"a": None, "c": None}),
    "remove all": (("remove", "--all", "-y"), {"a": None, "b": None, "c": None}),
    "remove filter": (("remove", "--state", "cancelled", "-y"), {"c": None}),
    "prune": (("prune", "--older-than", "0s", "--state", "cancelled"), {"c": None}),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_failure_after_the_commit_is_at_most_a_note(
    queue: Here, place: Place, faults: Faults, verb: str
) -> None:
    words, change = VERBS[verb]
    assert states(place) == START
    faults.armed = True
    shown = queue(*words)
    assert faults.committed
    expected = {name: state for name, state in (START | change).items() if state is not None}
    assert states(place) == expected
    for line in shown.err.splitlines():
        assert line.startswith("queuectl: "), "a note"
        assert "error" not in line
    if "--json" in words:
        json.loads(shown.out)


@pytest.mark.parametrize("json_", [(), ("--json",)])
@pytest.mark.parametrize("count", [1, 3])
def test_a_bulk_enqueue_whose_ids_cannot_be_read(
    queue: Here,
    place: Place,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
    json_: tuple[str, ...],
    count: int,
) -> None:
    lines = "".join(f'{{"id":"n{n}","command":"true"}}\n' for n in range(count))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    faults.armed = True
    shown = queue("enqueue", "-", *json_)
    assert faults.committed
    assert f"{count} job{'s' * (count > 1)} enqueued, but reading them failed" in shown.err
    assert states(place) == START | {f"n{n}": "pending" for n in range(count)}
    if json_:
        json.loads(shown.out)


@pytest.mark.parametrize("words", [("set", "max-retries", "7"), ("unset", "max-retries")])
def test_config(queue: Here, place: Place, faults: Faults, words: tuple[str, ...]) -> None:
    queue("config", "set", "max-retries", "9")
    faults.armed = True
    assert queue("config", *words).out == ("7\n" if words[0] == "set" else "3\n")
    assert faults.committed
    kept = rows(place, "SELECT value FROM config WHERE key = 'max-retries'")
    assert kept == ([("7",)] if words[0] == "set" else [])


def test_a_copy(queue: Here, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_space(self: SqliteStore) -> None:
        raise StoreFull("no space left", "free some")

    monkeypatch.setattr(SqliteStore, "checkpoint", no_space)
    queue("store", "copy", "--to", tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert dict(connection.execute("SELECT id, state FROM jobs")) == START


def test_a_small_disk(tmp_path: Path) -> None:
    """If the disk becomes full during ``enqueue -``, its answer is true: all was enqueued, or
    nothing."""
    outcomes = set()
    for kilobytes in (5_000, 9_000, 11_000, 25_000):
        try:
            with Disk(tmp_path / f"disk{kilobytes}") as disk:
                outcomes.add(_fill(disk, tmp_path, kilobytes))
        except Unavailable as error:
            pytest.skip(str(error))
    assert outcomes == {0, 5}, "both: what fits, and what does not"


def _fill(disk: Disk, tmp_path: Path, kilobytes: int) -> int:
    path = disk.path / "queue.db"
    cli = Cli(path, tmp_path)
    lines = "".join(
        json.dumps({"id": f"j{n}", "command": f"echo {'x' * 950}"}) + "\n" for n in range(kilobytes)
    )
    done = subprocess.run(
        [sys.executable, "-m", "queuectl_tui", "--store", str(path), "enqueue", "-"],
        input=lines.encode(),
        capture_output=True,
        env=cli.environment(),
        cwd=tmp_path,
        check=False,
    )
    with closing(sqlite3.connect(path)) as connection:
        [count] = connection.execute("SELECT count(*) FROM jobs").fetchone()
    said = done.stderr.decode()
    assert count == (kilobytes if done.returncode == 0 else 0), said
    assert done.returncode in (0, 5), said
    return done.returncode


def test_a_temporary_directory_that_is_full(tmp_path: Path) -> None:
    """For PostgreSQL, jobs are first collected in a file."""
    place = PostgresPlace(tmp_path)
    cli = Cli(tmp_path / "unused.db", tmp_path)
    try:
        with Disk(tmp_path / "small") as disk:
            room = disk.path / "room"
            room.write_bytes(bytes(64 << 10))
            disk.fill()
            room.unlink()  # if there is no space at all, Python uses another directory
            done = subprocess.run(
                [sys.executable, "-m", "queuectl_tui", "--store", place.url, "enqueue", "-"],
                input=b'{"command":"true"}\n' * 10_000,
                capture_output=True,
                env=cli.environment({"TMPDIR": str(disk.path)}),
                cwd=tmp_path,
                check=False,
            )
    except Unavailable as error:
        pytest.skip(str(error))
    finally:
        asyncio.run(place.clear())
    assert done.returncode == 5
    [line] = done.stderr.decode().splitlines()
    assert "no space left" in line
    assert "nothing was enqueued" in line
    assert "TMPDIR" in line


def test_worker_stop_says_that_the_workers_were_asked(
    queue: Here, place: Place, faults: Faults, tmp_path: Path
) -> None:
    """The wait is a part of what the user asked for. So this is no success, but the message says
    what was done."""
    cli = Cli(place.url, tmp_path)
    try:
        queue("cancel", "--all")
        cli("worker", "start", "--detach")
        faults.armed = True
        shown = queue("worker", "stop", code=5)
        assert "the workers were asked to stop, but not seen to go: " in shown.err
        faults.armed = faults.committed = False
        eventually(lambda: rows(place, "SELECT id FROM workers") == [])
    finally:
        cli.close()


WATCHED = """
import os, sys

late = []

class Finder:
    def find_spec(self, name, path=None, target=None):
        if getattr(sys.modules.get("queuectl_core.system.postcommit"), "commits", False):
            late.append(name)

sys.meta_path.insert(0, Finder())
from queuectl_tui.__main__ import main
code = main()
sys.stdout.flush()
print(*late, file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of a completed job, a dead one and a pending one. Tests copy it."""
    folder = tmp_path_factory.mktemp("worked")
    cli = Cli(folder / "queue.db", folder)
    cli("enqueue", "--id", "a", "true")
    cli("enqueue", "--id", "b", "--max-retries", "1", "--priority", "1", "false")
    cli("worker", "start", "--until-empty", "-q")
    cli("enqueue", "--id", "c", "true")
    cli.close()
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("enqueue", "true"),
        ("enqueue", "true", "--json"),
        ("enqueue", "--file", "jobs"),
        ("cancel", "c"),
        ("cancel", "--all", "--json"),
        ("retry", "b"),
        ("retry", "b", "--command", "false"),
        ("retry", "--search", "b"),
        ("remove", "a"),
        ("remove", "--all", "-y"),
        ("dlq", "retry", "--all"),
        ("dlq", "purge", "--all", "-y"),
        ("config", "set", "max-retries", "5"),
        ("config", "unset", "max-retries"),
        ("prune", "--older-than", "0s", "--state", "dead"),
    ],
    ids=" ".join,
)
def test_nothing_is_loaded_after_the_commit(
    cli: Cli, worked: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Loading a module needs a descriptor. If there is none left, the verb would report that its
    change failed, although it was made."""
    (tmp_path / "jobs").write_text('{"command": "true"}\n')
    shutil.copytree(worked, tmp_path, dirs_exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, "--store", cli.store, *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=cli.environment(),
    )
    assert not done.stderr.splitlines()[-1]
