"""If hosts share a store, output files of jobs that another host removed are removed too."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from queuectl_core.operations.attempt_output import log_path
from queuectl_core.store.protocol import JobAction, Store
from queuectl_core.supervisor.maintenance import orphans
from queuectl_core.supervisor.maintenance.orphans import SPARED, Orphans

from ..support import NOW, spec
from .tools import change, claim, hired


def output(store: Store, seq: int, *, old: bool) -> Path:
    """A file as the first attempt of a job leaves it on this host."""
    path = log_path(store.directory, seq, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("said\n")
    written = time.time() - (2 * SPARED if old else 0)
    os.utime(path, (written, written))
    return path


async def test_what_a_host_keeps_of_jobs_that_are_gone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "EVERY", 0.0)
    await hired(store)
    held, gone, new = await store.enqueue([spec(), spec(), spec()], NOW)
    await claim(store)
    await change(store, JobAction.REMOVE, [gone.seq, new.seq], NOW, strict=True)
    kept = output(store, held.seq, old=True)
    late = output(store, new.seq, old=False)
    removed = output(store, gone.seq, old=True)
    far = output(store, gone.seq + 5_000_000, old=True)
    other = kept.with_name("notes.txt")
    other.touch()
    part = Orphans(store)
    for _ in range(3):  # two folders, and one of them again
        await part.turn()
    assert all(path.exists() for path in (kept, late, other))
    shared = store.shared_by_hosts  # else nobody but us can have removed them
    assert [path.exists() for path in (removed, far)] == [not shared, not shared]


async def test_it_looks_into_a_folder_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[tuple[int, str]] = []

    async def orphans_in(folder: Path, store: Store) -> list[Path]:
        looked.append((moments[-1], folder.name))
        return []

    moments = [0]
    monkeypatch.setattr(orphans, "monotonic", lambda: moments[-1])
    monkeypatch.setattr(orphans, "output_folders", lambda store: [Path("b"), Path("a")])
    monkeypatch.setattr(orphans, "orphans_in", orphans_in)
    shared: Any = SimpleNamespace(shared_by_hosts=True)
    part = Orphans(shared, 0)
    for now in range(36):
        moments.append(now)
        await part.turn()
    assert looked == [(10, "a"), (20, "b"), (30, "a")]
    shared.shared_by_hosts = False
    moments.append(100)
    await part.turn()
    assert len(looked) == 3
