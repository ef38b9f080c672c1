"""Rule 8: a verb with filters changes only jobs that match at the moment of the change.

Between reading the candidates and changing them, somebody else changes some of them. What is in the
database then is read with the driver alone, not with our code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import asyncpg
import pytest

import queuectl_core.queue as facade
from queuectl_core.domain.errors import Conflict, JobChanged, StoreLocked
from queuectl_core.domain.model import Filter, Job, Outcome, State
from queuectl_core.operations.attempt_output import log_path
from queuectl_core.operations.queries import amend
from queuectl_core.queue import Queue
from queuectl_core.store.protocol import Changed, JobAction, Store

from ..pgserver import server_url
from ..support import NOW, ending, eventually_async, spec
from .stores import Place, PostgresPlace
from .tools import blocked_by, change, claim, finish, hired

DEAD = Filter((State.DEAD,))


@pytest.fixture
def queue(store: Store, tmp_path: Path) -> Queue:
    return Queue(store, {}, lambda: NOW, str(tmp_path))


async def states(place: Place) -> dict[str, str]:
    """The state of each job by id, as the driver reads it."""
    return dict(await place.execute("SELECT id, state FROM jobs"))


async def made_dead(store: Store, *names: str) -> list[Job]:
    """Jobs that died in their first attempt, with a file of output each."""
    for name in names:
        await store.enqueue([spec(id=name, max_retries=1)], NOW)
    return await die(store, len(names))


async def die(store: Store, count: int) -> list[Job]:
    """Let the next ``count`` jobs fail for good."""
    held = await claim(store, count=count)
    assert len(held) == count
    await finish(store, "sup", *(ending(job, Outcome.FAILED, reason="exit 1") for job in held))
    for job in held:
        path = log_path(store.directory, job.seq, job.runs)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("why it failed\n")
    found = [await store.by_seq(job.seq) for job in held]
    return [job for job in found if job is not None]


def kept_output(store: Store, jobs: Sequence[Job]) -> list[str]:
    return [job.id for job in jobs if log_path(store.directory, job.seq, 1).exists()]


def between(store: Store, act: Callable[[], Awaitable[object]]) -> None:
    """Do ``act`` once, after the next reading of candidates."""
    read = store.candidates
    todo = [act]

    async def candidates(*given: object) -> list[int]:
        found = await read(*given)  # type: ignore[arg-type]
        while todo:
            await todo.pop()()
        return found

    store.candidates = candidates  # type: ignore[method-assign, assignment]


async def test_a_job_that_completed_in_between_is_not_run_again(
    place: Place, store: Store, other: Store, queue: Queue
) -> None:
    await hired(store)
    dead = await made_dead(store, "a", "b", "c", "d")

    async def meanwhile() -> None:
        await change(other, JobAction.RETRY, [dead[1].seq, dead[2].seq], NOW, True)
        held = await claim(other, count=2)
        await finish(other, "sup", *(ending(job, Outcome.COMPLETED) for job in held))

    between(store, meanwhile)
    assert await queue.retry_all(DEAD) == 2
    assert await states(place) == {
        "a": "pending",
        "b": "completed",
        "c": "completed",
        "d": "pending",
    }


async def test_a_job_that_was_retried_in_between_is_not_purged(
    place: Place, store: Store, other: Store, queue: Queue
) -> None:
    await hired(store)
    dead = await made_dead(store, "a", "b", "c", "d")
    between(store, lambda: change(other, JobAction.RETRY, [dead[0].seq, dead[3].seq], NOW, True))
    assert await queue.remove_all(DEAD) == 2
    assert await states(place) == {"a": "pending", "d": "pending"}
    assert kept_output(store, dead) == ["a", "d"], "output of jobs that were not removed stays"


async def test_a_job_that_was_claimed_in_between_is_not_cancelled(
    place: Place, store: Store, other: Store, queue: Queue
) -> None:
    await hired(store)
    await store.enqueue([spec(id=name) for name in "abc"], NOW)
    between(store, lambda: claim(other))
    assert await queue.cancel_all(Filter((State.PENDING,))) == 2
    assert await states(place) == {"a": "processing", "b": "cancelled", "c": "cancelled"}
    assert not (await store.commands("sup")).cancels


@pytest.mark.parametrize("where", [DEAD._replace(search="old"), DEAD._replace(exit_codes=(7, 8))])
async def test_the_whole_filter_is_in_the_statement(
    place: Place, store: Store, other: Store, queue: Queue, where: Filter
) -> None:
    await hired(store)
    await store.enqueue([spec("old one", id="a", max_retries=1)], NOW)
    [held] = await claim(store)
    await finish(store, "sup", ending(held, Outcome.FAILED, reason="exit 7", exit_code=7))
    seen = await queue.find("a")
    assert await queue.count_range(where) == 1

    async def meanwhile() -> None:
        await other.amend(seen, "new one", NOW)
        await die(other, 1)  # dead again, but of something else

    between(store, meanwhile)
    assert await queue.remove_all(where) == 0
    assert await states(place) == {"a": "dead"}


async def test_every_job_is_considered_once(
    place: Place, store: Store, other: Store, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facade, "BULK", 2)
    await hired(store)
    await made_dead(store, *"abcde")
    retry, rounds = store.change_matching, []

    async def fails_at_once(*given: object, **more: object) -> Changed:
        changed = await retry(*given, **more)  # type: ignore[arg-type]
        rounds.append(len(changed.done))
        await other.enqueue([spec(id=f"new{len(rounds)}", max_retries=1, priority=-1)], NOW)
        await die(other, len(changed.done) + 1)
        return changed

    store.change_matching = fails_at_once  # type: ignore[method-assign, assignment]
    assert await queue.retry_all(DEAD) == 5
    assert rounds == [2, 2, 1], "neither a job twice, nor those that came later"
    assert set((await states(place)).values()) == {"dead"}


async def test_what_one_asked_about_is_what_is_changed(
    place: Place, store: Store, other: Store, queue: Queue
) -> None:
    """Two consoles: one asks whether to delete a dead job, the other retries it, the first says
    yes."""
    await hired(store)
    [seen] = await made_dead(store, "a")
    await change(other, JobAction.RETRY, [seen.seq], NOW, True)
    for act in (queue.remove, queue.retry):
        with pytest.raises(JobChanged, match="job 'a' is pending now"):
            await act([seen])
        assert await act([seen], strict=False) == 0
    with pytest.raises(Conflict, match="job 'a' is pending now"):
        await amend(queue, seen, "echo other")
    await die(other, 1)  # dead once more, but of another attempt, which nobody has looked at
    with pytest.raises(JobChanged, match="job 'a' ran again meanwhile"):
        await queue.remove([seen])
    with pytest.raises(Conflict, match="job 'a' is dead now"):
        await amend(queue, seen, "echo other")
    assert await states(place) == {"a": "dead"}
    assert kept_output(store, [seen]) == ["a"]
    assert await queue.remove([await queue.find("a")]) == 1
    assert await states(place) == {}
    assert kept_output(store, [seen]) == []


async def test_output_of_a_job_that_is_not_removed_stays(store: Store, queue: Queue) -> None:
    await hired(store)
    dead = await made_dead(store, "a", "b")
    await store.enqueue([spec(id="c")], NOW)
    [running] = await claim(store)
    with pytest.raises(Conflict):
        await queue.remove([*dead, running])
    with pytest.raises(JobChanged):
        await queue.remove([*dead, running._replace(state=State.PENDING)])
    assert kept_output(store, dead) == ["a", "b"]
    assert await queue.remove([*dead, running], strict=False) == 2
    assert kept_output(store, dead) == []


async def test_every_job_is_changed_by_one_of_many(
    place: Place, store: Store, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several do the same at once: what they say they did adds up to what there was to do."""
    monkeypatch.setattr(facade, "BULK", 7)
    await hired(store)
    queues = [Queue(await place.open(), queue.env, queue.clock, queue.cwd) for _ in range(4)]
    jobs = 100
    async with store.batch() as batch:
        await batch.add([(n, spec(id=f"j{n}", max_retries=1)) for n in range(jobs)])
        await batch.commit(NOW)
    for state, act in (
        ("pending", Queue.cancel_all),
        ("cancelled", Queue.retry_all),
        ("pending", Queue.remove_all),
    ):
        assert set((await states(place)).values()) == {state}
        done = await asyncio.gather(*(act(one, Filter((State(state),))) for one in queues))
        assert sum(done) == jobs
    assert await states(place) == {}


