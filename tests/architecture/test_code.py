"""House rules a linter has no word for."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import queuectl_core
from queuectl_core.domain import model
from queuectl_core.queue import Queue
from queuectl_core.store import copy, protocol
from queuectl_core.store.copy import Copying
from queuectl_core.store.named_sql import load
from queuectl_core.store.postgres.copy import PostgresCopying
from queuectl_core.store.postgres.queries import SQL as POSTGRES
from queuectl_core.store.postgres.store import PostgresStore
from queuectl_core.store.protocol import JobAction, Store
from queuectl_core.store.sqlite.copy import SqliteCopying
from queuectl_core.store.sqlite.queries import SQL as SQLITE
from queuectl_core.store.sqlite.store import SqliteStore

from ..store.stores import PLACES

ROOT = Path(__file__).parents[2]
PACKAGES = ("queuectl_core", "queuectl_tui", "queuectl_web")
MODULES = sorted(
    path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)
CORE = [path for path in MODULES if path.parts[0] == "queuectl_core"]

STORES: dict[str, tuple[type[Store], Mapping[str, str], type[Copying]]] = {
    "sqlite": (SqliteStore, SQLITE, SqliteCopying),
    "postgres": (PostgresStore, POSTGRES, PostgresCopying),
}
"""The name of each store's package; its class, its queries, and its class for copies."""

FORMATTED_SQL = {
    "PRAGMA journal_size_limit": "PRAGMA takes no parameters; an integer constant of ours",
    "PRAGMA user_version": "PRAGMA takes no parameters; the number of a migration file",
    "PRAGMA application_id": "PRAGMA takes no parameters; an integer constant of ours",
    "PRAGMA schema_version": "PRAGMA takes no parameters; an integer that SQLite said",
    "PRAGMA page_size": "PRAGMA takes no parameters; an integer that SQLite said",
}
"""Every statement that is put together, and why it may be."""

STATEMENT = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER|PRAGMA|WITH|ATTACH|EXPLAIN)\s+\S"
)


@pytest.mark.parametrize("path", CORE, ids=str)
def test_every_core_module_says_what_it_is_for(path: Path) -> None:
    text = (ROOT / path).read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, path
    assert docstring.splitlines()[0].endswith((".", "?", ":", ",")) or "\n" in docstring


PACKAGE_FILES = sorted(
    path.relative_to(ROOT)
    for folder in (*PACKAGES, "chaos", "tests")
    for path in (ROOT / folder).rglob("__init__.py")
)


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=str)
def test_every_package_says_its_purpose_in_one_sentence(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text("utf-8")))
    assert docstring, path
    first = docstring.split("\n\n")[0]
    assert first.endswith((".", ":")), first
    assert not re.search(r"[.!?]\s", first), f"more than one sentence: {first}"


def formatted_strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Text put together at run time: f-strings, ``%``, ``+`` and ``format``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value for part in node.values if isinstance(part, ast.Constant)]
            yield node.lineno, "{}".join(map(str, parts)) if parts else ""
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mod, ast.Add)):
            for side in (node.left, node.right):
                if isinstance(side, ast.Constant) and isinstance(side.value, str):
                    yield node.lineno, side.value
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("format", "join", "replace")
            and isinstance(node.func.value, ast.Constant)
        ):
            yield node.lineno, str(node.func.value.value)


def test_no_sql_is_put_together() -> None:
    found = {}
    for path in MODULES:
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        for line, text in formatted_strings(tree):
            if STATEMENT.match(text):
                found[f"{path}:{line}"] = text
    unknown = {
        where: text
        for where, text in found.items()
        if not any(text.startswith(allowed) for allowed in FORMATTED_SQL)
    }
    assert not unknown
    assert {text.split(" = ")[0] for text in found.values()} == set(FORMATTED_SQL)


def test_every_named_query_is_sent_by_somebody() -> None:
    text = "".join((ROOT / path).read_text("utf-8") for path in CORE)
    words = set(re.findall(r'(?<=")\w+(?=")', text))  # each that stands in quotes

    # Names that are put together: f"scan_{kind}_{direction}".
    composed = re.findall(r'f"(\w*\{[\w{}]+)"', text)
    patterns = [re.sub(r"\{\w+\}", r"(\\w+)", found) for found in composed]

    def sent(name: str) -> bool:
        found = (re.fullmatch(pattern, name) for pattern in patterns)
        parts = [match.groups() for match in found if match] + [(name,)]
        return any(words.issuperset(one) for one in parts)

    assert [name for _, queries, _ in STORES.values() for name in queries if not sent(name)] == []


def shared_queries() -> Iterator[tuple[str, set[str] | None]]:
    """The queries that the protocols send, in every dialect, and the values that they give; None:
    the values are made elsewhere."""
    for action in JobAction:
        yield action.value, None
    for module in (protocol, copy):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp):
                if ast.unparse(node.targets[0]) == "query":
                    yield from (
                        (ast.literal_eval(one), None)
                        for one in (node.value.body, node.value.orelse)
                    )
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in SENDERS:
                given = {keyword.arg for keyword in node.keywords}
                values = None if None in given else {name for name in given if name}
                if isinstance(node.args[0], ast.Constant):
                    yield ast.literal_eval(node.args[0]), values


