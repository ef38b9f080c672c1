"""At most one job of the store holds a unique value."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from typing import Any

import pytest

from queuectl_core.domain.claims import AttemptStarted, ClaimRequest, ClaimSlot
from queuectl_core.domain.errors import Conflict, InvalidInput, NotFound
from queuectl_core.domain.model import Filter, Job, JobSpec, Outcome, State
from queuectl_core.queue import Queue
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, ending, spec
from .stores import Place
from .tools import change, claim, finish, hired, real_counts, run


async def add(store: Store, *, now: float = NOW, **fields: Any) -> Job:
    """Enqueue one job that wants the value ``u``."""
    [job] = await store.enqueue([spec(**({"unique": "u"} | fields))], now)
    return job


async def is_held(store: Store, *, now: float = NOW, value: str = "u") -> bool:
    """Whether some job holds a value."""
    try:
        job = await add(store, now=now, on_conflict="fail", id="probe", unique=value)
    except Conflict:
        return True
    await change(store, JobAction.REMOVE, [job.seq], now, True)
    return False


# -- on a conflict ----------------------------------------------------------------------


async def test_the_job_that_holds_the_value_is_the_answer(store: Store) -> None:
    first = await add(store, id="first", command="true")
    assert not first.existing
    second = await add(store, id="second", command="false", priority=5)
    assert second == first._replace(existing=True)
    assert [job.id for job in await store.scan(Filter(), 10)] == ["first"]
    other = await add(store, unique="v")
    assert not other.existing
    assert await store.counts() == await real_counts(store)


async def test_a_running_job_is_the_answer_too(store: Store) -> None:
    await hired(store)
    first = await add(store)
    await claim(store)
    second = await add(store)
    assert (second.id, second.existing, second.state) == (first.id, True, State.PROCESSING)


async def test_a_conflict_may_be_an_error(store: Store) -> None:
    first = await add(store, id="first")
    with pytest.raises(Conflict, match=r"'first' holds the unique value 'u'") as caught:
        await store.enqueue([spec(id="a"), spec(unique="u", on_conflict="fail")], NOW)
    assert caught.value.exit_code == 4
    assert await store.scan(Filter(), 10) == [first]


@pytest.mark.parametrize("state", [State.PENDING, State.WAITING, State.FAILED])
async def test_a_job_that_has_not_started_is_replaced(store: Store, state: State) -> None:
    await hired(store)
    first = await add(store, id="first", hold=state is State.WAITING, actor="ann")
    if state is not State.WAITING:
        crashed = await run(store, first, Outcome.CRASHED)
        assert crashed.crashes == 1
    if state is State.FAILED:
        await run(store, first, Outcome.FAILED)
    again = await add(
        store,
        id="ignored",
        on_conflict="replace",
        now=NOW + 1,
        command=("echo", "new"),
        priority=7,
        queue="mail",
        key="k",
        env={"A": "1"},
        max_retries=9,
        run_at=NOW,
    )
    assert (again.id, again.seq, again.existing) == ("first", first.seq, True)
    assert (again.command, again.priority, again.queue) == (("echo", "new"), 7, "mail")
    assert (again.key, again.env, again.max_retries) == ("k", {"A": "1"}, 9)
    assert len(await store.scan(Filter(), 10)) == 1
    assert await store.counts() == await real_counts(store)
    # As if it was enqueued now.
    assert (again.state, again.held, again.held_by) == (State.PENDING, False, None)
    assert (again.attempts, again.crashes, again.last_error) == (0, 0, None)
    assert (again.exit_code, again.started_at, again.finished_at) == (None, None, None)
    assert (again.created_at, again.worker) == (NOW + 1, None)
    [job] = await claim(store, now=NOW + 2)
    assert (job.id, job.command) == ("first", ("echo", "new"))


@pytest.mark.parametrize("outcome", [None, Outcome.COMPLETED])
async def test_a_job_that_has_started_is_not_replaced(
    store: Store, outcome: Outcome | None
) -> None:
    await hired(store)
    await add(store, unique_for=60.0)
    [job] = await claim(store)
    if outcome:
        await finish(store, "sup", ending(job, outcome))
    with pytest.raises(Conflict, match="holds the unique value 'u' and is"):
        await add(store, on_conflict="replace", command="false")
    assert [one.command for one in await store.scan(Filter(), 10)] == ["true"]


async def test_a_replaced_job_waits_for_its_new_parents(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id="p", priority=1), spec(id="q")], NOW)
    first = await add(store, after=("p",))
    assert first.state is State.WAITING
    again = await add(store, after=("q",), on_conflict="replace")
    assert (again.id, again.state, again.parents) == (first.id, State.WAITING, {"after": ("q",)})
    await run(store, (await store.by_id("p"))[0])
    assert [job.id for job in await claim(store, queues=("other",))] == []
    [found] = await store.by_id(first.id)
    assert found.state is State.WAITING
    # And for none, if it has none.
    plain = await add(store, on_conflict="replace")
    assert (plain.state, plain.parents) == (State.PENDING, {})


async def test_the_time_of_a_replaced_job_counts_from_then(store: Store) -> None:
    await add(store, unique_for=60.0)
    await add(store, unique_for=60.0, on_conflict="replace", now=NOW + 50)
    assert await is_held(store, now=NOW + 109)
    assert not await is_held(store, now=NOW + 110)


async def test_a_replaced_job_is_held_if_it_says_so(store: Store) -> None:
    await add(store)
    again = await add(store, on_conflict="replace", hold=True, actor="bob")
    assert (again.state, again.held, again.held_by) == (State.WAITING, True, "bob")


async def enqueue(store: Store, specs: list[JobSpec], *, bulk: bool) -> None:
    if bulk:
        await commit(store, specs)
    else:
        await store.enqueue(specs, NOW)


@pytest.mark.parametrize("bulk", [True, False])
@pytest.mark.parametrize("last", [True, False])
async def test_a_replaced_job_may_wait_for_a_new_one(store: Store, bulk: bool, last: bool) -> None:
    await hired(store)
    first = await add(store, id="first")
    specs = [spec(id="a"), spec(unique="u", after=("a",), on_conflict="replace")]
    await enqueue(store, specs if last else specs[::-1], bulk=bulk)
    [found] = await store.by_id("first")
    assert (found.seq, found.state) == (first.seq, State.WAITING)
    [running] = await claim(store)
    assert running.id == "a"
    await finish(store, "sup", ending(running))
    assert [job.id for job in await claim(store)] == ["first"]


@pytest.mark.parametrize("bulk", [True, False])
@pytest.mark.parametrize("last", [True, False])
async def test_a_circle_through_a_replaced_job(store: Store, bulk: bool, last: bool) -> None:
    first = await add(store, id="first")
    specs = [
        spec(id="a", after=("first",)),
        spec(unique="u", after=("a",), on_conflict="replace"),
    ]
    with pytest.raises(InvalidInput, match="circle"):
        await enqueue(store, specs if last else specs[::-1], bulk=bulk)
    assert await store.scan(Filter(), 10) == [first]


async def test_a_circle_through_two_replaced_jobs(store: Store) -> None:
    before = [await add(store, id=name, unique=name) for name in "ab"]
    with pytest.raises(InvalidInput, match="circle"):
        await store.enqueue(
            [
                spec(unique="a", after=("b",), on_conflict="replace"),
                spec(unique="b", after=("a",), on_conflict="replace"),
            ],
            NOW,
        )
    assert await store.scan(Filter(), 10, up=True) == before


async def test_a_new_job_follows_a_replaced_one_that_cannot_run(store: Store) -> None:
    await hired(store)
    [dead] = await store.enqueue([spec(id="dead", max_retries=1)], NOW)
    await run(store, dead, Outcome.FAILED)
    await add(store, id="first")
    specs = [
        spec(id="a", after=("first",)),
        spec(id="b", after=("a",)),
        spec(unique="u", after=("dead",), on_conflict="replace"),
    ]
    await store.enqueue(specs, NOW)
    found = {job.id: (job.state, job.cause) for job in await store.scan(Filter(), 10)}
    cancelled = State.CANCELLED
    assert [found[name] for name in ("first", "a", "b")] == [
        (cancelled, "dead"),
        (cancelled, "first"),
        (cancelled, "a"),
    ]


async def test_a_replaced_job_does_not_wait_for_itself(store: Store) -> None:
    first = await add(store, id="first")
    await store.enqueue([spec(id="child", after=("first",))], NOW)
    for parent in ("first", "child"):
        with pytest.raises(InvalidInput, match=r"itself|circle"):
            await add(store, after=(parent,), on_conflict="replace")
    with pytest.raises(NotFound):
        await add(store, after=("nobody",), on_conflict="replace")
    assert await store.by_seq(first.seq) == first


# -- how long the value is held -----------------------------------------------------------

ENDS = [Outcome.COMPLETED, Outcome.CANCELLED]


@pytest.mark.parametrize("outcome", ENDS)
async def test_until_the_end(store: Store, outcome: Outcome) -> None:
    await hired(store)
    job = await add(store)
    assert await is_held(store)
    [running] = await claim(store)
    assert await is_held(store)
    await finish(store, "sup", ending(running, outcome))
    assert not await is_held(store)
    assert job.seq == running.seq


async def test_until_the_last_attempt_has_failed(store: Store) -> None:
    await hired(store)
    job = await add(store, max_retries=2)
    assert (await run(store, job, Outcome.FAILED)).state is State.FAILED
    assert await is_held(store)
    assert (await run(store, job, Outcome.FAILED, now=NOW + 9)).state is State.DEAD
    assert not await is_held(store)


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.INTERRUPTED])
async def test_a_job_that_goes_back_still_holds_it(store: Store, outcome: Outcome) -> None:
    await hired(store)
    job = await add(store)
    assert (await run(store, job, outcome)).state is State.PENDING
    assert await is_held(store)


@pytest.mark.parametrize("action", [JobAction.CANCEL, JobAction.REMOVE])
async def test_until_it_is_cancelled_or_removed(store: Store, action: JobAction) -> None:
    job = await add(store)
    await change(store, action, [job.seq], NOW, True)
    assert not await is_held(store)


async def test_a_running_job_that_is_cancelled_holds_it_until_it_has_ended(store: Store) -> None:
    await hired(store)
    await add(store)
    [job] = await claim(store)
    await change(store, JobAction.CANCEL, [job.seq], NOW, True)
    assert await is_held(store)
    await finish(store, "sup", ending(job, Outcome.CANCELLED))
    assert not await is_held(store)


async def test_until_a_parent_cancels_it(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id="p", max_retries=1)], NOW)
    await add(store, after=("p",))
    assert await is_held(store)
    await run(store, (await store.by_id("p"))[0], Outcome.FAILED)
    assert not await is_held(store)


async def test_a_hold_does_not_end_it(store: Store) -> None:
    job = await add(store)
    await change(store, JobAction.HOLD, [job.seq], NOW, True)
    assert await is_held(store)


async def test_until_the_start(store: Store) -> None:
    await hired(store)
    await add(store, unique_until="start")
    assert await is_held(store)
    [running] = await claim(store)
    assert not await is_held(store)
    # Another one may wait meanwhile, and what runs now may fail and wait too.
    second = await add(store, unique_until="start")
    assert not second.existing
    await finish(store, "sup", ending(running, Outcome.FAILED))
    assert (await add(store)).id == second.id


async def test_a_job_that_starts_or_ends_frees_its_own_value_only(store: Store) -> None:
    await hired(store)
    for value, until in (("s", "start"), ("e", "end"), ("other s", "start"), ("other e", "end")):
        await add(store, unique=value, unique_until=until, queue=value.split()[0])
    await add(store, unique="for", unique_for=60.0, queue="far")

    async def held() -> list[str]:
        values = ("s", "e", "other s", "other e", "for")
        return [one for one in values if await is_held(store, value=one)]

    [starts, ends] = await claim(store, count=2, queues=("s", "e", "other"))
    assert await held() == ["e", "other s", "other e", "for"]
    await finish(store, "sup", ending(starts), ending(ends))
    assert await held() == ["other s", "other e", "for"]


async def test_until_the_start_of_a_prefetched_attempt(store: Store) -> None:
    """It starts when its worker starts it."""
    await hired(store)
    await add(store, unique_until="start")
    slots = [ClaimSlot("")]
    request = ClaimRequest("sup", [], slots, NOW)
    [ahead] = (await store.settle_and_claim(request)).claimed
    assert ahead.worker is None
    assert await is_held(store)
    started = AttemptStarted(ahead.seq, ahead.runs, "sup-1", NOW + 1)
    await store.settle_and_claim(ClaimRequest("sup", [], [], NOW + 1, started=[started]))
    assert not await is_held(store, now=NOW + 1)


async def test_a_prefetched_attempt_that_is_given_back(store: Store) -> None:
    await hired(store)
    await add(store, unique_until="start")
    [ahead] = (await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("")], NOW))).claimed
    await store.settle_and_claim(ClaimRequest("sup", [], [], NOW, released=[ahead]))
    assert await is_held(store)


@pytest.mark.parametrize("ends", [True, False])
async def test_for_a_time_whatever_happens(store: Store, ends: bool) -> None:
    await hired(store)
    job = await add(store, unique_for=60.0)
    if ends:
        await run(store, job)
    assert await is_held(store, now=NOW + 59)
    assert not await is_held(store, now=NOW + 60)
    second = await add(store, now=NOW + 61, unique_for=60.0)
    assert not second.existing
    assert await is_held(store, now=NOW + 61)


# -- retries ----------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [*ENDS, Outcome.FAILED])
async def test_a_retry_is_never_blocked(store: Store, outcome: Outcome) -> None:
    """The value is checked at enqueue only."""
    await hired(store)
    first = await add(store, max_retries=1)
    await run(store, first, outcome)
    second = await add(store, run_at=NOW + 1)
    assert not second.existing
    assert await change(store, JobAction.RETRY, [first.seq], NOW, True) == 1
    again = await store.by_seq(first.seq)
    assert again is not None
    assert again.state is State.PENDING
    assert (await add(store)).id == second.id
    await run(store, first)
    assert (await add(store)).id == second.id
    await run(store, second, now=NOW + 2)
    assert not await is_held(store)


async def test_a_revived_job_is_not_blocked(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id="p", max_retries=1)], NOW)
    child = await add(store, after=("p",))
    [parent] = await store.by_id("p")
    await run(store, parent, Outcome.FAILED)
    other = await add(store, run_at=NOW + 99)
    assert other.seq != child.seq
    assert await change(store, JobAction.RETRY, [parent.seq], NOW, True) == 1
    found = await store.by_seq(child.seq)
    assert found is not None
    assert found.state is State.WAITING


# -- batches ----------------------------------------------------------------------------


async def commit(store: Store, specs: list[JobSpec]) -> tuple[int, list[tuple[int, str]]]:
    async with store.batch() as batch:
        await batch.add(list(enumerate(specs, 1)))
        _, count = await batch.commit(NOW)
        return count, sorted(batch.existing)


async def test_duplicates_in_a_batch(store: Store) -> None:
    """The first one holds it; with ``replace`` the last one."""
    specs = [
        spec(id="a", unique="u"),
        spec(id="plain"),
        spec(id="b", unique="u"),
        spec(id="c", unique="v"),
        spec(id="d", unique="v", on_conflict="replace"),
        spec(id="e", unique="u"),
    ]
    assert await commit(store, specs) == (3, [(3, "a"), (4, "d"), (6, "a")])
    found = {job.id: job.unique for job in await store.scan(Filter(), 10)}
    assert found == {"a": "u", "plain": None, "d": "v"}
    assert await store.counts() == await real_counts(store)


async def test_a_batch_beside_jobs_that_hold_values(store: Store) -> None:
    first = await add(store, id="first")
    specs = [
        spec(id="a", unique="u"),
        spec(id="b", unique="u", on_conflict="replace", command="echo"),
        spec(id="c"),
    ]
    assert await commit(store, specs) == (1, [(1, "first"), (2, "first")])
    found = await store.by_seq(first.seq)
    assert found is not None
    assert found.command == "echo"
    with pytest.raises(Conflict, match="line 2"):
        await commit(store, [spec(id="x"), spec(unique="u", on_conflict="fail")])
    with pytest.raises(Conflict, match="line 2"):
        await commit(store, [spec(unique="n"), spec(unique="n", on_conflict="fail")])
    assert len(await store.scan(Filter(), 10)) == 2


async def test_the_last_of_three_lines_with_one_value(store: Store) -> None:
    specs = [spec(id=name, unique="u", on_conflict="replace") for name in "abc"]
    assert await commit(store, [*specs, spec(id="d", unique="u")]) == (
        1,
        [(1, "c"), (2, "c"), (4, "c")],
    )
    assert [job.id for job in await store.scan(Filter(), 10)] == ["c"]


async def test_all_of_a_batch_is_there_already(store: Store) -> None:
    await add(store, id="first")
    assert await commit(store, [spec(unique="u"), spec(unique="u")]) == (
        0,
        [(1, "first"), (2, "first")],
    )


async def test_duplicates_in_one_call(store: Store) -> None:
    jobs = await store.enqueue(
        [spec(id="a", unique="u"), spec(id="b"), spec(id="c", unique="u")], NOW
    )
    assert [(job.id, job.existing) for job in jobs] == [("a", False), ("b", False), ("a", True)]


# -- races ------------------------------------------------------------------------------

HOLDERS = "SELECT unique_value, count(*) FROM jobs GROUP BY unique_value"


async def test_many_connections_enqueue_the_same(place: Place) -> None:
    """Exactly one makes the job, and all others get it."""
    stores = [await place.open() for _ in range(6)]
    for number in range(12):
        value = f"u{number}"

        async def one(store: Store, value: str = value, bulk: bool = number % 2 == 0) -> str:
            if not bulk:
                [job] = await store.enqueue([spec(unique=value)], NOW)
                return f"{job.id} {'existing' if job.existing else 'new'}"
            async with store.batch() as batch:
                await batch.add([(1, spec(unique=value))])
                first, count = await batch.commit(NOW)
                if not count:
                    return f"{batch.existing[0][1]} existing"
                found = await store.by_seq(first)
                assert found is not None
                return f"{found.id} new"

        answers = await asyncio.gather(*map(one, stores))
        assert len({answer.split()[0] for answer in answers}) == 1
        assert sum(answer.endswith("new") for answer in answers) == 1
    rows = await place.execute(HOLDERS)
    assert dict(rows) == {f"u{n}": 1 for n in range(12)}


async def test_many_connections_in_several_ways(place: Place) -> None:
    stores = [await place.open() for _ in range(6)]
    ways = ["existing", "replace", "fail"] * 2
    for number in range(10):
        value = f"u{number}"

        async def one(store: Store, how: str, value: str = value) -> str:
            wanted = spec(command=how, unique=value, on_conflict=how)
            try:
                [job] = await store.enqueue([wanted], NOW)
            except Conflict:
                assert how == "fail"
                return "refused"
            return "existing" if job.existing else "new"

        answers = Counter(await asyncio.gather(*map(one, stores, ways)))
        assert answers["new"] == 1
        assert answers["refused"] in (1, 2)
    rows = await place.execute(HOLDERS)
    assert dict(rows) == {f"u{n}": 1 for n in range(10)}


@pytest.mark.parametrize("bulk", [(False,) * 4, (True,) * 4, (True, False) * 2])
async def test_values_in_different_orders_do_not_lock_each_other_out(
    place: Place, bulk: tuple[bool, ...]
) -> None:
    stores = [await place.open() for _ in range(4)]
    values = [f"u{n}" for n in range(20)]

    async def one(store: Store, wanted: list[str], bulk: bool) -> int:
        specs = [spec(unique=value) for value in wanted]
        if bulk:
            async with store.batch() as batch:
                await batch.add(list(enumerate(specs, 1)))
                return (await batch.commit(NOW))[1]
        jobs = await store.enqueue(specs, NOW)
        return sum(not job.existing for job in jobs)

    orders = [values, values[::-1], values[10:] + values[:10], values[5:] + values[:5]]
    assert sum(await asyncio.gather(*map(one, stores, orders, bulk))) == 20
    assert dict(await place.execute(HOLDERS)) == dict.fromkeys(values, 1)


async def test_an_end_and_an_enqueue_at_the_same_time(place: Place) -> None:
    """Whichever comes first: never two that hold it, never none that was accepted."""
    one, two = await place.open(), await place.open()
    await hired(one)
    for number in range(8):
        await add(one, id=f"a{number}")
        [running] = await claim(one)
        answer, _ = await asyncio.gather(
            add(two, id=f"b{number}"), finish(one, "sup", ending(running))
        )
        assert answer.id == (f"a{number}" if answer.existing else f"b{number}")
        if not answer.existing:
            await run(one, answer)
        assert not await is_held(one)


PROCESS = """
import asyncio, json, sys
from queuectl_core.queue import Queue

async def main(url, count):
    async with Queue.open(url, create=False) as queue:
        print("ready", flush=True)
        sys.stdin.readline()
        answers = []
        for number in range(count):
            [job] = await queue.enqueue([{"command": "true", "unique": f"u{number}"}])
            answers.append([job.id, job.existing])
    print(json.dumps(answers))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_many_processes_enqueue_the_same(place: Place, store: Store) -> None:
    count = 15
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", PROCESS, place.url, str(count)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"HOME": str(place.folder)},
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    ends = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    answers = [json.loads(out) for out, _ in ends]
    for several in zip(*answers, strict=True):
        assert len({name for name, _ in several}) == 1
        assert sum(not existing for _, existing in several) == 1
    assert len(await store.scan(Filter(), 100)) == count


async def test_the_facade_answers_the_same(store: Store) -> None:
    queue = Queue(store, {}, clock=lambda: NOW)
    source = {"command": "true", "unique": "u", "unique_for": "1h"}
    [first] = await queue.enqueue([source])
    [second] = await queue.enqueue([source])
    assert (first.existing, second.existing) == (False, True)
    assert first.id == second.id
