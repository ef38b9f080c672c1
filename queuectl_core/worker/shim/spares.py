"""Empty output files, kept for the next jobs instead of being deleted and made again.

Most short jobs print nothing. ext4 does not give an inode out again within five seconds of its
deletion, and looks at each of those it must not: with thousands of files made and deleted a second
making one takes longer than running the job, and whoever shares the folder waits.

A file goes to another job only if nothing that the last one left behind could write to it: a
write lease, which the kernel refuses while anybody else has the file open, tells. Where there are
no leases (not Linux, a network file system) the supervisor deletes empty files as ever.
"""

import fcntl
import os

MOST = 256
"""Files to keep: more than a supervisor has workers."""


class Spares:
    """The spare files of one shim, each still where its last job had it."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def keep(self, path: str) -> bool:
        """Have the empty file ``path`` of a job that ended, if it is nobody's any more."""
        if len(self.paths) >= MOST or not is_unused(path):
            return False
        self.paths.append(path)
        return True

    def give(self, path: str) -> None:
        """Put a spare file at ``path``, if there is one and it can be put there."""
        if not self.paths or os.path.lexists(path):  # what is there is not ours to replace
            return
        spare = self.paths.pop()
        try:
            os.rename(spare, path)
        except OSError:  # another folder that is not there yet; or it was deleted meanwhile
            delete(spare)

    def clear(self) -> None:
        """Delete them all."""
        while self.paths:
            delete(self.paths.pop())


def is_unused(path: str) -> bool:
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


def delete(path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        os.unlink(path)
    except OSError:
        pass
