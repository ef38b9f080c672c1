"""The verbs that change: ``cancel``, ``retry``, ``remove``, ``wait``, ``dlq``, ``config``."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuectl_core.queue import Queue

from ..support import Cli, eventually
from .conftest import Here, Terminal
from .test_globals import one_line


def state(here: Here | Cli, ref: str) -> str:
    result = here("show", ref, "--json").json["state"]
    assert isinstance(result, str)
    return result


def outputs(cli: Cli) -> list[str]:
    """The output files of jobs."""
    return sorted(path.name for path in (cli.directory / "logs").rglob("*.*"))


def dead(cli: Cli, *ids: str, code: int = 1) -> None:
    """Enqueue jobs that end in the DLQ."""
    for name in ids:
        cli("enqueue", f"echo {name} says no; exit {code}", "--id", name, "--max-retries", "1")
    cli("worker", "start", "--until-empty", "-q")


def test_cancel_retry_remove(here: Here) -> None:
    here("enqueue", "x", "--id", "one")
    here("enqueue", "y", "--id", "two")
    assert here("cancel", "one", "two", "one").out.split() == ["one", "two"]
    assert state(here, "one") == "cancelled"
    assert here("retry", "one", "--json").json[0]["state"] == "pending"
    assert here("remove", "two").out == "two\n"
    assert "no such job" in one_line(here("show", "two", code=3).err)


@pytest.mark.parametrize(("verb", "good"), [("cancel", "pending"), ("remove", "pending")])
def test_an_unknown_id_leaves_the_others_alone(here: Here, verb: str, good: str) -> None:
    here("enqueue", "x", "--id", "one")
    assert "no such job: 'nope'" in one_line(here(verb, "one", "nope", code=3).err)
    assert state(here, "one") == good


def test_a_wrong_state_leaves_the_others_alone(here: Here) -> None:
    here("enqueue", "x", "--id", "one")
    here("enqueue", "x", "--id", "two")
    here("cancel", "two")
    said = one_line(here("cancel", "one", "two", code=4).err)
    assert "job 'two' is cancelled; cannot cancel it; only " in said
    assert "jobs can be cancelled" in said
    said = one_line(here("retry", "two", "one", code=4).err)
    assert "job 'one' is pending; cannot retry it; only " in said
    assert (state(here, "one"), state(here, "two")) == ("pending", "cancelled")


def test_cancel_by_filter(here: Here) -> None:
    here("enqueue", "x", "--id", "one", "--queue", "mail")
    here("enqueue", "y", "--id", "two", "--queue", "mail")
    here("enqueue", "x", "--id", "three")
    assert "name jobs, or give --all" in one_line(here("cancel", code=2).err)
    assert "not both" in one_line(here("cancel", "one", "--all", code=2).err)
    assert here("cancel", "--queue", "mail", "--search", "y").out == "1 job cancelled\n"
    assert here("cancel", "one", "--json").json[0]["id"] == "one"
    assert [state(here, name) for name in ("one", "two", "three")] == [
        "cancelled",
        "cancelled",
        "pending",
    ]
    assert here("cancel", "--all").out == "1 job cancelled\n"
    assert here("cancel", "--all").out == "0 jobs cancelled\n"


def test_cancel_all_asks_what_runs_to_end(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "touch up; sleep 600", "--id", "long")
    cli("worker", "start", "--detach")
    eventually((tmp_path / "up").exists)
    cli("enqueue", "true", "--id", "later", "--delay", "1h")
    words = ("--state", "processing", "--state", "pending")
    assert cli.json("cancel", "--all", *words) == {"cancelled": 2}
    cli("wait", "--all", "-q", code=1)
    assert state(cli, "long") == state(cli, "later") == "cancelled"


def test_cancel_waits_until_a_running_job_has_ended(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "touch up; sleep 600", "--id", "long")
    cli("worker", "start", "--detach")
    eventually((tmp_path / "up").exists)
    assert cli("cancel", "long").out == "long\n"
    assert state(cli, "long") == "cancelled"
    assert "job 'long' is cancelled" in one_line(cli("cancel", "long", code=4).err)


def test_a_running_job_is_not_removed(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "touch up; sleep 600", "--id", "long")
    cli("worker", "start", "--detach")
    eventually((tmp_path / "up").exists)
    assert "job 'long' is processing" in one_line(cli("remove", "long", code=4).err)


def test_cancel_without_a_live_worker_says_so(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "touch up; sleep 600", "--id", "long")
    worker = cli.start("worker", "start")
    eventually((tmp_path / "up").exists)
    eventually(lambda: state(cli, "long") == "processing")
    worker.kill()
    worker.wait(60)
    assert "no live worker has it" in one_line(cli("cancel", "long").err)


def test_wait(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "good")
    dead(cli, "bad")
    assert cli.json("wait", "good") == {
        "total": 1,
        "completed": 1,
        "dead_or_cancelled": 0,
        "timed_out": False,
    }
    assert "1 of 2 dead, cancelled or removed" in one_line(cli("wait", "good", "bad", code=1).err)
    assert cli("wait", "--all", "-q", code=1).err == ""


def test_wait_for_an_empty_store(here: Here) -> None:
    assert here("wait", "--all").err == ""


def test_wait_notices_the_end(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "until [ -e go ]; do sleep 0.02; done", "--id", "x")
    worker = cli.start("worker", "start", "--until-empty")
    waiter = cli.start("wait", "x")
    eventually(lambda: state(cli, "x") == "processing")
    assert waiter.poll() is None
    (tmp_path / "go").touch()
    assert waiter.wait(60) == 0
    assert worker.wait(60) == 0


def test_wait_times_out(cli: Cli) -> None:
    cli("enqueue", "x", "--id", "x")
    shown = cli("wait", "x", "--timeout", "50ms", code=124)
    assert "no workers are running" in shown.err.splitlines()[0]
    assert "1 of 1 jobs had not ended after 50ms" in shown.err.splitlines()[1]
    assert cli("wait", "x", "--timeout", "0", "--json", code=124).json["timed_out"] is True


@pytest.mark.parametrize("words", [(), ("x", "--all"), ("x", "--timeout", "soon")])
def test_bad_waits(here: Here, words: tuple[str, ...]) -> None:
    here("enqueue", "x", "--id", "x")
    one_line(here("wait", *words, code=2).err)


def test_dlq_retry_by_filter(cli: Cli) -> None:
    dead(cli, "one", "two")
    dead(cli, "three", code=7)
    assert [job["id"] for job in cli.json("dlq", "list")] == ["three", "two", "one"]
    assert [job["id"] for job in cli.json("dlq", "list", "--exit-code", "7")] == ["three"]
    assert cli.json("dlq", "retry", "--all", "--search", "nothing like it") == {"retried": 0}
    assert cli("dlq", "retry", "--all", "--exit-code", "7").out == "1 job retried\n"
    job = cli.json("show", "three")
    assert (job["state"], job["attempts"], len(job["history"])) == ("pending", 0, 1)
    assert cli("dlq", "retry", "one").out == "1 job retried\n"
    assert cli.json("dlq", "retry", "--search", "two says") == {"retried": 1}
    assert cli.json("dlq", "list") == []


def test_dlq_takes_dead_jobs_only(cli: Cli) -> None:
    dead(cli, "one")
    cli("enqueue", "x", "--id", "live")
    for verb in ("retry", "purge"):
        shown = cli("dlq", verb, "one", "live", code=4)
        assert "job 'live' is pending, not in the DLQ" in one_line(shown.err)
        assert "no such job: 'nope'" in one_line(cli("dlq", verb, "one", "nope", code=3).err)
        assert "name jobs, or give --all" in one_line(cli("dlq", verb, code=2).err)
        assert "not both" in one_line(cli("dlq", verb, "one", "--all", code=2).err)
    assert state(cli, "one") == "dead"


@pytest.mark.parametrize("words", [("remove",), ("dlq", "purge")])
def test_nobody_is_asked_so_nothing_is_removed(
    here: Here, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """A job that matches only after the jobs were counted was not part of the question."""

    async def count(*_: object) -> int:
        return 0

    async def remove_all(*_: object) -> int:
        return 1

    monkeypatch.setattr(Queue, "count_range", count)
    monkeypatch.setattr(Queue, "remove_all", remove_all)
    assert here(*words, "--all").out.startswith("0 jobs ")
    assert here(*words, "--all", "-y").out.startswith("1 job ")


def test_purge_needs_a_yes(terminal: Terminal) -> None:
    cli = terminal.cli
    dead(cli, "one", "two")
    assert "needs -y" in one_line(cli("dlq", "purge", "--all", code=2).err)
    shown = terminal("dlq", "purge", "--all", typed="n\n", code=1)
    assert "Remove 2 dead jobs for good" in shown
    assert "nothing purged" in shown
    assert len(cli.json("dlq", "list")) == 2
    assert "needs -y" in one_line(cli("dlq", "purge", "one", code=2).err)
    assert outputs(cli) == ["1.1.log", "2.1.log"]
    assert "1 job purged" in terminal("dlq", "purge", "one", typed="y\n")
    assert outputs(cli) == ["2.1.log"]
    assert cli("dlq", "purge", "--all", "-y").out == "1 job purged\n"
    assert outputs(cli) == []
    assert cli("dlq", "purge", "--all").out == "0 jobs purged\n"  # nothing to ask about
    assert cli.json("list") == []


def test_config(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {row["key"]: row for row in here("config", "list", "--json").json}
    assert found["max-retries"] == {"key": "max-retries", "value": 3, "source": "default"}
    assert here("config", "set", "default_max_retries", "5").out == "5\n"
    assert here("config", "get", "max_retries", "--json").json["source"] == "store"
    assert here("enqueue", "x", "--json").json["max_retries"] == 5
    monkeypatch.setenv("QUEUECTL_MAX_RETRIES", "9")
    shown = here("config", "set", "max-retries", "6")
    assert shown.out == "9\n"
    assert "QUEUECTL_MAX_RETRIES goes first" in one_line(shown.err)
    assert "max-retries\t9\tenv" in here("config", "list").out
    monkeypatch.delenv("QUEUECTL_MAX_RETRIES")
    assert here("config", "unset", "max-retries").out == "3\n"
    assert "no such program on this host" in one_line(here("config", "set", "shell", "/nosh").err)
    assert not here("config", "set", "shell", "/bin/sh").err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("get", "max-retrys"), 3, "did you mean max-retries?"),
        (("set", "leas", "3"), 3, "did you mean lease?"),
        (("unset", "\x1b"), 3, r"'\x1b'"),
        (("set", "lease", "0"), 2, "lease: '0' is not from 2 to 60 seconds"),
        (("set", "max-retries", "many"), 2, "max-retries: 'many' is not a whole number"),
        (("set", "shell", "sh"), 2, "shell: 'sh' is not the absolute path"),
        (("set", "log-level", "debig"), 2, "did you mean debug?"),
        (("set", "timeout"), 2, "VALUE is missing"),
    ],
)
def test_bad_config(here: Here, words: tuple[str, ...], code: int, message: str) -> None:
    assert message in one_line(here("config", *words, code=code).err)
    assert {row["source"] for row in here("config", "list", "--json").json} == {"default"}


def test_a_bad_environment_is_named(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUECTL_LEASE", "long")
    assert "QUEUECTL_LEASE: " in one_line(here("enqueue", "x", code=2).err)


def test_dlq_groups_are_causes_and_can_be_acted_on(cli: Cli) -> None:
    for number in (1, 2, 3):
        command = f"echo no route to 10.0.0.{number}; exit 5"
        cli("enqueue", command, "--id", f"n{number}", "--max-retries", "1")
    dead(cli, "other", code=7)
    groups = cli.json("dlq", "list", "--group")
    assert [(group["count"], group["exit_code"]) for group in groups] == [(3, 5), (1, 7)]
    plain = cli("dlq", "list", "--group").out.splitlines()
    assert plain[0].split("\t") == ["COUNT", "EXIT_CODE", "LAST_DIED_AT", "REASON"]
    assert plain[1].startswith("3\t5\t")
    reason = groups[0]["reason"]
    assert len(cli.json("dlq", "list", "--reason", reason)) == 3
    assert cli.json("dlq", "retry", "--reason", reason) == {"retried": 3}
    assert [job["id"] for job in cli.json("dlq", "list")] == ["other"]
    one_line(cli("dlq", "list", "--group", "--exit-code", "7", code=2).err)


def test_retry_takes_all_that_match(cli: Cli) -> None:
    dead(cli, "d1", "d2")
    cli("enqueue", "true", "--id", "mail", "--queue", "mail")
    cli("cancel", "mail")
    assert cli.json("retry", "--state", "cancelled", "--queue", "lane") == {"retried": 0}
    assert cli.json("retry", "--state", "cancelled,dead", "--search", "d1") == {"retried": 1}
    assert cli("retry", "--all").out == "2 jobs retried\n"
    assert {job["state"] for job in cli.json("list")} == {"pending"}
    assert "name jobs, or give --all" in one_line(cli("retry", code=2).err)
    assert "--all, not both" in one_line(cli("retry", "d1", "--all", code=2).err)
    assert "unknown state" in one_line(cli("retry", "--state", "deed", code=2).err)


def test_retry_asks_before_completed_jobs_run_again(terminal: Terminal) -> None:
    cli = terminal.cli
    cli("enqueue", "true", "--id", "done")
    dead(cli, "bad")
    shown = terminal("retry", "--all", typed="n\n", code=1)
    assert "Run these jobs again: 1 completed, 1 dead?" in shown
    assert "nothing retried" in shown
    assert (state(cli, "done"), state(cli, "bad")) == ("completed", "dead")
    # No question: for failed jobs, for jobs that are named, with -y, and in a pipe.
    assert "1 job retried" in terminal("retry", "--state", "dead")
    assert "Job done runs again." in terminal("retry", "done")
    cli("worker", "start", "--until-empty", "-q")
    assert "1 job retried" in terminal("retry", "--state", "completed", "-y")
    cli("worker", "start", "--until-empty", "-q")
    assert cli("retry", "--all").out == "2 jobs retried\n"


def test_retry_with_another_command(cli: Cli) -> None:
    dead(cli, "d1", "d2")
    assert cli.json("retry", "d1", "--command", "echo fixed")[0]["command"] == "echo fixed"
    cli("worker", "start", "--until-empty", "-q")
    job = cli.json("show", "d1")
    assert (job["state"], len(job["history"])) == ("completed", 2)
    assert cli("logs", "d1").out == "fixed\n"
    one_line(cli("retry", "d1", "d2", "--command", "x", code=2).err)
    one_line(cli("retry", "--all", "--command", "x", code=2).err)
    assert "command is empty" in one_line(cli("retry", "d2", "--command", " ", code=2).err)
    assert state(cli, "d2") == "dead"


def test_remove_all_that_match_asks(terminal: Terminal) -> None:
    cli = terminal.cli
    dead(cli, "d1")
    cli("enqueue", "x", "--id", "p1")
    assert "needs -y" in one_line(cli("remove", "--state", "dead", code=2).err)
    assert "Remove 1 job for good" in terminal("remove", "--state", "dead", typed="n\n", code=1)
    assert state(cli, "d1") == "dead"
    assert outputs(cli) == ["1.1.log"]
    assert cli("remove", "--state", "dead", "-y").out == "1 job removed\n"
    assert outputs(cli) == []
    assert [job["id"] for job in cli.json("list")] == ["p1"]
    assert cli.json("remove", "--all", "-y") == {"removed": 1}
    assert cli.json("remove", "--state", "processing", "-y") == {"removed": 0}
