"""Conformance: finding jobs, pages, filters, searches and counts."""

from __future__ import annotations

import pytest

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.model import Filter, Job, Outcome, State
from queuectl_core.domain.text import contains
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, ending, spec
from .tools import change, claim, finish, hired, real_counts, run


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


async def mixed(store: Store) -> list[Job]:
    """Jobs in every state, in two queues."""
    await hired(store)
    made = await store.enqueue(
        [
            spec("echo one", id="done"),
            spec("false", id="died", max_retries=1),
            spec("false", id="waits", max_retries=2),
            spec("sleep 9", id="runs"),
            spec("true", id="called-off", queue="mail"),
            spec("true", id="later", queue="mail", run_at=NOW + 60),
        ],
        NOW,
    )
    await run(store, made[0])
    await run(store, made[1], Outcome.FAILED, reason="exit 7: disk 100% full")
    await run(store, made[2], Outcome.FAILED, reason="exit 1")
    await claim(store, queues=("default",))
    await change(store, JobAction.CANCEL, [made[4].seq], NOW, strict=True)
    return made


async def test_by_id_and_by_prefix(store: Store) -> None:
    await store.enqueue([spec(id=name) for name in ("job-1", "job-2", "job-20", "jo")], NOW)
    assert ids(await store.by_id("job-2")) == ["job-2"], "an exact id is no ambiguous prefix"
    assert ids(await store.by_id("job-20")) == ["job-20"]
    assert len(await store.by_id("job-")) == 2, "two are enough to know"
    assert ids(await store.by_id("j")) == ["jo", "job-1"]
    for nobody in ("job-3", "JOB-1", "ob-1", "%", "job_1", "~", "é", "x" * 1000):
        assert await store.by_id(nobody) == []


async def test_prefixes_end_at_any_character_an_id_may_hold(store: Store) -> None:
    names = ["a", "a.", "a-", "a_", "a:", "a@", "aZ", "az", "a9", "b"]
    await store.enqueue([spec(id=name) for name in names], NOW)
    for name in names[1:-1]:
        await store.enqueue([spec(id=f"{name}long")], NOW)
        assert ids(await store.by_id(f"{name}lon")) == [f"{name}long"]


async def test_by_seq(store: Store) -> None:
    [job] = await store.enqueue([spec()], NOW)
    assert await store.by_seq(job.seq) == job
    assert await store.by_seq(job.seq + 1) is None
    assert await store.by_seq(-1) is None


async def test_pages_are_newest_first_and_go_on_below_the_last(store: Store) -> None:
    await store.enqueue([spec(id=f"j{n}") for n in range(10)], NOW)
    first = await store.scan(Filter(), 4)
    assert ids(first) == ["j9", "j8", "j7", "j6"]
    await store.enqueue([spec(id="new")], NOW)  # what arrives meanwhile moves no page
    second = await store.scan(Filter(), 4, high=first[-1].seq - 1)
    assert ids(second) == ["j5", "j4", "j3", "j2"]
    assert ids(await store.scan(Filter(), 4, high=second[-1].seq - 1)) == ["j1", "j0"]
    assert await store.scan(Filter(), 4, high=0) == []
    assert await store.scan(Filter(), 0) == []


