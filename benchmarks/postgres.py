"""PostgreSQL beside SQLite, with a durable server of its own on the same cores.

    python benchmarks/postgres.py [--jobs N] [--rounds N] [--scale X] [--only PART]… [--json]

- *drain*: ``worker start --count 4 --until-empty`` of N times ``true``, from start to exit, in
  turns with SQLite. Beside it the processor time a job costs, the server's with it.
- *pick-up*: from the moment ``enqueue`` returned (it has been committed) to the start of the
  command on an idle worker, through NOTIFY; in turns with SQLite.
- *claims*: how many jobs a second some supervisors claim and hand back as completed when running
  them costs nothing (``postgres_claims.py``).
- *fleet*: what supervisors with nothing to do cost the server (``postgres_fleet.py``).
- *console*: its bars (``console.py``) with a million jobs.
- *flat*: a store with a million finished jobs beside an empty one, as ``flat.py`` does for SQLite.

Ends with exit code 1 if a bar is missed.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from dataclasses import astuple, dataclass
from typing import Any

import console
import core
import flat
import postgres_claims
import postgres_fleet
from console_places import PostgresPlace
from flat_seed import Size
from harness import (
    QUEUECTL,
    Scratch,
    in_turns,
    judged,
    machine,
    middle,
    options,
    progress,
    ratio,
    report,
    word,
)
from postgres_seed import seed
from postgres_server import SETTINGS, Postgres, PostgresScratch

DRAIN_BAR = 0.7
PICK_UP_BAR = 15.0
"""Milliseconds, the median."""
WORKERS = ["worker", "start", "--count", "4", "--until-empty", "--quiet"]
PICK_UPS = 100
"""For each round and store."""
PARTS = ("drain", "pick-up", "claims", "fleet", "console", "flat")


# -- drain ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drained:
    seconds: float
    ours: float
    """Seconds of processor time of the supervisor, its shim and the jobs."""
    server: float = 0.0


def drained(scratch: Scratch, jobs: int) -> Drained:
    scratch.new()
    put_in = [*QUEUECTL, "enqueue", "-", "--quiet"]
    lines = b'{"command": "true"}\n' * jobs
    subprocess.run(put_in, env=scratch.env, input=lines, check=True, stdout=subprocess.DEVNULL)
    server = scratch.server if isinstance(scratch, PostgresScratch) else None
    theirs, ours, began = server.cpu() if server else 0.0, children(), time.perf_counter()
    subprocess.run([*QUEUECTL, *WORKERS], env=scratch.env, check=True)
    seconds = time.perf_counter() - began
    used = (server.cpu() if server else 0.0) - theirs
    progress(f"{'PostgreSQL' if server else 'SQLite':<12}{jobs / seconds:6.0f} jobs/s")
    return Drained(seconds, children() - ours, used)


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def drain(sqlite: Scratch, postgres: PostgresScratch, jobs: int, rounds: int) -> dict[str, Any]:
    for scratch in (sqlite, postgres):
        drained(scratch, 20)  # the first run compiles
    theirs, ours = in_turns(rounds, lambda: drained(sqlite, jobs), lambda: drained(postgres, jobs))

    def a_job(seconds: list[float]) -> dict[str, Any]:
        return middle([1000 * each / jobs for each in seconds])

    return {
        "jobs": jobs,
        "sqlite": middle([jobs / one.seconds for one in theirs]),
        "postgres": middle([jobs / one.seconds for one in ours]),
        "ratio": judged(
            ratio([1 / one.seconds for one in ours], [1 / one.seconds for one in theirs]),
            at_least=DRAIN_BAR,
        ),
        "cpu_ms_a_job": {
            "sqlite": a_job([one.ours for one in theirs]),
            "postgres, ours": a_job([one.ours for one in ours]),
            "postgres, the server": a_job([one.server for one in ours]),
        },
    }


# -- pick-up --------------------------------------------------------------------------------------


def pick_up(sqlite: Scratch, postgres: PostgresScratch, rounds: int) -> dict[str, Any]:
    def one(scratch: Scratch) -> dict[str, Any]:
        scratch.new()
        return asyncio.run(core.measure(scratch, PICK_UPS, 1))

    theirs, ours = in_turns(rounds, lambda: one(sqlite), lambda: one(postgres))

    def each(found: list[dict[str, Any]], *path: str) -> dict[str, Any]:
        figures = []
        for part in found:
            value: Any = part
            for key in path:
                value = value[key]
            figures.append(value["value"])
        return middle(figures)

    medians = each(ours, "pick_up_ms", "median")
    return {
        "jobs": PICK_UPS,
        "median_ms": judged(medians, at_most=PICK_UP_BAR),
        "p99_ms": each(ours, "pick_up_ms", "p99"),
        "child_ms": each(ours, "pick_up_ms", "a child of our own"),
        "sqlite_median_ms": each(theirs, "pick_up_ms", "median"),
        "idle_cpu_percent": {
            "postgres": each(ours, "idle_cpu_percent"),
            "sqlite": each(theirs, "idle_cpu_percent"),
        },
    }


# -- everything -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PostgresSide(flat.Side):
    """One of the two stores, on a server."""

    scratch: PostgresScratch

    def ready(self) -> None:
        if not self.large:
            self.scratch.new()

    def query(self, statement: str) -> list[Any]:
        return self.scratch.query(statement)


def flat_part(
    server: Postgres, postgres: PostgresScratch, jobs: int, rounds: int, scale: float
) -> dict[str, Any]:
    size = Size(*(int(scale * count) for count in astuple(Size())))
    large = PostgresScratch(server, "large")
    try:
        progress(f"making a store of {size.jobs:,} jobs …")
        seed(large, size)
        sides = PostgresSide(large, True), PostgresSide(postgres, False)
        return {"jobs": size.jobs, **flat.measure(*sides, jobs, rounds)}
    finally:
        large.close()


def console_part(server: Postgres, rounds: int, jobs: int) -> dict[str, Any]:
    scratch = PostgresScratch(server, "console")
    try:
        console.BYTECODE["PYTHONPYCACHEPREFIX"] = str(scratch.bytecode)
        place = PostgresPlace(scratch)
        progress(f"making a store of {jobs:,} jobs …")
        place.seed(jobs)
        return {"jobs": jobs, **console.measure(place, rounds)}
    finally:
        scratch.new()
        scratch.close()


def table(found: dict[str, Any]) -> str:
    where = found["machine"]
    settings = ", ".join(f"{name} {found['settings'][name]}" for name in SHOWN)
    rows = [
        f"{where['cores']} cores, the server on them too; PostgreSQL {found['server']}, {settings}"
    ]
    if part := found.get("drain"):
        low, high = part["ratio"]["spread"]
        cpu = {name: figure["value"] for name, figure in part["cpu_ms_a_job"].items()}
        rows += [
            f"{word(part['ratio']):<7}drain: {part['postgres']['value']:.0f} jobs/s, SQLite"
            f" {part['sqlite']['value']:.0f}; {part['ratio']['value']:.2f}"
            f" ({low:.2f} to {high:.2f}; bar {part['ratio']['bar']:g})",
            "       CPU a job: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in cpu.items()),
        ]
    if part := found.get("pick-up"):
        median, idle = part["median_ms"], part["idle_cpu_percent"]
        rows += [
            f"{word(median):<7}pick-up: median {median['value']:.1f} ms (bar {median['bar']:g}),"
            f" 99 % {part['p99_ms']['value']:.1f} ms; SQLite"
            f" {part['sqlite_median_ms']['value']:.1f} ms, a child of one's own"
            f" {part['child_ms']['value']:.1f} ms",
            f"       four workers at rest: {idle['postgres']['value']:.2f} % of a core"
            f" beside {idle['sqlite']['value']:.2f} %",
        ]
    if part := found.get("claims"):
        rows.append(postgres_claims.table(part))
    if part := found.get("fleet"):
        rows.append(postgres_fleet.table(part))
    if part := found.get("console"):
        rows.append(f"console, {part['jobs']:,} jobs: {console.table(part)}")
    if part := found.get("flat"):
        rows.append(flat.table(part))
    return "\n".join(rows)


SHOWN = ("fsync", "synchronous_commit", "shared_buffers")


def main() -> int:
    parser = options(__doc__, 5)
    parser.add_argument("--jobs", type=int, default=3000, help="default: 3000")
    parser.add_argument("--scale", type=float, default=1.0, help="of the large store")
    parser.add_argument("--only", action="append", choices=PARTS, help="default: all of them")
    given = parser.parse_args()
    parts = given.only or PARTS
    found: dict[str, Any] = {}
    with Postgres() as server, Scratch() as sqlite, PostgresScratch(server, "bench") as scratch:
        found |= {"settings": SETTINGS, "server": server.version(), "machine": machine()}
        if "drain" in parts:
            found["drain"] = drain(sqlite, scratch, given.jobs, given.rounds)
        if "pick-up" in parts:
            found["pick-up"] = pick_up(sqlite, scratch, min(given.rounds, 3))
        if "claims" in parts:
            found["claims"] = postgres_claims.measure(scratch, sqlite, min(given.rounds, 3))
        if "fleet" in parts:
            found["fleet"] = postgres_fleet.measure(scratch, min(given.rounds, 3))
        if "console" in parts:
            found["console"] = console_part(server, given.rounds, int(given.scale * 1_000_000))
        if "flat" in parts:
            found["flat"] = flat_part(server, scratch, given.jobs, given.rounds, given.scale)
    return report(found, given.json, table)


if __name__ == "__main__":
    sys.exit(main())
