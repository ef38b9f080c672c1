"""Notifying supervisors by FIFOs: each supervisor has one in the store's run directory.

A process that has committed something that supervisors must know writes one byte to each FIFO, and
the readers' event loops wake. Unlike a Unix socket, a FIFO has no short limit for its path. Opening
a FIFO that nobody reads fails at once. A notification is lost if the writer dies after its commit.
So supervisors also look at the store once a second.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from ..protocol import Notifier

SUFFIX = ".bell"

ANYTHING, NEW_JOBS = b"\0", b"j"
"""What has changed. A supervisor that only hears of new jobs need not read its commands."""
STOP, STOP_NOW = b"s", b"n"
"""Commands that cannot be written to the store because the disk is full."""
_FULL = 4096


class FifoNotifier(Notifier):
    """The reading side. ``close`` removes the FIFO."""

    def __init__(self, path: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(path)
        os.mkfifo(path, 0o600)
        self._path = path
        # Also open for writing, so that the FIFO never reads as closed when a writer leaves.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """A descriptor that is readable after a notification."""
        return self._fd

    def clear(self) -> bool:
        """Take the notifications that came. False: they were for new jobs only."""
        more = False
        try:
            while said := os.read(self._fd, _FULL):
                # With so much unread data, a notification may have found no room.
                more = more or len(said) == _FULL or bool(said.strip(NEW_JOBS))
                if STOP_NOW in said or STOP in said:
                    self.stop = self.stop or STOP_NOW in said
        except BlockingIOError:
            pass
        return more

    @property
    def trouble(self) -> str | None:
        """A FIFO does not break."""
        return None

    def close(self) -> None:
        """Stop listening."""
        os.close(self._fd)
        with suppress(FileNotFoundError):
            os.unlink(self._path)


def notify(directory: str, what: bytes = ANYTHING) -> None:
    """Send ``what`` to every FIFO in ``directory``. FIFOs of dead supervisors are skipped."""
    for fifo in _fifos(directory):
        notify_one(fifo, what)


def notify_one(fifo: str, what: bytes) -> bool:
    """Send ``what`` to one FIFO. Returns whether a supervisor reads it."""
    try:
        fd = os.open(fifo, _TO_WRITE)
    except OSError:
        return False  # nobody listens
    try:
        os.write(fd, what)
    except OSError:
        return False  # it is full, so the supervisor is being woken already
    finally:
        os.close(fd)
    return True


def is_heard(directory: str) -> bool:
    """Whether a supervisor reads a FIFO in ``directory``."""
    return any(has_listener(fifo) for fifo in _fifos(directory))


def has_listener(fifo: str) -> bool | None:
    """Whether a supervisor reads this FIFO. It may not have registered yet. None: there is no such
    FIFO. True if it cannot be known."""
    try:
        if not stat.S_ISFIFO(os.lstat(fifo).st_mode):
            return False
        os.close(os.open(fifo, _TO_WRITE))
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.errno != errno.ENXIO
    return True


_TO_WRITE = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


def _fifos(directory: str) -> list[str]:
    try:
        names = os.listdir(directory)
    except OSError:
        return []  # no supervisor has ever run here
    return [f"{directory}/{name}" for name in names if name.endswith(SUFFIX)]
