"""``queuectl stats``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.times import format_duration, format_time

from ..presentation.columns import Column
from ..presentation.summary import PARTS, durations, precision
from .declare import option, verb
from .durations import age
from .output import TerminalColumn, TerminalTable, line_of
from .session import Session

if TYPE_CHECKING:
    from queuectl_core.domain.figures import Stats


@verb("stats", examples=("queuectl stats", "queuectl stats --since 24h --json"))
@option("--since", metavar="TIME", default="1h", about="How far back: 30m, 24h; 1h if unset.")
def stats(session: Session, since: str) -> None:
    """Show what ended lately: how many attempts completed, failed and made a job dead, the
    success rate, jobs a minute, and how long attempts ran and jobs waited to be started
    (average, shortest, longest, and the 50th, 95th and 99th percentile).

    Of more than 2,000 attempts, or when some of their jobs were removed, sums kept by the
    minute are read: percentiles are within 1 % of the true ones then, and the time looked back
    begins with a full minute (ten for more than two hours, an hour for more than a day, a day
    for more than a week).

    In a pipe: name, tab, value on each line; times in seconds.
    """
    seconds = age("--since", since)
    if not seconds:
        raise InvalidInput("--since: cannot look back 0 seconds", "write 30m, 1h or 7d")
    found = session.run(lambda queue: queue.stats(seconds), read_only=True)
    if session.json:
        session.out.json(found.to_json())
    elif session.out.terminal:
        _pretty(session, found, seconds)
    else:
        rows = [
            ("completed", str(found.completed)),
            ("failed", str(found.failed)),
            ("dead", str(found.dead)),
            ("success_rate", "" if found.success_rate is None else f"{found.success_rate:.4f}"),
            ("jobs_per_minute", f"{found.jobs_per_minute:.3f}"),
            ("since", format_time(found.since) or ""),
            ("exact", "yes" if found.exact else "no"),
        ]
        for name, spread in (("run_time", found.run_time), ("wait_time", found.wait_time)):
            for part in PARTS:
                value = "" if spread is None else f"{getattr(spread, part):.6f}"
                rows.append((f"{name}.{part}", value))
        session.out.pairs(rows)


def _pretty(session: Session, found: Stats, seconds: float) -> None:
    from rich.text import Text

    if found.success_rate is None:
        session.err.note(f"nothing ended in the last {format_duration(seconds)}")
        return
    if found.exact:
        period = f"last {format_duration(seconds)}"
    else:
        period = f"since {format_time(found.since)}, {precision(found)}"
    line = line_of(
        (
            (f"{found.completed:,} ", "good"),
            ("completed   ", "text"),
            (f"{found.failed:,} ", "warn" if found.failed else "muted"),
            ("failed   ", "text"),
            (f"{found.dead:,} ", "bad" if found.dead else "muted"),
            ("dead   ", "text"),
            (f"success {found.success_rate:.1%}   ", "text"),
            (f"{found.jobs_per_minute:,.1f} jobs a minute   ", "text"),
            (period, "muted"),
        )
    )
    times: TerminalTable[Sequence[str]] = TerminalTable(session.out, _TIMES)
    times.add(["ran", *durations(found.run_time)], 0.0)
    times.add(["waited", *durations(found.wait_time)], 0.0)
    session.out.render(line, Text(), times.made)


def _part(number: int, name: str) -> TerminalColumn[Sequence[str]]:
    role = "text" if number else "muted"
    return TerminalColumn(Column(name, lambda row, _: (row[number], role), right=number > 0))


_TIMES = [_part(number, name) for number, name in enumerate(("", *PARTS))]
