"""The real command line in this process, on a store of its own each time, and what always holds.

The store is a copy of the first version's (``tests/store/data/v1.db``), brought up to date: it
has jobs in every state, so that ids and states name something.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from queuectl_core.domain.text import clean_block
from queuectl_core.store.sqlite import migrate
from queuectl_tui.cli.main import run

TEMPLATE = Path(__file__).parents[1] / "store" / "data" / "v1.db"

DOCUMENTED = {0, 1, 2, 3, 4, 5, 124, 130}
REFUSED = {2, 3, 4, 5}
READING = {"list", "show", "logs", "status", "stats", "wait", "completion"}
"""Verbs that leave the store as it is, whatever comes of them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one command line did."""

    args: tuple[str, ...]
    code: int
    out: bytes
    err: str
    before: tuple[object, ...]
    after: tuple[object, ...]

    @property
    def changed(self) -> bool:
        """Whether anything in the store is different."""
        return self.before != self.after


@cache
def template() -> bytes:
    """What is in the store to begin with: opening it must be no change to it."""
    with tempfile.TemporaryDirectory(prefix="queuectl-fuzz-") as name:
        store = Path(shutil.copy(TEMPLATE, name))
        database = sqlite3.connect(store, isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        migrate.migrate(database, store)
        database.execute("COMMIT")
        database.close()
        return store.read_bytes()


def call(
    args: Sequence[str], *, stdin: bytes = b"", file: bytes | None = None, env: Mapping[str, str]
) -> Outcome:
    """Run a command line; ``{dir}`` in an argument is its directory, ``{file}`` a file with
    ``file`` in it."""
    with tempfile.TemporaryDirectory(prefix="queuectl-fuzz-") as name:
        folder = Path(name)
        store = folder / "queue.db"
        store.write_bytes(template())
        store.chmod(0o600)
        if file is not None:
            (folder / "file").write_bytes(file)
        words = [w.replace("{file}", f"{folder}/file").replace("{dir}", name) for w in args]
        before = dump(store)
        variables = {"QUEUECTL_STORE": str(store), "HOME": name, "XDG_DATA_HOME": f"{name}/data"}
        with surroundings(folder, {**variables, **env}, stdin) as (out, err):
            code = run(words)
            sys.stdout.flush()
            sys.stderr.flush()
            said = (out.getvalue(), err.getvalue().decode())
        return Outcome(tuple(words), code, *said, before, dump(store))


@contextmanager
def surroundings(
    folder: Path, env: Mapping[str, str], stdin: bytes
) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """Standard files and a directory of our own, and an environment with ``env``."""
    kept = (sys.stdin, sys.stdout, sys.stderr, dict(os.environ))
    here = Path.cwd()
    os.chdir(folder)  # what is made by a name without a slash goes with it
    out, err = io.BytesIO(), io.BytesIO()
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    sys.stdout = io.TextIOWrapper(out, "utf-8")
    sys.stderr = io.TextIOWrapper(err, "utf-8")
    os.environ.update(env)
    try:
        yield out, err
    finally:
        os.chdir(here)
        sys.stdin, sys.stdout, sys.stderr = kept[:3]
        os.environ.clear()
        os.environ.update(kept[3])


def dump(store: Path) -> tuple[object, ...]:
    """Everything in the store."""
    database = sqlite3.connect(store)
    try:
        names = [
            row[0]
            for row in database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
            )
        ]
        tables = [(name, database.execute(f"SELECT * FROM {name}").fetchall()) for name in names]
        return (*tables, database.execute("PRAGMA user_version").fetchone())
    finally:
        database.close()


def check(found: Outcome) -> None:
    """What holds whatever was typed."""
    shown = f"{found.args}: exit {found.code}\nstdout: {found.out!r}\nstderr: {found.err}"
    assert found.code in DOCUMENTED, shown
    assert "Traceback" not in found.err, shown
    assert "internal error" not in found.err, shown
    assert clean_block(found.err) == found.err, shown
    lines = found.err.splitlines()
    if {"-v", "--verbose"} & set(found.args):  # says where the store is, first of all
        lines = [line for line in lines if not line.startswith("queuectl: output and logs of")]
    if found.code in REFUSED:
        assert lines, shown
        # A batch names each bad line first; everything else is one line.
        named = all(line.startswith("queuectl: error: line ") for line in lines[:-1])
        more = [line for line in lines[:-1] if "more bad line" in line]
        assert len(lines) == 1 or (more or named), shown
        assert lines[-1].startswith("queuectl: error: "), shown
        assert not found.out, shown
        assert not found.changed, shown
    verb = next((word for word in found.args if not word.startswith("-")), "")
    if verb in READING:
        assert not found.changed, shown
    if "--raw" not in found.args:
        text = found.out.decode()
        assert clean_block(text) == text, shown
        if "--json" in found.args and text and found.code in (0, 1):
            json.loads(text)