async def test_filters(store: Store) -> None:
    made = await mixed(store)
    expected = {
        Filter(): ["later", "called-off", "runs", "waits", "died", "done"],
        Filter(states=(State.DEAD,)): ["died"],
        Filter(states=(State.FAILED, State.PENDING)): ["later", "waits"],
        Filter(states=(State.PENDING, State.FAILED, State.PENDING)): ["later", "waits"],
        Filter(queues=("mail",)): ["later", "called-off"],
        Filter(queues=("nowhere",)): [],
        Filter(queues=("mail", "nowhere")): ["later", "called-off"],
        Filter(queues=("mail", "default"), states=(State.DEAD, State.CANCELLED)): [
            "called-off",
            "died",
        ],
        Filter(queues=("mail",), states=(State.CANCELLED, State.DEAD)): ["called-off"],
        Filter(exit_codes=(1,)): ["waits", "died"],
        Filter(exit_codes=(1,), states=(State.DEAD,)): ["died"],
        Filter(exit_codes=(0,)): ["done"],
        Filter(exit_codes=(0, 1, 99)): ["waits", "died", "done"],
        Filter(exit_codes=(99,)): [],
        Filter(search="sleep"): ["runs"],
        Filter(search="full"): ["died"],
        Filter(search="TER"): ["later"],
        Filter(search="false", queues=("mail",)): [],
        Filter(search="", states=tuple(State)): ids(made[::-1]),
        Filter(seqs=(made[0].seq, made[5].seq, 999, made[0].seq)): ["later", "done"],
        Filter(seqs=(made[0].seq, made[5].seq), queues=("default",)): ["done"],
        Filter(seqs=(made[0].seq, made[5].seq), states=(State.PENDING,)): ["later"],
        Filter(seqs=(made[0].seq, made[1].seq), exit_codes=(1,)): ["died"],
        Filter(seqs=(made[0].seq, made[1].seq), search="ECHO"): ["done"],
        Filter(seqs=()): [],
    }
    for where, wanted in expected.items():
        assert ids(await store.scan(where, 100)) == wanted, where
        assert await store.count_range(where) == len(wanted), where
        if len(wanted) > 1:
            page = await store.scan(where, 1)
            assert ids(page) == wanted[:1], where
            assert ids(await store.scan(where, 100, high=page[0].seq - 1)) == wanted[1:], where


@pytest.mark.parametrize("text", ["%", "_", "\\", "\\%", "a_b", "100%", "'", '"', "é", "日本", "["])
async def test_a_search_is_for_text_and_not_for_a_pattern(store: Store, text: str) -> None:
    await hired(store)
    made = await store.enqueue(
        [
            spec(f"echo {text} there", id="string"),
            spec(("echo", text), id="argv"),
            spec("false", id="reason", max_retries=1, priority=9),
            spec("echo axb 100 percent e", id="other"),
        ],
        NOW,
    )
    await run(store, made[2], Outcome.FAILED, reason=f"it said {text}")
    for where in (Filter(search=text), Filter(search=text, seqs=tuple(job.seq for job in made))):
        assert ids(await store.scan(where, 10)) == ["reason", "argv", "string"]
        assert await store.count_range(where) == 3


@pytest.mark.parametrize("text", ["a\0b", "x" * 60_000, "%" * 9_000, "é" * 2_001, "é\0"])
async def test_what_cannot_be_searched_for_is_bad_input(store: Store, text: str) -> None:
    for read in (store.scan(Filter(search=text), 1), store.count_range(Filter(search=text))):
        with pytest.raises(InvalidInput, match="not a text to search for"):
            await read


async def test_a_search_ignores_case_in_all_scripts(store: Store) -> None:
    made = await store.enqueue([spec("echo Straße ÄRGER [ж*] Ωμέγα ?%_", id="a")], NOW)
    for seqs in (None, (made[0].seq,)):
        for text in ("ECHO sTRA", "Ärger", "äRGER", "straße ä", "[Ж*]", "ωΜΈ", "ΓΑ ?%_"):
            assert await store.count_range(Filter(search=text, seqs=seqs)) == 1, text
            assert contains(made[0].command, text)
        for text in ("arger", "[Жж]", "Ж.", "ωμέ*", "ä_ger", "é", "ΓΑ .%_"):
            assert await store.count_range(Filter(search=text, seqs=seqs)) == 0, text
            assert not contains(made[0].command, text)


async def test_counts_are_those_of_the_jobs(store: Store) -> None:
    assert await store.counts() == {}
    made = await mixed(store)
    assert await store.counts() == await real_counts(store)
    assert await store.counts() == {
        (State.COMPLETED, "default"): 1,
        (State.DEAD, "default"): 1,
        (State.FAILED, "default"): 1,
        (State.PROCESSING, "default"): 1,
        (State.CANCELLED, "mail"): 1,
        (State.PENDING, "mail"): 1,
    }
    await change(store, JobAction.RETRY, [job.seq for job in made], NOW, strict=False)
    assert await store.counts() == await real_counts(store)
    await change(store, JobAction.REMOVE, [job.seq for job in made], NOW, strict=False)
    assert await store.counts() == await real_counts(store) == {(State.PROCESSING, "default"): 1}


