"""Supervisors are killed with -9 every two seconds while they fire schedules, and the clock is set
forward and back. Each nominal time must be enqueued once, or be told as skipped or missed; nothing
is enqueued during a pause."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from random import Random

from .plant import Plant, until
from .trial import Trial

SUPERVISORS, WORKERS = 3, 2
KILLS = 5
"""For each round of the trial."""
EVERY = 2.0
"""Seconds from one kill to the next."""
PATIENCE = 120.0
"""Seconds until the schedules have caught up, after the last kill."""


@dataclass(frozen=True)
class Kind:
    """A schedule of the trial. ``step``: seconds between its nominal times."""

    name: str
    step: float
    options: tuple[str, ...]
    command: str = "true"


KINDS = (
    Kind("all", 1, ("--every", "1s", "--missed", "all", "--overlap", "allow")),
    Kind("cron", 2, ("--cron", "*/2 * * * * *", "--missed", "all", "--overlap", "allow")),
    Kind("once", 1, ("--every", "1s", "--overlap", "allow")),
    Kind("skip", 2, ("--every", "2s", "--missed", "skip"), "sleep 3"),
    Kind("queue", 2, ("--every", "2s", "--overlap", "queue"), "sleep 1.5"),
    Kind("replace", 3, ("--every", "3s", "--overlap", "replace"), "sleep 4"),
    Kind("jitter", 5, ("--every", "5s", "--missed", "all", "--overlap", "allow", "--jitter", "4s")),
)
PAUSED, EDITED = "paused", "edited"


def schedules(trial: Trial, made: Plant, rng: Random) -> None:
    """The whole trial."""
    _must(made, "config", "set", "max-crashes", "1000")
    for kind in KINDS:
        _must(made, "schedule", "add", kind.name, "--tz", "UTC", *kind.options, kind.command)
    for name in (PAUSED, EDITED):
        _must(made, "schedule", "add", name, "--every", "1s", "--overlap", "allow", "true")
    starts = {kind.name: _next(made, kind.name) for kind in KINDS}
    for _ in range(SUPERVISORS):
        made.start(WORKERS)
    began, wrong, ahead = time.monotonic(), 0.0, 0.0
    for number in range(KILLS * trial.rounds):
        time.sleep(EVERY)
        for one in [one for one in made.supervisors if not one.alive]:
            said = one.said.read_text("utf-8", "replace")[-300:]
            trial.check(False, f"a supervisor left, exit {one.process.returncode}: {said}")
            return
        for victim in rng.sample(made.supervisors, rng.choice((1, 1, 1, SUPERVISORS))):
            made.kill(victim)
            made.start(WORKERS)
        if number % 3 == 1:
            wrong += rng.choice((-20.0, -5.0, 5.0, 30.0, 70.0))
            ahead = max(ahead, wrong)
            made.clock.write_text(str(wrong), "ascii")
            trial.figures["schedules: clock jumps"] = 1 + trial.figures.get(
                "schedules: clock jumps", 0
            )
        if number % 5 == 2:
            _pause(trial, made)
        if number % 4 == 3:
            every = f"{rng.choice((1, 2, 3))}s"
            code, _, err = made.cli("schedule", "edit", EDITED, "--every", every)
            trial.check(code == 0, f"schedule edit: exit {code}: {err}")
    trial.figures["schedules: supervisors killed"] = len(made.gone)
    # Nothing is due until the clock is where it was at most.
    made.clock.write_text(str(ahead), "ascii")
    overdue = "SELECT count(*) FROM schedules WHERE due_at <= ? AND paused_at IS NULL"
    caught_up = until(lambda: made.sql(overdue, time.time() + ahead - 2.0) == [(0,)], PATIENCE, 0.3)
    trial.check(caught_up, "the schedules have not caught up")
    trial.check(not made.stop_all(), "a supervisor did not leave on SIGTERM")
    trial.figures["schedules: seconds"] = time.monotonic() - began
    for kind in KINDS:
        judge(trial, made, kind, starts[kind.name])
    doubled = _doubled(made)
    trial.check(not doubled, f"enqueued twice: {doubled[:5]}")
    trial.broken += made.database.faults()
    for file, line in made.said():
        trial.check("Traceback" not in line, f"supervisor {file} said: {line}")


def _must(made: Plant, *words: str) -> None:
    code, _, err = made.cli(*words)
    if code:
        raise RuntimeError(f"queuectl {' '.join(words)}: exit {code}: {err}")


def _next(made: Plant, name: str) -> float:
    [(at,)] = made.sql("SELECT next_at FROM schedules WHERE name = ?", name)
    return float(at)


def _pause(trial: Trial, made: Plant) -> None:
    """Between the answer to ``pause`` and ``resume`` nothing is enqueued."""
    code, _, err = made.cli("schedule", "pause", PAUSED)
    trial.check(code == 0, f"schedule pause: exit {code}: {err}")
    count = "SELECT count(*) FROM jobs WHERE schedule = ?"
    before = made.sql(count, PAUSED)
    time.sleep(2.5)
    trial.check(made.sql(count, PAUSED) == before, "a paused schedule was fired")
    trial.figures["schedules: pauses"] = 1 + trial.figures.get("schedules: pauses", 0)
    code, _, err = made.cli("schedule", "resume", PAUSED)
    trial.check(code == 0, f"schedule resume: exit {code}: {err}")


def _doubled(made: Plant) -> list[tuple[object, ...]]:
    return made.sql(
        "SELECT schedule, scheduled_at, count(*) FROM jobs WHERE scheduled_at IS NOT NULL"
        " GROUP BY schedule, scheduled_at HAVING count(*) > 1"
    )


def judge(trial: Trial, made: Plant, kind: Kind, start: float) -> None:
    """Whether each nominal time was enqueued, skipped or missed, and only one of these."""
    end = _next(made, kind.name)
    wanted = {start + kind.step * number for number in range(round((end - start) / kind.step))}
    rows = made.sql("SELECT scheduled_at FROM jobs WHERE schedule = ?", kind.name)
    ran = Counter(float(str(at)) for (at,) in rows)
    skipped: Counter[float] = Counter()
    missed = 0
    events = made.sql("SELECT kind, n, detail FROM events WHERE name = ?", kind.name)
    for what, number, text in events:
        detail = json.loads(str(text))
        if what == "schedule.skipped":
            skipped[datetime.fromisoformat(detail["scheduled_at"]).timestamp()] += 1
        elif what == "schedule.missed":
            trial.check(detail["complete"], f"{kind.name}: {detail}")
            missed += int(str(number))
    found = {"times": wanted, "runs": ran, "skipped": skipped}
    for word, each in found.items():
        trial.figures[f"schedules: {kind.name}: {word}"] = len(each)
    trial.figures[f"schedules: {kind.name}: missed"] = missed
    seen = ran.keys() | skipped.keys()
    strange = sorted(seen - wanted)
    trial.check(not strange, f"{kind.name}: no nominal times: {strange[:5]}")
    both = sorted(ran.keys() & skipped.keys())
    trial.check(not both, f"{kind.name}: enqueued and skipped: {both[:5]}")
    fired = Counter(what for what, _, _ in events)["schedule.fired"]
    trial.check(fired == len(rows), f"{kind.name}: {fired} events for {len(rows)} runs")
    lost = len(wanted) - len(seen) - missed
    trial.check(lost == 0, f"{kind.name}: {lost} of {len(wanted)} times were lost")
    if "all" in kind.options:
        gone = sorted(wanted - ran.keys())
        trial.check(not gone, f"{kind.name}: never enqueued: {gone[:5]} ({len(gone)})")
