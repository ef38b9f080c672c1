"""What jobs and requests may do to the shim: it goes on, and so do the other jobs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queuectl_core.domain.model import Outcome, State
from queuectl_core.queue import Queue
from queuectl_core.runner.protocol import MAX_REQUEST, LineBuffer, MalformedRequest, parse
from tests.support import Cli, eventually

from ..supervisor.conftest import Run
from .test_shim import Driver, shim

__all__ = ["shim"]  # the fixture

linux = pytest.mark.skipif(sys.platform != "linux", reason="it is about Linux")

CLONE_PARENT = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
SYS_clone = {"x86_64": 56}.get(os.uname().machine, 220)
pid = libc.syscall(SYS_clone, 0x8000 | signal.SIGCHLD, 0, 0, 0, 0)  # CLONE_PARENT
if pid < 0:
    raise OSError(ctypes.get_errno(), "clone")
"""
"""After it there are two processes, and the shim is the parent of both."""


def logged(shim: Driver, token: str) -> str:
    return (shim.run.parent / "logs" / f"{token}.log").read_text()


def events_of(shim: Driver, token: str) -> list[list[Any]]:
    """The next events of ``token`` up to its end; others are passed over."""
    found: list[list[Any]] = []
    while not found or found[-1][0] not in ("X", "F"):
        event = shim.hear()
        if event[1] == token:
            found.append(event)
    return found


# -- signals ----------------------------------------------------------------------------

DEADLY = sorted(set(range(1, 65)) - {signal.SIGKILL, signal.SIGSTOP})


@linux
def test_no_signal_that_a_job_sends_to_its_parent_ends_the_shim(shim: Driver) -> None:
    shim.start("other", "exec sleep 300")
    assert shim.hear()[0] == "S"
    script = f"import os; [os.kill(os.getppid(), number) for number in {DEADLY}]"
    out = shim.output("1.1")
    shim.send(["start", "1.1", "w1", "", [sys.executable, "-c", script], None, "/", {}, out, None])
    assert [event[:4] for event in events_of(shim, "1.1")][-1] == ["X", "1.1", 0, None]
    shim.start("2.1", "exit 7")
    assert events_of(shim, "2.1")[-1][2] == 7
    assert shim.process.poll() is None
    assert psutil.Process(shim.process.pid).status() != psutil.STATUS_STOPPED


