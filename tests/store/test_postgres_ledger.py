"""PostgreSQL: rows that say how counts changed become part of the counters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from queuectl_core.domain.model import State
from queuectl_core.store.protocol import Store

from ..pgserver import server_url
from ..support import NOW, eventually_async, spec
from .stores import PostgresPlace

FOLDING = 0x666F6C64
"""The advisory lock of the server that one who folds has."""


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[PostgresPlace]:
    made = PostgresPlace.take(tmp_path)
    yield made
    await made.give_back()


@pytest.fixture
async def store(place: PostgresPlace) -> Store:
    made = await place.open()
    await made.enqueue([spec(), spec(queue="other")], NOW)
    return made


async def lengthen(place: PostgresPlace, rows: int) -> None:
    """Changes that are one job each and none together, until the ledger has so many rows."""
    more = f"FROM generate_series(1, {rows} - (SELECT count(*) FROM ledger)) i"
    row = "SELECT 'dead', 'a' || (i - 1) / 2, 2 * (i % 2) - 1"
    await place.execute(f"INSERT INTO ledger (state, queue, n) {row} {more}")


async def length(place: PostgresPlace) -> int:
    ((rows,),) = await place.execute("SELECT count(*) FROM ledger")
    return int(rows)


async def fold(store: Store, place: PostgresPlace) -> None:
    """Fold a long ledger: not while another test does, because there is one lock for the server."""

    async def folded() -> bool:
        await store.checkpoint()
        return await length(place) == 1

    await eventually_async(folded)


async def test_more_than_1000_changes_become_part_of_the_counters(
    store: Store, place: PostgresPlace
) -> None:
    await lengthen(place, 1000)
    await store.checkpoint()
    assert await length(place) == 1000
    await lengthen(place, 1001)
    before = await store.counts()
    await fold(store, place)
    assert await store.counts() == before
    assert before[State.PENDING, "default"] == before[State.PENDING, "other"] == 1
    assert [tuple(row) for row in await place.execute("SELECT n FROM ledger")] == [(0,)]
    rows = await place.execute("SELECT state, queue, n FROM counts WHERE n <> 0 ORDER BY queue")
    assert rows[-2:] == [("pending", "default", 1), ("pending", "other", 1)]


async def test_marks_of_commits_are_kept_for_an_hour(store: Store, place: PostgresPlace) -> None:
    now = "extract(epoch FROM clock_timestamp())"
    for number, age in enumerate((3601, 3000)):
        mark = f"'00000000-0000-0000-0000-00000000000{number}'"
        await place.execute(f"INSERT INTO commit_marks (mark, at) VALUES ({mark}, {now} - {age})")
    await lengthen(place, 1001)
    await fold(store, place)
    ours = "SELECT right(mark::text, 1) FROM commit_marks WHERE mark::text LIKE '00000000-%'"
    assert await place.execute(ours) == [("1",)]


async def test_only_one_folds_at_a_time(store: Store, place: PostgresPlace) -> None:
    await lengthen(place, 1001)
    somebody = await asyncpg.connect(server_url())
    try:
        await somebody.execute("SELECT pg_advisory_lock($1)", FOLDING)
        await store.checkpoint()
        assert await length(place) == 1001
    finally:
        await somebody.close()
