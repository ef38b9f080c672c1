"""``queuectl enqueue``: all ways to give jobs, and that a refused line changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.times import format_time

from ..support import Cli
from .conftest import Here, Terminal
from .test_globals import one_line


def jobs(here: Here) -> list[dict[str, Any]]:
    """All jobs, in order of arrival."""
    found: list[dict[str, Any]] = here("list", "--json").json
    return found[::-1]


def test_a_command_string(here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shown = here("enqueue", "echo 'a b' | cat")
    (job,) = jobs(here)
    assert shown.out == f"{job['id']}\n"
    assert not shown.err
    assert job["command"] == "echo 'a b' | cat"
    assert (job["state"], job["cwd"], job["queue"]) == ("pending", str(tmp_path), "default")


def test_an_argv(here: Here) -> None:
    here("enqueue", "--id", "one", "--", "printf", "%s", "-x", "--", "{")
    (job,) = jobs(here)
    assert job["command"] == ["printf", "%s", "-x", "--", "{"]


def test_json_objects_and_arrays(here: Here) -> None:
    here("enqueue", ' {"id": "a", "command": "x"}', '[{"id":"b","command":["y"]}]', "z z")
    assert [job["command"] for job in jobs(here)] == ["x", ["y"], "z z"]
    assert here("enqueue", "[]").err == "queuectl: no jobs given; nothing enqueued\n"


def test_json_answers(here: Here) -> None:
    assert here("enqueue", "--json", "x").json["command"] == "x"
    assert [job["command"] for job in here("enqueue", "--json", "x x", "y").json] == ["x x", "y"]
    assert here("enqueue", "--json", "[]").json == []


def test_options_set_every_field(here: Here) -> None:
    words = (
        *("--id", "full", "--max-retries", "7", "--backoff-base", "1.5", "-p", "-4"),
        *("--run-at", "2030-01-31T10:00:00+01:00", "--timeout", "1h30m", "--cwd", "/tmp/../usr"),
        *("--env", "A=1", "--env", "B=x=y", "--queue", "mail"),
        *("--nice", "3", "--memory-limit", "512MiB", "--cpu-seconds", "2m", "--output-limit", "1M"),
    )
    here("enqueue", *words, "true")
    (job,) = here("list", "--json", "--show-env").json
    expected = {
        "id": "full",
        "max_retries": 7,
        "backoff_base": 1.5,
        "priority": -4,
        "run_at": "2030-01-31T09:00:00.000Z",
        "timeout_seconds": 5400,
        "cwd": "/usr",
        "env": {"A": "1", "B": "x=y"},
        "queue": "mail",
        "nice": 3,
        "memory_limit": 512 << 20,
        "cpu_seconds": 120,
        "output_limit": 1 << 20,
    }
    assert {name: job[name] for name in expected} == expected


def test_options_win_over_json(here: Here) -> None:
    source = {"command": "x", "timeout": 5, "maxRetries": 1, "runAt": "+5s", "env": {"A": "0"}}
    words = ("--timeout", "9", "--max-retries", "8", "--run-at", "1900000000", "--env", "B=1")
    here("enqueue", json.dumps(source), *words)
    (job,) = here("list", "--json", "--show-env").json
    assert (job["timeout_seconds"], job["max_retries"]) == (9, 8)
    assert job["run_at"] == format_time(1_900_000_000)
    assert job["env"] == {"A": "0", "B": "1"}


def test_delay(here: Here) -> None:
    job = here("enqueue", "x", "--delay", "1h", "--json").json
    assert job["run_at"] > job["created_at"]


def test_a_local_time_is_said_in_utc(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = here("enqueue", "x", "--run-at", "2030-01-01T00:00:00")
    (job,) = jobs(here)
    assert job["run_at"] in one_line(shown.err)


def test_output_fields_are_ignored_with_a_note(here: Here, tmp_path: Path) -> None:
    here("enqueue", "x", "--id", "x", "--json")
    listed = here("list", "--json").out
    file = tmp_path / "jobs.json"
    file.write_text(listed)
    other = tmp_path / "other.db"
    shown = here("enqueue", "--file", file, "--store", other)
    assert "ignored" in one_line(shown.err)
    assert "attempts" in shown.err
    assert shown.out == "x\n"
    show = here("show", "x", "--json").out
    assert "ignored" in here("enqueue", show, "--store", tmp_path / "third.db").err


def test_several_words_are_probably_one_command(here: Here) -> None:
    shown = here("enqueue", "echo", "hello", code=2)
    assert "for one command, type: queuectl enqueue 'echo hello'" in one_line(shown.err)
    assert jobs(here) == []


BAD = [
    ("{", "not valid JSON"),
    ('{"command": "x"', "not valid JSON"),
    ("[1]", "job objects only"),
    ('["ls", "-l"]', "enqueue -- CMD ARG"),
    ("{}", "command is missing"),
    ('{"id": "x"}', "command is missing"),
    ('{"comand": "x"}', "did you mean command?"),
    ('{"command": "x", "command": "y"}', "given twice"),
    ('{"command": 5}', "must be text"),
    ('{"command": ""}', "is empty"),
    ('{"command": []}', "empty list"),
    ('{"command": "x", "max_retries": -1}', "from 0 to"),
    ('{"command": "x", "max_retries": 1e300}', "max_retries"),
    ('{"command": "x", "max_retries": 1.5}', "whole number"),
    ('{"command": "x", "max_retries": "3"}', "not text"),
    ('{"command": "x", "priority": true}', "not true or false"),
    ('{"command": "x", "backoff_base": NaN}', "NaN"),
    ('{"command": "x", "timeout": -Infinity}', "Infinity"),
    ('{"command": "x", "run_at": 99999999999999}', "out of range"),
    ('{"command": "x", "run_at": "soon"}', "not a time"),
    ('{"command": "x\\u0000y"}', "NUL"),
    ('{"command": "x", "id": "a\\nb"}', r"'a\nb'"),
    ('{"command": "x", "id": "-a"}', "not allowed"),
    ('{"command": "x", "env": {"A": 1}}', "env A must be text"),
    ('{"command": "x", "queue": "a b"}', "queue 'a b'"),
    ("[" * 100_000, "nested too deeply"),
    ("", "is empty"),
]


@pytest.mark.parametrize(("source", "message"), BAD, ids=[source[:40] for source, _ in BAD])
def test_bad_jobs_are_one_line_and_change_nothing(here: Here, source: str, message: str) -> None:
    shown = here("enqueue", "true", source, code=2)
    assert message in one_line(shown.err)
    assert not shown.out
    assert jobs(here) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("x", "--priority", "high"), "--priority: 'high' is not a number"),
        (("x", "--timeout", "-5"), "--timeout: not a duration: '-5'"),
        (("x", "--delay", "soon"), "--delay: not a duration"),
        (("x", "--delay", "1s", "--run-at", "+1s"), "give one of them"),
        (("x", "--env", "A"), "not K=V"),
        (("x", "--env", "=1"), "not K=V"),
        (("x", "--cwd", ""), "cwd is empty"),
        (("x 1", "y", "--id", "a"), "--id is for one job"),
        (("ls", "-l"), "type: queuectl enqueue -- ls -l"),
        (("x", "-"), "read jobs from one place"),
        (("x", "--file", "f"), "read jobs from one place"),
        (("x", "--", "y"), "the whole command after --"),
        (("--",), "no command after --"),
        (("--file", "no/such"), "cannot read 'no/such': No such file"),
        (("--file", "."), "Is a directory"),
        (("--file", "a\x1bb"), r"cannot read 'a\x1bb'"),
        ((), "give a job"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_options(here: Here, words: tuple[str, ...], message: str) -> None:
    shown = here("enqueue", *words, code=2)
    assert message in one_line(shown.err)
    assert jobs(here) == []


def test_a_taken_id_is_a_conflict(here: Here) -> None:
    here("enqueue", "x", "--id", "taken")
    shown = here("enqueue", "y", '{"id": "taken", "command": "z"}', code=4)
    assert "id 'taken' is taken" in one_line(shown.err)
    assert len(jobs(here)) == 1


def test_json_lines(cli: Cli) -> None:
    lines = [json.dumps({"id": f"job-{n}", "command": f"echo {n}"}) for n in range(2500)]
    shown = cli("enqueue", "-", stdin="\n\n" + "\r\n".join(lines))
    assert shown.out.split() == [f"job-{n}" for n in range(2500)]
    assert not shown.err
    assert [job["id"] for job in cli.json("list")] == [f"job-{n}" for n in range(2500)][::-1]


@pytest.mark.parametrize("text", ['[{"id":"a","command":"x"},\n {"id":"b","command":"y"}]\n'])
def test_an_array_on_stdin(cli: Cli, text: str) -> None:
    assert [job["id"] for job in cli.json("enqueue", "-", stdin=text)] == ["a", "b"]


def test_one_line_answers_an_object(cli: Cli) -> None:
    found = cli.json("enqueue", "-", stdin=b'\xef\xbb\xbf{"command":"from an editor"}\r\n')
    assert found["command"] == "from an editor"


def test_no_lines(cli: Cli) -> None:
    shown = cli("enqueue", "-", "--json", stdin="\n \n")
    assert shown.json == []
    assert "holds no jobs" in one_line(shown.err)


def test_every_bad_line_is_named_and_nothing_is_enqueued(cli: Cli) -> None:
    lines: list[bytes] = [b'{"command": "x"}'] * 3000
    bad = {
        2: (b"{", "not valid JSON"),
        7: (b"", ""),
        1500: (b'"text"', "a job is a JSON object"),
        1501: (b"[]", "a job is a JSON object"),
        1502: (b"42", "a job is a JSON object"),
        2000: (b'{"command": "\xff"}', "not UTF-8"),
        2500: (b'{"command": "a\\u0000b"}', "NUL"),
        2998: (b'{"command": "' + b"x" * 2_000_000 + b'"}', "2,000,000 bytes"),
        2999: (b'{"command": NaN}', "NaN"),
    }
    for number, (line, _) in bad.items():
        lines[number - 1] = line
    shown = cli("enqueue", "-", stdin=b"\n".join(lines), code=2)
    said = shown.err.splitlines()
    expected = [(number, why) for number, (_, why) in bad.items() if why]
    assert len(said) == len(expected) + 1
    for line, (number, why) in zip(said, expected, strict=False):
        assert line.startswith(f"queuectl: error: line {number}: ")
        assert why in line
    assert said[-1].startswith(f"queuectl: error: nothing enqueued: {len(expected)} bad lines")
    assert cli.json("list") == []


def test_many_bad_lines_are_counted(cli: Cli) -> None:
    said = cli("enqueue", "-", stdin="{\n" * 1234, code=2).err.splitlines()
    assert len(said) == 22
    assert said[-2] == "queuectl: error: 1,214 more bad lines"
    assert "1234 bad lines" in said[-1]


def test_ids_given_twice_or_taken(cli: Cli) -> None:
    twice = '{"id":"a","command":"x"}\n{"command":"y"}\n{"id":"a","command":"z"}\n'
    shown = cli("enqueue", "-", stdin=twice, code=2)
    assert shown.err.startswith("queuectl: error: line 3: id 'a' is given twice (first on line 1)")
    cli("enqueue", "x", "--id", "b")
    shown = cli("enqueue", "-", stdin='{"command":"y"}\n{"id":"b","command":"z"}\n', code=4)
    assert "line 2: id 'b' is taken" in one_line(shown.err)
    assert len(cli.json("list")) == 1


def test_options_for_a_whole_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"command":"x"}\n{"command":"y","queue":"z","env":{"A":"1"}}\n')
    cli("enqueue", "--file", file, "--queue", "bulk", "--env", "B=2", "--delay", "1h")
    found = cli.json("list", "--show-env")
    assert {job["queue"] for job in found} == {"bulk"}
    assert [job["env"] for job in found] == [{"A": "1", "B": "2"}, {"B": "2"}]
    shown = cli("enqueue", "--file", file, "--id", "one", code=2)
    assert "--id is for one job" in one_line(shown.err)


def test_at_a_terminal(terminal: Terminal, tmp_path: Path) -> None:
    shown = terminal("enqueue", "echo [bold]hi[/bold] [/x]", "--id", "pretty")
    assert "pretty" in shown
    assert "echo [bold]hi[/bold] [/x]" in shown
    assert "pending" in shown
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"command":"x"}\n' * 30)
    shown = terminal("enqueue", "--file", file)
    assert "30 jobs enqueued" in shown
    assert "━" in shown
