"""Empty output files, kept for the next attempts instead of being deleted and made again.

Most short jobs print nothing. ext4 does not give an inode out again within five seconds of its
deletion, and looks at each of those it must not: with thousands of files made and deleted a second
making one takes half a millisecond, as long as the job.

A file goes to another job only if nothing that the last one left behind could write to it: a
write lease, which the kernel refuses while anybody else has the file open, tells. Where there are
no leases (not Linux, a network file system) files are deleted as ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

MOST = 256
"""Files to keep: more than a supervisor has jobs end in one turn."""


class Spares:
    """The spare files of one supervisor, each still where its last job had it."""

    def __init__(self) -> None:
        self._paths: list[str] = []

    def keep(self, path: str) -> bool:
        """Have the empty file ``path`` of an attempt that ended, if it is nobody's any more."""
        if len(self._paths) >= MOST or not _is_unused(path):
            return False
        self._paths.append(path)
        return True

    def give(self, path: str) -> bool:
        """Put a spare file at ``path``; False when there is none, or it can't be put there."""
        if not self._paths:
            return False
        spare = self._paths.pop()
        try:
            os.rename(spare, path)
        except OSError:  # another folder that is not there yet; or it was deleted meanwhile
            _delete(spare)
            return False
        return True

    def clear(self) -> None:
        """Delete them all."""
        while self._paths:
            _delete(self._paths.pop())


def _is_unused(path: str) -> bool:
    """Whether the file is empty and nobody has it open."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        return os.fstat(fd).st_size == 0
    except (OSError, AttributeError):  # AttributeError: not Linux
        return False
    finally:
        os.close(fd)  # and with it the lease


def _delete(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
