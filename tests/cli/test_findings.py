"""What ``doctor`` finds, at the edges of its rules. :mod:`test_upkeep` has it as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from queuectl_core.domain.hooks import GONE_REASON, HookInfo
from queuectl_core.domain.model import State, Status
from queuectl_core.domain.schedule import ScheduleInfo
from queuectl_core.operations import doctor
from queuectl_core.operations.doctor import Finding

from .. import snapshots
from ..presentation.samples import hook, job, schedule, worker
from ..support import NOW

FOLDER = Path(__file__).parent / "snapshots"
DAMAGE = ["row 7 missing from index"]


async def answer(value: Any) -> Any:
    return value


async def findings_of(found: Any) -> list[Finding]:
    if hasattr(found, "__aiter__"):
        return [finding async for finding in found]
    found = await found if isinstance(found, Awaitable) else found
    return found if isinstance(found, list) else [found]


def shown(found: Any) -> Iterator[str]:
    for one in asyncio.run(findings_of(found)):
        yield f"  {one.check} {one.level}: {one.message} ({one.hint})"


def a_queue(
    *,
    workers: Sequence[Any] = (),
    schedules: Sequence[Any] = (),
    hooks: Sequence[Any] = (),
    dead: int = 0,
    status: Any = None,
    faults: Sequence[str] = (),
    server: bool = False,
    off: int = 0,
) -> Any:
    """Stands for a queue that has been read."""
    store = SimpleNamespace(
        counts=lambda: answer({(State.DEAD, "hooks"): dead}),
        faults=lambda: answer(faults),
        shared_by_hosts=server,
        miscounted=lambda: answer(off),
        misadmitted=lambda: answer(off * 1000),
        files=list,
    )
    return SimpleNamespace(
        store=store,
        url="/q.db",
        clock=lambda: NOW,
        workers=lambda: answer(list(workers)),
        schedules=lambda: answer([ScheduleInfo(one, None, None) for one in schedules]),
        hooks=lambda: answer([HookInfo(one) for one in hooks]),
        status=lambda: answer(status or Status({State.DEAD: 1}, {}, (), None)),
        scan=lambda limit: answer([job("a")]),
    )


def of_schedules() -> Iterator[str]:
    fine = [schedule(f"s{n}", due_at=NOW + 5) for n in range(2)]
    late = [schedule(f"late{n}", due_at=NOW - 70 - n) for n in range(4)]
    paused = schedule("paused", due_at=NOW - 999, paused_at=NOW)
    never = [schedule(f"never{n}", next_at=None, due_at=None) for n in range(4)]
    odd = [schedule(f"odd{n}", tz=f"Mars/{n}") for n in range(4)]
    for name, some in {
        "none": [],
        "fine": fine,
        "late": late,
        "paused": [paused],
        "never": [*fine, *never],
        "odd": odd,
        "all": [*fine, *late, paused, *never, *odd],
    }.items():
        for live in (0, 1):
            yield f"schedules {name}, {live} live"
            yield from shown(doctor.schedules(a_queue(schedules=some), live))


def of_hooks(folder: Path) -> Iterator[str]:
    secret = folder / "key"
    secret.touch()
    plain = hook("plain")
    gone = hook("gone", paused_at=NOW, paused_reason=GONE_REASON)
    for mode in (0o600, 0o640, 0o604, 0o660):
        secret.chmod(mode)
        yield f"a secret with mode {mode:o}"
        signed = hook("signed", secret_file=str(secret))
        yield from shown(doctor.hooks(a_queue(hooks=[signed])))
    missing = hook("missing", secret_file="/none")
    for dead in (9, 10, 1000):
        yield f"{dead} dead"
        yield from shown(doctor.hooks(a_queue(hooks=[plain, gone, missing], dead=dead)))
        yield from shown(doctor.hooks(a_queue(hooks=[plain], dead=dead)))
    yield from shown(doctor.hooks(a_queue(dead=10)))


def of_stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    async def nothing(queue: Any) -> Finding:
        return Finding("litter", "ok", "")

    monkeypatch.setattr(doctor, "orphaned_output", nothing)
    monkeypatch.setattr(doctor, "orphans", nothing)
    monkeypatch.setattr(doctor, "time", SimpleNamespace(monotonic=lambda: 0.0, time=lambda: NOW))
    lost = [worker(f"l{n}", "lost", host=f"h{n % 2}", job=f"j{n}", heartbeat_at=NOW - n)
            for n in range(4)]  # fmt: skip
    idle = [worker("w1", queues=("a",))]
    waits = Status({State.PENDING: 2}, {q: {State.PENDING: 1} for q in "bcde"}, tuple(idle), None)
    for name, queue in {
        "empty": a_queue(status=Status({}, {}, (), None)),
        "one worker": a_queue(workers=idle),
        "lost": a_queue(workers=lost),
        "lost on a server": a_queue(workers=[*lost, *idle], server=True),
        "lost without jobs": a_queue(workers=[worker("l", "lost")]),
        "not served": a_queue(workers=idle, status=waits),
        "damaged": a_queue(faults=DAMAGE, off=2),
        "a damaged server": a_queue(faults=DAMAGE, server=True),
    }.items():
        yield name
        yield from shown(doctor._examine_store(queue))
    for here in (NOW + 5.0, NOW + 5.1, NOW - 6):
        monkeypatch.setattr(doctor.time, "time", lambda here=here: here)
        yield f"clock {here - NOW:.1f}"
        yield from list(shown(doctor._examine_store(a_queue())))[-1:]


def of_the_host(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    for version in (
        *((3, 44, 5), (3, 44, 6), (3, 45), (3, 50, 6), (3, 50, 7), (3, 51), (3, 51, 2)),
        *((3, 51, 3), (3, 52)),
    ):
        yield from shown(doctor.sqlite_version(version))
    for kind in ("ext4", "nfs4", "9p", ""):
        monkeypatch.setattr(doctor, "file_system_of", lambda place, kind=kind: kind)
        yield from shown(doctor.file_system(Path("/srv")))
    for free in ((64 << 20) - 1, 64 << 20, (1 << 30) - 1, 1 << 30):
        usage = SimpleNamespace(free=free, total=10 << 30)
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place, usage=usage: usage)
        yield from shown(doctor.disk(Path("/srv")))
    for stamps, now in (
        *(([], NOW), ([NOW + 5], NOW), ([NOW, NOW + 5.1], NOW), ([], 1_735_689_599.0)),
        ([], 1_735_689_600.0),
    ):
        yield from shown(doctor.clock(stamps, now))
    file = folder / "file"
    file.touch()
    for mode in (0o600, 0o700, 0o601, 0o620, 0o604):
        file.chmod(mode)
        yield from (line.replace(str(folder), "/t") for line in shown(doctor.modes([file])))
    folder.chmod(0o750)
    said = shown(doctor.modes([folder / "none", folder]))
    yield from (line.replace(str(folder), "/t") for line in said)
    yield from shown(doctor.modes([folder / "none"]))


def test_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [*of_schedules(), *of_hooks(tmp_path)]
    with monkeypatch.context() as patched:
        lines += of_stores(patched)
    with monkeypatch.context() as patched:
        lines += of_the_host(patched, tmp_path)
    tmp_path.chmod(0o700)
    text = "\n".join(lines).replace(str(tmp_path), "/t")
    snapshots.same_as(FOLDER / "findings.txt", text)
