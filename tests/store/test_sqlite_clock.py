"""Somebody sets the wall clock: retries wait as long as before, scheduled jobs go by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from queuectl_core.domain.claims import AttemptResult, ClaimRequest, ClaimSlot
from queuectl_core.domain.model import Job, Outcome, Rate, State
from queuectl_core.operations.doctor import write_ahead_log
from queuectl_core.store.sqlite import checkpoint as checkpoint_module
from queuectl_core.store.sqlite.store import SqliteStore

from ..support import ending, held_open, spec
from .test_sqlite_checkpoints import READER
from .tools import hired

SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets the wall clock forward by so many seconds."""
    wall = time.time
    return lambda by: monkeypatch.setattr(time, "time", lambda: wall() + by)


async def failed(store: SqliteStore, name: str) -> float:
    """A job that failed just now; when it is due again."""
    now = store.clock()
    (job,) = await store.enqueue([spec(id=name, run_at=now)], now)
    turn = await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("w", ())], now))
    assert [claimed.id for claimed in turn.claimed] == [name]
    await store.settle_and_claim(
        ClaimRequest("sup", [ending(turn.claimed[0], Outcome.FAILED, now=now)], [], now)
    )
    found = await store.by_seq(job.seq)
    assert found is not None
    assert found.state is State.FAILED
    return found.run_at


async def due(store: SqliteStore, name: str) -> float:
    (job,) = await store.by_id(name)
    return job.run_at


@pytest.mark.parametrize("by", [86_400.0, -86_400.0, 60.0])
@pytest.mark.parametrize("noticed", ["tick", "claim"])
async def test_a_retry_waits_as_long_as_before(
    store_path: Path, set_clock: SetClock, by: float, noticed: str
) -> None:
    store, other = await SqliteStore.open(store_path), await SqliteStore.open(store_path)
    await hired(store)
    then = await failed(store, "job")
    await other.settle_and_claim(ClaimRequest("sup", [], [], other.clock()))
    scheduled = store.clock() + 500
    await store.enqueue([spec(id="later", run_at=scheduled)], store.clock())
    set_clock(by)
    if noticed == "tick":
        await store.checkpoint()
        await other.checkpoint()
    for one in (store, other):
        turn = await one.settle_and_claim(
            ClaimRequest("sup", [], [ClaimSlot("w", ())], one.clock())
        )
        assert "job" not in [job.id for job in turn.claimed], "it is not due yet"
    assert await due(store, "job") == pytest.approx(then + by, abs=1.0), "moved once"
    assert await due(store, "later") == scheduled, "goes by the wall clock"
    assert ".clock" not in await store.config()
    await store.close()
    await other.close()


async def test_what_fails_after_the_clock_was_set_is_not_moved(
    store_path: Path, set_clock: SetClock
) -> None:
    store = await SqliteStore.open(store_path)
    await hired(store)
    await failed(store, "before")
    set_clock(3600)
    then = await failed(store, "after")
    await store.checkpoint()
    assert await due(store, "after") == then
    await store.close()


async def test_a_clock_that_is_slightly_off_moves_nothing(
    store_path: Path, set_clock: SetClock
) -> None:
    store = await SqliteStore.open(store_path)
    await hired(store)
    then = await failed(store, "job")
    set_clock(0.5)
    await store.checkpoint()
    assert await due(store, "job") == then
    await store.close()


async def test_after_a_restart_of_the_host_the_wall_clock_is_believed(
    store_path: Path, set_clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await SqliteStore.open(store_path)
    await hired(store)
    then = await failed(store, "job")
    monkeypatch.setattr("queuectl_core.store.sqlite.clock.host_key", lambda: "other-boot:1")
    set_clock(3600)
    await store.checkpoint()
    assert await due(store, "job") == then
    await store.close()


async def test_doctor_names_who_keeps_the_log_from_being_started_anew(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await SqliteStore.open(store_path)
    await store.enqueue([spec("x" * 1000) for _ in range(100)], store.clock())
    monkeypatch.setattr(checkpoint_module, "WAL_LIMIT", 1024)
    assert (await write_ahead_log(store_path)).level == "ok"
    with held_open(READER, store_path) as process:
        await store.enqueue([spec("x" * 1000) for _ in range(100)], store.clock())
        found = await write_ahead_log(store_path)
        assert found.level == "warn"
        assert f"process {process.pid} went on reading" in found.message
    await store.close()


@pytest.mark.parametrize("by", [86_400.0, -86_400.0])
async def test_a_rate_counts_as_long_as_before(
    store_path: Path, set_clock: SetClock, by: float
) -> None:
    store = await SqliteStore.open(store_path)
    await hired(store)
    await store.set_queue("default", {"rate": Rate(2, 60.0)})
    await store.enqueue([spec(), spec(), spec()], store.clock())

    async def claim(ends: Sequence[AttemptResult] = (), after: float = 0.0) -> list[Job]:
        slots = [ClaimSlot(f"sup-{number}", ()) for number in range(3)]
        request = ClaimRequest("sup", ends, slots, store.clock() + after)
        return list((await store.settle_and_claim(request)).claimed)

    first, _ = await claim()
    assert await claim([ending(first, now=store.clock())]) == []  # one is known, one is not
    set_clock(by)
    assert await claim() == []
    assert await claim(after=58) == []
    assert await claim(after=61) != []
    await store.close()
