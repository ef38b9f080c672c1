"""Supervisors are killed with -9 again and again, while jobs of queues with limits run. The jobs
write down when they start and end: at no moment do more run than may."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .plant import Plant, until
from .trial import Trial

JOB = Path(__file__).with_name("limits.sh")
SUPERVISORS, WORKERS = 3, 6
KILLS = 5
"""For each round of the trial."""
BATCH = 45
"""Jobs that are enqueued at the start, and again after every fifth kill."""
LONGEST = 0.4
"""Seconds of the longest job."""
PATIENCE = 180.0
"""Seconds until the last jobs have ended, after the last kill."""


@dataclass(frozen=True)
class Lane:
    """A queue and its limits. ``keys``: the keys of its jobs."""

    name: str
    options: tuple[str, ...] = ()
    most: int | None = None
    """So many may run at a time."""
    keys: tuple[str, ...] = ()
    most_per_key: int | None = None
    starts: int = 0
    seconds: float = 0.0
    """At most ``starts`` starts in any ``seconds``."""


LANES = (
    Lane("one", ("--limit", "1"), 1),
    Lane("two", ("--limit", "2"), 2),
    Lane("five", ("--limit", "5"), 5),
    Lane("host", ("--per-host", "2"), 2),
    Lane("keyed", keys=("a", "b", "c"), most_per_key=1),
    Lane("pairs", ("--per-key", "2", "--limit", "5"), 5, ("a", "b"), 2),
    Lane("rate", ("--rate", "6/2s"), starts=6, seconds=2.0),
    Lane("both", ("--rate", "5/1s", "--limit", "2"), 2, starts=5, seconds=1.0),
    Lane("free"),
)


def limits(trial: Trial, made: Plant, rng: Random) -> None:
    """The whole trial."""
    _must(made, "config", "set", "max-crashes", "50")
    for lane in LANES:
        if lane.options:
            _must(made, "queue", "set", lane.name, *lane.options)
    total = _enqueue(made, rng, 0)
    for _ in range(SUPERVISORS):
        made.start(WORKERS)
    kills = KILLS * trial.rounds
    began = time.monotonic()
    for number in range(kills):
        _wait_a_little(made, rng)
        left_by_itself = [one for one in made.supervisors if not one.alive]
        for one in left_by_itself:
            said = one.said.read_text("utf-8", "replace")[-300:]
            trial.check(False, f"a supervisor left, exit {one.process.returncode}: {said}")
            return
        for victim in rng.sample(made.supervisors, rng.choice((1, 1, 1, SUPERVISORS))):
            made.kill(victim)
            made.start(WORKERS)
            trial.figures["limits: supervisors killed"] = len(made.gone)
        if number % 5 == 4:
            total += _enqueue(made, rng, total)
    final = "SELECT count(*) FROM jobs WHERE state NOT IN ('completed', 'dead', 'cancelled')"
    ended = until(lambda: made.sql(final) == [(0,)], PATIENCE, every=0.2)
    trial.figures["limits: jobs"] = total
    trial.figures["limits: seconds"] = time.monotonic() - began
    rows = made.sql("SELECT queue, state, count(*) FROM jobs GROUP BY queue, state")
    trial.check(ended, f"not all jobs ended: {sorted(rows)}")
    trial.check(not made.stop_all(), "a supervisor did not leave on SIGTERM")
    states = Counter(str(state) for (state,) in made.sql("SELECT state FROM jobs"))
    trial.check(states == {"completed": total}, f"{total} jobs, and {dict(states)}")
    judge(trial, [line.split() for line in (made.place / "log").read_text("utf-8").splitlines()])
    trial.broken += made.database.faults()
    for file, line in made.said():
        trial.check("Traceback" not in line, f"supervisor {file} said: {line}")


def _must(made: Plant, *words: str, stdin: bytes | None = None) -> None:
    code, _, err = made.cli(*words, stdin=stdin)
    if code:
        raise RuntimeError(f"queuectl {' '.join(words)}: exit {code}: {err}")


def _enqueue(made: Plant, rng: Random, first: int) -> int:
    """More jobs in every lane; returns how many."""
    jobs = []
    for number in range(first, first + BATCH):
        lane = LANES[number % len(LANES)]
        key = rng.choice(lane.keys) if lane.keys else ""
        name, seconds = f"j{number}", rng.uniform(0.0, LONGEST)
        command = f"exec sh {JOB} {lane.name} {key or '-'} {name} {seconds:.2f}"
        job = {"id": name, "queue": lane.name, "command": command, "priority": rng.choice((0, 1))}
        jobs.append(job | ({"key": key} if key else {}))
    _must(made, "enqueue", "-", stdin="\n".join(map(json.dumps, jobs)).encode())
    return len(jobs)


def _wait_a_little(made: Plant, rng: Random) -> None:
    """Until some more attempts have started, or a moment has passed: a supervisor may die before
    it is up, and in the middle of its work."""
    wanted = made.count_log(b"S") + rng.choice((0, 1, 3, 5))
    until(lambda: made.count_log(b"S") >= wanted, 1.0)


# -- the verdict ------------------------------------------------------------------------


def judge(trial: Trial, lines: list[list[str]]) -> None:
    """Whether what the jobs wrote keeps every limit."""
    lanes = {lane.name: lane for lane in LANES}
    running: Counter[str] = Counter()
    keys: Counter[tuple[str, str]] = Counter()
    inside: set[str] = set()
    most: Counter[str] = Counter()
    starts: dict[str, list[float]] = defaultdict(list)
    for kind, queue, key, name, _, at in lines:
        lane, step = lanes[queue], 1 if kind == "S" else -1
        running[queue] += step
        keys[queue, key] += step
        if kind == "E":
            inside.discard(name)
            continue
        trial.check(name not in inside, f"{name} was started while it ran")
        inside.add(name)
        starts[queue].append(float(at))
        most[queue] = max(most[queue], running[queue])
        if lane.most is not None and running[queue] > lane.most:
            trial.check(False, f"{running[queue]} ran in queue {queue}, {lane.most} may")
        if lane.most_per_key is not None and keys[queue, key] > lane.most_per_key:
            trial.check(False, f"{keys[queue, key]} ran with key {key} in queue {queue}")
    trial.check(not inside, f"never ended: {sorted(inside)[:10]}")
    for lane in LANES:
        trial.figures[f"limits: most at a time in {lane.name}"] = most[lane.name]
        if lane.starts:
            shortest = min(_spans(starts[lane.name], lane.starts), default=float("inf"))
            trial.figures[f"limits: shortest time of {lane.starts + 1} starts in {lane.name}"] = (
                shortest
            )
            said = f"{lane.starts + 1} starts of queue {lane.name} within {shortest:.2f} s"
            trial.check(shortest >= lane.seconds - 0.01, said)  # as exact as the uptime is
    again = Counter(line[3] for line in lines if line[0] == "S")
    trial.figures["limits: jobs started again"] = sum(count > 1 for count in again.values())
    reached = [lane.name for lane in LANES if lane.most and most[lane.name] == lane.most]
    trial.figures["limits: queues that reached their limit"] = len(reached)


def _spans(starts: list[float], count: int) -> Iterator[float]:
    """The times from each start to the one ``count`` later."""
    ordered = sorted(starts)
    for first, last in zip(ordered, ordered[count:], strict=False):
        yield last - first
