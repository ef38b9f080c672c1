"""Ctrl-C at any moment of a verb. Either the exit code is 130 and nothing was changed, or it is 0
and the answer was printed. There is never a traceback.

The tests use only the driver to read what was changed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl_core.system.postcommit import commits
from queuectl_tui.cli.diagnostics import Stderr, guard
from queuectl_tui.cli.output import Stdout
from queuectl_tui.interrupts import Interrupted

from ..store.stores import PLACES, Place
from ..support import Cli, eventually
from .test_after_commit import rows

HOOK = """
import os, signal, sqlite3, sys
from queuectl_core.store.sqlite import connection
where = os.environ["INTERRUPT_AT"]
roll_back = connection._attempt

class Watched:
    def __init__(self, conn):
        self._conn = conn
    def __getattr__(self, name):
        return getattr(self._conn, name)
    def execute(self, sql, *args):
        if sql == "COMMIT" and where == "before":
            strike()
        found = self._conn.execute(sql, *args)
        if sql == "COMMIT" and where in ("after", "twice"):
            strike()
        if "INSERT INTO jobs" in sql and where == "work":
            strike()
        return found

def strike():
    for _ in range(1 + (where == "twice")):
        os.kill(os.getpid(), int(os.environ["SIGNAL"]))

def attempt(conn, begin, body):
    wants = begin == connection.WRITE and os.environ.get("ARMED")
    return roll_back(Watched(conn) if wants else conn, begin, body)

connection._attempt = attempt

if "postgres" in sys.argv[2]:
    from queuectl_core.store.postgres.connections import ServerConnection
    execute = ServerConnection.execute

    async def watched(self, sql, *args, **options):
        if sql == "COMMIT" and where == "before":
            strike()
        if sql.startswith("BEGIN") and where == "work":
            strike()
        found = await execute(self, sql, *args, **options)
        if sql == "COMMIT" and where in ("after", "twice"):
            strike()
        return found

    ServerConnection.execute = watched
sys.argv[0] = "queuectl"
from queuectl_tui.__main__ import main
sys.exit(main())
"""


def run(
    store: str,
    tmp_path: Path,
    where: str,
    *words: str,
    stdin: str = "",
    number: int = signal.SIGINT,
) -> subprocess.CompletedProcess[str]:
    cli = Cli(store, tmp_path)
    return subprocess.run(
        [sys.executable, "-c", HOOK, "--store", store, *words],
        input=stdin,
        capture_output=True,
        text=True,
        env=cli.environment({"INTERRUPT_AT": where, "ARMED": "1", "SIGNAL": str(int(number))}),
        cwd=tmp_path,
        check=False,
    )


def ids(place: Place) -> list[str]:
    return [name for (name,) in rows(place, "SELECT id FROM jobs ORDER BY seq")]


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A store that exists already, so that the interrupt does not come while it is made."""
    made = PLACES[request.param](tmp_path)
    Cli(made.url, tmp_path)("enqueue", "--id", "old", "true")
    yield made
    asyncio.run(made.clear())


LINES = "".join(f'{{"id": "n{n}", "command": "true"}}\n' for n in range(5))
ALL = [f"n{n}" for n in range(5)]
WAYS = {
    "one": (("enqueue", "--id", "n0", "true"), "", ["n0"]),
    "stream": (("enqueue", "-"), LINES, ALL),
    "json": (("enqueue", "-", "--json"), LINES, ALL),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["work", "before", "after"])
def test_the_exit_code_says_whether_it_is_done(
    place: Place, tmp_path: Path, way: str, where: str
) -> None:
    words, stdin, added = WAYS[way]
    done = run(place.url, tmp_path, where, *words, stdin=stdin)
    if where == "work":
        assert (done.returncode, done.stdout) == (130, "")
        assert done.stderr == "queuectl: interrupted\n"
        assert ids(place) == ["old"]
        return
    assert (done.returncode, done.stderr) == (0, "")
    assert ids(place) == ["old", *added]
    if "--json" in words:
        assert [job["id"] for job in json.loads(done.stdout)] == added
    else:
        assert done.stdout.split() == added


def test_while_a_module_is_loaded_it_is_no_internal_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Python 3.11 makes a RuntimeError of what a signal raises in ``__set_name__``."""

    class Part:
        def __set_name__(self, *_: object) -> None:
            raise Interrupted

    commits.reset()  # other tests of this process have committed something
    with guard(Stdout(), Stderr()) as result:
        type("Whole", (), {"part": Part()})
    assert (result.code, capsys.readouterr().err) == (130, "queuectl: interrupted\n")


@pytest.mark.parametrize("words", ["cancel old", "cancel --all", "config set lease 60"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_any_verb_and_both_signals(
    place: Place, tmp_path: Path, words: str, number: signal.Signals
) -> None:
    done = run(place.url, tmp_path, "before", *words.split(), number=number)
    assert (done.returncode, done.stderr) == (0, ""), "its commit had begun"
    assert done.stdout


def test_sigterm_while_a_verb_waits(tmp_path: Path) -> None:
    cli = Cli(tmp_path / "queue.db", tmp_path)
    cli("enqueue", "true")
    process = cli.start("wait", "--all")
    assert process.stderr is not None
    assert "no workers are running" in process.stderr.readline()
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (143, "", "queuectl: terminated\n")


def test_a_cancel_that_waits_says_what_it_waits_for(place: Place, tmp_path: Path) -> None:
    cli = Cli(place.url, tmp_path)
    try:
        cli("cancel", "old")
        cli("enqueue", "--id", "slow", "trap '' TERM; echo up; while :; do sleep 0.1; done")
        cli("worker", "start", "-d")
        eventually(lambda: "up" in cli("logs", "slow").out)
        process = cli.start("cancel", "slow")
        eventually(lambda: ids_cancelled(place) == ["slow"])
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        cli.close()
    assert process.returncode == 130
    assert err == "queuectl: interrupted; slow: asked to end, but still running\n"


def ids_cancelled(place: Place) -> list[str]:
    wanted = "SELECT id FROM jobs WHERE state = 'processing' AND CAST(cancel AS int) = 1"
    return [name for (name,) in rows(place, wanted)]


END = """
import atexit, os, signal, sys
import queuectl_tui.__main__
at = sys.argv.pop(1)

