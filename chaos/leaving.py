"""Supervisors are stopped, in every way there is, while they run many short jobs."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from random import Random

from .plant import Plant, Supervisor, until
from .trial import Trial

COMMANDS = (
    *("true",) * 8,
    "echo said; exit 3",
    "sleep 0.02; echo said",
    "sleep 300 & exit 1",
    "trap 'exit 0' TERM; sleep 0.1 & wait",
)
"""Jobs that end at once, that take a moment, that leave something to clear up after them."""


def _signal(number: int, times: int) -> Callable[[Plant, Random], None]:
    def tell(made: Plant, rng: Random) -> None:
        for supervisor in made.supervisors:
            for _ in range(times):
                supervisor.process.send_signal(number)
                time.sleep(0.05 * (times - 1))  # two signals at the same moment are one

    return tell


def _stop(*options: str) -> Callable[[Plant, Random], None]:
    def tell(made: Plant, rng: Random) -> None:
        made.cli("worker", "stop", *options)

    return tell


def _one_by_one(made: Plant, rng: Random) -> None:
    workers = [str(row[0]) for row in made.sql("SELECT id FROM workers")]
    rng.shuffle(workers)
    for worker in workers:
        made.cli("worker", "stop", worker, *rng.choice(((), ("--now",))))


WAYS: dict[str, Callable[[Plant, Random], None]] = {
    "SIGTERM": _signal(signal.SIGTERM, 1),
    "SIGINT": _signal(signal.SIGINT, 1),
    "SIGINT twice": _signal(signal.SIGINT, 2),
    "worker stop": _stop(),
    "worker stop --now": _stop("--now"),
    "worker stop, one by one": _one_by_one,
}


def leaving(trial: Trial, made: Plant, rng: Random) -> None:
    """A supervisor that leaves has no job, leaves nothing behind, and has lost no result."""
    slowest = 0.0
    total = 0
    rounds = max(trial.rounds, len(WAYS))
    for number in range(rounds):
        jobs = [
            {"command": rng.choice(COMMANDS), "max_retries": 2, "backoff_base": 0}
            for _ in range(120)
        ]
        made.cli("enqueue", "-", stdin="\n".join(map(json.dumps, jobs)).encode())
        total += len(jobs)
        told = [made.start() for _ in range(rng.choice((1, 1, 2)))]
        until(lambda told=told: all(made.is_up(one) for one in told))  # type: ignore[misc]
        time.sleep(rng.uniform(0.0, 0.3))
        way = sorted(WAYS)[number % len(WAYS)]
        began = time.monotonic()
        WAYS[way](made, rng)
        trial.check(
            until(lambda told=told: not any(one.alive for one in told)),  # type: ignore[misc]
            f"{way}: a supervisor did not leave",
        )
        slowest = max(slowest, time.monotonic() - began)
        _look(trial, made, way, told)
        if trial.broken:
            return
    code, _, err = made.cli("worker", "start", "--until-empty")
    trial.check(code == 0, f"what was left did not end: exit {code}, {err[-300:]}")
    states = Counter(str(state) for (state,) in made.sql("SELECT state FROM jobs"))
    trial.check(states.total() == total, f"{total} accepted, {states}")
    trial.check(states.keys() <= {"completed", "dead"}, f"not all ended: {states}")
    again = made.sql(
        "SELECT job FROM attempts WHERE outcome = 'completed' GROUP BY job HAVING count(*) > 1"
    )
    trial.check(not again, f"{len(again)} jobs completed twice")
    stops = made.sql("SELECT count(*) FROM attempts WHERE outcome = 'interrupted'")
    trial.figures["leaving: rounds"] = rounds
    trial.figures["leaving: attempts interrupted"] = int(str(stops[0][0]))
    trial.figures["leaving: slowest, s"] = slowest


def _look(trial: Trial, made: Plant, way: str, told: list[Supervisor]) -> None:
    for one in told:
        made.supervisors.remove(one)
        made.gone.append(one)
        said = one.said.read_text("utf-8", "replace")
        left_well = one.process.returncode == 0 and "Traceback" not in said
        trial.check(left_well, f"{way}: exit {one.process.returncode}: {said[-500:]}")
    for table in ("supervisors", "workers", "jobs WHERE state = 'processing'"):
        ((count,),) = made.sql(f"SELECT count(*) FROM {table}")
        trial.check(count == 0, f"{way}: {count} left of {table}")
    trial.check(until(lambda: not made.processes(), 5.0), f"{way}: left {made.processes()}")
    left = (path for path in made.run.rglob("*") if not path.is_dir())
    files = [path.name for path in left if path.suffix != ".lock"]
    trial.check(not files, f"{way}: files left: {files}")
