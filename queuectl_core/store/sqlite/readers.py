"""The processes that have the store open, and those that read an old state of it. While one reads
an old state, SQLite cannot start the WAL anew."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

READ_LOCKS = range(123, 128)
"""Bytes of the shared memory that readers lock (sqlite.org/walformat.html, 2.3.1)."""
LOOKS, PAUSE = 10, 0.05
"""Our own reads take milliseconds. A process that reads at each of these looks keeps an old
state."""

_LOCK = re.compile(r"POSIX +ADVISORY +(\S+) +(\d+) [0-9a-f]+:[0-9a-f]+:(\d+) (\d+) (\d+|EOF)$")


async def long_readers(path: Path) -> list[int]:
    """The processes that have been reading for half a second, on Linux. Processes of other pid
    namespaces cannot be seen."""
    found = _readers(path)
    for _ in range(LOOKS):
        if not found:
            break
        await asyncio.sleep(PAUSE)
        found &= _readers(path)
    return sorted(found)


def users_of(path: Path) -> list[int]:
    """The other processes that are connected to the database, on Linux. Each has a lock on it all
    the time. Processes of other pid namespaces cannot be seen."""
    return sorted({lock.pid for lock in _locks(str(path))})


def _readers(path: Path) -> set[int]:
    return {
        lock.pid
        for lock in _locks(f"{path}-shm")
        if lock.kind == "READ" and any(lock.first <= byte <= lock.last for byte in READ_LOCKS)
    }


class _Lock(NamedTuple):
    kind: str
    pid: int
    first: int
    last: int


def _locks(file: str) -> Iterator[_Lock]:
    """The locks of other processes on ``file``, on Linux."""
    try:
        inode = os.stat(file).st_ino
        lines = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return
    for line in lines:
        found = _LOCK.search(line)
        if found is None or int(found[3]) != inode or int(found[2]) == os.getpid():
            continue
        last = sys.maxsize if found[5] == "EOF" else int(found[5])
        yield _Lock(found[1], int(found[2]), int(found[4]), last)
