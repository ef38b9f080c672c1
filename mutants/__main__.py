"""``python -m mutants``: how many mutants the tests find, and which ones they do not."""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import randrange
from types import FrameType

from tests import pgserver

from . import choose, nearest
from .mutant import Mutant, Survivor
from .tree import ROOT, Stopped, Tree
from .trial import THEN, Trial, Verdict

REPORT = nearest.CACHE / "report.txt"
SURVIVORS = nearest.CACHE / "survivors.json"
PLANTED = (
    "queuectl_core/runner/loop.py",
    "queuectl_core/store/rows.py",
    "queuectl_core/domain/text.py",
)
"""What the first mutant is in: code that runs in a process of a process of a test; or, if none of
these tests starts one, code that most of them need."""
UNUSED = {"tests/architecture", "tests/mutants", "tests/fuzz"}
"""Tests that read the code, or that take all functions at random, are near to nothing."""


def main(args: Sequence[str] | None = None) -> int:
    """The exit code: 0 if every mutant was found, 1 if one was not, 2 if nothing could be said,
    130 if somebody interrupted it."""
    parser = argparse.ArgumentParser("python -m mutants", description=__doc__)
    parser.add_argument(
        "modules",
        nargs="*",
        default=choose.PACKAGES,
        metavar="MODULE",
        help="a file or a folder of the code; all of it, if there is none",
    )
    parser.add_argument("--sample", type=int, help="how many; without it all, or 60 of all modules")
    parser.add_argument("--seed", type=int, help="which; it is printed if it is not given")
    parser.add_argument("--jobs", type=int, default=2, help="how many at the same time (2)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=30,
        metavar="N",
        help="how long the nearest tests may take, without the mutant (30)",
    )
    parser.add_argument(
        "--then", choices=THEN, default="suite", help="what follows the nearest tests (suite)"
    )
    parser.add_argument(
        "--tests",
        nargs="*",
        metavar="FOLDER",
        help="where the nearest tests are (all folders that run the code)",
    )
    parser.add_argument(
        "--again", action="store_true", help="only those that survived the last time"
    )
    parser.add_argument("--list", action="store_true", help="show the mutants, run nothing")
    given = parser.parse_args(args)
    size, seed = given.sample, given.seed if given.seed is not None else randrange(10_000)
    if size is None and tuple(given.modules) == choose.PACKAGES:
        size = 60
    try:
        paths = choose.files(given.modules)
        if given.again:
            chosen, size = choose.again(survivors()), None
        else:
            chosen = choose.sample(paths, size, seed) if size else choose.every(paths)
    except ValueError as error:
        parser.error(str(error))
    if given.list:
        for mutant in chosen:
            print(f"{mutant.path}:{mutant.line}: {mutant.what}")
        return 0
    if size:
        print(f"SAMPLE={size} SEED={seed}", flush=True)
    folders = given.tests or sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").iterdir()
        if path.is_dir() and str(path.relative_to(ROOT)) not in UNUSED
    )
    return Campaign(given, nearest.test_files(folders)).run(chosen)


def survivors() -> list[Survivor]:
    """Those of the last report. ValueError if there is none."""
    if not SURVIVORS.exists():
        raise ValueError("--again: no survivors are stored, run it without --again first")
    return [Survivor(*one) for one in json.loads(SURVIVORS.read_text("utf-8"))]


