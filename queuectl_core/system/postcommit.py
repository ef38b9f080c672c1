"""Steps that follow a commit: their failure is reported, and never turns success into failure.

When a verb's change is committed, the verb has succeeded. The steps that follow (a checkpoint,
waking the workers, removing files, reading jobs again for the answer) may fail, because the disk is
full or the store is gone. If the verb failed then, its caller would repeat it, and do everything
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..domain.errors import QueueError
from ..domain.text import clean_line

Report = Callable[[str], None]


class Commits:
    """What this process has committed for its verb. It decides what a signal to end the verb does.

    From the moment that a commit begins, the change may have been made. If the verb were stopped
    then, it could not say what it did. So :meth:`stop` is refused once, until the verb
    :meth:`goes_on`.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start again, in a process that ran another verb before."""
        self.so_far = ""
        """What the verb has done so far, in words, in case it is stopped."""
        self._count = 0
        self._made = self._asked = self._stopping = False

    def verb_begins(self) -> None:
        """Earlier commits (such as creating the store) are not the verb's change."""
        try:
            self.goes_on()
        finally:
            self._made, self.so_far = False, ""

    def begin(self) -> None:
        """From now on the change may have been made, even if the process dies."""
        self._count += 1
        if self._stopping:  # another thread may be the one that was stopped
            self._count -= 1
            raise KeyboardInterrupt

    def failed(self) -> None:
        """The change was not made, and never will be."""
        self._count -= 1

    def goes_on(self, so_far: str = "") -> None:
        """The verb may be stopped again until its next commit begins. ``so_far``: what it has done.
        KeyboardInterrupt if somebody asked to stop it since the last commit began."""
        asked = self._asked
        self.so_far = so_far or self.so_far
        self._made = bool(self)
        self._count = 0
        self._asked = self._stopping = False
        if asked:
            raise KeyboardInterrupt

    def stop(self) -> bool:
        """For a signal handler: whether to stop the verb now. If not, it stops when it goes on."""
        self._stopping = True  # before the next line: begin() checks in the opposite order
        if self._count > 0 and not self._asked:
            self._stopping, self._asked = False, True
            return False
        return True

    @property
    def under_way(self) -> bool:
        """Whether a commit has begun since the verb could last be stopped."""
        return self._count > 0

    def __bool__(self) -> bool:
        """Whether the store was changed, or a commit has begun that cannot be stopped."""
        return self._made or self._count > 0


commits = Commits()


@contextmanager
def committing() -> Iterator[None]:
    """A commit around the block. It took no effect if the block raises QueueError or OSError."""
    commits.begin()
    try:
        yield
    except (QueueError, OSError):
        commits.failed()
        raise


_report: ContextVar[Report | None] = ContextVar("report", default=None)


def report_to(report: Report) -> None:
    """Call ``report`` for each failed step, from now on in this context."""
    _report.set(report)


def tell(text: str) -> None:
    """Report something about a change that was made."""
    report = _report.get()
    if report is not None:
        report(text)


class after_commit:  # noqa: N801 - it reads as a statement; for mypy it may swallow errors
    """``with`` this, run a step that follows a commit. ``step``: "removing output files".

    An error ends the step, but not the verb. Only exceptions that end a process pass (ctrl-c).
    """

    def __init__(self, step: str) -> None:
        self._step = step

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        known = isinstance(error, QueueError | OSError)
        why = str(error) if known else f"{type(error).__name__}: {error}"
        tell(f"{self._step} failed afterwards: {clean_line(why, 300)}")
        return True
