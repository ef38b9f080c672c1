"""SQLite: making, migrating and refusing files; modes; the settings of a connection."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.errors import (
    InvalidInput,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreTooNew,
    StoreUnreachable,
)
from queuectl_core.domain.model import Filter
from queuectl_core.store.open import data_directory, open_store, sqlite_path
from queuectl_core.store.sqlite import connection as connection_module
from queuectl_core.store.sqlite import migrate
from queuectl_core.store.sqlite import store as store_module
from queuectl_core.store.sqlite.connection import APPLICATION_ID, Connection, Opener
from queuectl_core.store.sqlite.database_file import DatabaseFile, _may_write, prepare_file
from queuectl_core.store.sqlite.errors import explain
from queuectl_core.store.sqlite.read_only import open_reader
from queuectl_core.store.sqlite.store import SqliteStore, connect
from queuectl_core.system.clocks import monotonic
from queuectl_core.system.host import process_start

from ..support import NOW, spec, supervisor
from .tools import hired

NOBODY = 65534


@pytest.fixture
def lax_umask() -> Iterator[None]:
    """Nothing is masked: what we ask for is what there is."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def script(body: str, *args: object) -> list[str]:
    """A Python process that runs ``body`` in a coroutine."""
    code = "import asyncio, os, sys\nasync def main():\n" + "\n".join(
        "    " + line for line in body.splitlines()
    )
    return [sys.executable, "-c", code + "\nasyncio.run(main())", *map(str, args)]


async def make(path: Path, *names: str) -> None:
    """A store at ``path`` with jobs of these ids."""
    store = await SqliteStore.open(path)
    await store.enqueue([spec(id=name) for name in names], NOW)
    await store.close()


# -- migrations -----------------------------------------------------------------------


async def test_a_new_file_has_the_latest_schema(store_path: Path) -> None:
    await make(store_path)
    with closing(sqlite3.connect(store_path)) as database, database:
        assert database.execute("PRAGMA user_version").fetchone()[0] == migrate.LATEST
        assert database.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    database.close()


def test_migrations_are_numbered_without_gaps_up_to_the_latest() -> None:
    assert [number for number, _ in migrate.steps()] == list(range(1, migrate.LATEST + 1))


async def test_opening_again_changes_nothing(store_path: Path) -> None:
    await make(store_path, "a")
    before = store_path.read_bytes()
    store = await SqliteStore.open(store_path)
    assert [job.id for job in await store.scan(Filter(), 5)] == ["a"]
    await store.close()
    assert store_path.read_bytes() == before


