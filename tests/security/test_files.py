"""Who may read and replace our files: modes under a wide umask, planted symlinks, other users."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl_core.domain.errors import StoreUnreachable
from queuectl_core.operations import doctor
from queuectl_core.queue import Queue
from queuectl_core.runner.journal_reader import JournalReader
from queuectl_core.store.sqlite import database_file
from queuectl_core.system.permissions import make_private, own_directory, own_store

from ..support import Cli, eventually

OTHER = 54_321
"""A uid nobody here has."""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def no_umask() -> Iterator[None]:
    """The widest umask there is: every mode is as it was asked for."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that a planted symlink points to, and that must stay as it is."""
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def open_to_others(top: Path) -> list[str]:
    found = []
    for path in (top, *top.rglob("*")):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue  # a journal or bell that was needed no more
        if stat.S_IMODE(mode) != (0o700 if stat.S_ISDIR(mode) else 0o600):
            found.append(f"{path} {stat.filemode(mode)}")
    return found


@pytest.mark.usefixtures("no_umask")
def test_nothing_is_open_to_others_whatever_the_umask(cli: Cli, isolated: Path) -> None:
    cli.env["QUEUECTL_STORE"] = ""  # the default store, with all directories above it
    data = isolated / "data"
    cli("worker", "start", "--detach", "--count", "2")
    cli("enqueue", "echo out; exec sleep 300", "--id", "running")
    cli("enqueue", "seq 100000", "--id", "long", "--output-limit", "4096")
    eventually(lambda: cli("logs", "running").out == "out\n")
    cli("wait", "long")
    files = [path.name for path in data.rglob("*")]
    for name in ("queue.db", "queue.db-wal", "queue.db-shm", "queue.db.d", "supervisor.log"):
        assert name in files
    for end in (".log", ".journal", ".alive", ".bell"):
        assert [name for name in files if name.endswith(end)], end
    assert open_to_others(data) == []
    cli("backup", data / "copy.db")
    cli("enqueue", "-", stdin='{"command":"true"}\n' * 2000)
    assert open_to_others(data) == []
    cli("worker", "stop", "--now")
    assert open_to_others(data) == []
    levels = {row["check"]: row["level"] for row in cli.json("doctor")}
    assert levels["modes"] == "ok"


# -- symlinks where a file goes -------------------------------------------------------


def test_a_dangling_link_to_a_store_makes_no_file_others_can_read(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "queue.db").symlink_to(tmp_path / "elsewhere.db")
    cli("enqueue", "true")
    assert open_to_others(tmp_path / "elsewhere.db") == []


def test_a_link_to_a_file_that_is_no_store_changes_nothing(
    cli: Cli, tmp_path: Path, victim: Path
) -> None:
    (tmp_path / "queue.db").symlink_to(victim)
    cli("enqueue", "true", code=5)
    assert victim.read_text() == "precious"


def test_the_log_of_detached_workers_is_not_written_through_a_link(
    cli: Cli, store_path: Path, victim: Path
) -> None:
    cli("enqueue", "true")
    beside = Path(f"{store_path}.d")
    beside.mkdir(mode=0o700)
    (beside / "supervisor.log").symlink_to(victim)
    assert "cannot write" in cli("worker", "start", "--detach", code=1).err
    assert victim.read_text() == "precious"


async def test_a_journal_is_not_written_through_a_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "s.journal").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        await JournalReader(tmp_path, "s").revoke()
    assert victim.read_text() == "precious"


def test_output_is_not_written_through_a_link(cli: Cli, store_path: Path, victim: Path) -> None:
    cli("enqueue", "echo written", "--id", "x", "--max-retries", "1")
    folder = Path(f"{store_path}.d") / "logs" / "0"
    make_private(folder)
    (folder / "1.1.log").symlink_to(victim)
    cli("worker", "start", "--until-empty")
    assert victim.read_text() == "precious"
    assert not (folder / "1.1.log").is_symlink()
    assert cli("logs", "x").out == "written\n"


# -- what belongs to another user -----------------------------------------------------


@root_only
def test_a_directory_of_another_user_is_not_trusted(cli: Cli, store_path: Path) -> None:
    cli("enqueue", "true")
    beside = Path(f"{store_path}.d")
    beside.mkdir()
    os.chown(beside, OTHER, OTHER)
    for words in (("worker", "start", "--until-empty"), ("worker", "start", "--detach")):
        shown = cli(*words, code=5)
        assert f"belongs to another user (uid {OTHER})" in shown.err
        assert len(shown.err.splitlines()) == 1
    assert cli.json("list")[0]["state"] == "pending"


