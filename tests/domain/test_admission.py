"""The rules of admission, which the claim and ``why`` share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain import admission
from queuectl_core.domain.admission import (
    MOST_AHEAD,
    STARTS_KEPT,
    Blocker,
    Candidate,
    Facts,
    QueueFacts,
    Reason,
    Room,
    Start,
    Verdict,
    Why,
    blockers,
    cycle,
    first_reason,
    heads,
    kept_start,
    key_room,
    rate_window,
    reasons,
    room,
    verdict,
)
from queuectl_core.domain.errors import InvalidInput
from queuectl_core.domain.figures import WaitGroup
from queuectl_core.domain.jobspec import parse_changes, parse_job
from queuectl_core.domain.lifecycle import FINAL, NOT_STARTED
from queuectl_core.domain.model import (
    Dependency,
    Job,
    QueueSettings,
    Rate,
    State,
    format_rate,
)
from queuectl_core.domain.queues import MAX_LIMIT, parse_settings

from ..support import NOW, defaults

Q = QueueSettings("q")
limits = st.none() | st.integers(0, 5)


def job(state: State = State.PENDING, **fields: Any) -> Job:
    """A job of queue ``q`` that is due."""
    values: dict[str, Any] = {
        "seq": 1,
        "id": "j",
        "command": "true",
        "max_retries": 3,
        "backoff_base": 2.0,
        "priority": 0,
        "run_at": NOW,
        "timeout_seconds": 0.0,
        "cwd": "/",
        "env": {},
        "queue": "q",
        "attempts": 0,
        "crashes": 0,
        "runs": 0,
        "created_at": NOW - 9,
        "updated_at": NOW - 3,
        "started_at": None,
        "finished_at": None,
        "exit_code": None,
        "last_error": None,
        "worker": None,
    }
    return Job(state=state, **(values | fields))


def parent(kind: str = "after", state: State | None = State.PENDING, **fields: Any) -> Dependency:
    values: dict[str, Any] = {
        "child": "j",
        "child_seq": 1,
        "child_state": State.WAITING,
        "parent": "p",
        "parent_seq": 2,
        "waived": False,
    }
    return Dependency(kind=kind, parent_state=state, **(values | fields))


# -- room -------------------------------------------------------------------------------


@given(limits, limits, st.integers(0, 8), st.integers(0, 8))
def test_there_is_room_up_to_both_limits(
    limit: int | None, per_host: int | None, running: int, here: int
) -> None:
    found = room(Q._replace(limit=limit, per_host=per_host), running, here, (), NOW)
    if limit is None and per_host is None:
        assert found == Room(None)
        return
    assert found.free is not None
    assert found.free >= 0
    assert found.next_at is None
    assert not found.by_rate
    # As many as are free may start, and one more would exceed a limit.
    for number, fits in ((found.free, True), (found.free + 1, False)):
        inside = (limit is None or running + number <= limit) and (
            per_host is None or here + number <= per_host
        )
        assert inside == fits or (not found.free and number == 0)


@given(limits, st.floats(0, 100), st.none() | st.floats(1, 50))
def test_a_paused_queue_has_no_room(limit: int | None, after: float, length: float | None) -> None:
    until = None if length is None else NOW + length
    queue = Q._replace(limit=limit, paused_at=NOW, paused_until=until)
    found = room(queue, 0, 0, (), NOW + after)
    if until is None or NOW + after < until:
        assert found == Room(0, until)
    else:
        assert found == Room(limit)


rates = st.builds(Rate, st.integers(1, 6), st.sampled_from([1.0, 2.5, 60.0, 3600.0]))


@given(
    rates,
    st.lists(st.floats(0, 2, allow_nan=False), max_size=60),
    st.lists(st.integers(0, 4), min_size=60, max_size=60),
)
def test_no_window_of_the_period_has_more_starts_than_the_rate(
    rate: Rate, steps: Sequence[float], wanted: Sequence[int]
) -> None:
    """Whatever the times at which a queue is asked, and however many starts are wanted."""
    queue, now = Q._replace(rate=rate), NOW
    starts: list[Start] = []
    for step, want in zip(steps, wanted, strict=False):
        now += step * rate.seconds
        found = room(queue, 0, 0, starts, now)
        assert found.free is not None
        starts += [Start(now)] * min(want, found.free)
        if not found.free:
            # It says when there will be room, and then there is.
            assert found.next_at is not None
            assert found.next_at > now
            assert room(queue, 0, 0, starts, found.next_at).free
    for first, beyond in zip(starts, starts[rate.starts :], strict=False):
        assert beyond.at - first.at >= rate.seconds


delays = st.tuples(st.floats(0, 5), st.floats(0, 5))


@given(rates, st.lists(delays, min_size=1, max_size=40))
def test_attempts_that_start_late_keep_the_rate_too(
    rate: Rate, delays: Sequence[tuple[float, float]]
) -> None:
    """An attempt starts some time after it was claimed, and the store hears of it later still."""
    queue, now = Q._replace(rate=rate), NOW
    all_starts: list[tuple[float, float, float]] = []
    """When each was claimed, when it started, and when this was known."""
    for late, later in delays:
        while True:
            seen = [
                Start(began) if known <= now else Start(claimed, known=False)
                for claimed, began, known in all_starts
            ]
            found = room(queue, 0, 0, sorted(seen), now)
            if found.free:
                break
            assert found.next_at is not None
            assert found.next_at > now
            now = min([found.next_at, *(known for *_, known in all_starts if known > now)])
        all_starts.append((now, now + late, now + late + later))
    starts = sorted(began for _, began, _ in all_starts)
    for first, beyond in zip(starts, starts[rate.starts :], strict=False):
        assert beyond - first >= rate.seconds - 1e-6


@given(st.integers(1, 10**6), st.floats(1, 1e6), st.floats(1e9, 2e9))
def test_starts_are_kept_under_few_times_and_never_under_an_earlier_one(
    count: int, seconds: float, at: float
) -> None:
    rate = Rate(count, seconds)
    kept = kept_start(rate, at)
    assert at - 1e-6 <= kept <= at + seconds / STARTS_KEPT + 1e-6
    if count <= STARTS_KEPT:
        assert kept == at


@given(rates, st.floats(0, 1e9))
def test_a_clock_that_was_set_back_blocks_for_a_few_periods_at_most(
    rate: Rate, ahead: float
) -> None:
    queue = Q._replace(rate=rate)
    starts = [Start(NOW + ahead)] * rate.starts
    now, last = NOW, NOW + 3 * rate_window(queue)
    while not (found := room(queue, 0, 0, starts, now)).free:
        assert found.next_at is not None
        assert found.next_at > now
        now = found.next_at
        assert now <= last


def test_what_limits_is_said() -> None:
    queue = Q._replace(limit=2, rate=Rate(3, 60.0))
    one = Start(NOW)
    assert room(queue, 2, 0, [one], NOW) == Room(0)
    assert room(queue, 0, 0, [one], NOW) == Room(2)
    assert room(queue, 0, 0, [one, one], NOW) == Room(1, None, by_rate=True)
    assert room(queue, 0, 0, [Start(NOW, 2)], NOW) == Room(1, None, by_rate=True)
    window = rate_window(queue)
    assert room(queue, 0, 0, [one] * 3, NOW + 1) == Room(0, NOW + window, by_rate=True)
    assert room(queue, 0, 0, [one] * 3, NOW + window).free == 2


def test_a_start_of_unknown_time_counts_until_it_is_known() -> None:
    queue = Q._replace(rate=Rate(1, 60.0))
    unknown, window = [Start(NOW, known=False)], rate_window(queue)
    assert room(queue, 0, 0, unknown, NOW + 1) == Room(0, NOW + window, by_rate=True)
    later = NOW + 9999
    assert room(queue, 0, 0, unknown, later) == Room(0, later + window, by_rate=True)


def test_the_window_of_a_rate_is_longer_than_its_period() -> None:
    assert 1.0 < rate_window(Q._replace(rate=Rate(1, 1.0))) < 1.1
    assert 3600.0 < rate_window(Q._replace(rate=Rate(1, 3600.0))) < 3600.1


@given(st.none() | st.integers(1, 5), st.integers(0, 8))
def test_keys_have_room_for_one_or_as_many_as_the_queue_says(
    per_key: int | None, running: int
) -> None:
    free = key_room(Q._replace(per_key=per_key), running)
    assert free == max(0, (1 if per_key is None else per_key) - running)


# -- heads ------------------------------------------------------------------------------

candidates = st.lists(
    st.builds(Candidate, st.integers(1, 40), st.integers(-2, 2), st.sampled_from([NOW, NOW + 1])),
    unique_by=lambda one: one.seq,
    max_size=20,
)


@given(candidates, st.sets(st.integers(1, 40)), st.integers(0, 5))
def test_the_first_jobs_of_a_key_are_visible(
    jobs: list[Candidate], shown: set[int], count: int
) -> None:
    """Whatever is visible now, and although only the first ones of the rest are read."""
    visible = [one for one in jobs if one.seq in shown]
    rest = sorted((one for one in jobs if one.seq not in shown), key=lambda one: one.place)
    show, hide = heads(visible, rest[:count], count)
    best = sorted(jobs, key=lambda one: one.place)[:count]
    assert (shown & {one.seq for one in jobs} | show) - hide == {one.seq for one in best}
    assert show <= {one.seq for one in rest}
    assert hide <= {one.seq for one in visible}


def test_jobs_start_by_priority_then_time_then_arrival() -> None:
    jobs = [
        Candidate(4, 1, NOW + 5),
        Candidate(3, 0, NOW),
        Candidate(5, 0, NOW),
        Candidate(1, 0, NOW + 1),
        Candidate(2, -1, NOW - 9),
    ]
    for first, second in pairwise(jobs):
        assert first.place < second.place


# -- dependencies -----------------------------------------------------------------------

MET, UNMET, IMPOSSIBLE = Verdict.MET, Verdict.UNMET, Verdict.IMPOSSIBLE


@pytest.mark.parametrize(
    ("kind", "completed", "dead", "cancelled"),
    [
        ("after", MET, IMPOSSIBLE, IMPOSSIBLE),
        ("after_any", MET, MET, MET),
        ("after_failed", IMPOSSIBLE, MET, MET),
    ],
)
def test_what_the_state_of_a_parent_means(
    kind: str, completed: Verdict, dead: Verdict, cancelled: Verdict
) -> None:
    assert verdict(kind, State.COMPLETED) is completed
    assert verdict(kind, State.DEAD) is dead
    assert verdict(kind, State.CANCELLED) is cancelled
    for state in set(State) - set(FINAL):
        assert verdict(kind, state) is UNMET
    assert verdict(kind, None) is MET
    for state in State:
        assert verdict(kind, state, waived=True) is MET


@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12), max_size=4), max_size=12))
def test_a_circle_is_found_if_there_is_one(edges: dict[int, list[int]]) -> None:
    circle = cycle(edges)
    if circle:
        assert circle[0] == circle[-1]
        # graphlib lists them so that each is a parent of the next.
        for node, child in pairwise(circle):
            assert node in edges[child]
        return
    left = {node: set(parents) for node, parents in edges.items()}
    while left:  # without a circle, some node has no parent that is left
        free = [node for node, parents in left.items() if not parents & left.keys()]
        assert free
        for node in free:
            del left[node]


def test_a_job_that_waits_for_itself_is_a_circle() -> None:
    assert cycle({1: [1]}) == [1, 1]
    assert cycle({1: [2], 2: [3]}) == []


# -- reasons ----------------------------------------------------------------------------

IDLE = QueueFacts(Q, workers=1, idle=1)


def facts(queue: QueueFacts = IDLE, **fields: Any) -> Facts:
    return Facts(NOW, queue, **fields)


def test_a_job_that_nothing_blocks_is_ready() -> None:
    assert blockers(job(), facts()) == []
    assert Why(job(), ()).ready
    assert not Why(job(State.COMPLETED), ()).ready
    assert not Why(job(State.PROCESSING), ()).ready
    assert not Why(job(), (Blocker(Reason.ALL_BUSY, ""),)).ready


BUSY = QueueFacts(
    QueueSettings(
        "q", limit=2, per_host=1, per_key=1, rate=Rate(1, 60.0), paused_at=NOW - 5, paused_by="me"
    ),
    running=2,
    running_ids=("a", "b"),
    hosts={"h": 1},
    rate_next=NOW + 9,
    workers=2,
    idle=0,
)
EVERY_REASON = [
    *(Reason.HELD, Reason.WAITING_FOR, Reason.NOT_DUE, Reason.QUEUE_PAUSED, Reason.QUEUE_LIMIT),
    *(Reason.HOST_LIMIT, Reason.KEY_LIMIT, Reason.RATE_LIMIT, Reason.ALL_BUSY),
]


def test_every_reason_is_named_in_order() -> None:
    blocked = job(State.WAITING, key="k", run_at=NOW + 5, held_at=NOW - 2, held_by="me@here")
    known = facts(BUSY, key_running=("a",), parents=(parent(),))
    assert reasons(blocked, known) == EVERY_REASON
    assert [one.reason for one in blockers(blocked, known)] == EVERY_REASON


@given(
    st.sampled_from(NOT_STARTED),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.builds(
        QueueSettings,
        st.just("q"),
        limit=limits,
        per_host=limits,
        per_key=st.none() | st.integers(1, 3),
        rate=st.none() | rates,
        paused_at=st.sampled_from([None, NOW - 5]),
        paused_until=st.sampled_from([None, NOW - 1, NOW + 5]),
    ),
    st.integers(0, 5),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_a_job_is_ready_only_if_the_claim_would_take_it(
    state: State,
    held: bool,
    later: bool,
    keyed: bool,
    settings: QueueSettings,
    running: int,
    key_running: int,
    workers: int,
    idle: int,
) -> None:
    """``why`` and the claim agree: a reason of the queue exactly if there is no room."""
    idle = min(idle, workers)
    blocked = job(
        state,
        key="k" if keyed else None,
        run_at=NOW + 5 if later else NOW,
        held_at=NOW if held and state is State.WAITING else None,
    )
    if not workers:  # without a host there is no limit of a host
        settings = settings._replace(per_host=None)
    hosts = {"h": running} if workers else {}
    queue = QueueFacts(settings, running, (), hosts, None, workers, idle)
    found = set(reasons(blocked, facts(queue, key_running=("x",) * key_running)))
    free = room(settings._replace(rate=None), running, running if workers else 0, (), NOW).free
    by_queue = {Reason.QUEUE_PAUSED, Reason.QUEUE_LIMIT, Reason.HOST_LIMIT}
    assert bool(found & by_queue) == (free == 0)
    assert (Reason.KEY_LIMIT in found) == (keyed and not key_room(settings, key_running))
    assert (Reason.NOT_DUE in found) == (later and state is not State.FAILED)
    assert (Reason.BACKOFF in found) == (later and state is State.FAILED)
    assert (Reason.NO_WORKER in found) == (not workers)
    assert (Reason.ALL_BUSY in found) == (bool(workers) and not idle)
    waits = {Reason.HELD, Reason.WAITING_FOR}
    assert bool(found & waits) == (state is State.WAITING)


@given(st.sampled_from(NOT_STARTED), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2))
def test_a_group_has_the_first_reason_of_its_jobs(
    state: State, later: bool, held: bool, key_full: bool, idle: int
) -> None:
    held = held and state is State.WAITING
    queue = QueueFacts(Q._replace(limit=1), idle % 2, workers=1, idle=idle)
    one = job(
        state, key="k", run_at=NOW + later, held_at=NOW if held else None, parents={"after": ("p",)}
    )
    known = facts(queue, key_running=("x",) * key_full)
    found = reasons(one, known)
    group = WaitGroup("q", state, later, held, key_full, 7)
    assert first_reason(group, queue, NOW) == (found[0] if found else None)


def test_a_job_that_runs_or_has_ended_has_no_reason() -> None:
    for state in (*FINAL, State.PROCESSING):
        assert reasons(job(state, run_at=NOW + 5, key="k"), facts(BUSY)) == []
    assert reasons(job(State.PROCESSING), facts(silent_until=NOW + 9)) == [Reason.UNCERTAIN]
    assert reasons(job(State.DEAD), facts(silent_until=NOW + 9)) == []


def test_a_parent_that_cannot_be_waited_for_is_not_waited_for() -> None:
    held = job(State.WAITING, cause="p", on_parent_failure="hold")
    known = facts(parents=(parent("after", State.DEAD),))
    assert reasons(held, known) == [Reason.HELD]
    more = facts(parents=(parent("after", State.DEAD), parent("after", State.PROCESSING)))
    assert reasons(held, more) == [Reason.HELD, Reason.WAITING_FOR]


# -- the details ------------------------------------------------------------------------


def only(found: list[Blocker]) -> Blocker:
    [one] = found
    return one


def test_who_holds_it_and_since_when() -> None:
    one = only(blockers(job(State.WAITING, held_at=NOW - 2, held_by="ann@web"), facts()))
    assert one == Blocker(Reason.HELD, "by ann@web", NOW - 2, None, ("release", "j"))
    one = only(blockers(job(State.WAITING, cause="p"), facts(parents=())))
    assert one.detail == "it cannot run because of how its parent p ended"
    assert (one.since, one.command) == (NOW - 3, ("release", "j"))


def test_which_parents_it_waits_for() -> None:
    waits = job(State.WAITING, parents={"after": ("p",)})
    one = only(blockers(waits, facts(parents=(parent(state=State.FAILED),))))
    assert one == Blocker(Reason.WAITING_FOR, "p (failed) to complete", NOW - 9)
    running = parent("after_any", State.PROCESSING)
    one = only(blockers(waits, facts(parents=(running,))))
    assert (one.detail, one.command) == ("p (processing) to end", None)
    one = only(blockers(waits, facts(parents=(parent("after_failed"),))))
    assert one.detail == "p (pending) to fail"
    many = tuple(parent(parent=f"p{n}") for n in range(7))
    met = parent(state=State.COMPLETED, parent="done")
    one = only(blockers(waits, facts(parents=(met, *many))))
    shown = ", ".join(f"p{n} (pending)" for n in range(5))
    assert one.detail == f"{shown} and 2 more to complete"


def test_when_it_is_due() -> None:
    one = only(blockers(job(run_at=NOW + 5), facts()))
    assert (one.until, one.command) == (NOW + 5, ("edit", "j", "--run-at", "now"))
    failed = job(State.FAILED, run_at=NOW + 5, attempts=1, finished_at=NOW - 1)
    one = only(blockers(failed, facts()))
    wanted = Blocker(Reason.BACKOFF, "attempt 1 of 3 failed", NOW - 1, NOW + 5, ("retry", "j"))
    assert one == wanted


def test_what_the_queue_lacks() -> None:
    found = {one.reason: one for one in blockers(job(key="k"), facts(BUSY, key_running=("a",)))}
    one = found[Reason.QUEUE_PAUSED]
    assert (one.detail, one.since) == ("queue q was paused by me", NOW - 5)
    assert one.command == ("queue", "resume", "q")
    one = found[Reason.QUEUE_LIMIT]
    assert one.detail == "2 of 2 run in queue q: a, b"
    assert one.command == ("queue", "set", "q", "--limit", "3")
    one = found[Reason.HOST_LIMIT]
    assert one.detail == "per-host is 1 in queue q: 1 on h run"
    assert one.command == ("queue", "set", "q", "--per-host", "2")
    one = found[Reason.KEY_LIMIT]
    assert one.detail == "1 of 1 run with key k: a"
    assert one.command == ("queue", "set", "q", "--per-key", "2")
    one = found[Reason.RATE_LIMIT]
    assert (one.detail, one.until) == ("the rate of queue q is 1/1m", NOW + 9)
    assert one.command == ("queue", "set", "q", "--rate", "none")
    one = found[Reason.ALL_BUSY]
    assert one.detail == "all 2 workers are busy; 0 jobs ahead of it"


@pytest.mark.parametrize(
    ("workers", "ahead", "detail"),
    [
        (1, 1, "the only worker is busy; 1 job ahead of it"),
        (1200, 4, "all 1,200 workers are busy; 4 jobs ahead of it"),
        (2, MOST_AHEAD, "all 2 workers are busy; 1,000+ jobs ahead of it"),
    ],
)
def test_how_many_are_ahead(workers: int, ahead: int, detail: str) -> None:
    one = only(blockers(job(), facts(QueueFacts(Q, workers=workers), ahead=ahead)))
    assert one.detail == detail
    assert one.command == ("worker", "start", "--detach", "--queue", "q")


def test_no_worker() -> None:
    one = only(blockers(job(), facts(QueueFacts(Q))))
    assert (one.reason, one.detail) == (Reason.NO_WORKER, "no live worker serves queue q")


def test_a_host_with_room_is_enough() -> None:
    queue = QueueFacts(Q._replace(per_host=1), hosts={"full": 1, "free": 0}, workers=2, idle=1)
    assert blockers(job(), facts(queue)) == []


def test_the_public_json() -> None:
    one = Blocker(Reason.HELD, "by ann", NOW, None, ("release", "j"))
    assert one.to_json("queuectl release j") == {
        "reason": "Held",
        "detail": "by ann",
        "since": "2026-09-21T14:13:20.000Z",
        "until": None,
        "command": "queuectl release j",
    }


def test_each_reason_has_its_details() -> None:
    assert list(admission._DETAILS) == list(Reason)


# -- settings of queues -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"limit": 4}, {"limit": 4}),
        ({"limit": "4"}, {"limit": 4}),
        ({"limit": " 0 "}, {"limit": 0}),
        ({"per-host": "none"}, {"per_host": None}),
        ({"per_host": None, "per-key": 2}, {"per_host": None, "per_key": 2}),
        ({"limit": "None"}, {"limit": None}),
        ({"rate": "60/1m"}, {"rate": Rate(60, 60.0)}),
        ({"rate": "60/m"}, {"rate": Rate(60, 60.0)}),
        ({"rate": " 5 / 90s "}, {"rate": Rate(5, 90.0)}),
        ({"rate": "1/1h30m"}, {"rate": Rate(1, 5400.0)}),
        ({"rate": "none"}, {"rate": None}),
        ({"limit": MAX_LIMIT}, {"limit": MAX_LIMIT}),
        ({}, {}),
    ],
)
def test_settings_are_read(given: dict[str, Any], found: dict[str, Any]) -> None:
    assert parse_settings(given) == found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limit": -1}, "limit must be a whole number from 0"),
        ({"per_key": 0}, "per-key must be a whole number from 1"),
        ({"per-host": "many"}, "not 'many'"),
        ({"limit": True}, "not 'True'"),
        ({"limit": 1.5}, "not '1.5'"),
        ({"limit": MAX_LIMIT + 1}, "1,000,000"),
        ({"limit": "9" * 5000}, "1,000,000"),
        ({"limit": "٣"}, "limit must be"),
        ({"rate": 60}, "is not a rate"),
        ({"rate": "60"}, "is not a rate"),
        ({"rate": "/1m"}, "is not a rate"),
        ({"rate": "x/1m"}, "is not a rate"),
        ({"rate": "5/"}, "is not a rate"),
        ({"rate": "5/soon"}, "is not a rate"),
        ({"rate": "0/1m"}, "out of range"),
        ({"rate": "5/0s"}, "out of range"),
        ({"rate": f"{'9' * 5000}/1m"}, "out of range"),
        ({"limits": 1}, "unknown setting 'limits'"),
        ({"\x1b[31mred": 1}, "unknown setting"),
    ],
)
def test_bad_settings_are_refused_in_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_settings(given)
    text = f"{caught.value.message} {caught.value.hint}"
    assert said in text
    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) < 250


@given(st.text(max_size=30) | st.integers() | st.floats() | st.none())
def test_a_setting_is_read_or_refused(value: Any) -> None:
    for field in ("limit", "per_host", "per_key", "rate"):
        try:
            found = parse_settings({field: value})
        except InvalidInput:
            continue
        assert list(found) == [field]


@given(rates)
def test_a_rate_is_shown_as_it_is_read(rate: Rate) -> None:
    assert parse_settings({"rate": format_rate(rate)}) == {"rate": rate}


def test_rates_are_shown_in_the_largest_unit() -> None:
    assert [format_rate(Rate(5, float(s))) for s in (60, 90, 3600, 7200, 86400)] == [
        *("5/1m", "5/90s", "5/1h", "5/2h", "5/1d"),
    ]
    assert format_rate(None) is None


# -- edits, and the fields of a job --------------------------------------------------------


def test_changes_are_read_in_any_spelling() -> None:
    given = {"maxRetries": 5, "run-at": "+10s", "timeout": "5m", "key": None, "queue": "mail"}
    assert parse_changes(given | {"command": ["a", "b"], "priority": -1}, defaults()) == {
        "max_retries": 5,
        "run_at": NOW + 10,
        "timeout_seconds": 300.0,
        "key": None,
        "queue": "mail",
        "command": ("a", "b"),
        "priority": -1,
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"state": "dead"}, "'state' cannot be edited"),
        ({"id": "x"}, "'id' cannot be edited"),
        ({"after": ["x"]}, "'after' cannot be edited"),
        ({"timeout": 1, "timeout_seconds": 2}, "given twice"),
        ({"command": ""}, "command is empty"),
        ({"command": None}, "command must be text"),
        ({"priority": "high"}, "priority must be"),
        ({"key": ""}, "key must be a line"),
        ({"key": "a\nb"}, "key must be a line"),
        ({"key": "x" * 513}, "513 bytes"),
    ],
)
def test_bad_changes_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_changes(given, defaults())


def test_the_new_fields_are_read() -> None:
    source = {
        "command": "true",
        "key": "k",
        "unique": "u",
        "uniqueUntil": "start",
        "after": "a",
        "after-any": ["b", "c", "b"],
        "afterFailed": [],
        "on_parent_failure": "hold",
        "hold": True,
    }
    spec, ignored = parse_job(source, defaults())
    assert ignored == []
    assert (spec.key, spec.unique, spec.unique_until, spec.hold) == ("k", "u", "start", True)
    assert spec.parents == {"after": ("a",), "after_any": ("b", "c")}
    assert spec.on_parent_failure == "hold"
    assert (
        parse_job({"command": "true", "unique": "u", "unique_for": "5m"}, defaults())[0].unique_for
        == 300.0
    )
    plain, _ = parse_job(
        {"command": "true", "key": None, "unique": None, "after": None}, defaults()
    )
    assert (plain.key, plain.unique, plain.after, plain.hold) == (None, None, (), False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"unique_for": 5}, "needs a unique value"),
        ({"unique_until": "start"}, "needs a unique value"),
        ({"unique": "u", "unique_for": 5, "unique_until": "end"}, "exclude each other"),
        ({"unique": "u", "unique_until": "never"}, "start or end, not 'never'"),
        ({"unique": 5}, "unique must be text"),
        ({"on_parent_failure": "run"}, "cancel or hold, not 'run'"),
        ({"after": 5}, "after must be a list of ids, not a number"),
        ({"after": ["a b"]}, "after: id 'a b' is not allowed"),
        ({"hold": 1}, "hold must be true or false"),
        ({"hold": "yes"}, "hold must be true or false"),
    ],
)
def test_bad_values_of_the_new_fields_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_job({"command": "true", **given}, defaults())
