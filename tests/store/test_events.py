"""Events: what each verb writes in its commit, and what reading them finds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from queuectl_core.domain.errors import JobChanged
from queuectl_core.domain.model import Filter, Rate, State
from queuectl_core.domain.times import format_time
from queuectl_core.queue import Queue
from queuectl_core.store.protocol import JobAction, Store
from queuectl_core.system.host import actor

from ..support import NOW, spec
from .stores import Place
from .tools import claim, hired, row_of, run

ROWS = "SELECT kind, job_id, name, n, via, actor, job, last_job FROM events ORDER BY seq"


async def test_a_job_that_is_enqueued_has_its_event(store: Store, place: Place) -> None:
    jobs = await store.enqueue([spec(id="a"), spec(id="b")], NOW)
    rows = await place.execute(ROWS)
    who = actor({})
    assert rows == [
        ("job.enqueued", job.id, None, None, "python", who, job.seq, None) for job in jobs
    ]


async def test_a_bulk_enqueue_is_one_event_with_its_range_of_keys(
    store: Store, place: Place
) -> None:
    async with store.batch() as batch:
        await batch.add([(n, spec(id=f"j{n}")) for n in range(1, 6)])
        first, _ = await batch.commit(NOW)
    [row] = await place.execute(ROWS)
    assert row[:4] == ("job.enqueued", None, None, 5)
    assert row[6:] == (first, first + 4)


async def told(place: Place) -> list[tuple[Any, ...]]:
    """Kind, id of the job, name, count and detail of each event."""
    sql = "SELECT kind, job_id, name, n, detail FROM events ORDER BY seq"
    return [(*row[:4], json.loads(row[4])) for row in await place.execute(sql)]


async def test_a_verb_that_names_jobs_writes_an_event_for_each_that_it_changed(
    store: Store, place: Place
) -> None:
    jobs = await store.enqueue([spec(id=name) for name in "abc"], NOW)
    await place.execute("DELETE FROM events")
    assert await store.change(JobAction.CANCEL, jobs[:2], NOW, strict=True)
    with pytest.raises(JobChanged):
        await store.change(JobAction.CANCEL, [jobs[2], jobs[0]], NOW, strict=True)
    await store.change(JobAction.HOLD, jobs, NOW, strict=False)
    assert await told(place) == [
        ("job.cancelled", "a", None, None, {}),
        ("job.cancelled", "b", None, None, {}),
        ("job.held", "c", None, None, {}),
    ]


async def test_a_running_job_is_asked_to_end(store: Store, place: Place) -> None:
    await hired(store)
    [job] = await store.enqueue([spec(id="a")], NOW)
    await claim(store)
    await place.execute("DELETE FROM events")
    running = await store.by_seq(job.seq)
    assert running is not None
    await store.change(JobAction.CANCEL, [running], NOW, strict=True)
    assert await told(place) == [("job.cancelled", "a", None, None, {"running": True})]


async def test_a_bulk_verb_is_one_event_however_many_pages_it_has(
    store: Store, place: Place
) -> None:
    async with store.batch() as batch:
        await batch.add([(n, spec(queue="mail" if n % 2 else "x")) for n in range(1, 1301)])
        await batch.commit(NOW)
    queue = Queue(store, {}, clock=lambda: NOW)
    await place.execute("DELETE FROM events")
    where = Filter(queues=("mail",), search="true")
    assert await queue.cancel_all(where) == 650
    assert await queue.cancel_all(where) == 0  # nothing is changed: no event
    filtered = {"filter": {"queue": ["mail"], "search": "true"}}
    assert await told(place) == [("job.cancelled", None, None, 650, filtered)]
    assert await queue.prune(-1, (State.CANCELLED,)) == 650
    *_, kind = await told(place)
    until = {"state": ["cancelled"], "ended_before": format_time(NOW + 1)}
    assert kind == ("job.removed", None, None, 650, {"filter": until})


async def test_a_bulk_verb_that_is_killed_leaves_a_true_count(
    store: Store, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store.batch() as batch:
        await batch.add([(n, spec()) for n in range(1, 1301)])
        await batch.commit(NOW)
    queue = Queue(store, {}, clock=lambda: NOW)
    pages = 0

    async def killed(seconds: float) -> None:
        nonlocal pages
        pages += 1
        if pages == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(store, "give_way", killed)
    with pytest.raises(KeyboardInterrupt):
        await queue.cancel_all(Filter())
    counts = await store.counts()
    [_, (kind, _, _, count, _)] = await told(place)
    assert (kind, count) == ("job.cancelled", counts[State.CANCELLED, "default"])


async def test_queues_and_settings_say_what_changed(store: Store, place: Place) -> None:
    await store.set_queue("mail", {"limit": 4, "rate": Rate(60, 60.0)}, NOW)
    await store.set_queue("mail", {"limit": 4}, NOW)  # no change
    await store.set_queue("mail", {"paused_at": NOW, "paused_reason": "deploy"}, NOW)
    pause = dict.fromkeys(("paused_at", "paused_by", "paused_reason", "paused_until"))
    await store.set_queue("mail", pause, NOW)
    await store.remove_queue("mail", NOW)
    await store.remove_queue("mail", NOW)
    await store.set_config("lease", "20", NOW)
    await store.set_config("lease", "20", NOW)
    await store.set_config("lease", None, NOW)
    assert await told(place) == [
        (
            *("queue.changed", None, "mail", None),
            {"changes": {"limit": 4, "rate": "60/1m"}, "before": {"limit": None, "rate": None}},
        ),
        ("queue.paused", None, "mail", None, {"reason": "deploy"}),
        ("queue.resumed", None, "mail", None, {}),
        ("queue.changed", None, "mail", None, {"removed": True}),
        ("config.changed", None, "lease", None, {"old": None, "new": "20"}),
        ("config.changed", None, "lease", None, {"old": "20", "new": None}),
    ]


async def test_an_edit_names_the_fields_and_no_value_of_the_environment(
    store: Store, place: Place
) -> None:
    [job] = await store.enqueue([spec(id="a", unique="u", env={"PASSWORD": "secret"})], NOW)
    await place.execute("DELETE FROM events")
    job = await store.edit(job, {"priority": 5, "run_at": NOW + 1.5, "queue": job.queue}, NOW)
    await store.edit(job, {"priority": 5}, NOW)
    again = spec("echo", unique="u", env={"PASSWORD": "other"}, on_conflict="replace", run_at=NOW)
    await store.enqueue([again], NOW)
    [edited, replaced] = await told(place)
    changes = {"priority": 5, "run_at": format_time(NOW + 1.5)}
    assert edited == ("job.edited", "a", None, None, {"changes": changes})
    assert replaced[:2] == ("job.edited", "a")
    assert replaced[4]["replaced"]
    assert replaced[4]["changes"]["command"] == "echo"
    assert replaced[4]["changes"]["env"] == "***"


async def test_a_new_command_is_an_edit(store: Store, place: Place) -> None:
    [job] = await store.enqueue([spec(id="a")], NOW)
    await store.change(JobAction.CANCEL, [job], NOW, strict=True)
    await place.execute("DELETE FROM events")
    cancelled = await store.by_seq(job.seq)
    assert cancelled is not None
    hostile = "\x1b[31m'\"$(x)\n\0".replace("\0", "") + "x" * 5000
    await store.amend(cancelled, hostile, NOW)
    [(kind, *_, detail)] = await told(place)
    assert kind == "job.edited"
    assert detail["retried"]
    assert hostile.startswith(detail["changes"]["command"][:-1])
    assert len(detail["changes"]["command"]) < 1100


async def test_workers_come_and_go(store: Store, place: Place) -> None:
    await hired(store, "one", "one-1", "one-2")
    await hired(store, "two", "two-1")
    await hired(store, "three")
    await store.workers_gone(["one-1", "never"], NOW)
    await store.deregister("one", NOW)
    await store.deregister("one", NOW)  # leaving twice says nothing
    assert await store.take_over(await row_of(store, "two"), "three", NOW) == []
    assert await store.dismiss(await row_of(store, "three"), NOW)
    found = await told(place)
    assert [(kind, name) for kind, _, name, *_ in found] == [
        ("worker.started", "one"),
        ("worker.started", "two"),
        ("worker.started", "three"),
        ("worker.stopped", "one"),
        ("worker.stopped", "one"),
        ("worker.lost", "two"),
        ("worker.lost", "three"),
    ]
    assert found[0][4]["workers"] == ["one-1", "one-2"]
    assert [one[4]["workers"] for one in found[3:5]] == [["one-1"], ["one-2"]]


async def test_what_follows_from_a_parent_is_no_act(store: Store, place: Place) -> None:
    [parent, _] = await store.enqueue([spec(id="p"), spec(id="c", after=("p",))], NOW)
    await place.execute("DELETE FROM events")
    await store.change(JobAction.CANCEL, [parent], NOW, strict=True)
    assert (await store.counts())[State.CANCELLED, "default"] == 2
    assert [row[:2] for row in await told(place)] == [("job.cancelled", "p")]


async def test_work_writes_no_events(store: Store, place: Place) -> None:
    await hired(store)
    [job] = await store.enqueue([spec(id="a")], NOW)
    before = await told(place)
    await run(store, job)
    assert await told(place) == before
