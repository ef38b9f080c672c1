"""Which functions of ours a process runs, and for which test. It is read in by every process on a
copy that is made for this, so it uses the standard library only.

A function is written down when it runs first: a process that is killed has still said what it ran.
"""

import contextlib
import os
import sys
import threading
from types import CodeType, FrameType

ROOT = os.environ["MUTANTS_ROOT"] + "/queuectl_"
OUT = os.environ["MUTANTS_RAN"]


def write(line: bytes) -> None:
    """Add a line. The file is opened each time: a process may close what it does not know. A test
    may have taken away what this needs: files, space, or the size that a file may have."""
    with contextlib.suppress(OSError):
        file = os.open(OUT, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(file, line)
        finally:
            os.close(file)


class Tracer:
    """Called by Python at the begin of each function."""

    def __init__(self) -> None:
        self.test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        self.seen: dict[int, CodeType] = {}

    def begin(self, test: str) -> None:
        """What runs from now on runs for this test. Others may have taken our place (hypothesis
        does), or Python has removed us because of an error."""
        sys.settrace(self)
        self.test = test
        self.seen = {}

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if id(code) not in self.seen:
            self.seen[id(code)] = code
            if code.co_filename.startswith(ROOT):
                path = code.co_filename[len(ROOT) - len("queuectl_") :]
                write(f"{self.test}\t{path}::{code.co_qualname}\n".encode())


if not hasattr(sys, "mutants_tracer"):
    tracer = Tracer()
    setattr(sys, "mutants_tracer", tracer)  # noqa: B010 - nobody else knows of it
    sys.settrace(tracer)
    threading.settrace(tracer)
