"""SQLite on whose thread: its own under an event loop, the asker's where none runs."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from queuectl_core.domain.errors import Conflict, StoreLocked
from queuectl_core.domain.model import Filter
from queuectl_core.store.sqlite import connection as connection_module
from queuectl_core.store.sqlite.database_file import prepare_file
from queuectl_core.store.sqlite.store import SqliteStore, connect
from queuectl_core.system.run_sync import run_sync

from ..support import NOW, spec


async def make(path: Path, *names: str) -> None:
    """A store at ``path`` with jobs of these ids."""
    store = await SqliteStore.open(path)
    try:
        await store.enqueue([spec(id=name) for name in names], NOW)
    finally:
        await store.close()


def thread_of(conn: sqlite3.Connection) -> int:
    return threading.get_ident()


async def test_under_an_event_loop_the_loop_never_waits_for_the_database(store_path: Path) -> None:
    await make(store_path)
    connection = await connect(prepare_file(store_path, False))
    assert await connection.read(thread_of) != threading.get_ident()
    await connection.close()


def test_an_event_loop_that_closes_too_early_ends_the_thread_in_silence(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a second interrupt, which asyncio does not wait for."""
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    before, closed = set(threading.enumerate()), threading.Event()
    drivers: list[sqlite3.Connection] = []

    def slow(conn: sqlite3.Connection) -> None:
        drivers.append(conn)
        assert closed.wait(20)

    async def leave_in_the_middle() -> None:
        connection = await connect(prepare_file(store_path, False))
        asyncio.get_running_loop().call_later(0.01, asyncio.get_running_loop().stop)
        await connection.call(slow)

    asyncio.run(make(store_path))
    loop = asyncio.new_event_loop()
    task = loop.create_task(leave_in_the_middle())
    loop.run_forever()
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()
    (thread,) = set(threading.enumerate()) - before
    closed.set()
    thread.join(20)
    assert not thread.is_alive()
    assert told == []
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        drivers[0].execute("SELECT 1")


async def test_a_signal_while_the_thread_starts_ends_it(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor that got SIGTERM at that moment waited for the thread, for ever."""
    await make(store_path)
    before = set(threading.enumerate())
    start, join = threading.Thread.start, threading.Thread.join

    def interrupted(thread: threading.Thread) -> None:
        thread.daemon = True
        start(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        patched.setattr(threading.Thread, "join", lambda thread: join(thread, 5))
        with pytest.raises(KeyboardInterrupt):
            await connect(prepare_file(store_path, False))
    assert set(threading.enumerate()) <= before


def test_without_an_event_loop_there_is_no_thread(store_path: Path) -> None:
    async def session() -> int:
        await make(store_path, "a")
        connection = await connect(prepare_file(store_path, False))
        used = await connection.write(thread_of)
        await connection.close()
        await connection.close()
        with pytest.raises(RuntimeError, match="not open"):
            await connection.read(thread_of)
        return used

    before = set(threading.enumerate())  # some of an earlier test's may be about to end
    assert run_sync(session()) == threading.get_ident()
    assert set(threading.enumerate()) <= before
    assert not store_path.with_name("queue.db-wal").exists(), "closed as the last one"


def test_without_an_event_loop_trouble_is_told_in_the_same_words(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sync(make(store_path, "a"))
    monkeypatch.setattr(connection_module, "LOCK_PATIENCE", 0.05)
    with closing(sqlite3.connect(store_path, isolation_level=None)) as holder, holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLocked, match="locked by another process"):
            run_sync(make(store_path, "b"))
    holder.close()
    with pytest.raises(Conflict, match="'a' is taken"):
        run_sync(make(store_path, "b", "a"))

    async def names() -> list[str]:
        store = await SqliteStore.open(store_path)
        found = [job.id for job in await store.scan(Filter(), 5)]
        await store.close()
        return found

    assert run_sync(names()) == ["a"]
