"""PostgreSQL: connections that break, commits whose answer is lost, and finding back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.errors import StoreUnreachable
from queuectl_core.domain.model import Filter, Outcome, State
from queuectl_core.store.open import open_store
from queuectl_core.store.postgres import connections
from queuectl_core.store.postgres import notifier as bell_module
from queuectl_core.store.postgres.store import PostgresStore

from ..pgserver import server_url
from ..support import NOW, ending, eventually_async, spec
from .proxy import Cut, Proxy
from .stores import PostgresPlace
from .test_signals import is_notified, notified
from .tools import claim, hired, real_counts, row_of


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    await made.clear()


@pytest.fixture
async def proxy(place: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    monkeypatch.setattr(connections, "DOUBT_PATIENCE", 0.2)
    monkeypatch.setattr(connections, "FIRST_PAUSE", 0.01)
    async with Proxy(place.url) as made:
        yield made


@pytest.fixture
async def store(proxy: Proxy, place: PostgresPlace, tmp_path: Path) -> AsyncIterator[PostgresStore]:
    """A store behind the proxy."""
    await place.open()  # the schema is made on a way that holds
    made = await open_store(proxy.url, {"HOME": str(tmp_path)})
    assert isinstance(made, PostgresStore)
    yield made
    await made.close()


@pytest.fixture
async def other(place: PostgresPlace, store: PostgresStore) -> Any:
    """A store on a way that holds."""
    return await place.open()


async def back(store: PostgresStore, proxy: Proxy) -> None:
    """The server can be reached again, and the store has found out."""
    proxy.mend()

    async def answers() -> bool:
        try:
            await store.changed()
        except StoreUnreachable:
            return False
        return True

    await eventually_async(answers)


async def test_a_connection_that_broke_while_idle_is_replaced(
    store: PostgresStore, proxy: Proxy
) -> None:
    await store.enqueue([spec(id="a")], NOW)
    proxy.break_all()
    assert len(await store.scan(Filter(), 10)) == 1
    proxy.break_all()
    await store.enqueue([spec(id="b")], NOW)
    assert len(await store.scan(Filter(), 10)) == 2


async def test_a_server_that_ends_our_session_is_met_again(
    store: PostgresStore, other: PostgresStore
) -> None:
    async with store._connections.session() as session:
        pid = await session.raw.fetchval("SELECT pg_backend_pid()")
    async with other._connections.session() as session:
        assert await session.raw.fetchval("SELECT pg_terminate_backend($1)", pid)
    await store.enqueue([spec(id="b")], NOW)
    assert len(await other.scan(Filter(), 10)) == 1


@pytest.mark.parametrize("cut", [Cut.BEFORE_COMMIT, Cut.AFTER_COMMIT])
async def test_what_a_broken_commit_did_is_found_out(
    store: PostgresStore, proxy: Proxy, other: PostgresStore, cut: Cut
) -> None:
    """It is done once, whichever way it broke, and nobody need know."""
    await store.enqueue([spec(id="first")], NOW)
    proxy.cut, proxy.stays_down = cut, False
    [job] = await store.enqueue([spec(id="second")], NOW)
    assert proxy.cut is Cut.NEVER, "it did break"
    assert await other.by_seq(job.seq) == job
    assert len(await other.scan(Filter(), 10)) == 2
    async with store.batch() as batch:
        await batch.add([(n, spec()) for n in range(1, 11)])
        proxy.cut = cut
        first, count = await batch.commit(NOW)
    assert proxy.cut is Cut.NEVER
    assert len(await other.ids(first, count)) == 10
    assert await other.counts() == await real_counts(other) == {(State.PENDING, "default"): 12}


@pytest.mark.parametrize("cut", [Cut.BEFORE_COMMIT, Cut.AFTER_COMMIT])
async def test_a_commit_nobody_can_be_asked_about_is_said_to_be_unknown(
    store: PostgresStore, proxy: Proxy, other: PostgresStore, cut: Cut
) -> None:
    proxy.cut = cut
    with pytest.raises(StoreUnreachable, match="may or may not have been done") as caught:
        await store.enqueue([spec(id="a")], NOW)
    assert caught.value.exit_code == 5
    assert len(await other.by_id("a")) == (cut is Cut.AFTER_COMMIT)
    await back(store, proxy)
    assert len(await store.by_id("a")) == (cut is Cut.AFTER_COMMIT)


async def test_a_server_that_is_away_is_one_line_and_not_asked_all_the_time(
    store: PostgresStore, proxy: Proxy
) -> None:
    proxy.down = True
    proxy.break_all()
    password = server_url().split(":")[2].split("@")[0]
    came = proxy.came
    for _ in range(200):
        with pytest.raises(StoreUnreachable) as caught:
            await store.counts()
        assert password not in str(caught.value)
        assert "\n" not in str(caught.value)
    assert proxy.came - came < 50, "who asks again at once is told at once"
    await back(store, proxy)
    assert await store.counts() == {}


# -- turns ----------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [Cut.BEFORE_COMMIT, Cut.AFTER_COMMIT])
async def test_a_commit_whose_answer_was_lost_is_settled_once(
    store: PostgresStore, proxy: Proxy, other: PostgresStore, cut: Cut
) -> None:
    await hired(other, "sup", "w1")
    await other.enqueue([spec(id=name) for name in "abc"], NOW)
    [held] = (await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("w1")], NOW))).claimed
    done = ending(held, tail=b"out")
    proxy.cut = cut
    with pytest.raises(StoreUnreachable):
        await store.settle_and_claim(ClaimRequest("sup", [done], [ClaimSlot("w1")], NOW + 1))
    claimed = [job for job in await other.scan(Filter((State.PROCESSING,)), 10) if job.id == "b"]
    assert len(claimed) == (cut is Cut.AFTER_COMMIT), "held by one who was not told"

    await back(store, proxy)
    turn = await store.settle_and_claim(ClaimRequest("sup", [done], [], NOW + 2))
    assert not turn.refused, "its own ending is no lease lost"
    assert [one.outcome for one in await other.attempts(held.seq)] == [Outcome.COMPLETED]
    assert await other.tail(held.seq, 1) == b"out"
    [worker] = [worker for worker, _ in await other.workers()]
    assert (worker.done, worker.job) == (1, None)
    states = {job.id: (job.state, job.runs, job.owner) for job in await other.scan(Filter(), 10)}
    assert states == {
        "a": (State.COMPLETED, 1, None),
        "b": (State.PENDING, 0, None),
        "c": (State.PENDING, 0, None),
    }
    assert await other.counts() == await real_counts(other)
    assert (await store.settle_and_claim(ClaimRequest("sup", [done], [], NOW + 3))).refused, (
        "it has ended already"
    )
    [again] = (
        await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("w1")], NOW + 4))
    ).claimed
    assert (again.id, again.runs) == ("b", 1)
    await store.settle_and_claim(ClaimRequest("sup", [], [], NOW + 5))
    assert (await other.by_seq(again.seq)) == again, "put back once, not for ever"


async def test_two_commits_lost_in_a_row(
    store: PostgresStore, proxy: Proxy, other: PostgresStore
) -> None:
    await hired(other, "sup", "w1", "w2")
    await other.enqueue([spec(id=name) for name in "abcd"], NOW)
    held = await claim(store, "sup", 2)
    first, second = ending(held[0]), ending(held[1])
    for told in ([first], [first, second]):
        proxy.cut = Cut.AFTER_COMMIT
        with pytest.raises(StoreUnreachable):
            await store.settle_and_claim(ClaimRequest("sup", told, [ClaimSlot("w1")], NOW + 1))
        await back(store, proxy)
    turn = await store.settle_and_claim(
        ClaimRequest("sup", [first, second], [ClaimSlot("w1"), ClaimSlot("w2")], NOW + 2)
    )
    assert not turn.refused
    assert {job.id for job in turn.claimed} == {"c", "d"}
    states = {job.id: (job.state, job.runs) for job in await other.scan(Filter(), 10)}
    assert {states["a"], states["b"]} == {(State.COMPLETED, 1)}
    assert {states["c"], states["d"]} == {(State.PROCESSING, 1)}
    assert await other.counts() == await real_counts(other)


async def test_a_result_is_refused_after_a_successor_took_over(
    store: PostgresStore, proxy: Proxy, other: PostgresStore
) -> None:
    await hired(other, "sup")
    await hired(other, "heir")
    await other.enqueue([spec()], NOW)
    [held] = await claim(store)
    proxy.cut = Cut.BEFORE_COMMIT
    with pytest.raises(StoreUnreachable):
        await store.settle_and_claim(ClaimRequest("sup", [ending(held)], [], NOW))
    taken = await other.take_over(await row_of(other, "sup"), "heir", NOW)
    assert taken is not None
    await back(store, proxy)
    assert (await store.settle_and_claim(ClaimRequest("sup", [ending(held)], [], NOW))).refused == {
        (held.seq, 1)
    }
    assert not (
        await other.settle_and_claim(ClaimRequest("heir", [ending(taken[0])], [], NOW))
    ).refused


@pytest.mark.parametrize("cut", [Cut.BEFORE_COMMIT, Cut.AFTER_COMMIT])
async def test_jobs_taken_over_are_not_lost_with_the_answer(
    store: PostgresStore, proxy: Proxy, other: PostgresStore, cut: Cut
) -> None:
    await hired(other, "dead")
    await hired(other, "heir")
    await other.enqueue([spec(id="a")], NOW)
    [held] = await claim(other, "dead")
    row = await row_of(other, "dead")
    proxy.cut, proxy.stays_down = cut, False
    taken = await store.take_over(row, "heir", NOW + 1)
    assert taken == [held._replace(owner="heir", updated_at=NOW + 1)]
    assert await other.by_seq(held.seq) == taken[0]


# -- bells ----------------------------------------------------------------------------


async def test_a_supervisor_is_notified_when_the_listener_is_back(
    store: PostgresStore, proxy: Proxy, other: PostgresStore
) -> None:
    notifier = store.notifier("sup")
    try:
        await notified(notifier)
        notifier.clear()
        proxy.break_all()
        await notified(notifier)  # something may have been missed
        notifier.clear()
        await other.set_config("lease", "20")
        await notified(notifier)
    finally:
        notifier.close()


async def test_a_listener_that_fails_pauses_longer_and_longer(
    store: PostgresStore, other: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes connections, but they are of no use."""
    pauses: list[float] = []
    enough = asyncio.Event()
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) >= 20:
            enough.set()
        await sleep(0)

    async def refused(*_: object) -> None:
        raise asyncpg.InsufficientPrivilegeError("LISTEN is not allowed")

    monkeypatch.setattr(bell_module, "STEADY", 0.0)
    monkeypatch.setattr(bell_module.asyncio, "sleep", noted)
    hear = bell_module.Listener._hear
    monkeypatch.setattr(bell_module.Listener, "_hear", refused)
    notifier = store.notifier("sup")
    try:
        await asyncio.wait_for(enough.wait(), 30)
        assert pauses[0] <= 0.1
        assert 2.5 <= pauses[10] <= 5.0
        assert max(pauses) <= 5.0
        assert len(set(pauses[10:20])) > 1, "hosts do not come back all at the same moment"
        assert notifier.trouble is not None
        monkeypatch.setattr(bell_module.Listener, "_hear", hear)

        async def mended() -> bool:
            return notifier.trouble is None

        await notified(notifier)
        await eventually_async(mended)
    finally:
        notifier.close()


