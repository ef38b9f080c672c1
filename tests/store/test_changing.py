"""Conformance: retry, cancel and remove, and the configuration."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from queuectl_core.domain import lifecycle
from queuectl_core.domain.errors import Conflict
from queuectl_core.domain.model import Filter, Job, Outcome, State
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, ending, spec
from .tools import change, claim, finish, hired, real_counts, run

Maker = Callable[[Store], Awaitable[Job]]


async def pending(store: Store) -> Job:
    return (await store.enqueue([spec(run_at=NOW + 60)], NOW))[0]


async def processing(store: Store) -> Job:
    await store.enqueue([spec(priority=5)], NOW)
    return (await claim(store))[0]


async def completed(store: Store) -> Job:
    return await run(store, (await store.enqueue([spec(priority=5)], NOW))[0])


async def failed(store: Store) -> Job:
    [job] = await store.enqueue([spec(priority=5)], NOW)
    return await run(store, job, Outcome.FAILED, reason="exit 1", tail=b"oh\n")


async def dead(store: Store) -> Job:
    [job] = await store.enqueue([spec(priority=5, max_retries=1)], NOW)
    return await run(store, job, Outcome.FAILED, reason="exit 1", tail=b"oh\n")


async def cancelled(store: Store) -> Job:
    job = await pending(store)
    await change(store, JobAction.CANCEL, [job.seq], NOW, strict=True)
    return await again(store, job)


async def held(store: Store) -> Job:
    [job] = await store.enqueue([spec(priority=5, hold=True)], NOW)
    return job


MAKERS: dict[State, Maker] = {
    State.PENDING: pending,
    State.PROCESSING: processing,
    State.COMPLETED: completed,
    State.FAILED: failed,
    State.DEAD: dead,
    State.CANCELLED: cancelled,
    State.WAITING: held,
}
ALLOWED = {
    JobAction.RETRY: lifecycle.RETRYABLE,
    JobAction.CANCEL: lifecycle.CANCELLABLE,
    JobAction.REMOVE: lifecycle.REMOVABLE,
    JobAction.HOLD: lifecycle.HOLDABLE,
    JobAction.RELEASE: lifecycle.RELEASABLE,
}


async def again(store: Store, job: Job) -> Job:
    found = await store.by_seq(job.seq)
    assert found is not None
    return found


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("action", list(JobAction))
async def test_an_action_is_done_in_exactly_the_states_that_allow_it(
    store: Store, action: JobAction, state: State
) -> None:
    await hired(store)
    job = await MAKERS[state](store)
    assert job.state is state
    allowed = state in ALLOWED[action]
    assert await change(store, action, [job.seq], NOW + 1, strict=False) == allowed
    after = await store.by_seq(job.seq)
    if not allowed:
        assert after == job
    elif action is JobAction.REMOVE:
        assert after is None
    elif state is State.PROCESSING:
        assert after is not None
        assert (after.state, after.cancel_requested) == (state, True), "its worker ends it"
    else:
        assert after is not None
        assert (
            after.state
            is {
                JobAction.RETRY: State.PENDING,
                JobAction.CANCEL: State.CANCELLED,
                JobAction.HOLD: State.WAITING,
                JobAction.RELEASE: State.PENDING,
            }[action]
        )
        assert after.updated_at == NOW + 1
    assert await store.counts() == await real_counts(store)


@pytest.mark.parametrize("action", list(JobAction))
async def test_strict_is_all_or_nothing(store: Store, action: JobAction) -> None:
    await hired(store)
    makers = {JobAction.CANCEL: pending, JobAction.RELEASE: held}
    good = await makers.get(action, failed)(store)
    bad = await (processing(store) if action is not JobAction.CANCEL else completed(store))
    before = await store.scan(Filter(), 10)
    for refused in ([good.seq, bad.seq], [good.seq, 12345]):
        with pytest.raises(Conflict, match=f"no {action} was done"):
            await change(store, action, refused, NOW + 1, strict=True)
        assert await store.scan(Filter(), 10) == before
    assert await change(store, action, [good.seq, bad.seq, 12345], NOW + 1, strict=False) == 1


async def test_changing_nothing(store: Store) -> None:
    assert await change(store, JobAction.RETRY, [], NOW, strict=True) == 0
    assert await change(store, JobAction.REMOVE, [1, 2, 3], NOW, strict=False) == 0


@pytest.mark.parametrize("state", lifecycle.RETRYABLE)
async def test_a_retry_starts_at_nought_and_keeps_the_history(store: Store, state: State) -> None:
    await hired(store)
    job = await MAKERS[state](store)
    before = await store.attempts(job.seq)
    await change(store, JobAction.RETRY, [job.seq], NOW + 100, strict=True)
    after = await again(store, job)
    assert (after.state, after.attempts, after.crashes) == (State.PENDING, 0, 0)
    assert after.run_at == NOW + 100, "now, whatever it waited for"
    assert after.runs == job.runs
    assert await store.attempts(job.seq) == before
    for attempt in before:
        tail = b"oh\n" if attempt.outcome is Outcome.FAILED else None
        assert await store.tail(job.seq, attempt.number) == tail
    [held] = await claim(store, now=NOW + 100)
    assert (held.seq, held.runs) == (job.seq, job.runs + 1), "attempts are numbered on"


@pytest.mark.parametrize("how", ["retry", "another command"])
async def test_a_job_that_crashed_starts_at_nought_too(store: Store, how: str) -> None:
    """Otherwise its next crash would be the last."""
    await hired(store)
    await store.enqueue([spec(id="a")], NOW)
    for _ in range(3):
        [held] = await claim(store)
        await finish(store, "sup", ending(held, Outcome.CRASHED, reason="killed"))
    job = await again(store, held)
    assert (job.state, job.crashes) == (State.DEAD, 3)
    if how == "retry":
        await change(store, JobAction.RETRY, [job.seq], NOW, strict=True)
    else:
        await store.amend(job, "false", NOW)
    assert (await again(store, job)).crashes == 0
    [held] = await claim(store)
    await finish(store, "sup", ending(held, Outcome.CRASHED, reason="killed"))
    job = await again(store, job)
    assert (job.state, job.crashes) == (State.PENDING, 1)


async def test_a_removed_job_leaves_nothing(store: Store) -> None:
    await hired(store)
    job = await failed(store)
    await change(store, JobAction.REMOVE, [job.seq], NOW, strict=True)
    assert await store.attempts(job.seq) == []
    assert await store.tail(job.seq, 1) is None
    assert await store.ended_since(0.0, 10) == []
    assert await store.counts() == {}
    [other] = await store.enqueue([spec(id=job.id)], NOW)
    assert other.seq > job.seq, "a key is never used again: its output files carry it"


async def test_a_cancelled_job_is_not_claimed(store: Store) -> None:
    await hired(store)
    made = await store.enqueue([spec(id="a"), spec(id="b")], NOW)
    await change(store, JobAction.CANCEL, [made[0].seq], NOW, strict=True)
    assert [job.id for job in await claim(store, count=5)] == ["b"]
    after = await again(store, made[0])
    assert (after.finished_at, after.attempts) == (NOW, 0)


async def test_cancelling_a_running_job_is_an_order_until_it_ends(store: Store) -> None:
    await hired(store)
    job = await processing(store)
    await change(store, JobAction.CANCEL, [job.seq], NOW, strict=True)
    assert (await store.commands("sup")).cancels == {job.seq}
    await finish(store, "sup", ending(job, Outcome.CANCELLED, reason="cancelled"))
    after = await again(store, job)
    assert (after.state, after.cancel_requested) == (State.CANCELLED, False)
    assert (await store.commands("sup")).cancels == frozenset()
    await change(store, JobAction.RETRY, [job.seq], NOW, strict=True)
    [held] = await claim(store)
    assert not held.cancel_requested
    assert (await store.commands("sup")).cancels == frozenset()


async def test_configuration(store: Store, other: Store) -> None:
    assert await store.config() == {}
    await store.set_config("lease", "20")
    await store.set_config("shell", "/bin/bash")
    assert await other.config() == {"lease": "20", "shell": "/bin/bash"}
    await other.set_config("lease", "25")
    await other.set_config("shell", None)
    await other.set_config("timeout", None)
    assert await store.config() == {"lease": "25"}