class AtExit:
    def __del__(self):  # as the interpreter takes modules apart
        os.kill(os.getpid(), signal.SIGINT)

def strike():
    os.kill(os.getpid(), signal.SIGINT)

if at == "finalization":
    sys.modules["queuectl_tui.__main__"].late = AtExit()
elif at == "atexit":
    atexit.register(strike)
sys.argv[0] = "queuectl"
code = queuectl_tui.__main__.main()
if at == "ended":
    strike()
sys.exit(code)
"""


@pytest.mark.parametrize("at", ["ended", "atexit", "finalization"])
def test_at_its_end_it_has_the_code_of_what_it_did(tmp_path: Path, at: str) -> None:
    cli = Cli(tmp_path / "queue.db", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", END, at, "enqueue", "--id", "a", "true"],
        capture_output=True,
        text=True,
        env=cli.environment(),
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\n", "")


def test_a_second_one_ends_it_and_says_that_the_change_may_be_made(
    place: Place, tmp_path: Path
) -> None:
    done = run(place.url, tmp_path, "twice", "enqueue", "-", stdin=LINES)
    assert done.returncode == 130
    assert done.stderr == "queuectl: interrupted; what was asked for may be done\n"
    assert ids(place) == ["old", *ALL]


STARTING = """
import os, signal, sys
target = sys.argv.pop(1)

class Dropped:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

class Finder:
    def find_spec(self, name, path=None, of=None):
        if name == target:
            Dropped()
        elif name + " seen" == target:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from queuectl_tui.__main__ import main
sys.exit(main())
"""


MODULES = ("queuectl_tui.cli.main", "queuectl_tui.cli.enqueue", "queuectl_core.queue", "click")


@pytest.mark.parametrize("module", [*MODULES, *(f"{module} seen" for module in MODULES)])
def test_while_modules_are_loaded(tmp_path: Path, module: str) -> None:
    cli = Cli(tmp_path / "queue.db", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", STARTING, module, "enqueue", "-p1", "true"],
        capture_output=True,
        text=True,
        env=cli.environment(),
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "queuectl: interrupted\n"
    assert not (tmp_path / "queue.db").exists()


@pytest.mark.parametrize(
    "module", ["asyncio.events", "asyncio.tasks", "asyncio.runners", "asyncio.unix_events"]
)
def test_while_the_event_loop_is_loaded(tmp_path: Path, module: str) -> None:
    cli = Cli(tmp_path / "queue.db", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", STARTING, f"{module} seen", "worker", "start", "--until-empty"],
        capture_output=True,
        text=True,
        env=cli.environment(),
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "queuectl: interrupted\n"


def test_ignored_stays_ignored(tmp_path: Path) -> None:
    """In a background job of a script SIGINT is ignored, because it is meant for others."""
    cli = Cli(tmp_path / "queue.db", tmp_path)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            STARTING,
            "queuectl_tui.cli.enqueue seen",
            "enqueue",
            "--id",
            "a",
            "true",
        ],
        capture_output=True,
        text=True,
        env=cli.environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\n", "")


def elsewhere(place: Place, tmp_path: Path) -> list[str]:
    """Verbs that do not commit to this store. In this order each of them can run."""
    local = (f"backup {tmp_path}/copy.db", f"restore -y {tmp_path}/copy.db")
    both = [f"store copy --to {tmp_path}/other.db", "worker start -d"]
    return [*(local if place.copies else ()), *both]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("target", ["closed", "full"])
def test_an_answer_that_cannot_be_written(place: Place, tmp_path: Path, target: str) -> None:
    """A verb that has changed something exits with 0. A verb that only reads fails."""
    cli = Cli(place.url, tmp_path)
    redirect = ">&-" if target == "closed" else ">/dev/full"

    for words in ("enqueue --id new true", "cancel new", "retry new", "cancel --all --json"):
        said = cli.shell(f"queuectl {words} {redirect}", code=0).err
        assert "it is done, but the output cannot be written: " in said
        assert len(said.splitlines()) == 1
    assert "new" in ids(place)
    for words in elsewhere(place, tmp_path):
        said = cli.shell(f"queuectl {words} {redirect}", code=0).err
        assert "it is done, but the output cannot be written: " in said, words
    cli.close()
    assert (tmp_path / "other.db").exists()
    said = cli.shell(f"queuectl list {redirect}", code=1).err
    assert "error: cannot write the output: " in said


def test_a_message_does_not_repeat_everything(tmp_path: Path) -> None:
    cli = Cli(tmp_path / "queue.db", tmp_path)
    for words in (("enqueue", "--id", "x" * 50_000, "true"), ("enqueue", "[" * 100_000)):
        done = cli(*words, code=2)
        assert len(done.err) < 3000, "bounded"
        assert done.err.startswith("queuectl: error: ")
        assert len(done.err.splitlines()) == 1
