"""Supervisors in another pid namespace of this kernel: containers that share the store's directory.

A process cannot see or end processes of another pid namespace. So all workers of a store must be in
one pid namespace at a time. We can tell without clocks and pids whether a supervisor in another
namespace may be alive: its FIFO has a reader, or a shim of its jobs holds a lock. FIFOs and locks
work across namespaces.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from ...domain.model import OWN_SHIM, SupervisorRow
from ...system.host import known_host_key
from .notifier import SUFFIX, has_listener


def is_foreign(row: SupervisorRow) -> bool:
    """Whether this supervisor is, or was, in another pid namespace of this kernel. True if our own
    host is not known, because then we cannot see processes either."""
    here = known_host_key()
    if not here:
        return True
    return row.host_key != here and row.host_key.partition(":")[0] == here.partition(":")[0]


def may_be_alive(row: SupervisorRow, shims: Iterable[str], run_directory: str, mono: float) -> bool:
    """Whether a foreign supervisor, or a shim of its jobs, may be alive. ``mono``: the present time
    on the clock that all processes of this boot share."""
    listens = has_listener(f"{run_directory}/{row.id}{SUFFIX}")
    if listens or any(
        _is_locked(path) for name in {row.id, *shims} for path in _locks(run_directory, name)
    ):
        return True
    return listens is None and mono <= row.lease_mono


def has_lapsed(row: SupervisorRow, shims: Iterable[str], run_directory: str, mono: float) -> bool:
    """Whether the jobs of a foreign supervisor may be taken over. It and its shims must be dead,
    and its lease must have run out on the clock since boot, which nobody can set."""
    return mono > row.lease_mono and not may_be_alive(row, shims, run_directory, mono)


def _locks(run_directory: str, name: str) -> Iterator[str]:
    """The locks of a supervisor's shims: the shared shim, and shims with a single job."""
    from pathlib import Path

    yield f"{run_directory}/{name}.alive"
    yield from map(str, Path(run_directory).glob(f"{name}{OWN_SHIM}*.alive"))


def _is_locked(path: str) -> bool:
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)
