"""``restore``: a backup replaces all that a store holds, or nothing of it."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from queuectl_core.domain.errors import StoreForeign
from queuectl_core.operations import restore
from queuectl_core.runner.journal_reader import JournalReader
from queuectl_core.store.sqlite import migrate
from queuectl_core.store.sqlite.errors import damaged
from queuectl_core.store.sqlite.notifier import FifoNotifier
from queuectl_core.store.sqlite.restore import ExclusiveStore
from queuectl_core.store.sqlite.store import SqliteStore
from queuectl_core.system.permissions import make_private

from ..support import Cli, eventually, held_open, marked
from .conftest import Here, Terminal
from .test_globals import one_line


def ids(here: Here, *words: str | Path) -> set[str]:
    return {job["id"] for job in here(*words, "list", "--json").json}


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as raw:
        return bool(raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def beside(path: Path) -> list[str]:
    """The files beside the store, also drafts of ours."""
    return sorted(name for name in os.listdir(path.parent) if path.name in name or "tmp" in name)


def leave_a_wal(path: Path, *names: str) -> None:
    """Add jobs in a process that is killed, so that the ``-wal`` file stays."""
    code = (
        "import asyncio, os, sys\n"
        "from queuectl_core.queue import Queue\n"
        "async def main():\n"
        "    async with Queue.open(sys.argv[1]) as queue:\n"
        "        await queue.enqueue([{'id': name, 'command': 'true'} for name in sys.argv[2:]])\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())"
    )
    subprocess.run([sys.executable, "-c", code, str(path), *names], check=False)
    assert os.path.getsize(f"{path}-wal")


def end_job(cli: Cli, name: str) -> None:
    """Kill the processes of a job of this test. Other tests may run the same jobs now."""
    for process in marked(cli.token):
        with suppress(psutil.Error):
            if process.environ().get("QUEUECTL_JOB_ID") == name:
                process.kill()


OPENED = """
import asyncio, sys
from queuectl_core.queue import Queue

