"""Global options, help, usage errors, exit codes, and what is imported."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from queuectl_tui.cli.main import VERBS

from ..support import Cli, eventually
from .conftest import Here, Terminal

NESTED = {
    "queue": ("list", "show", "pause", "resume", "set", "remove"),
    "worker": ("start", "stop", "list"),
    "dlq": ("list", "retry", "purge"),
    "config": ("list", "get", "set", "unset"),
    "store": ("copy",),
}
EVERY = [(verb,) for verb in VERBS] + [(noun, sub) for noun, subs in NESTED.items() for sub in subs]


def one_line(text: str) -> str:
    """``text``, which must be a single line that names the program."""
    assert text.startswith("queuectl: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")
    return text.strip()


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_of_every_verb(here: Here, words: tuple[str, ...], flag: str) -> None:
    shown = here(*words, flag)
    assert shown.out.startswith(f"Usage: queuectl {' '.join(words)}")
    assert "Examples:" in shown.out
    assert "--store PATH" in shown.out
    assert not shown.err
    assert max(map(len, shown.out.splitlines())) <= 100


def test_help_has_no_line_without_words(here: Here) -> None:
    for words in (("enqueue",), ("show",), ("config", "set"), ("worker", "stop")):
        options = here(*words, "--help").out.partition("Options:\n")[2]
        assert all(len(line.split()) > 1 for line in options.partition("\n\n")[0].splitlines())


def test_help_of_the_root_names_every_verb(here: Here) -> None:
    lines = here("--help").out.splitlines()
    for verb, (_, about) in VERBS.items():
        assert any(line.split()[:1] == [verb] and about in line for line in lines)


def test_version(here: Here) -> None:
    assert re.fullmatch(r"queuectl \d+\.\d+\.\d+\n", here("--version").out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say what to do: enqueue, list"),
        (("worker",), "say what to do: start, stop, list"),
        (("lst",), "no such command: 'lst'; did you mean list?"),
        (("worker", "strt"), "no such command: 'worker strt'; did you mean start?"),
        (("worker:strt",), "did you mean start?"),
        (("list:x",), "no such command: 'list:x'"),
        (("list", "--stat", "dead"), "no such option: --stat; did you mean --state?"),
        (("--jsn", "list"), "no such option: --jsn; did you mean --json?"),
        (("list", "--limit", "x"), "--limit: 'x' is not a valid integer;"),
        (("list", "more"), "unexpected extra argument (more)"),
        (("show",), "ID is missing"),
        (("show", "\x1b]0;owned\x07"), r"no such job: '\x1b]0;owned\x07'"),
        (("\x1b[31mred",), r"'\x1b[31mred'"),
        (("list", "--state"), "requires an argument"),
    ],
)
def test_usage_errors_are_one_line(here: Here, words: tuple[str, ...], message: str) -> None:
    shown = here(*words, code=3 if "no such job" in message else 2)
    assert message in one_line(shown.err)
    assert not shown.out


def test_global_options_before_and_after_the_verb(here: Here, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    here("--store", other, "enqueue", "true", "--id", "there")
    here("enqueue", "true", "--id", "here")
    for words in (
        ("--store", other, "--json", "list"),
        ("list", "--store", other, "--json"),
        ("--json", "list", "--store", other),
    ):
        assert [job["id"] for job in here(*words).json] == ["there"]
    assert [job["id"] for job in here("list", "--json").json] == ["here"]
    # The last one wins.
    assert here("--store", other, "list", "--json", "--store", "nowhere/x", code=5).err


def test_global_options_reach_nested_verbs(here: Here, tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    here("config", "set", "max-retries", "7", "--store", other)
    for words in (
        ("--store", other, "config", "get", "max-retries"),
        ("config", "--store", other, "get", "max-retries"),
        ("config", "get", "max-retries", "--store", other),
        ("config:get", "max-retries", "--store", other),
    ):
        assert here(*words).out == "7\n"


def test_after_two_dashes_options_are_the_jobs(here: Here) -> None:
    job = here("enqueue", "--json", "--", "ls", "--store", "x", "--json").json
    assert job["command"] == ["ls", "--store", "x", "--json"]


def test_quiet_leaves_data_only(here: Here) -> None:
    assert here("list", "-q").out == ""
    shown = here("-q", "enqueue", '{"command": "true", "state": "dead"}')
    assert not shown.err
    assert re.fullmatch(r"\w+\n", shown.out)


def test_debug_shows_the_traceback_and_the_line(here: Here) -> None:
    shown = here("--debug", "show", "nope", code=3)
    assert shown.err.startswith("Traceback")
    assert shown.err.rstrip().endswith("queuectl: error: no such job: 'nope'; see: queuectl list")


def test_an_unexpected_exception_is_one_line(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: object) -> None:
        raise RuntimeError("boom\x1b[0m\nboom")

    monkeypatch.setattr("queuectl_core.queue.Queue.workers", broken)
    shown = here("worker", "list", code=1)
    assert one_line(shown.err) == (
        r"queuectl: error: internal error: RuntimeError: boom\x1b[0m boom; run again with --debug"
    )


@pytest.mark.parametrize(
    ("store", "code"),
    [("{tmp}", 5), ("{tmp}/no/such.db", 5), ("", 2), ("mysql://x/y", 2), ("{tmp}/text", 5)],
)
def test_unusable_stores(here: Here, tmp_path: Path, store: str, code: int) -> None:
    text = tmp_path / "text"
    text.write_text("this is not a database, and long enough to be taken for one\n" * 40)
    before = text.read_bytes()
    for words in (("list",), ("enqueue", "true"), ("status", "--json"), ("config", "list")):
        shown = here(*words, "--store", store.format(tmp=tmp_path), code=code)
        one_line(shown.err)
        assert not shown.out.replace("\t", "").isspace()
    assert text.read_bytes() == before


def test_a_closed_pipe_is_no_error(cli: Cli) -> None:
    lines = "".join(json.dumps({"command": f"echo {n:>2000}"}) + "\n" for n in range(500))
    cli("enqueue", "-", stdin=lines)
    process = cli.start("list", "--json")
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_on_stdout(cli: Cli) -> None:
    cli("config", "unset", "lease")  # there is a store
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "queuectl_tui", "status"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=cli.environment(),
            check=False,
        )
    assert done.returncode == 1
    assert "No space left" in one_line(done.stderr)


def test_closed_standard_files_do_no_harm(cli: Cli, store_path: Path) -> None:
    script = '"$0" -m queuectl_tui enqueue true >&- 2>&- <&-'
    command = ["/bin/sh", "-c", script, sys.executable]
    done = subprocess.run(command, env=cli.environment(), cwd=cli.cwd, check=False)
    assert done.returncode == 0, "it is enqueued, although the id could not be printed"
    assert store_path.read_bytes().startswith(b"SQLite format 3\0")
    assert len(cli.json("list")) == 1


def test_ctrl_c(cli: Cli) -> None:
    cli("enqueue", "true")
    process = cli.start("wait", "--all")
    assert process.stderr is not None
    assert "no workers are running" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "queuectl: interrupted\n")


def test_ctrl_c_while_jobs_are_read(cli: Cli, tmp_path: Path) -> None:
    cli("config", "unset", "lease")  # there is a store
    fifo = tmp_path / "jobs"
    os.mkfifo(fifo)
    process = cli.start("enqueue", "--file", fifo)
    writer = os.open(fifo, os.O_WRONLY)  # returns when the other side reads
    os.write(writer, b'{"command": "true"}\n')
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    os.close(writer)
    assert (out, err) == ("", "queuectl: interrupted\n")
    assert process.returncode == 130
    assert cli.json("list") == []


def test_ctrl_c_at_a_locked_store(cli: Cli, store_path: Path) -> None:
    cli("enqueue", "true")
    holder = sqlite3.connect(store_path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    process = cli.start("enqueue", "false")
    opened = psutil.Process(process.pid)
    eventually(lambda: f"{store_path}-wal" in [file.path for file in opened.open_files()])
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    holder.execute("ROLLBACK")
    holder.close()
    assert (process.returncode, out, err) == (130, "", "queuectl: interrupted\n")
    assert len(cli.json("list")) == 1


HEAVY = ("textual", "rich", "psutil", "platformdirs", "markdown_it")


@pytest.mark.parametrize(
    ("words", "never"),
    [
        (("--help",), (*HEAVY, "asyncio", "sqlite3", "queuectl_core.queue")),
        (("--version",), (*HEAVY, "asyncio", "sqlite3", "queuectl_core.queue")),
        (("worker", "start", "--help"), (*HEAVY, "sqlite3", "queuectl_core.supervisor")),
        (("enqueue", "true"), (*HEAVY, "queuectl_core.supervisor")),
        (("list", "--json"), (*HEAVY, "queuectl_core.supervisor")),
        (("status", "--json"), (*HEAVY, "queuectl_core.supervisor")),
        (("show", "job"), (*HEAVY, "queuectl_core.supervisor")),
    ],
    ids=lambda value: " ".join(value) if len(value) < 4 else "",
)
def test_what_a_verb_imports(cli: Cli, words: tuple[str, ...], never: tuple[str, ...]) -> None:
    code = (
        "import sys, runpy\n"
        f"sys.argv[1:] = {list(words)!r}\n"
        "try: runpy.run_module('queuectl_tui', run_name='__main__')\n"
        "except SystemExit: pass\n"
        f"print('loaded', *[name for name in {never!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "loaded"


def test_no_color(terminal: Terminal) -> None:
    terminal.cli("enqueue", "true")
    assert "\x1b[36mpending" in terminal("list")
    for words in (("list", "--no-color"), ("--no-color", "list")):
        shown = terminal(*words)
        assert not re.search(r"\x1b\[[\d;]*3\dm", shown)
    terminal.cli.env["NO_COLOR"] = "1"
    assert not re.search(r"\x1b\[[\d;]*3\dm", terminal("list"))


def test_in_a_directory_that_is_gone(cli: Cli, tmp_path: Path) -> None:
    """Verbs that need no directory work. The others say what is missing."""
    cli("config", "unset", "lease")  # there is a store
    place = tmp_path / "gone"
    place.mkdir()
    run = f"cd {place} && rmdir {place} && exec {sys.executable} -m queuectl_tui "

    def there(words: str) -> tuple[int, str]:
        done = subprocess.run(
            ["/bin/sh", "-c", run + words],
            capture_output=True,
            text=True,
            env=cli.environment({"PYTHONPATH": str(Path(__file__).parents[2])}),
            check=False,
        )
        place.mkdir()
        return done.returncode, done.stderr

    assert there("status") == (0, "")
    assert there("enqueue --cwd / true") == (0, "")
    assert there("worker start --until-empty -q") == (0, "")
    for words, code in (
        ("enqueue true", 2),
        ("enqueue --cwd here true", 2),
        ("--store here.db list", 5),
        ("backup copy.db", 2),
        ("restore copy.db", 2),
    ):
        found, said = there(words)
        assert (found, said.count("\n")) == (code, 1), said
        assert "the current directory is gone" in said