class Campaign:
    """All mutants of one call."""

    def __init__(self, given: argparse.Namespace, files: Sequence[str]) -> None:
        self._given = given
        self._files = files
        self._stop = threading.Event()
        self._verdicts: list[Verdict] = []

    def run(self, chosen: Iterator[Mutant]) -> int:
        """Try them; the exit code."""

        def stop(number: int, frame: FrameType | None) -> None:
            self._stop.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, stop)
        home = Path(tempfile.mkdtemp(prefix="qm-"))
        home.chmod(0o711)  # PostgreSQL runs as another user
        try:
            return self._run(home, chosen)
        except Stopped:
            print("Interrupted.", file=sys.stderr)
            self._report()
            return 130
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def _run(self, home: Path, chosen: Iterator[Mutant]) -> int:
        postgres = pgserver.server_url()

        def copy(name: str) -> Tree:
            place = home / name
            place.mkdir(mode=0o711)
            return Tree(place, self._stop, postgres)

        table = nearest.load(copy("t"), self._files, self._given.jobs)
        shutil.rmtree(home / "t")
        for test in table.broken:
            print(f"not used, it fails without a mutant too: {test}")
        trial = Trial(table, self._given.seconds, self._given.then, self._given.jobs)
        trees: queue.SimpleQueue[Tree] = queue.SimpleQueue()
        for number in range(self._given.jobs):
            trees.put(copy(str(number)))
        if trouble := self._trouble(trial, trees):
            print(trouble, file=sys.stderr)
            return 2
        self._all(trial, trees, chosen)
        if self._stop.is_set():
            raise Stopped
        return self._report()

    def _trouble(self, trial: Trial, trees: queue.SimpleQueue[Tree]) -> str:
        """What is wrong with this way of testing: a mutant that breaks everything must be found,
        and nothing may be found when there is none."""
        used = [path for path in PLANTED if trial.table.running(Mutant(path, 1, "", "", ""))]
        if not used:
            return f"no test runs {PLANTED[-1]}"
        code = (ROOT / used[0]).read_text("utf-8")
        planted = Mutant(used[0], 1, "an error", code, f"{code}\nraise SystemExit(70)\n")
        tree = trees.get()
        run = trial.passes(tree, planted)
        if run.code != 0:
            return f"without a mutant tests fail: {run.failed or run.output[-2000:]}"
        verdict = Trial(trial.table, trial.budget, "nothing", 1).run(tree, planted)
        trees.put(tree)
        if not verdict.by:
            return f"an error in {used[0]} is not noticed by {verdict.tried} tests"
        return ""

    def _all(self, trial: Trial, trees: queue.SimpleQueue[Tree], chosen: Iterator[Mutant]) -> None:
        turn = threading.Lock()

        def work() -> None:
            tree = trees.get()
            while not self._stop.is_set():
                with turn:
                    mutant = next(chosen, None)
                if mutant is None:
                    return
                verdict = trial.run(tree, mutant)
                with turn:
                    self._verdicts.append(verdict)
                    self._show(verdict)

        with ThreadPoolExecutor(self._given.jobs) as threads:
            for done in [threads.submit(work) for _ in range(self._given.jobs)]:
                try:
                    done.result()
                except Stopped:
                    pass
                except BaseException:
                    self._stop.set()
                    raise

    def _show(self, verdict: Verdict) -> None:
        mutant = verdict.mutant
        word = "found   " if verdict.by else "SURVIVED"
        by = verdict.by or f"{verdict.tried} tests"
        number = len(self._verdicts)
        print(f"{number:4} {word} {mutant.path}:{mutant.line}: {mutant.what}")
        print(f"     {verdict.seconds:6.1f} s  {by}", flush=True)

    def _report(self) -> int:
        made = Counter(folder(verdict.mutant) for verdict in self._verdicts)
        found = Counter(folder(verdict.mutant) for verdict in self._verdicts if verdict.by)
        lines = [f"{time.strftime('%Y-%m-%d %H:%M')}: python -m mutants {' '.join(sys.argv[1:])}"]
        lines.append(f"\n{'folder':32} {'made':>6} {'found':>6} {'survived':>9}")
        rows = [(name, made[name], found[name]) for name in sorted(made)]
        for name, all_, some in [*rows, ("all", made.total(), found.total())]:
            share = f"{100 * some / all_:6.1f} %" if all_ else ""
            lines.append(f"{name:32} {all_:6} {some:6} {all_ - some:9} {share}")
        survived = [verdict for verdict in self._verdicts if not verdict.by]
        for verdict in sorted(survived, key=lambda one: (one.mutant.path, one.mutant.line)):
            mutant = verdict.mutant
            lines.append(f"\n{mutant.path}:{mutant.line} survived {verdict.tried} tests")
            lines.append(mutant.diff().rstrip())
        text = "\n".join(lines)
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(f"{text}\n", "utf-8")
        stored = [Survivor.of(verdict.mutant) for verdict in survived]
        SURVIVORS.write_text(json.dumps(stored, indent=1), "utf-8")
        print(f"\n{text}\n\n{REPORT.relative_to(ROOT)}")
        return 1 if survived else 0


def folder(mutant: Mutant) -> str:
    """The package of the code that it is in, without the file."""
    parts = mutant.path.split("/")
    return "/".join(parts[:2]) if len(parts) > 2 else parts[0]


if __name__ == "__main__":
    sys.exit(main())
