"""Copying one store into another: the verbs on every store, and the whole of it between all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.errors import Conflict, InvalidInput
from queuectl_core.domain.model import Attempt, Filter, Job, Outcome, Rate, State
from queuectl_core.domain.rollup import DAY, HOUR, Rollup, reach
from queuectl_core.operations import copy
from queuectl_core.operations.attempt_output import log_path
from queuectl_core.operations.copy import Copied
from queuectl_core.operations.hooks import new_hook
from queuectl_core.operations.schedules import add as add_schedule
from queuectl_core.store.copy import CopyBatch, Queues, Tail
from queuectl_core.store.open import open_store
from queuectl_core.store.protocol import JobAction, Store
from queuectl_core.system.clocks import monotonic
from queuectl_core.system.host import process_start

from ..support import NOW, defaults, ending, eventually_async, spec, supervisor
from .stores import PLACES, Place
from .tools import change, claim, finish, hired, real_counts, run

NO_QUEUES = Queues((), ())


@pytest.fixture(params=sorted(PLACES))
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """A second place, of every kind."""
    folder = tmp_path / "target"
    folder.mkdir()
    made = PLACES[request.param](folder)
    yield made
    await made.clear()


async def marked(place: Place) -> Store:
    """The store there, half a copy or not; closed with the place."""
    store = await open_store(place.url, {"HOME": str(place.folder)}, marked=True)
    place._open.append(store)
    return store


def ignore(what: str, done: int, total: int) -> None:
    """Nobody looks how far it is."""


async def everything(store: Store) -> dict[str, Any]:
    """All that a store says of what is in it."""
    jobs = await store.scan(Filter(), 1_000_000)
    attempts: dict[int, list[Attempt]] = {job.seq: await store.attempts(job.seq) for job in jobs}
    return {
        "jobs": jobs,
        "attempts": attempts,
        "tails": {
            (seq, one.number): await store.tail(seq, one.number)
            for seq, found in attempts.items()
            for one in found
        },
        "config": await store.config(),
        "counts": await store.counts(),
        "dead": await store.dead_groups(100),
        "events": [one.to_json() for one in await store.copying().events(0, 1000)],
        "rollup": [await store.rollup(reach(NOW - back, NOW)) for back in (HOUR, DAY, 30 * DAY)],
        "queues": await queues(store),
    }


async def queues(store: Store) -> list[Any]:
    """Queues, hooks and schedules; the starts without an order."""
    found = await store.copying().queues()
    return [*found._replace(starts=()), sorted(found.starts)]


async def one_of_each(store: Store) -> None:
    """Jobs in every state in which nobody runs them, with what can belong to a job."""
    await hired(store)
    limits = {"limit": 5, "per_host": 4, "per_key": 3, "rate": Rate(1000, 60.0)}
    await store.set_queue("default", limits)
    await store.set_config("max-retries", "7")
    await store.set_config("shell", "/bin/sh -e")
    odd = {"A": "ü\n", "B": "\ud800"}
    specs = [
        spec(("printf", "%s", "a b\t\\"), id="argv", env=odd, queue="other", priority=-5),
        spec("echo 'ü' \\ \t \n x", id="text", cwd="/ü", backoff_base=1.5, run_at=NOW + 0.125),
        spec("later", id="later", run_at=NOW + 1e6, nice=5, memory_limit=1 << 40, cpu_seconds=9),
    ]
    await store.enqueue(specs, NOW)
    (gone,) = await store.enqueue([spec(id="gone", priority=90)], NOW)
    (job,) = await store.enqueue([spec(id="done", priority=80, output_limit=10)], NOW)
    await change(store, JobAction.REMOVE, [gone.seq], NOW, strict=True)
    await run(store, job, tail=b"\x00\xff done\r\n")
    for name, retries in (("dead", 1), ("failed", 5)):
        (job,) = await store.enqueue([spec(id=name, priority=70, max_retries=retries)], NOW)
        await run(store, job, Outcome.FAILED, reason="exit 1: bad 17", tail=b"x" * 65536)
    (job,) = await store.enqueue([spec(id="again", priority=60, max_retries=9)], NOW)
    for _ in range(3):
        await run(store, job, Outcome.FAILED, reason="exit 1: why", tail=b"why\n")
        await change(store, JobAction.RETRY, [job.seq], NOW, strict=True)
    (job,) = await store.enqueue([spec(id="ended", priority=70)], NOW)
    await change(store, JobAction.CANCEL, [job.seq], NOW, strict=True)
    pause = {"paused_at": NOW, "paused_by": "ü", "paused_reason": "why", "paused_until": NOW + 9}
    await store.set_queue("gone", {"rate": Rate(7, 60.0)} | pause)
    await store.add_hook(new_hook("h", ["dead"], NOW, cwd="/", url="http://h", queue="other"))
    await add_schedule(store, "s", {"every": 60, "tz": "UTC"}, "true", defaults=defaults(), env={})
    (last,) = await store.enqueue([spec(id="last")], NOW)
    await change(store, JobAction.REMOVE, [last.seq], NOW, strict=True)
    await store.deregister("sup")


# -- the verbs --------------------------------------------------------------------------


async def test_what_is_kept_is_read_by_key(store: Store) -> None:
    await one_of_each(store)
    copying = store.copying()
    again = (await store.by_id("again"))[0].seq
    attempts = await copying.attempts((0, 0), 1 << 60, 100)
    assert [one.key for one in attempts] == sorted(one.key for one in attempts)
    assert [one.attempt for one in attempts if one.seq == again] == await store.attempts(again)
    dead = (await store.by_id("dead"))[0].seq
    assert {one.seq for one in attempts if one.made_dead} == {dead}
    assert await copying.attempts((again, 1), again, 1) == [
        one for one in attempts if one.key == (again, 2)
    ]
    assert await copying.attempts((0, 0), again - 1, 100) == [
        one for one in attempts if one.seq < again
    ]
    assert await copying.tails((again, 1), again, 1) == [Tail(again, 2, b"why\n")]
    assert await copying.totals() == (len(attempts), len(attempts), 0, 0)
    highest = max(job.seq for job in await store.scan(Filter(), 100))
    assert await copying.highest() == highest + 1, "the last one was removed: its seq is taken"


async def test_an_empty_store_has_nothing_to_copy(store: Store) -> None:
    copying = store.copying()
    assert await copying.highest() == 0
    assert await copying.totals() == (0, 0, 0, 0)
    assert await copying.pieces(NOW) == []
    assert await copying.mark() is None


async def test_only_an_empty_store_is_begun(store: Store) -> None:
    copying = store.copying()
    await store.set_config("max-retries", "5")
    assert not await copying.begin("m", 100)
    await store.set_config("max-retries", None)
    (job,) = await store.enqueue([spec()], NOW)
    assert not await copying.begin("m", 100)
    await change(store, JobAction.REMOVE, [job.seq], NOW, strict=True)
    assert await copying.mark() is None
    assert await copying.begin("m", 100)
    assert await copying.mark() == "m"
    assert not await copying.begin("m", 100)
    (job,) = await store.enqueue([spec()], NOW)
    assert job.seq == 101


async def test_a_marked_store_opens_for_nobody_and_takes_no_workers(
    store: Store, place: Place
) -> None:
    await store.copying().begin('{"shown": "the old one"}', 0)
    with pytest.raises(Conflict, match="is half a copy of the old one"):
        await place.open()
    with pytest.raises(Conflict, match="is half a copy"):
        await store.register(supervisor("sup"), [("sup-1", ())], NOW)
    assert await store.supervisors() == []
    await store.copying().finish('{"shown": "the old one"}', {"timeout": "5"}, [], 7, NO_QUEUES)
    assert (await (await place.open()).config()) == {"timeout": "5"}
    await store.register(supervisor("sup"), [("sup-1", ())], NOW)
    assert [job.seq for job in await store.enqueue([spec()], NOW)] == [8]


async def test_a_parcel_is_taken_with_the_latest_mark_only(store: Store) -> None:
    copying = store.copying()
    (job,) = [_job(1)]
    await copying.begin("a", 0)
    await copying.receive(CopyBatch([job]), "a", "b", NOW)
    with pytest.raises(Conflict, match="somebody else is copying"):
        await copying.receive(CopyBatch([_job(2)]), "a", "c", NOW)
    with pytest.raises(Conflict, match="somebody else is copying"):
        await copying.finish("a", {}, [], 1, NO_QUEUES)
    assert await copying.mark() == "b"
    assert await store.scan(Filter(), 10) == [job]
    with pytest.raises(Conflict, match="is taken"):
        await copying.receive(CopyBatch([_job(3, id="j1")]), "b", "c", NOW)
    await copying.receive(CopyBatch([_job(2)], emptied=(1, 2)), "b", "c", NOW)
    assert await store.scan(Filter(), 10) == [_job(2)]
    assert await store.counts() == await real_counts(store)
    assert await store.miscounted() == 0


def _job(seq: int, **fields: Any) -> Job:
    values: dict[str, Any] = {
        **{"id": f"j{seq}", "command": "true", "max_retries": 3, "backoff_base": 2.0},
        **{"priority": 0, "run_at": NOW, "timeout_seconds": 0.0, "cwd": "/", "env": {}},
        **{"queue": "default", "state": State.PENDING, "attempts": 0, "crashes": 0, "runs": 0},
        **{"created_at": NOW, "updated_at": NOW, "started_at": None, "finished_at": None},
        **{"exit_code": None, "last_error": None, "worker": None},
    }
    return Job(seq=seq, **(values | fields))


async def test_a_copied_job_is_claimed_when_it_is_due(store: Store) -> None:
    copying = store.copying()
    await copying.begin("a", 0)
    jobs = [_job(1), _job(2, run_at=NOW + 50), _job(3, state=State.FAILED, run_at=NOW + 10)]
    await copying.receive(CopyBatch(jobs), "a", "a", NOW)
    await copying.finish("a", {}, [], 3, NO_QUEUES)
    await hired(store)
    assert [job.id for job in await claim(store, count=3)] == ["j1"]
    assert [job.id for job in await claim(store, count=3, now=NOW + 20)] == ["j3"]
    assert [job.id for job in await claim(store, count=3, now=NOW + 60)] == ["j2"]


# -- all of it --------------------------------------------------------------------------


async def test_there_and_back_everything_is_the_same(
    store: Store, target: Place, tmp_path: Path
) -> None:
    await one_of_each(store)
    wanted = await everything(store)
    there = await marked(target)
    copied = await copy.copy(store, there, ignore)
    assert copied.same
    assert not copied.resumed
    assert await everything(there) == wanted
    assert await everything(store) == wanted, "the source is as it was"
    assert await there.miscounted() == 0
    back = PLACES["sqlite"](tmp_path)
    back.url = str(tmp_path / "back.db")
    again = await marked(back)
    try:
        assert (await copy.copy(there, again, ignore)).same
        assert await everything(again) == wanted
        highest = await store.copying().highest()
        for one in (there, again, store):
            (job,) = await one.enqueue([spec()], NOW)
            assert job.seq == highest + 1, "keys go on as in the source"
    finally:
        await back.clear()


async def test_statistics_from_before_there_were_rollups_come_along(tmp_path: Path) -> None:
    source, target = PLACES["sqlite"](tmp_path), PLACES["postgres"](tmp_path)
    try:
        store, there = await source.open(), await marked(target)
        await hired(store)
        (job,) = await store.enqueue([spec()], NOW)
        await run(store, job)
        await store.deregister("sup")
        await source.close(store)
        import sqlite3

        with closing(sqlite3.connect(source.url)) as raw, raw:
            raw.execute("DELETE FROM rollups")
            raw.execute("INSERT INTO rollups_after SELECT finished_at FROM attempts")
        store = await source.open()
        for now in (NOW + 60, NOW + 100 * DAY):
            ((_, _, rollup),) = await store.copying().pieces(now)
            assert rollup.completed == 1
        assert (await copy.copy(store, there, ignore)).same
        assert (await there.rollup(0)).completed == 1
    finally:
        await source.clear()
        await target.clear()


async def test_what_changes_meanwhile_comes_along(
    store: Store, target: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "JOBS_AT_ONCE", 2)
    jobs = await store.enqueue([spec(id=f"job{n}") for n in range(9)], NOW)
    there = await marked(target)
    changed = False

    async def meddle() -> None:
        await change(store, JobAction.CANCEL, [jobs[0].seq], NOW + 1, strict=True)
        await change(store, JobAction.REMOVE, [jobs[3].seq, jobs[8].seq], NOW + 1, strict=True)
        await store.enqueue([spec(id="late")], NOW + 1)
        last = (await store.enqueue([spec(id="gone")], NOW + 1))[0]
        await change(store, JobAction.REMOVE, [last.seq], NOW + 1, strict=True)

    compare = copy._Copy.compare

    async def meddled(self: copy._Copy) -> int:
        nonlocal changed
        if not changed:
            changed = True
            await meddle()
        return await compare(self)

    monkeypatch.setattr(copy._Copy, "compare", meddled)
    assert (await copy.copy(store, there, ignore)).same
    assert changed
    assert await everything(there) == await everything(store)


async def test_a_source_that_never_keeps_still_is_given_up(
    store: Store, target: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.enqueue([spec()], NOW)
    there = await marked(target)
    compare = copy._Copy.compare

    async def meddled(self: copy._Copy) -> int:
        await store.enqueue([spec()], NOW)
        return await compare(self)

    monkeypatch.setattr(copy._Copy, "compare", meddled)
    with pytest.raises(Conflict, match="keep changing"):
        await copy.copy(store, there, ignore)
    monkeypatch.undo()
    copied = await copy.copy(store, there, ignore)
    assert copied.same
    assert copied.resumed


async def test_much_history_goes_in_several_parcels(
    store: Store, target: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after each of its commits in turn, it always goes on to a whole copy."""
    monkeypatch.setattr(copy, "ATTEMPTS", 2)
    monkeypatch.setattr(copy, "TAILS", 2)
    monkeypatch.setattr(copy, "JOBS_AT_ONCE", 3)
    await one_of_each(store)
    there = await marked(target)
    into = there.copying()
    kind, receive = type(into), type(into).receive
    stops = 0

    class Stopped(Exception):
        pass

    for allowed in range(100):
        left = allowed

        async def limited(self: Any, *args: Any) -> None:
            nonlocal left
            if not left:
                raise Stopped
            left -= 1
            await receive(self, *args)

        monkeypatch.setattr(kind, "receive", limited)
        try:
            copied = await copy.copy(store, there, ignore)
        except Stopped:
            stops += 1
            continue
        break
    assert stops > 3
    assert copied.same
    assert await everything(there) == await everything(store)


