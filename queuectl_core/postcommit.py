"""Steps that follow a commit: their failure is reported, and never turns success into failure.

When a verb's change is committed, the verb is done. What follows (a checkpoint, waking the workers,
removing files, reading jobs again for the answer) may fail: the disk is full, the store has gone
away. If that made the verb fail, its caller would repeat it, and do everything twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import QueueError
from .text import clean_line

Report = Callable[[str], None]

_report: ContextVar[Report | None] = ContextVar("report", default=None)


def report_to(report: Report) -> None:
    """From here on in this context, ``report`` is told of steps that failed."""
    _report.set(report)


@contextmanager
def after_commit(step: str) -> Iterator[None]:
    """Run a step that follows a commit. ``step`` says what it does: "removing output files".

    Any error of it ends the step, not the verb. Only what ends a process passes (ctrl-c).
    """
    try:
        yield
    except Exception as error:
        report = _report.get()
        if report is not None:
            known = isinstance(error, QueueError | OSError)
            why = str(error) if known else f"{type(error).__name__}: {error}"
            report(f"done, but {step} failed: {clean_line(why, 300)}")
