"""Whether the tests find a mutant: first those that are nearest, then the others."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .mutant import Mutant
from .nearest import Table
from .tree import Run, Tree

THEN = ("suite", "running", "nothing")
"""What follows the nearest tests: all others, the others that run the changed function, or none."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant. ``by`` is what found it; empty: it survived. ``tried`` is how many
    tests ran."""

    mutant: Mutant
    by: str
    tried: int
    seconds: float


@dataclass(slots=True)
class Trial:
    """How mutants are tried. ``budget``: how many seconds the nearest tests took together when they
    ran without a mutant. ``then``: one of ``THEN``."""

    table: Table
    budget: float
    then: str
    jobs: int

    def run(self, tree: Tree, mutant: Mutant) -> Verdict:
        """Try one mutant. Raises Stopped."""
        began = time.monotonic()
        nearest = self.table.nearest(mutant, self.budget)
        with tree.planted(mutant):
            by, tried = self._nearest(tree, nearest)
            if not by and self.then != "nothing":
                by, more = self._rest(tree, mutant, nearest)
                tried += more
        return Verdict(mutant, by, tried, time.monotonic() - began)

    def passes(self, tree: Tree, mutant: Mutant) -> Run:
        """The nearest tests, without the mutant."""
        return self._run(tree, self.table.nearest(mutant, self.budget))

    def _run(self, tree: Tree, tests: list[str], without: tuple[str, ...] = ()) -> Run:
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        seconds = [self.table.seconds(test) for test in tests]
        limit = 60 + 5 * sum(seconds)
        longest = max(60.0, 5 * max(seconds))
        return tree.run(files, limit, only=tests, without=without, test_limit=longest)

    def _nearest(self, tree: Tree, tests: list[str]) -> tuple[str, int]:
        unsure: list[str] = []
        while len(unsure) < 3 and set(tests) - set(unsure):
            run = self._run(tree, tests, tuple(unsure))
            by = self._by(run)
            if not run.failed or self._again(tree, run.failed[0]):
                return by, len(run.outcomes)
            unsure.append(run.failed[0])
        return "", len(tests)

    def _rest(self, tree: Tree, mutant: Mutant, before: list[str]) -> tuple[str, int]:
        without = [*before, *self.table.broken]
        files, only = ["tests"], None
        if self.then == "running":
            only = [test for test in self.table.running(mutant) if test not in set(before)]
            files = list(dict.fromkeys(test.partition("::")[0] for test in only))
            if not only:
                return "", 0
        parallel = ("-x", "--numprocesses", str(max(2, 4 // self.jobs)), "--dist=worksteal")
        for _ in range(3):
            run = tree.run(files, 7200, only=only, without=without, options=parallel)
            if not run.failed or any(self._again(tree, test) for test in run.failed):
                return self._by(run), len(run.outcomes)
            without += run.failed
        return "", len(run.outcomes)

    def _again(self, tree: Tree, test: str) -> bool:
        """Whether a test that failed fails again, so that it is no accident. Some never end."""
        limit = 60 + 5 * self.table.seconds(test)
        return tree.run([test.partition("::")[0]], limit, only=[test]).code != 0

    @staticmethod
    def _by(run: Run) -> str:
        if run.code is None:
            return "the time limit"
        if run.failed:
            return run.failed[0]
        return "" if run.code in (0, 5) else f"pytest, which ended with {run.code}"
