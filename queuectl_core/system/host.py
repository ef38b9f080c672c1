"""Identifying hosts, boots and processes.

A pid alone does not identify a process: pids are used again, start again after a boot, and differ
between containers. A process is identified by its pid, its start time and its host key (boot id and
pid namespace). Pids and monotonic clocks can be compared only if the host keys are equal.
"""

import errno
import os
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from ..domain.errors import HostShort, shortage
from ..domain.model import SupervisorRow
from .clocks import BOOTTIME_OFFSET, LINUX

START_TOLERANCE = 0.001 if LINUX else 0.05
"""Seconds by which two readings of a process's start time may differ. Linux counts in whole ticks
of 10 ms and always gives the same answer. So a process that started one tick later is another
process.

A time namespace may be ahead by a part of a tick. The kernel adds this part before it rounds to
ticks, so the value read there may differ from other readings by up to one tick. It is not a whole
number of ticks."""


def hostname(env: Mapping[str, str] | None = None) -> str:
    """This host's name: ``QUEUECTL_HOST`` in ``env`` (None: our own environment), for example in a
    container, or the system's name. It is only for people. No decision depends on it."""
    return (os.environ if env is None else env).get("QUEUECTL_HOST") or os.uname().nodename


def actor(env: Mapping[str, str] | None = None) -> str:
    """Who does something: ``user@host``, for people who read it later. It proves nothing."""
    import pwd

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{hostname(env)}"


def current_directory() -> str:
    """The current directory; empty if it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


@cache
def host_key() -> str:
    """Identifies this boot and this pid namespace. HostShort if /proc is missing on Linux."""
    if LINUX and not os.path.exists("/proc/self/stat"):
        raise HostShort(
            "/proc is not mounted: processes cannot be told apart", "mount -t proc proc /proc"
        )
    return f"{_boot_id()}:{_pid_namespace()}"


def known_host_key() -> str:
    """The :func:`host_key`; empty if it is not known."""
    try:
        return host_key()
    except HostShort:
        return ""


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError as error:
        if hint := shortage(error):
            raise HostShort(f"cannot tell which boot this is: {error.strerror}", hint) from None
        import psutil  # macOS and the BSDs have no boot id, so use the second of the boot

        return f"{hostname()}@{psutil.boot_time():.0f}"


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "-"


def process_start(pid: int) -> float | None:
    """When process ``pid`` started; None if there is no such process, or only a zombie. OSError if
    it cannot be known: we may have too many open files, or the process may be hidden from us.

    In seconds on a clock of this host (since boot on Linux, since the epoch elsewhere). Compare it
    only with another reading with the same host key.
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
"""States of a process: stopped by a signal; waiting in the kernel, where signals have no effect."""


def process_state(pid: int) -> str:
    """The state of process ``pid`` as ``ps`` shows it; empty if it is gone or not known. OSError if
    it cannot be read at the moment."""
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
    """The number of context switches of process ``pid``. It grows as long as the process runs. None
    if it cannot be known."""
    import psutil

    try:
        return sum(psutil.Process(pid).num_ctx_switches())
    except (psutil.Error, OSError, NotImplementedError):
        return None


class ProcessStat(NamedTuple):
    """The content of ``/proc/PID/stat`` for a living process."""

    state: str
    parent: int
    group: int
    start: float


def parse_stat(pid: int) -> ProcessStat | None:
    """Read ``/proc/PID/stat`` (Linux). None if there is no such process, or only a zombie. Other
    errors say nothing about the process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            raw = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = raw[raw.rindex(b")") + 2 :].split()  # the name of the process may contain anything
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
    """Whether the process with this pid and start time is alive. OSError if it cannot be known."""
    found = process_start(pid)
    if found is None:
        return False
    exact = not LINUX or (_is_whole(found) and _is_whole(start))
    return abs(found - start) <= START_TOLERANCE + (0 if exact else 1 / _ticks())


def may_be_process(pid: int, start: float) -> bool:
    """Like :func:`is_process`, but True if it cannot be known."""
    try:
        return is_process(pid, start)
    except OSError:
        return True


def is_gone(row: SupervisorRow, now: float, mono: float, here: str | None = None) -> bool:
    """Whether a supervisor is dead, or has let its lease run out.

    ``now`` is the wall clock, ``mono`` is this host's monotonic clock, and ``here`` is
    ``Store.host_identity()`` (None: :func:`host_key`). On its own host a dead process is noticed at
    once, and the lease is compared with the monotonic clock, so that nobody loses a job when the
    wall clock is set. If we cannot see whether the process is alive, only its lease counts. Between
    hosts the store's clock decides.
    """
    ours = known_host_key()
    here = ours if here is None else here
    if here and row.host_key == here:
        return mono > row.lease_mono or not may_be_process(row.pid, row.pid_start)
    if row.lapsed is not None:
        return row.lapsed  # hosts share the store, so its clock decides
    if ours and row.host == hostname() and row.host_key.split(":")[0] != ours.split(":")[0]:
        return True  # this host was rebooted
    return now > row.lease_until
