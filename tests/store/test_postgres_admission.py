"""PostgreSQL: what several sessions do to the same queues, parents and unique values at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from queuectl_core.domain.errors import NotFound
from queuectl_core.domain.model import Filter
from queuectl_core.store.postgres.store import PostgresStore

from ..pgserver import server_url
from ..support import NOW, eventually_async, spec
from .stores import PostgresPlace
from .tools import blocked_by, hired, run


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    await made.clear()


@pytest.fixture
async def store(place: PostgresPlace) -> PostgresStore:
    made = await place.open()
    assert isinstance(made, PostgresStore)
    return made


@pytest.fixture
async def session(place: PostgresPlace, store: PostgresStore) -> AsyncIterator[asyncpg.Connection]:
    """Another session of the server. It knows the tables of the store."""
    made = await asyncpg.connect(server_url(), server_settings={"search_path": place.schema})
    yield made
    await made.close()


# -- enqueueing -------------------------------------------------------------------------


async def test_a_parent_that_appears_and_ends_while_its_child_is_enqueued(
    store: PostgresStore, session: asyncpg.Connection
) -> None:
    """The child has not locked it, so it must not wait for it: nobody would judge it."""
    await hired(store)
    await store.enqueue([spec(id="there", run_at=NOW + 60)], NOW)
    async with session.transaction():
        await session.execute("SELECT FROM jobs WHERE id = 'there' FOR UPDATE")
        child = asyncio.ensure_future(
            store.enqueue([spec(id="child", after_any=("there", "late"))], NOW)
        )
        await eventually_async(lambda: blocked_by(session.get_server_pid()))
        [late] = await store.enqueue([spec(id="late")], NOW)
        await run(store, late)
    with pytest.raises(NotFound, match="late"):
        await child
    assert {job.id for job in await store.scan(Filter(), 10)} == {"there", "late"}


async def test_a_batch_waits_for_another_that_has_the_same_unique_value(
    store: PostgresStore, session: asyncpg.Connection
) -> None:
    async with store.batch() as batch:
        await batch.add([(1, spec(unique="u"))])
        async with session.transaction():
            key = "hashtextextended('u', hashtext(current_schema()))"
            await session.execute(f"SELECT pg_advisory_xact_lock({key})")
            commit = asyncio.ensure_future(batch.commit(NOW))
            await eventually_async(lambda: blocked_by(session.get_server_pid()))
        assert (await commit)[1] == 1