# -- refused ----------------------------------------------------------------------------


async def test_live_workers_on_either_side_are_named(store: Store, target: Place) -> None:
    there = await marked(target)
    await store.enqueue([spec()], NOW)
    alive = {"lease_mono": monotonic() + 1000, "pid_start": process_start(os.getpid())}
    for side in (store, there):
        now = side.clock()
        row = supervisor("busy", heartbeat_at=now, lease_until=now + 1000, **alive)
        await side.register(row, [("busy-1", ())], now)
        with pytest.raises(Conflict, match=r"workers are up on store .*: busy on .*\(pid \d+\)"):
            await copy.copy(store, there, ignore)
        await side.deregister("busy")
    assert await there.copying().mark() is None
    assert (await copy.copy(store, there, ignore)).same


async def test_jobs_left_processing_must_be_recovered_first(store: Store, target: Place) -> None:
    there = await marked(target)
    await store.enqueue([spec(), spec()], NOW)
    await hired(store)
    await claim(store)  # by a supervisor whose process, by its start, is not this one
    with pytest.raises(Conflict, match=r"1 job of store .* is processing still; queuectl worker"):
        await copy.copy(store, there, ignore)
    assert await there.copying().mark() is None


async def test_a_target_that_holds_something_else_is_left_alone(
    store: Store, target: Place
) -> None:
    there = await marked(target)
    await store.enqueue([spec(id="mine")], NOW)
    await there.enqueue([spec(id="theirs")], NOW)
    with pytest.raises(Conflict, match=r"is not empty \(1 job\)"):
        await copy.copy(store, there, ignore)
    assert [job.id for job in await there.scan(Filter(), 10)] == ["theirs"]
    (job,) = await there.scan(Filter(), 10)
    await change(there, JobAction.REMOVE, [job.seq], NOW, strict=True)
    await there.copying().begin('{"from": "elsewhere", "shown": "x.db", "upto": 0}', 0)
    with pytest.raises(Conflict, match=r"is half a copy of x\.db, not of"):
        await copy.copy(store, there, ignore)
    with pytest.raises(InvalidInput, match="is the store itself"):
        await copy.copy(store, store, ignore)


