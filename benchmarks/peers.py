"""What the drain is compared with: how each peer is made to run N times ``true``, four at a time.

Each is given a command for a shell, and used as its documentation says to, in the way that is
quickest for it here; what it does not keep of what queuectl keeps is said beside its figure. A peer
that is not installed is left out.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness import PYTHON, QUEUECTL, Scratch, timed

WORKERS = 4


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds."""

    whole: float
    """From the first job put in until the last has ended."""
    running: float | None = None
    """Only to run them, all having been put in before; None where there is no such thing."""
    running_jobs: int | None = None
    """How many that was for, where it can't be as many."""


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    run: Callable[[Scratch, int], Took]
    keeps: dict[str, str]
    needs: str = ""
    """A program, or ``python:MODULE``."""
    package: str = ""
    """Where it can be found, if it is not installed."""
    version: Callable[[], str] = field(default=lambda: "")
    note: str = ""

    def missing(self) -> str:
        """Why it is left out; empty when it is there."""
        kind, _, module = self.needs.rpartition(":")
        there = importlib.util.find_spec(module) if kind else shutil.which(self.needs)
        return "" if there else f"not installed ({self.package})"


# What each keeps, under the same five headings. The order is that of the table in README.md.
KEPT = ("queue", "output", "exit codes", "retries", "after kill -9")


def kept(*words: str) -> dict[str, str]:
    return dict(zip(KEPT, words, strict=True))


def first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).partition("\n")[0].strip()


def loop(command: str, count: int) -> list[str]:
    """A shell that runs a command so many times: the cheapest way to put jobs in one by one."""
    return ["/bin/sh", "-c", f"i=0; while [ $i -lt {count} ]; do {command}; i=$((i+1)); done"]


# -- queuectl ---------------------------------------------------------------------------


def queuectl(scratch: Scratch, jobs: int) -> Took:
    scratch.new()
    lines = b'{"command": "true"}\n' * jobs
    put_in = timed([*QUEUECTL, "enqueue", "-", "--quiet"], scratch.env, lines)
    count = ["--count", str(WORKERS), "--until-empty", "--quiet"]
    running = timed([*QUEUECTL, "worker", "start", *count], scratch.env)
    return Took(put_in + running, running)


# -- xargs ------------------------------------------------------------------------------


def xargs(scratch: Scratch, jobs: int, *command: str) -> Took:
    numbers = "\n".join(map(str, range(jobs))).encode()
    run = command or ("sh", "-c", "true")
    took = timed(["xargs", f"-P{WORKERS}", "-I{}", *run], scratch.env, numbers)
    return Took(took, took)


def xargs_alone(scratch: Scratch, jobs: int) -> Took:
    """The program itself, as queuectl runs a command that needs no shell."""
    return xargs(scratch, jobs, "true")


# -- GNU parallel -------------------------------------------------------------------------


def parallel(scratch: Scratch, jobs: int) -> Took:
    """``--will-cite`` only keeps its notice off; ``PARALLEL_SHELL``: the same shell for all."""
    scratch.new()
    numbers = "\n".join(map(str, range(jobs))).encode()
    log = scratch.folder / "joblog"
    command = ["parallel", "--will-cite", f"-j{WORKERS}", "-N0", "--joblog", str(log), "true"]
    took = timed(command, scratch.env | {"PARALLEL_SHELL": "/bin/sh"}, numbers)
    check(log.read_text().count("\n") - 1, jobs, "parallel")
    return Took(took, took)


# -- task-spooler -------------------------------------------------------------------------

TSP_MOST = 900
"""Waiting jobs are connections to its server, which takes a thousand."""


def task_spooler(scratch: Scratch, jobs: int) -> Took:
    """A server of our own (``TS_SOCKET``) with four slots that keeps every result."""
    whole, _ = tsp_run(scratch, jobs, held=False)
    few = min(jobs, TSP_MOST)
    _, running = tsp_run(scratch, few, held=True)
    return Took(whole, running, few)


def tsp_run(scratch: Scratch, jobs: int, *, held: bool) -> tuple[float, float]:
    """Seconds from the first add, and from when the slots were free.

    ``held``: jobs that wait for a gate hold the slots until all the others have been added.
    """
    scratch.new()
    folder = scratch.folder
    env = scratch.env | {
        "TMPDIR": str(folder),
        "TS_SOCKET": str(folder / "socket"),
        "TS_SLOTS": str(WORKERS),
        "TS_MAXFINISHED": str(jobs + WORKERS),
    }
    try:
        if held:
            os.mkfifo(folder / "gate")
            timed(loop(f"tsp sh -c 'read line < {folder}/gate' >/dev/null", WORKERS), env)
        began = time.perf_counter()
        timed(loop("tsp sh -c true >/dev/null", jobs), env)
        if held:
            began_running = time.perf_counter()
            (folder / "gate").write_text("\n" * WORKERS)
        else:
            began_running = began
        last = jobs + WORKERS * held
        for number in range(last - WORKERS, last):
            subprocess.run(["tsp", "-w", str(number)], env=env, check=True, capture_output=True)
        ended = time.perf_counter()
        done = subprocess.run(["tsp", "-l"], env=env, check=True, capture_output=True, text=True)
        check(done.stdout.count(" finished "), last, "tsp")
    finally:
        subprocess.run(["tsp", "-K"], env=env, check=False, capture_output=True)
        deadline = time.monotonic() + 10  # -K does not wait
        while (folder / "socket").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    return ended - began, ended - began_running


