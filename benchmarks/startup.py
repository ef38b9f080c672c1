"""What a verb costs to start, a bulk enqueue a job, and fifty workers in memory.

    python benchmarks/startup.py [--rounds N] [--json]

A verb is measured as a whole process, as the script ``queuectl`` and as ``python -m queuectl_tui``,
in turns with a Python that does nothing, or that only imports click.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

PYTHON = sys.executable
SCRIPT = [str(Path(PYTHON).with_name("queuectl"))]
MODULE = [PYTHON, "-m", "queuectl_tui"]

BARE = [PYTHON, "-c", "pass"]
CLICK = [PYTHON, "-c", "import click"]
KNOWN = "known"
"""A job that has ended."""
VERBS = (
    # words, beside, at most so many times its time
    (["enqueue", "true"], BARE, 4.0),
    (["status"], BARE, 4.0),
    (["list"], BARE, 4.0),
    (["show", KNOWN], BARE, 4.0),
    (["wait", KNOWN], BARE, 4.0),
    (["--help"], CLICK, 1.15),
    (["--version"], CLICK, 1.15),
)
BULK, BULK_SMALL = 200_000, 20_000
BULK_BAR = 50_000
"""Jobs a second, at least."""
FLAT_BAR = 1.1
"""Peak memory for 200,000 lines over that for 20,000, at most."""
WORKERS, WORKERS_BAR = 50, 45.0
"""Workers, and MB resident at most, of supervisor and shim together."""

Environment = dict[str, str]


def run(command: Sequence[str], env: Environment, stdin: Path | None = None) -> tuple[float, float]:
    """Seconds from start to exit, and peak MB resident, of a command that must succeed."""
    with open(stdin or os.devnull, "rb") as source, open(os.devnull, "wb") as nowhere:
        began = time.perf_counter()
        process = subprocess.Popen(command, env=env, stdin=source, stdout=nowhere)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return took, usage.ru_maxrss / unit


@contextmanager
def scratch() -> Iterator[tuple[Path, Environment]]:
    """A folder, and the environment of a user at home there."""
    with tempfile.TemporaryDirectory(prefix="queuectl-bench-") as name:
        folder = Path(name)
        env = {**os.environ, "QUEUECTL_STORE": str(folder / "queue.db"), "HOME": name}
        # Compiled once, as an installed package is, whatever the caller's settings.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        env["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        yield folder, env


def start_up(rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with scratch() as (_, env):
        run([*SCRIPT, "enqueue", "--id", KNOWN, "true", "--quiet"], env)
        run([*SCRIPT, "worker", "start", "--until-empty", "--quiet"], env)
        run([*SCRIPT, "enqueue", "--quiet", "--", "true"], env)
        for words, beside, bar in VERBS:
            # Jobs that are added here are not there for the next verb to list.
            store = env["QUEUECTL_STORE"] + ("-added" if words[0] == "enqueue" else "")
            for form in (SCRIPT, MODULE):
                pairs = in_turns([*form, *words], beside, env | {"QUEUECTL_STORE": store}, rounds)
                ratios = sorted(mine / other for mine, other in pairs)
                found[" ".join([Path(form[-1]).name, *words])] = {
                    "ms": 1000 * statistics.median(mine for mine, _ in pairs),
                    "beside_ms": 1000 * statistics.median(other for _, other in pairs),
                    **judged(statistics.median(ratios), at_most=bar),
                    "quartiles": [ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]],
                }
    return found


def in_turns(
    mine: Sequence[str], other: Sequence[str], env: Environment, rounds: int
) -> list[tuple[float, float]]:
    """Seconds of both, once a round; a first round, which fills the caches, is not counted."""
    return [(run(mine, env)[0], run(other, env)[0]) for _ in range(rounds + 1)][1:]


def judged(value: float, *, at_most: float | None = None, at_least: float = 0.0) -> dict[str, Any]:
    """A figure beside its bar."""
    good = value <= at_most if at_most is not None else value >= at_least
    return {"value": value, "bar": at_most if at_most is not None else at_least, "ok": good}


def bulk(rounds: int) -> dict[str, Any]:
    """JSON Lines from standard input, accepted in one transaction, as whole processes."""
    seconds, peaks = [], {}
    with scratch() as (folder, env):
        for count in (BULK_SMALL, BULK):
            lines = folder / f"{count}.jsonl"
            with lines.open("w") as file:
                for i in range(count):
                    file.write(f'{{"id": "job-{i}", "command": "echo {i}"}}\n')
        for round_ in range(rounds):
            for count in (BULK_SMALL, BULK):
                mine = {**env, "QUEUECTL_STORE": str(folder / f"{round_}-{count}.db")}
                lines = folder / f"{count}.jsonl"
                took, peak = run([*SCRIPT, "enqueue", "-", "--quiet"], mine, lines)
                peaks.setdefault(count, []).append(peak)
                if count == BULK:
                    seconds.append(took)
    rates = [BULK / took for took in seconds]
    small, large = (statistics.median(peaks[count]) for count in (BULK_SMALL, BULK))
    return {
        "jobs_per_second": {
            **judged(statistics.median(rates), at_least=BULK_BAR),
            "range": [min(rates), max(rates)],
        },
        "peak_mb": {str(BULK_SMALL): small, str(BULK): large},
        "peak_growth": judged(large / small, at_most=FLAT_BAR),
    }


def small() -> dict[str, Any]:
    """Resident memory of a supervisor and its shim, at rest and when every worker has a job."""
    with scratch() as (folder, env):

        def ask(*words: str) -> Any:
            done = subprocess.run(
                [*SCRIPT, *words, "--json"], env=env, capture_output=True, check=True
            )
            return json.loads(done.stdout)

        def resident() -> dict[str, float]:
            own = supervisor.memory_info().rss
            shim = sum(p.memory_info().rss for p in supervisor.children())
            return {"supervisor": own / (1 << 20), "shim": shim / (1 << 20)}

        workers = ask("worker", "start", "--detach", "--count", str(WORKERS))
        supervisor = psutil.Process(workers[0]["pid"])
        try:
            found = {"idle": resident()}
            lines = folder / "sleep.jsonl"
            lines.write_text('{"command": ["sleep", "600"]}\n' * WORKERS)
            run([*SCRIPT, "enqueue", "--file", str(lines), "--quiet"], env)
            # Until every job was looked at twice: CPU in percent is known then.
            while not all(worker["cpu_percent"] is not None for worker in ask("worker", "list")):
                time.sleep(0.5)
            found["busy"] = resident()
        finally:
            run([*SCRIPT, "worker", "stop", "--now", "--quiet"], env)
    return {
        state: {**parts, **judged(sum(parts.values()), at_most=WORKERS_BAR)}
        for state, parts in found.items()
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--rounds", type=int, default=15, help="of each verb; a fifth for bulk")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    found = {
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "system": f"{platform.system()} {platform.release()}",
        },
        "start_up": start_up(given.rounds),
        "bulk": bulk(max(1, given.rounds // 5)),
        "small": small(),
    }
    print(json.dumps(found, indent=2) if given.json else table(found))


def table(found: dict[str, Any]) -> str:
    machine, many = found["machine"], found["bulk"]
    rows = [f"{machine['cores']} cores, Python {machine['python']}, SQLite {machine['sqlite']}"]
    for name, part in found["start_up"].items():
        low, high = part["quartiles"]
        rows.append(
            f"{name:26} {part['ms']:6.0f} ms  {part['value']:5.2f} ({low:.2f} to {high:.2f}) of"
            f" {part['beside_ms']:.0f} ms, bar {part['bar']}: {word(part)}"
        )
    rate, growth = many["jobs_per_second"], many["peak_growth"]
    peaks = " and ".join(f"{mb:.0f} MB for {int(n):,}" for n, mb in many["peak_mb"].items())
    rows.append(
        f"{'bulk enqueue':26} {rate['value']:6,.0f} jobs/s ({rate['range'][0]:,.0f} to"
        f" {rate['range'][1]:,.0f}) for {BULK:,} lines, bar {rate['bar']:,}: {word(rate)}"
    )
    rows.append(f"{'':26} peak {peaks}: {growth['value']:.2f}, bar {growth['bar']}: {word(growth)}")
    for state, part in found["small"].items():
        parts = f"{part['supervisor']:.1f} + {part['shim']:.1f}, supervisor + shim"
        rows.append(
            f"{f'{WORKERS} workers, {state}':26} {part['value']:6.1f} MB ({parts}),"
            f" bar {part['bar']:g}: {word(part)}"
        )
    return "\n".join(rows)


def word(part: dict[str, Any]) -> str:
    return "ok" if part["ok"] else "SHORT"


if __name__ == "__main__":
    main()
