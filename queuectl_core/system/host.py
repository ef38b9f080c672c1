"""Who and where we are: hosts, boots and processes that can be told apart.

A pid alone names nobody: pids are reused, restart after a boot, and mean something else in
another container. A process is its pid and start time on a host key (boot id and pid
namespace); only equal host keys may compare pids or monotonic clocks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..domain.errors import HostShort, shortage
from ..domain.model import SupervisorRow
from .clocks import BOOTTIME_OFFSET, LINUX

START_TOLERANCE = 0.001 if LINUX else 0.05
"""Seconds two readings of one process's start may differ by. Linux counts in whole ticks of 10 ms
and always gives the same answer: a process that started one tick later is another one.

A time namespace may be ahead by a part of a tick. The kernel adds that before it counts, so what is
read there may be up to one tick from what others read. It is no whole number of ticks."""


def hostname(env: Mapping[str, str] | None = None) -> str:
    """This host's name: ``QUEUECTL_HOST`` in ``env`` (None: our own environment) where the
    system's says little, as in a container. It is for people: nothing is decided by it."""
    return (os.environ if env is None else env).get("QUEUECTL_HOST") or os.uname().nodename


def current_directory() -> str:
    """Where this process is; empty when that directory was removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


@cache
def host_key() -> str:
    """This boot and this pid namespace. HostShort where /proc is missing on Linux."""
    if LINUX and not os.path.exists("/proc/self/stat"):
        raise HostShort(
            "/proc is not mounted: processes cannot be told apart", "mount -t proc proc /proc"
        )
    return f"{_boot_id()}:{_pid_namespace()}"


def known_host_key() -> str:
    """The same, or nothing. For those who only look."""
    try:
        return host_key()
    except HostShort:
        return ""


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError as error:
        if hint := shortage(error):
            raise HostShort(f"cannot tell which boot this is: {error.strerror}", hint) from None
        import psutil  # macOS and the BSDs have no boot id: the boot's second has to do

        return f"{hostname()}@{psutil.boot_time():.0f}"


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "-"


def process_start(pid: int) -> float | None:
    """When process ``pid`` started; None when there is none, or only a zombie is left. OSError when
    that cannot be told: we may have too many open files, or it may be hidden from us.

    Seconds on a clock of the host's own (since boot on Linux, since the epoch elsewhere):
    only fit for comparing with another reading on the same host key.
    """
    if pid <= 0:
        return None
    if LINUX:
        stat = parse_stat(pid)
        return None if stat is None else stat.start
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time())
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied as error:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM)) from error


STOPPED = "T"
DISK_SLEEP = "D"
"""States of a process: stopped by a signal; waiting in the kernel, where no signal reaches it."""


def process_state(pid: int) -> str:
    """The state of process ``pid`` as ``ps`` shows it; empty when it is gone or not known. OSError
    when it cannot be read just now."""
    if LINUX:
        stat = parse_stat(pid)
        return "" if stat is None else stat.state
    import psutil

    known = {psutil.STATUS_STOPPED: STOPPED, psutil.STATUS_DISK_SLEEP: DISK_SLEEP}
    try:
        return known.get(psutil.Process(pid).status(), "")
    except psutil.Error:
        return ""


def context_switches(pid: int) -> int | None:
    """How often process ``pid`` has gone to sleep, or had to let another one run. It grows as long
    as the process runs at all. None when that cannot be told."""
    import psutil

    try:
        return sum(psutil.Process(pid).num_ctx_switches())
    except (psutil.Error, OSError, NotImplementedError):
        return None


class ProcessStat(NamedTuple):
    """What ``/proc/PID/stat`` says of a living process."""

    state: str
    parent: int
    group: int
    start: float


def parse_stat(pid: int) -> ProcessStat | None:
    """Read ``/proc/PID/stat`` (Linux); None when there is no such process, or only a zombie. Any
    other error says nothing about the process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            raw = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = raw[raw.rindex(b")") + 2 :].split()  # the name before may hold anything
    if fields[0] in (b"Z", b"X"):
        return None
    start = int(fields[19]) / _ticks() - BOOTTIME_OFFSET
    return ProcessStat(fields[0].decode("ascii"), int(fields[1]), int(fields[2]), start)


@cache
def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")


def _is_whole(start: float) -> bool:
    """Whether it is a whole number of ticks."""
    return abs(start * _ticks() - round(start * _ticks())) < 1e-5


def is_process(pid: int, start: float) -> bool:
    """Whether the process that started at ``start`` as ``pid`` is alive. OSError when that cannot
    be told."""
    found = process_start(pid)
    if found is None:
        return False
    exact = not LINUX or (_is_whole(found) and _is_whole(start))
    return abs(found - start) <= START_TOLERANCE + (0 if exact else 1 / _ticks())


def may_be_process(pid: int, start: float) -> bool:
    """The same; True when it cannot be told."""
    try:
        return is_process(pid, start)
    except OSError:
        return True


def is_gone(row: SupervisorRow, now: float, mono: float, here: str | None = None) -> bool:
    """Whether a supervisor has lost its claim to live: it died, or let its lease run out.

    ``now`` is the wall clock, ``mono`` this host's monotonic clock, ``here`` what this host is to
    the store (``Store.host_identity()``; None: :func:`host_key`). On its own host a dead process is
    noticed at once and the lease is read on the monotonic clock, so that nobody loses a job when
    the wall clock is set. Where we cannot tell whether the process is alive, only its lease counts.
    Between hosts the store's own clock decides.
    """
    ours = known_host_key()
    here = ours if here is None else here
    if here and row.host_key == here:
        return mono > row.lease_mono or not may_be_process(row.pid, row.pid_start)
    if row.lapsed is not None:
        return row.lapsed  # hosts share the store: its clock decides, and a name proves nothing
    if ours and row.host == hostname() and row.host_key.split(":")[0] != ours.split(":")[0]:
        return True  # this host has rebooted since
    return now > row.lease_until