async def test_many_notifications_wake_a_supervisor_once(
    store: PostgresStore, other: PostgresStore
) -> None:
    notifier = store.notifier("sup")
    try:
        await notified(notifier)
        notifier.clear()
        for number in range(30):
            await other.set_config("lease", str(20 + number % 5))
        await store.changed()
        await notified(notifier)
        assert os.read(notifier.fileno(), 100) == b"\0"
    finally:
        notifier.close()


async def test_settling_notifies_nobody(store: PostgresStore, other: PostgresStore) -> None:
    await hired(other)
    await other.enqueue([spec(), spec()], NOW)
    notifier = store.notifier("sup")
    try:
        await notified(notifier)
        notifier.clear()
        [held] = await claim(other)
        await other.settle_and_claim(ClaimRequest("sup", [ending(held)], [ClaimSlot("sup-1")], NOW))
        await store.changed()  # whatever was sent before has arrived by now
        async with store._connections.session() as session:
            await session.value("clock")
        assert not is_notified(notifier)
    finally:
        notifier.close()


async def test_a_claim_that_finds_nothing_locks_nothing(
    other: PostgresStore, place: PostgresPlace
) -> None:
    await hired(other)
    connection = await asyncpg.connect(server_url(), server_settings={"search_path": place.schema})
    try:
        async with connection.transaction():
            await connection.fetch("SELECT * FROM supervisors FOR UPDATE")
            await connection.fetch("SELECT * FROM workers FOR UPDATE")
            turn = await other.settle_and_claim(
                ClaimRequest("sup", [], [ClaimSlot("sup-1"), ClaimSlot("sup-2", ("a",))], NOW)
            )
    finally:
        await connection.close()
    assert (turn.claimed, turn.next_due) == ((), None)


async def test_a_claim_for_some_queues_waits_for_their_jobs(other: PostgresStore) -> None:
    await hired(other)
    await other.enqueue([spec(queue="a"), spec(queue="b", run_at=NOW + 60)], NOW)
    assert (
        await other.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("sup-1", ("c",))], NOW))
    ).claimed == ()
    turn = await other.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("sup-1", ("b",))], NOW))
    assert (turn.claimed, turn.next_due) == ((), NOW + 60)
    turn = await other.settle_and_claim(
        ClaimRequest("sup", [], [ClaimSlot("sup-1", ("b",))], NOW + 60)
    )
    assert [job.queue for job in turn.claimed] == ["b"]
    turn = await other.settle_and_claim(
        ClaimRequest("sup", [], [ClaimSlot("", ("c",)), ClaimSlot("sup-2", ("a",))], NOW)
    )
    assert [job.queue for job in turn.claimed] == ["a"]
