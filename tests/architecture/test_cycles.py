"""No module imports itself by way of others, wherever the import stands.

An import inside a function and one under ``TYPE_CHECKING`` count as well: they hide a cycle from
Python, not from a reader.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    *("queuectl_core", "queuectl_tui", "queuectl_web"),
    *("chaos", "benchmarks", "tests", "docs", "screenshots"),
)


def modules_of(root: Path) -> dict[str, Path]:
    """The Python files of a project, by the name of the module."""
    found = {}
    for folder in FOLDERS:
        for path in (root / folder).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """The statements in a node, at any depth. Expressions, which are most of a tree, have none."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, name, ()):
            yield child
            yield from statements(child)


def imported_names(tree: ast.Module, package: str) -> Iterator[tuple[str, str]]:
    """Each import as (module, name in it); the name is empty where the module itself is meant."""
    for node in statements(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            start = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            for alias in node.names:
                yield module, alias.name


def imports_of(root: Path) -> dict[str, set[str]]:
    """Which modules of the project each of them imports."""
    modules = modules_of(root)
    found = {}
    for name, path in modules.items():
        folder = ".".join(path.relative_to(root).parent.parts)
        is_script = not (path.parent / "__init__.py").exists()
        found[name] = {
            one
            for module, part in imported_names(ast.parse(path.read_text("utf-8")), folder)
            # A script finds the files beside it by their bare names.
            for place in ([f"{folder}.{module}", module] if is_script else [module])
            for one in [f"{place}.{part}" if f"{place}.{part}" in modules else place]
            if one in modules and one != name
        }
    return found


def cycle(imports: Mapping[str, set[str]]) -> list[str]:
    """The modules of one cycle, each of which imports the next; empty when there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found[::-1]  # graphlib lists what is imported first
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    imports = imports_of(ROOT)
    assert len(imports) > 300
    # The check sees relative imports, those of a whole module and those of a script.
    assert "queuectl_core.supervisor.dispatcher" in imports["queuectl_core.supervisor.supervisor"]
    assert "queuectl_core.store.sqlite.jobs" in imports["queuectl_core.store.sqlite.store"]
    assert "benchmarks.harness" in imports["benchmarks.drain"]
    found = cycle(imports)
    assert not found, "import cycle: " + " -> ".join(found)


@pytest.mark.parametrize(
    "back",
    [
        "from .a import A\n",
        "from . import a\n",
        "import chaos.a\n",
        "def later():\n    from chaos.a import A\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import A\n",
    ],
)
def test_a_cycle_is_found_wherever_the_import_stands(back: str, tmp_path: Path) -> None:
    package = tmp_path / "chaos"
    package.mkdir()
    for name, text in (("__init__", ""), ("a", "from .b import B\n"), ("b", "from .c import C\n")):
        (package / f"{name}.py").write_text(text)
    (package / "c.py").write_text("")
    assert cycle(imports_of(tmp_path)) == []
    (package / "c.py").write_text(back)
    found = cycle(imports_of(tmp_path))
    assert sorted(found[1:]) == ["chaos.a", "chaos.b", "chaos.c"]
    imports = imports_of(tmp_path)
    for one, following in pairwise(found):
        assert following in imports[one]
