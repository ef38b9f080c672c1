"""Steps that follow a commit: their failure is reported, and never turns success into failure.

When a verb's change is committed, the verb is done. What follows (a checkpoint, waking the workers,
removing files, reading jobs again for the answer) may fail: the disk is full, the store has gone
away. If that made the verb fail, its caller would repeat it, and do everything twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

from ..domain.errors import QueueError
from ..domain.text import clean_line

Report = Callable[[str], None]


class Commits:
    """What this process has committed for its verb, and so what a signal does that is to end it.

    From the moment that a commit begins the change may have been made. A verb that was stopped then
    could not say what it did: so :meth:`stop` is refused, once, until the verb :meth:`goes_on`.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Nothing is committed: for a process that ran another verb before."""
        self.so_far = ""
        """What the verb has done if it is stopped now, in words."""
        self._count = 0
        self._made = self._asked = self._stopping = False

    def verb_begins(self) -> None:
        """What was committed up to now (a store that was made) is not the verb's change."""
        try:
            self.goes_on()
        finally:
            self._made, self.so_far = False, ""

    def begin(self) -> None:
        """From here on the change may have been made, whatever becomes of the process."""
        self._count += 1
        if self._stopping:  # this may be another thread than the one that was stopped
            self._count -= 1
            raise KeyboardInterrupt

    def failed(self) -> None:
        """It was not made, and never will be."""
        self._count -= 1

    def goes_on(self, so_far: str = "") -> None:
        """The verb may be stopped again until its next commit begins, having done ``so_far``.
        KeyboardInterrupt if that was asked for since the last one began."""
        asked = self._asked
        self.so_far = so_far or self.so_far
        self._made = bool(self)
        self._count = 0
        self._asked = self._stopping = False
        if asked:
            raise KeyboardInterrupt

    def stop(self) -> bool:
        """For a signal handler: whether the verb is to be stopped now. If not, it is when it goes
        on."""
        self._stopping = True  # before the next line looks: begin() does it the other way round
        if self._count > 0 and not self._asked:
            self._stopping, self._asked = False, True
            return False
        return True

    @property
    def under_way(self) -> bool:
        """Whether a commit has begun since the verb could be stopped."""
        return self._count > 0

    def __bool__(self) -> bool:
        """Whether the store was changed, or is about to be with nothing that could stop it."""
        return self._made or self._count > 0


commits = Commits()


@contextmanager
def committing() -> Iterator[None]:
    """What is inside may take effect, unless it raises one of our errors or the system's."""
    commits.begin()
    try:
        yield
    except (QueueError, OSError):
        commits.failed()
        raise


_report: ContextVar[Report | None] = ContextVar("report", default=None)


def report_to(report: Report) -> None:
    """From here on in this context, ``report`` is told of steps that failed."""
    _report.set(report)


def tell(text: str) -> None:
    """Say something about a change that was made, to who asked for it."""
    report = _report.get()
    if report is not None:
        report(text)


class _Step:
    def __init__(self, step: str) -> None:
        self._step = step

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        known = isinstance(error, QueueError | OSError)
        why = str(error) if known else f"{type(error).__name__}: {error}"
        tell(f"{self._step} failed afterwards: {clean_line(why, 300)}")
        return True


def after_commit(step: str) -> _Step:
    """``with`` this, run a step that follows a commit. ``step``: "removing output files".

    Any error of it ends the step, not the verb. Only what ends a process passes (ctrl-c).
    """
    return _Step(step)
