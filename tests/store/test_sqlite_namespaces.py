"""Two pid namespaces on one SQLite store, as containers that share a volume have: workers are in
one of them at a time, whatever happens there, and no job runs twice."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.support import Cli, eventually

WAIT = "echo started >> {0}/starts; until test -e {0}/go; do sleep 0.05; done; echo x >> {0}/ends"
SET_CLOCK = """
import runpy, sys, time
offset, real = float(sys.argv.pop(1)), time.time
time.time = lambda: real() + offset
sys.argv[0] = "queuectl"
runpy.run_module("queuectl_tui", run_name="__main__")
"""


def _can_unshare() -> bool:
    if sys.platform != "linux":
        return False
    words = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not _can_unshare(), reason="cannot make a pid namespace")


@dataclass
class Container:
    """A supervisor, alone in a pid namespace."""

    process: subprocess.Popen[str]

    def supervisor(self) -> psutil.Process:
        """The supervisor, as it is seen from outside."""
        return next(
            child
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if "worker" in child.cmdline() and "start" in child.cmdline()
        )


@pytest.fixture
def contained(cli: Cli) -> Iterator[Container]:
    """A supervisor in a namespace of its own, with one job running."""
    cli("config", "set", "lease", "5")
    cli("enqueue", WAIT.format(cli.cwd), "--id", "job")
    # A shell is the first process there, so that the namespace outlives the supervisor.
    line = f"{sys.executable} -m queuectl_tui worker start; sleep 300"
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "/bin/sh", "-c", line],
        env=cli.environment(),
        cwd=cli.cwd,
        start_new_session=True,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    eventually((cli.cwd / "starts").exists)
    found = Container(process)
    yield found
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children():  # with it ends the namespace
            child.kill()
    process.kill()
    process.wait()


def start(cli: Cli, offset: float = 0.0) -> subprocess.CompletedProcess[str]:
    """``worker start`` with a wall clock that is wrong by ``offset`` seconds."""
    return subprocess.run(
        [sys.executable, "-c", SET_CLOCK, str(offset), "worker", "start", "--until-empty"],
        env=cli.environment(),
        cwd=cli.cwd,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def refused(cli: Cli, offset: float = 0.0) -> bool:
    done = start(cli, offset)
    assert done.returncode == 4, done.stderr
    assert "another pid namespace" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    return True


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.parametrize("offset", [0.0, 60.0, -60.0])
def test_workers_are_refused_beside_those_of_another_namespace(
    cli: Cli, contained: Container, offset: float
) -> None:
    assert refused(cli, offset)
    detached = cli("worker", "start", "--detach", code=None)
    assert detached.code != 0
    assert "another pid namespace" in detached.err
    assert [w["state"] for w in cli.json("worker", "list")] == ["busy"]
    (cli.cwd / "go").touch()
    eventually(lambda: cli.json("show", "job")["state"] == "completed")
    cli("worker", "stop")
    cli("worker", "start", "--until-empty")
    assert lines(cli.cwd / "starts") == lines(cli.cwd / "ends") == 1


@pytest.mark.parametrize("offset", [0.0, 60.0])
def test_a_supervisor_that_was_only_stopped_keeps_its_jobs(
    cli: Cli, contained: Container, offset: float
) -> None:
    frozen = contained.supervisor()
    frozen.send_signal(signal.SIGSTOP)
    before = cli.json("worker", "list")[0]["last_heartbeat"]
    eventually(lambda: psutil.boot_time() and frozen.status() == psutil.STATUS_STOPPED)
    lease_over(cli)
    assert refused(cli, offset)
    frozen.send_signal(signal.SIGCONT)
    eventually(lambda: cli.json("worker", "list")[0]["last_heartbeat"] != before)
    (cli.cwd / "go").touch()
    eventually(lambda: cli.json("show", "job")["state"] == "completed")
    assert lines(cli.cwd / "starts") == lines(cli.cwd / "ends") == 1


def lease_over(cli: Cli) -> None:
    """Wait until the only supervisor's lease has run out."""
    import sqlite3
    import time
    from contextlib import closing

    assert isinstance(cli.store, Path)
    with closing(sqlite3.connect(cli.store)) as raw:
        until = raw.execute("SELECT lease_mono FROM supervisors").fetchone()[0]
    eventually(lambda: time.monotonic() > until)


@pytest.mark.parametrize("offset", [0.0, 60.0, -60.0])
def test_while_the_shim_of_a_killed_supervisor_lives_its_jobs_are_its_own(
    cli: Cli, contained: Container, offset: float
) -> None:
    contained.supervisor().kill()
    lease_over(cli)
    assert refused(cli, offset)
    assert lines(cli.cwd / "starts") == 1
    assert not (cli.cwd / "ends").exists()


@pytest.mark.parametrize("offset", [0.0, 60.0, -60.0])
def test_when_the_whole_namespace_is_gone_its_jobs_run_again_after_the_lease(
    cli: Cli, contained: Container, offset: float
) -> None:
    assert isinstance(cli.store, Path)
    for child in psutil.Process(contained.process.pid).children():
        child.kill()  # the first process there: with it ends the namespace
    contained.process.wait()
    (cli.cwd / "go").touch()
    done = start(cli, offset)
    assert done.returncode == 0, done.stderr
    assert "stopped answering" in done.stderr
    assert lines(cli.cwd / "starts") == 2
    assert lines(cli.cwd / "ends") == 1
    shown = cli.json("show", "job")
    assert (shown["state"], shown["crashes"]) == ("completed", 1)


def test_workers_on_a_network_file_system_are_refused(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from queuectl_core.domain.errors import StoreUnreachable
    from queuectl_core.store.sqlite.store import SqliteStore
    from queuectl_core.system import file_systems
    from queuectl_core.system.run_sync import run_sync

    async def listen() -> None:
        assert isinstance(cli.store, Path)
        store = await SqliteStore.open(cli.store)
        try:
            with pytest.raises(StoreUnreachable, match="network file system \\(nfs4\\)"):
                store.notifier("sup")
        finally:
            await store.close()

    monkeypatch.setattr(file_systems, "_mounts", lambda: [("/", "nfs4")])
    run_sync(listen())