async def test_the_oldest_job_that_is_due(store: Store) -> None:
    assert await store.oldest_due(NOW) is None
    await store.enqueue([spec(run_at=NOW + 5)], NOW)
    assert await store.oldest_due(NOW) is None, "it is not due yet"
    assert await store.oldest_due(NOW + 6) == NOW + 5, "though nobody has claimed since"
    await store.enqueue([spec(id="old", run_at=NOW - 50)], NOW - 50)
    await store.enqueue([spec(id="late", run_at=NOW - 20)], NOW - 30)
    assert await store.oldest_due(NOW) == NOW - 50
    await hired(store)
    assert ids(await claim(store)) == ["old"]
    assert await store.oldest_due(NOW) == NOW - 20


async def test_nobody_waits_before_the_job_is_there(store: Store) -> None:
    """``run_at`` may lie years back: the job waits since it was enqueued, or retried."""
    [job] = await store.enqueue([spec(id="past", run_at=1.0)], NOW)
    assert job.waits_from == await store.oldest_due(NOW + 200) == NOW
    await store.enqueue([spec(id="sooner", run_at=NOW - 9)], NOW - 9)
    await store.enqueue([spec(id="past too", run_at=NOW - 9000)], NOW - 5)
    assert await store.oldest_due(NOW + 200) == NOW - 9
    await change(store, JobAction.CANCEL, [1, 2, 3], NOW, strict=False)
    await change(store, JobAction.RETRY, [job.seq], NOW + 100, strict=False)
    retried = await store.by_seq(job.seq)
    assert retried is not None
    assert retried.waits_from == await store.oldest_due(NOW + 200) == NOW + 100


async def test_attempts_and_their_output(store: Store) -> None:
    await hired(store)
    [job] = await store.enqueue([spec(max_retries=3, backoff_base=0)], NOW)
    assert await store.attempts(job.seq) == []
    [held] = await claim(store)
    assert await store.attempts(job.seq) == [], "it has not ended"
    one = ending(held, Outcome.FAILED, now=NOW + 1, reason="exit 1", tail=b"out\xff\n")
    await finish(store, "sup", one)
    [held] = await claim(store, now=NOW + 2)
    two = ending(held, Outcome.TIMEOUT, now=NOW + 3, exit_code=None, signal=9, reason="timeout")
    await finish(store, "sup", two)
    assert await store.attempts(job.seq) == [one.attempt, two.attempt]
    assert [attempt.number for attempt in await store.attempts(job.seq)] == [1, 2]
    assert await store.tail(job.seq, 1) == b"out\xff\n"
    assert await store.tail(job.seq, 2) is None, "it wrote nothing"
    assert await store.tail(job.seq, 3) is None
    after = await store.by_seq(job.seq)
    assert after is not None
    assert (after.exit_code, after.last_error) == (137, "timeout"), "128 + 9, as a shell says it"


async def test_an_attempt_may_know_very_little(store: Store) -> None:
    await hired(store)
    [job] = await store.enqueue([spec()], NOW)
    [held] = await claim(store)
    bare = ending(held, Outcome.CRASHED, worker=None, host=None, peak_memory=None, cpu_seconds=None)
    await finish(store, "sup", bare)
    assert await store.attempts(job.seq) == [bare.attempt]


async def test_what_ended_since(store: Store) -> None:
    made = await mixed(store)
    assert sorted(await store.ended_since(NOW - 1, 10)) == [
        (Outcome.COMPLETED, False, 0.0, 0.0),
        (Outcome.FAILED, False, 0.0, 0.0),
        (Outcome.FAILED, True, 0.0, 0.0),
    ]
    assert await store.ended_since(NOW + 0.5, 10) == []
    assert len(await store.ended_since(NOW - 1, 2)) == 2
    await change(store, JobAction.REMOVE, [made[0].seq], NOW, strict=True)
    assert len(await store.ended_since(NOW, 10)) == 2


async def test_a_job_read_twice_is_the_same_value(store: Store) -> None:
    for job in await mixed(store):
        found = await store.by_seq(job.seq)
        assert found == (await store.by_id(job.id))[0]
        assert found is not None
        assert found in await store.scan(Filter(states=(found.state,)), 10)
        # Whole numbers stay what they were: 2.0 is no 2 in what is printed.
        for name in ("run_at", "backoff_base", "timeout_seconds", "created_at", "updated_at"):
            assert type(getattr(found, name)) is float, name
        assert found._replace(state=job.state).command == job.command