async def test_what_was_enqueued_into_the_target_is_never_lost(
    store: Store, target: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = await marked(target)
    await store.enqueue([spec(id=f"job{n}") for n in range(3)], NOW)
    begin = copy._Copy.begin

    async def crowded(self: copy._Copy) -> bool:
        resumed = await begin(self)
        await there.enqueue([spec(id="theirs")], NOW)  # by who had it open before
        return resumed

    monkeypatch.setattr(copy._Copy, "begin", crowded)
    copied: Copied = await copy.copy(store, there, ignore)
    assert not copied.same
    found = [job.id for job in await there.scan(Filter(), 10)]
    assert found == ["theirs", "job2", "job1", "job0"]


# -- output, and the middle of it -------------------------------------------------------


async def test_whole_outputs_on_this_host_come_along(store: Store, target: Place) -> None:
    await one_of_each(store)
    seq = (await store.by_id("done"))[0].seq
    path = log_path(store.directory, seq, 1)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"all of it\n")
    there = await marked(target)
    copied = await copy.copy(store, there, ignore)
    assert copied.outputs == 1
    place = log_path(there.directory, seq, 1)
    assert place.read_bytes() == b"all of it\n"
    path.unlink()
    assert place.read_bytes() == b"all of it\n"
    assert [one.name for one in place.parent.iterdir()] == [place.name]
    assert there.directory.stat().st_mode & 0o077 == 0


