"""Waking supervisors: a FIFO for each in the store's run directory.

Whoever commits something a supervisor should know writes one byte to each FIFO it finds
there; the reader's event loop wakes. A FIFO needs no path of limited length (a Unix socket
does), and opening one that nobody reads fails at once. A ring that is lost (the writer died
between commit and ring) is made good by the supervisor's own slow tick.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..base import Bell

SUFFIX = ".bell"

ANYTHING, JOBS = b"\0", b"j"
"""What a ring says changed: who hears of new jobs only need not read anything else."""
_FULL = 4096


class FifoBell(Bell):
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


def ring(directory: Path, what: bytes = ANYTHING) -> None:
    """Ring every bell in ``directory`` for ``what``; one whose owner died is passed over."""
    for fd in _heard(directory):
        try:
            os.write(fd, what)
        except OSError:
            pass  # full: it is ringing already
        finally:
            os.close(fd)


def is_heard(directory: Path) -> bool:
    """Whether a supervisor listens to a bell in ``directory``."""
    for fd in _heard(directory):
        os.close(fd)
        return True
    return False


def _heard(directory: Path) -> Iterator[int]:
    """An open descriptor of every bell that somebody listens to; the caller closes it."""
    try:
        names = os.listdir(directory)
    except OSError:
        return  # no supervisor was ever started here
    for name in names:
        if not name.endswith(SUFFIX):
            continue
        try:
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(directory / name, flags)
        except OSError:
            continue  # nobody listens
        yield fd
