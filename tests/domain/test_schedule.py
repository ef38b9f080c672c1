"""The rules of schedules: which times are enqueued, and what happens while a run has not ended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.model import State
from queuectl_core.domain.schedule import (
    COUNTED,
    LATE,
    Plan,
    Schedule,
    Step,
    check_name,
    counted_from,
    due_time,
    format_every,
    judge,
    next_time,
    parse_template,
    plan,
    run_id,
    smallest_gap,
)
from queuectl_core.domain.times import parse_duration

from ..store.tools import never_there
from ..support import NOW, defaults


def schedule(**given: Any) -> Schedule:
    values: dict[str, Any] = {
        **{"name": "s", "cron": None, "every": 60.0, "tz": "UTC", "missed": "once"},
        **{"missed_within": 86400.0, "overlap": "skip", "jitter": 0.0, "job": {"command": "true"}},
        **{"since": NOW, "next_at": None, "due_at": None},
    }
    made = Schedule(**values | given)
    return made if made.next_at is not None else counted_from(made, NOW)


def test_intervals_are_counted_from_the_start() -> None:
    one = schedule(every=90.0)
    assert (one.since, one.next_at) == (NOW, NOW + 90)
    assert next_time(one, NOW + 90) == NOW + 180
    assert next_time(one, NOW + 89.999) == NOW + 90
    assert next_time(one, NOW + 90 * 1_000_000 + 1) == NOW + 90 * 1_000_001


@settings(max_examples=200)
@given(
    st.floats(1, 1e6),
    st.floats(0, 1e8),
    st.integers(1, 50),
)
def test_intervals_never_stand_still_or_share_a_second(every: float, gone: float, n: int) -> None:
    one = schedule(every=every)
    at = NOW + gone
    seen = []
    for _ in range(min(n, 10)):
        following = next_time(one, at)
        if following is None:
            break
        assert following > at
        at = following
        seen.append(run_id("s", at))
    assert len(set(seen)) == len(seen)


def test_ids_have_seconds_only_if_there_are_some() -> None:
    assert run_id("a.b", 1764149400.0) == "a.b@2025-11-26T09:30Z"
    assert run_id("a.b", 1764149405.5) == "a.b@2025-11-26T09:30:05Z"


def test_jitter_is_the_same_for_everybody_and_spread() -> None:
    one = schedule(jitter=50.0)
    times = [NOW + 60 * n for n in range(1, 200)]
    late = [(due_time(one, at) or 0) - at for at in times]
    assert late == [(due_time(one, at) or 0) - at for at in times]
    assert all(0 <= each < 50 for each in late)
    assert 20 < sum(late) / len(late) < 30
    assert due_time(one._replace(name="t"), NOW) != due_time(one, NOW)


@pytest.mark.parametrize("missed", ["once", "skip", "all"])
def test_jitter_makes_no_time_missed(missed: str) -> None:
    """Also where the next one is due a moment later, and the supervisor is a little late."""
    one = schedule(jitter=59.0, missed=missed)
    now, done = NOW, []
    while len(done) < 300:
        now = (one.due_at or 0) + 3
        found = plan(one, now)
        assert found.missed == 0
        done += found.times
        one = one._replace(next_at=found.next_at, due_at=found.due_at)
    assert done == [NOW + 60 * n for n in range(1, len(done) + 1)]


def test_the_smallest_gap() -> None:
    for cron, gap in (("*/7 * * * *", 240), ("@daily", 86400), ("* * * * * *", 1)):
        assert smallest_gap(schedule(every=None, cron=cron), NOW) == gap
    assert smallest_gap(schedule(every=None, cron="0 0 30 2 *"), NOW) is None


def test_a_time_in_time_is_enqueued() -> None:
    for missed in ("once", "skip", "all"):
        found = plan(schedule(missed=missed), NOW + 60.5)
        assert found == Plan((NOW + 60,), 0, True, None, None, NOW + 120, NOW + 120)
        found = plan(schedule(missed=missed, every=600.0), NOW + 600 + LATE)
        assert (found.times, found.missed) == ((NOW + 600,), 0)


def test_missed_times() -> None:
    late = NOW + 600 + LATE + 1
    one = schedule(every=600.0)
    assert plan(one, late).times == (NOW + 600,)
    assert plan(one, late).missed == 0
    found = plan(one._replace(missed="skip"), late)
    assert found[:5] == ((), 1, True, NOW + 600, NOW + 600)
    found = plan(one._replace(missed="all"), late)
    assert (found.times, found.catches_up) == ((NOW + 600,), True)


def test_a_host_that_was_suspended_for_two_days() -> None:
    now = NOW + 2 * 86400 + 10
    one = schedule(every=3600.0)
    once = plan(one, now)
    assert once[:5] == ((NOW + 172800,), 47, True, NOW + 3600, NOW + 172800 - 3600)
    assert once.next_at == NOW + 172800 + 3600
    # The last time is not late, so it is not missed.
    assert plan(one._replace(missed="skip"), now).times == (NOW + 172800,)
    skip = plan(one._replace(missed="skip"), now + 600)
    assert (skip.times, skip.missed) == ((), 48)
    every = plan(one._replace(missed="all"), now)
    assert every.times == tuple(NOW + 86400 + 3600 * n for n in range(1, 25))
    assert (every.missed, every.last_missed) == (24, NOW + 86400)
    assert every.catches_up
    short = plan(one._replace(missed="all", missed_within=7200.0), now)
    assert short.times == (NOW + 172800 - 3600, NOW + 172800)
    assert plan(one._replace(missed_within=0.0), now + 600).times == ()


def test_missed_times_are_too_old_after_less_than_a_minute_too() -> None:
    seconds = schedule(every=1.0, missed="all", missed_within=10.0)
    found = plan(seconds, NOW + 30.5)
    assert found.times == tuple(NOW + n for n in range(21, 31))
    assert (found.missed, found.complete, found.last_missed) == (20, True, NOW + 20)
    # A run that is a minute late, and before the next one, was not missed.
    found = plan(schedule(every=3600.0, missed="all", missed_within=10.0), NOW + 3630)
    assert (found.times, found.missed) == ((NOW + 3600,), 0)
    found = plan(seconds, NOW + 30 * 86400 + 0.5)
    assert found.times == tuple(NOW + 30 * 86400 - n for n in range(9, -1, -1))
    assert not found.complete


def test_very_many_missed_times_are_not_counted_to_the_end() -> None:
    now = NOW + 30 * 86400 + 0.5
    one = schedule(every=1.0)
    found = plan(one, now)
    assert (found.times, found.next_at) == ((NOW + 30 * 86400,), NOW + 30 * 86400 + 1)
    assert (found.missed, found.complete) == (COUNTED - 1, False)
    every = plan(one._replace(missed="all"), now, limit=10)
    assert len(every.times) == 10
    assert every.times[0] >= now - 86400
    assert not every.complete
    minutes = plan(schedule(every=None, cron="* * * * *"), NOW + 365 * 86400)
    assert minutes.times == ((NOW + 365 * 86400) // 60 * 60,)


def test_all_goes_on_where_it_stopped() -> None:
    one, now, seen = schedule(missed="all"), NOW + 3600, []
    while (one.due_at or now) < now:
        found = plan(one, now, limit=7)
        seen += found.times
        one = one._replace(next_at=found.next_at, due_at=found.due_at)
    assert seen[:2] == [NOW + 60, NOW + 120]
    assert len(seen) == len(set(seen)) == 60 or len(seen) == 59


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([1.0, 7.5, 60.0, 3600.0]),
    st.sampled_from(["once", "skip", "all"]),
    st.sampled_from([0.0, 5.0, 600.0, 86400.0]),
    st.sampled_from([0.0, 0.9]),
    st.lists(st.floats(-7200, 40000), min_size=1, max_size=8),
)
def test_no_time_is_enqueued_twice_and_none_is_lost(
    every: float, missed: str, within: float, jitter: float, steps: list[float]
) -> None:
    """Whatever the clock does: each time is enqueued or missed, in order, once."""
    one = schedule(every=every, missed=missed, missed_within=within, jitter=jitter)
    now, done, gone, exact = NOW, [], 0, True
    for step in steps:
        now += step
        while one.due_at is not None and one.due_at <= now:
            found = plan(one, now)
            assert found.next_at is not None
            assert found.next_at > (one.next_at or 0)
            assert all(at <= now for at in found.times)
            done += found.times
            gone += found.missed
            exact = exact and found.complete
            one = one._replace(next_at=found.next_at, due_at=found.due_at)
    assert done == sorted(set(done))
    if exact:
        assert len(done) + gone == round(((one.next_at or 0) - NOW) / every) - 1
    assert (one.due_at or now + 1) > now


def test_counting_anew_never_goes_back() -> None:
    one = schedule(last_at=NOW + 3600, next_at=NOW + 3660)
    again = counted_from(one, NOW)  # the clock was set back by an hour
    assert (again.next_at or 0) > NOW + 3600


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("overlap", ["skip", "queue", "allow", "replace"])
def test_overlap(overlap: str, state: State) -> None:
    previous = never_there(1)._replace(state=state, id="s@1")
    over = state in (State.COMPLETED, State.DEAD, State.CANCELLED)
    step, reason = judge(overlap, previous)
    assert judge(overlap, None) == (Step.RUN, "")
    if over or overlap == "allow":
        wanted = Step.RUN
    elif overlap == "replace":
        wanted = Step.REPLACE
    elif overlap == "queue" and state is not State.WAITING:
        wanted = Step.WAIT
    else:
        wanted = Step.SKIP
    assert step is wanted
    assert bool(reason) == (wanted is Step.SKIP)
    if reason:
        assert "s@1" in reason
    # Missed times that are caught up are all wanted.
    step, _ = judge(overlap, previous, catches_up=True)
    assert step is not Step.SKIP


@pytest.mark.parametrize("name", ["", ".a", "-a", "a b", "a@b", "ä", "a" * 101, "a\n", "../x", 5])
def test_names_that_are_refused(name: Any) -> None:
    with pytest.raises(InvalidInput, match=r"is not allowed"):
        check_name(name)
    assert check_name("a" * 100) == "a" * 100


def test_templates_keep_what_was_given_and_the_directory() -> None:
    found, ignored = parse_template(
        {"command": ("a", "b"), "maxRetries": 5, "timeout": "5m", "state": "dead"}, defaults()
    )
    assert found == {
        **{"command": ["a", "b"], "max_retries": 5, "timeout_seconds": "5m", "cwd": "/place"}
    }
    assert ignored == ["state"]
    found, _ = parse_template(
        {"command": "x", "cwd": "sub", "secrets": {"A": "file:a/../b", "C": "file:/c"}}, defaults()
    )
    assert found["cwd"] == "/place/sub"
    assert found["secrets"] == {"A": "file:/place/b", "C": "file:/c"}  # as for enqueue
    for field, value in (("id", "x"), ("run_at", "+5m"), ("hold", True)):
        with pytest.raises(InvalidInput, match=f"cannot set {field}"):
            parse_template({"command": "x", field: value}, defaults())
    with pytest.raises(InvalidInput, match="unknown field 'comand'"):
        parse_template({"comand": "x"}, defaults())


@given(st.floats(1, 1e7))
def test_intervals_as_text_can_be_read_again(seconds: float) -> None:
    seconds = round(seconds, 3)
    assert parse_duration(format_every(seconds)) == pytest.approx(seconds, rel=1e-9)
