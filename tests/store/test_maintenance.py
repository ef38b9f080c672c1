"""The verbs that keep a store small, sound and copied, on every store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.model import Filter, Job, Outcome, State
from queuectl_core.operations import maintenance
from queuectl_core.store.open import open_store
from queuectl_core.store.protocol import JobAction, Store
from queuectl_core.store.sqlite.store import SqliteStore

from ..support import NOW, ending, spec, supervisor
from .stores import COPIED, PLACES
from .tools import change, claim, finish, hired, real_counts, run

copied = pytest.mark.parametrize("place", COPIED, indirect=True)
"""On stores that queuectl copies itself."""


async def completed(store: Store, at: float, name: str) -> Job:
    """A job that completed at that time."""
    (job,) = await store.enqueue([spec(id=name, run_at=at)], at)
    return await run(store, job, now=at)


async def test_what_completed_long_ago_is_found_by_time(store: Store) -> None:
    await hired(store)
    old = await completed(store, NOW, "old")
    later = await completed(store, NOW + 10, "later")
    await completed(store, NOW + 20, "new")
    assert await store.expired(0, NOW + 15, 10) == [old.seq, later.seq]
    assert await store.expired(0, NOW + 15, 1) == [old.seq]
    assert await store.expired(NOW + 5, NOW + 15, 10) == [later.seq]
    assert await store.expired(0, NOW, 10) == []


async def test_only_what_is_completed_still_expires(store: Store) -> None:
    await hired(store)
    again = await completed(store, NOW, "again")
    await change(store, JobAction.RETRY, [again.seq], NOW + 1, True)
    (failed,) = await store.enqueue([spec(id="failed", run_at=NOW - 1, max_retries=1)], NOW)
    await run(store, failed, Outcome.FAILED)
    assert await store.expired(0, NOW + 100, 10) == []
    await run(store, again, now=NOW + 50)
    assert await store.expired(0, NOW + 40, 10) == [], "it completed later, the second time"
    assert set(await store.expired(0, NOW + 60, 10)) == {again.seq}


async def test_what_ended_is_found_by_state_in_order(store: Store) -> None:
    await hired(store)
    one, two = [await completed(store, NOW + n, f"c{n}") for n in range(2)]
    waiting, cancelled = await store.enqueue([spec(id="w"), spec(id="x")], NOW)
    await change(store, JobAction.CANCEL, [cancelled.seq], NOW, True)
    assert await store.ended(State.COMPLETED, NOW + 5, 0, 10) == [one.seq, two.seq]
    assert await store.ended(State.COMPLETED, NOW + 5, one.seq, 10) == [two.seq]
    assert await store.ended(State.COMPLETED, NOW + 5, 0, 1) == [one.seq]
    assert await store.ended(State.COMPLETED, NOW + 1, 0, 10) == [one.seq]
    assert await store.ended(State.CANCELLED, NOW + 1, 0, 10) == [cancelled.seq]
    assert await store.ended(State.PENDING, NOW + 100, 0, 10) == []
    assert waiting.state is State.PENDING


async def test_prune_removes_only_jobs_that_are_still_old_and_ended(store: Store) -> None:
    await hired(store)
    old, again = [await completed(store, NOW + n, f"c{n}") for n in range(2)]
    new = await completed(store, NOW + 50, "new")
    await change(store, JobAction.RETRY, [again.seq], NOW + 60, True)
    seqs = [old.seq, again.seq, new.seq, 10_000]
    assert (await store.prune(seqs, State.COMPLETED, NOW + 10)).done == [(old.seq, 1)]
    assert {job.id for job in await store.scan(Filter(), 10)} == {"c1", "new"}
    assert await store.attempts(old.seq) == []
    assert await store.counts() == await real_counts(store)
    assert await store.runs(seqs) == {again.seq: 1, new.seq: 1}


async def test_counters_are_compared_with_the_jobs(store: Store) -> None:
    await store.enqueue([spec(), spec(queue="mail")], NOW)
    assert await store.miscounted() == 0
    await store.recount()
    assert await store.miscounted() == 0
    assert await store.counts() == await real_counts(store)


async def test_a_supervisor_is_dismissed_unless_it_holds_a_job_or_has_moved(store: Store) -> None:
    await store.register(supervisor("busy"), [("busy-1", ())], NOW)
    await store.register(supervisor("idle"), [("idle-1", ())], NOW)
    await store.enqueue([spec()], NOW)
    (held,) = await claim(store, "busy")
    rows = {row.id: row for row in await store.supervisors()}
    assert not await store.dismiss(rows["busy"])
    assert not await store.dismiss(supervisor("idle", lease_until=NOW + 99))
    assert not await store.dismiss(supervisor("nobody"))
    assert await store.dismiss(rows["idle"])
    assert [row.id for row in await store.supervisors()] == ["busy"]
    await finish(store, "busy", ending(held))
    assert await store.dismiss(rows["busy"])
    assert await store.workers() == []


@pytest.mark.parametrize("place", sorted(PLACES.keys() - set(COPIED)), indirect=True)
async def test_a_store_that_is_not_copied_says_what_does(store: Store, tmp_path: Path) -> None:
    assert not store.can_backup
    target = tmp_path / "copy.db"
    with pytest.raises(InvalidInput, match="pg_dump"):
        await maintenance.backup(store, str(target), force=False, progress=lambda done, total: None)
    assert not list(tmp_path.glob("*copy*"))


@copied
async def test_a_backup_is_the_store_at_one_moment(
    store: Store, other: Store, tmp_path: Path
) -> None:
    await store.enqueue([spec(f"echo {n}" + "x" * 2000, id=f"j{n}") for n in range(2000)], NOW)
    target = tmp_path / "copy.db"
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    steps: list[tuple[int, int]] = []
    await store.backup(target, lambda done, total: steps.append((done, total)))
    assert len(steps) > 1
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1][0] == steps[-1][1]
    copy = await open_store(str(target), {})
    try:
        assert await copy.counts() == await store.counts()
        assert await copy.scan(Filter(), 3000) == await store.scan(Filter(), 3000)
        assert await copy.faults() == []
        await copy.enqueue([spec(id="more")], NOW)
        assert await other.by_id("more") == []
    finally:
        await copy.close()


@copied
async def test_nobody_works_in_a_backup(store: Store, tmp_path: Path) -> None:
    """Workers started on it must not look for, and end, what the original's workers run."""
    await hired(store, "sup", "w1", "w2")
    await store.enqueue([spec(id="runs"), spec(id="unwanted")], NOW)
    held = await claim(store, count=2)
    await change(store, JobAction.CANCEL, [held[1].seq], NOW, strict=True)
    target = tmp_path / "copy.db"
    target.touch(0o600)
    await store.backup(target, lambda done, total: None)
    copy = await open_store(str(target), {"HOME": str(tmp_path)})
    try:
        assert await copy.supervisors() == []
        assert await copy.workers() == []
        jobs = {job.id: job for job in await copy.scan(Filter(), 10)}
        assert jobs["runs"].state is State.PENDING
        assert (jobs["runs"].owner, jobs["runs"].runs) == (None, 1)
        assert jobs["unwanted"].state is State.CANCELLED
        assert await copy.counts() == await real_counts(copy)
    finally:
        await copy.close()
    assert len(await store.supervisors()) == 1, "the original goes on"
    assert {job.state for job in await store.scan(Filter(), 10)} == {State.PROCESSING}


