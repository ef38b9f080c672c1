"""SQLite: the table of what was added up stays small."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from queuectl_core.domain.claims import AttemptResult, Transition
from queuectl_core.domain.model import Attempt, Outcome, State
from queuectl_core.domain.rollup import DAY, HOUR, MINUTE, SPANS, merged, unpack
from queuectl_core.store.sqlite import migrate, statistics

from ..support import NOW

COMPLETED = Transition(State.COMPLETED, 1, 0, None, None)


def ended(at: float) -> AttemptResult:
    attempt = Attempt(
        number=1,
        started_at=at - 1,
        finished_at=at,
        outcome=Outcome.COMPLETED,
        exit_code=0,
        signal=None,
        reason=None,
        worker=None,
        host=None,
        peak_memory=None,
        cpu_seconds=None,
        output_bytes=0,
        waited=2.0,
    )
    return AttemptResult(1, 1, attempt, COMPLETED)


def test_it_keeps_a_bounded_number_of_rows(tmp_path: Path) -> None:
    database = sqlite3.connect(":memory:", isolation_level=None)
    migrate.migrate(database, tmp_path)
    moment = begun = NOW
    # Some work now and then for long, more of it, and at last work at every minute.
    steps = [5 * HOUR + MINUTE] * (430 * 5) + [HOUR + MINUTE] * 240 + [MINUTE] * (26 * 60)
    for step in steps:
        moment += step
        statistics.record(database, [ended(moment)], moment)
    rows = dict(database.execute("SELECT span, count(*) FROM rollups GROUP BY span").fetchall())
    (oldest,) = database.execute("SELECT min(at) FROM rollups WHERE at > 0").fetchone()
    whole = merged(unpack(data) for (data,) in database.execute("SELECT data FROM rollups"))
    database.close()
    assert whole.completed == len(steps), "what is too old for any window is still counted"
    for span, coarser in zip(SPANS, (*SPANS[1:], SPANS[-1]), strict=True):
        # What is kept of this length, and what has not made a whole longer one yet.
        assert rows[span.seconds] <= (span.kept + 2 * coarser.seconds) / span.seconds, span
    assert begun < moment - 402 * DAY <= oldest
