"""Limits of the system, signals, locales, and misspelt URLs."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.supervisor import daemonize, shim_client

from ..support import Cli, eventually
from .conftest import Here
from .test_globals import one_line

# -- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgres//me:secret@host/db",
        "postgresq:/me:secret@host/db",
        "posgresql:me:secret@host/db",
        "me:secret@host/db",
        "//me:secret@host/db",
        "postgres/host/db?user=me&password=secret",
        "postgressql://me:secret@host/db",
        "POSTGRES://me:secret@host/db",
        "postgresql:/me:secret@host/db",
    ],
)
@pytest.mark.parametrize("verb", [("list",), ("doctor",), ("enqueue", "x"), ("doctor", "--repair")])
def test_a_misspelt_url_shows_no_password(here: Here, url: str, verb: tuple[str, ...]) -> None:
    shown = here("--store", url, *verb, code=2)
    assert "secret" not in shown.out + shown.err
    assert "postgresql://" in one_line(shown.err)


@pytest.mark.parametrize("name", ["a b.db", "./me:x@y.db", "a:b.db", "a@b.db", "d/e:f@g.db"])
def test_a_file_may_have_an_odd_name(here: Here, tmp_path: Path, name: str) -> None:
    (tmp_path / "d").mkdir()
    path = tmp_path / name
    here("--store", path, "enqueue", "x")
    assert path.exists()


def test_a_url_that_is_no_text(here: Here) -> None:
    shown = here("--store", "postgresql://me:pass\udcff@host/db", "list", code=2)
    assert "not valid UTF-8 text" in one_line(shown.err)
    assert "pass" not in shown.err.replace("PGPASSWORD", "").replace("password", "")


def no_process(*_: Any, **__: Any) -> None:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def test_no_process_for_workers(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(daemonize.subprocess, "Popen", no_process)
        shown = here("worker", "start", "--detach", code=5)
        assert "cannot start a process: Resource temporarily unavailable" in one_line(shown.err)
        assert "ulimit -u" in shown.err
    assert len(os.listdir("/proc/self/fd")) == before, "nothing is left open"
    with monkeypatch.context() as patch:
        patch.setattr(shim_client.subprocess, "Popen", no_process)
        shown = here("worker", "start", code=5)
        assert "internal error" not in shown.err
        assert "ulimit -u" in shown.err
    assert here("worker", "list", "--json").json == []


def test_a_limit_on_file_sizes(cli: Cli) -> None:
    """SQLite reports it as an I/O error."""
    cli("enqueue", "true")
    for words in ("list", "enqueue true"):
        said = cli.shell(f"ulimit -f 4; queuectl {words}", code=5).err
        assert "ulimit -f" in one_line(said)


def test_no_thread(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here("enqueue", "x")

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    shown = here("backup", "copy.db", code=5)
    assert "ulimit -u" in one_line(shown.err)
    assert here("cancel", "--all").out == "1 job cancelled\n", "it needs no thread"


def test_output_that_cannot_be_read(
    cli: Cli, here: Here, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("enqueue", "echo hello", "--id", "x")
    cli("enqueue", "head -c 100000 /dev/zero | tr '\\0' y", "--id", "long")
    cli("worker", "start", "--until-empty", "-q")
    stat, opened = os.stat, os.open

    def refused(call: Any) -> Any:
        def attempt(path: Any, *args: Any, **options: Any) -> Any:
            if str(path).endswith(".log"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return call(path, *args, **options)

        return attempt

    monkeypatch.setattr(os, "stat", refused(stat))
    monkeypatch.setattr(os, "open", refused(opened))
    shown = here("logs", "x")
    assert (shown.out, shown.err) == ("hello\n", ""), "all of it is stored"
    shown = here("logs", "long")
    assert shown.out == "y" * 65536
    assert "cannot be read (Permission denied)" in one_line(shown.err)


# -- signals ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_is_ignored_stays_ignored(
    cli: Cli, tmp_path: Path, number: signal.Signals
) -> None:
    """``nohup queuectl worker start``, and ``queuectl worker start &`` in a script."""
    cli("enqueue", "echo first")
    words = [sys.executable, "-m", "queuectl_tui", "worker", "start"]
    worker = subprocess.Popen(
        ["/bin/sh", "-c", f'trap "" {number.name[3:]}; exec "$@"', "sh", *words],
        env=cli.environment(),
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    try:
        cli("wait", "--all")
        worker.send_signal(number)
        cli("enqueue", "sleep 0.2", "--id", "second")
        cli("wait", "second")
        eventually(lambda: [row["state"] for row in cli.json("worker", "list")] == ["idle"])
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.wait()


# -- locales ------------------------------------------------------------------------------

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(params=["ascii", "latin-1"])
def locale(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """An environment whose locale is not UTF-8."""
    if request.param == "ascii":
        return ASCII
    if shutil.which("localedef") is None:
        pytest.skip("no locale can be made here")
    name = tmp_path / "locales" / "en_US.ISO-8859-1"
    name.parent.mkdir()
    words = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(name)]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("no locale can be made here")
    return {"LC_ALL": name.name, "LOCPATH": str(name.parent)}


def test_text_is_utf8_whatever_the_locale(tmp_path: Path, locale: dict[str, str]) -> None:
    """Commands, env, cwd and paths are stored and used with the bytes that were typed."""
    place = tmp_path / "Grüße"
    place.mkdir()
    store = place / "€.db"
    cli = Cli(store, place, env=locale)
    try:
        cli("enqueue", "printf '%s' é€ > ü", "--id", "one", "--env", "A=ö")
        cli("enqueue", "-", stdin='{"id":"two","command":"printf %s \\"$B\\"","env":{"B":"ß"}}\n')
        assert store.exists(), "not a name with other bytes"
        with closing(sqlite3.connect(store)) as connection:
            rows = connection.execute("SELECT command, cwd FROM jobs ORDER BY seq").fetchall()
        assert rows[0] == ("printf '%s' é€ > ü", str(place))
        cli("worker", "start", "--until-empty", "-q")
        assert (place / "ü").read_bytes() == "é€".encode()
        assert cli("logs", "two", "--raw").out == "ß"
        words = [sys.executable, "-m", "queuectl_tui", "list"]
        shown = subprocess.run(words, env=cli.environment(), capture_output=True, check=True)
        assert b"\\u20ac" in shown.stdout, "characters that the locale lacks are shown as escapes"
        assert cli.json("show", "one")["command"] == "printf '%s' é€ > ü"
        assert [job["id"] for job in cli.json("list", "--search", "é€")] == ["one"]
        cli("worker", "start", "--detach")
        cli("enqueue", "printf '%s' é > ä", "--id", "three")
        cli("wait", "three")
        assert (place / "ä").read_bytes() == "é".encode()
    finally:
        cli.close()


def test_an_encoding_of_the_output_that_lacks_characters(cli: Cli, here: Here) -> None:
    """The locale is UTF-8, but PYTHONIOENCODING is not."""
    here("enqueue", "echo é", "--id", "a", "--max-retries", "1")
    env = {"PYTHONIOENCODING": "ascii"}
    assert "echo \\xe9" in cli("list", env=env).out
    assert cli("list", "--json", env=env).json[0]["command"] == "echo é"


def test_a_command_that_is_not_utf8_is_refused(cli: Cli, locale: dict[str, str]) -> None:
    words = [sys.executable, "-m", "queuectl_tui", "enqueue", b"echo \xe9"]
    done = subprocess.run(words, env=cli.environment(locale), capture_output=True, check=False)
    assert done.returncode == 2
    assert "not valid UTF-8 text" in one_line(done.stderr.decode())


# -- inside a job -------------------------------------------------------------------------


def test_worker_stop_inside_a_job_does_not_wait_for_itself(cli: Cli, tmp_path: Path) -> None:
    stop = f"{sys.executable} -m queuectl_tui worker stop"
    cli("enqueue", f"{stop} >out 2>err; echo $? >code", "--id", "stopper", "--max-retries", "1")
    cli("worker", "start", "--count", "2")
    assert (tmp_path / "code").read_text() == "0\n"
    assert "which stops when the job ends: not waited for" in (tmp_path / "err").read_text()
    assert len((tmp_path / "out").read_text().split()) == 1, "the other worker was waited for"
    assert cli.json("show", "stopper")["state"] == "completed"


def test_a_job_of_another_store_waits_as_usual(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "touch up; until [ -e go ]; do sleep 0.02; done", "--id", "job")
    cli("worker", "start", "--detach")
    eventually((tmp_path / "up").exists)
    mine = {"QUEUECTL_WORKER": "other-1", "QUEUECTL_JOB_ID": "job"}
    shown = cli("worker", "stop", "--timeout", "200ms", env=mine, code=124)
    assert "not waited for" not in shown.err
    (tmp_path / "go").touch()
    cli("worker", "stop")
