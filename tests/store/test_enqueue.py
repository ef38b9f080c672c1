"""Conformance: jobs going in, singly and in bulk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from queuectl_core.domain.errors import BatchRejected, Conflict, InvalidInput
from queuectl_core.domain.jobspec import ID
from queuectl_core.domain.model import Filter, State
from queuectl_core.store.postgres import batch as postgres_batch
from queuectl_core.store.protocol import Store
from queuectl_core.store.rows import renamed
from queuectl_core.store.sqlite import batch as sqlite_batch

from ..support import NOW, spec
from .tools import real_counts

GIVEN = spec(
    ("printf", "%s", "ä\n'\"\\"),
    id="a-1",
    max_retries=7,
    backoff_base=1.5,
    priority=-3,
    run_at=NOW + 0.25,
    timeout_seconds=2.5,
    cwd="/tmp/x y",
    env={"A": "1", "B": "ü="},
    queue="mail",
    nice=5,
    memory_limit=1 << 30,
    cpu_seconds=60,
    output_limit=1 << 20,
    key="k",
    unique="u",
    unique_until="start",
    unique_for=5.0,
    after=("p",),
    after_any=("q",),
    after_failed=("r",),
    on_parent_failure="hold",
    hold=True,
    on_conflict="replace",
    actor="me@here",
    stdin="a\0b\nü",
    secrets={"TOKEN": "file:/etc/token"},
    schedule="nightly",
    scheduled_at=NOW - 60.5,
)
PARENTS = [spec(id=name) for name in ("p", "q", "r")]
"""Each field has another value than a job that does not give it."""


def test_every_field_is_given() -> None:
    plain = spec()
    assert [name for name in plain._fields if getattr(GIVEN, name) == getattr(plain, name)] == []


async def test_a_job_is_kept_as_it_was_given(store: Store) -> None:
    *_, job = await store.enqueue([*PARENTS, GIVEN], NOW)
    assert (await store.by_seq(job.seq)) == job
    kept = set(GIVEN._fields) & set(job._fields) - {"stdin"}  # read when it is asked for
    assert {name: getattr(job, name) for name in kept} == {
        name: value for name, value in GIVEN._asdict().items() if name in kept
    }
    assert set(GIVEN._fields) - kept == {
        *("after", "after_any", "after_failed", "hold", "on_conflict", "actor", "stdin")
    }
    assert (job.has_stdin, job.has_result) == (True, False)
    assert job.parents == {"after": ("p",), "after_any": ("q",), "after_failed": ("r",)}
    assert (job.held, job.held_by, job.held_at) == (True, "me@here", NOW)
    assert (job.state, job.attempts, job.crashes, job.runs) == (State.WAITING, 0, 0, 0)
    assert job.created_at == job.updated_at == NOW
    assert (job.started_at, job.finished_at, job.exit_code, job.worker) == (None,) * 4


@pytest.mark.parametrize("command", ["true", '["a"]', ("[]",), ("a b", ""), ('["a"]',)])
async def test_a_string_and_an_argv_stay_apart(
    store: Store, command: str | tuple[str, ...]
) -> None:
    [job] = await store.enqueue([spec()._replace(command=command)], NOW)
    assert job.command == command


async def test_jobs_arrive_in_the_order_given(store: Store) -> None:
    names = ["z", "a", "m"]
    jobs = await store.enqueue([spec(id=name) for name in names], NOW)
    assert [job.id for job in jobs] == names
    assert sorted(job.seq for job in jobs) == [job.seq for job in jobs]


async def test_ids_are_made_when_none_is_given(store: Store) -> None:
    jobs = await store.enqueue([spec() for _ in range(50)], NOW)
    assert len({job.id for job in jobs}) == 50
    assert all(re.fullmatch(ID, job.id) for job in jobs)


async def test_nothing_is_enqueued_when_an_id_is_taken(store: Store) -> None:
    await store.enqueue([spec(id="a"), spec(id="z")], NOW)
    with pytest.raises(Conflict, match="'z'"):  # the first in the order given
        await store.enqueue([spec(id="new"), spec(id="z"), spec(id="a")], NOW)
    assert [job.id for job in await store.scan(Filter(), 10)] == ["z", "a"]
    assert await store.counts() == await real_counts(store) == {(State.PENDING, "default"): 2}


async def test_nothing_is_enqueued_when_an_id_is_given_twice(store: Store) -> None:
    with pytest.raises(Conflict, match="'b' is given twice"):
        await store.enqueue([spec(id="a"), spec(id="b"), spec(id="b")], NOW)
    assert await store.scan(Filter(), 10) == []
    assert await store.counts() == {}


async def test_enqueueing_nothing_is_no_trouble(store: Store) -> None:
    assert await store.enqueue([], NOW) == []


async def test_text_no_database_can_keep_is_bad_input(store: Store) -> None:
    # What os.getcwd() gives in a directory whose name is not UTF-8.
    with pytest.raises(InvalidInput, match="UTF-8"):
        await store.enqueue([spec(id="a"), spec(cwd="/tmp/\udcff")], NOW)
    async with store.batch() as batch:
        with pytest.raises(InvalidInput, match="UTF-8"):
            await batch.add([(1, spec(id="b")), (2, spec(cwd="/tmp/\udcff"))])
        await batch.add([(3, spec(id="c"))])
        assert (await batch.commit(NOW))[1] == 1
    assert [job.id for job in await store.scan(Filter(), 10)] == ["c"]
    for where in (Filter(search="\udcff"), Filter(queues=("\udcff",))):
        with pytest.raises(InvalidInput, match="UTF-8"):
            await store.scan(where, 10)


# -- bulk -----------------------------------------------------------------------------


async def test_a_batch_arrives_whole_and_in_order(store: Store) -> None:
    await store.enqueue([spec(id="before")], NOW)
    async with store.batch() as batch:
        await batch.add([(n, spec(f"echo {n}", id=f"job-{n}")) for n in range(1, 4)])
        await batch.add([(4, spec(("echo", "4"), run_at=NOW + 60, queue="later"))])
        assert await store.count_range(Filter()) == 1, "nothing is visible before the commit"
        first, count = await batch.commit(NOW)
    jobs = (await store.scan(Filter(), 10))[-2::-1]
    assert count == 4
    assert [job.seq for job in jobs] == list(range(first, first + 4))
    assert [job.id for job in jobs[:3]] == ["job-1", "job-2", "job-3"]
    assert [job.command for job in jobs] == ["echo 1", "echo 2", "echo 3", ("echo", "4")]
    assert re.fullmatch(ID, jobs[3].id)
    assert jobs[3].run_at == NOW + 60
    assert await store.counts() == await real_counts(store)


async def test_a_batch_keeps_jobs_as_enqueue_does(store: Store) -> None:
    *_, single = await store.enqueue([*PARENTS, GIVEN], NOW)
    async with store.batch() as batch:
        await batch.add([(1, GIVEN._replace(id="y", unique="v"))])
        first, _ = await batch.commit(NOW)
    job = await store.by_seq(first)
    assert job is not None
    assert job._replace(id=GIVEN.id, seq=single.seq, unique=GIVEN.unique) == single


async def test_a_batch_goes_by_line_whatever_the_order_of_adding(store: Store) -> None:
    async with store.batch() as batch:
        await batch.add([(30, spec(id="c"))])
        await batch.add([(20, spec(id="b")), (10, spec(id="a"))])
        await batch.commit(NOW)
    assert [job.id for job in await store.scan(Filter(), 10)] == ["c", "b", "a"]


async def test_an_empty_batch(store: Store) -> None:
    async with store.batch() as batch:
        assert (await batch.commit(NOW))[1] == 0
    async with store.batch() as batch:
        await batch.add([])
        assert (await batch.commit(NOW))[1] == 0


async def test_a_batch_that_is_left_without_commit_leaves_nothing(store: Store) -> None:
    async with store.batch() as batch:
        await batch.add([(1, spec())])
    assert await store.count_range(Filter()) == 0


async def test_a_taken_id_refuses_the_whole_batch_naming_its_line(store: Store) -> None:
    await store.enqueue([spec(id="taken")], NOW)
    async with store.batch() as batch:
        await batch.add([(line, spec(id=f"j{line}")) for line in range(1, 100)])
        await batch.add([(100, spec(id="taken")), (101, spec())])
        with pytest.raises(Conflict, match="line 100: id 'taken'"):
            await batch.commit(NOW)
    assert [job.id for job in await store.scan(Filter(), 10)] == ["taken"]
    assert await store.counts() == await real_counts(store)


async def test_every_line_that_repeats_an_id_is_named(store: Store) -> None:
    async with store.batch() as batch:
        names = {1: "a", 2: "b", 5: "a", 6: "b", 8: "c", 9: "a"}
        await batch.add([(line, spec(id=name)) for line, name in names.items()])
        with pytest.raises(BatchRejected) as caught:
            await batch.commit(NOW)
    assert caught.value.total == 3
    assert [line for line, _ in caught.value.problems] == [5, 6, 9]
    assert all("first on line" in message for _, message in caught.value.problems)
    assert await store.count_range(Filter()) == 0


async def test_a_batch_with_thousands_of_repeats_counts_them_all(store: Store) -> None:
    async with store.batch() as batch:
        await batch.add([(line, spec(id="same")) for line in range(1, 1002)])
        with pytest.raises(BatchRejected) as caught:
            await batch.commit(NOW)
    assert caught.value.total == 1000
    assert [line for line, _ in caught.value.problems] == list(range(2, 102))


async def test_a_batch_whose_ids_are_all_taken_reads_some_of_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a million: somebody gave the same file again."""
    read: list[int] = []

    def counted(found: Sequence[Any]) -> Iterator[dict[str, Any]]:
        read.append(len(found))
        return renamed(found)

    for module in (sqlite_batch, postgres_batch):
        monkeypatch.setattr(module, "renamed", counted)
    for number in range(2):
        async with store.batch() as batch:
            await batch.add([(line, spec(id=f"j{line}")) for line in range(1, 151)])
            if number == 0:
                await batch.commit(NOW)
                continue
            with pytest.raises(Conflict, match="line 1: id 'j1' is taken"):
                await batch.commit(NOW)
    assert read == [100]
    assert await store.count_range(Filter()) == 150


async def test_staging_keeps_no_other_writer_waiting(store: Store, other: Store) -> None:
    async with store.batch() as batch:
        await batch.add([(line, spec()) for line in range(1, 2001)])
        await other.enqueue([spec(id="meanwhile")], NOW)
        await batch.add([(line, spec()) for line in range(2001, 4001)])
        await store.enqueue([spec(id="here-too")], NOW)
        first, count = await batch.commit(NOW)
    assert count == 4000
    assert first == 3
    assert await store.counts() == await real_counts(store) == {(State.PENDING, "default"): 4002}


async def test_two_batches_at_once(store: Store, other: Store) -> None:
    async with store.batch() as one, other.batch() as two:
        await one.add([(1, spec(id="one")), (2, spec(id="both"))])
        await two.add([(1, spec(id="two")), (2, spec(id="both"))])
        await two.commit(NOW)
        with pytest.raises(Conflict, match="line 2: id 'both'"):
            await one.commit(NOW)
    assert [job.id for job in await store.scan(Filter(), 10)] == ["both", "two"]
