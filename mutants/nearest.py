"""Which tests run which functions: a table that is made once, and kept in ``.cache``.

A test file is run again for the table when it has changed. If only the code has changed, the table
stays: it decides what runs first, not what runs.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from .mutant import Mutant
from .tree import ROOT, Tree

CACHE = ROOT / ".cache" / "mutants"
TRACER = Path(__file__).with_name("trace.py")
TABLE = CACHE / "tests.json"
HOOKS = (
    "queuectl_core/__init__.py",
    "queuectl_tui/__init__.py",
    "queuectl_core/runner/__main__.py",
)
"""What every process of ours reads first. A shim is isolated, but its script is read."""
HOOK = """
import os as _os
if "MUTANTS_TRACE" in _os.environ:
    with open(_os.environ["MUTANTS_TRACE"]) as _file:
        exec(compile(_file.read(), _file.name, "exec"), {"__name__": "mutants_trace"})
"""


class Table:
    """Tests by the functions that they run. A function is ``path::qualified.name``."""

    def __init__(self, tests: dict[str, tuple[float, set[str]]], broken: Sequence[str]) -> None:
        self._tests = tests
        self.broken = list(broken)
        """Tests that failed when the table was made."""
        self._by_function: dict[str, set[str]] = defaultdict(set)
        self._by_path: dict[str, set[str]] = defaultdict(set)
        for name, (_, functions) in tests.items():
            for function in functions:
                self._by_function[function].add(name)
                self._by_path[function.partition("::")[0]].add(function)

    def seconds(self, test: str) -> float:
        """How long a test took; 60 if it is not in the table."""
        return self._tests[test][0] if test in self._tests else 60.0

    def nearest(self, mutant: Mutant, budget: float) -> list[str]:
        """The first tests of :meth:`running`, which took ``budget`` seconds together."""
        chosen: list[str] = []
        total = 0.0
        for test in self.running(mutant):
            if not chosen or total + self.seconds(test) <= budget:
                chosen.append(test)
                total += self.seconds(test)
        return chosen

    def running(self, mutant: Mutant) -> list[str]:
        """The tests that run the changed function. First come those that run little else. Each test
        function has its turn with one set of parameters before one has a second turn."""
        wanted = self._functions(mutant)
        found = {test for function in wanted for test in self._by_function[function]}
        if mutant.path.endswith(".sql"):
            # A query of the shared protocol: only with the store of this dialect.
            folder = "/".join(mutant.path.split("/")[:3])
            found = {test for test in found if self._runs(test, folder)}

        def share(test: str) -> float:
            functions = self._tests[test][1]
            return len(functions & wanted) / len(functions)

        turns: dict[str, int] = defaultdict(int)
        ranked = []
        for test in sorted(found, key=lambda one: (-share(one), self.seconds(one), one)):
            function = test.partition("[")[0]
            ranked.append((turns[function], -share(test), self.seconds(test), test))
            turns[function] += 1
        return [test for *_, test in sorted(ranked)]

    def _runs(self, test: str, folder: str) -> bool:
        return any(one.startswith(f"{folder}/") for one in self._tests[test][1])

    def _functions(self, mutant: Mutant) -> set[str]:
        """The functions that a mutant changes, or if none of them is in the table, those around."""
        if mutant.path.endswith(".sql"):
            return self._senders(mutant)
        name = function_at(mutant.before, mutant.line)
        exact = {f"{mutant.path}::{name}"} & self._by_function.keys()
        return exact or (set() if name else set(self._by_path[mutant.path]))

    def _senders(self, mutant: Mutant) -> set[str]:
        """The functions that send one of the queries that a mutant changes."""
        folder = mutant.path.rpartition("/sql/")[0] or mutant.path.rpartition("/migrations/")[0]
        queries = queries_at(mutant)
        found: set[str] = set()
        for path in (*sorted((ROOT / folder).glob("*.py")), *sorted(ROOT.glob(SHARED))):
            name = str(path.relative_to(ROOT))
            for function, words in sent_by(path).items():
                if any(re.fullmatch(word, query) for word in words for query in queries):
                    found.add(f"{name}::{function}")
        found &= self._by_function.keys()
        module = f"{folder}/{Path(mutant.path).stem}.py"
        around = [
            one
            for path in self._by_path
            if path.startswith(f"{folder}/")
            for one in self._by_path[path]
        ]
        return found or set(self._by_path[module]) or set(around)


SHARED = "queuectl_core/store/*.py"


def named(node: ast.AST, prefix: str = "", function: str = "") -> Iterator[tuple[ast.AST, str]]:
    """All nodes below one, and the qualified name of the function that each is in."""
    for child in ast.iter_child_nodes(node):
        below, inside = prefix, function
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = f"{prefix}{child.name}"
            below = f"{inside}.<locals>."
        elif isinstance(child, ast.ClassDef):
            below = f"{prefix}{child.name}."
        yield child, inside
        yield from named(child, below, inside)


def function_at(code: str, line: int) -> str:
    """The qualified name of the function around a line; empty outside of functions."""
    around = [
        name
        for node, name in named(ast.parse(code))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return around[-1] if around else ""


@cache
def sent_by(path: Path) -> dict[str, set[str]]:
    """For each function of a file the strings in it that may be names of queries, as patterns."""
    found: dict[str, set[str]] = defaultdict(set)
    for node, function in named(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            pattern = "".join(
                re.escape(str(part.value)) if isinstance(part, ast.Constant) else r"\w+"
                for part in node.values
            )
            if re.search("[a-z]{3}", pattern):
                found[function].add(pattern)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"\w*[^\W_]", str(node.value)):
            found[function].add(str(node.value))
    return found


def queries_at(mutant: Mutant) -> set[str]:
    """The names of the queries that a changed line of SQL belongs to, through includes as well."""
    names = [
        re.match(r"-- (name|fragment): (\w+)", line)
        for line in mutant.before.splitlines()[: mutant.line]
    ]
    last = next((found for found in reversed(names) if found), None)
    if last is None:
        return set()
    if last[1] == "name":
        return {last[2]}
    return includers(last[2], (ROOT / mutant.path).parent)


def includers(fragment: str, folder: Path) -> set[str]:
    """The queries of a folder that include a fragment."""
    found: set[str] = set()
    for path in folder.glob("*.sql"):
        inside: Any = None
        for line in path.read_text("utf-8").splitlines():
            if begins := re.match(r"-- (name|fragment): (\w+)", line):
                inside = begins
            elif line.strip() == f"-- include: {fragment}" and inside:
                name = inside[2]
                found |= {name} if inside[1] == "name" else includers(name, folder)
    return found


def test_files(folders: Iterable[str]) -> list[str]:
    """The test files below some folders (or the files themselves), relative to the tree."""
    found = set()
    for folder in folders:
        path = ROOT / folder
        found |= {path} if path.is_file() else set(path.rglob("test_*.py"))
    return sorted(str(path.relative_to(ROOT)) for path in found)


def stored() -> dict[str, Any]:
    """What the cache has, by test file."""
    found: dict[str, Any] = json.loads(TABLE.read_text("utf-8")) if TABLE.exists() else {}
    return found


def load(tree: Tree, files: Sequence[str], jobs: int) -> Table:
    """The table for these test files. Those that are not in it yet, or have changed, are run
    in ``tree``, which is of no use for anything else then."""
    kept = stored()
    tracer = TRACER.read_bytes()
    digests = {
        name: hashlib.sha256(tracer + (ROOT / name).read_bytes()).hexdigest() for name in files
    }
    missing = [name for name in files if kept.get(name, {}).get("digest") != digests[name]]
    if missing:
        print(f"The tests of {len(missing)} files run once, to see what they run …", flush=True)
        made = _made(tree, missing, jobs)
        # Another run may have added files meanwhile.
        kept = stored() | {name: {"digest": digests[name], **made[name]} for name in missing}
        CACHE.mkdir(parents=True, exist_ok=True)
        draft = TABLE.with_suffix(".new")
        draft.write_text(json.dumps(kept), "utf-8")
        draft.replace(TABLE)
    tests, broken = {}, []
    for name in files:
        functions = kept[name]["functions"]
        for test, (seconds, ran) in kept[name]["tests"].items():
            tests[test] = (seconds, {functions[index] for index in ran})
        broken += kept[name]["broken"]
    return Table(tests, broken)


def _made(tree: Tree, files: Sequence[str], jobs: int) -> dict[str, Any]:
    ran = tree.path.parent / "ran"
    ran.write_text("")
    for name in HOOKS:
        text = (tree.path / name).read_text("utf-8")
        first = '"""'.join(text.split('"""')[:2]) + '"""\n'
        tree.write(name, first + HOOK + text.removeprefix(first))
    env = {
        "MUTANTS_TRACE": str(TRACER),
        "MUTANTS_ROOT": str(tree.path),
        "MUTANTS_RAN": str(ran),
    }
    options = ("--numprocesses", str(2 * jobs), "--dist=worksteal")
    run = tree.run(files, 36_000, options=options, env=env, test_limit=600)
    if run.code not in (0, 1):
        raise RuntimeError(f"the tests do not run: {run.output[-2000:]}")
    functions: dict[str, set[str]] = defaultdict(set)
    for test, function in _lines(ran):
        functions[test].add(function)
    made = {}
    for name in files:
        tests = {test for test in run.outcomes if test.partition("::")[0] == name}
        names = sorted({one for test in tests for one in functions[test]})
        index = {one: number for number, one in enumerate(names)}
        made[name] = {
            "functions": names,
            "tests": {
                test: [round(run.seconds[test], 3), sorted(index[one] for one in functions[test])]
                for test in sorted(tests)
                if run.outcomes[test] == "passed" and functions[test]
            },
            "broken": sorted(test for test in tests if run.outcomes[test] == "failed"),
        }
    return made


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            test, tab, function = line.rstrip("\n").partition("\t")
            if test and tab:
                yield test, function
