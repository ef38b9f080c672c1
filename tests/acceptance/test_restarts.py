"""The database's server is restarted under load, the gentle way and the other."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl_tui.console.app import Console
from queuectl_tui.presentation.connections import Connections
from queuectl_tui.presentation.monitor import Monitor
from tests.console.scenes import until
from tests.pgserver import Server, own_server
from tests.support import Cli, eventually

STOPS = (signal.SIGINT, signal.SIGQUIT, signal.SIGINT)
"""PostgreSQL's fast and immediate modes."""


@pytest.fixture
def server() -> Iterator[tuple[Server, str]]:
    """A server of the test's own."""
    with own_server() as made:
        yield made


def test_restarts_under_load_lose_nothing(server: tuple[Server, str], tmp_path: Path) -> None:
    database, url = server
    cli = Cli(url, tmp_path)
    try:
        for name in ("one", "two"):
            env = {"XDG_DATA_HOME": str(tmp_path / name), "QUEUECTL_HOST": name}
            cli("worker", "start", "-d", "--count", "2", env=env)
        ran = tmp_path / "ran"
        ran.touch()
        total = 0
        for number in STOPS:
            before = len(ran.read_text().split())
            lines = [
                f'{{"command": "sleep 0.05; echo {i} >> {ran}"}}\n'
                for i in range(total, total + 100)
            ]
            cli("enqueue", "-", stdin="".join(lines))
            total += 100
            eventually(lambda seen=before: len(ran.read_text().split()) > seen + 10)
            database.stop(number)
            for verb in ("list", "status"):
                failed = cli(verb, code=5)
                assert failed.out == ""
                assert len(failed.err.splitlines()) == 1, failed.err
            between = len(ran.read_text().split())
            assert between < total
            assert database.serve()
            eventually(lambda seen=between: len(ran.read_text().split()) > seen + 10)
        cli("wait", "--all")
        assert sorted(ran.read_text().split(), key=int) == [str(i) for i in range(total)]
        jobs = cli.json("list")
        assert {(job["state"], job["attempts"]) for job in jobs} == {("completed", 1)}
    finally:
        cli.close()


@pytest.mark.parametrize(("busy", "code"), [(False, 0), (True, 5)], ids=["idle", "busy"])
def test_workers_leave_when_told_while_the_server_is_away(
    server: tuple[Server, str], tmp_path: Path, busy: bool, code: int
) -> None:
    """Idle ones at once. Where a job has ended meanwhile, they wait for as long as a lease; the
    next worker on the host writes down how it ended."""
    database, url = server
    cli = Cli(url, tmp_path)
    try:
        if busy:
            command = "touch up; until test -e go; do sleep 0.02; done; echo >> ran"
            cli("enqueue", command, "--id", "x")
        worker = cli.start("worker", "start", env={"QUEUECTL_LEASE": "10"})
        assert worker.stderr is not None
        if busy:
            eventually((tmp_path / "up").exists)
        else:
            eventually(lambda: cli.json("worker", "list"))
        database.stop(signal.SIGINT)
        if busy:
            (tmp_path / "go").touch()
            while "trying again" not in worker.stderr.readline():
                pass
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == code
        assert database.serve()
        if busy:
            cli("worker", "start", "--until-empty")
            found = cli.json("show", "x")
            assert (found["state"], found["attempts"], found["crashes"]) == ("completed", 1, 0)
            assert (tmp_path / "ran").read_text() == "\n"
    finally:
        cli.close()


async def test_the_console_says_so_and_comes_back(
    server: tuple[Server, str], tmp_path: Path
) -> None:
    database, url = server
    connections = Connections(
        url, read_only=False, env={"HOME": str(tmp_path), "TERM": "xterm-256color"}
    )
    monitor = Monitor(connections)
    await connections.connect(create=True)
    try:
        console = Console(monitor, await monitor.first(), host="alpha")
        async with console.run_test(size=(120, 40)) as pilot:
            await until(console, pilot, "● live")
            for number in STOPS:
                database.stop(number)
                await until(console, pilot, "▲ lost")
                text = await until(console, pilot, "trying again")
                assert "Traceback" not in text
                assert database.serve()
                await until(console, pilot, "● live")
    finally:
        await connections.drop()
