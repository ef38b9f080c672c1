"""Checkpoints: the WAL stays small, nobody waits for a reader, and no write fails for one."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from queuectl_core.domain.errors import StoreError
from queuectl_core.domain.model import Filter
from queuectl_core.queue import Queue
from queuectl_core.store.sqlite import checkpoint as checkpoint_module
from queuectl_core.store.sqlite import connection as connection_module
from queuectl_core.store.sqlite.store import SqliteStore
from queuectl_core.system.run_sync import run_sync

from ..support import NOW, Cli, held_open, spec

SMALL = 96 << 10


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A WAL of 64 KiB is large."""
    monkeypatch.setattr(checkpoint_module, "WAL_LIMIT", SMALL)
    monkeypatch.setattr(connection_module, "WAL_LIMIT", SMALL)


def wal(path: Path) -> int:
    return checkpoint_module.wal_size(path)


def in_database(path: Path) -> int | None:
    """How many jobs are in the database file itself, without its WAL; None: not even a table."""
    uri = f"file:{path}?immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as raw:
        if not raw.execute("SELECT 1 FROM sqlite_master").fetchone():
            return None
        return int(raw.execute("SELECT count(*) FROM jobs").fetchone()[0])


READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM jobs").fetchone()
print("ready", flush=True)
sys.stdin.read()
"""
"""Keeps a snapshot for as long as one likes."""


async def fill(store: SqliteStore, count: int = 100) -> None:
    await store.enqueue([spec("x" * 1000) for _ in range(count)], NOW)


async def test_a_checkpoint_moves_a_large_wal_and_the_next_write_starts_it_anew(
    store_path: Path, small: None
) -> None:
    store = await SqliteStore.open(store_path)
    await store.enqueue([spec()], NOW)
    if wal(store_path) <= SMALL:
        await store.checkpoint()
        assert not in_database(store_path), "not worth it yet"
    await fill(store)
    large = wal(store_path)
    assert large > SMALL
    await store.checkpoint()
    assert in_database(store_path) == 101
    await store.enqueue([spec()], NOW)
    assert wal(store_path) <= SMALL < large
    await store.close()


async def test_a_clean_wal_is_looked_at_only(store_path: Path, small: None) -> None:
    """A supervisor at rest does nothing once a second."""
    store = await SqliteStore.open(store_path)
    await fill(store)
    await store.checkpoint()
    statements: list[str] = []
    await store._connection.call(lambda conn: conn.set_trace_callback(statements.append))
    await store.checkpoint()
    assert statements == []
    await store.close()


async def test_a_reader_keeps_nobody_waiting(store_path: Path, small: None) -> None:
    store = await SqliteStore.open(store_path)
    await fill(store, 10)
    with held_open(READER, store_path):
        began = time.monotonic()
        for _ in range(20):
            await fill(store)
            await store.checkpoint()
        assert time.monotonic() - began < 5, "a TRUNCATE checkpoint waits 5 s for a reader"
        assert wal(store_path) > 20 * SMALL, "the reader needs it"
    await store.checkpoint()
    assert in_database(store_path) == 2010
    await store.enqueue([spec()], NOW)
    assert wal(store_path) <= SMALL, "bounded again"
    await store.close()


async def test_writers_make_checkpoints_where_no_supervisor_does(
    store_path: Path, small: None
) -> None:
    """A console is open, so no verb is the last to close the store."""
    store = await SqliteStore.open(store_path)
    await store.enqueue([spec()], NOW)
    largest = 0
    for _ in range(30):

        async def verb() -> None:
            async with Queue.open(str(store_path)) as queue:
                await queue.enqueue([{"command": "x" * 30_000}])

        await asyncio.to_thread(run_sync, verb())
        largest = max(largest, wal(store_path))
    assert largest < 4 * SMALL
    await store.close()


async def test_a_bulk_enqueue_leaves_no_large_wal_behind(store_path: Path, small: None) -> None:
    store = await SqliteStore.open(store_path)
    async with store.batch() as batch:
        await batch.add([(n, spec("x" * 1000)) for n in range(500)])
        await batch.commit(NOW)
    assert in_database(store_path) == 500
    await store.close()


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), OSError(5, "EIO")])
async def test_a_checkpoint_that_fails_makes_no_committed_write_fail(
    store_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tried = []

    def fail(conn: sqlite3.Connection) -> tuple[int, int]:
        tried.append(conn)
        raise error

    monkeypatch.setattr(checkpoint_module, "_checkpoint", fail)
    monkeypatch.setattr(checkpoint_module, "AGAIN_AFTER", 0.0)
    store = await SqliteStore.open(store_path)
    await fill(store, 300)
    async with store.batch() as batch:
        await batch.add([(1, spec())])
        await batch.commit(NOW)
    if isinstance(error, sqlite3.Error):
        await store.checkpoint()
    assert len(tried) >= 2
    assert await store.count_range(Filter()) == 301
    await store.close()


async def test_after_a_reader_was_in_the_way_a_writer_does_not_try_each_time(
    store_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = []
    monkeypatch.setattr(checkpoint_module, "_move", lambda path, _: bool(moved.append(path)))
    store = await SqliteStore.open(store_path)
    for _ in range(20):
        await fill(store)
    assert len(moved) < 5
    await store.close()


async def test_only_one_process_at_a_time_makes_a_checkpoint(store_path: Path, small: None) -> None:
    store = await SqliteStore.open(store_path)
    store.directory.mkdir()
    fd = os.open(store.directory, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    await fill(store)
    await store.checkpoint()
    assert not in_database(store_path), "somebody else is at it"
    os.close(fd)
    await store.checkpoint()
    assert in_database(store_path) == 100
    await store.close()


async def test_a_checkpoint_can_wait_when_somebody_writes_for_long(
    store_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "LOCK_PATIENCE", 0.05)
    monkeypatch.setattr(checkpoint_module, "DUE", 1000)
    store = await SqliteStore.open(store_path)
    with closing(sqlite3.connect(store_path, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        await fill(store, 30)
        writer.execute("BEGIN IMMEDIATE")
        await store.checkpoint()
        assert in_database(store_path) is None
        writer.execute("ROLLBACK")
        await store.checkpoint()
        assert in_database(store_path) == 30
    await store.close()


# -- a large WAL ------------------------------------------------------------------------


@contextmanager
def writer(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program that writes, and never waits."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as raw:
        raw.execute("PRAGMA wal_autocheckpoint = 0")
        yield raw


def generation(path: Path) -> bytes:
    """What is different each time that the WAL is started anew."""
    return Path(f"{path}-wal").read_bytes()[16:24]


@pytest.mark.parametrize("by", ["supervisor", "verb"])
async def test_a_large_wal_is_moved_while_others_write(
    store_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Of 300 MB that a reader left, nobody has to wait for more than what was added meanwhile."""
    real, seen = checkpoint_module._checkpoint, []

    def beside(conn: sqlite3.Connection) -> tuple[int, int]:
        before = generation(store_path)
        found = real(conn)
        with writer(store_path) as other:
            try:
                other.execute("INSERT INTO config VALUES (?, 'x')", (f"k{len(seen)}",))
                locked = False
            except sqlite3.OperationalError:
                locked = True
        seen.append((locked, generation(store_path) == before))
        return found

    store = await SqliteStore.open(store_path)
    await fill(store, 10)
    with held_open(READER, store_path):
        await fill(store, 1000)
        assert store._checkpoints.is_large
    monkeypatch.setattr(checkpoint_module, "_checkpoint", beside)
    before = generation(store_path)
    if by == "supervisor":
        await store.checkpoint()
    else:
        store._checkpoints._again_at = 0.0
        await store.enqueue([spec()], NOW)
    assert seen[0] == (False, True), "a commit, and the WAL was not started anew"
    assert seen[-1] == (True, True), "the rest is moved with the writer lock"
    assert 2 <= len(seen) <= 3
    assert in_database(store_path) == 1010 + (by == "verb")
    await store.enqueue([spec()], NOW)
    assert generation(store_path) != before
    assert wal(store_path) <= SMALL
    assert len(await store.config()) == len(seen) - 1
    await store.close()


