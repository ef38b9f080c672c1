"""The proxy of the chaos campaigns does what it says, on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterator
from random import Random

import asyncpg
import pytest

from chaos.proxy import Cut, Proxy

from ..pgserver import server_url

BROKEN = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(server_url()) as made:
        yield made


async def _commit_cut(proxy: Proxy, cut: Cut) -> bool:
    """Whether a transaction was committed whose commit was cut."""
    name = f"t{uuid.uuid4().hex}"
    direct = await asyncpg.connect(server_url())
    try:
        await direct.execute(f"CREATE TABLE {name} (n int)")
        through = await asyncpg.connect(proxy.url)
        await through.execute("BEGIN")
        await through.execute(f"INSERT INTO {name} VALUES (1)")
        proxy.cut_commit(cut)
        with pytest.raises(BROKEN):
            await through.execute("COMMIT")
        through.terminate()
        # Waits for the transaction, should it still be open.
        await direct.execute(f"ALTER TABLE {name} ADD m int")
        return bool(await direct.fetchval(f"SELECT count(*) FROM {name}"))
    finally:
        await direct.execute(f"DROP TABLE IF EXISTS {name}")
        await direct.close()


@pytest.mark.parametrize(
    ("cut", "committed"),
    [(Cut.BEFORE, False), (Cut.AFTER_ANSWER, True), (Cut.IN_ANSWER, True)],
)
async def test_a_commit_breaks_where_it_is_told_to(proxy: Proxy, cut: Cut, committed: bool) -> None:
    assert await _commit_cut(proxy, cut) is committed
    assert proxy.figures[f"commit cut: {cut.value}"] == 1


async def test_answers_are_late_or_never_come(proxy: Proxy) -> None:
    through = await asyncpg.connect(proxy.url)
    began = time.monotonic()
    proxy.stall(0.2)
    assert await through.fetchval("SELECT 1") == 1
    assert time.monotonic() - began > 0.19
    proxy.drop_answers(0.2)
    with pytest.raises(BROKEN):
        await through.fetchval("SELECT 1")
    through.terminate()


async def test_nobody_gets_in_while_it_refuses_and_all_do_when_it_is_mended(proxy: Proxy) -> None:
    proxy.refuse(3600)
    with pytest.raises(BROKEN):
        await asyncpg.connect(proxy.url)
    proxy.mend()
    for messages in range(1, 12):
        through = await asyncpg.connect(proxy.url)
        proxy.cut_after(messages)
        with contextlib.suppress(*BROKEN):
            for _ in range(messages):  # each is more than one message
                await through.fetchval("SELECT 1")
        assert through.is_closed()
        through.terminate()


async def test_nothing_that_was_begun_breaks_a_connection_made_after_it_is_mended(
    proxy: Proxy,
) -> None:
    proxy.drop_answers(0.2)
    proxy.stall(3600)
    proxy.cut_commit(Cut.UNANSWERED)
    proxy.mend()
    through = await asyncpg.connect(proxy.url)
    # Longer than the answers were to be dropped for.
    assert await through.fetchval("SELECT 1 FROM pg_sleep(0.4)") == 1
    async with through.transaction():
        await through.execute("SELECT 1")
    await through.close()


async def test_a_commit_that_waits_for_its_answer_passes_when_it_is_mended(proxy: Proxy) -> None:
    name = f"t{uuid.uuid4().hex}"
    direct = await asyncpg.connect(server_url())
    try:
        # The deferred trigger makes the commit wait for a lock that this test holds.
        await direct.execute(
            f"CREATE TABLE {name} (n int);"
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" 'BEGIN PERFORM pg_advisory_xact_lock(hashtext(''{name}'')); RETURN NULL; END';"
            f"CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON {name} DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW EXECUTE FUNCTION {name}()"
        )
        await direct.execute(f"SELECT pg_advisory_lock(hashtext('{name}'))")
        through = await asyncpg.connect(proxy.url)
        await through.execute("BEGIN")
        await through.execute(f"INSERT INTO {name} VALUES (1)")
        proxy.cut_commit(Cut.AFTER_ANSWER)
        commit = asyncio.create_task(through.execute("COMMIT"))
        while not await direct.fetchval(
            "SELECT 1 FROM pg_locks WHERE pid = $1 AND NOT granted", through.get_server_pid()
        ):
            await asyncio.sleep(0.01)
        proxy.mend()
        await direct.execute(f"SELECT pg_advisory_unlock(hashtext('{name}'))")
        assert await commit == "COMMIT"
        assert await through.fetchval(f"SELECT count(*) FROM {name}") == 1
        await through.close()
    finally:
        await direct.execute(f"DROP TABLE {name}; DROP FUNCTION {name}")
        await direct.close()


async def test_those_whose_answers_were_dropped_learn_it_when_it_is_mended(proxy: Proxy) -> None:
    through = await asyncpg.connect(proxy.url)
    proxy.drop_answers(3600)
    asked = asyncio.create_task(through.fetchval("SELECT 1"))
    proxy.mend()
    with pytest.raises(BROKEN):
        await asked
    through.terminate()


async def test_a_second_stall_is_not_ended_by_the_first(proxy: Proxy) -> None:
    through = await asyncpg.connect(proxy.url)
    began = time.monotonic()
    proxy.stall(0.1)
    proxy.stall(0.3)
    assert await through.fetchval("SELECT 1") == 1
    assert time.monotonic() - began > 0.29
    await through.close()


async def test_whatever_it_does_the_server_is_reached_again(proxy: Proxy) -> None:
    rng = Random(1)

    async def come() -> None:
        with contextlib.suppress(*BROKEN, TimeoutError):
            (await asyncpg.connect(proxy.url, timeout=0.1)).terminate()

    for _ in range(20):
        proxy.act(rng)
        await asyncio.gather(come(), come())
    proxy.mend()
    through = await asyncpg.connect(proxy.url)
    assert await through.fetchval("SELECT 1") == 1
    await through.close()
