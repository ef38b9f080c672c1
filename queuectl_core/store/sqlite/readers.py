"""Which processes have the store open, and which of them read an old state of it, and so keep its
WAL from being started anew."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

READ_LOCKS = range(123, 128)
"""Bytes of the shared memory that readers lock (sqlite.org/walformat.html, 2.3.1)."""
LOOKS, PAUSE = 10, 0.05
"""Our own readings take milliseconds: who reads at each of these looks keeps an old state."""

_LOCK = re.compile(r"POSIX +ADVISORY +READ +(\d+) [0-9a-f]+:[0-9a-f]+:(\d+) (\d+) (\d+)$")


async def long_readers(path: Path) -> list[int]:
    """The processes that have been reading for half a second, on Linux. Those of other pid
    namespaces cannot be seen."""
    found = _readers(path)
    for _ in range(LOOKS):
        if not found:
            break
        await asyncio.sleep(PAUSE)
        found &= _readers(path)
    return sorted(found)


def _readers(path: Path) -> set[int]:
    try:
        inode = os.stat(f"{path}-shm").st_ino
        lines = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return set()
    return {
        int(match[1])
        for line in lines
        if (match := _LOCK.search(line))
        and int(match[2]) == inode
        and any(int(match[3]) <= byte <= int(match[4]) for byte in READ_LOCKS)
        and int(match[1]) != os.getpid()
    }


_HELD = re.compile(r"POSIX +ADVISORY +\S+ +(\d+) [0-9a-f]+:[0-9a-f]+:(\d+) ")


def users_of(path: Path) -> list[int]:
    """The other processes that are connected to the database, on Linux: each has a lock on it all
    the time. Those of other pid namespaces cannot be seen."""
    try:
        inode = os.stat(path).st_ino
        lines = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return []
    pids = {
        int(match[1]) for line in lines if (match := _HELD.search(line)) and int(match[2]) == inode
    }
    return sorted(pids - {os.getpid()})