def test_eight_processes_open_a_new_file_at_once(store_path: Path) -> None:
    body = (
        "from queuectl_core.store.sqlite.store import SqliteStore, connect\n"
        "from pathlib import Path\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "store = await SqliteStore.open(Path(sys.argv[1]))\n"
        "print(await store.counts())\n"
        "await store.close()"
    )
    processes = [
        subprocess.Popen(
            script(body, store_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # all imported: now they race
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "{}\n", "")


async def test_a_file_that_is_being_made_meanwhile_is_not_somebody_elses(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process makes the schema between two looks at the file."""
    made = []

    def make_it(statement: str) -> None:
        if "user_version" in statement:
            made.append(statement)
        elif made == ["PRAGMA user_version"]:
            with closing(sqlite3.connect(store_path, isolation_level=None)) as conn:
                conn.execute("BEGIN IMMEDIATE")
                migrate.migrate(conn, store_path)
                conn.execute("COMMIT")
                made.append("by another")

    async def watched(file: DatabaseFile, opener: Opener, _: object) -> Connection:
        connection = await connect(file, opener)
        await connection.call(lambda conn: conn.set_trace_callback(make_it))
        return connection

    monkeypatch.setattr(store_module, "connect", watched)
    store = await SqliteStore.open(store_path)
    assert "by another" in made
    assert await store.count_range(Filter()) == 0
    await store.close()


@pytest.mark.parametrize("broken", ["THIS IS NOT SQL;", "INSERT INTO nowhere VALUES (1);"])
async def test_a_migration_that_fails_leaves_nothing(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    await make(store_path, "a")
    folder = tmp_path / "migrations"
    folder.mkdir()
    for _, file in migrate.steps():
        (folder / file.name).write_text(file.read_text())
    following = migrate.LATEST + 1
    (folder / f"{following:04d}_broken.sql").write_text(
        f"CREATE TABLE extra (x);\nALTER TABLE jobs ADD COLUMN more;\n{broken}\n"
    )
    monkeypatch.setattr(migrate, "FOLDER", folder)
    monkeypatch.setattr(migrate, "LATEST", following)
    with pytest.raises(StoreError):
        await SqliteStore.open(store_path)
    with pytest.raises(StoreError):
        await SqliteStore.open(tmp_path / "new.db")
    monkeypatch.undo()

    with closing(sqlite3.connect(store_path)) as database, database:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
        assert "extra" not in tables
        assert database.execute("PRAGMA user_version").fetchone()[0] == migrate.LATEST
    database.close()
    store = await SqliteStore.open(store_path)
    assert [job.id for job in await store.scan(Filter(), 5)] == ["a"]
    await store.close()
    await make(tmp_path / "new.db", "b")  # not half made: it can be made still


async def test_a_migration_that_works_keeps_the_jobs(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(store_path, "a")
    folder = tmp_path / "migrations"
    folder.mkdir()
    following = migrate.LATEST + 1
    (folder / f"{following:04d}_more.sql").write_text(
        "-- a comment; with a semicolon\nCREATE TABLE extra (x TEXT DEFAULT 'a;b');\n"
        "CREATE TRIGGER extra_t AFTER INSERT ON extra BEGIN\n    SELECT 1;\nEND;\n-- the end\n"
    )
    monkeypatch.setattr(migrate, "FOLDER", folder)
    monkeypatch.setattr(migrate, "LATEST", following)
    store = await SqliteStore.open(store_path)
    assert [job.id for job in await store.scan(Filter(), 5)] == ["a"]
    await store.close()
    monkeypatch.undo()
    with pytest.raises(StoreTooNew, match=f"has schema {following}, this queuectl knows up to"):
        await SqliteStore.open(store_path)


# -- files that are refused -----------------------------------------------------------


def foreign(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE theirs (x)")
    database.commit()
    database.close()


def foreign_with_version(path: Path) -> None:
    foreign(path)
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {migrate.LATEST}")
    database.close()


def newer(path: Path) -> None:
    asyncio.run(make(path, "a"))
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {migrate.LATEST + 1}")
    database.close()


def text(path: Path) -> None:
    path.write_text("dear diary, " * 1000)


def garbage(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (foreign, StoreDamaged, "is a database of some other program"),
        (foreign_with_version, StoreDamaged, "is a database of some other program"),
        (newer, StoreTooNew, "upgrade queuectl"),
        (text, StoreDamaged, "is damaged or not a database"),
        (garbage, StoreDamaged, "is damaged or not a database"),
        (Path.mkdir, StoreUnreachable, "is a directory; give a file"),
        (os.mkfifo, StoreUnreachable, "is not a regular file"),
    ],
)
def test_what_is_refused_is_left_as_it_is(
    store_path: Path, damage: object, error: type[StoreError], words: str
) -> None:
    assert callable(damage)
    damage(store_path)
    before = store_path.read_bytes() if store_path.is_file() else None
    for read_only in (False, True):
        with pytest.raises(error, match=words):
            asyncio.run(SqliteStore.open(store_path, read_only=read_only))
    if before is not None:
        assert store_path.read_bytes() == before
    assert [path.name for path in store_path.parent.iterdir()] == [store_path.name]


async def test_a_truncated_store(store_path: Path) -> None:
    await make(store_path, *(f"job-{n}" for n in range(200)))
    whole = store_path.stat().st_size
    os.truncate(store_path, whole // 2)

    async def use() -> None:
        store = await SqliteStore.open(store_path)
        try:
            await store.scan(Filter(), 1000)
        finally:
            await store.close()

    with pytest.raises(StoreDamaged, match="damaged"):
        await use()


@pytest.mark.parametrize("column", ["created_at", "run_at", "env", "state", "backoff_base"])
async def test_a_row_with_nothing_where_there_never_is_nothing(
    store_path: Path, column: str
) -> None:
    """A page of zeros is read as rows of NULL. That was an internal error."""
    await make(store_path, "job")
    with closing(sqlite3.connect(store_path)) as raw, raw:
        schema = raw.execute("SELECT sql FROM sqlite_master WHERE name = 'jobs'").fetchone()[0]
        loose = re.sub(r"(?<!IS) NOT NULL", "", schema).replace(" STRICT", "")
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'jobs'", (loose,))
    with closing(sqlite3.connect(store_path)) as raw, raw:
        raw.execute("PRAGMA ignore_check_constraints = ON")
        raw.execute(f"UPDATE jobs SET {column} = NULL")
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'jobs'", (schema,))
    store = await SqliteStore.open(store_path, read_only=True)
    try:
        with pytest.raises(StoreDamaged):
            await store.scan(Filter(), 10)
    finally:
        await store.close()


def lose_a_row(path: Path) -> None:
    """The first job is gone from the table, and the index of what may be claimed has it still."""
    index = "name = 'jobs_claim'"
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("PRAGMA writable_schema = ON")
        schema = raw.execute(f"SELECT * FROM sqlite_master WHERE {index}").fetchone()
        raw.execute(f"DELETE FROM sqlite_master WHERE {index}")
    with closing(sqlite3.connect(path)) as raw, raw:  # which knows no such index
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("DELETE FROM jobs WHERE seq = 1")
        raw.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", schema)


@pytest.mark.parametrize("worker", ["w", ""])
async def test_a_row_that_is_gone_though_an_index_has_it(store_path: Path, worker: str) -> None:
    store = await SqliteStore.open(store_path)
    await hired(store)
    await store.enqueue([spec() for _ in range(10)], NOW)
    await store.close()
    lose_a_row(store_path)
    store = await SqliteStore.open(store_path)
    try:
        with pytest.raises(StoreDamaged, match="an index has job 1, and the table has not"):
            await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot(worker, ())] * 4, NOW))
    finally:
        await store.close()


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match=r"directory .*/no/such does not exist"):
        await SqliteStore.open(tmp_path / "no" / "such" / "queue.db")
    assert list(tmp_path.iterdir()) == []


async def test_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnreachable):
        await SqliteStore.open(tmp_path / "file" / "queue.db")
    with pytest.raises(StoreUnreachable):
        await SqliteStore.open(tmp_path / "file" / "queue.db", create_parent=True)
    with pytest.raises(StoreUnreachable):
        await SqliteStore.open(tmp_path / ("x" * 300))


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder every user can get to, as pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="queuectl-public-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_files_that_belong_to_somebody_else(public: Path) -> None:
    """Run as an ordinary user: root may do anything, and CI is root."""
    names = ["unreadable/queue.db", "read-only/queue.db", "closed/new.db", "free/queue.db"]
    for name in names:
        (public / name).parent.mkdir()
        asyncio.run(make(public / name))
    (public / "unreadable/queue.db").chmod(0o000)
    (public / "read-only/queue.db").chmod(0o444)
    (public / "closed/new.db").unlink()
    (public / "closed").chmod(0o555)
    (public / "free").chmod(0o777)
    (public / "free/queue.db").chmod(0o666)
    body = (
        "from queuectl_core.store.sqlite.store import SqliteStore, connect\n"
        "from queuectl_core.store.sqlite import batch, claims, maintenance\n"
        "from queuectl_core.store.sqlite import statistics, supervisors, threaded\n"
        "from queuectl_core.domain.errors import StoreError\n"
        "from pathlib import Path\n"
        # Only now, with everything imported: our own files may be closed to nobody as well.
        f"if os.geteuid() == 0: os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        store = await SqliteStore.open(Path(name))\n"
        "        await store.close()\n"
        "        print('opened')\n"
        "    except StoreError as error:\n"
        "        print(type(error).__name__, str(error).split('; ')[0])"
    )
    done = subprocess.run(
        script(body, *(public / name for name in names)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    refused = [f"StoreUnreachable store {public / name}: permission denied" for name in names[:3]]
    assert done.stdout.splitlines() == [*refused, "opened"]


# -- read only ------------------------------------------------------------------------


def test_a_reader_does_not_make_a_store_that_was_moved_away_just_now(store_path: Path) -> None:
    """After its file was looked at, and before it is opened."""
    with pytest.raises(StoreUnreachable):
        open_reader(store_path)
    assert not store_path.exists()


async def test_read_only_refuses_every_change(store_path: Path) -> None:
    await make(store_path, "a")
    store = await SqliteStore.open(store_path, read_only=True)
    try:
        assert [job.id for job in await store.scan(Filter(), 5)] == ["a"]
        assert await store.changed()
        for change in (store.enqueue([spec()], NOW), store.set_config("lease", "20")):
            with pytest.raises(StoreReadOnly):
                await change
        with pytest.raises(StoreReadOnly):
            async with store.batch():
                pass
        await store.checkpoint()
        assert [job.id for job in await store.scan(Filter(), 5)] == ["a"]
    finally:
        await store.close()


# -- modes ----------------------------------------------------------------------------


async def test_files_are_for_their_owner_alone(tmp_path: Path, lax_umask: None) -> None:
    path = tmp_path / "data" / "queuectl" / "queue.db"
    path.parent.parent.mkdir(mode=0o755)
    store = await SqliteStore.open(path, create_parent=True)
    notifier = store.notifier("sup")
    await store.enqueue([spec()], NOW)
    modes = {
        str(found.relative_to(path.parent)): mode(found)
        for found in [path.parent, *path.parent.rglob("*")]
    }
    notifier.close()
    await store.close()
    assert modes == {
        ".": 0o700,
        "queue.db": 0o600,
        "queue.db-wal": 0o600,
        "queue.db-shm": 0o600,
        "queue.db.d": 0o700,
        "queue.db.d/run": 0o700,
        "queue.db.d/run/sup.bell": 0o600,
    }


# -- where the store is ---------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
async def test_opening_a_store_in_a_directory_of_a_group_leaves_no_descriptor_open(
    tmp_path: Path,
) -> None:
    """With umask 002, the default of many systems, others may make files beside the store."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o775)
    await make(shared / "queue.db", "a")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await (await SqliteStore.open(shared / "queue.db")).close()
        await (await SqliteStore.open(shared / "queue.db", read_only=True)).close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_the_default_store_is_in_the_data_directory(isolated: Path) -> None:
    store = await open_store(None, os.environ)
    await store.close()
    assert Path(store.url) == isolated / "data" / "queuectl" / "queue.db"
    assert Path(store.url).exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="XDG is not what macOS goes by")
@pytest.mark.parametrize(
    ("env", "path"),
    [
        ({"HOME": "/h"}, "/h/.local/share/queuectl"),
        ({"HOME": "/h", "XDG_DATA_HOME": "/x"}, "/x/queuectl"),
        ({"HOME": "/h", "XDG_DATA_HOME": ""}, "/h/.local/share/queuectl"),
        ({"HOME": "/h", "XDG_DATA_HOME": "not/absolute"}, "/h/.local/share/queuectl"),
    ],
)
def test_the_data_directory(env: dict[str, str], path: str) -> None:
    assert data_directory(env) == path


async def test_the_environment_names_the_store(tmp_path: Path) -> None:
    env = {"QUEUECTL_STORE": str(tmp_path / "env.db"), "HOME": str(tmp_path)}
    store = await open_store(None, env)
    await store.close()
    assert store.url == str(tmp_path / "env.db")
    assert store.directory == tmp_path / "env.db.d"
    store = await open_store(f"sqlite://{tmp_path}/url.db", env)
    await store.close()
    assert store.url == str(tmp_path / "url.db")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("a.db", "a.db"),
        ("/a/b.db", "/a/b.db"),
        ("sqlite:///a/b.db", "/a/b.db"),
        ("sqlite:////a/b.db", "/a/b.db"),
        ("C:/x.db", "C:/x.db"),
    ],
)
def test_store_urls(url: str, path: str) -> None:
    assert sqlite_path(url) == path


