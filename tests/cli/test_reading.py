"""The verbs that only read: ``list``, ``show``, ``logs``, ``status``, ``stats``."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from ..support import Cli, eventually
from .conftest import Here, Terminal
from .test_globals import one_line

HOSTILE = "printf '\x1b]52;c;x\x07' '[/x] [@click=app.quit]y[/]' \u202e\tz\nnext"


def test_an_empty_store(here: Here) -> None:
    assert here("list", "--json").json == []
    assert here("list", "--state", "dead", "--json").json == []
    assert here("list").out.startswith("ID\tSTATE\t")
    assert here("worker", "list", "--json").json == []
    assert here("dlq", "list", "--json").json == []
    assert here("status", "--json").json["total"] == 0
    assert here("stats", "--json").json["success_rate"] is None


def test_list_filters(here: Here) -> None:
    here("enqueue", "alpha", "--id", "a", "--queue", "mail")
    here("enqueue", "beta", "--id", "b")
    here("enqueue", "gamma", "--id", "c")
    here("cancel", "c")

    def ids(*words: str) -> list[str]:
        return [job["id"] for job in here("list", "--json", *words).json]

    assert ids() == ["c", "b", "a"]
    assert ids("--state", "pending") == ["b", "a"]
    assert ids("--state", "pending", "--state", "cancelled") == ["c", "b", "a"]
    assert ids("--state", "pending,cancelled") == ["c", "b", "a"]
    assert ids("--queue", "mail") == ["a"]
    assert ids("--search", "ET") == ["b"]
    assert ids("--limit", "2") == ["c", "b"]
    assert ids("--limit", "0") == []
    shown = here("list", "--state", "ded", code=2)
    assert "unknown state 'ded'; did you mean dead?" in one_line(shown.err)


def test_values_of_env_are_shown_only_when_asked_for(here: Here, tmp_path: Path) -> None:
    secret = "s3cret-value"
    made = here("enqueue", "true", "--id", "a", "--env", f"TOKEN={secret}", "--json")
    verbs = (("list",), ("list", "--json"), ("show", "a"), ("show", "a", "--json"), ("status",))
    shown = [made, *(here(*words) for words in verbs), here("cancel", "a", "--json")]
    assert not any(secret in result.out + result.err for result in shown)
    assert "TOKEN" in here("show", "a").out
    assert here("show", "a", "--json").json["env"] == {"TOKEN": "***"}
    assert here("show", "a", "--json", "--show-env").json["env"] == {"TOKEN": secret}
    assert f'"{secret}"' in here("show", "a", "--show-env").out

    masked, whole = here("list", "--json").out, here("list", "--json", "--show-env").out
    other = ("--store", tmp_path / "other.db", "enqueue")
    assert "env TOKEN is masked" in here(*other, masked, code=2).err
    here(*other, whole)
    again = here("--store", tmp_path / "other.db", "show", "a", "--json", "--show-env").json
    assert again["env"] == {"TOKEN": secret}


def test_list_is_all_of_them_in_a_pipe(cli: Cli) -> None:
    cli("enqueue", "-", stdin='{"command":"x"}\n' * 2345)
    assert len(cli.json("list")) == 2345
    assert len(cli("list").out.splitlines()) == 2346
    assert len(cli("list", "-q").out.splitlines()) == 2345


def test_plain_lists_are_stable_to_parse(here: Here) -> None:
    here("enqueue", HOSTILE, "--id", "bad")
    header, row = here("list").out.splitlines()
    cells = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert cells["ID"] == "bad"
    assert cells["EXIT_CODE"] == "-"
    assert cells["COMMAND"] == (
        r"printf '\x1b]52;c;x\x07' '[/x] [@click=app.quit]y[/]' \u202e\tz\nnext"
    )


def test_json_is_safe_for_a_terminal(here: Here) -> None:
    here("enqueue", HOSTILE, "--id", "bad")
    for words in (("list", "--json"), ("show", "bad", "--json")):
        assert here(*words).out.isascii()
        assert "\x1b" not in here(*words).out
    assert here("show", "bad", "--json").json["command"] == HOSTILE


def test_nothing_hostile_reaches_a_terminal(terminal: Terminal) -> None:
    terminal.cli("enqueue", HOSTILE, "--id", "bad", "--env", "A=\x1b[2J")
    for words in (("list",), ("show", "bad"), ("status",)):
        shown = terminal(*words, columns=200)
        assert "\x1b]52" not in shown
        assert "\x1b[2J" not in shown
        assert "\u202e" not in shown
        if words != ("status",):
            assert "[/x] [@click=app.quit]y[/]" in shown


def test_a_terminal_gets_the_newest_fifty(terminal: Terminal) -> None:
    lines = "".join(f'{{"id":"job-{n:03}","command":"x"}}\n' for n in range(60))
    terminal.cli("enqueue", "-", stdin=lines)
    shown = terminal("list")
    assert "job-059" in shown
    assert "job-010" in shown
    assert "job-009" not in shown
    assert "10 more" in shown
    assert "job-000" in terminal("list", "--limit", "60")
    assert len(json.loads(terminal("list", "--json"))) == 60
    assert "COMMAND" in shown
    assert "COMMAND" not in terminal("list", "--quiet")
    assert "no jobs match" in terminal("list", "--state", "dead")


def test_show(here: Here) -> None:
    here("enqueue", "echo hi", "--id", "abcdef")
    job = here("show", "abc", "--json").json
    assert (job["id"], job["state"], job["history"]) == ("abcdef", "pending", [])
    fields = dict(line.split("\t") for line in here("show", "abc").out.splitlines())
    assert fields["command"] == "echo hi"
    assert fields["exit_code"] == "-"


def test_a_prefix_of_two_ids_is_a_conflict(here: Here) -> None:
    here("enqueue", '[{"id":"job-1","command":"x"},{"id":"job-2","command":"x"}]')
    assert "'job-' starts several ids" in one_line(here("show", "job-", code=4).err)
    assert "no such job: 'nope'" in one_line(here("show", "nope", code=3).err)


def finished(cli: Cli, command: str, *words: str) -> None:
    """Enqueue a job with id ``x`` and run it to its end."""
    cli("enqueue", command, "--id", "x", "--max-retries", "1", *words)
    cli("worker", "start", "--until-empty", "-q")


def test_logs(cli: Cli) -> None:
    finished(cli, r"printf 'one\ntwo\033[31m\r\nthr\351e\n'; exit 3")
    assert cli("logs", "x").out == "one\ntwo\\x1b[31m\nthr\\xe9e\n"
    assert cli("logs", "x", "--tail", "1").out == "thr\\xe9e\n"
    assert cli("logs", "x", "--attempt", "1", "--tail", "0").out == ""
    found = cli.json("logs", "x")
    assert found["output"] == "one\ntwo\\x1b[31m\nthr\\xe9e\n"
    assert (found["attempt"], found["complete"], found["running"]) == (1, True, False)
    assert "has no attempt 2" in one_line(cli("logs", "x", "--attempt", "2", code=3).err)
    attempt = cli.json("show", "x")["history"][0]
    assert (attempt["exit_code"], attempt["outcome"]) == (3, "failed")
    assert "exit 3" in cli("show", "x").out
    assert "exit 3" in cli("dlq", "list").out


def test_raw_logs_are_the_bytes(cli: Cli, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    (tmp_path / "data").write_bytes(data)
    finished(cli, "cat data")
    process = cli.start("logs", "x", "--raw")
    assert process.stdout is not None
    assert process.stdout.buffer.read() == data
    assert process.wait(60) == 0


def test_logs_before_the_first_attempt(here: Here) -> None:
    here("enqueue", "x", "--id", "x")
    shown = here("logs", "x")
    assert shown.out == ""
    assert "has not run yet" in one_line(shown.err)
    assert here("logs", "x", "--json").json["output"] == ""


def test_logs_when_the_file_is_gone_are_the_stored_tail(cli: Cli, store_path: Path) -> None:
    finished(cli, "seq 1 50000")
    for path in store_path.with_name(store_path.name + ".d").glob("logs/*/*"):
        path.unlink()
    shown = cli("logs", "x")
    assert "not on this host" in one_line(shown.err)
    assert shown.out.endswith("\n49999\n50000\n")
    assert cli.json("logs", "x")["complete"] is False


def test_logs_follow_all_attempts_until_the_job_has_ended(cli: Cli, tmp_path: Path) -> None:
    words = ("--max-retries", "2", "--backoff-base", "0")
    cli("enqueue", "echo begun; until [ -e go ]; do sleep 0.02; done; exit 1", *words, "--id", "x")
    follower = cli.start("logs", "x", "--follow")
    assert follower.stderr is not None
    assert follower.stdout is not None
    assert "waiting for the job to start" in follower.stderr.readline()
    worker = cli.start("worker", "start", "--until-empty", "-q")
    assert follower.stdout.readline() == "begun\n"  # the job is still running
    assert cli.json("show", "x")["state"] == "processing"
    (tmp_path / "go").touch()
    out, err = follower.communicate(timeout=60)
    assert out == "begun\n"
    assert "attempt 2:" in err
    assert follower.returncode == 0
    assert worker.wait(60) == 0


def test_follow_ends_at_once_for_a_job_that_has(cli: Cli) -> None:
    finished(cli, "echo all")
    assert cli("logs", "-f", "x").out == "all\n"


def test_status(cli: Cli, tmp_path: Path) -> None:
    until = "until [ -e go ]; do sleep 0.02; done"
    cli("enqueue", until, "--id", "busy")
    cli("enqueue", until, "--id", "waiting", "--queue", "other")
    cli("worker", "start", "--detach", "--queue", "default")
    eventually(lambda: cli.json("status")["jobs"]["processing"] == 1)
    found = cli.json("status")
    assert found["jobs"]["pending"] == 1
    assert found["oldest_waiting_seconds"] >= 0
    (worker,) = found["workers"]
    assert (worker["state"], worker["job"]) == ("busy", "busy")
    lines = [line.split("\t") for line in cli("status").out.splitlines()]
    assert ["pending", "1"] in lines
    assert [line[1:4] for line in lines if line[0] == "worker"] == [[worker["id"], "busy", "busy"]]
    (tmp_path / "go").touch()


def test_status_watch_in_a_pipe_says_what_changes(cli: Cli) -> None:
    cli("config", "unset", "lease")
    watcher = cli.start("status", "--watch")
    assert watcher.stdout is not None
    assert watcher.stdout.readline().startswith("TIME\tPENDING\t")
    assert watcher.stdout.readline().split("\t")[1:] == ["0"] * 7 + ["0\n"]
    cli("enqueue", "x")
    assert watcher.stdout.readline().split("\t")[1] == "1"
    watcher.send_signal(signal.SIGINT)
    assert watcher.wait(60) == 130


def test_status_watch_at_a_terminal_draws_over_itself(terminal: Terminal) -> None:
    process, ours = terminal.start("status", "--watch")
    shown = b""
    while b"pending" not in shown:
        shown += os.read(ours, 65536)
    terminal.cli("enqueue", "x")
    while b"start some" not in shown:
        shown += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    assert b"\x1b[H" in shown
    terminal.read(ours)
    assert process.wait(60) == 130


@pytest.mark.parametrize(
    "words", [("status", "--watch", "--json"), ("logs", "x", "--raw", "--json")]
)
def test_json_is_one_document_or_refused(here: Here, words: tuple[str, ...]) -> None:
    assert "--json" in one_line(here(*words, code=2).err)


def test_stats(cli: Cli) -> None:
    finished(cli, "exit 1")
    cli("enqueue", "true")
    cli("worker", "start", "--until-empty", "-q")
    found = cli.json("stats", "--since", "10m")
    assert (found["completed"], found["failed"], found["dead"]) == (1, 1, 1)
    assert found["success_rate"] == 0.5
    assert set(found["run_time"]) == {"avg", "min", "max", "p50", "p95", "p99", "count"}
    rows = dict(line.split("\t") for line in cli("stats").out.splitlines())
    assert rows["success_rate"] == "0.5000"
    assert float(rows["run_time.p99"]) > 0
    assert (rows["exact"], found["exact"]) == ("yes", True)
    cli("prune", "--older-than", "0")
    pruned = dict(line.split("\t") for line in cli("stats").out.splitlines())
    assert (pruned["exact"], pruned["completed"], pruned["dead"]) == ("no", "1", "1")
    assert pruned["since"].endswith(":00.000Z")
    assert "--since" in one_line(cli("stats", "--since", "0", code=2).err)


def test_stats_say_when_they_are_not_exact(terminal: Terminal) -> None:
    terminal.cli("enqueue", "true")
    terminal.cli("worker", "start", "--until-empty", "-q")
    assert "last 1h" in terminal("stats", columns=200)
    terminal.cli("prune", "--older-than", "0")
    shown = terminal("stats", columns=200)
    assert "success 100.0%" in shown
    assert "00.000Z, percentiles within 1%" in shown
