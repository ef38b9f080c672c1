"""Reading a store changes nothing: it creates no file, migrates none, and works where one may only
read."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.errors import StoreGone, StoreUnreachable
from queuectl_core.domain.model import Filter
from queuectl_core.queue import Queue
from queuectl_core.store.sqlite import connection, migrate, read_only
from queuectl_core.store.sqlite.store import SqliteStore, absent_store
from queuectl_core.system.run_sync import run_sync

from ..support import NOW, Cli, spec

OLD_STORE = Path(__file__).parent / "data" / "v1.db"
READING = (
    ("list",),
    ("show", "a"),
    ("logs", "a"),
    ("status",),
    ("stats",),
    ("metrics",),
    ("wait", "--all"),
    ("worker", "list"),
    ("dlq", "list"),
    ("dlq", "list", "--group"),
    ("config", "list"),
    ("config", "get", "lease"),
    ("prune", "--older-than", "1h", "--dry-run"),
)
NOT_CREATING = (
    *READING,
    ("cancel", "a"),
    ("retry", "a"),
    ("retry", "--all"),
    ("remove", "--all", "-y"),
    ("dlq", "retry", "--all"),
    ("dlq", "purge", "--all", "-y"),
    ("prune", "--older-than", "1h"),
    ("worker", "stop"),
    ("backup", "copy.db"),
    ("store", "copy", "--to", "other.db"),
)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder every user can get to, as pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="queuectl-public-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


def content(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_a_store_that_was_given_and_is_not_there_is_exit_5_and_is_not_made(
    cli: Cli, tmp_path: Path
) -> None:
    for words in NOT_CREATING:
        shown = cli(*words, code=5)
        assert "is not there" in shown.err, words
        assert len(shown.err.splitlines()) == 1
    cli("doctor", code=1)
    cli("doctor", "--repair", code=1)
    assert list(tmp_path.iterdir()) == []


def test_a_default_store_that_is_not_there_is_empty_and_is_not_made(
    cli: Cli, isolated: Path, tmp_path: Path
) -> None:
    cli.env["QUEUECTL_STORE"] = ""
    assert cli.json("list") == []
    assert cli.json("worker", "list") == []
    assert cli.json("status")["total"] == 0
    for words in NOT_CREATING:
        shown = cli(*words, code=None)
        assert shown.code in (0, 1, 3, 5), (words, shown.err)
        assert "internal error" not in shown.err
    assert not (isolated / "data").exists()
    cli("enqueue", "true")
    assert (isolated / "data").is_dir()


OTHER_USER = """
import json, os, sys
from pathlib import Path
from queuectl_core.domain.errors import StoreError
from queuectl_core.domain.model import Filter
from queuectl_core.system.run_sync import run_sync
from queuectl_core.store.sqlite.store import SqliteStore, absent_store
from queuectl_core.store.sqlite import copy, read_only, threaded
from queuectl_core.queue import Queue

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), read_only=True)
    print(json.dumps([job.id for job in await store.scan(Filter(), 9)]), flush=True)
    for line in sys.stdin:
        changed = await store.changed()
        print(json.dumps([changed, [job.id for job in await store.scan(Filter(), 9)]]), flush=True)
    await store.close()

if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    run_sync(main())
except StoreError as error:
    print(json.dumps(str(error)))
