"""What jobs write, with real processes: through a pipe, within the limit, from left processes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.support import Cli, eventually, marked


def drain(cli: Cli, count: int = 1) -> None:
    """Workers in the foreground until the queue is empty."""
    cli("worker", "start", "--count", str(count), "--until-empty", timeout=120)


def attempt(cli: Cli, ref: str) -> dict[str, Any]:
    """A job's last attempt, as ``show --json`` tells it."""
    found: dict[str, Any] = cli.json("show", ref)["history"][-1]
    return found


def add(cli: Cli, ref: str, command: str, *options: str) -> None:
    cli("enqueue", json.dumps({"id": ref, "command": command}), *options)


def output_file(cli: Cli, number: int = 1) -> Path:
    """The file of the first attempt of the job ``number``."""
    return cli.directory / f"logs/0/{number}.1.log"


def test_a_job_may_open_its_standard_streams_anew(cli: Cli) -> None:
    add(cli, "a", "echo one; echo two > /dev/stderr; echo three | tee /dev/stderr; "
        "echo four > /dev/stdout; echo five >&2; echo six")  # fmt: skip
    drain(cli)
    assert cli("logs", "a").out == "one\ntwo\nthree\nthree\nfour\nfive\nsix\n"


def test_bytes_are_kept_as_they_are(cli: Cli) -> None:
    add(cli, "a", r"printf 'a\377\376\000b\r\n'; sleep 0.05; printf '\303'; printf '\251'")
    drain(cli)
    assert output_file(cli).read_bytes() == b"a\xff\xfe\0b\r\n\xc3\xa9"
    assert attempt(cli, "a")["output_bytes"] == 9


def test_a_running_job_past_its_limit_shows_head_mark_and_end(cli: Cli) -> None:
    command = (
        "echo begin; seq 1 200000; touch printed; until [ -e go ]; do sleep 0.02; done; echo over"
    )
    add(cli, "a", command, "--output-limit", "128K")
    worker = cli.start("worker", "start", "--until-empty")
    try:
        eventually((cli.cwd / "printed").exists)
        eventually(lambda: cli("logs", "a", "--tail", "1").out == "200000\n")
        followers = [
            cli.start("logs", "a", "--follow", *options)
            for options in ((), ("--tail", "2"), ("--tail", "2", "--timestamps"), ("--json",))
        ]
        found = cli("logs", "a")
        assert found.out.startswith("begin\n1\n2\n")
        assert found.out.endswith("\n200000\n")
        assert "[queuectl: bytes dropped here, output-limit is 131072]\n" in found.out
        assert "\0" not in found.out
        assert "^@" not in found.out
        assert len(found.out) < 600_000
        assert re.search(r"\d+ bytes were dropped", found.err)
        document = cli.json("logs", "a", "--tail", "1")
        assert (document["output"], document["running"]) == ("200000\n", True)
        shown = followers[0].stdout
        assert shown is not None
        seen = list(iter(shown.readline, "200000\n"))  # it has read all that there is
    finally:
        (cli.cwd / "go").touch()
    whole, tail, stamped, text = [follower.communicate(timeout=30)[0] for follower in followers]
    assert worker.wait(30) == 0
    assert whole == "over\n"
    assert seen[:2] == ["begin\n", "1\n"]
    assert sum("bytes dropped here" in line for line in seen) == 1
    assert not any("\0" in line or "^@" in line for line in seen)
    plain = "".join(line.split(" ", 1)[1] for line in stamped.splitlines(keepends=True))
    for shown_lines in (tail, plain):  # one that begins late has "over" among its two lines
        assert shown_lines in ("199999\n200000\nover\n", "200000\nover\n")
    assert json.loads(text)["output"].endswith("\n200000\nover\n")
    assert json.loads(text)["running"] is False


def test_a_job_that_waits_has_no_output_yet(cli: Cli) -> None:
    add(cli, "a", "echo said")
    found = cli("logs", "a")
    assert found.out == ""
    assert "has not run yet" in found.err
    document = cli.json("logs", "a")
    assert (document["output"], document["bytes"], document["running"]) == ("", 0, False)
    assert (document["attempt"], document["complete"]) == (None, True)
    assert "not on this host" not in cli("logs", "a", "--json").err
    follower = cli.start("logs", "a", "--follow")
    drain(cli)
    assert follower.communicate(timeout=30)[0] == "said\n"


def test_what_a_daemon_writes_has_the_limit_once_more(cli: Cli) -> None:
    add(cli, "a", "head -c 50000 /dev/zero | tr '\\0' x; (sleep 0.3; yes late) & echo $! > pid",
        "--output-limit", "64K")  # fmt: skip
    drain(cli)
    path = output_file(cli)
    eventually(lambda: b"bytes dropped here" in path.read_bytes())
    kept = path.read_bytes()
    assert kept.startswith(b"x" * 50000 + b"late\n")
    assert len(kept) <= 50000 + 65536 + 100
    size = path.stat().st_size
    for process in marked(cli.token):
        if process.name() == "yes":
            process.kill()
    assert path.stat().st_size == size
    assert attempt(cli, "a")["output_bytes"] == 50000