def test_a_store_in_the_home(isolated: Path) -> None:
    assert sqlite_path("~/q.db") == str(isolated / "q.db")


@pytest.mark.parametrize("url", ["", "a\0b", "mysql://x/y", "sqlite://host/x", "\x1b://x"])
def test_store_urls_that_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        sqlite_path(url)


async def test_a_store_has_one_name(tmp_path: Path) -> None:
    """Its output files and FIFOs are beside it, whichever name one uses."""
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "link.db").symlink_to("real/queue.db")
    for path in ("real/queue.db", "folder/queue.db", "link.db", "real/../link.db"):
        store = await SqliteStore.open(tmp_path / path)
        await store.close()
        assert store.directory == tmp_path / "real" / "queue.db.d"


# -- settings of a connection ---------------------------------------------------------


async def test_every_connection_has_our_settings(store_path: Path) -> None:
    store = await SqliteStore.open(store_path)
    connection = await connect(prepare_file(store_path, False))

    def pragma(conn: sqlite3.Connection, name: str) -> object:
        return conn.execute(f"PRAGMA {name}").fetchone()[0]

    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "wal_autocheckpoint": 0,
        "foreign_keys": 1,
        "busy_timeout": 0,
        "mmap_size": 0,
    }
    for used in (connection, store._connection):
        for name, value in wanted.items():
            assert await used.call(pragma, name) == value, name
    await connection.close()
    await store.close()


