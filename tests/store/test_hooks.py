"""Hooks: which deliveries each change makes, in its own commit."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.errors import Conflict, NotFound
from queuectl_core.domain.hooks import GONE, PROGRAM, QUEUE, URL_VARIABLE, Hook
from queuectl_core.domain.model import Filter, Job, Outcome, State
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, ending, spec, supervisor
from .stores import Place
from .test_schedules import added, fire
from .tools import claim, hired

HOSTILE = "'\"; $(touch x) `id` \n\t\x1b]0;x\x07 [bold] <b> \u202e é \u2028"


def hook(name: str = "alerts", *events: str, **fields: Any) -> Hook:
    job = {
        "command": ["cat"],
        "env": {},
        "cwd": "/",
        "max_retries": 8,
        "backoff_base": 2.0,
        "timeout_seconds": 30.0,
        "priority": 0,
    }
    values: dict[str, Any] = {
        "queue": None,
        "digest": 0.0,
        "url": None,
        "secret_file": None,
        "job": job,
        "paused_at": None,
        "paused_by": None,
        "paused_reason": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Hook(name=name, events=events or ("dead",), **(values | fields))


def url_hook(url: str, **fields: Any) -> Hook:
    job = hook().job | {"command": [*PROGRAM, "alerts"], "env": {URL_VARIABLE: url}}
    return hook(url=url, job=job, **fields)


async def deliveries(place: Place) -> list[dict[str, Any]]:
    """What was delivered, in the order of arrival."""
    rows = await place.execute(
        "SELECT i.stdin FROM jobs j JOIN inputs i ON i.job = j.seq"
        f" WHERE j.queue = '{QUEUE}' ORDER BY j.seq"
    )
    return [json.loads(bytes(row[0])) for row in rows]


def kinds(found: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(one["kind"], one["job"]) for one in found]


async def run(store: Store, *outcomes: Outcome, **fields: Any) -> list[Job]:
    """Claim a job for each outcome, and settle all of them in one commit."""
    workers = len(outcomes)
    slots = [ClaimSlot(f"w{n}", ("default",)) for n in range(1, workers + 1)]
    held = (await store.settle_and_claim(ClaimRequest("sup", [], slots, NOW))).claimed
    assert len(held) == workers
    results = [ending(job, how, **fields) for job, how in zip(held, outcomes, strict=True)]
    await store.settle_and_claim(ClaimRequest("sup", results, [], NOW))
    return list(held)


async def test_a_death_is_delivered_in_its_commit(store: Store, place: Place) -> None:
    await store.add_hook(hook())
    await hired(store, "sup", "w1", "w2")
    await store.enqueue([spec(id="bad", max_retries=1), spec(id="good")], NOW)
    await run(store, Outcome.FAILED, Outcome.COMPLETED, reason="exit 1: no", tail=b"hello\n")
    [one] = await deliveries(place)
    assert (one["hook"], one["kind"], one["job"], one["via"]) == (
        "alerts",
        "job.dead",
        "bad",
        "worker",
    )
    detail = one["detail"]
    assert detail["queue"] == "default"
    assert detail["error"] == "exit 1: no"
    assert detail["reason"] == "exit 1: no"
    assert detail["output"] == "hello\n"
    assert detail["exit_code"] == 1
    [job] = await store.scan(Filter(queues=(QUEUE,)), 10)
    assert (job.command, job.max_retries, job.timeout_seconds) == (("cat",), 8, 30.0)
    assert await store.hook_work() == (False, None)


async def test_each_event_goes_to_the_hooks_that_ask_for_it(store: Store, place: Place) -> None:
    await store.add_hook(hook("ends", "completed", "cancelled"))
    await store.add_hook(hook("fails", "failed", "dead"))
    await store.add_hook(hook("mail", "completed", queue="mail"))
    await hired(store, "sup", "w1", "w2", "w3")
    await store.enqueue([spec(id="a"), spec(id="b"), spec(id="c", max_retries=1)], NOW)
    await run(store, Outcome.COMPLETED, Outcome.FAILED, Outcome.FAILED)
    found = await deliveries(place)
    assert sorted((one["hook"], one["kind"], one["job"]) for one in found) == [
        ("ends", "job.completed", "a"),
        ("fails", "job.dead", "c"),
        ("fails", "job.failed", "b"),
    ]


@pytest.mark.parametrize("damage", ["events = '5'", "job = '{}'", "job = 'x'"])
async def test_a_damaged_hook_stops_no_job_and_no_other_hook(
    store: Store, place: Place, damage: str
) -> None:
    for name in ("alerts", "bad"):
        await store.add_hook(hook(name))
    await place.execute(f"UPDATE hooks SET {damage} WHERE name = 'bad'")
    await hired(store, "sup", "w1")
    await store.enqueue([spec(id="a", max_retries=1)], NOW)
    await run(store, Outcome.FAILED)
    assert [one["hook"] for one in await deliveries(place)] == ["alerts"]


async def test_jobs_without_a_hook_leave_nothing(store: Store, place: Place) -> None:
    await store.add_hook(hook("other", "cancelled"))
    await hired(store, "sup", "w1")
    await store.enqueue([spec(id="a", max_retries=1)], NOW)
    await run(store, Outcome.FAILED)
    assert await deliveries(place) == []
    assert await place.execute("SELECT * FROM hook_marks") == []


async def test_cancelled_jobs_and_their_children_are_delivered(store: Store, place: Place) -> None:
    await store.add_hook(hook("stop", "cancelled"))
    await store.enqueue([spec(id="a"), spec(id="b", after=("a",)), spec(id="c", after=("b",))], NOW)
    [parent] = await store.by_id("a")
    await store.change(JobAction.CANCEL, [parent], NOW, strict=True)
    found = await deliveries(place)
    assert sorted(kinds(found)) == [("job.cancelled", job) for job in ("a", "b", "c")]
    assert {one["job"]: one["detail"]["cause"] for one in found} == {"a": None, "b": "a", "c": "b"}


async def test_children_cancelled_by_a_result_are_delivered(store: Store, place: Place) -> None:
    await store.add_hook(hook("stop", "cancelled"))
    await hired(store, "sup", "w1")
    await store.enqueue([spec(id="a", max_retries=1), spec(id="b", after=("a",))], NOW)
    await run(store, Outcome.FAILED)
    assert kinds(await deliveries(place)) == [("job.cancelled", "b")]


@pytest.mark.parametrize("how", ["enqueue", "unique", "batch"])
async def test_a_job_that_is_cancelled_as_it_is_enqueued_is_delivered(
    store: Store, place: Place, how: str
) -> None:
    await store.enqueue([spec(id="a")], NOW)
    await store.change(JobAction.CANCEL, await store.by_id("a"), NOW, strict=True)
    await store.add_hook(hook("stop", "cancelled"))
    child = spec(id="b", after=("a",), unique="u" if how == "unique" else None)
    if how == "batch":
        async with store.batch() as batch:
            await batch.add([(1, child)])
            await batch.commit(NOW)
    else:
        await store.enqueue([child], NOW)
    assert kinds(await deliveries(place)) == [("job.cancelled", "b")]


async def test_a_run_that_a_person_replaces_is_delivered(store: Store, place: Place) -> None:
    await store.add_hook(hook("stop", "cancelled"))
    await added(store, overlap="replace")
    first = await store.run_schedule("s", spec("x", schedule="s"), NOW)
    await store.run_schedule("s", spec("x", schedule="s"), NOW)
    assert kinds(await deliveries(place)) == [("job.cancelled", first.id)]


async def test_a_prefetched_job_that_is_cancelled_is_delivered(store: Store, place: Place) -> None:
    await store.add_hook(hook("stop", "cancelled"))
    await hired(store, "sup", "w1")
    await store.enqueue([spec(id="a"), spec(id="b"), spec(id="c")], NOW)
    request = ClaimRequest("sup", [], [ClaimSlot("w1"), ClaimSlot(""), ClaimSlot("")], NOW)
    [_, *ahead] = (await store.settle_and_claim(request)).claimed
    assert ahead
    await store.change(JobAction.CANCEL, ahead[:1], NOW, strict=True)
    assert await deliveries(place) == []
    await store.settle_and_claim(ClaimRequest("sup", [], [], NOW, released=ahead))
    assert kinds(await deliveries(place)) == [("job.cancelled", ahead[0].id)]


async def test_deliveries_trigger_no_hook(store: Store, place: Place) -> None:
    await store.add_hook(hook("all", "dead", "completed", "failed", "cancelled", "queue.empty"))
    await hired(store, "sup", "w1", "w2")
    await store.enqueue([spec(queue=QUEUE, max_retries=1), spec(queue=QUEUE)], NOW)
    [first, second] = await claim(store, count=2)
    results = [ending(first, Outcome.FAILED), ending(second)]
    await store.settle_and_claim(ClaimRequest("sup", results, [], NOW))
    assert await deliveries(place) == []


async def test_a_refused_result_delivers_nothing(store: Store, place: Place) -> None:
    await store.add_hook(hook())
    await hired(store, "sup", "w1")
    await store.enqueue([spec(id="a", max_retries=1)], NOW)
    [job] = await claim(store)
    result = ending(job, Outcome.FAILED)
    await store.settle_and_claim(ClaimRequest("sup", [result, result], [], NOW))
    await store.settle_and_claim(ClaimRequest("sup", [result], [], NOW))
    assert kinds(await deliveries(place)) == [("job.dead", "a")]


async def test_paused_and_removed_hooks_get_nothing(store: Store, place: Place) -> None:
    await store.add_hook(hook("one"))
    await store.add_hook(hook("two"))
    await store.change_hook("one", {"paused_at": NOW, "paused_by": "me"}, "paused", NOW)
    await store.remove_hook("two", NOW)
    await hired(store, "sup", "w1")
    await store.enqueue([spec(id=name, max_retries=1) for name in "ab"], NOW)
    await run(store, Outcome.FAILED)
    assert await deliveries(place) == []
    assert await place.execute("SELECT * FROM hook_marks") == []
    await store.change_hook("one", {"paused_at": None, "paused_by": None}, "resumed", NOW)
    await run(store, Outcome.FAILED)
    assert kinds(await deliveries(place)) == [("job.dead", "b")]


async def test_names_are_taken_once_and_changes_are_events(store: Store, place: Place) -> None:
    await store.add_hook(hook("one"))
    with pytest.raises(Conflict):
        await store.add_hook(hook("one"))
    with pytest.raises(NotFound):
        await store.remove_hook("two", NOW)
    with pytest.raises(NotFound):
        await store.change_hook("two", {}, "paused", NOW)
    changed = await store.change_hook("one", {"paused_at": NOW, "paused_by": "me"}, "paused", NOW)
    assert await store.hooks() == [changed]
    await store.remove_hook("one", NOW)
    assert await store.hooks() == []
    rows = await place.execute("SELECT kind, name, detail FROM events ORDER BY seq")
    assert [(kind, name, json.loads(detail)["action"]) for kind, name, detail in rows] == [
        ("hook.changed", "one", "added"),
        ("hook.changed", "one", "paused"),
        ("hook.changed", "one", "removed"),
    ]


async def test_a_second_pause_without_a_reason_changes_nothing(store: Store, place: Place) -> None:
    await store.add_hook(hook("one"))
    first = {"paused_at": NOW, "paused_by": "me", "paused_reason": "it is down"}
    paused = await store.change_hook("one", first, "paused", NOW)
    again = {"paused_at": NOW + 1, "paused_by": "you", "paused_reason": None}
    assert await store.change_hook("one", again, "paused", NOW + 1) == paused
    assert await store.hooks() == [paused]
    assert len(await place.execute("SELECT 1 FROM events")) == 2
    other = again | {"paused_reason": "for ever"}
    assert (await store.change_hook("one", other, "paused", NOW + 1)).paused_reason == "for ever"


async def test_a_digest_is_one_delivery_and_its_counts_are_exact(
    store: Store, place: Place
) -> None:
    await store.add_hook(hook(digest=60.0))
    await hired(store, "sup", *(f"w{n}" for n in range(1, 9)))
    await store.enqueue([spec(id=f"j{n}", max_retries=1) for n in range(16)], NOW)
    await run(store, *([Outcome.FAILED] * 8), reason="exit 1: disk full")
    assert await store.hook_work() == (False, NOW + 60)
    assert await store.hook_waiting() == {"alerts": (8, NOW)}
    await run(store, *([Outcome.FAILED] * 8), reason="exit 1: no route 17")
    await store.deliver_hooks(NOW + 59)
    assert await deliveries(place) == []
    await store.deliver_hooks(NOW + 60)
    await store.deliver_hooks(NOW + 60)
    [one] = await deliveries(place)
    assert (one["kind"], one["job"], one["detail"]["count"]) == ("digest", None, 16)
    groups = one["detail"]["groups"]
    assert [(group["kind"], group["queue"], group["count"]) for group in groups] == [
        ("job.dead", "default", 8),
        ("job.dead", "default", 8),
    ]
    assert {group["reason"] for group in groups} == {"exit 1: disk full", "exit 1: no route #"}
    assert all(len(group["jobs"]) == 5 for group in groups)
    assert await store.hook_work() == (False, None)


async def test_what_waits_for_a_digest_stays_small(
    store: Store, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuectl_core.store.postgres.hooks.ENTRIES", 4)
    await store.add_hook(hook(digest=60.0))
    await hired(store, "sup", "w1")
    await store.enqueue([spec(id=f"j{n}", max_retries=1) for n in range(9)], NOW)
    for n in range(9):
        await run(store, Outcome.FAILED, reason=f"exit 1: no route {n}")
        await store.deliver_hooks(NOW + n)
    rows = await place.execute("SELECT n FROM hook_entries")
    assert len(rows) < 4
    assert await store.hook_waiting() == {"alerts": (9, NOW)}
    await store.deliver_hooks(NOW + 60)
    [one] = await deliveries(place)
    [group] = one["detail"]["groups"]
    assert (one["detail"]["count"], group["count"]) == (9, 9)
    assert group["jobs"] == ["j0", "j1", "j2", "j3", "j4"]


async def test_a_digest_takes_a_limited_number_of_groups(
    store: Store, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sqlite", "postgres"):
        monkeypatch.setattr(f"queuectl_core.store.{name}.hooks.GROUPS", 2)
    await store.add_hook(hook(digest=60.0))
    await hired(store, "sup", "w1")
    await store.enqueue([spec(id=name, max_retries=1) for name in "abc"], NOW)
    for name in "abc":
        await run(store, Outcome.FAILED, reason=f"exit 1: no {name}")
    while await store.deliver_hooks(NOW + 60):
        pass
    assert [one["detail"]["count"] for one in await deliveries(place)] == [2, 1]


async def test_of_several_supervisors_one_delivers_a_digest(
    store: Store, other: Store, place: Place
) -> None:
    await store.add_hook(hook(digest=1.0))
    await hired(store, "sup", "w1")
    await store.enqueue([spec(id="a", max_retries=1)], NOW)
    await run(store, Outcome.FAILED)
    await asyncio.gather(*(one.deliver_hooks(NOW + 1) for one in (store, other) * 4))
    assert [one["detail"]["count"] for one in await deliveries(place)] == [1]


async def test_a_paused_digest_waits_and_a_removed_one_is_forgotten(
    store: Store, place: Place
) -> None:
    await store.add_hook(hook(digest=1.0))
    await hired(store, "sup", "w1")
    await store.enqueue([spec(id=name, max_retries=1) for name in "ab"], NOW)
    await run(store, Outcome.FAILED)
    await store.change_hook("alerts", {"paused_at": NOW}, "paused", NOW)
    assert await store.hook_work() == (False, None)
    await store.deliver_hooks(NOW + 9)
    assert await deliveries(place) == []
    await store.change_hook("alerts", {"paused_at": None}, "resumed", NOW)
    await store.deliver_hooks(NOW + 9)
    assert len(await deliveries(place)) == 1
    await run(store, Outcome.FAILED)
    await store.remove_hook("alerts", NOW)
    assert await place.execute("SELECT * FROM hook_entries") == []


async def test_a_queue_is_empty_when_its_last_job_has_ended(store: Store, place: Place) -> None:
    await store.add_hook(hook("idle", "queue.empty", queue="default"))
    await hired(store, "sup", "w1", "w2")
    await store.enqueue([spec(id=name) for name in "abc"] + [spec(queue="mail")], NOW)
    await run(store, Outcome.COMPLETED, Outcome.FAILED)
    assert await deliveries(place) == []
    await run(store, Outcome.COMPLETED)
    assert await deliveries(place) == [], "b waits for its retry"
    [job] = await store.by_id("b")
    await store.change(JobAction.CANCEL, [job], NOW, strict=True)
    [one] = await deliveries(place)
    assert (one["kind"], one["job"], one["detail"]) == ("queue.empty", None, {"queue": "default"})


async def test_the_last_jobs_of_a_queue_end_at_once_on_two_supervisors(
    store: Store, other: Store, place: Place
) -> None:
    await store.add_hook(hook("idle", "queue.empty"))
    await hired(store, "sup", "w1")
    await other.register(supervisor("sup2"), [("v1", ())], NOW)
    for turn in range(1, 6):
        await store.enqueue([spec(id=f"{name}{turn}", queue="work") for name in "ab"], NOW)
        pairs = []
        for one, owner, worker in ((store, "sup", "w1"), (other, "sup2", "v1")):
            request = ClaimRequest(owner, [], [ClaimSlot(worker, ("work",))], NOW)
            [job] = (await one.settle_and_claim(request)).claimed
            pairs.append((one, ClaimRequest(owner, [ending(job)], [], NOW)))
        await asyncio.gather(*(one.settle_and_claim(request) for one, request in pairs))
        assert len(await deliveries(place)) == turn


async def test_a_url_that_is_gone_pauses_its_hook(store: Store, place: Place) -> None:
    await store.add_hook(url_hook("http://x/"))
    await hired(store, "sup", "w1")
    await store.enqueue([spec(id="a", max_retries=1)], NOW)
    await run(store, Outcome.FAILED)
    [delivery] = await claim(store)
    assert delivery.queue == QUEUE
    result = ending(delivery, Outcome.FAILED, exit_code=GONE)
    await store.settle_and_claim(ClaimRequest("sup", [result], [], NOW))
    [found] = await store.hooks()
    assert found.paused_at == NOW
    assert (found.paused_by, found.paused_reason) == ("queuectl", "the URL answered 410 Gone")
    rows = await place.execute(
        "SELECT via, name FROM events WHERE kind = 'hook.changed' ORDER BY seq"
    )
    assert rows[-1] == ("hook", "alerts")


@pytest.mark.parametrize(("url", "added"), [("http://y/", NOW), ("http://x/", NOW + 1)])
async def test_an_old_delivery_does_not_pause_a_new_hook_of_its_name(
    store: Store, url: str, added: float
) -> None:
    await store.add_hook(url_hook("http://x/"))
    await hired(store, "sup", "w1")
    await store.enqueue([spec(id="a", max_retries=1)], NOW)
    await run(store, Outcome.FAILED)
    [delivery] = await claim(store)
    await store.remove_hook("alerts", NOW)
    await store.add_hook(url_hook(url, updated_at=added))
    result = ending(delivery, Outcome.FAILED, exit_code=GONE)
    await store.settle_and_claim(ClaimRequest("sup", [result], [], NOW + 2))
    [found] = await store.hooks()
    assert found.paused_at is None


async def test_hostile_text_is_data(store: Store, place: Place) -> None:
    await store.add_hook(hook())
    await hired(store, "sup", "w1")
    command = HOSTILE + "x" * 1_000_000
    await store.enqueue([spec(command, id="a", max_retries=1)], NOW)
    await run(store, Outcome.FAILED, reason=HOSTILE, tail=b"\xff\xfe\0" + HOSTILE.encode())
    [(raw,)] = await place.execute("SELECT stdin FROM inputs")
    assert bytes(raw).isascii()
    assert bytes(raw).endswith(b"}\n")
    assert not any(byte < 32 for byte in bytes(raw)[:-1])
    assert len(bytes(raw)) < 64 * 1024
    [one] = await deliveries(place)
    assert one["detail"]["error"] == HOSTILE
    assert one["detail"]["command"].startswith(HOSTILE)
    assert one["detail"]["output"].endswith(HOSTILE)


async def test_more_than_one_transaction_takes_is_delivered_too(store: Store, place: Place) -> None:
    await store.add_hook(hook("stop", "cancelled"))
    await store.enqueue([spec(id="root")], NOW)
    await store.enqueue([spec(after=("root",)) for _ in range(1200)], NOW)
    [root] = await store.by_id("root")
    await store.change(JobAction.CANCEL, [root], NOW, strict=True)
    found = await deliveries(place)
    assert len(found) == len({one["job"] for one in found}) == 1201
    counts = await store.counts()
    assert counts[State.PENDING, QUEUE] == 1201


async def test_a_lost_supervisor_is_delivered(store: Store, place: Place) -> None:
    await store.add_hook(hook("lost", "worker.lost"))
    await hired(store, "sup", "w1")
    await store.register(supervisor("dead"), [("v1", ())], NOW)
    [row] = [row for row in await store.supervisors() if row.id == "dead"]
    assert await store.take_over(row, "sup", NOW) == []
    assert kinds(await deliveries(place)) == [("worker.lost", None)], "in that commit"
    await store.register(supervisor("gone"), [("v2", ())], NOW)
    [row] = [row for row in await store.supervisors() if row.id == "gone"]
    assert await store.dismiss(row)
    found = await deliveries(place)
    assert kinds(found) == [("worker.lost", None)] * 2
    assert [one["detail"]["supervisor"] for one in found] == ["dead", "gone"]


async def test_missed_times_are_delivered_in_the_commit_that_tells_of_them(
    store: Store, place: Place
) -> None:
    await store.add_hook(hook("misses", "schedule.missed"))
    await added(store, missed="skip")
    await fire(store, NOW + 310)
    assert kinds(await deliveries(place)) == [("schedule.missed", None)]
    assert await store.hook_work() == (False, None)


@pytest.mark.parametrize(
    "detail",
    ["[1]", "{", '{"queue": [1]}', "[" * 100_000],
    ids=["list", "cut off", "queue", "deep"],
)
async def test_events_that_somebody_else_wrote_do_not_stop_workers(
    store: Store, place: Place, detail: str
) -> None:
    await store.add_hook(hook("misses", "schedule.missed", "completed"))
    await store.add_hook(hook("digest", "schedule.missed", digest=60.0))
    await hired(store, "sup", "w1")
    await place.execute(
        "INSERT INTO events (at, kind, actor, via, name, n, detail)"
        f" VALUES ({NOW}, 'schedule.missed', 'me', 'cli', 'nightly', 3, '{detail}')"
    )
    assert await store.hook_work() == (True, None), "no verb has delivered it"
    await store.enqueue([spec(id="a")], NOW)
    await run(store, Outcome.COMPLETED)
    assert not (await store.hook_work())[0]
    found = await deliveries(place)
    assert ("job.completed", "a") in kinds(found)
    for one in found:
        if one["kind"] == "schedule.missed":
            assert (one["detail"]["schedule"], one["detail"]["count"]) == ("nightly", 3)
