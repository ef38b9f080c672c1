"""Every failure queuectl reports, and the exit code a script sees for it.

::

    QueueError                1   ran, and the answer is no
    ├── InvalidInput          2   bad usage or bad input; nothing was changed
    │   └── BatchRejected     2   the same for a batch: each bad line with its number
    ├── NotFound              3   no such job, worker or key
    ├── Conflict              4   id taken, or the wrong state for what was asked
    │   └── JobChanged            a job is not any more as it was when it was read
    ├── StoreError            5   the store cannot be used
    │   ├── StoreUnreachable      not there, not a file, no permission
    │   │   └── StoreGone         removed, moved away or replaced while it was in use
    │   ├── StoreLocked           another process held it for too long
    │   ├── StoreReadOnly         it can be read but not written
    │   ├── StoreFull             no space left for it
    │   ├── StoreTooNew           written by a newer queuectl
    │   └── StoreDamaged          not a queuectl database, or a broken one
    │       └── StoreForeign      a database of some other program
    ├── HostShort             5   the host lacks processes, memory, open files or space
    ├── WorkersNotStarted     1   a detached supervisor did not come up
    └── TimedOut            124   the time given ran out first

``str(error)`` is one line without control characters: what is wrong, then what to do.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from .text import clean_line


class QueueError(Exception):
    """The root: anything queuectl can explain in one line.

    ``message`` says what is wrong; ``hint`` (may be empty) says what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        # Cleaned here, once: a path or an id in a message may hold anything.
        self.message = clean_line(message)
        self.hint = clean_line(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class InvalidInput(QueueError):
    """What was given cannot be accepted. Nothing was changed."""

    exit_code = 2


class BatchRejected(InvalidInput):
    """A batch holds bad lines; none of it was enqueued. ``problems`` is (line, message)."""

    def __init__(self, problems: Sequence[tuple[int, str]], total: int, hint: str = "") -> None:
        self.problems = list(problems)
        self.total = total
        count = f"{total} bad line{'s' if total != 1 else ''}"
        super().__init__(f"nothing enqueued: {count}", hint or "fix them and run it again")


class NotFound(QueueError):
    """No such job, worker, attempt or configuration key."""

    exit_code = 3


class Conflict(QueueError):
    """The id is taken, or the job's state does not allow what was asked."""

    exit_code = 4


class JobChanged(Conflict):
    """A job is not any more as the caller saw it; nothing was done."""


class StoreError(QueueError):
    """The store cannot be used; the subclasses say why."""

    exit_code = 5


class StoreUnreachable(StoreError):
    """The store does not exist, is not a file, or may not be opened."""


class StoreGone(StoreUnreachable):
    """The store's file was removed, moved away or replaced while it was in use."""


class StoreLocked(StoreError):
    """Another process kept the store locked for longer than we wait."""


class StoreReadOnly(StoreError):
    """The store can be read but not written."""


class StoreFull(StoreError):
    """There is no space left where the store is."""


class StoreTooNew(StoreError):
    """The store was written by a newer queuectl than this one."""


class StoreDamaged(StoreError):
    """The file is not a queuectl database, or it is broken."""


class StoreForeign(StoreDamaged):
    """It is a sound database, of some other program."""


class HostShort(QueueError):
    """The host lacks something that is needed to go on; nothing is wrong with what was asked."""

    exit_code = 5

    @classmethod
    def of(cls, error: Exception, prefix: str = "") -> HostShort | None:
        """The shortage that the system reports with ``error``; None: it is something else."""
        if isinstance(error, OSError) and (hint := shortage(error)):
            return cls(f"{prefix}{error.strerror}", hint)
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            return cls(f"{prefix}cannot start a thread", "see ulimit -u (processes and threads)")
        return None


class WorkersNotStarted(QueueError):
    """A detached supervisor did not come up; the message says why."""


class TimedOut(QueueError):
    """The time given ran out before it was done."""

    exit_code = 124


def shortage(error: OSError) -> str:
    """What to do about a resource that the system refuses; empty for other errors."""
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        return "see ulimit -u (processes and threads), and what memory is free"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "see ulimit -n"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space"
    return ""
