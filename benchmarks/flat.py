"""Whether a large store is as fast as an empty one.

    python benchmarks/flat.py [--jobs N] [--rounds N] [--scale X] [--json]

The large store holds a million finished jobs, 100,000 that wait, 100,000 scheduled for tomorrow
at a higher priority and 50,000 dead (``--scale`` times that). Both are measured in turns, and the
median of the rounds is given. Ends with exit code 1 if a bar is missed.

- *drain, own queue*: ``worker start --until-empty --queue QUEUE``, from start to exit, of jobs in
  a queue of their own.
- *drain, shared queue*: jobs in a queue where half of all that waits, and half of what is
  scheduled, stands as well. They are claimed first by their priority; the time runs from the
  start of the workers to the end of the last of them, and then the workers are stopped.
- *verbs*: whole processes, from start to exit, with their output in a pipe.
"""

from __future__ import annotations

import argparse
import json
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from flat_seed import Size, seed
from harness import QUEUECTL, Scratch, in_turns, timed

DRAIN_BAR = 0.9
VERB_BAR = 1.5

ONLY = "only"
"""The queue that nothing else is in."""
SHARED = "bench"
"""A queue of the large store."""
BETWEEN = 5
"""A priority above what waits and below what is scheduled."""

WORKERS = [*QUEUECTL, "worker", "start", "--count", "4", "--quiet"]

VERBS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("list", "--limit", "50"),
    ("dlq", "list", "--limit", "50"),
    ("stats",),
    ("stats", "--since", "24h"),
    ("stats", "--since", "30d"),
    ("list", "--state", "dead", "--limit", "50"),
    ("show", "known"),
    ("wait", "known"),
    ("worker", "list"),
    ("enqueue", "--queue", "other", "true"),
)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two stores."""

    scratch: Scratch
    large: bool

    def enqueue(self, jobs: int, queue: str, priority: int) -> None:
        """Jobs that run ``true``, due now."""
        line = json.dumps({"command": "true", "queue": queue, "priority": priority}) + "\n"
        enqueue = [*QUEUECTL, "enqueue", "-", "--quiet"]
        timed(enqueue, self.scratch.env, line.encode() * jobs)

    def ready(self) -> None:
        """The empty one is empty again; the large one has nothing left to write."""
        if self.large:
            database = sqlite3.connect(self.scratch.store, timeout=10)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.close()
        else:
            self.scratch.new()

    def query(self, statement: str) -> list[Any]:
        """Run one statement on the store."""
        with closing(sqlite3.connect(self.scratch.store, timeout=10)) as database:
            return database.execute(statement).fetchall()


def drain_own_queue(side: Side, jobs: int) -> float:
    """Jobs a second, by the life of the workers' process."""
    side.ready()
    side.enqueue(jobs, ONLY, 0)
    return jobs / timed([*WORKERS, "--until-empty", "--queue", ONLY], side.scratch.env)


def drain_shared_queue(side: Side, jobs: int) -> float:
    """Jobs a second, by the end of the last of them."""
    side.ready()
    side.enqueue(jobs, SHARED, BETWEEN)
    last = side.query("SELECT max(seq) FROM jobs")[0][0]
    began = time.time()
    process = subprocess.Popen([*WORKERS, "--queue", SHARED], env=side.scratch.env)
    try:
        while side.query(
            f"SELECT 1 FROM jobs WHERE seq > {last - jobs} AND state <> 'completed' LIMIT 1"
        ):
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    ended = side.query(
        f"SELECT max(finished_at) FROM jobs WHERE seq > {last - jobs} AND seq <= {last}"
    )[0][0]
    return float(jobs / (ended - began))


def ratio(
    rounds: int, large: Callable[[], float], empty: Callable[[], float], *, bar: float, most: bool
) -> dict[str, Any]:
    """Both in turns; ``most``: the ratio may be no more than the bar, else no less."""
    ours, others = in_turns(rounds, large, empty)
    each = [a / b for a, b in zip(ours, others, strict=True)]
    middle = statistics.median(each)
    return {
        "large": statistics.median(ours),
        "empty": statistics.median(others),
        "ratio": middle,
        "spread": [min(each), max(each)],
        "bar": bar,
        "ok": middle <= bar if most else middle >= bar,
    }


def measure(large: Side, empty: Side, jobs: int, rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {"drain": {}, "verbs": {}}
    for name, bar in (("own queue", drain_own_queue), ("shared queue", drain_shared_queue)):
        found["drain"][name] = ratio(
            rounds,
            lambda bar=bar: bar(large, jobs),
            lambda bar=bar: bar(empty, jobs),
            bar=DRAIN_BAR,
            most=False,
        )
    empty.scratch.new()
    for side in (large, empty):
        # A job that has ended, to be shown and waited for.
        timed([*QUEUECTL, "enqueue", "--id", "known", "--queue", ONLY, "true"], side.scratch.env)
        timed([*WORKERS, "--until-empty", "--queue", ONLY], side.scratch.env)
    for words in VERBS:
        found["verbs"][" ".join(words)] = ratio(
            3 * rounds,
            lambda words=words: timed([*QUEUECTL, *words], large.scratch.env),
            lambda words=words: timed([*QUEUECTL, *words], empty.scratch.env),
            bar=VERB_BAR,
            most=True,
        )
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--jobs", type=int, default=3000, help="jobs to drain")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--scale", type=float, default=1.0, help="of the large store")
    options.add_argument("--store", type=Path, help="a large store made before (it is changed)")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    whole = Size()
    size = Size(
        *(int(given.scale * count) for count in astuple(whole)),
    )
    large, empty = Side(Scratch(), True), Side(Scratch(), False)
    try:
        if given.store:
            large.scratch.env["QUEUECTL_STORE"] = str(given.store)
            large.scratch.store = given.store
        else:
            print(f"making a store of {size.jobs:,} jobs …", file=sys.stderr, flush=True)
            seed(large.scratch.store, size)
        found = {"jobs": size.jobs, **measure(large, empty, given.jobs, given.rounds)}
    finally:
        large.scratch.close()
        empty.scratch.close()
    print(json.dumps(found, indent=2) if given.json else table(found))
    return 0 if all(bar["ok"] for part in ("drain", "verbs") for bar in found[part].values()) else 1


def table(found: dict[str, Any]) -> str:
    rows = [f"{found['jobs']:,} jobs beside an empty store"]
    for part, unit, factor in (("drain", "jobs/s", 1), ("verbs", "ms", 1000)):
        for name, bar in found[part].items():
            word = "ok" if bar["ok"] else "MISSED"
            low, high = bar["spread"]
            label = f"{part}, {name}" if part == "drain" else name
            rows.append(
                f"{word:<7}{label:<32}{factor * bar['large']:>7.0f} |"
                f"{factor * bar['empty']:>5.0f} {unit:<7}"
                f"{bar['ratio']:>5.2f} ({low:.2f} to {high:.2f}; bar {bar['bar']:g})"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
