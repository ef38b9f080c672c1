"""What the benchmarks share: alternating rounds, medians and their spread, scratch stores.

Absolute figures belong to one machine on one day. What counts is the ratio of two things that were
measured alternately in one run. So everything here comes in pairs, and a ratio is the median of the
ratios of the rounds, with the least and the greatest beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")

PYTHON = sys.executable
QUEUECTL = [PYTHON, "-m", "queuectl_tui"]
ROOT = Path(__file__).parents[1]


def timed(command: Sequence[str], env: dict[str, str], stdin: bytes = b"") -> float:
    """Seconds a command takes from start to exit; it must succeed."""
    began = time.perf_counter()
    subprocess.run(command, input=stdin, env=env, check=True, capture_output=True)
    return time.perf_counter() - began


def in_turns(rounds: int, *bars: Callable[[], T]) -> list[list[T]]:
    """Each bar once a round, every other round backwards; a list of figures for each."""
    figures: list[list[T]] = [[] for _ in bars]
    for number in range(rounds):
        places = range(len(bars))
        for place in places if number % 2 == 0 else reversed(places):
            figures[place].append(bars[place]())
    return figures


def middle(figures: Sequence[float]) -> dict[str, Any]:
    """The median, and how far the rounds lie apart."""
    return {"value": statistics.median(figures), "spread": [min(figures), max(figures)]}


def ratio(mine: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    """The median of the ratios of each round."""
    return middle([a / b for a, b in zip(mine, others, strict=True)])


def judged(
    figure: dict[str, Any], *, at_least: float | None = None, at_most: float | None = None
) -> dict[str, Any]:
    """``figure`` (what :func:`middle` gives) beside its bar."""
    value, bar = figure["value"], at_least if at_most is None else at_most
    assert bar is not None
    return {**figure, "bar": bar, "ok": value <= bar if at_least is None else value >= bar}


def word(figure: dict[str, Any]) -> str:
    """``ok``, ``SHORT``, or nothing where there is no bar."""
    return {True: "ok", False: "SHORT"}[figure["ok"]] if "ok" in figure else ""


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
    }


class Scratch:
    """A store that is made anew for each measurement, and the environment of its user.

    Python's bytecode is kept, as that of an installed package is, whatever the caller's settings.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="queuectl-bench-"))
        self.store = self.folder / "queue.db"
        self.bytecode = Path(tempfile.mkdtemp(prefix="queuectl-bench-pyc-"))
        self.env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("QUEUECTL_", "XDG_", "TS_")) and name != "NO_COLOR"
        }
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)
        self.env |= {
            "QUEUECTL_STORE": str(self.store),
            "HOME": str(self.folder),
            "PYTHONPYCACHEPREFIX": str(self.bytecode),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def new(self) -> None:
        """Nothing is there any more."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.bytecode, ignore_errors=True)


def options(doc: str | None, rounds: int) -> argparse.ArgumentParser:
    """What every benchmark takes: ``--rounds N`` and ``--json``."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default: {rounds}")
    parser.add_argument("--json", action="store_true", help="everything, to standard output")
    return parser


def report(found: dict[str, Any], as_json: bool, table: Callable[[dict[str, Any]], str]) -> int:
    """Print what was found; 1 if a bar is missed."""
    print(json.dumps(found, indent=2) if as_json else table(found))
    return 0 if all(figure["ok"] for _, figure in bars(found)) else 1


def bars(found: Any, name: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every figure that has a bar, wherever it is in what a benchmark found, with its path."""
    if not isinstance(found, dict):
        return []
    if "ok" in found and "bar" in found:
        return [(name, found)]
    return [
        bar
        for key, part in found.items()
        for bar in bars(part, f"{name}, {key}" if name else str(key))
    ]


def progress(text: str) -> None:
    """To standard error: what is being done, since it takes long."""
    print(text, file=sys.stderr, flush=True)
