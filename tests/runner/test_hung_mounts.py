"""A directory or a program on a mount that hangs is waited for by one job alone."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl_core.domain.model import Outcome, State
from queuectl_core.queue import Queue
from queuectl_core.runner.journal_reader import JournalReader
from queuectl_core.runner.mounts import Mounts, foreign_mounts
from queuectl_core.runner.spawn import interpreter
from queuectl_core.supervisor.deadline import DeadlineWriter
from tests.support import eventually

from ..supervisor.conftest import Run
from .test_shim import Driver, shim
from .test_shim_attacks import events_of

__all__ = ["shim"]  # the fixture

linux = pytest.mark.skipif(sys.platform != "linux", reason="it is about Linux")

MNT_DETACH = 2


def mount(source: str, target: Path, kind: str, options: str) -> None:
    """OSError when that is not permitted here."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = [word.encode() for word in (source, str(target), kind)]
    if libc.mount(*words, 0, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def unmount(target: Path, flags: int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(str(target).encode(), flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Path]:
    """A FUSE file system whose process never answers: who uses it waits until it is killed."""
    place = tmp_path / "hung"
    place.mkdir()
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip("no /dev/fuse")
    try:
        mount("none", place, "fuse.hung", f"fd={device},rootmode=40000,user_id=0,group_id=0")
    except OSError as error:
        os.close(device)
        pytest.skip(f"cannot mount: {error.strerror}")
    yield place
    unmount(place, MNT_DETACH)
    os.close(device)  # who still waits gets an error


@linux
@pytest.mark.parametrize(
    "way", ["cwd", "link", "below", "dots", "program", "path", "pwd", "interpreter", "plain"]
)
def test_only_the_job_that_uses_it_waits(
    shim: Driver, hung: Path, tmp_path: Path, way: str
) -> None:
    argv, plain, cwd, env = ["/bin/sleep", "300"], None, "/", {"PATH": "/usr/bin:/bin"}
    if way == "cwd":
        cwd = str(hung)
    elif way == "below":
        cwd = str(hung / "some" / "where")
    elif way == "link":
        (tmp_path / "link").symlink_to("hung")
        (tmp_path / "second").symlink_to(tmp_path / "link")
        cwd = str(tmp_path / "second")
    elif way == "dots":
        (tmp_path / "folder").mkdir()
        cwd = f"{tmp_path}/folder/.././/hung/"
    elif way == "program":
        argv = [str(hung / "tool")]
    elif way == "path":
        argv, env = ["tool-x"], {"PATH": f"{hung}:/usr/bin:/bin"}
    elif way == "interpreter":
        script = tmp_path / "script"
        script.write_text(f"#!{hung}/python -u\n")
        script.chmod(0o755)
        argv = [str(script)]
    elif way == "plain":
        argv, plain = ["/bin/sh", "-c", "tool-x"], ["tool-x"]
        env = {"PATH": f"{hung}:/usr/bin:/bin"}
    else:
        env["PWD"] = str(hung)
        argv, plain = ["/bin/sh", "-c", "sleep 300"], ["sleep", "300"]
    shim.send(["start", "hangs", "w1", "", argv, plain, cwd, env, shim.output("hangs"), None])
    assert shim.hear()[:2] == ["S", "hangs"]
    shim.start("1.1", "exit 7")
    assert events_of(shim, "1.1")[-1][2] == 7
    shim.send(["kill", "hangs", signal.SIGTERM])
    ended = events_of(shim, "hangs")[-1]
    assert ended[:4] == ["X", "hangs", None, signal.SIGTERM]


@linux
async def test_a_successor_does_not_kill_a_shim_whose_job_hangs(shim: Driver, hung: Path) -> None:
    shim.start("hangs", "true", cwd=str(hung))
    assert shim.hear()[0] == "S"
    journal = JournalReader(shim.run, "s")
    await asyncio.wait_for(journal.revoke(), 10)
    assert shim.process.poll() is None
    assert list(journal.started) == ["hangs"]
    shim.start("2.1", "true")
    assert shim.hear() == ["R", "2.1"]
    os.kill(journal.started["hangs"].pid, signal.SIGKILL)
    shim.leave()
    assert shim.process.wait(30) == 0


@linux
async def test_what_hangs_holds_neither_lock_of_a_shim_that_died(shim: Driver, hung: Path) -> None:
    """Or the shim would count as alive for as long as the mount hangs."""
    shim.start("hangs", "true", cwd=str(hung))
    pid = shim.hear()[2]
    eventually(lambda: Path(f"/proc/{pid}/cwd").readlink() == Path("/"))
    eventually(lambda: not any(name > "2" for name in fds(pid) - {pipe_of(pid)}))
    shim.process.kill()
    shim.process.wait()
    journal = JournalReader(shim.run, "s")
    assert not journal.shim_alive()
    await asyncio.wait_for(journal.revoke(), 10)
    os.kill(pid, signal.SIGKILL)


def fds(pid: int) -> set[str]:
    return set(os.listdir(f"/proc/{pid}/fd"))


def pipe_of(pid: int) -> str:
    """The descriptor through which a forked child tells why it failed."""
    above = fds(pid) - {"0", "1", "2"}
    return min(above) if len(above) == 1 else ""


@linux
def test_the_lease_ends_a_job_that_hangs_and_the_others(hung: Path, tmp_path: Path) -> None:
    deadline = DeadlineWriter(tmp_path, 1000.0)
    deadline.keep(["s"])
    deadline.write()
    driver = Driver(tmp_path, deadline=deadline.words)
    try:
        driver.start("hangs", "true", cwd=str(hung))
        driver.start("1.1", "exec sleep 300")
        assert {driver.hear()[1], driver.hear()[1]} == {"hangs", "1.1"}
        deadline.extend(time.clock_gettime(time.CLOCK_BOOTTIME) - 100, 1.0)
        deadline.write()
        ends = [driver.hear(), driver.hear()]
        assert {event[1] for event in ends} == {"hangs", "1.1"}
        assert {event[0] for event in ends} == {"X"}
    finally:
        driver.close()


@linux
async def test_it_can_be_timed_out_and_cancelled_while_others_run(
    queue: Queue, run: Run, hung: Path
) -> None:
    (hangs,) = await queue.enqueue(
        [{"command": "true", "cwd": str(hung), "timeout": 0.5, "max_retries": 1, "priority": 1}]
    )
    others = await queue.enqueue([{"command": "true"}] * 30)
    await run(2)
    assert (await queue.find(hangs.id)).state is State.DEAD
    (attempt,) = await queue.attempts(await queue.find(hangs.id))
    assert attempt.outcome is Outcome.TIMEOUT
    assert {(await queue.find(job.id)).state for job in others} == {State.COMPLETED}


@linux
def test_the_last_cwd_is_not_kept(shim: Driver, tmp_path: Path) -> None:
    """`umount` reported busy."""
    place = tmp_path / "place"
    place.mkdir()
    try:
        mount("none", place, "tmpfs", "size=64k")
    except OSError as error:
        pytest.skip(f"cannot mount: {error.strerror}")
    try:
        shim.start("1.1", "pwd", cwd=str(place))
        assert events_of(shim, "1.1")[-1][2] == 0
    finally:
        unmount(place)
    assert (shim.run.parent / "logs" / "1.1.log").read_text() == f"{place}\n"


# -- which paths are local --------------------------------------------------------------

TABLE = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 0:30 / /mnt/a\040b rw shared:3 - nfs4 server:/x rw
29 27 0:31 / /mnt/tmp rw - tmpfs none rw
30 27 0:32 / /auto rw master:1 propagate_from:2 - autofs systemd-1 rw
31 27 0:33 / /mnt/back\134slash rw - fuse.sshfs x rw
torn line
"""


def test_the_mount_table_is_read() -> None:
    assert foreign_mounts(TABLE) == [b"/mnt/a b", b"/auto", rb"/mnt/back\slash"]


def test_paths_are_followed_without_touching_them(tmp_path: Path) -> None:
    mounts = Mounts()
    base = os.fsencode(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "out").symlink_to("/net/x")
    (tmp_path / "up").symlink_to("here/../away")
    (tmp_path / "loop").symlink_to("loop")
    mounts.foreign = {b"/net", base + b"/away"}
    mounts.refresh = lambda: None  # type: ignore[method-assign]
    local = [b"", b"/here", b"/here/../here", b"/missing/x", b"/loop", b"/away2", b"/here/."]
    foreign = [b"/out", b"/up", b"/away", b"/away/x", b"/here/../away", b"//away//", b"/./away"]
    assert [mounts.is_local(base + path) for path in local] == [True] * len(local)
    assert [mounts.is_local(base + path) for path in foreign] == [False] * len(foreign)
    assert not mounts.is_local(b"relative")
    mounts.foreign = {b"/"}
    assert not mounts.is_local(base)
    mounts.foreign = set()
    assert mounts.is_local(b"relative")


@linux
def test_without_a_mount_table_nothing_is_taken_for_local(tmp_path: Path) -> None:
    assert not Mounts(str(tmp_path / "none")).is_local(b"/bin")


@linux
def test_a_new_mount_is_noticed(hung: Path, tmp_path: Path) -> None:
    unmount(hung, MNT_DETACH)
    try:
        mounts = Mounts()
        assert mounts.is_local(os.fsencode(hung))
    finally:
        device = os.open("/dev/fuse", os.O_RDWR)
        mount("none", hung, "fuse.hung", f"fd={device},rootmode=40000,user_id=0,group_id=0")
    assert not mounts.is_local(os.fsencode(hung))
    os.close(device)


def test_what_runs_a_script(tmp_path: Path) -> None:
    for content, found in (
        (b"#!/bin/sh\n", b"/bin/sh"),
        (b"#! /usr/bin/env  python\n", b"/usr/bin/env"),
        (b"#!\n", b""),
        (b"\x7fELF", b""),
        (b"", b""),
    ):
        (tmp_path / "file").write_bytes(content)
        assert interpreter(os.fsencode(tmp_path / "file")) == found
    assert interpreter(os.fsencode(tmp_path / "none")) == b""
