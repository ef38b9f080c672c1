"""The store's file is removed, moved away or replaced while workers run: they say so, take no more
jobs, finish those that run and end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import Cli, eventually

ENDINGS = ("", "-wal", "-shm")


def take_away(path: Path, how: str) -> Path:
    """Returns where the database is now."""
    away = path.with_name("away.db")
    if how == "moved":
        for end in ENDINGS:
            Path(f"{path}{end}").rename(f"{away}{end}")
    elif how == "file moved":
        path.rename(away)
    else:
        for end in ENDINGS:
            Path(f"{path}{end}").unlink(missing_ok=True)
    return away


@pytest.mark.parametrize("how", ["moved", "file moved", "deleted", "replaced"])
def test_workers_of_a_store_that_is_gone_finish_what_runs_and_end(
    cli: Cli, store_path: Path, tmp_path: Path, how: str
) -> None:
    go = tmp_path / "go"
    wait = f"echo started; until test -e {go}; do sleep 0.05; done; echo ended >> {tmp_path}/ends"
    cli("enqueue", wait, "--id", "running")
    workers = cli.start("worker", "start", "--count", "2")
    eventually(lambda: cli("logs", "running").out == "started\n")
    if how == "replaced":
        new = tmp_path / "new.db"
        cli("enqueue", f"echo wrong >> {tmp_path}/ends", "--id", "new", "--store", new)
        new.replace(store_path)
        for end in ("-wal", "-shm"):
            Path(f"{store_path}{end}").unlink()
    else:
        away = take_away(store_path, how)
    assert workers.stderr is not None
    said = ""
    while "no more jobs are taken" not in said:
        said = workers.stderr.readline()
        assert said, "it ended without a word"
    assert ("replaced by another file" if how == "replaced" else "removed or moved away") in said
    assert workers.poll() is None, "a job runs"
    go.touch()
    _, rest = workers.communicate(timeout=30)
    assert workers.returncode == 5
    assert rest.splitlines()[-1].startswith("queuectl: error: store ")
    assert (tmp_path / "ends").read_text() == "ended\n"
    if how == "moved":
        cli.store = away
        assert cli.json("show", "running")["state"] == "completed", "the result is in its file"
        assert cli.json("worker", "list") == []
    if how == "replaced":  # SQLite would have removed the new store's WAL by its name
        with closing(sqlite3.connect(store_path)) as raw:
            assert raw.execute("SELECT id FROM jobs").fetchall() == [("new",)]
        cli("worker", "start", "--until-empty")
        assert (tmp_path / "ends").read_text() == "ended\nwrong\n"


def test_idle_workers_of_a_store_that_is_gone_end_at_once(cli: Cli, store_path: Path) -> None:
    cli("enqueue", "true")
    workers = cli.start("worker", "start")
    eventually(lambda: cli.json("list", "--state", "completed"))
    take_away(store_path, "deleted")
    _, said = workers.communicate(timeout=30)
    assert "removed or moved away" in said
    assert workers.returncode == 5, said


def test_whoever_closes_a_replaced_store_leaves_the_new_ones_log_alone(
    store_path: Path, cli: Cli
) -> None:
    """SQLite removes a WAL by its name when the last user of its database leaves."""
    from queuectl_core.queue import Queue
    from queuectl_core.store.sqlite.store import SqliteStore
    from queuectl_core.system.run_sync import run_sync

    async def act() -> None:
        old = await SqliteStore.open(store_path)
        for end in ENDINGS:
            Path(f"{store_path}{end}").unlink()
        async with Queue.open(str(store_path)) as queue:
            await queue.enqueue([{"id": "a", "command": "true"}])
            await old.close()
            assert Path(f"{store_path}-wal").exists()
            await queue.enqueue([{"id": "b", "command": "true"}])
            assert [job["id"] for job in cli.json("list")] == ["b", "a"]

    run_sync(act())
    assert [job["id"] for job in cli.json("list")] == ["b", "a"]
