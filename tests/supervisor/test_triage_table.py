"""What triage makes of each thing that a journal can say, without processes."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.runner.journal_reader import JournalReader
from queuectl_core.supervisor import triage as triage_module
from queuectl_core.supervisor.processes import Marked, Process
from queuectl_core.supervisor.triage import RecoveryPlan, triage

from .test_attempt_states import job_of

MADE = '["M", 1]'
SHIM, OTHER_SHIM = '["H", 12, 2]', '["H", 13, 2]'
BEGUN, STARTED = '["B", "1.1"]', '["S", "1.1", 7, 1.0, 2.0, 3.0, "w1"]'
STRAY = Process(99, 5.0)


def exit_line(code: int, *, left: bool) -> str:
    return f'["X", "1.1", {code}, null, 0.1, 5, 9.0, {str(left).lower()}, 0]'


RAN = (MADE, SHIM, BEGUN, STARTED)
CASES: dict[str, tuple[tuple[str, ...], bool, bool, str]] = {
    # What the journal says, whether its shim lives, whether processes of it are found, the verdict
    "ended well": ((*RAN, exit_line(0, left=False)), True, False, "exited"),
    "ended, and nobody lives": ((*RAN, exit_line(3, left=False)), False, False, "exited"),
    "ended well, and left a daemon": ((*RAN, exit_line(0, left=True)), True, True, "exited"),
    "failed, and left processes": ((*RAN, exit_line(3, left=True)), True, True, "remains 3"),
    "failed, and they are gone": ((*RAN, exit_line(3, left=True)), True, False, "exited"),
    "runs": (RAN, True, True, "adopted"),
    "runs without its shim": (RAN, False, True, "remains None"),
    "was started, and is gone": (RAN, False, False, "crashed"),
    "may have been started": ((MADE, SHIM, BEGUN), False, False, "crashed"),
    "may run": ((MADE, SHIM, BEGUN), True, True, "remains None"),
    "was never started": ((MADE, SHIM), False, False, "unstarted"),
    "was never started by a shim that lives": ((MADE, SHIM), True, False, "unstarted"),
    "no shim was started": ((MADE,), False, False, "unstarted"),
    "its journal was deleted": ((), False, False, "crashed"),
    "its journal was deleted, and it runs": ((), False, True, "remains None"),
    "its journal was deleted, and its shim wrote another": (
        ('["L"]', SHIM),
        True,
        False,
        "crashed",
    ),
    "its journal was deleted, and its shim says that it runs": (
        ('["L"]', SHIM, STARTED),
        True,
        True,
        "adopted",
    ),
    "an earlier shim had it": ((*RAN, OTHER_SHIM), True, True, "remains None"),
    "an earlier shim had it, and it is gone": ((*RAN, OTHER_SHIM), True, False, "crashed"),
    "an earlier shim had it, and told its end": (
        (*RAN, exit_line(3, left=False), OTHER_SHIM),
        True,
        False,
        "exited",
    ),
    "the host was short of something": (
        (MADE, SHIM, BEGUN, '["N", "1.1", "no processes", 9.0, "w1"]'),
        True,
        False,
        "unstarted",
    ),
}


class Processes:
    """The processes of the host."""

    def __init__(self, marked: Marked) -> None:
        self.found = marked

    async def marked(self) -> Marked:
        return self.found


def verdict(plan: RecoveryPlan) -> str:
    (found,) = [
        (one.name, getattr(plan, one.name)) for one in fields(plan) if getattr(plan, one.name)
    ]
    name, (what,) = found
    if name != "remains":
        return name
    assert what.strays == [STRAY]
    return f"remains {None if what.exit is None else what.exit.code}"


@pytest.mark.parametrize(("lines", "lives", "processes", "wanted"), CASES.values(), ids=CASES)
def test_the_verdict(
    lines: tuple[str, ...],
    lives: bool,
    processes: bool,
    wanted: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if lines:
        (tmp_path / "sup.journal").write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(JournalReader, "shim_alive", lambda _: lives)
    monkeypatch.setattr(triage_module, "shim_processes", lambda _: {})
    monkeypatch.setattr(triage_module, "was_started_between", lambda *_: False)
    monkeypatch.setattr(triage_module, "is_in_group", lambda *_: False)
    job = job_of(1)
    others = {("j1", "2", "sup"): [Process(1, 1.0)], ("j1", "1", "other"): [Process(2, 1.0)]}
    marked: Any = others | ({("j1", "1", "sup"): [STRAY]} if processes else {})
    plan = asyncio.run(triage([job], tmp_path, Processes(marked)))  # type: ignore[arg-type]
    assert verdict(plan) == wanted


@pytest.mark.parametrize("lives", [False, True])
def test_of_a_dead_shim_nothing_is_adopted(
    lives: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another one may use its journal by now, and live."""
    (tmp_path / "sup.journal").write_text("".join(f"{line}\n" for line in RAN))
    monkeypatch.setattr(JournalReader, "shim_alive", lambda _: lives)
    monkeypatch.setattr(triage_module, "was_started_between", lambda *_: False)
    monkeypatch.setattr(triage_module, "is_in_group", lambda *_: False)
    marked: Any = {("j1", "1", "sup"): [STRAY]}
    plan = asyncio.run(triage([job_of(1)], tmp_path, Processes(marked), dead=True))  # type: ignore[arg-type]
    assert verdict(plan) == "remains None"
