"""Who may import whom, and what a verb costs to start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"


def loaded_by(statement: str) -> set[str]:
    """The top-level modules a fresh process has after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [LINT_IMPORTS, "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "module",
    [
        "queuectl_core",
        "queuectl_core.queue",
        "queuectl_core.jobspec",
        "queuectl_core.store.open",
        "queuectl_core.store.sqlite.store",
        "queuectl_core.worker.supervisor",
    ],
)
def test_the_core_is_free_of_front_ends(module: str) -> None:
    found = loaded_by(f"import {module}")
    assert not found & {"click", "rich", "textual", "queuectl_tui"}


def test_a_queue_is_quick_to_import() -> None:
    # Each of these costs more than everything else a short verb does.
    slow = {"psutil", "difflib", "platformdirs", "importlib.metadata", "decimal", "inspect"}
    found = loaded_by("import queuectl_core.queue, queuectl_core.store.sqlite.store")
    bare = loaded_by("import aiosqlite, asyncio, dataclasses")  # the driver brings what it brings
    assert not (found - bare) & slow


def test_only_a_store_on_a_server_loads_its_driver() -> None:
    """It is an extra: whoever uses SQLite need not have it, and pays nothing for it."""
    found = loaded_by("import queuectl_core.queue, queuectl_core.store.sqlite.store")
    assert not found & {"asyncpg", "queuectl_core.store.postgres"}


def test_the_package_alone_imports_none_of_its_parts() -> None:
    found = loaded_by("import queuectl_core")
    assert {name for name in found if name.startswith("queuectl")} == {"queuectl_core"}


def test_values_import_no_driver() -> None:
    """A front end may use every value without a database being loaded."""
    found = loaded_by("import queuectl_core.model, queuectl_core.errors, queuectl_core.config")
    assert not found & {"sqlite3", "aiosqlite", "asyncio", "psutil"}
