"""Empty output files go to another job only when nobody can write to them any more."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from queuectl_core.queue import Queue
from queuectl_core.worker.shim.spares import MOST, Spares

from .conftest import Run

linux = pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")


@linux
def test_an_empty_file_is_kept_and_given(tmp_path: Path) -> None:
    spares = Spares()
    (tmp_path / "a").touch()
    inode = (tmp_path / "a").stat().st_ino
    spares.give(str(tmp_path / "b"))
    assert not (tmp_path / "b").exists()
    assert spares.keep(str(tmp_path / "a"))
    spares.give(str(tmp_path / "b"))
    assert (tmp_path / "b").stat().st_ino == inode
    assert not (tmp_path / "a").exists()


@linux
def test_one_that_somebody_has_open_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for flags in (os.O_WRONLY | os.O_APPEND, os.O_RDONLY):
        holder = os.open(tmp_path / "a", flags)
        assert not Spares().keep(str(tmp_path / "a"))
        os.close(holder)
    assert Spares().keep(str(tmp_path / "a"))


def test_one_with_something_in_it_or_gone_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert not Spares().keep(str(tmp_path / "a"))
    assert not Spares().keep(str(tmp_path / "b"))
    (tmp_path / "c").symlink_to("a")
    assert not Spares().keep(str(tmp_path / "c"))


@linux
def test_one_that_cannot_be_given_is_deleted_as_all_are_at_the_end(tmp_path: Path) -> None:
    spares = Spares()
    for number in range(MOST + 1):
        (tmp_path / str(number)).touch()
    kept = [spares.keep(str(tmp_path / str(number))) for number in range(MOST + 1)]
    assert kept == [True] * MOST + [False]
    spares.give(str(tmp_path / "no" / "folder"))
    spares.clear()
    assert [path.name for path in tmp_path.iterdir()] == [str(MOST)]


async def test_what_a_job_left_behind_never_writes_into_anothers_output(
    queue: Queue, run: Run, tmp_path: Path
) -> None:
    """A process that cut its ties keeps its job's output open, and writes when all have run."""
    wait = f"until test -e {tmp_path}/go; do sleep 0.02; done; echo from the first; touch said"
    (first,) = await queue.enqueue([{"command": f'setsid sh -c "{wait}" & sleep 0.2'}])
    others = await queue.enqueue([{"command": "true"}] * 100)
    last = f"touch {tmp_path}/go; until test -e said; do sleep 0.02; done"
    await queue.enqueue([{"command": last, "priority": -1}])
    await run()
    assert [(await queue.output(await queue.find(job.id))).size() for job in others] == [0] * 100
    assert (await queue.output(await queue.find(first.id))).size() in (0, len("from the first\n"))


async def test_nothing_is_left_of_jobs_that_printed_nothing(queue: Queue, run: Run) -> None:
    await queue.enqueue([{"command": "true"}] * 100)
    await run(4)
    assert list((queue.directory / "logs").rglob("*.log")) == []
