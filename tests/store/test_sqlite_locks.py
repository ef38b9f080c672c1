"""Only SQLite opens the database file: POSIX drops the locks of a connection when its process
closes any other descriptor of the file, and others then delete the WAL it writes to."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.errors import StoreError, StoreUnreachable
from queuectl_core.domain.model import Filter
from queuectl_core.operations.doctor import examine
from queuectl_core.operations.repair import repair
from queuectl_core.queue import Queue
from queuectl_core.store.sqlite import connection, database_file
from queuectl_core.store.sqlite.store import SqliteStore
from queuectl_core.system.run_sync import run_sync

from ..support import NOW, Cli, spec

OTHER = 54_321
"""A uid nobody here has."""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def locks(path: Path) -> set[str]:
    """The locks this process holds on the database and its shared memory, as the kernel says."""
    inodes = {
        str(path.with_name(path.name + end).stat().st_ino): end or "db" for end in ("", "-shm")
    }
    found = set()
    for line in Path("/proc/locks").read_text().splitlines():
        match = re.match(r"\d+: POSIX +ADVISORY +(\w+) +(\d+) \w+:\w+:(\d+) (\d+) (\w+)", line)
        if match and int(match[2]) == os.getpid() and match[3] in inodes:
            found.add(f"{inodes[match[3]]} {match[1]} {match[4]}-{match[5]}")
    return found


def names(path: Path) -> list[str]:
    """The ids in the store, as another process sees them."""
    code = "import sqlite3, sys; print(*[r[0] for r in sqlite3.connect(sys.argv[1]).execute("
    code += "'SELECT id FROM jobs ORDER BY seq')])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


# -- nobody opens the file ------------------------------------------------------------

_opened: list[str] = []


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
        _opened.append(os.path.realpath(os.fsdecode(args[0])))


@contextmanager
def nothing_opens(path: Path) -> Iterator[None]:
    """Fails when anything but SQLite opens the database, its WAL or its shared memory."""
    if not getattr(sys, "_queuectl_hears", False):
        sys.addaudithook(_hear)
        sys._queuectl_hears = True  # type: ignore[attr-defined]
    _opened.clear()
    yield
    pattern = re.compile(re.escape(str(path)) + r"(-\w+)?")
    assert [name for name in _opened if pattern.fullmatch(name)] == []


async def test_an_open_by_our_own_code_would_be_noticed(store_path: Path) -> None:
    store_path.touch()
    with pytest.raises(AssertionError), nothing_opens(store_path):
        store_path.read_bytes()


async def test_no_function_of_the_core_opens_the_file(store_path: Path, tmp_path: Path) -> None:
    url = str(store_path)
    with nothing_opens(store_path):
        async with Queue.open(url) as queue, Queue.open(url) as second:
            await queue.enqueue(["true", "exit 1", {"command": "true", "run_at": "+1h"}])
            async with second.batch() as batch:
                await batch.add([(1, spec())])
                await batch.commit(NOW)
            await queue.backup(str(tmp_path / "copy.db"))
            await second.backup(str(tmp_path / "copy.db"), force=True)
            await queue.store.checkpoint()
            await queue.cancel_all(Filter(queues=("default",)))
            await queue.remove_all(Filter())
            await queue.prune(0)
            await queue.copy_to(str(tmp_path / "other.db"))
            await examine(url, os.environ)
            await repair(url, os.environ)
            await second.config_set("lease", "20")
            await second.store.check()


VERBS = (
    ("enqueue", "true", "--id", "a"),
    ("enqueue", "-"),
    ("worker", "start", "--until-empty"),
    ("worker", "start", "--detach"),
    ("list",),
    ("show", "a"),
    ("logs", "a"),
    ("status",),
    ("stats",),
    ("wait", "a"),
    ("retry", "a"),
    ("cancel", "--help"),
    ("worker", "list"),
    ("worker", "stop"),
    ("remove", "a"),
    ("dlq", "list"),
    ("dlq", "retry", "--all"),
    ("dlq", "purge", "--all", "-y"),
    ("config", "set", "lease", "20"),
    ("config", "list"),
    ("prune", "--older-than", "1h"),
    ("backup", "copy.db"),
    ("store", "copy", "--to", "other.db"),
    ("doctor",),
    ("doctor", "--repair"),
)
HEARD = """
import os, re, sys
path = sys.argv[1]
def hear(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        name = os.path.realpath(os.fsdecode(args[0]))
        if re.fullmatch(re.escape(path) + r"(-\\w+)?", name):
            os.write(2, f"OPENED {name}\\n".encode())
sys.addaudithook(hear)
sys.argv[1:2] = []
import runpy
runpy.run_module("queuectl_tui", run_name="__main__", alter_sys=True)
"""


def test_no_verb_opens_the_file(cli: Cli, store_path: Path) -> None:
    for words in VERBS:
        done = subprocess.run(
            [sys.executable, "-c", HEARD, os.path.realpath(store_path), *words],
            input='{"command": "true"}\n',
            capture_output=True,
            text=True,
            env=cli.environment(),
            cwd=cli.cwd,
            timeout=60,
            check=False,
        )
        assert "OPENED" not in done.stderr, (words, done.stderr)
        assert done.returncode in (0, 1), (words, done.stderr)


# -- the locks of a connection stay ---------------------------------------------------


@linux_only
async def test_a_connection_keeps_its_locks_whatever_else_this_process_does(
    store_path: Path, tmp_path: Path
) -> None:
    url = str(store_path)

    async def briefly() -> None:
        async with Queue.open(url) as queue:
            await queue.enqueue(["true"])

    async def look() -> None:
        async with Queue.open(url, read_only=True) as queue:
            await queue.status()

    async with Queue.open(url) as queue:
        await queue.enqueue(["true"])
        before = locks(store_path)
        assert len(before) == 2, "shared locks on the database and on its shared memory"
        for what in (briefly, look):
            await what()
            assert locks(store_path) == before, what
            thread = threading.Thread(target=lambda: run_sync(briefly()))
            thread.start()
            thread.join()
            assert locks(store_path) == before, "in a thread"
        await queue.backup(str(tmp_path / "copy.db"))
        assert locks(store_path) == before, "after a backup"
        await examine(url, os.environ)
        assert locks(store_path) == before, "after doctor"
        await repair(url, os.environ)
        assert locks(store_path) == before, "after doctor --repair"
        await queue.store.checkpoint()
        async with queue.batch():
            pass
        assert locks(store_path) == before
        assert len(os.listdir("/proc/self/fd")) < 40


async def test_what_two_queues_of_one_process_acknowledge_is_seen_by_all(
    store_path: Path, cli: Cli
) -> None:
    """A program opens the store twice while others use it: nothing it enqueues is lost."""
    url = str(store_path)
    async with Queue.open(url) as first:
        await first.enqueue([{"id": "a", "command": "true"}])
        async with Queue.open(url) as second:
            await second.enqueue([{"id": "b", "command": "true"}])
        assert [row["id"] for row in cli.json("list")] == ["b", "a"]
        await first.enqueue([{"id": "c", "command": "true"}])
        assert names(store_path) == ["a", "b", "c"]
        cli("enqueue", "true", "--id", "d")
    assert names(store_path) == ["a", "b", "c", "d"]


async def test_three_thousand_jobs_are_drained_beside_two_queues(
    store_path: Path, cli: Cli
) -> None:
    url = str(store_path)
    async with Queue.open(url) as first:
        await first.enqueue(["true"] * 300)
        async with Queue.open(url, read_only=True) as second:
            await second.status()
        many = '{"command": "true", "queue": "drained"}\n' * 3000
        await asyncio.to_thread(cli, "enqueue", "-", stdin=many)
        async with Queue.open(url) as third:
            await third.enqueue(["true"])
        words = ("worker", "start", "--count", "4", "--queue", "drained", "--until-empty")
        await asyncio.to_thread(cli, *words)
        await first.enqueue(["true"])
        counts = (await first.status()).counts
    with closing(sqlite3.connect(store_path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert raw.execute("SELECT count(*) FROM jobs").fetchone()[0] == 3302
    assert sum(counts.values()) == 3302
    assert cli.json("status")["jobs"]["completed"] == 3000


def test_threads_that_open_and_close_beside_other_processes(store_path: Path, cli: Cli) -> None:
    """Each thread enqueues and closes again and again while others keep their queue open."""
    url = str(store_path)
    failed: list[BaseException] = []

    async def enqueue(name: str, times: int, *, anew: bool) -> None:
        if anew:
            for number in range(times):
                async with Queue.open(url) as queue:
                    await queue.enqueue([{"id": f"{name}-{number}", "command": "true"}])
            return
        async with Queue.open(url) as queue:
            for number in range(times):
                await queue.enqueue([{"id": f"{name}-{number}", "command": "true"}])

    def run(name: str, anew: bool) -> None:
        try:
            run_sync(enqueue(name, 25, anew=anew))
        except BaseException as error:
            failed.append(error)

    threads = [
        threading.Thread(target=run, args=(f"t{number}", bool(number % 2))) for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for number in range(5):
        cli("enqueue", "true", "--id", f"p-{number}")
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(names(store_path)) == 4 * 25 + 5


# -- creating -------------------------------------------------------------------------


def test_threads_that_create_one_store_together(store_path: Path) -> None:
    start = threading.Barrier(8)
    failed: list[BaseException] = []

    async def make() -> None:
        store = await SqliteStore.open(store_path)
        await store.enqueue([spec()], NOW)
        await store.close()

    def run() -> None:
        try:
            start.wait()
            run_sync(make())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(names(store_path)) == 8
    assert [path.name for path in store_path.parent.iterdir()] == ["queue.db"]
    assert store_path.stat().st_mode & 0o777 == 0o600


async def test_without_hard_links_the_descriptor_is_never_closed(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(database_file.os, "link", refuse)
    store = await SqliteStore.open(store_path)
    await store.enqueue([spec(id="a")], NOW)
    before = locks(store_path) if sys.platform == "linux" else set()
    again = await SqliteStore.open(store_path)
    await again.close()
    if before:
        assert locks(store_path) == before
    await store.close()
    assert names(store_path) == ["a"]
    assert [path.name for path in store_path.parent.iterdir()] == ["queue.db"]


async def test_a_file_with_several_names_is_refused(store_path: Path) -> None:
    """SQLite would write a log for each name."""
    await (await SqliteStore.open(store_path)).close()
    other = store_path.with_name("other.db")
    other.hardlink_to(store_path)
    for name in (store_path, other):
        with pytest.raises(StoreUnreachable, match="has 2 names"):
            await SqliteStore.open(name)
    other.unlink()
    await (await SqliteStore.open(store_path)).close()


async def test_a_name_left_by_a_process_that_died_while_it_created_the_file_does_no_harm(
    store_path: Path,
) -> None:
    await (await SqliteStore.open(store_path)).close()
    left = store_path.with_name(".queue.db.new-0123456789abcdef")
    left.hardlink_to(store_path)
    await (await SqliteStore.open(store_path)).close()
    assert not left.exists()


# -- a fork ---------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("threaded", [True, False])
def test_a_queue_is_refused_in_a_forked_child(store_path: Path, threaded: bool) -> None:
    run = asyncio.run if threaded else run_sync

    async def parent() -> None:
        async with Queue.open(str(store_path)) as queue:
            await queue.enqueue([{"id": "a", "command": "true"}])
            child = os.fork()
            if not child:
                code = 1
                try:
                    await queue.enqueue(["true"])
                except StoreError as error:
                    code = 0 if "before this process was forked" in str(error) else 2
                finally:
                    await queue.store.close()
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert store_path.with_name("queue.db-wal").exists()
            await queue.enqueue([{"id": "b", "command": "true"}])

    run(parent())  # type: ignore[operator]
    assert names(store_path) == ["a", "b"]


# -- what another user plants beside the store ----------------------------------------


@pytest.mark.parametrize("end", ["-journal", "-wal", "-shm"])
@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder", "second name"])
async def test_a_log_that_is_no_file_of_sqlites_is_refused(
    store_path: Path, tmp_path: Path, end: str, kind: str
) -> None:
    await (await SqliteStore.open(store_path)).close()
    log = store_path.with_name(store_path.name + end)
    target = tmp_path / "elsewhere"
    target.touch()
    if kind == "symlink":
        log.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(log)
    elif kind == "folder":
        log.mkdir()
    else:
        log.hardlink_to(target)
    for read_only in (False, True):
        with pytest.raises(StoreUnreachable, match="is not a file that SQLite made"):
            await SqliteStore.open(store_path, read_only=read_only)
    assert target.read_bytes() == b""


@root_only
@pytest.mark.parametrize("end", ["-journal", "-wal", "-shm"])
async def test_a_log_of_another_user_is_refused(store_path: Path, end: str) -> None:
    await (await SqliteStore.open(store_path)).close()
    log = store_path.with_name(store_path.name + end)
    log.touch()
    os.chown(log, OTHER, OTHER)
    for read_only in (False, True):
        with pytest.raises(StoreUnreachable, match=f"belongs to another user \\(uid {OTHER}\\)"):
            await SqliteStore.open(store_path, read_only=read_only)
    os.chown(log, 0, 0)
    await (await SqliteStore.open(store_path)).close()


@root_only
def test_a_planted_wal_runs_no_job(cli: Cli, store_path: Path, tmp_path: Path) -> None:
    """The attack: another user copies the store's beginning and writes a WAL that adds a job."""
    cli("enqueue", "true", "--id", "mine")
    forged = tmp_path / "forged"
    forged.mkdir()
    copy = forged / "queue.db"
    copy.write_bytes(store_path.read_bytes())
    with closing(sqlite3.connect(copy)) as raw:
        raw.execute("PRAGMA wal_autocheckpoint = 0")
        with raw:
            raw.execute("UPDATE jobs SET command = 'touch ' || ?", (str(tmp_path / "owned"),))
        planted = Path(f"{copy}-wal").read_bytes()
    wal = Path(f"{store_path}-wal")
    wal.write_bytes(planted)
    os.chown(wal, OTHER, OTHER)
    shown = cli("worker", "start", "--until-empty", code=5)
    assert "belongs to another user" in shown.err
    wal.unlink()
    cli("worker", "start", "--until-empty")
    assert not (tmp_path / "owned").exists()


@root_only
async def test_a_log_planted_between_the_check_and_the_opening_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite, run by root, even makes root the owner of it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    path = shared / "queue.db"
    await (await SqliteStore.open(path)).close()
    check, planted = connection.check_logs, []

    def check_and_plant(path: Path, *, opened: bool = False) -> None:
        check(path, opened=opened)
        if not opened:  # as if another process had removed ours, by closing the store
            wal = Path(f"{path}-wal")
            wal.unlink()
            wal.touch()
            os.chown(wal, OTHER, OTHER)
            planted.append(wal)

    monkeypatch.setattr(connection, "check_logs", check_and_plant)
    with pytest.raises(StoreUnreachable, match="do not stay the same"):
        await SqliteStore.open(path)
    assert len(planted) == connection.OPEN_ATTEMPTS
    monkeypatch.undo()
    await (await SqliteStore.open(path)).close()


@pytest.mark.parametrize("mode", [0o1777, 0o770])
async def test_the_names_of_the_logs_are_taken_where_others_may_write(
    tmp_path: Path, mode: int
) -> None:
    """SQLite would apply a journal before any check of ours."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    path = shared / "queue.db"
    for _ in range(2):
        store = await SqliteStore.open(path)
        await store.enqueue([spec()], NOW)
        before = locks(path) if sys.platform == "linux" else set()
        await (await SqliteStore.open(path)).close()
        assert not before or locks(path) == before
        await store.close()
    journal = shared / "queue.db-journal"
    assert journal.stat().st_size == 0
    assert journal.stat().st_uid == os.geteuid()
    assert len(names(path)) == 2


@root_only
def test_a_link_of_another_user_in_a_shared_directory_is_not_followed(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    link = shared / "queue.db"
    link.symlink_to(tmp_path / "trap.db")
    os.lchown(link, OTHER, OTHER)
    with pytest.raises(StoreUnreachable, match="symlink that another user made"):
        run_sync(SqliteStore.open(link))
    assert not (tmp_path / "trap.db").exists()
