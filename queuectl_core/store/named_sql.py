"""Named queries: the SQL of a dialect is in the ``.sql`` files of one folder.

Each query follows a line ``-- name: the_name``. A line ``-- include: x`` is replaced by the text
that follows ``-- fragment: x`` in any file of the folder, so that text which many queries share is
written once. Comments are not sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping


class Queries(Mapping[str, str]):
    """The queries of a folder by name. A query is prepared when it is first used."""

    def __init__(self, named: dict[str, str], fragments: dict[str, str]) -> None:
        self._named = named
        self._fragments = fragments
        self._ready: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        found = self._ready.get(name)
        if found is None:
            lines = self._lines(self._named[name])
            found = self._ready[name] = "\n".join(lines).strip().removesuffix(";")
        return found

    def replace(self, name: str, text: str) -> None:
        """Replace the text of a query; for tests."""
        self._ready[name] = text

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def _lines(self, body: str) -> Iterator[str]:
        for line in body.splitlines():
            text = line.lstrip()
            if text.startswith("-- include: "):
                yield from self._lines(self._fragments[text[12:].strip()].strip("\n"))
            elif not text.startswith("--"):
                yield line


def load(folder: str | os.PathLike[str]) -> Queries:
    """All queries of the ``.sql`` files in ``folder``.

    ValueError when a name is given twice. A query that includes an unknown fragment raises KeyError
    when it is used.
    """
    parts: dict[str, dict[str, str]] = {"name": {}, "fragment": {}}
    for file_name in sorted(os.listdir(folder)):
        if not file_name.endswith(".sql"):
            continue
        with open(os.path.join(folder, file_name), encoding="utf-8") as file:
            _, *blocks = f"\n{file.read()}\n".split("\n-- ")
        name, found = "", parts["name"]
        for block in blocks:
            kind, colon, rest = block.partition(": ")
            if colon and kind in parts:
                name, _, body = rest.partition("\n")
                name, found = name.rstrip(), parts[kind]
                if name in found:
                    raise ValueError(f"{file_name}: {kind} {name} is defined twice")
                found[name] = f"{body}\n"
            elif name:
                found[name] += f"-- {block}\n"
    return Queries(parts["name"], parts["fragment"])