async def test_what_a_reader_needs_of_a_large_wal_keeps_no_writer_waiting(
    store_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may leave at any moment: then all would be moved at once, with the lock."""
    store = await SqliteStore.open(store_path)
    await fill(store, 10)
    with held_open(READER, store_path):
        await fill(store, 1000)
        monkeypatch.setattr(checkpoint_module, "_move", None)
        await store.checkpoint()
    await store.close()


async def test_a_verb_leaves_a_large_wal_to_the_supervisor(
    store_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = []
    monkeypatch.setattr(
        checkpoint_module, "_move_most", lambda path, _: bool(moved.append(path)) or True
    )
    store = await SqliteStore.open(store_path)
    notifier = store.notifier("s1")
    await fill(store, 1000)
    assert store._checkpoints.is_large
    assert not moved
    notifier.close()
    await fill(store, 1)
    assert moved
    await store.close()


async def test_a_checkpoint_of_a_replaced_store_does_not_touch_the_new_one(
    store_path: Path, small: None
) -> None:
    """The old connection has no lock of the new file."""
    old = await SqliteStore.open(store_path)
    await old.enqueue([spec()], NOW)
    for end in ("", "-wal", "-shm"):
        Path(f"{store_path}{end}").unlink()
    new = await SqliteStore.open(store_path)
    await fill(new)
    assert wal(store_path) > SMALL
    before = in_database(store_path)
    await old.checkpoint()
    assert in_database(store_path) == before != 100
    await old.close()
    await new.close()


def test_a_checkpoint_makes_no_file_and_touches_no_other(store_path: Path, tmp_path: Path) -> None:
    """Its connection goes by the name, and the store may have been moved away meanwhile."""
    for move in (checkpoint_module._move, checkpoint_module._move_most):
        with pytest.raises(sqlite3.OperationalError):
            move(store_path, lambda: False)
        assert not store_path.exists()

    async def act() -> None:
        store = await SqliteStore.open(store_path)
        await fill(store)
        for move in (checkpoint_module._move, checkpoint_module._move_most):
            assert not move(store_path, lambda: True)
        assert in_database(store_path) is None, "another store is here by now: let it be"
        await store.close()

    run_sync(act())


async def test_a_backup_does_not_wait_for_whoever_watches_it(
    store_path: Path, tmp_path: Path
) -> None:
    """A terminal that nobody reads must not keep the WAL from starting anew."""
    async with Queue.open(str(store_path)) as queue:
        await queue.enqueue(["x" * 5000] * 2000)
        released: list[bool] = []

        def blocked(done: int, total: int) -> None:
            deadline = time.monotonic() + 20
            while not released and time.monotonic() < deadline:
                with closing(sqlite3.connect(store_path, timeout=0)) as raw:
                    raw.execute("PRAGMA wal_autocheckpoint = 0")
                    busy, *_ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not busy:
                    released.append(True)

        await queue.backup(str(tmp_path / "copy.db"), progress=blocked)
        assert released, "the copy went on and let go of the WAL"
    with closing(sqlite3.connect(tmp_path / "copy.db")) as raw:
        assert raw.execute("SELECT count(*) FROM jobs").fetchone()[0] == 2000


def test_a_checkpoint_that_fails_is_no_error(cli: Cli, store_path: Path) -> None:
    async def act() -> None:
        store = await SqliteStore.open(store_path)
        await fill(store)
        store_path.rename(store_path.with_name("away.db"))
        await store.checkpoint()
        with pytest.raises(StoreError, match="removed or moved away"):
            await store.enqueue([spec()], NOW)
        await store.close()

    run_sync(act())
