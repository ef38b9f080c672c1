"""A host that lacks something: jobs go back uncounted, wait, and go on; none fails for it."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.model import State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.runner.journal_reader import make_first
from queuectl_core.supervisor import shortage
from queuectl_core.supervisor.shim_client import SHIM
from queuectl_core.supervisor.shortage import CALM, LONGEST_PAUSE, PAUSE, Shortage
from tests.support import eventually

from ..runner.test_hung_mounts import mount, unmount
from ..runner.test_shim import Driver, shim

__all__ = ["shim"]  # the fixture

ROOT = os.geteuid() == 0


class Denied:
    """A folder in which no file can be made, until ``end`` is called."""

    def __init__(self, folder: Path, options: str = "ro") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._ended = False
        if ROOT:  # whom no mode stops
            try:
                mount("none", folder, "tmpfs", "size=64k,mode=700")
                if options == "full":
                    (folder / "filler").write_bytes(b"x" * (64 << 10))
                elif options == "inodes":
                    mount_options = "remount,nr_inodes=1"
                    subprocess.run(["mount", "-o", mount_options, folder], check=True)
                else:
                    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"cannot mount: {error}")
        else:
            folder.chmod(0o500)

    def end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if ROOT:
            unmount(self.folder, 2)
        else:
            self.folder.chmod(0o700)


@pytest.fixture
def deny() -> Iterator[Callable[..., Denied]]:
    made: list[Denied] = []

    def make(folder: Path, options: str = "ro") -> Denied:
        made.append(Denied(folder, options))
        return made[-1]

    yield make
    for denied in made:
        denied.end()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortage, "LONGEST_PAUSE", 0.1)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("options", ["ro", "inodes"])
async def test_jobs_wait_while_no_output_can_be_made(
    queue: Queue, deny: Callable[..., Denied], options: str
) -> None:
    """They were dead before: 5,000 of them in ten seconds. `--until-empty` does not end early."""
    logs = deny(queue.directory / "logs", options)
    jobs = await queue.enqueue([{"command": "echo said", "max_retries": 1}] * 40)
    events: list[Notice] = []
    refused = 0

    def on_notice(event: Notice) -> None:
        nonlocal refused
        events.append(event)
        refused += event.kind is NoticeKind.STARTED
        if refused > 4:
            logs.end()

    await queue.run_workers(2, (), until_empty=True, on_notice=on_notice)
    for job in jobs:
        found = await queue.find(job.id)
        assert (found.state, found.attempts, found.crashes) == (State.COMPLETED, 1, 0)
        assert len(await queue.attempts(found)) == 1
        assert (await queue.output(found)).read(0, 10) == b"said\n"
    trouble = [event.message for event in events if event.kind is NoticeKind.TROUBLE]
    assert len(trouble) == 2
    assert trouble[0].startswith("cannot write output file: ")
    assert trouble[0].endswith("jobs wait until starts succeed again")
    assert trouble[1] == "jobs can be started again"


@pytest.mark.usefixtures("quick")
async def test_a_cancel_and_a_stop_are_obeyed_meanwhile(
    queue: Queue, deny: Callable[..., Denied]
) -> None:
    deny(queue.directory / "logs")
    (job, other) = await queue.enqueue(["true", "true"])
    troubles: list[str] = []

    def on_notice(event: Notice) -> None:
        if event.kind is NoticeKind.TROUBLE and not troubles:
            troubles.append(event.message)
            os.kill(os.getpid(), 15)

    await queue.run_workers(1, (), on_notice=on_notice)
    assert troubles
    for one in (job, other):
        found = await queue.find(one.id)
        assert (found.state, found.attempts, found.runs) == (State.PENDING, 0, 0)


def limited(kind: int, number: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (number, resource.getrlimit(kind)[1]))


def first(driver: Driver, *tokens: str) -> dict[str, list[Any]]:
    """The first event of each of these."""
    found: dict[str, list[Any]] = {}
    while len(found) < len(tokens):
        event = driver.hear()
        found.setdefault(event[1], event)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted as on Linux")
@pytest.mark.parametrize("limits", [None, [1, 0, 0]])
def test_too_many_open_files(tmp_path: Path, limits: list[int] | None) -> None:
    driver = Driver(tmp_path)
    try:
        driver.start("0.1", "true")
        driver.hear()
        open_ = len(os.listdir(f"/proc/{driver.process.pid}/fd"))
        driver.hear()
        pid = driver.process.pid
        lowest = open_ if limits is None else open_ + 1
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, before[1]))
        out = str(tmp_path.parent / "logs" / "1.1.log")
        how = [["/bin/true"], None, "/", {}, [out, 1 << 20], limits]
        while True:  # until there are so few that it cannot
            driver.send(["start", "1.1", "w1", "", *how])
            event = driver.hear()
            if event[0] == "N":
                break
            assert event[0] == "S"
            assert driver.hear()[0] == "X"
            lowest -= 1
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, before[1]))
        assert "Too many open files" in event[2]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        driver.send(["start", "1.1", "w1", "", *how])
        assert [driver.hear()[0], driver.hear()[0]] == ["S", "X"]
        assert driver.journal.exits["1.1"].code == 0
    finally:
        driver.close()


def allow_processes(pid: int, user: int, number: int) -> None:
    """Only the user itself may change its limits, where root lacks a capability."""
    words = ["prlimit", "--pid", str(pid), f"--nproc={number}:"]
    subprocess.run(words, user=user, group=user, extra_groups=[], check=True, cwd="/")


@pytest.mark.skipif(not shutil.which("prlimit"), reason="prlimit is not installed")
@pytest.mark.skipif(not ROOT or sys.platform != "linux", reason="another user is needed")
@pytest.mark.parametrize("limits", [None, [1, 0, 0]])
def test_too_many_processes(limits: list[int] | None) -> None:
    """`ulimit -u`, as a user whom it stops."""
    user = 54321
    with tempfile.TemporaryDirectory() as folder:
        for name in ("", "run", "logs"):
            (Path(folder) / name).mkdir(exist_ok=True)
            os.chown(Path(folder) / name, user, user)
        make_first(Path(folder) / "run" / "s.journal")
        os.chown(Path(folder) / "run" / "s.journal", user, user)
        program = (
            f"import os, resource, sys; sys.path.append({str(SHIM.parents[2])!r})\n"
            "from queuectl_core.runner import loop\n"
            f"os.setgroups([]); os.setgid({user}); os.setuid({user})\n"
            f"sys.argv = ['shim', {folder + '/run'!r}, 's']\nloop.main()"
        )
        words = [sys.executable, "-I", "-S", "-X", "utf8", "-c", program]
        driver = Driver(Path(folder) / "run", words=words)
        try:
            driver.start("0.1", "true")
            driver.hear(), driver.hear()
            pid = driver.process.pid
            _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
            allow_processes(pid, user, 1)
            how = [["/bin/true"], None, "/", {}, [f"{folder}/logs/1.log", 1 << 20], limits]
            driver.send(*(["start", f"{n}.1", "w1", "", *how] for n in (1, 2)), ["use", "w2", ""])
            driver.send(["hold", "3.1", "", *how])
            found = first(driver, "1.1", "2.1", "3.1")
            assert {event[0] for event in found.values()} == {"N"}
            assert found["1.1"][2] == "cannot start a process: Resource temporarily unavailable"
            allow_processes(pid, user, hard)
            driver.send(["start", "1.1", "w1", "", *how])
            assert [driver.hear()[0], driver.hear()[0]] == ["S", "X"]
            assert not driver.journal.begun >= {"3.1"}
        finally:
            driver.close()


@pytest.mark.parametrize(
    ("how", "kind", "reason"),
    [
        ([["/bin/true"], None, "/no/such", {}, None], "F", "cannot use cwd /no/such"),
        ([["/no/such"], None, "/", {}, None], "F", "command not found: /no/such"),
        ([["/bin/true", "x" * 200_000], None, "/", {}, None], "F", "cannot start: Argument list"),
        ([["/bin/true"], None, "/", {}, [0, 1 << 16, 0]], None, None),
        ([["/etc"], None, "/", {}, None], "F", "cannot execute /etc"),
        ([["/no/such"], None, "/", {}, [1, 0, 0]], "F", "command not found: /no/such"),
        ([["/bin/true"], None, "/no/such", {}, [1, 0, 0]], "F", "cannot use cwd /no/such"),
    ],
)
def test_what_is_the_jobs_own_fault_is_no_shortage(
    shim: Driver, how: list[Any], kind: str | None, reason: str | None
) -> None:
    *how, limits = how
    out = str(shim.run.parent / "logs" / "1.1.log")
    shim.send(["start", "1.1", "w1", "", *how, [out, 1 << 20], limits])
    event = shim.hear()
    if event[0] == "S":  # forked: it is seen later
        event = shim.hear()
    assert event[0] == kind or kind is None
    assert event[0] != "N"
    if reason is not None:
        assert event[3].startswith(reason)


def test_nothing_is_started_before_the_journal_says_so(tmp_path: Path) -> None:
    """On a full disk: whoever comes later could not know that the job may have run. And what is
    to be written is written before the shim leaves."""
    (tmp_path / "run").mkdir()
    driver = Driver(tmp_path / "run")
    try:
        driver.start("1.1", f"until test -e {tmp_path}/go; do sleep 0.02; done; exit 3")
        assert driver.hear()[0] == "S"
        path = tmp_path / "run" / "s.journal"
        eventually(lambda: b'["S"' in path.read_bytes())
        full = path.stat().st_size + 3  # a disk that takes three bytes more
        resource.prlimit(driver.process.pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
        driver.start("2.1", f"touch {tmp_path}/ran")
        assert driver.hear()[:3] == ["N", "2.1", "cannot write the journal"]
        assert not (tmp_path / "ran").exists()
        driver.leave()
        (tmp_path / "go").touch()
        eventually(lambda: not has_children(driver.process.pid))
        assert driver.process.poll() is None
        limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(driver.process.pid, resource.RLIMIT_FSIZE, limit)
        assert driver.process.wait(30) == 0
        journal = driver.journal
        assert journal.exits["1.1"].code == 3
        assert "2.1" not in journal.begun
    finally:
        driver.close()


def has_children(pid: int) -> bool:
    return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text())


async def test_pauses_grow_and_one_job_is_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    looks: list[int] = []
    waits: list[float] = []

    class Loop:
        def call_later(self, seconds: float, call: Callable[[], None]) -> Loop:
            waits.append(seconds)
            self.call = call
            return self

        def cancel(self) -> None:
            pass

    loop = Loop()
    monkeypatch.setattr(shortage.asyncio, "get_running_loop", lambda: loop)
    short = Shortage(lambda event: told.append(event.message), lambda: looks.append(1))
    assert short.slots is None
    for _ in range(9):
        short.met("no more processes")
        short.met("no more processes")  # all that were under way fail alike
        assert short.slots == 0
        short.started()  # one that was told later: it began before
        assert short.slots == 0
        loop.call()
        assert short.slots == 1
        short.tries("1.1")
        assert short.slots == 0
    assert waits == [PAUSE * 2**n for n in range(6)] + [LONGEST_PAUSE] * 3
    short.tried("1.1")  # it failed by its own fault: the next one is tried
    assert short.slots == 1
    short.tries("2.1")
    short.started()
    assert waits.pop() == CALM
    short.met("no more processes")  # it was forked, and its program could not be run after all
    assert len(told) == 1
    assert waits.pop() == LONGEST_PAUSE
    loop.call()
    short.tries("3.1")
    short.started()
    assert waits.pop() == CALM
    loop.call()
    assert short.slots is None
    assert told == [
        "no more processes; jobs wait until starts succeed again",
        "jobs can be started again",
    ]
    assert len(looks) == 12
    short.met("again")
    assert waits[-1] == PAUSE
    short.disarm()


def test_output_files_are_for_their_owner_only(shim: Driver) -> None:
    shim.start("1.1", "echo said")
    shim.hear(), shim.hear()
    mode = (shim.run.parent / "logs" / "1.1.log").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