# -- nq -----------------------------------------------------------------------------------


def nq(scratch: Scratch, jobs: int) -> Took:
    """It runs one job at a time by design: four queues, each with its share, filled at once."""
    scratch.new()
    queues = [{"NQDIR": str(scratch.folder / str(number))} for number in range(WORKERS)]
    shares = [jobs // WORKERS + (number < jobs % WORKERS) for number in range(WORKERS)]
    began = time.perf_counter()
    filling = [
        subprocess.Popen(loop("nq -q sh -c true", share), env=scratch.env | queue)
        for queue, share in zip(queues, shares, strict=True)
    ]
    for process in filling:
        process.wait()
    for queue in queues:
        subprocess.run(["nq", "-w"], env=scratch.env | queue, check=True)
    took = time.perf_counter() - began
    ended = [path for path in scratch.folder.glob("*/,*") if b"status 0" in path.read_bytes()]
    check(len(ended), jobs, "nq")
    return Took(took)


# -- huey -----------------------------------------------------------------------------------


def huey(scratch: Scratch, jobs: int) -> Took:
    """Its consumer does not end by itself: until the last result is in its database."""
    scratch.new()
    database = scratch.folder / "huey.db"
    env = scratch.env | {
        "HUEY_STORE": str(database),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    put_in = timed([PYTHON, "-c", f"import huey_tasks; huey_tasks.enqueue({jobs})"], env)
    command = [PYTHON, "-m", "huey.bin.huey_consumer", "huey_tasks.huey", "--no-periodic"]
    with open(scratch.folder / "log", "wb") as log:
        began = time.perf_counter()
        consumer = subprocess.Popen(
            [*command, "--workers", str(WORKERS), "--worker-type", HUEY_WORKERS, "--quiet"],
            env=env,
            stderr=log,
        )
        try:
            conn = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
            while conn.execute("SELECT count(*) FROM kv").fetchone()[0] < jobs:
                if consumer.poll() is not None or time.perf_counter() - began > 300:
                    raise SystemExit(f"huey: {(scratch.folder / 'log').read_text()[-500:]}")
                time.sleep(0.02)
            running = time.perf_counter() - began
            conn.close()
        finally:
            consumer.send_signal(signal.SIGINT)
            consumer.wait()
    return Took(put_in + running, running)


HUEY_WORKERS = "thread"
"""Its default; processes came out the same."""


def huey_version() -> str:
    from importlib.metadata import version

    return f"huey {version('huey')}"


def check(found: int, wanted: int, name: str) -> None:
    """Nothing is compared with a peer that did not do the work."""
    if found != wanted:
        raise SystemExit(f"{name}: {found} of {wanted} jobs ended")


OURS = kept(
    "SQLite file, on the disk when accepted",
    "a file for each attempt",
    "every attempt: code, times, memory",
    "backoff, then the DLQ",
    "jobs go on, results are kept",
)

PEERS = (
    Peer(
        "xargs -P4",
        xargs,
        kept("none", "not kept", "only whether any failed", "none", "all that waits is lost"),
        needs="xargs",
        version=lambda: first_line("xargs", "--version"),
        note="the yardstick: it only starts processes",
    ),
    Peer(
        "xargs, no shell",
        xargs_alone,
        kept("none", "not kept", "only whether any failed", "none", "all that waits is lost"),
        needs="xargs",
        version=lambda: first_line("xargs", "--version"),
        note="true itself, as queuectl finds that this command needs no shell",
    ),
    Peer(
        "task-spooler",
        task_spooler,
        kept(
            "in its server's memory",
            "a file for each job",
            "until its server ends",
            "none",
            "all that waits is lost",
        ),
        needs="tsp",
        package="apt-get install task-spooler",
        version=lambda: " ".join(first_line("tsp", "-V").split(" - ")[0].split()),
    ),
    Peer(
        "nq",
        nq,
        kept(
            "each job is a process that waits",
            "a file for each job",
            "in that file",
            "none",
            "the job killed is lost",
        ),
        needs="nq",
        package="apt-get install nq",
        version=lambda: "nq",
        note="one job at a time by design: four queues here",
    ),
    Peer(
        "GNU parallel",
        parallel,
        kept(
            "none; --resume skips what its log has",
            "printed",
            "joblog, not forced to the disk",
            "--retries, at once",
            "jobs that ran start again",
        ),
        needs="parallel",
        package="apt-get install parallel",
        version=lambda: first_line("parallel", "--version"),
    ),
    Peer(
        "huey, SQLite",
        huey,
        kept(
            "SQLite file, on the disk when accepted",
            "if the task returns it, as here",
            "of the last attempt, until read",
            "after a fixed delay",
            "tasks that ran are lost",
        ),
        needs="python:huey",
        package="pip install '.[bench]'",
        version=huey_version,
        note=f"4 workers of kind {HUEY_WORKERS}",
    ),
)