@root_only
def test_a_link_of_another_user_is_not_followed(cli: Cli, store_path: Path, tmp_path: Path) -> None:
    cli("enqueue", "true")
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    link = Path(f"{store_path}.d")
    link.symlink_to(mine)
    os.lchown(link, OTHER, OTHER)
    assert "another user" in cli("worker", "start", "--until-empty", code=5).err
    os.lchown(link, 0, 0)
    cli("worker", "start", "--until-empty")
    assert (mine / "run").is_dir(), "one's own link, to a larger disk say, is fine"


@root_only
def test_nobody_runs_what_is_in_the_store_of_another_user(cli: Cli, store_path: Path) -> None:
    cli("enqueue", "true", "--id", "x")
    os.chown(store_path, OTHER, OTHER)
    shown = cli("worker", "start", "--until-empty", code=5)
    assert "whose jobs would run as you" in shown.err
    assert cli.json("show", "x")["state"] == "pending", "looking is allowed"


def test_a_directory_others_may_write_to_is_closed_to_them(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_private(folder)
    assert open_to_others(tmp_path / "a") == []
    folder.chmod(0o777)
    own_directory(folder)
    assert open_to_others(folder) == []


@pytest.mark.parametrize("bit", [0o040, 0o020, 0o010, 0o004, 0o002, 0o001], ids=oct)
def test_each_right_of_others_is_taken_and_told(tmp_path: Path, bit: int) -> None:
    folder = tmp_path / "d"
    (folder / "logs").mkdir(parents=True)
    store = tmp_path / "queue.db"
    store.touch()
    for path, mode in ((folder, 0o700), (folder / "logs", 0o700), (store, 0o600)):
        path.chmod(mode | bit)
        found = doctor.modes([path])
        assert found.level == "bad"
        assert f"{path} has mode 0{mode | bit:o}" in found.message
    own_directory(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    wanted = 0o700 if bit & 0o022 else 0o700 | bit  # to read is no harm in a closed directory
    assert stat.S_IMODE((folder / "logs").stat().st_mode) == wanted
    folder.chmod(0o700)
    store.chmod(0o600)
    assert doctor.modes([folder, store]).level == "ok"


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o707, 0o702], ids=oct)
def test_logs_in_a_directory_that_others_may_write_to_are_ours_from_the_start(
    tmp_path: Path, mode: int
) -> None:
    """SQLite would use a log that somebody else makes there."""
    folder = tmp_path / "shared"
    folder.mkdir()
    path = str(folder / "queue.db")
    Path(path).touch()
    folder.chmod(mode)
    log = database_file.hold_logs(path)
    assert log is not None
    os.close(log)
    assert {name.name for name in folder.iterdir()} == {
        "queue.db", "queue.db-journal", "queue.db-wal", "queue.db-shm",
    }  # fmt: skip
    for name in folder.iterdir():
        if name.name != "queue.db":
            name.unlink()
    for alone in (0o700, 0o755):
        folder.chmod(alone)
        assert database_file.hold_logs(path) is None
        assert [name.name for name in folder.iterdir()] == ["queue.db"]


def test_a_file_in_place_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(StoreUnreachable, match="is not a directory"):
        own_directory(tmp_path / "x")
    own_store(tmp_path / "x")


# -- ids and paths --------------------------------------------------------------------


async def test_an_id_never_becomes_a_path(store_path: Path, tmp_path: Path) -> None:
    async with Queue.open(str(store_path)) as queue:
        await queue.enqueue([{"id": name, "command": "echo x"} for name in ("a..", "A:B@c", "0.1")])
        await queue.run_workers(1, until_empty=True)
    names = {path.name for path in tmp_path.rglob("*")}
    assert {"1.1.log", "2.1.log", "3.1.log"} <= names
    assert not [name for name in names if "a.." in name or "@" in name]


@root_only
def test_what_another_user_put_into_our_directory_is_refused(tmp_path: Path) -> None:
    """A directory that others could write to for a while; its journals say how jobs ended."""
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o770)
    planted = folder / "x.journal"
    planted.touch()
    os.chown(planted, OTHER, OTHER)
    for _ in range(2):  # also when the directory has been closed to others
        with pytest.raises(StoreUnreachable, match=r"x\.journal belongs to another user"):
            own_directory(folder)
    planted.unlink()
    own_directory(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_directory_of_ours_that_others_may_write_to_is_closed(tmp_path: Path) -> None:
    (tmp_path / "d" / "logs").mkdir(parents=True)
    (tmp_path / "d" / "logs").chmod(0o777)
    own_directory(tmp_path / "d")
    assert stat.S_IMODE((tmp_path / "d" / "logs").stat().st_mode) == 0o700