@copied
async def test_who_writes_during_a_backup_neither_waits_nor_gets_into_it(
    store: Store, other: Store, tmp_path: Path
) -> None:
    import asyncio

    await store.enqueue([spec(f"echo {n}" + "x" * 2000, id=f"j{n}") for n in range(2000)], NOW)
    target = tmp_path / "copy.db"
    target.touch(0o600)
    loop = asyncio.get_running_loop()
    written: list[int] = []

    def between(done: int, total: int) -> None:
        number = len(written)
        wait = asyncio.run_coroutine_threadsafe(other.enqueue([spec(id=f"new{number}")], NOW), loop)
        written.append(len(wait.result(30)))

    await store.backup(target, between)
    assert len(written) > 1
    copy = await open_store(str(target), {})
    try:
        assert len(await copy.scan(Filter(), 5000)) == 2000
    finally:
        await copy.close()
    assert len(await store.scan(Filter(), 5000)) == 2000 + len(written)


@copied
async def test_a_backup_that_is_cancelled_ends(store: Store, tmp_path: Path) -> None:
    import asyncio

    await store.enqueue([spec("x" * 2000) for n in range(2000)], NOW)
    target = tmp_path / "copy.db"
    target.touch(0o600)
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(
        store.backup(target, lambda done, total: loop.call_soon_threadsafe(begun.set) and None)
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_backup_has_ended_before_its_files_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that still goes on would make some of them again."""
    import asyncio

    store = await SqliteStore.open(tmp_path / "queue.db")
    begun, seen = asyncio.Event(), []

    async def slow(target: Path, _: object) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)  # as long as its thread goes on
            seen.append(target.exists())

    monkeypatch.setattr(store, "backup", slow)
    backup = maintenance.backup(
        store, str(tmp_path / "copy.db"), force=False, progress=lambda *_: None
    )
    task = asyncio.ensure_future(backup)
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [True]
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    await store.close()