"""


def other_user(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OTHER_USER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str], *, again: bool = False) -> object:
    assert process.stdin is not None
    assert process.stdout is not None
    if again:
        process.stdin.write("\n")
        process.stdin.flush()
    return json.loads(process.stdout.readline())


def test_another_user_reads_a_store_that_nobody_has_open(public: Path) -> None:
    path = public / "queue.db"
    run_sync(_make(path, "a"))
    path.chmod(0o444)
    public.chmod(0o555)
    before = content(public)
    process = other_user(path)
    assert line(process) == ["a"]
    path.chmod(0o644)
    public.chmod(0o755)
    run_sync(_make(path, "b"))  # a change is seen, although nothing is locked
    path.chmod(0o444)
    public.chmod(0o555)
    after = content(public)
    assert line(process, again=True) == [True, ["b", "a"]]
    assert line(process, again=True) == [False, ["b", "a"]]
    process.communicate()
    assert content(public) == after != before


async def test_another_user_reads_a_store_that_is_in_use(public: Path) -> None:
    path = public / "queue.db"
    store = await SqliteStore.open(path)
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").chmod(0o644)
    await store.enqueue([spec(id="a")], NOW)
    process = other_user(path)
    assert line(process) == ["a"]
    line(process, again=True)
    await store.enqueue([spec(id="b")], NOW)
    assert line(process, again=True) == [True, ["b", "a"]]
    process.communicate()
    await store.close()
    assert [found.name for found in public.iterdir()] == ["queue.db"]


def test_a_store_that_was_not_closed_is_left_to_its_owner(public: Path) -> None:
    path = public / "queue.db"
    run_sync(_make(path, "a"))
    Path(f"{path}-wal").write_bytes(b"x" * 5000)
    for name in public.iterdir():
        name.chmod(0o444)
    if os.geteuid() == 0:
        process = other_user(path)
        assert "was not closed, and you may not write to it" in str(line(process))
        process.communicate()


async def _make(path: Path, *names: str) -> None:
    store = await SqliteStore.open(path)
    await store.enqueue([spec(id=name) for name in names], NOW)
    await store.close()


def test_a_read_only_store_is_read_by_every_reading_verb(cli: Cli, store_path: Path) -> None:
    cli("enqueue", "true", "--id", "a")
    cli("worker", "start", "--until-empty")
    store_path.chmod(0o444)
    shutil.rmtree(f"{store_path}.d")
    before = content(store_path.parent)
    for words in READING:
        cli(*words)
    assert content(store_path.parent) == before


async def test_a_store_of_an_older_schema_is_read_and_not_migrated(
    store_path: Path, tmp_path: Path
) -> None:
    shutil.copy(OLD_STORE, store_path)
    before = content(tmp_path)
    async with Queue.open(str(store_path), read_only=True) as queue:
        jobs = await queue.store.scan(Filter(), 100)
        await queue.stats(3600)
        assert jobs
        assert content(tmp_path) == before
        await queue.changed()
        assert not await queue.changed()
        async with Queue.open(str(store_path)) as writer:
            await writer.enqueue([{"id": "fresh", "command": "true"}])
            assert await queue.changed()
            assert (await queue.find("fresh")).command == "true"
    with closing(sqlite3.connect(store_path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone()[0] == migrate.LATEST


async def test_an_empty_store_is_noticed_to_have_been_made(store_path: Path) -> None:
    store = await absent_store(store_path)
    await store.check()
    assert await store.counts() == {}
    with pytest.raises(StoreUnreachable, match="is not there"):
        await store.enqueue([spec()], NOW)
    await (await SqliteStore.open(store_path)).close()
    with pytest.raises(StoreGone, match="was created meanwhile"):
        await store.check()
    await store.close()


def test_a_path_with_characters_that_mean_something_in_a_uri(tmp_path: Path) -> None:
    for name in ("a?mode=memory", "50%20", "x#y", "a&b"):
        run_sync(_make(tmp_path / name, "a"))
    assert len(list(tmp_path.iterdir())) == 4


async def test_a_fault_of_ours_is_not_reported_as_damage(store_path: Path) -> None:
    store = await SqliteStore.open(store_path)

    def faulty(conn: sqlite3.Connection) -> None:
        int("not a number")

    with pytest.raises(ValueError, match="invalid literal"):
        await store._connection.read(faulty)
    await store.close()


def test_without_a_home_nothing_is_made_in_the_current_directory(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from queuectl_core.domain.errors import InvalidInput
    from queuectl_core.store.open import data_directory

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(InvalidInput, match="home directory is not known; set HOME"):
        data_directory({})


async def test_what_is_written_while_one_without_locks_reads_is_read_again(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may not make files beside the store takes no locks: what was read may be of two times."""
    store = await SqliteStore.open(store_path)
    await store.set_config("lease", "20")
    await store.close()
    monkeypatch.setattr(read_only, "is_writable", lambda path: False)
    attempt, read = connection._attempt, []

    def interrupted(*given: Any) -> Any:
        found = attempt(*given)
        if not read:
            with closing(sqlite3.connect(store_path)) as other:
                other.execute("UPDATE config SET value = '30' WHERE key = 'lease'")
                other.commit()
        read.append(found)
        return found

    store = await SqliteStore.open(store_path, read_only=True)
    monkeypatch.setattr(connection, "_attempt", interrupted)
    assert (await store.config())["lease"] == "30"
    assert len(read) == 2
    await store.close()
