"""Each function that ``docs/internals.md`` names exists where the page says."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/internals.md").read_text("utf-8")
PLACES = sorted(set(re.findall(r"`([\w/]+\.py)`:`([\w.]+)`", PAGE)))
FRONT_ENDS = ("cli/", "console/", "presentation/")


def source(name: str) -> Path:
    """The file that the page calls so."""
    if name.startswith(("tests/", "benchmarks/")):
        return ROOT / name
    package = "queuectl_tui" if name.startswith(FRONT_ENDS) else "queuectl_core"
    return ROOT / package / name


@cache
def defined(path: Path) -> set[str]:
    """Functions, classes, methods and members of classes."""
    found = set()

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found.add(prefix + node.name)
            elif isinstance(node, ast.ClassDef):
                found.add(prefix + node.name)
                collect(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update(prefix + one.id for one in targets if isinstance(one, ast.Name))

    collect(ast.parse(path.read_text("utf-8")).body, "")
    return found


def test_the_page_names_functions() -> None:
    assert len(PLACES) > 50


@pytest.mark.parametrize(("file", "name"), PLACES, ids=[":".join(place) for place in PLACES])
def test_the_function_is_there(file: str, name: str) -> None:
    path = source(file)
    assert path.exists(), f"docs/internals.md names {file}"
    assert name in defined(path), f"docs/internals.md names {name} in {file}"


def test_every_file_is_there() -> None:
    assert [name for name in re.findall(r"`([\w/]+\.py)`", PAGE) if not source(name).exists()] == []


@pytest.mark.parametrize(
    ("heading", "steps"),
    re.findall(r"\n## ([^\n]*)\n[^#]*?\*\*(\d+) steps\*\*", PAGE),
)
def test_the_number_of_steps_is_what_is_said(heading: str, steps: str) -> None:
    part = PAGE.split(f"\n## {heading}\n")[1].split("\nLater:")[0].split("\n## ")[0]
    numbers = [int(found) for found in re.findall(r"^(\d+)\. ", part, re.MULTILINE)]
    assert numbers == list(range(1, int(steps) + 1))
