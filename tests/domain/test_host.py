"""Which process is which, with real processes."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from queuectl_core.domain.model import SupervisorRow
from queuectl_core.system import host
from queuectl_core.system.clocks import monotonic
from queuectl_core.system.host import (
    START_TOLERANCE,
    host_key,
    hostname,
    is_gone,
    is_process,
    process_start,
)

from ..support import NOW, eventually, supervisor

FOREVER = [sys.executable, "-c", "import signal; signal.pause()"]


def test_our_own_process() -> None:
    start = process_start(os.getpid())
    assert start is not None
    assert is_process(os.getpid(), start)
    assert process_start(os.getpid()) == start


@pytest.mark.parametrize("pid", [0, -1, -(2**31), 2**22 + 1, 2**31 - 1])
def test_pids_nobody_has(pid: int) -> None:
    assert process_start(pid) is None
    assert not is_process(pid, 1.0)


def test_a_process_that_was_killed_and_its_zombie() -> None:
    child = subprocess.Popen(FOREVER)
    try:
        start = process_start(child.pid)
        assert start is not None
        assert is_process(child.pid, start)
        os.kill(child.pid, signal.SIGKILL)
        # Not waited for yet: what is left is a zombie, and a zombie runs nothing.
        eventually(lambda: process_start(child.pid) is None)
        assert not is_process(child.pid, start)
        os.kill(child.pid, 0)  # the pid is still taken
    finally:
        child.kill()
        child.wait()
    assert process_start(child.pid) is None


def test_a_pid_that_was_given_to_somebody_else() -> None:
    start = process_start(os.getpid())
    assert start is not None
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert not is_process(os.getpid(), start - max(tick, 2 * START_TOLERANCE))
    assert not is_process(os.getpid(), start + 3600)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has time namespaces")
@pytest.mark.parametrize("offset", [0.004, 0.0099, 86400.0051])
def test_starts_that_are_read_where_the_clock_is_ahead_by_a_part_of_a_tick(
    monkeypatch: pytest.MonkeyPatch, offset: float
) -> None:
    """The kernel adds the offset, and drops what is no whole tick. Then we subtract the offset."""
    tick = 1 / os.sysconf("SC_CLK_TCK")
    here = process_start(os.getpid())
    assert here is not None
    for part in (0.0, 0.5, 0.999):  # how far in a tick it really started
        there = math.floor((here + part * tick + offset) / tick + 1e-6) * tick - offset
        assert is_process(os.getpid(), there)  # noted there, read here
        monkeypatch.setattr(host, "process_start", lambda pid, there=there: there)
        assert is_process(os.getpid(), here)  # noted here, read there
        assert not is_process(os.getpid(), here + 3 * tick)
        monkeypatch.undo()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process rename itself so")
def test_a_name_made_to_look_like_the_fields_after_it() -> None:
    code = (
        "import signal; open('/proc/self/comm', 'w').write(') Z 1 2 3');"
        "print('up', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"up\n"
            start, ours = process_start(child.pid), process_start(os.getpid())
            assert start is not None
            assert ours is not None
            assert start >= ours
        finally:
            child.kill()


def test_the_host_key_is_of_this_boot_and_the_same_in_a_child() -> None:
    code = "from queuectl_core.system.host import host_key; print(host_key())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == host_key()
    assert ":" in host_key()


def test_a_host_may_be_given_a_name() -> None:
    assert hostname({"QUEUECTL_HOST": "web-1"}) == "web-1"
    assert hostname({"QUEUECTL_HOST": ""}) == hostname({}) == socket.gethostname()


def test_the_monotonic_clock_is_the_boots_and_not_the_processs() -> None:
    code = "from queuectl_core.system.clocks import monotonic; print(monotonic())"
    before = monotonic()
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert before <= float(child.stdout) <= monotonic()


# -- whether a supervisor is gone -----------------------------------------------------


def alive(**fields: Any) -> SupervisorRow:
    start = process_start(os.getpid())
    return supervisor(pid_start=start, lease_mono=1000.0, lease_until=NOW + 30, **fields)


def test_here_it_is_alive_while_its_process_and_lease_are() -> None:
    row = alive()
    assert not is_gone(row, NOW, 999.0)
    assert is_gone(row, NOW, 1000.1)


def test_here_setting_the_wall_clock_takes_nobodys_jobs() -> None:
    row = alive()
    assert not is_gone(row, NOW + 365 * 86400, 999.0)
    assert not is_gone(row, 0.0, 999.0)


def test_here_a_dead_process_is_gone_at_once() -> None:
    child = subprocess.Popen(FOREVER)
    start = process_start(child.pid)
    assert start is not None
    row = supervisor(pid=child.pid, pid_start=start, lease_mono=1000.0)
    assert not is_gone(row, NOW, 0.0)
    child.kill()
    child.wait()
    assert is_gone(row, NOW, 0.0)


def test_here_somebody_elses_pid_is_not_it() -> None:
    start = process_start(os.getpid())
    assert start is not None
    row = supervisor(pid_start=start - 3600, lease_mono=1000.0)
    assert is_gone(row, NOW, 0.0)


def test_before_this_boot_it_is_gone() -> None:
    row = alive(host_key="another-boot:pid:[1]")
    assert is_gone(row, NOW, 0.0)


def test_elsewhere_the_lease_on_the_wall_clock_decides() -> None:
    row = alive(host="elsewhere", host_key="their-boot:pid:[1]")
    assert not is_gone(row, NOW + 30, 1e9)
    assert is_gone(row, NOW + 30.1, 0.0)


def test_in_another_container_here_the_lease_decides() -> None:
    boot = host_key().split(":")[0]
    row = alive(host=hostname(), host_key=f"{boot}:pid:[1]", pid=2**31 - 1)
    assert not is_gone(row, NOW + 30, 1e9)
    assert is_gone(row, NOW + 30.1, 0.0)


def test_monotonic_is_a_clock() -> None:
    assert abs(monotonic() - time.monotonic()) < 5


def test_who_cannot_read_its_journals_goes_by_the_lease_alone() -> None:
    """Another user on this machine, say: our pids are there, our directory is not."""
    row = alive(host_key=f"{host_key()}:dir-1")
    elsewhere = f"{host_key()}:dir-2"
    for lapsed in (False, True):
        seen = row._replace(pid=2**31 - 1, lapsed=lapsed)
        assert is_gone(seen, NOW, 0.0, elsewhere) is lapsed
        assert is_gone(seen, NOW, 0.0, "") is lapsed
        assert is_gone(seen, NOW, 0.0, row.host_key)
