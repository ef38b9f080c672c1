"""Clocks since boot that are equal in every time namespace.

A time namespace (``unshare --time``, and some containers) moves CLOCK_MONOTONIC and CLOCK_BOOTTIME,
and also the start times of processes. A process of one namespace reads values of another one. So
all moments that leave a process are told as in the namespace that the host began with. Only these
functions know the difference.
"""

import os
import sys
import time

LINUX = sys.platform == "linux"


def _offsets() -> tuple[float, float]:
    """How many seconds our time namespace is ahead, for CLOCK_MONOTONIC and CLOCK_BOOTTIME."""
    try:
        # The file is about the namespace of our children.
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
    """Like :func:`monotonic`. On Linux it continues while the machine is suspended."""
    if LINUX:
        return time.clock_gettime(time.CLOCK_BOOTTIME) - BOOTTIME_OFFSET
    return time.monotonic()
