"""Which mutants are made: all of some files, or a random sample."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from random import Random

from . import sql
from .mutant import Mutant, Survivor
from .tree import ROOT, tracked_files

PACKAGES = ("queuectl_core", "queuectl_tui", "queuectl_web")


def files(modules: Iterable[str]) -> list[str]:
    """The files that can be changed: those that are given, or are in folders that are given.
    ValueError if there is none for one of them."""
    code = [name for name in tracked_files() if name.split("/")[0] in PACKAGES]
    code = [name for name in code if name.endswith((".py", ".sql"))]
    found: set[str] = set()
    for module in modules:
        wanted = module.removeprefix("./").rstrip("/")
        here = {name for name in code if name == wanted or name.startswith(f"{wanted}/")}
        if not here:
            raise ValueError(f"no code of ours is in {module}")
        found |= here
    return sorted(found)


def every(paths: Iterable[str]) -> Iterator[Mutant]:
    """All mutants of these files."""
    for path in paths:
        for mutant in _of(path):
            if is_code(mutant):
                yield mutant


def sample(paths: Iterable[str], size: int, seed: int) -> Iterator[Mutant]:
    """One mutant each of ``size`` lines (or of all lines that have mutants, if these are fewer).
    Each line is as likely as any other; the same seed chooses the same."""
    rng = Random(seed)
    lines = [
        (path, number)
        for path in paths
        for number, line in enumerate(_text(path).splitlines(), 1)
        if line.strip() and not line.lstrip().startswith(("#", "--"))
    ]
    rng.shuffle(lines)
    for path, number in lines:
        here = [one for one in _of(path) if one.line == number]
        rng.shuffle(here)
        chosen = next((one for one in here if is_code(one)), None)
        if chosen is not None:
            yield chosen
            size -= 1
        if size <= 0:
            return


def again(kept: Iterable[Survivor]) -> Iterator[Mutant]:
    """The mutants that survived before, as far as the code still has their lines."""
    wanted = set(kept)
    for path in sorted({one.path for one in wanted}):
        if (ROOT / path).is_file():
            yield from (one for one in _of(path) if Survivor.of(one) in wanted and is_code(one))


def is_code(mutant: Mutant) -> bool:
    """Whether Python can read it. (SQL is read by the store.)"""
    if mutant.path.endswith(".py"):
        try:
            ast.parse(mutant.after)
        except SyntaxError:
            return False
    return True


def _text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


@cache
def _of(path: str) -> list[Mutant]:
    if path.endswith(".sql"):
        return sql.mutants(path, _text(path))
    from . import python  # only with the extra: it needs mutmut

    return python.mutants(path, _text(path))