SENDERS = ("self._rows", "self._change", "self._note")


@pytest.mark.parametrize("store", STORES)
def test_each_dialect_has_the_queries_that_the_protocols_send(store: str) -> None:
    _, dialect, _ = STORES[store]
    found = list(shared_queries())
    assert len(found) > 40
    for name, values in found:
        assert name in dialect, f"no query is called {name}"
        taken = set(re.findall(r"(?<![:\w]):([a-z_]+)\b", dialect[name]))
        assert values is None or taken <= values, name


def test_a_query_named_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- name: one\nSELECT 1;\n-- about two\n-- name: two\nSELECT 2")
    assert load(tmp_path) == {"one": "SELECT 1", "two": "SELECT 2"}
    (tmp_path / "b.sql").write_text("-- name: one\nSELECT 3;\n")
    with pytest.raises(ValueError, match="one is defined twice"):
        load(tmp_path)


# -- names others depend on -----------------------------------------------------------


def test_every_store_is_tested() -> None:
    packages = {path.parent.name for path in (ROOT / "queuectl_core/store").glob("*/store.py")}
    assert packages == STORES.keys() == PLACES.keys()


def public(thing: object) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")}


WRITTEN_AGAIN: dict[type[Store], set[str]] = {
    # A full disk, and supervisors in another pid namespace, need more than one statement.
    SqliteStore: {"stop_workers", "supervisors", "workers"},
}
"""Verbs that the protocol writes once, and a store writes again."""


def has_body(verb: object) -> bool:
    """Whether there is more than a docstring."""
    [function] = ast.parse(textwrap.dedent(inspect.getsource(verb))).body  # type: ignore[arg-type]
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    return len(function.body) > 1


@pytest.mark.parametrize("store", [store for store, _, _ in STORES.values()])
def test_the_store_speaks_the_protocol_and_nothing_else(store: type[Store]) -> None:
    verbs = public(Store)
    own = public(store) - {"open", "shared_by_hosts", "can_backup", "directory"}
    once = {verb for verb in verbs if has_body(getattr(Store, verb))}
    assert own | once == verbs
    assert own & once == WRITTEN_AGAIN.get(store, set())
    for verb in verbs:
        wanted, found = inspect.signature(getattr(Store, verb)), getattr(store, verb)
        _, *names = inspect.signature(transaction_of(found) or found).parameters
        assert names == list(wanted.parameters)[1:], verb


def transaction_of(verb: Any) -> Any:
    """The function that a declared verb runs in a transaction; None for a verb with a body."""
    if verb.__name__ != "verb":
        return None
    found = inspect.getclosurevars(verb).nonlocals["transaction"]
    return found if inspect.signature(found).parameters else found()


@pytest.mark.parametrize("copying", [copying for _, _, copying in STORES.values()])
def test_what_copies_a_store_speaks_its_protocol_and_nothing_else(copying: type[Copying]) -> None:
    verbs = public(Copying)
    once = {verb for verb in verbs if has_body(getattr(Copying, verb))}
    assert public(copying) | once == verbs
    assert not public(copying) & once
    for verb in verbs:
        wanted, found = inspect.signature(getattr(Copying, verb)), getattr(copying, verb)
        assert list(inspect.signature(found).parameters) == list(wanted.parameters), verb


def test_the_states_and_outcomes_are_pinned() -> None:
    """They are in every store there is: a name can be added, none can be changed."""
    assert [state.value for state in model.State] == [
        "pending",
        "waiting",
        "processing",
        "completed",
        "failed",
        "dead",
        "cancelled",
    ]
    assert [outcome.value for outcome in model.Outcome] == [
        "completed",
        "failed",
        "timeout",
        "cancelled",
        "interrupted",
        "crashed",
    ]


def test_what_a_front_end_calls_is_pinned() -> None:
    """Taking one of these away breaks front ends; a new one is added here as well."""
    assert {name for name in public(Queue) if callable(getattr(Queue, name))} >= {
        "open",
        "defaults",
        "enqueue",
        "enqueue_specs",
        "batch",
        "find",
        "get",
        "scan",
        "pages",
        "count_range",
        "attempts",
        "output",
        "status",
        "workers",
        "stats",
        "changed",
        "wait_state",
        "copy_to",
        "retry",
        "cancel",
        "remove",
        "retry_all",
        "cancel_all",
        "remove_all",
        "settings",
        "config_list",
        "config_get",
        "config_set",
        "config_unset",
        "find_workers",
        "stop_workers",
        "run_workers",
        "start_workers",
    }


def test_every_public_method_of_the_queue_says_what_it_does() -> None:
    undocumented = [
        name
        for name in public(Queue)
        if callable(getattr(Queue, name)) and not inspect.getdoc(getattr(Queue, name))
    ]
    assert not undocumented


def test_the_version_is_said_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", queuectl_core.__version__)
    assert f"{queuectl_core.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
