"""Named queries: SQL lives in ``.sql`` files, one dialect a folder, and is called by name.

A file is a row of queries, each under a line ``-- name: the_name``. Comments before the
first statement of a query are kept out of what is sent.
"""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(folder: Path) -> dict[str, str]:
    """All queries of the ``.sql`` files in ``folder``. ValueError when a name is given twice."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.sql")):
        parts = _NAME.split(path.read_text("utf-8"))
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise ValueError(f"{path.name}: query {name} is defined twice")
            lines = (line for line in body.splitlines() if not line.lstrip().startswith("--"))
            found[name] = "\n".join(lines).strip().removesuffix(";")
    return found
