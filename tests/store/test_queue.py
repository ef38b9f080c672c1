"""The API front ends call, on every store."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuectl_core.domain.errors import Conflict, InvalidInput, NotFound, StoreUnreachable
from queuectl_core.domain.model import Attempt, Filter, Job, Outcome, State
from queuectl_core.domain.times import format_time
from queuectl_core.operations.attempt_output import log_path
from queuectl_core.queue import (
    BULK,
    PAGE,
    Queue,
    WaitState,
    check_count,
    check_states,
    outcome_word,
)
from queuectl_core.store.protocol import Store

from ..support import NOW, ending, spec, supervisor
from .tools import claim, finish, hired, row_of, run


@pytest.fixture
async def queue(store: Store, tmp_path: Path) -> Queue:
    """A queue whose clock stands still."""
    return Queue(store, {}, clock=lambda: NOW, cwd=str(tmp_path))


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


# -- enqueue and find -----------------------------------------------------------------


async def test_enqueue_fills_in_what_the_configuration_says(queue: Queue, tmp_path: Path) -> None:
    await queue.config_set("max_retries", "9")
    [job] = await queue.enqueue(["true"])
    assert (job.max_retries, job.cwd, job.run_at) == (9, str(tmp_path), NOW)
    await queue.config_set("max_retries", "2")
    assert (await queue.find(job.id)).max_retries == 9, "fixed when it was enqueued"


async def test_enqueue_is_all_or_none(queue: Queue) -> None:
    with pytest.raises(InvalidInput, match="command is missing"):
        await queue.enqueue([{"command": "true"}, {"id": "x"}])
    assert await queue.count_range() == 0


async def test_a_job_is_found_by_an_unambiguous_prefix(queue: Queue) -> None:
    await queue.enqueue([{"id": name, "command": "true"} for name in ("job", "job-1", "job-2")])
    assert (await queue.find("job")).id == "job"
    assert (await queue.find("job-1")).id == "job-1"
    with pytest.raises(Conflict, match="'job-' starts several ids, job-1 and job-2"):
        await queue.find("job-")
    for nobody in ("nope", "", "\x1b[31m"):
        with pytest.raises(NotFound, match="no such job"):
            await queue.find(nobody)


async def test_pages_give_everything_once(queue: Queue) -> None:
    async with queue.batch() as batch:
        await batch.add([(n, spec(id=f"j{n}")) for n in range(2 * PAGE + 5)])
        await batch.commit(NOW)
    sizes = [len(page) async for page in queue.pages()]
    assert sizes == [PAGE, PAGE, 5]
    assert [len(page) async for page in queue.pages(limit=PAGE + 1)] == [PAGE, 1]
    assert [page async for page in queue.pages(limit=0)] == []
    found = [job.id async for page in queue.pages() for job in page]
    assert found == [f"j{n}" for n in reversed(range(2 * PAGE + 5))]


# -- attempts and output --------------------------------------------------------------


async def test_the_running_attempt_is_among_the_attempts(queue: Queue) -> None:
    await hired(queue.store)
    await queue.enqueue([{"command": "x", "backoff_base": 0, "run_at": NOW - 5}])
    [held] = await claim(queue.store)
    await finish(queue.store, "sup", ending(held, Outcome.FAILED))
    [held] = await claim(queue.store, now=NOW + 1)
    one, two = await queue.attempts(held)
    assert (one.number, one.outcome, outcome_word(one)) == (1, Outcome.FAILED, "failed")
    assert (two.number, two.finished_at, outcome_word(two)) == (2, None, "running")
    assert two.worker == "sup-1"


async def test_output_comes_from_the_file_or_else_from_the_store(queue: Queue) -> None:
    await hired(queue.store)
    [job] = await queue.enqueue(["x"])
    waiting = await queue.output(job)
    assert (waiting.number, waiting.size(), waiting.running) == (0, 0, True)
    done = await run(queue.store, job, tail=b"the end\n")
    stored = await queue.output(done)
    assert (stored.path, stored.read(0, 99), stored.running) == (None, b"the end\n", False)
    path = log_path(queue.directory, job.seq, 1)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"all of it, to the end\n")
    here = await queue.output(done, 1)
    assert here.read(0, 99) == b"all of it, to the end\n"
    with pytest.raises(NotFound, match="has no attempt 2; it has had 1"):
        await queue.output(done, 2)
    await queue.remove([done])
    assert not path.exists()


# -- status, stats, waiting -----------------------------------------------------------


async def test_status(queue: Queue) -> None:
    await queue.store.register(supervisor("sup", host="elsewhere", host_key="x"), [("w", ())], NOW)
    lost = supervisor("lost", host="elsewhere", host_key="x", lease_until=NOW - 1)
    await queue.store.register(lost, [("l", ())], NOW)
    await queue.enqueue([{"command": "x", "queue": "mail", "run_at": NOW - 7}, "y", "z"])
    await run(queue.store, (await queue.scan(Filter(queues=("mail",))))[0])
    status = await queue.status()
    assert status.counts == {State.COMPLETED: 1, State.PENDING: 2}
    assert status.queues == {"mail": {State.COMPLETED: 1}, "default": {State.PENDING: 2}}
    assert [worker.id for worker in status.workers] == ["w"], "live ones"
    assert [(worker.id, worker.state) for worker in await queue.workers()] == [
        ("l", "lost"),
        ("w", "idle"),
    ]
    shown = status.to_json(NOW)
    assert shown["jobs"] == {
        "pending": 2,
        "waiting": 0,
        "processing": 0,
        "completed": 1,
        "failed": 0,
        "dead": 0,
        "cancelled": 0,
    }
    assert (shown["total"], shown["dlq"]) == (3, 0)
    assert shown["oldest_waiting_seconds"] == 0
    beat = (await row_of(queue.store, "sup")).heartbeat_at
    assert shown["workers"][0]["last_heartbeat"] == format_time(beat)


async def test_stats_are_of_the_time_asked_for(queue: Queue) -> None:
    await hired(queue.store)
    made = await queue.enqueue(["x", "y"])
    await run(queue.store, made[0], now=NOW - 7200)
    assert (await queue.stats(3600)).completed == 0
    assert (await queue.stats(7201)).completed == 1


async def test_waiting_for_some_and_for_all(queue: Queue) -> None:
    await hired(queue.store)
    one, two, three = await queue.enqueue(["x", {"command": "y", "max_retries": 1}, "z"])
    everything = [one.seq, two.seq, three.seq]
    assert await queue.wait_state(everything) == WaitState(3, 0, 0, finished=False)
    await run(queue.store, one)
    await run(queue.store, two, Outcome.FAILED)
    assert await queue.wait_state(everything) == WaitState(3, 2, 1, finished=False)
    assert await queue.wait_state(None) == WaitState(3, 2, 1, finished=False)
    assert await queue.wait_state([one.seq]) == WaitState(1, 1, 0, finished=True)
    await queue.cancel([three])
    assert await queue.wait_state(None) == WaitState(3, 3, 2, finished=True)
    await queue.remove([await queue.find(three.id)])
    assert (await queue.wait_state([three.seq])).finished, "gone: nothing to wait for"


# -- changing -------------------------------------------------------------------------


async def test_the_wrong_state_is_named_and_nothing_is_done(queue: Queue) -> None:
    await hired(queue.store)
    one, two = await queue.enqueue([{"id": "one", "command": "x"}, {"id": "two", "command": "y"}])
    done = await run(queue.store, one)
    with pytest.raises(Conflict, match="job 'two' is pending; cannot retry it; only failed, dead"):
        await queue.retry([done, two])
    assert (await queue.find("one")).state is State.COMPLETED
    with pytest.raises(Conflict, match="job 'one' is completed; cannot cancel it"):
        await queue.cancel([two, done])
    [held] = await claim(queue.store)
    with pytest.raises(Conflict, match="job 'two' is processing; cannot remove it"):
        await queue.remove([done, held])


async def test_a_job_named_twice_is_changed_once(queue: Queue) -> None:
    [job] = await queue.enqueue(["x"])
    assert await queue.cancel([job, job]) == 1


async def test_a_job_that_moved_meanwhile_is_a_conflict(queue: Queue) -> None:
    [job] = await queue.enqueue(["x"])
    await queue.cancel([job])
    with pytest.raises(Conflict, match="is cancelled now; no cancel was done"):
        await queue.cancel([job])  # what we hold says pending still


async def test_a_bulk_change_gives_way_after_each_page(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a writer beside it finds the store locked for most of the time."""
    await queue.enqueue(["x"] * (2 * BULK + 1))
    given: list[float] = []

    async def give_way(seconds: float) -> None:
        given.append(seconds)

    monkeypatch.setattr(queue.store, "give_way", give_way)
    assert await queue.cancel_all(Filter()) == 2 * BULK + 1
    assert len(given) == 3
    assert all(seconds > 0 for seconds in given)
    assert await queue.prune(-1, (State.CANCELLED,)) == 2 * BULK + 1
    assert len(given) >= 6


