"""What jobs get and report, on the command line."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from queuectl_core.domain.model import Worker
from queuectl_core.queue import Queue
from queuectl_tui.console.widgets.strips import fit, lay_out
from queuectl_tui.presentation.columns import table
from queuectl_tui.presentation.jobs import JOB_COLUMNS
from queuectl_tui.presentation.workers import console_columns

from ..store.tools import claim, hired
from ..supervisor.conftest import queue as queue  # noqa: PLC0414 - a fixture
from ..support import NOW, Cli


def test_input_and_secrets_are_given_and_exported(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes("a\0ü\n".encode())
    words = ("enqueue", "--stdin", "in", "--secret", "A=file:s", "--secret", "B=file:/b", "cat")
    made = cli.json(*words)
    assert made["stdin"] == "a\0ü\n"
    assert made["secrets"] == {"A": f"file:{tmp_path}/s", "B": "file:/b"}
    listed = cli("list", "--json", "--show-env").out
    again = cli.json("enqueue", "-", stdin=json.dumps(json.loads(listed)[0] | {"id": "again"}))
    assert {name: again[name] for name in ("stdin", "secrets")} == {
        name: made[name] for name in ("stdin", "secrets")
    }
    assert cli.json("hold", "again")[0]["stdin"] == "a\0ü\n"
    shown = dict(line.split("\t", 1) for line in cli("show", "again").out.splitlines())
    assert shown["stdin"] == "a\\x00ü\\n"


def test_standard_input_of_enqueue_is_that_of_the_job(cli: Cli) -> None:
    assert cli.json("enqueue", "--stdin", "-", "cat", stdin="from here")["stdin"] == "from here"
    several = cli.json("enqueue", "--stdin", "-", "cat -", "wc -", stdin="both")
    assert [job["stdin"] for job in several] == ["both", "both"]


@pytest.mark.parametrize(
    ("words", "stdin", "code", "said"),
    [
        (["--stdin", "-", "-"], b'{"command":"x"}', 2, "standard input has the jobs"),
        (["--stdin", "-", "--file", "-"], b"", 2, "standard input has the jobs"),
        (["--stdin", "nothing", "x"], b"", 2, "cannot read 'nothing': No such file"),
        (["--stdin", ".", "x"], b"", 2, "cannot read '.': Is a directory"),
        (["--stdin", "-", "x"], b"\xff", 2, "is not valid UTF-8"),
        (["--stdin", "-", "x"], b"large", 2, "more than 1,048,576 bytes"),
        (["--secret", "A", "x"], b"", 2, "'A' is not NAME=file:PATH"),
        (["--secret", "A=/x", "x"], b"", 2, "secrets A must be file:PATH"),
        (["--secret", "A=file:~/x", "x"], b"", 2, "~ is not replaced"),
        (["--secret", "A-B=file:x", "x"], b"", 2, "'A-B' is not the name of a variable"),
        (["--secret", "QUEUECTL_JOB_ID=file:x", "x"], b"", 2, "is set by queuectl itself"),
        (["--secret", "A=file:x", "--env", "A=1", "x"], b"", 2, "'A' is in env and in secrets"),
    ],
)
def test_a_wrong_input_or_secret_is_refused(
    cli: Cli, words: list[str], stdin: bytes, code: int, said: str
) -> None:
    stdin = b"x" * ((1 << 20) + 1) if stdin == b"large" else stdin
    refused = cli("enqueue", *words, stdin=stdin, code=code)
    assert said in refused.err
    assert refused.err.count("\n") == 1
    assert not Path(cli.store).exists() or cli.json("list") == []


def test_progress_is_written_for_the_supervisor(cli: Cli, tmp_path: Path) -> None:
    place = tmp_path / "progress"
    env = {"QUEUECTL_PROGRESS": str(place)}
    cli("progress", "40.5", "part", "3 of\n7 \x1b[31m", env=env)
    assert place.read_text() == "40.5 part 3 of\\n7 \\x1b[31m\n"
    cli("progress", "100%", env=env)
    assert place.read_text() == "100\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["progress"]
    assert not Path(cli.store).exists(), "it opens no store"


@pytest.mark.parametrize("percent", ["101", "x", "1e1", "nan", "", "٤", "1_0", "0040"])
def test_a_bad_percentage_is_refused(cli: Cli, tmp_path: Path, percent: str) -> None:
    place = tmp_path / "progress"
    refused = cli("progress", percent, env={"QUEUECTL_PROGRESS": str(place)}, code=2)
    assert refused.err.count("\n") == 1
    assert not place.exists()


def test_progress_replaces_nothing_but_a_file(cli: Cli, tmp_path: Path) -> None:
    place = tmp_path / "device"
    os.mkfifo(place)
    refused = cli("progress", "40", env={"QUEUECTL_PROGRESS": str(place)}, code=5)
    assert "it is not a regular file" in refused.err
    assert stat.S_ISFIFO(place.lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["device"]


def test_progress_outside_of_a_job_is_refused(cli: Cli, tmp_path: Path) -> None:
    refused = cli("progress", "40", env={"QUEUECTL_PROGRESS": ""}, code=2)
    assert "this is not a job of queuectl" in refused.err
    gone = cli("progress", "40", env={"QUEUECTL_PROGRESS": str(tmp_path / "a" / "b")}, code=5)
    assert "No such file or directory" in gone.err


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_console_shows_the_percentage_at_any_width(width: int) -> None:
    busy = Worker(
        id="k3f9-1", supervisor="k3f9", host="host", pid=7, detached=False, queues=(),
        state="busy", job="import-it", job_started_at=NOW - 60, done=1, failed=0,
        started_at=NOW, heartbeat_at=NOW, job_pid=8, cpu_percent=None, memory=None,
        progress=20, progress_text="part three of what is a long list of very many parts",
    )  # fmt: skip
    laid = [column.name for column, _ in lay_out(console_columns([busy]), width)]
    assert {"id", "state", "job", "progress"} <= set(laid)
    cells = {
        column.name: fit(column.cell(busy, NOW)[0], cells)
        for column, cells in lay_out(console_columns([busy]), width)
    }
    assert cells["progress"].startswith("20%")


async def test_show_counts_the_attempt_that_runs_as_lists_do(queue: Queue) -> None:
    await hired(queue.store, "s")
    [job] = await queue.enqueue(["true"])
    [running] = await claim(queue.store, "s", 1, now=queue.clock())
    [attempts] = [column for column in table(JOB_COLUMNS, "show") if column.name == "attempts"]
    assert attempts.value(job, NOW) == "0 of 3"
    assert attempts.value(running, NOW) == "1 of 3"
