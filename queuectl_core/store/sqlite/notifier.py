"""Waking supervisors: a FIFO for each in the store's run directory.

Whoever commits something a supervisor should know writes one byte to each FIFO it finds
there; the reader's event loop wakes. A FIFO needs no path of limited length (a Unix socket
does), and opening one that nobody reads fails at once. A ring that is lost (the writer died
between commit and ring) is made good by the supervisor's own slow tick.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ..protocol import Notifier

SUFFIX = ".bell"

ANYTHING, JOBS = b"\0", b"j"
"""What a ring says changed: who hears of new jobs only need not read anything else."""
STOP, STOP_NOW = b"s", b"n"
"""What is asked of a supervisor when it cannot be written to the store."""
_FULL = 4096


class FifoNotifier(Notifier):
    """The listening side; ``close`` removes the FIFO."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        self._path = path
        # Opened for writing too: the FIFO never reads as closed when a ringer leaves.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Readable when rung."""
        return self._fd

    def clear(self) -> bool:
        """Make it silent until it is rung again. False: it rang for nothing but new jobs."""
        more = False
        try:
            while said := os.read(self._fd, _FULL):
                # Where so much is unread, a ring may have found no room.
                more = more or len(said) == _FULL or bool(said.strip(JOBS))
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
        self._path.unlink(missing_ok=True)


def notify(directory: Path, what: bytes = ANYTHING) -> None:
    """Ring every bell in ``directory`` for ``what``; one whose owner died is passed over."""
    for notifier in _notifiers(directory):
        notify_one(notifier, what)


def notify_one(notifier: Path, what: bytes) -> bool:
    """Ring one bell. Returns whether a supervisor heard it."""
    try:
        fd = os.open(notifier, _TO_RING)
    except OSError:
        return False  # nobody listens
    try:
        os.write(fd, what)
    except OSError:
        return False  # full: it is ringing already
    finally:
        os.close(fd)
    return True


def is_heard(directory: Path) -> bool:
    """Whether a supervisor listens to a bell in ``directory``."""
    return any(has_listener(notifier) for notifier in _notifiers(directory))


def has_listener(notifier: Path) -> bool | None:
    """Whether a supervisor listens to this bell, also one that has not got as far as to register.
    None: the bell is not there, so it does not tell. What cannot be told may be."""
    try:
        if not stat.S_ISFIFO(notifier.lstat().st_mode):
            return False
        os.close(os.open(notifier, _TO_RING))
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.errno != errno.ENXIO
    return True


_TO_RING = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


def _notifiers(directory: Path) -> list[Path]:
    try:
        names = os.listdir(directory)
    except OSError:
        return []  # no supervisor was ever started here
    return [directory / name for name in names if name.endswith(SUFFIX)]
