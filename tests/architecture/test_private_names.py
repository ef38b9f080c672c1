"""Names that a library keeps to itself and that we use: each is known, still there, and pinned.

A library may change such a name in any release. So ``pyproject.toml`` allows only releases of one
line (``<8.3``), and this test says which name is gone before the console or a store fails.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import tomllib
from importlib import import_module
from pathlib import Path

import aiosqlite
import pytest
from packaging.requirements import Requirement
from textual._compositor import Compositor
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.screen import Screen

ROOT = Path(__file__).parents[2]

PRIVATE: dict[tuple[type, str], str] = {
    (aiosqlite.Connection, "_connection"): "the connection of sqlite3, to close or to keep it",
    (aiosqlite.Connection, "_execute"): "one transaction is one call on the thread",
    (
        aiosqlite.Connection,
        "_thread",
    ): "a thread that ends in silence when its event loop has closed",
    (asyncio.BaseEventLoop, "_default_executor"): "the loop shall not wait for its threads",
    (App, "_batch_count"): "whether a frame is being put together",
    (App, "_display"): "wait for the terminal before a frame; draw nothing below 30x8",
    (Compositor, "_dirty_regions"): "what changed while no frame could be sent",
    (LinuxDriver, "_auto_restart"): "SIGTSTP and SIGCONT are handled in the event loop",
    (LinuxDriver, "_debug"): "passed on to the parser",
    (LinuxDriver, "_get_terminal_size"): "a new size, read when we are told of it",
    (LinuxDriver, "_in_band_window_resize"): "whether the terminal tells of a new size",
    (LinuxDriver, "_key_thread"): "wait for the thread that reads keys",
    (LinuxDriver, "_loop"): "call into the loop from the thread that reads keys",
    (Screen, "_compositor"): "the size that was drawn, and regions that changed",
    (Screen, "_compositor_refresh"): "draw what was kept back",
    (Screen, "_dirty_widgets"): "widgets that changed while no frame could be sent",
}
"""Where each is defined, and what we need it for."""

MODULES = {
    "textual._compositor": ["ChopsUpdate", "Compositor", "CompositorUpdate"],
    "textual._xterm_parser": ["XTermParser"],
    "asyncio": ["_get_running_loop"],
}
"""Private modules, and functions of modules."""

PYTHON = {
    "_asdict",
    "_fields",
    "_replace",
    "_exit",
    "_value2member_map_",
    "_xoptions",
    "_get_running_loop",
}
"""Names of the standard library that are documented in spite of the underscore, or (the last
three) that every supported version has: CI runs them."""


def sources() -> list[ast.Module]:
    return [
        ast.parse(path.read_text("utf-8"))
        for package in ("queuectl_core", "queuectl_tui", "queuectl_web")
        for path in (ROOT / package).rglob("*.py")
    ]


def private(name: str | None) -> bool:
    return name is not None and name.startswith("_") and not name.startswith("__")


def ours(tree: ast.Module) -> set[str]:
    """The private names that a module of ours defines."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        ):
            found.add(node.attr)
    return found


def test_every_private_name_of_a_library_is_known() -> None:
    trees = sources()
    defined = set().union(*map(ours, trees))
    used = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and private(node.attr)
    }
    known = {name for _, name in PRIVATE} | PYTHON
    assert used - defined <= known, "not in the tables above"
    assert {name for _, name in PRIVATE} <= used | defined, "not used any more"


def test_every_private_module_is_known() -> None:
    used = {
        node.module
        for tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0
        if any(private(part) for part in (node.module or "").split("."))
    }
    assert used == {module for module in MODULES if "._" in module}


@pytest.mark.parametrize(
    ("owner", "name"), list(PRIVATE), ids=[f"{owner.__name__}.{name}" for owner, name in PRIVATE]
)
def test_the_library_still_has_it(owner: type, name: str) -> None:
    in_source = any(
        f"self.{name}" in inspect.getsource(base)
        for base in owner.__mro__
        if base.__module__ not in ("builtins", "typing")
    )
    where = f"{owner.__module__}.{owner.__qualname__}"
    assert hasattr(owner, name) or in_source, (
        f"{where} has no {name} any more ({PRIVATE[owner, name]}): "
        "see docs/decisions/0122-libraries-reconsidered.md"
    )


@pytest.mark.parametrize("module", list(MODULES))
def test_the_module_still_has_them(module: str) -> None:
    found = import_module(module)
    assert [name for name in MODULES[module] if not hasattr(found, name)] == []


def test_what_has_private_names_is_pinned() -> None:
    """To releases of one line: a private name is not changed in a correction."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    required = {one.name: one for one in map(Requirement, project["dependencies"])}
    owners = {owner.__module__.partition(".")[0] for owner, _ in PRIVATE} - {"asyncio"}
    for name in owners:
        bounds = {one.operator: one.version.split(".") for one in required[name].specifier}
        low, high = bounds[">="][:2], bounds["<"]
        assert [int(part) for part in high] == [int(low[0]), int(low[1]) + 1], name
