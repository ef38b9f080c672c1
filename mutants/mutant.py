"""A mutant: a file with one small fault."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Mutant:
    """``path`` is relative to the tree. ``line`` is where the change begins."""

    path: str
    line: int
    what: str
    before: str
    after: str

    def diff(self) -> str:
        """The change as a unified diff with one line of context."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            self.path,
            self.path,
            n=1,
        )
        return "".join(lines)


class Survivor(NamedTuple):
    """What a mutant is known by when lines before it have come or gone: ``text`` is its line."""

    path: str
    what: str
    text: str

    @classmethod
    def of(cls, mutant: Mutant) -> Survivor:
        """What ``mutant`` is known by."""
        text = mutant.before.splitlines()[mutant.line - 1].strip()
        return cls(mutant.path, mutant.what, text)