@pytest.mark.parametrize("act", [Queue.remove_all, Queue.retry_all])
async def test_postgres_checks_a_row_again_that_it_waited_for(
    tmp_path: Path, act: Callable[[Queue, Filter], Awaitable[int]]
) -> None:
    """Another transaction holds the row, changes it, and commits while our statement waits."""
    place = PostgresPlace(tmp_path)
    connection = await asyncpg.connect(server_url())
    try:
        store = await place.open()
        await hired(store)
        await made_dead(store, "a", "b")
        async with connection.transaction():
            table = f'"{place.schema}".jobs'
            await connection.execute(f"UPDATE {table} SET state = 'completed' WHERE id = 'a'")
            ours = asyncio.ensure_future(act(Queue(store, {}, lambda: NOW, str(tmp_path)), DEAD))
            await eventually_async(lambda: blocked_by(connection.get_server_pid()))
        assert await ours == 1, "only b"
        assert (await states(place))["a"] == "completed"
    finally:
        await connection.close()
        await place.clear()


async def test_how_far_it_came_is_said(
    store: Store, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facade, "BULK", 2)
    await store.enqueue([spec() for _ in range(6)], NOW)
    cancel, calls = store.change_matching, []

    async def locked_later(*given: object, **more: object) -> Changed:
        calls.append(given)
        if len(calls) > 2:
            raise StoreLocked("the store is locked", "try again")
        return await cancel(*given, **more)  # type: ignore[arg-type]

    store.change_matching = locked_later  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreLocked, match="locked; cancel was done to 4 jobs before; try again"):
        await queue.cancel_all(Filter())