async def test_a_query_only_connection_changes_nothing(store_path: Path) -> None:
    await make(store_path)
    connection = await connect(prepare_file(store_path, False), open_reader)
    with pytest.raises(StoreReadOnly):
        await connection.write(lambda conn: conn.execute("DELETE FROM jobs"))
    await connection.close()


async def test_nothing_is_left_of_a_transaction_that_failed(store_path: Path) -> None:
    await make(store_path, "a")
    connection = await connect(prepare_file(store_path, False))

    def fail(conn: sqlite3.Connection) -> None:
        conn.execute("DELETE FROM jobs")
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        await connection.write(fail)
    assert await connection.read(lambda conn: len(conn.execute("SELECT 1 FROM jobs").fetchall()))
    await connection.close()


async def test_a_full_disk_says_so_and_loses_nothing(store_path: Path) -> None:
    store = await SqliteStore.open(store_path)
    await store.enqueue([spec(id="a")], NOW)

    def limit(conn: sqlite3.Connection, more: int) -> None:
        pages = conn.execute("PRAGMA page_count").fetchone()[0]
        conn.execute(f"PRAGMA max_page_count = {pages + more}")

    await store._connection.call(limit, 1)
    with pytest.raises(StoreFull, match="no space left"):
        await store.enqueue([spec("x" * 100_000)], NOW)
    assert [job.id for job in await store.scan(Filter(), 5)] == ["a"]
    await store._connection.call(limit, 1000)
    assert len(await store.enqueue([spec("x" * 100_000)], NOW)) == 1
    await store.close()


