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


async def test_whatever_it_does_the_server_is_reached_again(proxy: Proxy) -> None:
    rng = Random(1)

    async def come() -> None:
        with contextlib.suppress(*BROKEN, TimeoutError):
            (await asyncpg.connect(proxy.url, timeout=0.1)).terminate()

    for _ in range(20):
        proxy.act(rng)
        await asyncio.gather(come(), come())
    proxy.mend()
    through = None
    for _ in range(3):  # what was begun before takes one more connection
        with contextlib.suppress(*BROKEN):
            through = through or await asyncpg.connect(proxy.url)
    assert through is not None
    assert await through.fetchval("SELECT 1") == 1
    await through.close()
