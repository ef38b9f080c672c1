"""Steps that follow a commit: their failure is reported, and never turns success into failure.

When a verb's change is committed, the verb is done. What follows (a checkpoint, waking the workers,
removing files, reading jobs again for the answer) may fail: the disk is full, the store has gone
away. If that made the verb fail, its caller would repeat it, and do everything twice.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType

from .errors import QueueError
from .text import clean_line

Report = Callable[[str], None]


class Commits:
    """The commits of this process that are under way or done, since its verb began."""

    def __init__(self) -> None:
        self._count = 0

    def verb_begins(self) -> None:
        """What was committed up to now (a store that was made) is not the verb's change."""
        self._count = 0

    def begin(self) -> None:
        """From here on the change may have been made, whatever becomes of the process."""
        self._count += 1

    def failed(self) -> None:
        """It was not made, and never will be."""
        self._count -= 1

    def __bool__(self) -> bool:
        """Whether the store was changed, or is about to be with nothing that could stop it."""
        return self._count > 0


commits = Commits()

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
