"""queuectl as a stranger uses it: commands typed, processes started, files looked at."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support import Cli, eventually


def job(cli: Cli, ref: str) -> dict[str, Any]:
    """One job, as ``show --json`` tells it."""
    shown: dict[str, Any] = cli.json("show", ref)
    return shown


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def drain(cli: Cli, count: int = 1) -> None:
    """Workers in the foreground until the queue is empty."""
    cli("worker", "start", "--count", str(count), "--until-empty")


def test_a_basic_job_completes(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", '{"id": "job1", "command": "echo hello > greeting; echo said"}')
    assert job(cli, "job1")["state"] == "pending"
    drain(cli)
    found = job(cli, "job1")
    assert (found["state"], found["attempts"], found["exit_code"]) == ("completed", 1, 0)
    assert (tmp_path / "greeting").read_text() == "hello\n"
    assert cli("logs", "job1").out == "said\n"


def test_a_failing_job_waits_2_then_4_seconds_and_is_dead_after_max_retries(cli: Cli) -> None:
    cli("enqueue", '{"id": "f", "command": "exit 3", "max_retries": 3, "backoff_base": 2}')
    drain(cli)
    found = job(cli, "f")
    assert (found["state"], found["attempts"], found["exit_code"]) == ("dead", 3, 3)
    attempts = found["history"]
    assert [attempt["attempt"] for attempt in attempts] == [1, 2, 3]
    gaps = [
        moment(after["started_at"]) - moment(before["finished_at"])
        for before, after in pairwise(attempts)
    ]
    # Not before their time; how long after depends on the machine.
    assert gaps[0] >= 1.998
    assert gaps[1] >= 3.998
    assert [dead["id"] for dead in cli.json("dlq", "list")] == ["f"]


def test_400_jobs_over_three_supervisors_run_exactly_once_each(cli: Cli, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    lines = [f'{{"id": "j{i}", "command": "echo {i} >> {ran}"}}\n' for i in range(400)]
    cli("enqueue", "-", stdin="".join(lines))
    processes = [cli.start("worker", "start", "--count", "4", "--until-empty") for _ in range(3)]
    for process in processes:
        _, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
    assert sorted(ran.read_text().split(), key=int) == [str(i) for i in range(400)]
    jobs = cli.json("list")
    assert len(jobs) == 400
    assert {(j["state"], j["attempts"]) for j in jobs} == {("completed", 1)}
    assert len({j["worker"].split("-")[0] for j in jobs}) == 3  # each of them did some


def test_everything_survives_a_restart(cli: Cli) -> None:
    cli("enqueue", '{"id": "done", "command": "echo output"}')
    cli("enqueue", '{"id": "gone", "command": "exit 1", "max_retries": 1}')
    drain(cli)
    cli("enqueue", '{"id": "later", "command": "true", "run_at": "+1h", "env": {"A": "b"}}')
    cli("config", "set", "max-retries", "7")
    states = {j["id"]: j["state"] for j in cli.json("list")}
    assert states == {"done": "completed", "gone": "dead", "later": "pending"}
    assert cli("logs", "done").out == "output\n"
    assert cli("config", "get", "max-retries").out.strip() == "7"


@pytest.mark.parametrize("state", ["pending", "processing", "completed", "failed", "dead"])
def test_list_by_state_from_an_empty_store_is_an_empty_array(cli: Cli, state: str) -> None:
    cli("config", "unset", "lease")  # there is a store
    result = cli("list", "--state", state, "--json")
    assert result.json == []
    assert result.err == ""


def test_list_by_state_holds_every_matching_job(cli: Cli) -> None:
    cli("enqueue", "-", stdin='{"command": "true"}\n' * 2500)
    assert len(cli.json("list", "--state", "pending")) == 2500
    assert cli.json("list", "--state", "completed") == []


def test_200_megabytes_of_output_are_kept_within_the_limit(cli: Cli) -> None:
    cli("config", "set", "output-limit", "1MiB")
    cli("enqueue", '{"id": "big", "command": "yes 0123456789 | head -c 200000000; echo; echo end"}')
    drain(cli)
    found = job(cli, "big")
    assert found["state"] == "completed"
    assert found["history"][0]["output_bytes"] == 200_000_005
    raw = cli("logs", "big", "--raw").out
    assert len(raw) <= 1 << 20
    assert raw[:22] == "0123456789\n0123456789\n"
    assert raw[-5:] == "\nend\n"
    assert raw.count("bytes dropped here, output-limit is 1048576]") == 1
    (log,) = (cli.directory / "logs").rglob("*.log")
    assert log.stat().st_size <= 1 << 20


def test_output_that_is_not_utf8_is_shown_and_kept(cli: Cli) -> None:
    cli("enqueue", r'{"id": "raw", "command": "printf \"\\377ok\\033[31m\\n\""}')
    drain(cli)
    assert job(cli, "raw")["state"] == "completed"
    assert cli("logs", "raw").out == "\\xffok\\x1b[31m\n"


def test_a_job_that_forks_a_daemon_does_not_hold_its_worker(cli: Cli) -> None:
    cli("enqueue", '{"id": "d", "command": "sleep 300 & echo started"}')
    drain(cli)
    assert job(cli, "d")["state"] == "completed"


def test_a_job_without_a_reader_for_a_minute_is_picked_up_at_once(cli: Cli) -> None:
    """No worker sleeps on a timer: a new job wakes it."""
    worker = cli.start("worker", "start")
    eventually(lambda: cli.json("worker", "list"))
    cli("enqueue", '{"id": "now", "command": "true"}')
    eventually(lambda: job(cli, "now")["state"] == "completed")
    worker.terminate()
    worker.communicate(timeout=30)
    assert worker.returncode == 0
