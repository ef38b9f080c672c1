"""Schedules: each nominal time is run once, with any number of supervisors; overlap; changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.errors import Conflict, InvalidInput, NotFound, StoreError
from queuectl_core.domain.jobspec import Defaults
from queuectl_core.domain.model import Filter, Job, Outcome, State
from queuectl_core.domain.schedule import Fired, Schedule
from queuectl_core.operations.schedules import (
    add,
    edit,
    fire_due,
    next_due,
    pause,
    resume,
    show,
)
from queuectl_core.queue import Queue
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, defaults, ending, spec
from .stores import Place
from .tools import change, claim, finish, hired


async def added(store: Store, name: str = "s", job: Any = "true", **given: Any) -> Schedule:
    when = {} if "cron" in given else {"every": 60}
    settings = defaults()
    info, _ = await add(store, name, when | {"tz": "UTC"} | given, job, defaults=settings, env={})
    return info.schedule


async def fire(store: Store, now: float) -> list[Fired]:
    troubles: dict[str, str] = {}
    settings = Defaults(defaults().settings, "", now)
    done = await fire_due(store, now, settings, troubles.__setitem__)
    assert not troubles
    return done


async def jobs(store: Store) -> list[Job]:
    return await store.scan(Filter(), 10_000, up=True)


async def events(place: Place, kind: str) -> list[dict[str, Any]]:
    """The details of events of this kind, oldest first, with their counts."""
    sql = f"SELECT detail, n FROM events WHERE kind = '{kind}' ORDER BY seq"
    return [json.loads(detail) | {"count": n} for detail, n in await place.execute(sql)]


async def test_a_schedule_is_kept_as_it_was_given(store: Store, other: Store) -> None:
    one = await added(
        store, cron="30 2 * * 1-5", tz="Europe/Berlin", missed="all", missed_within="2h",
        overlap="queue", jitter="30s", job={"command": ["a", "b c"], "env": {"A": "b"}},
    )  # fmt: skip
    [info] = await other.schedules()
    assert info.schedule == one
    assert info.schedule.job == {"command": ["a", "b c"], "env": {"A": "b"}, "cwd": "/place"}
    assert (info.last, info.success_at) == (None, None)
    assert await other.next_schedule(None) == one.due_at
    with pytest.raises(Conflict, match="schedule 's' exists"):
        await added(other)


async def test_each_time_makes_one_job(store: Store, other: Store) -> None:
    one = await added(store, job={"command": "x", "queue": "q", "key": "k"})
    assert await fire(store, NOW + 59) == []
    [done] = await fire(store, NOW + 60)
    [job] = done.jobs
    assert (job.id, job.schedule, job.scheduled_at) == ("s@2026-09-21T14:14:20Z", "s", NOW + 60)
    assert (job.queue, job.key, job.cwd, job.run_at) == ("q", "k", "/place", NOW + 60)
    assert await fire(other, NOW + 61) == []
    [info] = await other.schedules("s")
    assert info.schedule.next_at == NOW + 120
    assert (info.schedule.last_at, info.schedule.last_job) == (NOW + 60, job.seq)
    assert info.schedule.version == one.version
    assert info.last is not None
    assert info.last.state is State.PENDING


async def test_many_who_fire_at_once(place: Place, store: Store) -> None:
    for number in range(30):
        await added(store, f"s{number}", overlap="allow")
    stores = [await place.open() for _ in range(4)]
    for minute in range(1, 4):
        done = await asyncio.gather(*(fire(one, NOW + minute * 60) for one in stores))
        names = [fired.name for each in done for fired in each]
        # On a server, one who finds a row locked leaves it to the other.
        for one in stores:
            names += [fired.name for fired in await fire(one, NOW + minute * 60)]
        assert sorted(names) == sorted(f"s{number}" for number in range(30))
    found = await jobs(store)
    assert len(found) == len({job.id for job in found}) == 90


@pytest.mark.parametrize("overlap", ["skip", "queue", "allow", "replace"])
async def test_what_happens_while_the_previous_run_goes_on(store: Store, overlap: str) -> None:
    await added(store, overlap=overlap)
    await hired(store)
    await fire(store, NOW + 60)
    [running] = await claim(store, now=NOW + 61)
    [second] = await fire(store, NOW + 120)
    [third] = await fire(store, NOW + 180)
    states = [job.state for job in await jobs(store)]
    if overlap == "skip":
        reason = f"the previous run runs still: {running.id}"
        assert second.skipped == ((NOW + 120, reason),)
        assert (await store.schedules())[0].schedule.skipped_reason == reason
        assert states == [State.PROCESSING]
    elif overlap == "queue":
        [waiting] = second.jobs
        assert waiting.state is State.WAITING
        assert third.skipped == ((NOW + 180, f"a run waits already: {waiting.id}"),)
    elif overlap == "allow":
        assert states == [State.PROCESSING, State.PENDING, State.PENDING]
    else:
        assert states == [State.PROCESSING, State.CANCELLED, State.WAITING]
        assert (await jobs(store))[0].cancel_requested
        assert third.jobs[0].parents["after_any"] == (running.id,)
    ended = ending(running, Outcome.CANCELLED if overlap == "replace" else Outcome.COMPLETED)
    await finish(store, "sup", ended, now=NOW + 190)
    await store.judge_marked(NOW + 190)
    states = [job.state for job in await jobs(store)][1:]
    assert State.WAITING not in states
    [fourth] = await fire(store, NOW + 240)
    assert len(fourth.jobs) == 1


async def test_a_replaced_run_leaves_only_the_parents_that_go_on(store: Store) -> None:
    await added(store, overlap="replace", job={"command": "x", "after_any": ["gone", "slow"]})
    await hired(store)
    await store.enqueue([spec(id="gone"), spec(id="slow", run_at=NOW + 9000)], NOW)
    [gone] = await claim(store, now=NOW + 1)
    await fire(store, NOW + 60)
    [first] = (await fire(store, NOW + 120))[0].jobs
    assert first.parents["after_any"] == ("gone", "slow")
    await finish(store, "sup", ending(gone, Outcome.COMPLETED), now=NOW + 130)
    for minute in range(3, 9):
        [done] = await fire(store, NOW + 60 * minute)
        assert done.jobs[0].parents["after_any"] == ("gone", "slow")
        assert done.jobs[0].state is State.WAITING


async def test_a_run_that_waits_for_its_retry_has_not_ended(store: Store) -> None:
    await added(store)
    await hired(store)
    await fire(store, NOW + 60)
    [running] = await claim(store, now=NOW + 61)
    await finish(store, "sup", ending(running, Outcome.FAILED, now=NOW + 62), now=NOW + 62)
    [done] = await fire(store, NOW + 120)
    assert done.skipped == ((NOW + 120, f"the previous run waits for its retry: {running.id}"),)
    [job] = await jobs(store)
    await change(store, JobAction.CANCEL, [job.seq], NOW + 130, True)
    await change(store, JobAction.REMOVE, [job.seq], NOW + 130, True)
    [done] = await fire(store, NOW + 180)
    assert len(done.jobs) == 1
    [info] = await store.schedules()
    assert info.last is not None
    assert info.last.id == done.jobs[0].id


async def test_missed_times_wait_for_each_other(store: Store) -> None:
    await added(store, missed="all")
    [done] = await fire(store, NOW + 60 * 5 + 10)
    assert [job.scheduled_at for job in done.jobs] == [NOW + 60 * n for n in range(1, 6)]
    found = await jobs(store)
    assert [job.state for job in found] == [State.PENDING, *[State.WAITING] * 4]
    assert [job.parents["after_any"] for job in found[1:]] == [(job.id,) for job in found[:4]]


async def test_missed_times_are_told_once(store: Store, place: Place) -> None:
    await added(store, missed="skip")
    [done] = await fire(store, NOW + 60 * 5 + 10)
    assert (len(done.jobs), done.missed) == (1, 4)
    [told] = await events(place, "schedule.missed")
    assert told == {
        **{"count": 4, "first": "2026-09-21T14:14:20.000Z", "last": "2026-09-21T14:17:20.000Z"},
        **{"complete": True, "missed": "skip"},
    }
    assert len(await events(place, "schedule.fired")) == 1
    assert await events(place, "job.enqueued") == []
    [done] = await fire(store, NOW + 60 * 100 + 59)
    assert len(done.jobs) == 0
    assert done.missed == 94


async def test_a_taken_id_is_a_reason(store: Store) -> None:
    await added(store)
    await added(store, "t")
    await store.enqueue([spec(id="s@2026-09-21T14:14:20Z")], NOW)
    done = {one.name: one for one in await fire(store, NOW + 60)}
    assert done["s"].skipped == ((NOW + 60, "id 's@2026-09-21T14:14:20Z' is taken"),)
    assert len(done["t"].jobs) == 1
    assert (await fire(store, NOW + 120))[0].name in ("s", "t")


async def test_one_bad_job_stops_no_other_schedule(store: Store, place: Place) -> None:
    await added(store, "a", job={"command": "x", "after": ["nobody"]})
    await added(store, "b", job={"command": "x", "unique": "u"})
    bad = await added(store, "c")
    await store.change_schedule(bad, bad._replace(job={"command": "x", "queue": "a b"}), {}, NOW)
    await added(store, "d")
    await store.enqueue([spec(id="holder", unique="u")], NOW)
    done = {one.name: one for one in await fire(store, NOW + 60)}
    reasons = {name: one.skipped[-1][1] for name, one in done.items() if one.skipped}
    assert "there is no such job" in reasons["a"]
    assert reasons["b"] == "job 'holder' holds the unique value"
    assert "its job is not valid any more: queue 'a b' is not allowed" in reasons["c"]
    assert len(done["d"].jobs) == 1
    assert sorted(job.id.partition("@")[0] for job in await jobs(store)) == ["d", "holder"]
    assert len(await events(place, "schedule.skipped")) == 3


async def test_a_time_zone_that_this_host_does_not_know(store: Store) -> None:
    far = await added(store, "far", cron="* * * * *")
    await store.change_schedule(far, far._replace(tz="Mars/Olympus"), {}, NOW)
    await added(store, "near")
    troubles: dict[str, str] = {}
    settings = Defaults(defaults().settings, "", NOW + 120)
    done = await fire_due(store, NOW + 120, settings, troubles.__setitem__)
    assert [one.name for one in done] == ["near"]
    assert list(troubles) == ["far"]
    assert "no such time zone: 'Mars/Olympus'" in troubles["far"]
    assert await next_due(store, NOW + 120, troubles) == NOW + 180
    # What is due and may be fired, by us or by others, does not wait for it.
    assert await next_due(store, NOW + 190, troubles) == NOW + 180


async def test_a_transaction_has_few_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(120):
        await added(store, f"s{number}", overlap="allow")
    await added(store, "each", missed="all", every=10, overlap="allow")
    sizes: list[int] = []
    ways: list[float] = []
    real = store.fire

    async def counted(firings: Any, now: float) -> list[Fired]:
        sizes.append(sum(max(1, len(one.plan.times)) for one in firings))
        return await real(firings, now)

    async def give_way(seconds: float) -> None:
        ways.append(seconds)

    monkeypatch.setattr(store, "fire", counted)
    monkeypatch.setattr(store, "give_way", give_way)
    await fire(store, NOW + 1000)
    assert max(sizes) <= 50
    assert len(ways) == len(sizes)
    assert len(await jobs(store)) == 120 + 100


async def test_a_pause_and_an_edit_win_over_what_was_read(
    store: Store, other: Store, place: Place
) -> None:
    from queuectl_core.operations.schedules import firing

    await added(store)
    [due] = await store.due_schedules(NOW + 60, 10)
    stale = firing(due, NOW + 60, defaults())
    await pause(other, "s", "why", actor="me@here", now=NOW + 60)
    assert await store.fire([stale], NOW + 60) == []
    assert await store.due_schedules(NOW + 900, 10) == []
    assert await store.next_schedule(None) is None
    await pause(other, "s", None, actor="you@here", now=NOW + 70)
    paused = (await store.schedules())[0].schedule
    assert (paused.paused_reason, paused.paused_by) == ("why", "me@here")
    await resume(other, "s", NOW + 600)
    assert await store.fire([stale], NOW + 601) == []
    [info] = await store.schedules()
    assert (info.schedule.paused_by, info.schedule.next_at) == (None, NOW + 660)
    await edit(other, "s", {"every": 5}, {"priority": 3}, defaults(NOW + 601))
    [info] = await store.schedules()
    assert (info.schedule.every, info.schedule.next_at) == (5, NOW + 606)
    assert info.schedule.job["priority"] == 3
    kinds = [one["action"] for one in await events(place, "schedule.changed")]
    assert kinds == ["added", "paused", "resumed", "edited"]


async def test_an_edit_wins_although_the_next_time_stays_the_same(
    store: Store, other: Store
) -> None:
    """By a host whose clock is behind."""
    from queuectl_core.operations.schedules import firing

    await added(store)
    [due] = await store.due_schedules(NOW + 60, 10)
    stale = firing(due, NOW + 60, defaults())
    await edit(other, "s", {}, {"priority": 3}, defaults(NOW))
    [info] = await store.schedules()
    assert info.schedule.next_at == due.next_at
    assert await store.fire([stale], NOW + 60) == []
    [done] = await fire(store, NOW + 60)
    assert [job.priority for job in done.jobs] == [3]


async def test_an_edit_while_it_fires(store: Store, other: Store) -> None:
    """The change is made on what the schedule is then."""
    await added(store, every=1)

    async def firing_all_the_time() -> None:
        for second in range(1, 40):
            await fire(store, NOW + second)

    async def editing() -> None:
        left = list(range(10))
        while left:
            # It fires far more often here than any schedule: "changes all the time; try again".
            with contextlib.suppress(Conflict):
                await edit(other, "s", {}, {"priority": left[0]}, defaults(NOW + 1))
                del left[0]

    await asyncio.gather(firing_all_the_time(), editing())
    [info] = await store.schedules()
    assert info.schedule.job["priority"] == 9
    found = await jobs(store)
    assert len(found) == len({job.id for job in found})


async def test_run_now_obeys_the_overlap_rule(store: Store) -> None:
    await added(store, job={"command": "x"})
    await pause(store, "s", None, actor="me@here", now=NOW)
    job = await store.run_schedule("s", spec("x", schedule="s"), NOW)
    assert (job.schedule, job.scheduled_at) == ("s", None)
    with pytest.raises(Conflict, match=f"the previous run has not started: {job.id}"):
        await store.run_schedule("s", spec("x", schedule="s"), NOW)
    with pytest.raises(NotFound, match="no such schedule: 'nobody'"):
        await store.run_schedule("nobody", spec("x"), NOW)
    assert len(await jobs(store)) == 1


async def test_a_removed_schedule_leaves_its_jobs(store: Store) -> None:
    await added(store)
    await fire(store, NOW + 60)
    assert await store.remove_schedule("s", NOW + 61)
    assert not await store.remove_schedule("s", NOW + 61)
    assert await store.schedules() == []
    assert len(await jobs(store)) == 1
    assert await fire(store, NOW + 120) == []


async def test_the_last_success_and_the_last_runs(store: Store) -> None:
    await added(store, job={"command": "x", "max_retries": 1})
    await hired(store)
    for minute, outcome in ((1, Outcome.COMPLETED), (2, Outcome.FAILED), (3, Outcome.FAILED)):
        now = NOW + 60 * minute
        await fire(store, now)
        [running] = await claim(store, now=now)
        await finish(store, "sup", ending(running, outcome, now=now + 1), now=now + 1)
    shown = await show(store, "s", NOW + 200)
    assert shown.info.success_at == NOW + 61
    assert [job.scheduled_at for job in shown.runs] == [NOW + 180, NOW + 120, NOW + 60]
    assert shown.info.last is not None
    assert shown.info.last.state is State.DEAD
    assert shown.times == tuple(NOW + 60 * n for n in range(4, 9))
    # It is still known when that job is gone.
    await store.prune([shown.runs[2].seq], State.COMPLETED, NOW + 10_000)
    assert (await show(store, "s", NOW + 200)).info.success_at == NOW + 61


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "say when"),
        ({"cron": "* * * * *", "every": "5m"}, "exclude each other"),
        ({"every": "0.5s"}, "every must be a time from 1 second"),
        ({"every": "soon"}, "every: not a duration"),
        ({"every": 1e12}, "every must be"),
        ({"every": 60, "jitter": 60}, "jitter must be shorter"),
        ({"cron": "*/7 * * * *", "jitter": "4m"}, "which can be 4m; give less than 4m"),
        ({"cron": "0 9,10 * * mon", "jitter": "2h"}, "which can be 1h"),
        ({"every": 60, "overlap": "skp"}, "did you mean skip?"),
        ({"every": 60, "missed": "never"}, "missed: unknown 'never'"),
        ({"cron": "bad"}, "has 1 field, not five"),
        ({"cron": "* * * * *", "tz": "Mars"}, "no such time zone"),
        ({"evry": 60}, "did you mean every?"),
    ],
)
async def test_what_is_wrong_is_refused(store: Store, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        await add(store, "s", given, "true", defaults=defaults(), env={"TZ": "UTC"})
    assert said in str(raised.value)
    assert await store.schedules() == []


async def test_a_thousand_due_in_the_same_second(store: Store) -> None:
    for number in range(200):
        await added(store, f"s{number:03}", overlap="allow")
    done = await fire(store, NOW + 60)
    assert len(done) == 200
    assert len(await jobs(store)) == 200
    assert await store.next_schedule(None) == NOW + 120


async def test_a_copy_fires_no_time_again(store: Store, tmp_path: Path) -> None:
    from queuectl_core.operations.copy import copy
    from queuectl_core.store.open import open_store

    await added(store, cron="*/5 * * * *", tz="Asia/Gaza", missed="all")
    await added(store, "paused")
    await pause(store, "paused", "why", actor="me@here", now=NOW)
    await fire(store, NOW + 600)
    target = await open_store(str(tmp_path / "target.db"), {}, marked=True)
    try:
        assert (await copy(store, target, lambda *_: None)).same
        assert await target.schedules() == await store.schedules()
        assert await fire(target, NOW + 600) == []
        [done] = await fire(target, NOW + 900)
        assert len(done.jobs) == 1
    finally:
        await target.close()


async def test_what_the_doctor_says(store: Store) -> None:
    from queuectl_core.operations.doctor import schedules

    queue = Queue(store, {}, clock=lambda: NOW + 30)
    assert await schedules(queue, 0) == []
    await added(store)
    [found] = await schedules(queue, 0)
    assert (found.level, found.hint) == ("warn", "run: queuectl worker start")
    [found] = await schedules(queue, 1)
    assert found.level == "ok"
    queue.clock = lambda: NOW + 200
    [found] = await schedules(queue, 1)
    assert (found.level, "although workers are up" in found.message) == ("bad", True)
    far = await added(store, "far", cron="@daily")
    await store.change_schedule(far, far._replace(tz="Mars/Olympus"), {}, NOW)
    await added(store, "never", cron="0 0 30 2 *")
    said = " ".join(one.message for one in await schedules(queue, 0))
    for text in ("schedule far cannot fire on this host", "1 overdue for", "never fires again"):
        assert text in said


async def test_metrics_of_schedules(store: Store) -> None:
    from queuectl_core.domain.metrics import schedule_metrics

    await added(store)
    await added(store, "p")
    await pause(store, "p", None, actor="me@here", now=NOW)
    await hired(store)
    await fire(store, NOW + 60)
    [running] = await claim(store, now=NOW + 61)
    await finish(store, "sup", ending(running, now=NOW + 62), now=NOW + 62)
    success, following = schedule_metrics(await store.schedules())
    assert success.values == (({"schedule": "s"}, NOW + 62),)
    assert following.values == (({"schedule": "s"}, NOW + 120),)


async def test_it_is_the_schedule_that_cancels_a_replaced_run(place: Place) -> None:
    store = await place.open()
    await added(store, overlap="replace")
    await hired(store)
    await fire(store, NOW + 60)
    [running] = await claim(store, now=NOW + 61)
    for minute in (2, 3):
        await fire(store, NOW + 60 * minute)
    sql = "SELECT job_id, via, detail FROM events WHERE kind = 'job.cancelled' ORDER BY seq"
    found = [(name, via, json.loads(detail)) for name, via, detail in await place.execute(sql)]
    assert found[0] == (running.id, "schedule", {"schedule": "s", "running": True})
    assert {(via, detail["schedule"]) for _, via, detail in found} == {("schedule", "s")}


@pytest.mark.parametrize(
    "damage", ["every = 1e-300, cron = NULL", "next_at = 1e300", "since = -1e300", "job = '[]'"]
)
async def test_a_damaged_schedule_keeps_nobody_busy_for_ever(
    store: Store, place: Place, damage: str
) -> None:
    """Somebody wrote it into the database: its times were counted without an end."""
    await added(store)
    await place.execute(f"UPDATE schedules SET {damage}")
    with pytest.raises(StoreError, match="damaged"):
        await store.schedules()
