"""Workers as processes: stopped, killed and restarted with jobs in hand."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support import Cli, eventually


def state(cli: Cli, ref: str) -> str:
    found: str = cli.json("show", ref)["state"]
    return found


def slow_job(cli: Cli, tmp_path: Path, name: str = "slow") -> Path:
    """Enqueue a job that runs until the test says so; returns the file that ends it."""
    cli(
        "enqueue",
        "--id",
        name,
        "--max-retries",
        "1",
        f"touch {name}.started; until test -e {name}.end; do sleep 0.05; done; touch {name}.ended",
    )
    return tmp_path / f"{name}.end"


def until_started(tmp_path: Path, name: str = "slow") -> None:
    eventually((tmp_path / f"{name}.started").exists)


def test_worker_stop_from_elsewhere_finishes_the_running_job(cli: Cli, tmp_path: Path) -> None:
    end = slow_job(cli, tmp_path)
    workers = cli("worker", "start", "--count", "2", "--detach")
    assert workers.code == 0
    until_started(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    stopping = cli.start("worker", "stop", cwd=elsewhere)
    eventually(lambda: [w["state"] for w in cli.json("worker", "list")] == ["stopping"])
    assert stopping.poll() is None
    end.touch()
    stopping.communicate(timeout=30)
    assert stopping.returncode == 0
    assert (tmp_path / "slow.ended").exists()
    assert state(cli, "slow") == "completed"
    assert cli.json("worker", "list") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_running_job(
    cli: Cli, tmp_path: Path, number: signal.Signals
) -> None:
    end = slow_job(cli, tmp_path)
    worker = cli.start("worker", "start")
    until_started(tmp_path)
    cli("enqueue", "--id", "next", "true")
    worker.send_signal(number)
    eventually(lambda: [w["state"] for w in cli.json("worker", "list")] == ["stopping"])
    end.touch()
    worker.communicate(timeout=30)
    assert worker.returncode == 0
    assert (tmp_path / "slow.ended").exists()
    assert state(cli, "slow") == "completed"
    assert state(cli, "next") == "pending"


def test_a_second_interrupt_puts_the_job_back(cli: Cli, tmp_path: Path) -> None:
    slow_job(cli, tmp_path)
    worker = cli.start("worker", "start")
    until_started(tmp_path)
    worker.send_signal(signal.SIGINT)
    eventually(lambda: [w["state"] for w in cli.json("worker", "list")] == ["stopping"])
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=30)
    found = cli.json("show", "slow")
    assert (found["state"], found["attempts"]) == ("pending", 0)
    assert not (tmp_path / "slow.ended").exists()


def test_stop_now_puts_the_job_back(cli: Cli, tmp_path: Path) -> None:
    slow_job(cli, tmp_path)
    cli("worker", "start", "-d")
    until_started(tmp_path)
    cli("worker", "stop", "--now")
    found = cli.json("show", "slow")
    assert (found["state"], found["attempts"]) == ("pending", 0)


def test_stop_with_a_timeout_says_what_still_runs(cli: Cli, tmp_path: Path) -> None:
    end = slow_job(cli, tmp_path)
    cli("worker", "start", "-d")
    until_started(tmp_path)
    stopped = cli("worker", "stop", "--timeout", "0.3", code=124)
    assert len(stopped.err.strip().splitlines()) >= 1
    end.touch()
    eventually(lambda: cli.json("worker", "list") == [])


def test_all_workers_killed_and_restarted(cli: Cli, tmp_path: Path) -> None:
    """Each job notes when it starts and ends, and that nobody else is inside."""
    script = tmp_path / "job.sh"
    script.write_text(
        "mkdir inside.$1 || echo $1 >> overlaps\n"
        "echo $1 >> starts; touch started.$1\n"
        "until test -e go; do sleep 0.05; done\n"
        "rmdir inside.$1; echo $1 >> ends\n"
    )
    for name in range(6):
        cli("enqueue", "--id", f"j{name}", f"sh job.sh {name}")
    victims = [cli.start("worker", "start", "--count", "2") for _ in range(2)]
    eventually(lambda: len(list(tmp_path.glob("started.*"))) == 4)
    for victim in victims:
        victim.kill()
        victim.wait()
    (tmp_path / "go").touch()
    cli("worker", "start", "--count", "2", "--until-empty")
    jobs = cli.json("list")
    assert {(job["state"], job["attempts"]) for job in jobs} == {("completed", 1)}
    assert not (tmp_path / "overlaps").exists()
    assert sorted((tmp_path / "starts").read_text().split()) == list("012345")
    assert sorted((tmp_path / "ends").read_text().split()) == list("012345")
    assert cli.json("list", "--state", "processing") == []


def test_jobs_killed_with_their_workers_run_again(cli: Cli, tmp_path: Path) -> None:
    """Everything is killed: workers, what is under them, and the jobs themselves."""
    cli(
        "enqueue",
        "--id",
        "j",
        "echo $$ > pid; test -e second || { touch second; sleep 300; }",
    )
    victim = cli.start("worker", "start")
    eventually((tmp_path / "second").exists)
    import psutil

    pid = int((tmp_path / "pid").read_text())
    shim = psutil.Process(pid).parent()
    assert shim
    victim.kill()
    shim.kill()
    os.killpg(pid, signal.SIGKILL)
    victim.wait()
    cli("worker", "start", "--until-empty")
    found = cli.json("show", "j")
    assert (found["state"], found["attempts"], found["crashes"]) == ("completed", 1, 1)


def test_detached_workers_survive_their_terminal(cli: Cli, tmp_path: Path) -> None:
    started = cli("worker", "start", "-d", "--count", "2", "--json")
    pids = {worker["pid"] for worker in cli.json("worker", "list")}
    assert len(pids) == 1
    (pid,) = pids
    assert os.getsid(pid) == pid
    assert started.code == 0
    log = cli.directory / "supervisor.log"
    assert log.exists()
    cli("worker", "stop")
    assert cli.json("worker", "list") == []


def test_the_colon_spelling_is_the_same_verb(cli: Cli) -> None:
    cli("enqueue", "--id", "j", "true")
    cli("worker:start", "--until-empty")
    assert state(cli, "j") == "completed"