async def test_all_that_match_and_may_be(queue: Queue) -> None:
    await hired(queue.store)
    count = 2 * PAGE + 10
    async with queue.batch() as batch:
        await batch.add([(n, spec(f"echo {n % 2}")) for n in range(count)])
        await batch.commit(NOW)
    told: list[list[int]] = []
    done = await queue.cancel_all(Filter(search="echo 1"), lambda *at: told.append([*at]))
    assert done == count // 2
    assert told[-1] == [count // 2] * 2
    assert await queue.retry_all(Filter(states=(State.PENDING,))) == 0, "none may be"
    assert await queue.retry_all(Filter()) == count / 2
    assert await queue.count_range(Filter(states=(State.PENDING,))) == count
    [held] = await claim(queue.store)
    assert await queue.remove_all(Filter()) == count - 1
    assert ids(await queue.scan()) == [held.id]


# -- configuration and workers --------------------------------------------------------


async def test_configuration_in_any_spelling(queue: Queue) -> None:
    found = await queue.config_set("DEFAULT_MAX_RETRIES", "7")
    assert (found.key, found.value, found.source) == ("max-retries", 7, "store")
    assert (await queue.config_get("max_retries")).value == 7
    assert (await queue.settings()).max_retries == 7
    queue.env = {"QUEUECTL_MAX_RETRIES": "8"}
    assert (await queue.config_set("max-retries", "9")).value == 8, "the environment is stronger"
    queue.env = {}
    assert (await queue.config_unset("max-retries")).source == "default"
    with pytest.raises(NotFound, match="did you mean lease"):
        await queue.config_set("leese", "20")
    with pytest.raises(InvalidInput, match="lease: "):
        await queue.config_set("lease", "200")
    assert len(await queue.config_list()) == 13
    assert await queue.store.config() == {}


@pytest.mark.parametrize("text", ["999999.5", "0.00001", "1234567", "33.333333"])
async def test_a_number_is_stored_as_it_was_set(queue: Queue, text: str) -> None:
    assert (await queue.config_set("timeout", text)).value == float(text)
    assert (await queue.settings()).timeout == float(text)


async def test_workers_are_found_by_id_prefix_and_supervisor(queue: Queue) -> None:
    for name in ("abc", "abd"):
        row = supervisor(name, host="elsewhere", host_key="x")
        await queue.store.register(row, [(f"{name}-1", ()), (f"{name}-2", ())], NOW)

    async def found(*refs: str) -> list[str]:
        return [worker.id for worker in await queue.find_workers(refs)]

    assert await found() == ["abc-1", "abc-2", "abd-1", "abd-2"]
    assert await found("abc-1") == ["abc-1"]
    assert await found("abd") == ["abd-1", "abd-2"]
    assert await found("abc", "abc-1") == ["abc-1", "abc-2"]
    with pytest.raises(Conflict, match="'ab' starts several ids"):
        await found("ab")
    for nobody in ("x", "", "abc-3"):
        with pytest.raises(NotFound, match="no such worker"):
            await found(nobody)
    await queue.stop_workers(await queue.find_workers(["abc"]), now=False)
    assert [worker.state for worker in await queue.workers()] == ["stopping"] * 2 + ["idle"] * 2


def test_how_many_workers() -> None:
    check_count(1)
    check_count(512)
    for bad in (0, -1, 513):
        with pytest.raises(InvalidInput, match="cannot start"):
            check_count(bad)


def test_states_by_name() -> None:
    assert check_states(["dead", "FAILED"]) == (State.DEAD, State.FAILED)
    with pytest.raises(InvalidInput, match="unknown state 'ded'; did you mean dead"):
        check_states(["ded"])


def test_an_attempt_without_an_outcome_is_running() -> None:
    attempt = Attempt(1, NOW, None, None, None, None, None, None, None, None, None, 0, 0.0)
    assert outcome_word(attempt) == "running"


async def test_open_and_close(store_path: Path) -> None:
    async with Queue.open(str(store_path), env={}) as queue:
        assert await queue.count_range() == 0
        assert await queue.changed()
    with pytest.raises(StoreUnreachable, match="was closed meanwhile"):
        await queue.count_range()


async def test_a_job_is_changed_by_its_whole_id(queue: Queue) -> None:
    await queue.enqueue([{"id": "build-10", "command": "x"}, {"id": "0123456789", "command": "x"}])
    for ref in ("build-1", "01234"):
        assert (await queue.find(ref)).id.startswith(ref)
        with pytest.raises(NotFound, match="give its whole id"):
            await queue.find(ref, to_change=True)
    (job,) = await queue.enqueue(["x"])
    assert (await queue.find(job.id[:7], to_change=True)).id == job.id


async def test_a_job_that_was_enqueued_again_is_found_under_its_id(queue: Queue) -> None:
    (job, other) = await queue.enqueue([{"id": "j", "command": "x"}, {"id": "j2", "command": "x"}])
    await queue.remove([job, other])
    assert await queue.same(job) is None
    (again,) = await queue.enqueue([{"id": "j", "command": "y"}])
    assert await queue.same(job) == again
    assert await queue.same(other) is None


async def test_a_queue_without_settings_has_none_to_remove(store: Store) -> None:
    """Also while jobs are in it: to wait for them would not help."""
    queue = Queue(store, {}, clock=lambda: NOW)
    await store.enqueue([spec(queue="mail"), spec(queue="mail", key="k")], NOW)
    with pytest.raises(NotFound, match="queue 'mail' has no settings, so there is nothing"):
        await queue.remove_queue("mail")
    await queue.set_queue("mail", {"limit": "1"})
    with pytest.raises(Conflict, match="not ended"):
        await queue.remove_queue("mail")


async def test_the_hint_says_which_jobs_can_be_changed(store: Store) -> None:
    queue = Queue(store, {}, clock=lambda: NOW)
    [job] = await store.enqueue([spec(id="a")], NOW)
    for act, hint in (
        (queue.release, "only waiting jobs can be released"),
        (queue.retry, "only failed, dead, cancelled or completed jobs can be retried"),
    ):
        with pytest.raises(Conflict) as caught:
            await act([job])
        assert caught.value.hint == hint
