"""PostgreSQL: what several sessions do to the same queues, parents and unique values at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.errors import NotFound
from queuectl_core.domain.model import Filter, Outcome, State
from queuectl_core.store.postgres import admission, claims
from queuectl_core.store.postgres.store import PostgresStore
from queuectl_core.store.protocol import JobAction

from ..pgserver import server_url
from ..support import NOW, ending, eventually_async, spec
from .stores import PostgresPlace
from .tools import blocked_by, change, claim, finish, hired, real_counts, run


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


# -- judging ----------------------------------------------------------------------------


async def family(store: PostgresStore, children: int, **fields: object) -> None:
    await store.enqueue([spec(id="p", max_retries=1)], NOW)
    async with store.batch() as batch:
        line = {"after": ("p",)} | fields
        await batch.add([(n, spec(id=f"c{n}", **line)) for n in range(1, children + 1)])
        await batch.commit(NOW)


async def test_a_verb_waits_for_another_that_judges_its_children(
    store: PostgresStore, session: asyncpg.Connection
) -> None:
    """The children are judged when the verb returns, also if another transaction does it."""
    children = admission.JUDGED + 10
    await family(store, children)
    [parent] = await store.by_id("p")
    act = store._act

    async def held(*given: object) -> object:
        found = await act(*given)  # type: ignore[arg-type]
        await session.execute("BEGIN")
        await session.execute("SELECT FROM parent_marks FOR UPDATE")
        return found

    store._act = held  # type: ignore[method-assign, assignment]
    verb = asyncio.ensure_future(change(store, JobAction.CANCEL, [parent.seq], NOW, True))
    await eventually_async(lambda: blocked_by(session.get_server_pid()))
    assert not verb.done()
    await session.execute("COMMIT")
    assert await verb == 1
    counts = await real_counts(store)
    assert counts == {(State.CANCELLED, "default"): children + 1}


async def test_marks_that_another_session_has_are_not_nothing(
    store: PostgresStore, session: asyncpg.Connection
) -> None:
    """A supervisor does not wait for them, but it looks again soon."""
    await hired(store)
    await family(store, admission.JUDGED + 10)
    await run(store, (await store.by_id("p"))[0], Outcome.FAILED)
    async with session.transaction():
        await session.execute("SELECT FROM parent_marks FOR UPDATE")
        slot = ClaimSlot("sup-1", ("none",))
        answer = await store.settle_and_claim(ClaimRequest("sup", [], [slot], NOW))
        assert answer.next_due == NOW + claims.SOON


async def test_others_are_told_of_what_a_busy_supervisor_leaves_to_judge(
    store: PostgresStore,
) -> None:
    """The first children are cancelled, so nothing is free; but others follow, and it has no
    worker for them."""
    await hired(store)
    await hired(store, "idle")
    await family(store, admission.JUDGED, after=("p",))
    await store.enqueue([spec(id="last", after_failed=("p",))], NOW)
    [parent] = await claim(store)
    answer = await finish(store, "sup", ending(parent, Outcome.FAILED))
    assert (await store.by_id("last"))[0].state is State.WAITING
    assert answer.freed
    [last] = await claim(store, "idle")
    assert last.id == "last"


# -- keys -------------------------------------------------------------------------------


async def test_others_are_told_of_a_job_whose_key_is_free_again(store: PostgresStore) -> None:
    await hired(store)
    await hired(store, "idle")
    await store.enqueue([spec(id="a", key="k"), spec(id="b", key="k")], NOW)
    [first] = await claim(store)
    assert (await finish(store, "sup", ending(first))).freed
    assert [job.id for job in await claim(store, "idle")] == ["b"]


async def test_others_are_told_of_a_job_with_a_key_that_goes_back(store: PostgresStore) -> None:
    """Nobody sees it before a claim has chosen it."""
    await hired(store)
    await hired(store, "idle")
    await store.enqueue([spec(id="a", key="k")], NOW)
    slots = [ClaimSlot("sup-1")]
    [job] = (await store.settle_and_claim(ClaimRequest("sup", [], slots, NOW))).claimed
    answer = await store.settle_and_claim(ClaimRequest("sup", [], [], NOW, (), [job]))
    assert answer.freed
    assert [job.id for job in await claim(store, "idle")] == ["a"]


@pytest.mark.parametrize("action", [JobAction.REMOVE, JobAction.CANCEL])
async def test_only_jobs_that_others_waited_for_mark_their_keys(
    store: PostgresStore, place: PostgresPlace, action: JobAction
) -> None:
    await hired(store)
    await store.enqueue([spec(id=f"j{n}", key="k") for n in range(5)], NOW)
    await run(store, (await store.by_id("j0"))[0])
    assert await claim(store, queues=("none",)) == []
    [first] = await claim(store)  # j1; so all marks are gone
    marks = "SELECT count(*) FROM key_marks"
    assert await place.execute(marks) == [(0,)]
    name = {JobAction.REMOVE: "j0", JobAction.CANCEL: "j2"}[action]
    [gone] = await store.by_id(name)
    assert await change(store, action, [gone.seq], NOW, True) == 1
    assert await place.execute(marks) == [(0,)]
    await finish(store, "sup", ending(first))
    assert await place.execute(marks) == [(1,)]
    assert [job.key for job in await claim(store)] == ["k"]


async def test_one_claim_does_not_choose_for_all_marks(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, place: PostgresPlace
) -> None:
    """It stops after a while. What is left is not forgotten: it looks again at once."""
    monkeypatch.setattr(claims, "KEYS", 20)
    monkeypatch.setattr(claims, "CHOOSING", 0.0)
    await hired(store)
    async with store.batch() as batch:
        # Each key has one job that a person holds: nothing becomes visible.
        await batch.add([(n, spec(id=f"j{n}", key=f"k{n}")) for n in range(1, 101)])
        await batch.commit(NOW)
    await place.execute("UPDATE jobs SET run_at = run_at + 60, ready = 0")
    await store.enqueue([spec(id="now", key="now")], NOW)
    slots = [ClaimSlot("sup-1")]
    claimed, rounds = [], 0
    while not claimed:
        answer = await store.settle_and_claim(ClaimRequest("sup", [], slots, NOW))
        claimed, rounds = [job.id for job in answer.claimed], rounds + 1
        assert claimed or answer.next_due == NOW
    assert claimed == ["now"]
    assert rounds > 3
