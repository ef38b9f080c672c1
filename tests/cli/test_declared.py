"""What every verb takes: the kind and the range of each value, what is taken if it is not given,
and what the shell completes on a store with jobs. The pages of help say the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.queue import Queue
from queuectl_tui.cli import command
from queuectl_tui.cli.declare import GLOBALS, Argument, Noun, Option, UsageError, Verb
from queuectl_tui.cli.main import ROOT
from queuectl_tui.cli.quick import read
from queuectl_tui.cli.session import Session

from .. import snapshots
from ..support import NOW
from .test_transcript import seed

FOLDER = Path(__file__).parent / "snapshots"


def verbs(noun: Noun = ROOT, path: str = "") -> Iterator[tuple[str, Verb]]:
    for name, (place, _) in noun.table.items():
        module, attribute = place.split(":")
        found = getattr(import_module(f"queuectl_tui.cli.{module}"), attribute)
        here = f"{path} {name}".strip()
        if isinstance(found, Noun):
            yield from verbs(found, here)
        else:
            yield here, found


def completed(session: Session, param: Option | Argument, typed: str) -> Any:
    complete = param.complete
    return complete if isinstance(complete, str) else complete and complete(session, typed)


def declared(session: Session, param: Option | Argument) -> Iterator[str]:
    if isinstance(param, Argument):
        words = [param.metavar, "many" * param.many, "required" * param.required]
        words += [f"one of {param.choices}" if param.choices else ""]
    else:
        words = [" ".join(param.names), param.dest, "" if param.is_flag else param.kind.__name__]
        words += ["many" * param.multiple, "required" * param.required]
        words += [f"from {param.least}" if param.least is not None else ""]
        words += [f"to {param.most}" if param.most is not None else ""]
        words += [f"else {param.default}" if param.default not in (None, False) else ""]
    yield "  " + " ".join(word for word in words if word)
    if param.complete is not None:
        found = completed(session, param, "")
        yield f"    completes {found}"
        if isinstance(found, list) and len(found) > 1:
            yield f"    after {found[1][:2]}: {completed(session, param, found[1][:2])}"
            yield f"    after x,: {completed(session, param, 'x,' + found[1][:1])}"


async def fill(path: Path) -> None:
    await seed(path)
    async with Queue.open(str(path), clock=lambda: NOW) as queue:
        await queue.add_hook("say", ["dead"], command=("true",), env={}, cwd="/")
        await queue.add_hook("web", ["dead"], command=("true",), env={}, cwd="/")
        for name in ("night", "often"):
            await queue.add_schedule(name, {"every": 60}, "true")


def test_what_verbs_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(fill(tmp_path / "queue.db"))
    monkeypatch.setenv("QUEUECTL_STORE", str(tmp_path / "queue.db"))
    session = Session()
    lines = ["everywhere"]
    for option in GLOBALS:
        lines += declared(session, option)
    for path, verb in verbs():
        lines.append(path + " -- CMD ARG..." * verb.has_argv)
        for param in verb.params:
            lines += declared(session, param)
    snapshots.same_as(FOLDER / "declared.txt", "\n".join(lines))


def numbers() -> Iterator[tuple[list[str], Option, int, bool]]:
    """A line with the last number that an option takes, and one with the next number."""
    for path, verb in verbs():
        needed = ["x" for param in verb.params if isinstance(param, Argument) and param.required]
        for param in verb.params:
            if isinstance(param, Argument) or param.kind is not int:
                continue
            for end, step in ((param.least, -1), (param.most, 1)):
                for value, good in ((end, True), (end + step, False)) if end is not None else ():
                    line = [*path.split(), *needed, f"{max(param.names, key=len)}={value}"]
                    yield line, param, int(value), good


def test_numbers_at_the_ends_of_their_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers agree: what quick does not take is left to click, which refuses it."""
    kept: list[dict[str, Any]] = []
    monkeypatch.setattr(command.ClickVerb, "_run", lambda self, **values: kept.append(values))
    for line, param, value, good in numbers():
        quick = read(line, ROOT.table)
        assert (quick is not None) == good, line
        if quick is not None:
            assert quick.values[param.dest] == value
            command.run(Session(), ROOT, line)
            assert kept.pop()[param.dest] == value
        else:
            with pytest.raises(UsageError, match=max(param.names, key=len)):
                command.run(Session(), ROOT, line)
