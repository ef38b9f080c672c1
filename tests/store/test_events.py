"""Events: what each verb writes in its commit, and what reading them finds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from queuectl_core.domain.errors import InvalidInput, JobChanged, NotFound
from queuectl_core.domain.events import Event, EventKind
from queuectl_core.domain.model import Filter, Outcome, Rate, State
from queuectl_core.domain.times import format_time
from queuectl_core.operations import events as reading
from queuectl_core.operations.events import is_name, parse_kinds
from queuectl_core.operations.hooks import new_hook
from queuectl_core.operations.schedules import add
from queuectl_core.queue import Queue
from queuectl_core.store import protocol
from queuectl_core.store.postgres import events as postgres_events
from queuectl_core.store.protocol import JobAction, Store
from queuectl_core.store.rows import to_event
from queuectl_core.store.sqlite import events as sqlite_events
from queuectl_core.system.host import actor
from queuectl_tui.cli.events import EVENTS

from ..pgserver import server_url
from ..support import NOW, defaults, ending, spec
from .stores import Place, PostgresPlace
from .tools import claim, finish, hired, row_of, run

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


async def test_of_jobs_with_a_unique_value_the_new_ones_have_an_event(
    store: Store, place: Place
) -> None:
    await store.enqueue([spec(id="a", unique="u"), spec(id="b"), spec(id="c", unique="u")], NOW)
    found = await place.execute("SELECT kind, job_id FROM events ORDER BY seq")
    assert found == [("job.enqueued", "a"), ("job.enqueued", "b")]


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


def short(events: list[Event]) -> list[tuple[str, str | None]]:
    return [(str(event.kind), event.job_id) for event in events]


async def history(queue: Queue, limit: int, **how: Any) -> list[Event]:
    """All events, read by pages of ``limit``."""
    found: list[Event] = []
    after: str | None = None
    while True:
        page = await queue.event_page(limit, after=after, **how)
        assert len(page.events) <= limit
        found += page.events
        after = page.after
        if after is None:
            return found


@pytest.fixture
async def eventful(store: Store) -> Queue:
    """Jobs that did different things, at times that are partly the same."""
    await hired(store)
    await store.enqueue([spec(id=f"j{n}", max_retries=1) for n in range(6)], NOW)
    for n, outcome in enumerate([Outcome.COMPLETED, Outcome.FAILED, Outcome.COMPLETED]):
        job = await store.by_id(f"j{n}")
        await run(store, job[0], outcome, now=NOW + 1 + n // 2, reason="x\x1b[31m")
    async with store.batch() as batch:
        await batch.add([(n, spec(id=f"b{n}")) for n in range(3)])
        await batch.commit(NOW + 3)
    await claim(store, now=NOW + 4)
    await store.set_config("lease", "20", NOW + 5)
    return Queue(store, {}, clock=lambda: NOW + 6)


EXPECTED = [
    ("config.changed", None),
    ("job.started", "j3"),
    ("job.enqueued", None),
    ("job.completed", "j2"),
    ("job.started", "j2"),
    ("job.dead", "j1"),
    ("job.started", "j1"),
    ("job.completed", "j0"),
    ("job.started", "j0"),
    *(("job.enqueued", f"j{n}") for n in range(5, -1, -1)),
    ("worker.started", None),
]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 500])
async def test_events_and_attempts_come_in_the_order_of_time(eventful: Queue, limit: int) -> None:
    found = await history(eventful, limit)
    assert Counter(short(found)) == Counter(EXPECTED)
    assert [event.at for event in found] == sorted((event.at for event in found), reverse=True)
    assert len({(event.seq, event.key) for event in found}) == len(found)
    [dead] = [event for event in found if event.kind is EventKind.DEAD]
    assert (dead.seq, dead.via, bool(dead.actor)) == (None, "worker", True)
    assert dead.to_json()["detail"]["reason"] == "x\x1b[31m"


async def test_events_of_some_kinds_since_a_moment(eventful: Queue) -> None:
    kinds = parse_kinds(["job.*"])
    found = await history(eventful, 2, kinds=kinds, since=NOW + 1.5)
    assert [kind for kind, _ in short(found)] == [
        *("job.started", "job.enqueued", "job.completed", "job.started")
    ]
    assert short(await history(eventful, 3, kinds=parse_kinds(["config"]))) == EXPECTED[:1]
    assert short(await history(eventful, 3, kinds=parse_kinds(["dead", "job.edited"]))) == [
        ("job.dead", "j1")
    ]
    page = await eventful.event_page(5, kinds=parse_kinds(["worker.lost"]), spans=1)
    assert not page.events
    # Those of other kinds are not even read: there may be very many.
    stored = await eventful.store.events_between(0, 1e11, {EventKind.CONFIG_CHANGED})
    assert short(stored) == EXPECTED[:1]


@pytest.mark.parametrize("words", [["nonsense"], [""], ["job."], ["job.ded"]])
def test_unknown_kinds_are_refused(words: list[str]) -> None:
    if words == ["job."]:
        assert len(parse_kinds(words) or ()) == 11
        return
    with pytest.raises(InvalidInput):
        parse_kinds(words)


@pytest.mark.parametrize("after", ["x", "1_2", "1_1_1", "1.5_9_1_1", "-1_1_1_1", "1e9_1_1_1"])
async def test_a_place_that_no_page_gave_is_refused(store: Store, after: str) -> None:
    with pytest.raises(InvalidInput):
        await Queue(store, {}).event_page(5, after=after)
    with pytest.raises(InvalidInput):
        await store.events_since(after)


async def test_one_job_has_its_bulk_enqueue_and_its_attempts(eventful: Queue) -> None:
    job, found = await eventful.events_of("j1")
    assert job is not None
    assert [kind for kind, _ in short(found)] == ["job.dead", "job.started", "job.enqueued"]
    _, found = await eventful.events_of("b1")
    assert [(str(event.kind), event.count) for event in found] == [("job.enqueued", 3)]
    _, found = await eventful.events_of("j3")
    assert [kind for kind, _ in short(found)] == ["job.started", "job.enqueued"]
    with pytest.raises(NotFound):
        await eventful.events_of("nobody")


async def test_a_removed_job_is_known_until_its_id_is_given_again(eventful: Queue) -> None:
    job = await eventful.find("b1")
    await eventful.remove([job])
    gone, found = await eventful.events_of("b1")
    assert gone is None
    assert [kind for kind, _ in short(found)] == ["job.removed", "job.enqueued"]
    [again] = await eventful.store.enqueue([spec(id="b1")], NOW + 9)
    there, found = await eventful.events_of("b1")
    assert there == again
    assert [(str(event.kind), event.job) for event in found] == [("job.enqueued", again.seq)]


async def test_the_parent_that_cancelled_a_job_is_named(store: Store) -> None:
    [parent, _] = await store.enqueue([spec(id="p"), spec(id="c", after=("p",))], NOW)
    await store.change(JobAction.CANCEL, [parent], NOW + 1, strict=True)
    _, found = await Queue(store, {}).events_of("c")
    assert short(found) == [("job.cancelled", "c"), ("job.enqueued", "c")]
    assert (found[0].seq, found[0].detail) == (None, {"cause": "p"})


async def test_long_attempts_are_found_by_their_start(store: Store) -> None:
    await hired(store)
    [job] = await store.enqueue([spec(id="long")], NOW)
    [held] = await claim(store, now=NOW + 1)
    await finish(store, "sup", ending(held, Outcome.COMPLETED, now=NOW + 500), now=NOW + 500)
    found = await history(Queue(store, {}), 1)
    starts = [event for event in found if event.kind is EventKind.STARTED]
    assert [(event.job_id, event.detail["attempt"]) for event in starts] == [("long", 1)]
    assert job.seq == starts[0].job


async def test_a_follower_hears_of_each_event_once(store: Store, other: Store) -> None:
    queue = Queue(store, {})
    await hired(store)
    [first, second] = await store.enqueue([spec(id="a"), spec(id="b")], NOW)
    follower = await queue.follow_events()
    assert await follower.more() == []
    [held] = await claim(other)
    assert short(await follower.more()) == [("job.started", "a")]
    await finish(other, "sup", ending(held, Outcome.COMPLETED, now=NOW - 3600))  # reported late
    await other.change(JobAction.CANCEL, [second], NOW, strict=True)
    found = await follower.more()
    assert sorted(short(found)) == [("job.cancelled", "b"), ("job.completed", "a")]
    assert await follower.more() == []
    [third] = await other.enqueue([spec(id="c")], other.clock())
    await run(other, third, now=other.clock())
    await other.set_config("lease", "20")
    assert Counter(short(await follower.more())) == Counter(
        (
            *(("config.changed", None), ("job.completed", "c")),
            *(("job.enqueued", "c"), ("job.started", "c")),
        )
    )
    assert await follower.more() == []
    assert first.id == "a"


async def test_very_many_events_are_read_in_parts(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (protocol, sqlite_events, postgres_events, reading):
        monkeypatch.setattr(module, "EVENTS_AT_ONCE", 3)
    _, cursor = await store.events_since(None)
    await store.enqueue([spec(id=f"a{n}") for n in range(5)], NOW)
    found, cursor = await store.events_since(cursor)
    assert [one.job_id for one in found] == ["a0", "a1", "a2"]
    await other.enqueue([spec(id="b")], NOW)
    found, cursor = await store.events_since(cursor)
    more, cursor = await store.events_since(cursor)
    assert [one.job_id for one in found + more] == ["a3", "a4", "b"]
    assert (await store.events_since(cursor))[0] == []

    follower = await Queue(store, {}).follow_events()
    await other.enqueue([spec(id=f"c{n}") for n in range(4)], NOW)
    assert len(await follower.more()) == 3
    assert follower.behind
    assert short(await follower.more()) == [("job.enqueued", "c3")]
    assert not follower.behind


async def test_a_late_commit_is_not_missed_between_two_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (postgres_events, reading):
        monkeypatch.setattr(module, "EVENTS_AT_ONCE", 2)
    place = PostgresPlace.take(tmp_path)
    store = await place.open()
    _, cursor = await store.events_since(None)
    settings = {"search_path": place.schema}
    slow = await asyncpg.connect(server_url(), server_settings=settings)
    try:
        await slow.execute("BEGIN")
        await slow.execute(FORGED.format("pg_current_xact_id()"), "slow")
        await store.enqueue([spec(id=name) for name in "abc"], NOW)
        found, cursor = await store.events_since(cursor)
        assert [one.job_id for one in found] == ["a", "b"]
        await slow.execute("COMMIT")
        names = []
        while found:
            found, cursor = await store.events_since(cursor)
            names += [one.job_id or one.name for one in found]
        assert names == ["c", "slow"]
    finally:
        await slow.close()
        await place.give_back()


FORGED = (
    "INSERT INTO events (at, kind, actor, via, name, xact)"
    " VALUES (1, 'config.changed', '', '', $1, {})"
)


async def test_events_of_another_server_are_not_new(tmp_path: Path) -> None:
    """A dump has the numbers of transactions of the server that it was made on."""
    place = PostgresPlace.take(tmp_path)
    store = await place.open()
    settings = {"search_path": place.schema}
    connection = await asyncpg.connect(server_url(), server_settings=settings)
    try:
        _, cursor = await store.events_since(None)
        await connection.execute(FORGED.format("'99000000000'::xid8"), "restored")
        await store.enqueue([spec(id="a")], NOW)
        for _ in range(2):
            found, cursor = await store.events_since(cursor)
            assert "restored" not in [one.name for one in found]
        with pytest.raises(InvalidInput):
            await store.events_since("99000000000:99000000000:")
    finally:
        await connection.close()
        await place.give_back()


async def test_old_events_are_forgotten_by_pages(store: Store, place: Place) -> None:
    """The oldest first. One from the very moment stays."""
    for n in range(5):
        await store.enqueue([spec(id=f"j{n}")], NOW + n)
    await store.enqueue([spec(id="new")], NOW + 5)
    for count, left in ((3, ["j3", "j4", "new"]), (2, ["new"]), (0, ["new"])):
        assert await store.forget_events(NOW + 5, 3) == count
        assert [row[1] for row in await told(place)] == left


async def test_a_transaction_that_commits_late_is_not_missed(tmp_path: Path) -> None:
    """Its key is lower than that of one that committed before."""
    place = PostgresPlace.take(tmp_path)
    store = await place.open()
    follower = await Queue(store, {}).follow_events()
    insert = (
        "INSERT INTO events (at, kind, actor, via, name) VALUES (1, 'config.changed', '', '', $1)"
    )
    settings = {"search_path": place.schema}
    slow, quick = [await asyncpg.connect(server_url(), server_settings=settings) for _ in "ab"]
    try:
        await slow.execute("BEGIN")
        await slow.execute(insert, "slow")
        await quick.execute(insert, "quick")
        assert [one.name for one in await follower.more()] == ["quick"]
        await quick.execute("BEGIN")
        await quick.execute(insert, "undone")
        assert await follower.more() == []
        await slow.execute("COMMIT")
        await quick.execute("ROLLBACK")
        assert [one.name for one in await follower.more()] == ["slow"]
        await quick.execute("UPDATE events SET n = 5")  # a bulk verb that goes on
        assert await follower.more() == []
    finally:
        for connection in (slow, quick):
            await connection.close()
        await place.give_back()


async def test_a_forged_event_keeps_nobody_from_reading(store: Store, place: Place) -> None:
    await store.enqueue([spec(id="a")], NOW)
    values = "1e300, 'no.such\x1b[31m', 'x', 'y', 'a', '[not JSON'"
    columns = "at, kind, actor, via, job_id, detail"
    await place.execute(f"INSERT INTO events ({columns}) VALUES ({values})")
    queue = Queue(store, {})
    found = await history(queue, 1)
    assert [str(event.kind) for event in found] == ["no.such\x1b[31m", "job.enqueued"]
    assert found[0].to_json()["detail"] == {"unreadable": "[not JSON"}
    assert [column.cell(found[0], NOW)[0] for column in EVENTS.terminal][1] == "no.such\\x1b[31m"
    _, found = await queue.events_of("a")
    assert len(found) == 1


@pytest.mark.parametrize("wrong", [b"\xff\x00", "zz", 1.5, None])
def test_a_forged_event_is_shown_whatever_its_columns_hold(wrong: object) -> None:
    columns = ("seq", "at", "kind", "actor", "via", "job", "job_id", "last_job", "name", "n")
    row = dict.fromkeys(columns, wrong) | {"seq": 1, "detail": b'{"a": ' + b"[" * 100_000}
    for kind in (b"job.enqueued", "schedule.missed"):
        event = to_event(row | {"kind": kind})
        assert event.to_json()["kind"] == str(event.kind) != ""
        for column in (*EVENTS.terminal, *EVENTS.pipe):
            assert column.value(event, NOW).isprintable()


async def test_a_follower_survives_a_clock_that_is_set_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = NOW + 3600
    monkeypatch.setattr(store, "clock", lambda: now)
    await hired(store)
    [early, late] = await store.enqueue([spec(id="early"), spec(id="late")], NOW)
    await run(store, early, now=NOW + 3600)
    follower = await Queue(store, {}).follow_events()
    [held] = await claim(store, now=NOW + 3600)
    assert short(await follower.more()) == [("job.started", "late")]
    now = NOW
    await finish(store, "sup", ending(held, Outcome.COMPLETED, now=NOW + 1), now=NOW + 1)
    assert short(await follower.more()) == [("job.completed", "late")]
    for _ in range(3):
        now += 1800
        assert await follower.more() == []
    assert late.id == "late"


async def test_what_has_a_name_without_having_events(store: Store) -> None:
    await store.enqueue([spec(queue="mail")], NOW)
    await store.add_hook(new_hook("pager", ["dead"], NOW, cwd="/", command=["true"]))
    given = {"every": 60, "tz": "UTC"}
    await add(store, "nightly", given, "true", defaults=defaults(), env={})
    for word in ("mail", "pager", "nightly", "keep-events"):
        assert await is_name(store, word), word
    for word in ("nobody", "", "a\0b"):
        assert not await is_name(store, word), word


async def test_where_a_number_of_events_or_attempts_begins(store: Store, place: Place) -> None:
    await hired(store)
    for number in range(5):
        [job] = await store.enqueue([spec()], NOW + number)
        await run(store, job, now=NOW + number)
    moments = "SELECT finished_at FROM attempts ORDER BY finished_at"
    found = [at for (at,) in await place.execute(moments)]
    assert len(found) == 5
    assert await store.attempt_floor(found[3], 0) == found[3]
    assert await store.attempt_floor(found[3], 2) == found[1]
    assert await store.attempt_floor(found[3] - 0.001, 2) == found[0]
    assert await store.attempt_floor(found[3], 4) is None
    await place.execute("DELETE FROM events WHERE kind <> 'job.enqueued'")
    assert await store.event_floor(NOW + 3, 2) == NOW + 1
    assert await store.event_floor(NOW + 2.5, 0) == NOW + 2
    assert await store.event_floor(NOW + 9, 5) is None