async def main():
    async with Queue.open(sys.argv[1]) as queue:
        print("ready", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""
"""A process that has the store open and does nothing."""


def test_a_backup_takes_the_place_of_what_the_store_holds(
    here: Here, store_path: Path, tmp_path: Path
) -> None:
    """Also if a ``-wal`` file is left beside the store. ``cp`` would mix it into the copy."""
    backup = tmp_path / "copy.db"
    here("enqueue", "true", "--id", "old")
    here("config", "set", "lease", "7")
    here("backup", backup)
    here("config", "set", "lease", "8")
    leave_a_wal(store_path, *(f"new{n}" for n in range(300)))
    inode = store_path.stat().st_ino
    done = here("restore", backup, "-y", "--json").json
    assert (done["store"], done["file"], done["jobs"]) == (str(store_path), str(backup), 1)
    assert ids(here) == {"old"}
    assert here("config", "get", "lease").out == "7\n"
    assert store_path.stat().st_ino == inode, "the file itself stays"
    assert sound(store_path)
    kept = Path(done["kept"])
    assert kept.stat().st_mode & 0o777 == 0o600
    assert beside(store_path) == [store_path.name, kept.name]
    assert len(ids(here, "--store", kept)) == 301
    assert "301 jobs restored" in here("restore", kept, "-y", "--discard").out, "and back again"
    assert len(ids(here)) == 301
    assert beside(store_path) == [store_path.name, kept.name], "--discard keeps nothing"


def test_two_restores_in_one_second_keep_what_each_replaced(
    here: Here, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the second one looked for a free name before the first one used it."""
    here("enqueue", "true", "--id", "old")
    here("backup", tmp_path / "copy.db")
    choose, names = (
        restore._kept_path,
        [store_path.with_name("kept.db")] * 2,
    )
    monkeypatch.setattr(
        restore,
        "_kept_path",
        lambda path: names.pop() if names else choose(path),
    )
    kept = []
    for name in ("first", "second"):
        here("enqueue", "true", "--id", name)
        kept.append(Path(here("restore", tmp_path / "copy.db", "-y", "--json").json["kept"]))
    assert [ids(here, "--store", path) for path in kept] == [{"old", "first"}, {"old", "second"}]


def test_jobs_enqueued_after_a_restore_have_keys_of_their_own(
    here: Here, store_path: Path, tmp_path: Path
) -> None:
    """Otherwise a new job would get the key of a job that ran after the backup, and the output
    that is still stored under this key."""
    here("enqueue", "true", "--id", "old")
    here("backup", tmp_path / "copy.db")
    for _ in range(3):
        here("enqueue", "true")
    here("restore", tmp_path / "copy.db", "-y")
    here("enqueue", "true", "--id", "next")
    with closing(sqlite3.connect(store_path)) as raw:
        assert raw.execute("SELECT seq FROM jobs ORDER BY seq").fetchall() == [(1,), (5,)]


def test_a_restore_is_refused_while_somebody_has_the_store_open(
    here: Here, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuectl_core.store.sqlite.restore.ALONE_PATIENCE", 0.1)
    here("enqueue", "true", "--id", "old")
    here("backup", tmp_path / "copy.db")
    here("enqueue", "true", "--id", "new")
    with held_open(OPENED, store_path) as process:
        said = one_line(here("restore", tmp_path / "copy.db", "-y", code=4).err)
        assert f"is in use by process {process.pid} (python" in said
        assert "worker stop" in said
        assert ids(here) == {"old", "new"}
    here("restore", tmp_path / "copy.db", "-y")
    assert ids(here) == {"old"}


def test_a_restore_is_refused_while_a_job_runs_whose_supervisor_is_gone(
    cli: Cli, tmp_path: Path, store_path: Path
) -> None:
    """Otherwise the job would run twice at the same time. After it has ended, its result is not
    recorded in the restored store."""
    cli("enqueue", "sleep 100", "--id", "long", "--timeout", "99")
    worker = cli.start("worker", "start")
    eventually(lambda: [job["state"] for job in cli.json("list")] == ["processing"])
    shutil.copy(store_path, tmp_path / "raw.db")  # a copy with cp, while workers run
    shutil.copy(f"{store_path}-wal", tmp_path / "raw.db-wal")
    worker.kill()
    worker.wait()
    said = one_line(cli("restore", tmp_path / "raw.db", "-y", code=4).err)
    assert "job 'long' of store" in said
    assert "still runs" in said
    assert "worker start takes it over" in said
    end_job(cli, "long")
    eventually(lambda: cli("restore", tmp_path / "raw.db", "-y", code=None).code == 0)
    assert cli.json("worker", "list") == []
    [job] = cli.json("list")
    assert (job["state"], job["attempts"]) == ("pending", 0), "the journal is not for this job"


@pytest.mark.parametrize("directory", [False, True])
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("killed", ["nothing", "supervisor", "supervisor and shim"])
def test_a_restore_is_refused_while_jobs_of_a_removed_store_run(
    cli: Cli, tmp_path: Path, store_path: Path, killed: str, again: bool, directory: bool
) -> None:
    """``again``: another store was made there meanwhile. ``directory``: the directory of the store
    was also removed."""
    if again and killed == "supervisor and shim":
        pytest.skip("nothing but the content of a store could name them")
    cli("enqueue", "echo started; sleep 100", "--id", "long")
    cli("backup", tmp_path / "copy.db")
    worker = cli.start("worker", "start")
    eventually(lambda: cli("logs", "long").out == "started\n")
    if killed != "nothing":
        worker.kill()
        worker.wait()
    if killed == "supervisor and shim":
        [journal] = (cli.directory / "run").glob("*.journal")
        pid = JournalReader(cli.directory / "run", journal.stem)
        pid.refresh()
        pid.signal_shim(signal.SIGKILL)
        eventually(lambda: not pid.shim_alive())
    for end in ("", "-wal", "-shm"):
        Path(f"{store_path}{end}").unlink(missing_ok=True)
    if directory:
        shutil.rmtree(cli.directory)
    if again:
        cli("enqueue", "true", "--id", "other")
    said = one_line(cli("restore", tmp_path / "copy.db", "-y", code=4).err)
    assert "may still run" in said
    assert ("their shim" in said) == (killed != "supervisor and shim")
    assert store_path.exists() == again
    end_job(cli, "long")
    eventually(lambda: cli("restore", tmp_path / "copy.db", "-y", code=None).code == 0)
    assert [(job["id"], job["state"]) for job in cli.json("list")] == [("long", "pending")]


def test_a_restore_is_refused_while_workers_of_a_removed_store_are_up(
    here: Here, store_path: Path, tmp_path: Path
) -> None:
    """Also if no shim of their supervisor lives."""
    here("enqueue", "true", "--id", "a")
    here("backup", tmp_path / "copy.db")
    store_path.unlink()
    run = store_path.with_name(store_path.name + ".d") / "run"
    make_private(run)
    notifier = FifoNotifier(run / "some.bell")
    said = one_line(here("restore", tmp_path / "copy.db", "-y", code=4).err)
    assert "workers of store" in said
    assert "are still up" in said
    assert not store_path.exists()
    notifier.close()
    here("restore", tmp_path / "copy.db", "-y")


@pytest.mark.parametrize("removed", [False, True])
def test_a_restore_inside_a_job_of_the_store_says_so(
    cli: Cli, tmp_path: Path, store_path: Path, removed: bool
) -> None:
    """In the past the message named the job's own pid, and advised to wait until it ends.
    ``removed``: the job has moved the store away."""
    cli("enqueue", "true", "--id", "old")
    cli("backup", tmp_path / "copy.db")
    restore = shlex.join([sys.executable, "-m", "queuectl_tui", "restore", "copy.db", "-y"])
    move = f"mkdir away; mv {store_path}* away; " if removed else ""
    job = f"{move}sh -c {shlex.quote(restore)} > said 2>&1; echo $? > code"
    cli("enqueue", job, "--id", "restorer", "--cwd", tmp_path, "--priority", "1")
    worker = cli.start("worker", "start")
    eventually(lambda: (tmp_path / "code").exists() and (tmp_path / "code").read_text())
    assert (tmp_path / "code").read_text() == "4\n", (tmp_path / "said").read_text()
    said = one_line((tmp_path / "said").read_text())
    assert "restore cannot run inside a job of this store: job 'restorer' started it" in said
    worker.terminate()
    worker.wait()


@pytest.mark.parametrize("crashes", [0, 1])
def test_the_shim_of_a_job_tells_that_it_runs_where_its_environment_cannot_be_read(
    here: Here, store_path: Path, tmp_path: Path, crashes: int
) -> None:
    """A suspect has a separate shim."""
    here("enqueue", "true", "--id", "a")
    here("backup", tmp_path / "copy.db")
    with closing(sqlite3.connect(store_path)) as raw:
        change = "state = 'processing', ready = NULL, crashes = ?, runs = 2, owner = 'sup'"
        raw.execute(f"UPDATE jobs SET {change}", (crashes,))
        raw.commit()
    run = store_path.with_name(store_path.name + ".d") / "run"
    make_private(run)
    with open(run / ("sup+1.2.alive" if crashes else "sup.alive"), "w") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        said = one_line(here("restore", tmp_path / "copy.db", "-y", code=4).err)
        assert "job 'a' of store" in said
        assert "still runs" in said
    here("restore", tmp_path / "copy.db", "-y")


def test_only_we_can_create_files_beside_the_unfinished_copy(
    here: Here, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would use a log that another user puts there."""
    store_path.parent.chmod(0o1777)
    seen = []

    def look(draft: Path) -> None:
        found = draft.parent.stat()
        seen.append((found.st_mode & 0o777, found.st_uid))

    backup, copy, keep = SqliteStore.backup, restore.copy_backup, ExclusiveStore.keep

    async def watched(self: SqliteStore, target: Path, *rest: Any) -> None:
        look(target)
        await backup(self, target, *rest)

    def copied(path: Path, draft: Path, progress: Any) -> None:
        look(draft)
        copy(path, draft, progress)

    def kept(self: ExclusiveStore, target: Path) -> None:
        look(target)
        keep(self, target)

    monkeypatch.setattr(SqliteStore, "backup", watched)
    monkeypatch.setattr(restore, "copy_backup", copied)
    monkeypatch.setattr(ExclusiveStore, "keep", kept)
    here("enqueue", "true")
    here("backup", store_path.with_name("copy.db"))
    here("restore", store_path.with_name("copy.db"), "-y")
    assert seen == [(0o700, os.geteuid())] * 3
    assert not [name for name in os.listdir(store_path.parent) if name.endswith(".tmp")]


def test_whose_database_it_is_does_not_depend_on_the_words_of_a_message(tmp_path: Path) -> None:
    path = tmp_path / "some other program.db"
    path.write_text("no database")
    restore._check_unused(path, damaged(path, ValueError("other program")))
    with pytest.raises(StoreForeign):
        restore._check_unused(path, StoreForeign("not ours"))


STRUCK = """
import os, signal, sys
import queuectl_core.operations.restore as restore
from queuectl_core.store.sqlite.restore import ExclusiveStore
where = sys.argv.pop(1)
def striking(old, first):
    def new(*args, **options):
        if first:
            os.kill(os.getpid(), signal.SIGINT)
        found = old(*args, **options)
        if not first:
            os.kill(os.getpid(), signal.SIGINT)
        return found
    return new
if where == "before":
    restore.copy_backup = striking(restore.copy_backup, True)
elif os.path.exists(os.environ["QUEUECTL_STORE"]):
    ExclusiveStore.replace = striking(ExclusiveStore.replace, False)
else:
    restore.publish = striking(restore.publish, False)
from queuectl_tui.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("where", ["before", "after"])
def test_ctrl_c(cli: Cli, store_path: Path, tmp_path: Path, where: str, there: bool) -> None:
    cli("enqueue", "true", "--id", "old")
    cli("backup", tmp_path / "copy.db")
    if there:
        cli("enqueue", "true", "--id", "new")
    else:
        store_path.unlink()
    done = subprocess.run(
        [sys.executable, "-c", STRUCK, where, "restore", str(tmp_path / "copy.db"), "-y", "-q"],
        capture_output=True,
        text=True,
        env=cli.environment({"PYTHONPATH": str(Path(__file__).parents[2])}),
        check=False,
    )
    if where == "after":
        assert (done.returncode, done.stderr) == (0, "")
        assert [job["id"] for job in cli.json("list")] == ["old"]
        return
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "queuectl: interrupted\n"
    assert store_path.exists() == there
    assert not there or len(cli.json("list")) == 2


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE recipes (name)")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute(f"PRAGMA user_version = {migrate.LATEST + 1}")


def broken(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size - size // 2))


@pytest.mark.parametrize(
    ("damage", "code", "said"),
    [
        (Path.unlink, 2, "is not there"),
        (lambda path: path.write_bytes(b""), 2, "is not a queuectl store"),
        (lambda path: path.write_text("dear diary " * 500), 2, "not a database"),
        (broken, 2, "is damaged"),
        (newer, 5, "upgrade queuectl"),
        (lambda path: (path.unlink(), foreign(path)), 2, "is not a queuectl store"),
        (lambda path: (path.unlink(), path.mkdir()), 2, "is a directory"),
    ],
)
def test_what_is_no_backup_is_refused(
    here: Here, store_path: Path, tmp_path: Path, damage: object, code: int, said: str
) -> None:
    here("enqueue", "true", "--id", "a")
    backup = tmp_path / "copy.db"
    here("backup", backup)
    assert callable(damage)
    damage(backup)
    before = store_path.read_bytes()
    assert said in one_line(here("restore", backup, "-y", code=code).err)
    assert store_path.read_bytes() == before
    assert beside(store_path) == [store_path.name]


ODD = {
    "CREATE TRIGGER evil AFTER INSERT ON jobs BEGIN DELETE FROM jobs; END": "trigger evil",
    "CREATE VIEW recent AS SELECT * FROM jobs": "view recent",
    "CREATE TABLE recipes (name)": "table recipes",
    "CREATE INDEX quick ON jobs (command)": "index quick",
    "DROP TRIGGER jobs_counted": "trigger jobs_counted is missing",
    "DROP INDEX jobs_due; CREATE INDEX jobs_due ON jobs (id)": "index jobs_due is not as",
    "DROP TABLE config; CREATE VIEW config AS SELECT 'shell' AS key, '/x' AS value": "view config",
}


@pytest.mark.parametrize("sql", ODD)
def test_a_backup_with_a_schema_of_somebody_elses(
    here: Here, store_path: Path, tmp_path: Path, sql: str
) -> None:
    """Such SQL would run together with our changes. ``doctor`` names it if a store has some."""
    here("enqueue", "true", "--id", "a")
    backup = tmp_path / "copy.db"
    here("backup", backup)
    with closing(sqlite3.connect(backup)) as raw:
        raw.execute("ANALYZE")
    assert here("--store", backup, "doctor", code=None).out.count("schema\tok\t") == 1
    here("restore", backup, "-y")
    with closing(sqlite3.connect(backup)) as raw:
        raw.executescript(sql)
    before = store_path.read_bytes()
    assert ODD[sql] in one_line(here("restore", backup, "-y", code=2).err)
    assert store_path.read_bytes() == before
    found = here("--store", backup, "doctor", code=1).out
    assert f"schema\tbad\t{ODD[sql]}" in found
    if "evil" in sql:  # as data only
        here("--store", backup, "store", "copy", "--to", tmp_path / "clean.db")
        here("--store", tmp_path / "clean.db", "enqueue", "--id", "b", "true")
        assert ids(here, "--store", tmp_path / "clean.db") == {"a", "b"}


def test_what_cannot_be_meant(here: Here, store_path: Path, tmp_path: Path) -> None:
    here("enqueue", "true", "--id", "a")
    assert "the store itself" in one_line(here("restore", store_path, "-y", code=2).err)
    assert "empty name" in one_line(here("restore", "", code=2).err)
    backup = tmp_path / "copy.db"
    here("backup", backup)
    assert "needs -y" in one_line(here("restore", backup, code=2).err)
    url = "postgresql://me:secret@localhost/db"
    said = one_line(here("--store", url, "restore", backup, "-y", code=2).err)
    assert "restore is for SQLite files" in said
    assert "secret" not in said
    other = tmp_path / "recipes.db"
    foreign(other)
    said = one_line(here("--store", other, "restore", backup, "-y", code=5).err)
    assert "some other program" in said
    said = one_line(here("--store", tmp_path / "no" / "x.db", "restore", backup, code=5).err)
    assert "does not exist" in said


def test_a_store_that_is_not_there_is_made(here: Here, tmp_path: Path) -> None:
    here("enqueue", "true", "--id", "a")
    here("backup", tmp_path / "copy.db")
    new = tmp_path / "new.db"
    Path(f"{new}-wal").write_bytes(b"of a store that was removed")
    here("--store", new, "restore", tmp_path / "copy.db")
    assert ids(here, "--store", new) == {"a"}
    assert beside(new) == ["new.db"]


@pytest.mark.parametrize("damage", [broken, lambda path: path.write_bytes(b"no database " * 99)])
def test_a_damaged_store_is_restored_and_kept_as_it_is(
    here: Here, store_path: Path, tmp_path: Path, damage: object
) -> None:
    for n in range(50):
        here("enqueue", "x" * 500, "--id", f"a{n}")
    here("backup", tmp_path / "copy.db")
    assert callable(damage)
    damage(store_path)
    was = store_path.read_bytes()
    said = here("status", code=None).err + here("doctor", code=1).out
    assert "run: queuectl restore BACKUP" in said
    done = here("restore", tmp_path / "copy.db", "-y", "--json").json
    assert len(ids(here)) == 50
    assert sound(store_path)
    assert Path(done["kept"]).stat().st_size == len(was)
    assert beside(store_path) == [store_path.name, Path(done["kept"]).name]


def test_pages_of_another_size(here: Here, store_path: Path, tmp_path: Path) -> None:
    here("enqueue", "true", "--id", "a")
    backup = tmp_path / "copy.db"
    with closing(sqlite3.connect(store_path)) as raw:
        raw.execute("PRAGMA page_size = 8192")
        raw.execute("VACUUM INTO ?", (str(backup),))
    here("enqueue", "true", "--id", "b")
    here("restore", backup, "-y")
    assert ids(here) == {"a"}
    assert sound(store_path)


KILLED = """
import os, sqlite3, sys
from queuectl_tui.cli.main import run
left = int(sys.argv[1])
done = 0
class Connection(sqlite3.Connection):
    def backup(self, target, **_):
        def step(status, remaining, total):
            global done
            done += 1
            if done == left:
                os.kill(os.getpid(), 9)
        super().backup(target, pages=1, progress=step)
connect = sqlite3.connect
sqlite3.connect = lambda *args, **options: connect(*args, **{**options, "factory": Connection})
code = run(sys.argv[2:])
print(done)
sys.exit(code)
"""


def test_killed_at_any_step_it_leaves_the_old_store_or_the_new_one_whole(
    cli: Cli, store_path: Path, tmp_path: Path
) -> None:
    def attempt(left: int) -> subprocess.CompletedProcess[str]:
        words = ["restore", str(tmp_path / "copy.db"), "-y", "-q"]
        return subprocess.run(
            [sys.executable, "-c", KILLED, str(left), *words],
            capture_output=True,
            text=True,
            env=cli.environment({"PYTHONPATH": str(Path(__file__).parents[2])}),
            check=False,
        )

    cli("enqueue", "true", "--id", "old")
    cli("backup", tmp_path / "copy.db")
    cli("enqueue", "-", stdin='{"command": "sleep 1"}\n' * 200)
    cli("backup", tmp_path / "new.db")
    total = int(attempt(0).stdout.split()[-1])
    found = []
    for left in (1, total // 3, total * 2 // 3, total - 1, total):
        cli("restore", tmp_path / "new.db", "-y", "--discard")
        done = attempt(left)
        assert done.returncode == -signal.SIGKILL, done.stderr
        found.append(sum(cli.json("status")["jobs"].values()))
        assert sound(store_path)
    assert found == [201, 201, 201, 201, 1], "the last step is the commit"
    cli("restore", tmp_path / "copy.db", "-y")
    assert len(cli.json("list")) == 1
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_a_question_at_a_terminal(terminal: Terminal, tmp_path: Path) -> None:
    terminal.cli("enqueue", "true", "--id", "old")
    terminal.cli("backup", tmp_path / "copy.db")
    terminal.cli("enqueue", "true", "--id", "new")
    shown = terminal("restore", tmp_path / "copy.db", typed="n\n", code=1)
    assert "Replace the 2 jobs in" in shown
    assert "nothing restored" in shown
    assert len(terminal.cli.json("list")) == 2
    assert "1 job restored from" in terminal("restore", tmp_path / "copy.db", typed="y\n")
    assert len(terminal.cli.json("list")) == 1
