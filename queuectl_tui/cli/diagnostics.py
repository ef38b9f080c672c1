"""Standard error and exit codes: what a verb says besides its data, and how it ends.

Nothing else writes standard error. Every failure ends in :func:`guard`: one line and the
documented exit code; a traceback only with ``--debug``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..interrupts import signals
from .declare import UsageError
from .output import Stdout, StdoutClosed, StdoutFailed

if TYPE_CHECKING:
    from queuectl_core.system.line_writer import LineWriter

USAGE = 2
EXIT_PATIENCE = 1.0
"""Seconds to wait at the end for a terminal that takes nothing."""
LONGEST = 2000
"""Characters of a message, at most: it may contain user input of any length."""
SHOWN_PROBLEMS = 20
"""Bad lines of a batch that are reported one by one."""

_SGR = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}


class Stderr:
    """Notes, warnings, a progress line. Text given to it must be clean."""

    def __init__(self) -> None:
        self.color = True
        self.quiet = False
        """No notes, no progress, no table header."""
        self.debug = False
        """Show the traceback of an error."""
        self.path = ""
        """The command without options, as ``queuectl dlq list``; empty: not known."""
        self._bar = ""
        self._drawn = 0.0
        self._writer: LineWriter | None = None
        if sys.stderr is not None:
            reconfigure = getattr(sys.stderr, "reconfigure", None)
            if reconfigure:
                reconfigure(errors="backslashreplace")

    @property
    def terminal(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()

    @property
    def can_ask(self) -> bool:
        return self.terminal and sys.stdin is not None and sys.stdin.isatty()

    @property
    def animated(self) -> bool:
        return self.terminal and not self.quiet and os.environ.get("TERM", "dumb") != "dumb"

    def styled(self, text: str, style: str) -> str:
        """``text`` in colour, where colours are shown."""
        return f"\x1b[{_SGR[style]}m{text}\x1b[0m" if self.color and self.terminal else text

    def line(self, text: str) -> None:
        """One line, also with ``--quiet``."""
        bar, self._bar = self._bar, ""
        self._write(("\r\x1b[K" if bar else "") + text + "\n")
        if bar:
            self._show(bar)

    def note(self, text: str) -> None:
        """Something worth knowing; not with ``--quiet``."""
        if not self.quiet:
            self.line(f"queuectl: {text}")

    def warn(self, text: str) -> None:
        self.line(f"queuectl: {self.styled('warning', 'yellow')}: {text}")

    def error(self, text: str) -> None:
        self.line(f"queuectl: {self.styled('error', 'red')}: {text}")

    def bar(self, label: str, done: int, total: int, extra: str = "") -> None:
        """Show the progress, at most ten times a second, and only at a terminal."""
        if not self.animated:
            return
        now = time.monotonic()
        if now - self._drawn < 0.1 and done < total:
            return
        self._drawn = now
        part = done / total if total else 1.0
        filled = int(part * 24)
        drawn = "━" * filled + self.styled("━" * (24 - filled), "dim")
        self._show(f"{label} {drawn} {done:,}/{total:,} {extra}")

    def status(self, text: str) -> None:
        """Show a line that the next one replaces, only at a terminal."""
        now = time.monotonic()
        if self.animated and now - self._drawn >= 0.1:
            self._drawn = now
            self._show(text)

    def clear(self) -> None:
        if self._bar:
            self._bar = ""
            self._write("\r\x1b[K")

    def ask(self, question: str) -> bool | None:
        """A question for yes or no; None when nobody is there to answer."""
        if not self.can_ask:
            return None
        self._write(f"{question} [y/N] ")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def _show(self, text: str) -> None:
        self._bar = text
        # Autowrap off while it is drawn: a narrow terminal cuts it instead of scrolling.
        self._write(f"\r\x1b[K\x1b[?7l{text}\x1b[?7h")

    @contextmanager
    def never_waiting(self) -> Iterator[None]:
        """Inside, nothing waits for a terminal or a pipe that nobody reads: lines that it does not
        accept are dropped and counted. This stays so afterwards if it is stuck at the end."""
        try:
            fd = -1 if sys.stderr is None else sys.stderr.fileno()
        except (OSError, ValueError):
            fd = -1  # not a file, so writing never waits
        if sys.stderr is None or fd < 0:
            yield
            return
        from queuectl_core.system.line_writer import LineWriter

        self._writer = LineWriter(fd, encoding=sys.stderr.encoding)
        try:
            yield
        finally:
            if self._writer.close(EXIT_PATIENCE):
                self._writer = None

    def _write(self, text: str) -> None:
        if self._writer is not None:
            self._writer.put(text)
            return
        try:
            if sys.stderr is not None:
                sys.stderr.write(text)
                sys.stderr.flush()
        except (OSError, ValueError):
            pass  # there is no other place to report it


class Result:
    """How the command line ended."""

    code = 0


@contextmanager
def guard(out: Stdout, err: Stderr) -> Iterator[Result]:
    """Run a command line inside; every exception becomes a message and an exit code."""
    _own_standard_files()
    result = Result()
    try:
        signals.work()
        yield result
    except StdoutClosed:
        pass
    except BaseException as error:
        signals.end(None)
        err.clear()
        result.code = _report(err, error)
        _flush(out, err, result)
    signals.end(result.code)
    err.clear()


def _flush(out: Stdout, err: Stderr, result: Result) -> None:
    try:
        out.flush()
    except StdoutClosed:
        pass
    except StdoutFailed as error:
        result.code = result.code or _report(err, error)


def _report(err: Stderr, error: BaseException) -> int:
    from queuectl_core.domain.errors import BatchRejected, HostShort, QueueError

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, KeyboardInterrupt):
        error = error.__cause__  # it came in __set_name__ while a module was loaded: Python 3.11
    if err.debug and not isinstance(error, (UsageError, KeyboardInterrupt)):
        _show_traceback(err, error)
    if isinstance(error, BatchRejected):
        for number, problem in error.problems[:SHOWN_PROBLEMS]:
            err.error(f"line {number}: {one_line(problem)}")
        more = error.total - min(len(error.problems), SHOWN_PROBLEMS)
        if more:
            err.error(f"{more:,} more bad line{'s' if more != 1 else ''}")
    if isinstance(error, QueueError):
        err.error(one_line(str(error)))
        return error.exit_code
    if isinstance(error, UsageError):
        err.error(one_line(_explain_usage(err, error)))
        return USAGE
    if isinstance(error, (KeyboardInterrupt, EOFError)):
        return _report_stop(err)
    if isinstance(error, StdoutFailed):
        return _report_output(err, error)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, RecursionError | MemoryError):
        err.error("out of memory; give it less at once")
        return 1
    if isinstance(error, Exception) and (short := HostShort.of(error)):
        err.error(one_line(str(short)))
        return short.exit_code
    shown = one_line(f"{type(error).__name__}: {error}")
    err.error(f"internal error: {shown}; run again with --debug")
    return 1


def _report_stop(err: Stderr) -> int:
    """A signal stopped the verb: say what was done before."""
    from queuectl_core.system.postcommit import commits

    said = [signals.word, commits.so_far]
    if commits.under_way:
        said.append("what was asked for may be done")
    err.line(f"queuectl: {'; '.join(filter(None, said))}")
    return signals.code


def _report_output(err: Stderr, error: StdoutFailed) -> int:
    """After a commit this is no failure: a caller that repeats the verb would do everything
    twice."""
    from queuectl_core.system.postcommit import commits

    if commits:
        err.warn(f"it is done, but the output cannot be written: {error}")
        return 0
    err.error(f"cannot write the output: {error}")
    return 1


def _show_traceback(err: Stderr, error: BaseException) -> None:
    import traceback

    from queuectl_core.domain.text import clean_block

    err.line(clean_block("".join(traceback.format_exception(error))).rstrip())


def one_line(text: str) -> str:
    """``text`` on one line, safe to show; the middle of a very long one is left out."""
    from queuectl_core.domain.text import clean_line

    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 4 :]}"
    return clean_line(" ".join(text.split("\n")))


def _explain_usage(err: Stderr, error: UsageError) -> str:
    message = f"{error}{error.hint}"
    if "; see: " in str(error) or "type: queuectl " in str(error) or not err.path:
        return message
    return f"{message}; see: {err.path} --help"


def _own_standard_files() -> None:
    """Make sure descriptors 0 to 2 are open, so that no file that we open becomes stdout."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
