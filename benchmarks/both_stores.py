"""The same measurement on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from harness import Scratch, word
from postgres_server import Postgres, PostgresScratch

STORES = ("sqlite", "postgres")


def add_store(parser: ArgumentParser) -> None:
    """The option that chooses stores."""
    parser.add_argument("--store", action="append", choices=STORES, help="default: both")


@contextmanager
def places(kind: str, *names: str) -> Iterator[Sequence[Scratch]]:
    """A store of this kind for each name."""
    with ExitStack() as stack:
        if kind == "sqlite":
            yield [stack.enter_context(Scratch()) for _ in names]
        else:
            server = stack.enter_context(Postgres())
            yield [stack.enter_context(PostgresScratch(server, name)) for name in names]


def url_of(scratch: Scratch) -> str:
    return scratch.env["QUEUECTL_STORE"]


def query(scratch: Scratch, statement: str) -> list[Any]:
    if isinstance(scratch, PostgresScratch):
        return scratch.query(statement)
    with closing(sqlite3.connect(scratch.store, timeout=30)) as database:
        return database.execute(statement).fetchall()


def tidy(scratch: Scratch) -> None:
    """Nothing is left to be written, and the server knows the tables."""
    if isinstance(scratch, PostgresScratch):
        scratch.query("VACUUM ANALYZE")
        scratch.query("CHECKPOINT")
    else:
        query(scratch, "PRAGMA wal_checkpoint(TRUNCATE)")


def figures(found: dict[str, Any], title: str, width: int) -> str:
    """A line for each figure of each part of each store. ``width``: of the names of the figures."""
    rows = [title]
    for kind in STORES:
        for part, named in found.get(kind, {}).items():
            for name, figure in named.items():
                if not isinstance(figure, dict) or "value" not in figure:
                    continue
                low, high = figure["spread"]
                bar = f"; bar {figure['bar']:g}" if "bar" in figure else ""
                label = f"{kind}, {part}, {name}"
                rows.append(
                    f"{word(figure):<7}{label:<{width}}{figure['value']:>10,.2f}"
                    f" ({low:,.2f} to {high:,.2f}{bar})"
                )
    return "\n".join(rows)
