"""How values read on the screen: short, and changing no more often than anyone needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from queuectl_core.domain.model import MASK, Command
from queuectl_core.domain.text import clean_line
from queuectl_core.domain.times import format_duration

LINE_LIMIT = 400
"""Characters of a job's text that a table ever looks at."""


def ago(seconds: float) -> str:
    """How long ago, in steps coarse enough to leave a quiet screen quiet."""
    if seconds < -0.5:
        return f"in {_coarse(-seconds)}"
    if seconds < 10:
        return "now"
    if seconds < 60:
        return f"{int(seconds) // 10 * 10}s"
    if seconds < 600:
        return f"{int(seconds) // 60}m"
    return lasting(seconds)


def _coarse(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds) // size}{unit}"
    return f"{max(1, int(seconds))}s"


def lasting(seconds: float) -> str:
    """How long, with seconds only while they matter."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def clock_time(moment: float | None, now: float) -> str:
    """Local time to the second, with its zone, and with the date if that is not today's."""
    if moment is None:
        return "-"
    local, today = (datetime.fromtimestamp(at).astimezone() for at in (moment, now))
    date = "" if local.date() == today.date() else f"{local:%Y-%m-%d} "
    return f"{date}{local:%H:%M:%S %Z}"


def exact_age(moment: float | None, now: float) -> str:
    """How long ago, or how long until, with a tenth of a second where that matters."""
    if moment is None:
        return ""
    return f"in {format_duration(moment - now)}" if moment > now else format_duration(now - moment)


def variables(env: Mapping[str, str], *, show: bool = False) -> str:
    """``A=***  B=***``; ``show``: with their values."""
    return "  ".join(clean_line(f"{name}={env[name] if show else MASK}") for name in env)


def command_text(command: Command) -> str:
    """A command as one would type it; not cleaned."""
    if isinstance(command, str):
        return command
    from shlex import join

    return join(command)


def command_line(command: Command) -> str:
    """A command on one clean line of bounded length."""
    if not isinstance(command, str):
        command = command[:LINE_LIMIT]  # each word takes at least one character
    return clean_line(command_text(command), LINE_LIMIT)


def short(text: str | None, limit: int = LINE_LIMIT) -> str:
    """Any text of a job on one clean line of bounded length."""
    return clean_line(text, limit) if text else ""


def plural(count: int, word: str = "job") -> str:
    """``1 job``, ``2 jobs``, ``1,000 jobs``."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def cli(*words: str) -> str:
    """The command line that does the same, as one would type it in bash, zsh or ksh."""
    return "queuectl " + " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    """``word`` for a shell. What is not safe to show becomes an escape that the shell undoes."""
    if clean_line(word) == word:
        from shlex import quote

        return quote(word)
    known = {"\n": "\\n", "\t": "\\t", "\\": "\\\\", "'": "\\'"}
    escaped = (
        known.get(char) or (char if clean_line(char) == char else f"\\U{ord(char):08x}")
        for char in word
    )
    return "$'" + "".join(escaped) + "'"


NEWLINE = "⏎"
"""Stands for the end of a line where a text of several lines is edited on one."""


def on_one_line(text: str) -> str | None:
    """``text`` for a field of one line; None if it holds what cannot be shown or edited there."""
    if NEWLINE in text:
        return None
    shown = text.replace("\n", NEWLINE)
    return shown if clean_line(shown) == shown else None


def on_lines(text: str) -> str:
    """The opposite of :func:`on_one_line`."""
    return text.replace(NEWLINE, "\n")


BARS = " ▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int, top: float | None = None) -> str:
    """``values`` as ``width`` bars, the latest at the right; any value at all shows."""
    if width <= 0:
        return ""
    shown = list(values)[-width:]
    high = max([*shown, 1.0 if top is None else top])
    last = len(BARS) - 1
    bars = [BARS[0 if v <= 0 else max(1, round(v / high * last))] for v in shown]
    return "".join(bars).rjust(width)
