"""The clocks of a boot, the same in every time namespace.

A time namespace (``unshare --time``, and some containers) moves CLOCK_MONOTONIC and CLOCK_BOOTTIME,
and the start times of processes with it. What one process notes, one in another namespace reads. So
all moments that leave a process are told as in the namespace that the host began with. Only these
functions know the difference.
"""

import os
import sys
import time

LINUX = sys.platform == "linux"


def _offsets() -> tuple[float, float]:
    """How far our time namespace is ahead: CLOCK_MONOTONIC, CLOCK_BOOTTIME."""
    try:
        # The file tells of the namespace that our children get.
        if os.readlink("/proc/self/ns/time") != os.readlink("/proc/self/ns/time_for_children"):
            return 0.0, 0.0
        with open("/proc/self/timens_offsets", "rb") as file:
            (_, *monotonic), (_, *boottime) = (line.split() for line in file.read().splitlines())
        return _seconds(*monotonic), _seconds(*boottime)
    except (OSError, ValueError, TypeError):
        return 0.0, 0.0  # not Linux, or a kernel without time namespaces


def _seconds(whole: bytes, nanoseconds: bytes) -> float:
    return int(whole) + int(nanoseconds) / 1e9


MONOTONIC_OFFSET, BOOTTIME_OFFSET = _offsets()


def monotonic() -> float:
    """Seconds on a clock that all processes of this boot share and nobody can set."""
    return time.monotonic() - MONOTONIC_OFFSET


def boot_clock() -> float:
    """The same. On Linux it goes on while the machine is suspended."""
    if LINUX:
        return time.clock_gettime(time.CLOCK_BOOTTIME) - BOOTTIME_OFFSET
    return time.monotonic()
