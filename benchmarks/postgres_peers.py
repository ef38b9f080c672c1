"""The drain of ``true`` by other queues on PostgreSQL, beside ours on the same server.

    python benchmarks/postgres_peers.py [--jobs N] [--rounds N] [--python PYTHON] [--only NAME]…
        [--json]

Four jobs at a time, by one process of workers, each running a command in a subprocess as its manual
describes (``postgres_tasks.py``). All jobs are put in before; then the life of the workers' process
is measured, from start to exit. Each has a database of its own on one server that forces commits to
the disk, and they take turns. ``--python`` runs the peers with another Python: oban needs 3.12. A
peer that is not installed there is left out. No bar: it is a comparison.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
from harness import (
    PYTHON,
    QUEUECTL,
    in_turns,
    machine,
    middle,
    options,
    progress,
    ratio,
    report,
    timed,
)
from peers import Took
from postgres_server import Postgres, PostgresScratch

WORKERS = 4
TASKS = Path(__file__).with_name("postgres_tasks.py")
ENDED = {
    "procrastinate": "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'",
    "pgqueuer": "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'",
    "oban": "SELECT count(*) FROM oban_jobs WHERE state = 'completed'",
}
"""How each says how many jobs are done."""
KEPT = ("durable", "output", "exit code", "retries", "after kill -9 of the workers")


def kept(*words: str) -> dict[str, str]:
    return dict(zip(KEPT, words, strict=True))


OURS = kept(
    "on the disk when accepted",
    "a file for each attempt; the last 64 KiB in the store",
    "of every attempt, with times and memory",
    "backoff, then the DLQ",
    "the command goes on, and its result is kept",
)
KEEPS = {
    "procrastinate": kept(
        "on the disk when accepted",
        "not kept: the task must do it",
        "not kept: only failed, or succeeded",
        "by the task's RetryStrategy",
        "the job stays 'doing' until a task of yours retries stalled jobs",
    ),
    "pgqueuer": kept(
        "on the disk when accepted",
        "not kept: the task must do it",
        "not kept; the traceback is logged",
        "by an executor that the entrypoint names",
        "started again after 30 s without a heartbeat",
    ),
    "oban": kept(
        "on the disk when accepted",
        "with the job, if the task records it, as here",
        "with the job, if the task records it; errors of each attempt",
        "backoff, up to max_attempts",
        "started again by the lifeline after 5 minutes",
    ),
}


def missing(python: str, name: str) -> str:
    """Why a peer is left out; empty: it is there."""
    code = f"import {name}, sys; print(sys.version.split()[0])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if not done.returncode:
        return ""
    return "not installed (pip install '.[bench]'; oban needs Python 3.12)"


def version(python: str, name: str) -> str:
    code = f"from importlib.metadata import version; print(version('{name}'))"
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def peer(server: Postgres, env: dict[str, str], python: str, name: str, jobs: int) -> Took:
    """One drain in a new database."""
    database = f"peer_{name}"
    server.sql(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    server.sql(f"CREATE DATABASE {database}")
    url = server.url.rpartition("/")[0] + f"/{database}"
    env = {**env, "PEER_URL": url}
    command = [python, str(TASKS), name]
    timed([*command, "install"], env)
    put_in = timed([*command, "enqueue", str(jobs)], env)
    running = timed([*command, "work", str(jobs)], env)
    found = _count(url, ENDED[name])
    if found != jobs:
        raise SystemExit(f"{name}: {found} of {jobs} jobs are done")
    return Took(put_in + running, running)


def _count(url: str, statement: str) -> int:
    async def ask() -> int:
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval(statement))
        finally:
            await connection.close()

    return asyncio.run(ask())


def ours(scratch: PostgresScratch, jobs: int) -> Took:
    """As a peer: the same command for a shell, one process of workers."""
    scratch.new()
    put_in = timed(
        [*QUEUECTL, "enqueue", "-", "--quiet"], scratch.env, b'{"command": "true"}\n' * jobs
    )
    count = ["--count", str(WORKERS), "--until-empty", "--quiet"]
    running = timed([*QUEUECTL, "worker", "start", *count], scratch.env)
    return Took(put_in + running, running)


def measure(server: Postgres, given: Any) -> dict[str, Any]:
    left_out = {name: why for name in ENDED if (why := missing(given.python, name))}
    names = [
        name for name in ENDED if name not in left_out and (not given.only or name in given.only)
    ]
    for name, why in left_out.items():
        progress(f"{name} is left out: {why}")
    jobs = given.jobs
    with PostgresScratch(server, "ours") as scratch:
        ours(scratch, 20)  # the first run compiles

        def bar(name: str, run: Callable[[], Took]) -> Callable[[], Took]:
            def measured() -> Took:
                took = run()
                progress(f"{name:<16}{jobs / (took.running or 0):8.0f} jobs/s")
                return took

            return measured

        runs = [bar("queuectl", lambda: ours(scratch, jobs))]
        runs += [
            bar(name, lambda name=name: peer(server, scratch.env, given.python, name, jobs))
            for name in names
        ]
        mine, *others = in_turns(given.rounds, *runs)
    seconds = [took.running or 0 for took in mine]
    return {
        "jobs": jobs,
        "workers": WORKERS,
        "rounds": given.rounds,
        "postgres": server.version(),
        "queuectl": {**rates(mine, jobs), "keeps": OURS},
        "peers": {
            name: {
                **rates(tooks, jobs),
                "ours to theirs": ratio([took.running or 0 for took in tooks], seconds),
                "version": version(given.python, name),
                "keeps": KEEPS[name],
            }
            for name, tooks in zip(names, others, strict=True)
        },
        "left_out": left_out,
        "machine": machine(),
        "on": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def rates(tooks: list[Took], jobs: int) -> dict[str, Any]:
    return {
        "running": middle([jobs / (took.running or 1) for took in tooks]),
        "whole": middle([jobs / took.whole for took in tooks]),
    }


def table(found: dict[str, Any]) -> str:
    rows = [
        f"{found['jobs']:,} times true on {found['workers']} workers,"
        f" PostgreSQL {found['postgres']}, {found['rounds']} rounds",
        f"{'':<24}{'running':>10}{'whole, jobs/s':>16}   our speed divided by theirs",
    ]
    for name, part in {"queuectl": found["queuectl"], **found["peers"]}.items():
        label = f"{name} {part.get('version', '')}"
        row = f"{label:<24}{part['running']['value']:>10.0f}{part['whole']['value']:>16.0f}"
        if times := part.get("ours to theirs"):
            low, high = times["spread"]
            row += f"   {times['value']:.2f} ({low:.2f} to {high:.2f})"
        rows.append(row)
    rows += [f"{name:<24}left out: {why}" for name, why in found["left_out"].items()]
    rows.append("what is kept:")
    for name, part in {"queuectl": found["queuectl"], **found["peers"]}.items():
        rows.append(f"  {name}")
        rows += [f"    {key + ':':<30}{text}" for key, text in part["keeps"].items()]
    return "\n".join(rows)


def main() -> int:
    parser = options(__doc__, 3)
    parser.add_argument("--jobs", type=int, default=3000, help="default: 3000")
    parser.add_argument("--python", default=PYTHON, help="the Python of the peers")
    parser.add_argument("--only", action="append", choices=sorted(ENDED))
    given = parser.parse_args()
    with Postgres() as server:
        found = measure(server, given)
    return report(found, given.json, table)


if __name__ == "__main__":
    sys.exit(main())
