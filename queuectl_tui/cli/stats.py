"""``queuectl stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.times import format_duration, format_time

from ..presentation.columns import Cell, table
from ..presentation.stats import STATS_COLUMNS, TIME_COLUMNS, precision, time_rows
from .declare import option, verb
from .durations import age
from .output import TerminalTable, line_of
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
        session.out.pairs(
            [(column.name, column.value(found, 0.0)) for column in table(STATS_COLUMNS, "pipe")]
        )


def _pretty(session: Session, found: Stats, seconds: float) -> None:
    from rich.text import Text

    if found.success_rate is None:
        session.err.note(f"nothing ended in the last {format_duration(seconds)}")
        return
    if found.exact:
        period = f"last {format_duration(seconds)}"
    else:
        period = f"since {format_time(found.since)}, {precision(found)}"
    # What follows each figure; the word "success" is before its own.
    words = (" completed   ", " failed   ", " dead   success ", "   ", " jobs a minute   ")
    cells: list[Cell] = []
    for column, word in zip(table(STATS_COLUMNS, "screen"), words, strict=True):
        cells += [column.cell(found, 0.0), (word, "text")]
    line = line_of([*cells, (period, "muted")])
    times = TerminalTable(session.out, table(TIME_COLUMNS, "screen"))
    for row in time_rows(found):
        times.add(row, 0.0)
    session.out.render(line, Text(), times.made)