async def test_a_stop_without_space_says_who_was_not_told(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A living supervisor without a FIFO was skipped, and a failure hid those that were told
    before."""
    store = await SqliteStore.open(store_path)
    alive = {"pid_start": process_start(os.getpid()), "lease_mono": monotonic() + 30}
    for name in ("first", "second", "third"):
        await store.register(supervisor(name, **alive), [(f"{name}-1", ())], NOW)
    await store.register(supervisor("gone", lease_mono=0.0), [("gone-1", ())], NOW)
    bells = {name: store.notifier(name) for name in ("first", "third")}

    async def full(*_: object) -> None:
        raise StoreFull("no space left", "free some")

    monkeypatch.setattr(store._connection, "write", full)
    with pytest.raises(StoreFull, match="could not tell second to stop, but first, third will"):
        await store.stop_workers(["first-1", "second-1", "third-1", "gone-1"], False)
    for notifier in bells.values():
        notifier.clear()
        assert notifier.stop is False, "to stop, after the job in hand"
    with pytest.raises(StoreFull, match="could not tell second to stop; free some"):
        await store.stop_workers(["second-1"], True)
    await store.stop_workers(["first-1", "gone-1"], True)
    for notifier in bells.values():
        notifier.close()
    await store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE sqlite_schema SET sql = CAST(x'ff41e2' AS TEXT) WHERE name = 'jobs'",
        "UPDATE sqlite_schema SET name = CAST(x'e228a1' AS TEXT), sql = 'x' WHERE name = 'jobs'",
        "UPDATE jobs SET state = 'lost', ready = NULL",
        "UPDATE jobs SET env = '{'",
    ],
)
async def test_what_we_never_wrote_is_damage(store_path: Path, damage: str) -> None:
    """SQLite does not always notice, and its driver trips over its own words then."""
    store = await open_store(str(store_path), {})
    await store.enqueue([spec()], NOW)
    await store.close()
    with closing(sqlite3.connect(store_path)) as conn, conn:
        conn.execute("PRAGMA writable_schema = ON")
        conn.execute("PRAGMA ignore_check_constraints = ON")
        conn.execute(damage)
    conn.close()

    async def read() -> None:
        store = await open_store(str(store_path), {})
        try:
            await store.scan(Filter(), 10)
        finally:
            await store.close()

    with pytest.raises(StoreDamaged):
        await read()


async def test_no_space_to_open_the_store_says_so_too(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite can't make the file beside the WAL, and calls that an I/O error."""
    failed = sqlite3.OperationalError("disk I/O error")
    failed.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    store_path.touch()
    assert type(explain(store_path, failed)) is StoreError
    full = os.statvfs_result((4096, 4096, 1024, 7, 7, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert isinstance(explain(store_path, failed), StoreFull)


async def test_a_locked_store_says_so(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    store = await SqliteStore.open(store_path)
    monkeypatch.setattr(connection_module, "LOCK_PATIENCE", 0.05)
    holder = sqlite3.connect(store_path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreLocked, match="locked by another process"):
        await store.enqueue([spec()], NOW)
    assert await store.counts() == {}, "reading goes on"
    holder.execute("ROLLBACK")
    holder.close()
    assert len(await store.enqueue([spec()], NOW)) == 1
    await store.close()


def status(mode: int, uid: int, gid: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "log", "may"),
    [
        (0o600, (7, 8), True),
        (0o600, (0, 0), True),  # root has opened the store
        (0o600, (1, 8), False),
        (0o660, (1, 8), True),
        (0o660, (1, 9), False),
        (0o666, (1, 9), True),
        (0o644, (1, 8), False),
    ],
)
def test_whose_wal_is_trusted(mode: int, log: tuple[int, int], may: bool) -> None:
    assert _may_write(status(0o600, *log), status(mode, 7, 8)) == may