@linux
def test_a_signal_before_the_shim_is_ready_does_not_end_it(tmp_path: Path) -> None:
    """It is started with all signals blocked."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        driver = Driver(tmp_path)
        driver.process.send_signal(signal.SIGUSR1)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        driver.start("1.1", "true")
        assert driver.hear()[0] == "S"
    finally:
        driver.close()


@linux
async def test_an_ordinary_job_cannot_make_others_crash(queue: Queue, run: Run) -> None:
    """The reproductions of the issue, all at once, beside jobs that are hit if the shim dies."""
    script = f"import os\nfor number in {DEADLY}: os.kill(os.getppid(), number)"
    victims = await queue.enqueue([{"command": "sleep 0.5"}] * 2)
    attackers = await queue.enqueue(
        [
            {"command": [sys.executable, "-c", script]},
            {"command": [sys.executable, "-c", CLONE_PARENT]},
        ]
    )
    await run(4)
    for job in victims + attackers:
        found = await queue.find(job.id)
        assert (found.state, found.attempts, found.crashes) == (State.COMPLETED, 1, 0)


@linux
@pytest.mark.parametrize("how", ["spawn", "fork"])
def test_jobs_start_with_every_signal_at_its_default(shim: Driver, how: str) -> None:
    out = str(shim.run.parent / "logs" / "1.1.log")
    limits = [1, 0, 0] if how == "fork" else None
    argv = ["/bin/cat", "/proc/self/status"]
    shim.send(["start", "1.1", "w1", "", argv, None, "/", {}, [out, 1 << 20], limits])
    assert events_of(shim, "1.1")[-1][2] == 0
    status = dict(line.split(":\t") for line in logged(shim, "1.1").splitlines())
    own_of_libc = 1 << 31 | 1 << 32
    names = ("SigBlk", "SigIgn", "SigCgt")
    assert [int(status[name], 16) & ~own_of_libc for name in names] == [0, 0, 0]


# -- children ---------------------------------------------------------------------------


@linux
def test_a_child_that_a_job_foists_on_the_shim_is_reaped(shim: Driver) -> None:
    """It was a KeyError, which ended the shim; and nobody reaped while no job ran."""
    code = CLONE_PARENT + "if pid == 0: import time; time.sleep(0.3); os._exit(3)\nos._exit(5)"
    out = shim.output("1.1")
    shim.send(["start", "1.1", "w1", "", [sys.executable, "-c", code], None, "/", {}, out, None])
    ended = events_of(shim, "1.1")[-1]
    assert ended[2] == 5
    assert ended[7] is True  # its group was not empty
    eventually(lambda: not psutil.Process(shim.process.pid).children())
    shim.start("2.1", "exit 6")
    assert events_of(shim, "2.1")[-1][2] == 6


TRICKS = {
    "double fork": "(sleep 0.05 &) &",
    "setsid": "setsid sleep 0.05 &",
    "own end": "kill -9 $$",
    "closed output": "exec >&- 2>&-",
    "its group": "kill -TERM 0",
    "parent": "for n in 1 2 3 4 6 10 12 13 14 15 17 18 20 21 22 24 25 26 27 29 34 64; "
    "do kill -$n $PPID; done",
    "many": "for i in 1 2 3 4 5 6 7 8; do sh -c 'sleep 0.02' & done",
    "stopped": "(while kill -CONT $$; do sleep 0.02; done) 2>&- & kill -STOP $$",
    "clone": f"exec {sys.executable} -c '{CLONE_PARENT}'",
    "fills its output": "head -c 300000 /dev/zero",
}


@linux
@settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "25")),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(tricks=st.lists(st.sampled_from(sorted(TRICKS)), min_size=1, max_size=8))
def test_whatever_jobs_do_each_end_is_told_once(
    tricks: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    driver = Driver(tmp_path_factory.mktemp("tricks"))
    try:
        for number, trick in enumerate(tricks):
            driver.start(f"{number}.1", TRICKS[trick])
        driver.start("witness", "sleep 0.05; exit 9")
        ends: dict[str, list[Any]] = {}
        while len(ends) < len(tricks) + 1:
            event = driver.hear()
            if event[0] in ("X", "F"):
                assert event[1] not in ends
                ends[event[1]] = event
        assert ends["witness"][:4] == ["X", "witness", 9, None]
        driver.leave()
        assert driver.process.wait(30) == 0
    finally:
        driver.close()


# -- requests ---------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["start", "hold", "use", "kill", "w1", "", "1.1", "/", "/bin/true"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)
kinds = st.sampled_from(["start", "hold", "use", "recall", "kill", "settled", "x"])
how = [
    st.lists(st.text(max_size=5), max_size=3) | values,
    st.none() | values,
    st.just("/") | values,
    st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2) | values,
    # Files are made there: it must be in a folder of the test, and no other text.
    st.tuples(st.just("@OUTPUT@"), st.integers(-1, 1 << 65)).map(list)
    | values.filter(lambda value: not isinstance(value, list)),
    st.none() | st.lists(st.integers(-1, 1 << 65), min_size=3, max_size=3) | values,
]
near_misses = st.one_of(
    st.tuples(kinds, scalars, scalars, scalars, *how),
    st.tuples(kinds, scalars, scalars, *how),
    st.tuples(kinds, scalars, scalars),
    st.tuples(kinds, st.lists(scalars, max_size=3)),
).map(list)
lines = (
    st.binary(max_size=200)
    | st.builds(lambda value: json.dumps(value).encode(), values | near_misses)
    | st.integers(1, 100_000).map(lambda depth: b"[" * depth)
    | st.integers(1, 5000).map(lambda depth: b'["start","d",' + b"[" * depth + b"]" * depth + b"]")
)


@given(lines)
def test_a_request_is_taken_or_refused(line: bytes) -> None:
    try:
        request = parse(line)
    except MalformedRequest:
        return
    assert request[0] in {"start", "hold", "use", "recall", "kill", "settled"}


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_lines_are_split_wherever_the_bytes_are_cut(pieces: list[bytes]) -> None:
    buffer = LineBuffer()
    found = []
    for piece in pieces:
        buffer.feed(piece)
        found += taken(buffer)
    assert found == b"".join(pieces).split(b"\n")[:-1]


def taken(buffer: LineBuffer) -> list[bytes]:
    """The lines that it has."""
    return [bytes(line) for line in iter(buffer.take, None)]


def test_a_line_that_is_too_long_costs_no_memory_and_names_its_job() -> None:
    buffer = LineBuffer()
    beginning = b'["start", "7.1", "w1", "'
    buffer.feed(beginning + b"x" * (MAX_REQUEST + 1))
    (line,) = taken(buffer)
    with pytest.raises(MalformedRequest) as caught:
        parse(line)
    assert caught.value.token == "7.1"
    buffer.feed(b"y" * 1000)
    assert taken(buffer) == []
    buffer.feed(b'z\n["use", "a", ""]\n')
    assert taken(buffer) == [b'["use", "a", ""]']


@settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "25")),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sent=st.lists(lines, min_size=1, max_size=20))
def test_no_input_ends_the_shim(
    sent: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    driver = Driver(tmp_path_factory.mktemp("input"))
    try:
        assert driver.process.stdin
        output = driver.output("fuzz")[0].encode()
        driver.process.stdin.write(b"\n".join(sent).replace(b"@OUTPUT@", output) + b"\n")
        driver.start("witness", "exit 9")
        assert events_of(driver, "witness")[-1][:4] == ["X", "witness", 9, None]
        driver.leave()
        assert driver.process.wait(30) == 0
    finally:
        driver.close()


def test_a_malformed_start_ends_its_attempt(shim: Driver) -> None:
    """Its supervisor would wait for it for ever."""
    shim.send(["start", "1.1", "w1", "", ["true"], None, "/", {"A": 5}, shim.output("1.1"), None])
    kind, token, text = shim.hear()
    assert (kind, token) == ("T", "1.1")
    assert "argument 7 of start" in text
    assert shim.hear()[:4] == ["F", "1.1", None, text]


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        (["/bin/echo", "a\0b"], {}),
        (["/bin/echo", "\ud800"], {}),
        (["/bin/\ud800"], {}),
        (["/bin/true"], {"A=B": "c"}),
        (["/bin/true"], {"": "c"}),
        (["/bin/true"], {"A": "\ud800"}),
        ([""], {}),
    ],
)
@pytest.mark.parametrize("limits", [None, [1, 0, 0]])
def test_what_no_process_can_be_given_fails_alone(
    shim: Driver, argv: list[str], env: dict[str, str], limits: list[int] | None
) -> None:
    for token, plain in (("1.1", None), ("2.1", argv)):
        shim.send(["start", token, "w1", "", argv, plain, "/", env, shim.output(token), limits])
        assert events_of(shim, token)[-1][0] == "F"
    shim.start("3.1", "exit 3")
    assert events_of(shim, "3.1")[-1][2] == 3


# -- text -------------------------------------------------------------------------------


@pytest.fixture
def latin1(tmp_path: Path) -> dict[str, str]:
    """The environment of a Latin-1 locale, which is compiled for this test."""
    if not shutil.which("localedef"):
        pytest.skip("localedef is not installed")
    folder = tmp_path / "locales"
    folder.mkdir()
    subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", folder / "en_US.ISO-8859-1"], check=False
    )
    env = {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1"}
    code = "import sys; print(sys.getfilesystemencoding())"
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    if found.stdout.strip() != b"iso8859-1":
        pytest.skip("no Latin-1 locale can be made here")
    return env


def test_commands_env_and_cwd_are_utf8_whatever_the_locale(
    cli: Cli, latin1: dict[str, str], tmp_path: Path
) -> None:
    """`€` was a UnicodeEncodeError that ended the shim, and `é` silently became another byte."""
    place = tmp_path / "caf\u00e9 \u20ac"
    place.mkdir()
    command = 'printf "%s" "\u00e9\u20ac$A" > said; printf out'
    job = {"command": command, "cwd": str(place), "env": {"A": "\u00fc\u4e16"}}
    cli("enqueue", "-", stdin=json.dumps(job, ensure_ascii=True))
    words = {"command": ["/usr/bin/printf", "%s", "\u20ac\u00e9"], "cwd": "/"}
    argv = cli.json("enqueue", "-", stdin=json.dumps(words))
    cli("worker", "start", "--until-empty", "--quiet", env=latin1)
    assert (place / "said").read_bytes() == "\u00e9\u20ac\u00fc\u4e16".encode()
    found = cli.json("list")
    assert {job["state"] for job in found} == {"completed"}
    assert cli("logs", argv["id"], "--raw").out == "\u20ac\u00e9"


def test_a_store_in_a_folder_that_is_not_ascii(
    cli: Cli, latin1: dict[str, str], tmp_path: Path
) -> None:
    """The output's name is bytes to the supervisor, in its locale, and to the shim."""
    for name in ("d\u00e9p\u00f4t", "\u20ac"):
        (tmp_path / name).mkdir()
        cli.store = tmp_path / name / "queue.db"
        cli("enqueue", "echo said")
        cli("worker", "start", "--until-empty", "--quiet", env=latin1)
        (job,) = cli.json("list")
        assert cli("logs", job["id"]).out == "said\n"


async def test_a_job_cannot_choose_who_it_is(queue: Queue, run: Run) -> None:
    names = ("JOB_ID", "ATTEMPT", "WORKER", "QUEUE")
    env = {f"QUEUECTL_{name}": "forged" for name in names}
    shown = " ".join(f"$QUEUECTL_{name}" for name in names)
    jobs = await queue.enqueue(
        [
            {"command": f"echo {shown}", "env": env},
            {"command": ["/bin/sh", "-c", f"echo {shown}"], "env": env, "nice": 1},
        ]
    )
    await run()
    for job in jobs:
        (attempt,) = await queue.attempts(await queue.find(job.id))
        assert attempt.outcome is Outcome.COMPLETED
        said = (await queue.output(await queue.find(job.id))).read(0, 1000).decode().split()
        assert said == [job.id, "1", attempt.worker, "default"]
