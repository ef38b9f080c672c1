"""Every benchmark, one after the other; what they found goes to ``benchmarks/results.json``.

    python benchmarks/run.py [NAME]… [--rounds N] [--minutes N] [--results FILE]

``make bench ARGS='drain fleet'`` measures these anew and keeps what the file has of the others.
Each is a process of its own, and leaves nothing behind. ``--rounds`` is for all of them;
``--minutes`` is how long the soak takes (default 10; 0 leaves it out). Ends with exit code 1 if a
bar is missed, 2 if a benchmark broke.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import PYTHON, bars, progress

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"

NAMES = (
    *("drain", "fleet", "startup", "flat", "core", "reader", "console", "postgres", "recovery"),
    *("dashboard", "admission", "hooks", "schedules", "postgres_peers", "soak"),
)
"""In this order. ``FILE.py`` has ``table(found)`` and prints what it found with ``--json``."""


def run(name: str, rounds: int | None, minutes: float) -> dict[str, Any] | None:
    """What a benchmark found; None when it broke."""
    command = [PYTHON, str(HERE / f"{name}.py"), "--json"]
    if rounds is not None:
        command += ["--rounds", str(rounds)]
    if name == "soak":
        command += ["--minutes", f"{minutes:g}"]
    load, at = os.getloadavg()[0], time.strftime("%Y-%m-%d", time.gmtime())
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return None
    return {**found, "measured": {"on": at, "load_before": round(load, 2)}}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    results = json.loads(given.results.read_text()) if given.results.exists() else {}
    broken, short = [], []
    for name in given.names or NAMES:
        if not (HERE / f"{name}.py").exists() or (name == "soak" and not given.minutes):
            continue
        progress(f"== {name}")
        found = run(name, given.rounds, given.minutes)
        if found is None:
            broken.append(name)
            continue
        print(f"\n== {name}\n{importlib.import_module(name).table(found)}\n", flush=True)
        short += [f"{name}: {bar}" for bar, figure in bars(found) if not figure["ok"]]
        results[name] = found
        given.results.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{len(short)} bars missed" + "".join(f"\n  {bar}" for bar in short))
    if broken:
        print(f"broken: {', '.join(broken)}")
    return 2 if broken else int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
