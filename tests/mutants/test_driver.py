"""What is run for a mutant, and what becomes of it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mutants import __main__ as driver
from mutants import choose, nearest, tree
from mutants.mutant import Mutant, Survivor
from mutants.nearest import Table, function_at, includers, queries_at, sent_by
from mutants.tree import Run, Tree
from mutants.trial import Trial

CODE = """
def f():
    def g():
        return 1
    return g

class A:
    async def m(self):
        pass
"""
MUTANT = Mutant("queuectl_core/a.py", 8, "pass", CODE, CODE.replace("pass", "..."))
TABLE = Table(
    {
        "tests/test_a.py::most": (1.0, {"queuectl_core/a.py::A.m", "queuectl_core/a.py::f"}),
        "tests/test_a.py::only[1]": (1.0, {"queuectl_core/a.py::A.m"}),
        "tests/test_a.py::only[2]": (1.0, {"queuectl_core/a.py::A.m"}),
        "tests/test_a.py::other": (0.1, {"queuectl_core/a.py::f"}),
    },
    [],
)


def test_the_function_around_a_line_has_its_qualified_name() -> None:
    names = [function_at(CODE, line) for line in (1, 2, 3, 4, 5, 7, 9)]
    assert names == ["", "f", "f.<locals>.g", "f.<locals>.g", "f", "", "A.m"]


def test_tests_that_run_the_function_and_little_else_are_nearest() -> None:
    only = ["tests/test_a.py::only[1]", "tests/test_a.py::most", "tests/test_a.py::only[2]"]
    assert TABLE.nearest(MUTANT, 10) == only
    assert TABLE.nearest(MUTANT, 2) == only[:2]
    assert TABLE.nearest(MUTANT, 0) == only[:1]


def test_outside_of_functions_all_tests_of_the_module_are_near() -> None:
    outside = Mutant("queuectl_core/a.py", 1, "", CODE, CODE)
    assert set(TABLE.nearest(outside, 10)) == {
        *("tests/test_a.py::most", "tests/test_a.py::other"),
        *("tests/test_a.py::only[1]", "tests/test_a.py::only[2]"),
    }


def test_a_query_is_sent_by_the_functions_that_name_it(tmp_path: Path) -> None:
    module = tmp_path / "a.py"
    module.write_text('def f():\n    q("one")\ndef g(x):\n    q(f"scan_{x}")\n')
    assert sent_by(module) == {"f": {"one"}, "g": {r"scan_\w+"}}


def test_a_line_of_sql_belongs_to_the_queries_that_include_it(tmp_path: Path) -> None:
    sql = "-- name: one\nSELECT 1\n-- include: part\n-- fragment: part\nWHERE a\n"
    (tmp_path / "a.sql").write_text(sql)
    assert includers("part", tmp_path) == {"one"}
    assert queries_at(Mutant("a.sql", 2, "", sql, sql)) == {"one"}


class FakeTree:
    """Answers with what pytest would say."""

    def __init__(self, *runs: Run) -> None:
        self.runs = list(runs)
        self.asked: list[dict[str, object]] = []

    def run(self, paths: list[str], limit: float, **options: object) -> Run:
        self.asked.append({"paths": paths, **options})
        return self.runs.pop(0)

    def planted(self, mutant: Mutant) -> threading.Lock:
        return threading.Lock()  # any context manager


def failing(name: str) -> Run:
    return Run(1, {name: "failed"})


@pytest.mark.parametrize(
    ("runs", "then", "by"),
    [
        ([failing("a"), failing("a")], "nothing", "a"),
        ([failing("a"), Run(0), failing("b"), failing("b")], "nothing", "b"),
        ([Run(None)], "nothing", "the time limit"),
        ([Run(2)], "nothing", "pytest, which ended with 2"),
        ([Run(0)], "nothing", ""),
        ([Run(0), failing("c"), failing("c")], "suite", "c"),
        ([Run(0), failing("c"), failing("c")], "running", "c"),
        ([Run(0), Run(0)], "suite", ""),
    ],
)
def test_a_mutant_is_found_by_a_test_that_fails_twice(runs: list[Run], then: str, by: str) -> None:
    fake = FakeTree(*runs)
    verdict = Trial(TABLE, 1, then, 1).run(fake, MUTANT)  # type: ignore[arg-type]
    assert verdict.by == by
    assert fake.runs == []


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A copy of a tree with one module and one test."""
    monkeypatch.setattr(tree, "tracked_files", list)
    made = Tree(tmp_path, threading.Event(), "")
    made.write("a.py", "x = 1\n")
    return made


def test_a_mutant_is_taken_back_and_each_state_has_a_time_of_its_own(copy: Tree) -> None:
    file = copy.path / "a.py"
    times = [file.stat().st_mtime]
    with copy.planted(Mutant("a.py", 1, "", "x = 1\n", "x = 2\n")):
        times.append(file.stat().st_mtime)
        assert file.read_text() == "x = 2\n"
    times.append(file.stat().st_mtime)
    assert file.read_text() == "x = 1\n"
    assert len({int(time) for time in times}) == 3


def test_an_interrupted_run_leaves_no_process(copy: Tree) -> None:
    copy._stop.set()
    with pytest.raises(tree.Stopped):
        copy.run(["a.py"], 60)
    found = [one for one in tree.psutil.process_iter() if copy.path == cwd(one)]
    assert found == []


def cwd(process: tree.psutil.Process) -> Path | None:
    try:
        return Path(process.cwd())
    except (tree.psutil.Error, OSError):
        return None


def test_every_hook_is_put_behind_the_docstring() -> None:
    for name in nearest.HOOKS:
        text = (tree.ROOT / name).read_text("utf-8")
        assert text.startswith('"""')
        assert "from __future__" not in text
    assert os.path.exists(nearest.__file__)


def test_a_survivor_is_known_when_the_lines_before_it_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "ROOT", tmp_path)
    monkeypatch.setattr(choose, "_of", lambda path: [moved, other])
    code = "x = 1\n\ny = 1\n"
    moved = Mutant("a.py", 3, "1 → 2", code, code)
    other = Mutant("a.py", 1, "1 → 2", code, code)
    (tmp_path / "a.py").write_text(code)
    kept = [Survivor("a.py", "1 → 2", "y = 1"), Survivor("gone.py", "1 → 2", "y = 1")]
    assert list(choose.again(kept)) == [moved]


def test_without_a_last_run_nothing_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "SURVIVORS", tmp_path / "survivors.json")
    with pytest.raises(SystemExit) as ended:
        driver.main(["--again"])
    assert ended.value.code == 2
    assert "no survivors are stored" in capsys.readouterr().err