def test_an_output_is_copied_where_it_cannot_be_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    source, place = tmp_path / "a.log", tmp_path / "d" / "logs" / "0" / "1.1.log"
    source.write_bytes(b"whole")
    assert copy.link_output(source, place, tmp_path / "d")
    assert place.read_bytes() == b"whole"
    assert place.stat().st_mode & 0o777 == 0o600
    assert not copy.link_output(tmp_path / "none", place, tmp_path / "d")


async def test_killed_half_way_the_same_command_goes_on(store: Store, target: Place) -> None:
    count = 8_000
    async with store.batch() as batch:
        await batch.add([(n, spec(id=f"job{n}")) for n in range(count)])
        await batch.commit(NOW)
    words = [sys.executable, "-m", "queuectl_tui", "store", "copy", "--to", target.url]
    env = {**os.environ, "QUEUECTL_STORE": store.address}
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        there = await marked(target)

        async def some() -> bool:
            assert process.poll() is None, process.communicate()
            return sum((await there.counts()).values()) > 0

        await eventually_async(some, every=0.001)
        process.send_signal(signal.SIGSTOP)
    finally:
        process.kill()
        process.communicate()
    assert 0 < sum((await there.counts()).values()) < count
    with pytest.raises(Conflict, match="half a copy"):
        await target.open()
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"pending in default\t{count}\t{count}\n" in done.stdout
    assert await there.copying().mark() is None
    assert await there.scan(Filter(), count + 1) == await store.scan(Filter(), count + 1)


