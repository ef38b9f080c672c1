"""The named queries of PostgreSQL, with named parameters.

PostgreSQL numbers its parameters (``$1``). The files name them (``:seq``), as SQLite's files do.
Each query is translated once, when it is first used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..named_sql import load

SQL = load(Path(__file__).parent / "sql")

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)\b")


@dataclass(frozen=True, slots=True)
class Query:
    """A statement as it is sent, and the names of its parameters in their order."""

    text: str
    names: tuple[str, ...]


@cache
def query(name: str) -> Query:
    """The query called ``name``. KeyError when there is none."""
    names: list[str] = []

    def numbered(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    text = _PARAMETER.sub(numbered, SQL[name])
    return Query(text, tuple(names))
