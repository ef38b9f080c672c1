"""``prune``, ``backup`` and ``doctor --repair``."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from queuectl_core.operations import maintenance, restore

from ..support import Cli
from .conftest import Here, Terminal
from .test_globals import one_line


def modes(folder: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}


# -- prune ----------------------------------------------------------------------------


def test_prune_forgets_what_completed_with_its_output(cli: Cli, store_path: Path) -> None:
    cli("enqueue", "echo done", "--id", "good")
    cli("enqueue", "echo bad; false", "--id", "bad", "--max-retries", "1")
    cli("enqueue", "true", "--id", "later", "--delay", "1h")
    cli("worker", "start", "--until-empty")
    logs = Path(f"{store_path}.d") / "logs"
    assert len(list(logs.rglob("*.log"))) == 2
    assert "0 jobs pruned" in cli("prune", "--older-than", "1h").out
    assert "1 job would be pruned" in cli("prune", "--older-than", "0", "--dry-run").out
    assert cli.json("prune", "--older-than", "0", "--dry-run") == {"would_prune": 1}
    assert len(cli.json("list")) == 3
    assert cli.json("prune", "--older-than", "0") == {"pruned": 1}
    assert {job["id"] for job in cli.json("list")} == {"bad", "later"}
    assert [path.name for path in logs.rglob("*.log")] == ["2.1.log"]
    assert "1 job pruned" in cli("prune", "--older-than", "0s", "--state", "dead,cancelled").out
    assert {job["id"] for job in cli.json("list")} == {"later"}
    assert not list(logs.rglob("*.log"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--older-than is missing"),
        (("--older-than", "soon"), "--older-than: not a duration"),
        (("--older-than", "1d", "--state", "pending"), "pending jobs have not ended"),
        (("--older-than", "1d", "--state", "failed"), "failed jobs have not ended"),
        (("--older-than", "1d", "--state", "compelted"), "did you mean completed?"),
        (("--older-than", "20y"), "--older-than"),
        (("--older-than", "1"), "--older-than: 1 of what?; write 1d (days), 1h (hours), 1m"),
        (("--older-than", " 1.5 "), "or 1.5s (seconds)"),
    ],
)
def test_prune_refuses_what_it_cannot_mean(here: Here, words: tuple[str, ...], said: str) -> None:
    assert said in one_line(here("prune", *words, code=2).err)


# -- backup ---------------------------------------------------------------------------


def test_a_backup_before_the_first_job_says_that_there_is_no_store(
    cli: Cli, tmp_path: Path
) -> None:
    for store in ("", str(tmp_path / "typo.db")):  # the default store, and a path in --store
        env = {"QUEUECTL_STORE": store}
        said = one_line(cli("backup", tmp_path / "copy.db", code=5, env=env).err)
        assert "is not there" in said
    assert not (tmp_path / "copy.db").exists()


def test_a_backup_is_a_store_of_its_own(here: Here, tmp_path: Path) -> None:
    here("enqueue", "true", "--id", "a", "--env", "TOKEN=x")
    target = tmp_path / "copy.db"
    assert here("backup", target).out == f"{target}\n"
    assert target.stat().st_mode & 0o777 == 0o600
    here("enqueue", "true", "--id", "b")
    assert [job["id"] for job in here("--store", target, "list", "--json").json] == ["a"]
    assert here("--store", target, "doctor", "--json").json
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_a_backup_replaces_nothing_unless_told(here: Here, tmp_path: Path) -> None:
    here("enqueue", "true", "--id", "a")
    target = tmp_path / "copy.db"
    target.write_text("precious")
    assert "copy.db exists; give another name, or --force" in one_line(
        here("backup", target, code=4).err
    )
    assert target.read_text() == "precious"
    answer = here("backup", target, "--force", "--json").json
    assert answer == {"file": str(target), "bytes": target.stat().st_size}
    assert here("--store", target, "list", "--json").json[0]["id"] == "a"


def test_a_backup_never_follows_a_symlink(here: Here, tmp_path: Path) -> None:
    here("enqueue", "true")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "copy.db").symlink_to(victim)
    here("backup", tmp_path / "copy.db", code=4)
    here("backup", tmp_path / "copy.db", "--force")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "copy.db").is_symlink()


def test_a_backup_is_not_put_where_it_would_do_harm(
    here: Here, store_path: Path, tmp_path: Path
) -> None:
    here("enqueue", "true", "--id", "a")
    (tmp_path / "used.db-wal").touch()
    os.mkfifo(tmp_path / "pipe")
    refused = {
        store_path: (2, "is part of the store itself"),
        tmp_path: (2, "is a directory"),
        tmp_path / "pipe": (2, "is not a file"),
        tmp_path / "no" / "x.db": (2, "No such file or directory"),
        tmp_path / "used.db": (4, "is in use as a database"),
        tmp_path / ("x" * 300): (2, "File name too long"),
        Path("/proc/x.db"): (2, "cannot write"),
    }
    for target, (code, said) in refused.items():
        assert said in one_line(here("backup", target, "--force", code=code).err)
    assert "empty name" in one_line(here("backup", "", code=2).err)
    assert [job["id"] for job in here("list", "--json").json] == ["a"]


def test_a_backup_at_a_terminal_says_how_much(terminal: Terminal, tmp_path: Path) -> None:
    terminal.cli("enqueue", "true")
    assert "copied" in terminal("backup", tmp_path / "copy.db")


# -- doctor --repair ------------------------------------------------------------------


def test_repair_on_a_healthy_store_does_nothing(here: Here, store_path: Path) -> None:
    store_path.unlink()
    assert "fixed" not in here("doctor", "--repair", code=1).out
    assert not store_path.exists(), "a check creates nothing"
    here("enqueue", "x")
    assert "fixed" not in here("doctor", "--repair").out


def test_repair_puts_right_what_it_names(cli: Cli, store_path: Path) -> None:
    cli("enqueue", "echo x", "--id", "x")
    cli("worker", "start", "--until-empty")
    beside = Path(f"{store_path}.d")
    folder = beside / "logs" / "0"
    (folder / "77.1.log").write_text("nobody's")
    (folder / "1.9.log").write_text("an attempt there never was")
    (folder / "1.1.tmp").touch()
    os.utime(folder / "1.1.tmp", (0, 0))
    (folder / "notes.txt").write_text("not ours")
    for name in ("gone.journal", "gone.bell"):
        (beside / "run" / name).touch()
    store_path.chmod(0o644)
    beside.chmod(0o755)
    with closing(sqlite3.connect(store_path)) as database, database:
        database.execute("UPDATE counts SET n = n + 7")
        database.execute(
            "INSERT INTO supervisors VALUES ('gone', 'h', 'k', 1, 1.0, 0, 1.0, 1.0, 1.0, 1.0)"
        )
        database.execute(
            "INSERT INTO workers (id, supervisor, queues, started_at)"
            " VALUES ('gone-1', 'gone', '[]', 1.0)"
        )
    database.close()
    before = {row["check"]: row for row in cli.json("doctor", code=1)}
    assert {name for name, row in before.items() if row["level"] == "bad"} == {"counters", "modes"}
    assert {"workers", "litter"} <= {n for n, row in before.items() if row["level"] == "warn"}

    rows = cli.json("doctor", "--repair")
    fixed = [row["message"] for row in rows if row["level"] == "fixed"]
    assert fixed == [
        "file mode set right (2 of them)",
        "counter set right (3 of them)",
        "lost supervisor without a job forgotten",
        "stale run file removed (2 of them)",
        "orphaned output file removed (3 of them)",
    ]
    assert not [row for row in rows if row["level"] == "bad"]
    assert sorted(path.name for path in folder.iterdir()) == ["1.1.log", "notes.txt"]
    assert cli("logs", "x").out == "x\n"
    assert cli.json("status")["total"] == 1
    assert cli.json("worker", "list") == []
    assert not [row for row in cli.json("doctor", "--repair") if row["level"] == "fixed"]


def test_repair_opens_a_store_whose_modes_keep_its_owner_out(here: Here, store_path: Path) -> None:
    here("enqueue", "x")
    store_path.chmod(0)
    assert "file mode set right" in here("doctor", "--repair").out
    assert store_path.stat().st_mode & 0o777 == 0o600


def test_repair_of_what_cannot_be_repaired(here: Here, store_path: Path) -> None:
    store_path.write_bytes(b"not a database, and never was one\n" * 100)
    store_path.chmod(0o600)
    rows = here("doctor", "--repair", "--json", code=1).json
    assert all("damaged" in row["message"] for row in rows if row["check"] == "store")


def test_unfinished_backups_of_dead_processes_are_removed(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "true")
    folder = tmp_path / "backups"
    folder.mkdir()
    mine = folder / maintenance.draft_name()
    gone = [folder / name.replace(f"-{os.getpid()}-", "-999999999-") for name in (mine.name,)]
    gone += [folder / (gone[0].name + "-journal")]
    elsewhere = folder / mine.name.replace(maintenance._host_digest(), "0123456789ab")
    for path in (mine, *gone, elsewhere):
        path.touch()
    cli("backup", folder / "one.db")
    assert set(folder.iterdir()) == {mine, elsewhere, folder / "one.db"}
    beside = tmp_path / gone[0].name
    beside.touch()
    assert "unfinished backup removed" in cli("doctor", "--repair").out
    assert not beside.exists()


def test_a_killed_backup_leaves_what_the_next_one_removes(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", *(["true " + "x" * 1000] * 100))
    folder = tmp_path / "backups"
    folder.mkdir()
    code = (
        "import os, sys, queuectl_core.operations.maintenance as u, queuectl_tui.cli.main as m\n"
        "u.publish = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        "m.run(sys.argv[1:])\n"
    )
    words = ["--store", str(cli.store), "backup", str(folder / "one.db")]
    done = subprocess.run([sys.executable, "-c", code, *words], env=cli.environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.suffix for path in folder.iterdir()] == [".tmp"]
    cli("backup", folder / "two.db")
    assert [path.name for path in folder.iterdir()] == ["two.db"]


@pytest.mark.parametrize("links", [True, False])
def test_a_backup_does_not_replace_what_came_meanwhile(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Also if the file system has no hard links."""
    here("enqueue", "x")
    target = tmp_path / "copy.db"

    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    here("backup", tmp_path / "first.db")
    publish = maintenance.publish

    def late(draft: Path, name: Path, *, force: bool) -> None:
        target.write_text("precious")
        publish(draft, name, force=force)

    monkeypatch.setattr(maintenance, "publish", late)
    assert "exists" in one_line(here("backup", target, code=4).err)
    assert target.read_text() == "precious"
    assert not list(tmp_path.glob(".queuectl-*"))


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["new", "replaced"])
def test_a_backup_is_on_the_disk_before_it_has_its_name(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: tuple[str, ...]
) -> None:
    """Otherwise an empty file may have the name after a power failure."""
    here("enqueue", "--id", "a", "true")
    target = tmp_path / "copy.db"
    steps: list[str] = []
    sync, publish = maintenance.sync, maintenance.publish

    def synced(path: Path) -> None:
        steps.append("directory" if path == tmp_path else f"{path.stat().st_size > 0} content")
        sync(path)

    def published(draft: Path, name: Path, *, force: bool) -> None:
        steps.append("name")
        publish(draft, name, force=force)

    monkeypatch.setattr(maintenance, "sync", synced)
    monkeypatch.setattr(maintenance, "publish", published)
    here("backup", target, *force)
    assert steps == ["True content", "name", "directory"]
    steps.clear()
    monkeypatch.setattr(restore, "sync", synced)
    monkeypatch.setattr(restore, "publish", published)
    here("--store", tmp_path / "other.db", "restore", target, "-y")
    assert steps == ["True content", "name", "directory"]
    assert [job["id"] for job in here("--store", target, "list", "--json").json] == ["a"]


def test_a_backup_whose_name_is_not_on_the_disk(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file exists, so the verb succeeds. It warns that a power failure may remove it."""
    here("enqueue", "--id", "a", "true")
    sync = maintenance.sync

    def failing(path: Path) -> None:
        if path == tmp_path:
            raise OSError(5, "Input/output error")
        sync(path)

    monkeypatch.setattr(maintenance, "sync", failing)
    target = tmp_path / "copy.db"
    done = here("backup", target, "-q")
    assert done.out == f"{target}\n"
    assert done.err.startswith(f"queuectl: warning: {target} is there, but putting its name on the")
    monkeypatch.setattr(restore, "sync", failing)
    done = here("restore", target, "-y", code=2)
    assert "before-restore" in done.err, "the old content cannot be kept"
    assert list(tmp_path.glob("*before-restore*")) == []