async def test_sums_of_many_supervisors_become_one(tmp_path: Path) -> None:
    """PostgreSQL keeps a row for each supervisor; what is copied is their sum."""
    place = PLACES["postgres"](tmp_path)
    try:
        store = await place.open()
        for name in ("a", "b"):
            await hired(store, name)
            (job,) = await store.enqueue([spec()], NOW)
            await run(store, job, owner=name)
        ((_, _, rollup),) = await store.copying().pieces(NOW)
        assert isinstance(rollup, Rollup)
        assert rollup.completed == 2
    finally:
        await place.clear()


async def test_what_has_happened_and_is_not_delivered_yet_comes_along(
    store: Store, place: Place, target: Place
) -> None:
    await store.add_hook(new_hook("each", ["dead"], NOW, cwd="/", command=["true"]))
    await store.enqueue([spec(id="a")], NOW)
    [job] = await store.by_id("a")
    await place.execute(f"INSERT INTO hook_marks (kind, job) VALUES ('dead', {job.seq})")
    there = await marked(target)
    assert (await copy.copy(store, there, ignore)).same
    await there.deliver_hooks(NOW)
    assert (await there.counts())[State.PENDING, "hooks"] == 1


async def test_hooks_and_what_waits_for_their_digests_come_along(
    store: Store, target: Place
) -> None:
    for name, digest in (("each", 0.0), ("sum", 60.0)):
        given: dict[str, Any] = {"digest": digest or None, "command": ["true"]}
        await store.add_hook(new_hook(name, ["dead"], NOW, cwd="/", **given))
    await hired(store)
    await store.enqueue([spec(max_retries=1), spec(id="later", max_retries=1)], NOW)
    [job] = await claim(store)
    await finish(store, "sup", ending(job, Outcome.FAILED))
    await store.deregister("sup")
    there = await marked(target)
    assert (await copy.copy(store, there, ignore)).same
    assert await there.hooks() == await store.hooks()
    assert await there.hook_waiting() == await store.hook_waiting() == {"sum": (1, NOW)}
    await hired(there)
    [job] = await claim(there, queues=("default",))
    await finish(there, "sup", ending(job, Outcome.FAILED))
    assert await there.hook_waiting() == {"sum": (2, NOW)}
    assert (await there.counts())[State.PENDING, "hooks"] == 2
