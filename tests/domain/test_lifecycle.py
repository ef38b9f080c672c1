"""The rules of a job's life, as properties."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain import lifecycle
from queuectl_core.domain.claims import Transition
from queuectl_core.domain.config import MAX_BACKOFF_BASE, MAX_RETRIES
from queuectl_core.domain.lifecycle import Policy, backoff, settle
from queuectl_core.domain.model import Outcome, State

from ..support import NOW

bases = st.floats(0, MAX_BACKOFF_BASE)
counts = st.integers(0, MAX_RETRIES)
limits = st.floats(0, 10 * 365 * 86400.0)
policies = st.builds(
    Policy,
    backoff_max=limits,
    backoff_jitter=st.floats(0, 1),
    max_crashes=st.integers(1, 1000),
)
ends: Any = st.fixed_dictionaries(
    {
        "outcome": st.sampled_from(Outcome),
        "reason": st.none() | st.text(),
        "attempts": counts,
        "crashes": counts,
        "max_retries": counts,
        "backoff_base": bases,
        "policy": policies,
        "jitter": st.floats(0, 1),
    }
)


def test_the_waits_of_the_contract() -> None:
    assert [backoff(2.0, n, 3600.0) for n in (1, 2, 3, 4, 11, 12)] == [2, 4, 8, 16, 2048, 3600]
    assert backoff(1.0, 50, 3600.0) == 1
    assert backoff(0.0, 1, 3600.0) == 0
    assert backoff(3600.0, MAX_RETRIES, 3600.0) == 3600


@given(bases, st.integers(1, MAX_RETRIES), limits)
def test_backoff_never_raises_and_stays_within_its_limit(
    base: float, attempts: int, maximum: float
) -> None:
    assert 0 <= backoff(base, attempts, maximum) <= maximum


@given(st.floats(1, MAX_BACKOFF_BASE), st.integers(1, MAX_RETRIES - 1), limits)
def test_backoff_never_shrinks_with_attempts(base: float, attempts: int, maximum: float) -> None:
    assert backoff(base, attempts, maximum) <= backoff(base, attempts + 1, maximum)


def end(values: dict[str, Any]) -> Transition:
    fields = dict(values)
    return settle(fields.pop("outcome"), fields.pop("reason"), now=NOW, **fields)


@given(ends)
def test_counts_never_go_back_and_only_one_moves(values: dict[str, Any]) -> None:
    after = end(values)
    more = after.attempts - values["attempts"]
    crashed = after.crashes - values["crashes"]
    assert (more, crashed) == {
        Outcome.COMPLETED: (1, 0),
        Outcome.FAILED: (1, 0),
        Outcome.TIMEOUT: (1, 0),
        Outcome.CRASHED: (0, 1),
        Outcome.CANCELLED: (0, 0),
        Outcome.INTERRUPTED: (0, 0),
    }[values["outcome"]]
    assert more == (values["outcome"] in lifecycle.COUNTED)


@given(ends)
def test_no_attempt_leaves_a_job_processing(values: dict[str, Any]) -> None:
    after = end(values)
    assert (
        after.state
        in {
            Outcome.COMPLETED: {State.COMPLETED},
            Outcome.FAILED: {State.FAILED, State.DEAD},
            Outcome.TIMEOUT: {State.FAILED, State.DEAD},
            Outcome.CRASHED: {State.PENDING, State.DEAD},
            Outcome.CANCELLED: {State.CANCELLED},
            Outcome.INTERRUPTED: {State.PENDING},
        }[values["outcome"]]
    )


@given(ends)
def test_a_wait_is_set_for_failed_jobs_only_and_is_never_too_long(values: dict[str, Any]) -> None:
    after = end(values)
    assert (after.run_at is not None) == (after.state is State.FAILED)
    if after.run_at is not None:
        assert math.isfinite(after.run_at)
        # Adding to a large number rounds: half a microsecond is all it can be.
        assert NOW <= after.run_at <= NOW + values["policy"].backoff_max + 1e-6


@given(ends)
def test_the_reason_is_kept(values: dict[str, Any]) -> None:
    after = end(values)
    if after.state is State.COMPLETED:
        assert after.last_error is None
    elif values["outcome"] is Outcome.CRASHED and after.state is State.DEAD:
        assert after.last_error is not None
        assert after.last_error.endswith(str(values["reason"]))
    else:
        assert after.last_error == values["reason"]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMEOUT])
@pytest.mark.parametrize(("max_retries", "attempts_until_dead"), [(0, 1), (1, 1), (2, 2), (7, 7)])
def test_dead_exactly_at_max_retries(
    outcome: Outcome, max_retries: int, attempts_until_dead: int
) -> None:
    policy = Policy(backoff_max=3600, backoff_jitter=0, max_crashes=3)
    attempts, waits = 0, []
    while True:
        after = settle(
            outcome,
            "exit 1",
            attempts=attempts,
            crashes=0,
            max_retries=max_retries,
            backoff_base=2.0,
            policy=policy,
            now=NOW,
        )
        attempts = after.attempts
        if after.state is State.DEAD:
            break
        assert after.run_at is not None
        waits.append(after.run_at - NOW)
    assert attempts == attempts_until_dead
    assert waits == [2.0**n for n in range(1, attempts_until_dead)]


def test_dead_at_max_crashes_with_that_reason() -> None:
    policy = Policy(backoff_max=3600, backoff_jitter=0, max_crashes=3)
    states, crashes = [], 0
    for _ in range(3):
        after = settle(
            Outcome.CRASHED,
            "its supervisor died",
            attempts=1,
            crashes=crashes,
            max_retries=2,
            backoff_base=2.0,
            policy=policy,
            now=NOW,
        )
        crashes = after.crashes
        states.append(after.state)
    assert states == [State.PENDING, State.PENDING, State.DEAD]
    assert after.attempts == 1
    assert after.last_error == "crashed 3 times, max-crashes is 3: its supervisor died"


def test_jitter_only_lengthens() -> None:
    policy = Policy(backoff_max=3600, backoff_jitter=0.5, max_crashes=3)

    def wait(jitter: float) -> float:
        after = settle(
            Outcome.FAILED,
            None,
            attempts=0,
            crashes=0,
            max_retries=3,
            backoff_base=100.0,
            policy=policy,
            now=0.0,
            jitter=jitter,
        )
        assert after.run_at is not None
        return after.run_at

    assert [wait(jitter) for jitter in (0.0, 0.5, 1.0)] == [100, 125, 150]


def test_every_state_is_somewhere() -> None:
    everything = set(State)
    assert {*lifecycle.NOT_STARTED, *lifecycle.FINAL, State.PROCESSING} == everything
    assert set(lifecycle.NOT_STARTED) - {State.WAITING} == set(lifecycle.WAITING)
    assert set(lifecycle.HOLDABLE) == set(lifecycle.NOT_STARTED)
    assert set(lifecycle.CANCELLABLE) == everything - set(lifecycle.FINAL)
    assert set(lifecycle.REMOVABLE) == everything - {State.PROCESSING}
    assert set(lifecycle.RETRYABLE) == everything - {
        *(State.PENDING, State.WAITING, State.PROCESSING)
    }
