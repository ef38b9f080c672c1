"""Who may import whom, and what a verb costs to start."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STORE = ROOT / "queuectl_core" / "store" / "sqlite" / "store.py"
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
        "queuectl_core.domain.jobspec",
        "queuectl_core.store.open",
        "queuectl_core.store.sqlite.store",
        "queuectl_core.supervisor.supervisor",
    ],
)
def test_the_core_is_free_of_front_ends(module: str) -> None:
    found = loaded_by(f"import {module}")
    assert not found & {"click", "rich", "textual", "queuectl_tui"}


HEAVY = {
    # An event loop with all that comes with it, and a thread for SQLite: more than all the rest.
    *("asyncio", "aiosqlite", "concurrent.futures", "ssl", "subprocess", "logging", "threading"),
    # Each costs more than everything else a short verb does.
    *("psutil", "rich", "textual", "platformdirs", "importlib.metadata", "difflib", "decimal"),
    # A plain command line is read without it.
    "click",
    # Only for the text format of metrics.
    "prometheus_client",
    *("tempfile", "random", "multiprocessing", "unittest", "typing_extensions"),
    "queuectl_core.supervisor",
}


def loaded_by_verb(store: Path, *words: str, beyond: str = "sqlite3", first: str = "") -> set[str]:
    """The modules a fresh process has after a whole command line, ``beyond`` those of these.
    ``first``: statements that are executed before."""
    code = (
        f"{first}import {beyond}, sys; before = set(sys.modules)\n"
        "from queuectl_tui.__main__ import main\n"
        "code = main()\n"
        "print(*sorted(set(sys.modules) - before), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--store", store, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words",
    [
        ("enqueue", "true"),
        ("enqueue", '{"command": "true", "env": {"A": "1"}}'),
        ("enqueue", "--file", "/dev/null"),
        ("list", "--json"),
        ("list", "--state", "pending"),
        ("status", "--json"),
        ("status",),
        ("show", "a"),
        ("stats",),
        ("worker", "list"),
        ("dlq", "list"),
        ("dlq", "list", "--group"),
        ("config", "list"),
        ("config", "set", "max-retries", "5"),
        ("config", "unset", "max-retries"),
        ("retry", "b"),
        ("retry", "b", "--command", "false"),
        ("remove", "a"),
    ],
    ids=" ".join,
)
def test_a_short_verb_loads_no_more_than_it_needs(words: tuple[str, ...], tmp_path: Path) -> None:
    store = tmp_path / "queue.db"
    loaded_by_verb(store, "enqueue", '[{"id": "a", "command": "x"}, {"id": "b", "command": "y"}]')
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("UPDATE jobs SET state = 'dead', ready = NULL WHERE id = 'b'")
    assert not loaded_by_verb(store, *words) & HEAVY


COSTLY = {
    # The verbs that scripts call in loops do without these too.
    *("pathlib", "urllib", "fnmatch", "ntpath", "bisect", "fcntl", "importlib", "dataclasses"),
    *("queuectl_core.operations.maintenance", "queuectl_core.operations.attempt_output"),
    *("queuectl_core.operations.queries", "queuectl_core.system.permissions"),
    *("queuectl_core.system.file_systems", "queuectl_tui.presentation.summary"),
}


@pytest.mark.parametrize(
    "words",
    [("enqueue", "true"), ("status",), ("list",), ("show", "a"), ("wait", "b")],
    ids=" ".join,
)
def test_a_verb_of_a_loop_loads_even_less(words: tuple[str, ...], tmp_path: Path) -> None:
    store = tmp_path / "queue.db"
    loaded_by_verb(store, "enqueue", '[{"id": "a", "command": "x"}, {"id": "b", "command": "y"}]')
    with closing(sqlite3.connect(store)) as database, database:
        database.execute(
            "UPDATE jobs SET state = 'completed', ready = NULL, finished_at = 1 WHERE id = 'b'"
        )
    # The first call of compile() takes a twentieth of the time. Named tuples call it for
    # annotations that are text.
    no_compile = (
        "import builtins\n"
        "real = builtins.compile\n"
        "def compile(source, *rest, **more):\n"
        "    assert not isinstance(source, str), source\n"
        "    return real(source, *rest, **more)\n"
        "builtins.compile = compile\n"
    )
    assert not loaded_by_verb(store, *words, first=no_compile) & (HEAVY | COSTLY)


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_what_needs_no_store_loads_none(word: str, tmp_path: Path) -> None:
    found = loaded_by_verb(tmp_path / "queue.db", word, beyond="click")
    assert not found & HEAVY
    assert not {name for name in found if name.startswith("queuectl_core.")}


def test_only_a_store_on_a_server_loads_its_driver() -> None:
    """It is an extra: whoever uses SQLite need not have it, and pays nothing for it."""
    found = loaded_by("import queuectl_core.queue, queuectl_core.store.sqlite.store")
    assert not found & {"asyncpg", "queuectl_core.store.postgres"}


def test_only_the_text_of_metrics_loads_its_library(tmp_path: Path) -> None:
    """It is an extra too, and takes longer than everything else the verb does."""
    store = tmp_path / "queue.db"
    loaded_by_verb(store, "enqueue", "true")
    assert "prometheus_client" not in loaded_by_verb(store, "metrics", "--json")
    assert "prometheus_client" in loaded_by_verb(store, "metrics")
    found = loaded_by("import queuectl_web.server, queuectl_tui.console.app")
    assert "prometheus_client" not in found


def test_the_package_alone_imports_none_of_its_parts() -> None:
    found = loaded_by("import queuectl_core")
    assert {name for name in found if name.startswith("queuectl")} == {"queuectl_core"}


def test_values_import_no_driver() -> None:
    """A front end may use every value without a database being loaded."""
    found = loaded_by("from queuectl_core.domain import config, errors, model")
    assert not found & {"sqlite3", "aiosqlite", "asyncio", "psutil"}


def test_a_program_with_an_event_loop_loads_the_store_at_once(tmp_path: Path) -> None:
    """It goes on for long, and an upgrade may replace the files of modules that it needs later."""
    text = STORE.read_text()
    names = set(re.findall(r"^ +from \.(\w+) import", text, re.MULTILINE))
    names.update(re.findall(r'_Late\("(\w+)"\)', text))
    late = {f"queuectl_core.store.sqlite.{name}" for name in names}
    late.remove("queuectl_core.store.sqlite.copy")  # of one verb, which ends
    assert len(late) > 4
    found = loaded_by(
        "import asyncio\nfrom queuectl_core.queue import Queue\n"
        "async def use():\n"
        f"    async with Queue.open({str(tmp_path / 'queue.db')!r}): pass\n"
        "asyncio.run(use())"
    )
    assert late <= found
