"""All errors that queuectl reports, and their exit codes.

::

    QueueError                1   it ran, and the answer is no
    ├── InvalidInput          2   bad usage or bad input; nothing was changed
    │   └── BatchRejected     2   the same for a batch: the bad lines with their numbers
    ├── NotFound              3   no such job, worker or key
    ├── Conflict              4   the id is taken, or the state does not allow it
    │   └── JobChanged            a job is not as it was when it was read
    ├── StoreError            5   the store cannot be used
    │   ├── StoreUnreachable      it does not exist, is no file, or permission is denied
    │   │   └── StoreGone         it was removed, moved or replaced while it was in use
    │   ├── StoreLocked           another process held it for too long
    │   ├── StoreReadOnly         it can be read but not written
    │   ├── StoreFull             no space left for it
    │   ├── StoreTooNew           it was written by a newer queuectl
    │   └── StoreDamaged          it is not a queuectl database, or is damaged
    │       └── StoreForeign      it is a database of another program
    ├── HostShort             5   the host lacks processes, memory, open files or space
    ├── WorkersNotStarted     1   a detached supervisor did not start
    └── TimedOut            124   the given time ran out first

``str(error)`` is one line without control characters: what is wrong, and what to do.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from .text import clean_line


class QueueError(Exception):
    """The base class: an error that queuectl can explain in one line.

    ``message`` says what is wrong. ``hint`` says what to do about it, and may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        # A path or an id in a message may contain anything, so clean it here.
        self.message = clean_line(message)
        self.hint = clean_line(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class InvalidInput(QueueError):
    """The input cannot be accepted. Nothing was changed."""

    exit_code = 2


class BatchRejected(InvalidInput):
    """A batch has bad lines. Nothing was enqueued. ``problems`` are (line, message)."""

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
    """A job is not as the caller read it. Nothing was done."""


class StoreError(QueueError):
    """The store cannot be used; the subclasses say why."""

    exit_code = 5


class StoreUnreachable(StoreError):
    """The store does not exist, is not a file, or cannot be opened."""


class StoreGone(StoreUnreachable):
    """The store's file was removed, moved or replaced while it was in use."""


class StoreLocked(StoreError):
    """Another process locked the store for longer than we wait."""


class StoreReadOnly(StoreError):
    """The store can be read but not written."""


class StoreFull(StoreError):
    """There is no space left for the store."""


class StoreTooNew(StoreError):
    """The store was written by a newer queuectl than this one."""


class StoreDamaged(StoreError):
    """The file is not a queuectl database, or it is broken."""


class StoreForeign(StoreDamaged):
    """It is an undamaged database of another program."""


class HostShort(QueueError):
    """The host lacks a resource that is needed. The request itself was correct."""

    exit_code = 5

    @classmethod
    def of(cls, error: Exception, prefix: str = "") -> HostShort | None:
        """The shortage that ``error`` of the system reports; None: it is another error."""
        if isinstance(error, OSError) and (hint := shortage(error)):
            return cls(f"{prefix}{error.strerror}", hint)
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            return cls(f"{prefix}cannot start a thread", "see ulimit -u (processes and threads)")
        return None


class WorkersNotStarted(QueueError):
    """A detached supervisor did not start. The message says why."""


class TimedOut(QueueError):
    """The given time ran out first."""

    exit_code = 124


def shortage(error: OSError) -> str:
    """What to do about a missing resource of the system; empty for other errors."""
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        return "see ulimit -u (processes and threads), and what memory is free"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "see ulimit -n"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space"
    return ""
