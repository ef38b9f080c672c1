"""Named queries: SQL lives in ``.sql`` files, one dialect a folder, and is called by name.

A file is a row of queries, each under a line ``-- name: the_name``. A line ``-- include: x``
stands for the text under ``-- fragment: x``, in whatever file of the folder that is; so what many
queries share is written once. Comments are kept out of what is sent.
"""

from __future__ import annotations

import re
from pathlib import Path

_PART = re.compile(r"^-- (name|fragment): (\w+)$", re.MULTILINE)
_INCLUDE = re.compile(r"^ *-- include: (\w+)$", re.MULTILINE)


def load(folder: Path) -> dict[str, str]:
    """All queries of the ``.sql`` files in ``folder``. ValueError when a name is given twice,
    KeyError when a fragment is included that there is not."""
    parts: dict[str, dict[str, str]] = {"name": {}, "fragment": {}}
    for path in sorted(folder.glob("*.sql")):
        words = _PART.split(path.read_text("utf-8"))
        for kind, name, body in zip(words[1::3], words[2::3], words[3::3], strict=True):
            if name in parts[kind]:
                raise ValueError(f"{path.name}: {kind} {name} is defined twice")
            parts[kind][name] = body

    def text(body: str) -> str:
        body = _INCLUDE.sub(lambda found: text(parts["fragment"][found[1]]), body)
        lines = (line for line in body.splitlines() if not line.lstrip().startswith("--"))
        return "\n".join(lines).strip().removesuffix(";")

    return {name: text(body) for name, body in parts["name"].items()}
