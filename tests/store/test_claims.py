"""Conformance: claims, results, leases and orders."""

from __future__ import annotations

import time

import pytest

from queuectl_core.domain.claims import AttemptStarted, ClaimRequest, ClaimSlot, WorkerCommand
from queuectl_core.domain.errors import Conflict, NotFound
from queuectl_core.domain.model import Filter, Job, Outcome, State
from queuectl_core.store.protocol import JobAction, Store
from queuectl_core.system.host import is_gone

from ..support import NOW, ending, spec, supervisor
from .tools import change, claim, finish, hired, real_counts, row_of


def ids(jobs: list[Job] | tuple[Job, ...]) -> list[str]:
    return [job.id for job in jobs]


async def now_of(store: Store, job: Job) -> Job:
    found = await store.by_seq(job.seq)
    assert found is not None
    return found


# -- claiming -------------------------------------------------------------------------


async def test_a_claim_gives_the_job_to_the_worker(store: Store) -> None:
    await hired(store, "sup", "w1")
    [job] = await store.enqueue([spec(id="a", run_at=NOW - 5)], NOW)
    [held] = (
        await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("w1")], NOW + 1))
    ).claimed
    assert held == job._replace(
        state=State.PROCESSING,
        owner="sup",
        shim="sup",
        worker="w1",
        runs=1,
        started_at=NOW + 1,
        updated_at=NOW + 1,
    )
    assert await now_of(store, job) == held
    assert await claim(store) == [], "a job is claimed once"


async def test_a_new_worker_has_done_nothing(store: Store) -> None:
    await hired(store)
    await store.add_workers("sup", [("sup-2", ("mail",))], NOW, up=False)
    for worker, _ in await store.workers():
        assert (worker.done, worker.failed, worker.job, worker.job_pid) == (0, 0, None, None)
        assert (worker.cpu_percent, worker.memory, worker.started_at) == (None, None, NOW)


async def test_claims_go_by_priority_then_time_then_arrival(store: Store) -> None:
    await hired(store)
    await store.enqueue(
        [
            spec(id="plain-1"),
            spec(id="plain-2"),
            spec(id="earlier", run_at=NOW - 10),
            spec(id="low", priority=-1, run_at=NOW - 100),
            spec(id="high", priority=9),
            spec(id="higher", priority=10),
        ],
        NOW,
    )
    wanted = ["higher", "high", "earlier", "plain-1", "plain-2", "low"]
    assert ids(await claim(store, count=2)) == wanted[:2]
    assert ids(await claim(store, count=10)) == wanted[2:]


async def test_claims_go_by_priority_across_queues(store: Store) -> None:
    await hired(store)
    await store.enqueue(
        [spec(id=f"{q}{p}", queue=q, priority=p) for p in range(3) for q in ("a", "b")], NOW
    )
    assert ids(await claim(store, count=10)) == ["a2", "b2", "a1", "b1", "a0", "b0"]


async def test_a_worker_takes_from_its_queues_only(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id=q, queue=q) for q in ("mail", "video", "default")], NOW)
    assert await claim(store, queues=("nowhere",)) == []
    assert ids(await claim(store, count=5, queues=("video", "mail"))) == ["mail", "video"]
    assert ids(await claim(store, count=5)) == ["default"]


async def test_a_worker_for_all_queues_takes_what_others_cannot(store: Store) -> None:
    await hired(store, "sup", "any", "mail")
    await store.enqueue(
        [spec(id="letter", queue="mail", priority=9), spec(id="film", queue="video")], NOW
    )
    openings = [ClaimSlot("any"), ClaimSlot("mail", ("mail",))]
    turn = await store.settle_and_claim(ClaimRequest("sup", [], openings, NOW))
    assert {job.id: job.worker for job in turn.claimed} == {"letter": "mail", "film": "any"}


@pytest.mark.parametrize("lanes", [(), ("default",)])
async def test_a_claim_that_leaves_out_jobs_that_have_crashed(
    store: Store, lanes: tuple[str, ...]
) -> None:
    """Also those whose backoff is over. They stay as they are, and are claimed later."""
    await hired(store)
    await store.enqueue([spec(id=one, priority=9) for one in ("crashed", "again")], NOW)
    for job, state in zip(await claim(store, count=2), (State.PENDING, State.FAILED), strict=True):
        end = ending(job, Outcome.CRASHED)
        after = end.transition._replace(state=state, crashes=1, run_at=NOW)
        await store.settle_and_claim(ClaimRequest("sup", [end._replace(transition=after)], [], NOW))
    await store.enqueue([spec(id="healthy"), spec(id="other")], NOW)
    openings = [ClaimSlot("w1", lanes), ClaimSlot("w2", lanes), ClaimSlot("w3", lanes)]
    turn = await store.settle_and_claim(ClaimRequest("sup", [], openings, NOW + 1, suspects=False))
    assert ids(turn.claimed) == ["healthy", "other"]
    assert turn.next_due is None or turn.next_due > NOW + 60  # not at once, again and again
    assert (
        await store.settle_and_claim(ClaimRequest("sup", [], openings, NOW + 1, suspects=False))
    ).claimed == ()
    turn = await store.settle_and_claim(ClaimRequest("sup", [], openings, NOW + 1))
    assert sorted(ids(turn.claimed)) == ["again", "crashed"]


async def test_workers_of_different_queues_in_one_claim(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id=q, queue=q) for q in ("mail", "video", "default")], NOW)
    openings = [ClaimSlot("w1", ("mail",)), ClaimSlot("w2"), ClaimSlot("w3", ("mail",))]
    turn = await store.settle_and_claim(ClaimRequest("sup", [], openings, NOW))
    given = {job.worker: job.id for job in turn.claimed}
    assert given == {"w1": "mail", "w2": "video"}


async def test_a_queue_named_twice_gives_each_job_once(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id="a"), spec(id="b")], NOW)
    found = await claim(store, count=4, queues=("default", "default"))
    assert ids(found) == ["a", "b"]
    assert all(job.runs == 1 for job in found)


async def test_no_more_jobs_than_slots(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec() for _ in range(10)], NOW)
    assert len(await claim(store, count=3)) == 3
    assert await store.counts() == {(State.PENDING, "default"): 7, (State.PROCESSING, "default"): 3}
    assert (await store.settle_and_claim(ClaimRequest("sup", [], [], NOW))).claimed == ()


async def test_nothing_is_claimed_for_somebody_unknown(store: Store) -> None:
    await store.enqueue([spec()], NOW)
    assert await claim(store, "nobody") == []
    await hired(store)
    await store.deregister("sup")
    assert await claim(store) == []


async def test_a_supervisor_that_holds_a_job_stays_on_the_list(store: Store) -> None:
    """Its row is how the job is found, however it left."""
    await hired(store)
    await store.enqueue([spec()], NOW)
    (job,) = await claim(store)
    await store.deregister("sup")
    assert [row.id for row in await store.supervisors()] == ["sup"]
    await store.settle_and_claim(ClaimRequest("sup", [ending(job)], [], NOW))
    await store.deregister("sup")
    assert await store.supervisors() == []


async def test_a_job_waits_for_its_time(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id="later", run_at=NOW + 60), spec(id="much", run_at=NOW + 90)], NOW)
    turn = await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("w")], NOW + 59.9))
    assert (turn.claimed, turn.next_due) == ((), NOW + 60)
    turn = await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("w")], NOW + 60))
    assert ids(turn.claimed) == ["later"]
    assert turn.next_due == NOW + 90
    turn = await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("w")], NOW + 90))
    assert turn.next_due is None


async def test_jobs_scheduled_far_ahead_do_not_stand_in_the_way(store: Store) -> None:
    await hired(store)
    ahead = [spec(priority=100, run_at=NOW + 86400) for _ in range(200)]
    await store.enqueue([*ahead, spec(id="due", priority=-5)], NOW)
    assert ids(await claim(store, count=3)) == ["due"]


async def test_a_failed_job_comes_back_when_its_wait_is_over(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id="a", backoff_base=2.0)], NOW)
    [held] = await claim(store)
    turn = await finish(store, "sup", ending(held, Outcome.FAILED, reason="exit 1"))
    assert turn.next_due == NOW + 2
    assert await claim(store, now=NOW + 1.9) == []
    [held] = await claim(store, now=NOW + 2)
    assert (held.id, held.attempts, held.runs) == ("a", 1, 2)
    await finish(store, "sup", ending(held, Outcome.FAILED, now=NOW + 2))
    [held] = await claim(store, now=NOW + 6)
    await finish(store, "sup", ending(held, Outcome.FAILED, now=NOW + 6, reason="exit 1"))
    after = await now_of(store, held)
    assert (after.state, after.attempts, after.last_error) == (State.DEAD, 3, "exit 1")
    assert await claim(store, now=NOW + 1e6) == []


async def test_settling_and_claiming_are_one_commit(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id=name) for name in "abc"], NOW)
    [held] = await claim(store)
    turn = await store.settle_and_claim(
        ClaimRequest("sup", [ending(held)], [ClaimSlot("sup-1")], NOW + 1)
    )
    assert ids(turn.claimed) == ["b"]
    assert (await now_of(store, held)).state is State.COMPLETED
    assert await store.counts() == await real_counts(store)


async def test_an_interrupted_job_is_next_again_and_nothing_is_counted(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id="a"), spec(id="b")], NOW)
    [held] = await claim(store)
    await finish(store, "sup", ending(held, Outcome.INTERRUPTED, reason="worker stop --now"))
    after = await now_of(store, held)
    assert (after.state, after.attempts, after.crashes) == (State.PENDING, 0, 0)
    assert (after.owner, after.shim) == (None, None)
    assert ids(await claim(store)) == ["a"]


async def test_a_crash_is_counted_apart(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id="a")], NOW)
    for crashes in (1, 2, 3):
        [held] = await claim(store)
        await finish(store, "sup", ending(held, Outcome.CRASHED, reason="killed"))
        after = await now_of(store, held)
        assert (after.attempts, after.crashes) == (0, crashes)
    assert after.state is State.DEAD
    assert after.last_error == "crashed 3 times, max-crashes is 3: killed"


# -- the fence ------------------------------------------------------------------------


async def test_a_result_is_taken_from_the_holder_of_that_attempt_only(store: Store) -> None:
    await hired(store)
    await hired(store, "rival")
    await store.enqueue([spec(id="a", backoff_base=0)], NOW)
    [held] = await claim(store)
    result = ending(held, tail=b"mine")
    key = frozenset({(held.seq, held.runs)})

    assert (await finish(store, "rival", result)).refused == key, "not its owner"
    assert (await finish(store, "nobody", result)).refused == key
    assert await now_of(store, held) == held

    old = ending(held, Outcome.FAILED)
    assert not (await finish(store, "sup", old)).refused
    [held] = await claim(store)
    assert (await finish(store, "sup", result)).refused == key, "of an earlier attempt"
    assert await now_of(store, held) == held

    assert not (await finish(store, "sup", ending(held))).refused
    done = await now_of(store, held)
    twice = await finish(store, "sup", ending(held, Outcome.FAILED))
    assert twice.refused == {(held.seq, held.runs)}, "it has ended already"
    assert await now_of(store, held) == done
    assert [a.outcome for a in await store.attempts(held.seq)] == [
        Outcome.FAILED,
        Outcome.COMPLETED,
    ]
    assert await store.counts() == await real_counts(store)


async def test_one_refused_result_does_not_hold_up_the_others(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(id="a"), spec(id="b")], NOW)
    one, two = await claim(store, count=2)
    await finish(store, "sup", ending(one))
    turn = await finish(store, "sup", ending(one), ending(two))
    assert turn.refused == {(one.seq, one.runs)}
    assert (await now_of(store, two)).state is State.COMPLETED


async def test_a_result_for_a_job_that_is_no_more(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec()], NOW)
    [held] = await claim(store)
    gone = ending(held)._replace(seq=held.seq + 100)
    assert (await finish(store, "sup", gone)).refused == {(held.seq + 100, 1)}


async def test_the_same_result_twice_in_one_commit_counts_once(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec()], NOW)
    [held] = await claim(store)
    turn = await finish(store, "sup", ending(held), ending(held))
    assert turn.refused == {(held.seq, held.runs)}
    assert len(await store.attempts(held.seq)) == 1


# -- taking over ----------------------------------------------------------------------


async def test_a_dead_supervisors_jobs_get_a_new_owner_once(store: Store, other: Store) -> None:
    for name in ("dead", "heir", "late"):
        await hired(store, name)
    await store.enqueue([spec(id="a"), spec(id="b"), spec(id="c")], NOW)
    held = await claim(store, "dead", 2)
    [row] = [row for row in await store.supervisors() if row.id == "dead"]
    taken = await store.take_over(row, "heir", NOW + 60)
    assert taken is not None
    assert sorted(ids(taken)) == ["a", "b"]
    for job in taken:
        assert (job.owner, job.shim, job.state) == ("heir", "dead", State.PROCESSING)
        assert job == await now_of(store, job)
    assert await other.take_over(row, "late", NOW + 60) is None, "somebody was quicker"
    assert [row.id for row in await store.supervisors()] == ["heir", "late"]
    assert [worker.supervisor for worker, _ in await store.workers()] == ["heir", "late"]

    turn = await finish(store, "dead", ending(held[0]))
    assert turn.refused == {(held[0].seq, held[0].runs)}, "its lease is gone"
    assert not (await finish(store, "heir", ending(taken[0]))).refused
    assert await claim(store, "dead") == []
    assert not await store.heartbeat(row)
    assert not (await store.commands("dead")).known


async def test_a_renewed_lease_is_not_taken_over(store: Store) -> None:
    await hired(store, "slow")
    await hired(store, "heir")
    await store.enqueue([spec()], NOW)
    await claim(store, "slow")
    [stale] = [row for row in await store.supervisors() if row.id == "slow"]
    renewed = stale._replace(heartbeat_at=NOW + 9, lease_until=NOW + 39, lease_mono=39.0)
    assert await store.heartbeat(renewed)
    assert await store.take_over(stale, "heir", NOW + 31) is None
    assert (await row_of(store, "slow")).lease_mono == 39.0
    assert [row.id for row in await store.supervisors()] == ["heir", "slow"]
    assert (await store.scan(Filter(), 1))[0].owner == "slow"


async def test_a_successor_that_is_given_up_itself_takes_nothing_over(store: Store) -> None:
    await hired(store, "dead")
    await store.enqueue([spec()], NOW)
    await claim(store, "dead")
    assert await store.take_over(await row_of(store, "dead"), "nobody", NOW) is None
    assert (await store.scan(Filter(), 1))[0].owner == "dead"


async def test_what_one_supervisor_holds_and_the_shims_of_all_jobs(store: Store) -> None:
    for name in ("one", "two", "gone"):
        await hired(store, name)
    await store.enqueue([spec(id=f"j{number}") for number in range(4)], NOW)
    [first] = await claim(store, "one")
    [second] = await claim(store, "two")
    [third] = await claim(store, "gone")
    assert await store.held("one") == [first]
    assert await store.held("nobody") == []
    assert await store.shims() == {"one", "two", "gone"}
    await store.take_over(await row_of(store, "gone"), "two", NOW)
    assert {job.seq for job in await store.held("two")} == {second.seq, third.seq}
    assert await store.held("gone") == []
    assert await store.shims() == {"one", "two", "gone"}, "a job keeps the shim that it was given"
    await finish(store, "one", ending(first))
    assert await store.held("one") == []
    assert await store.shims() == {"two", "gone"}


async def test_a_dead_supervisor_without_jobs(store: Store) -> None:
    await hired(store, "dead")
    await hired(store, "heir")
    assert await store.take_over(await row_of(store, "dead"), "heir", NOW) == []
    assert [row.id for row in await store.supervisors()] == ["heir"]


async def test_adopted_jobs_are_given_a_worker(store: Store) -> None:
    await hired(store, "dead")
    await hired(store, "heir", "h1", "h2")
    await store.enqueue([spec(id="a"), spec(id="b")], NOW)
    await claim(store, "dead", 2)
    taken = await store.take_over(await row_of(store, "dead"), "heir", NOW)
    assert taken is not None
    await store.assign("heir", {taken[0].seq: "h1", taken[1].seq: "h2", 999: "h1"})
    shown = {worker.id: worker.job for worker, _ in await store.workers()}
    assert shown == {"h1": taken[0].id, "h2": taken[1].id}
    await store.assign("dead", {taken[0].seq: "stolen"})
    assert (await now_of(store, taken[0])).worker == "h1"


# -- supervisors and workers ----------------------------------------------------------


async def test_a_heartbeat_renews_the_lease(store: Store) -> None:
    row = supervisor("sup")
    assert not await store.heartbeat(row), "nobody knows it"
    await store.register(row, [("w1", ())], NOW)
    first = await row_of(store, "sup")
    later = row._replace(heartbeat_at=NOW + 10, lease_until=NOW + 45, lease_mono=40.0)
    assert await store.heartbeat(later)
    found = await row_of(store, "sup")
    assert found.heartbeat_at > first.heartbeat_at
    assert found.lease_until - found.heartbeat_at == pytest.approx(35)
    times = {"heartbeat_at": found.heartbeat_at, "lease_until": found.lease_until}
    if not store.shared_by_hosts:
        assert found.is_unchanged(later), "one host's clock is the store's"
    assert found.is_unchanged(later._replace(**times))
    assert [worker.heartbeat_at for worker, _ in await store.workers()] == [found.heartbeat_at]


async def test_whose_lease_ran_out_is_told_by_a_store_that_hosts_share(store: Store) -> None:
    length = {"elsewhere": -1, "slow": 1000}
    for name, seconds in length.items():
        row = supervisor(name, host="far", host_key="x", lease_until=NOW + seconds)
        await store.register(row, [(f"{name}-1", ())], NOW)
    lapsed = {"elsewhere": True, "slow": False}
    told = lapsed if store.shared_by_hosts else dict.fromkeys(lapsed)
    assert {row.id: row.lapsed for row in await store.supervisors()} == told
    assert {row.id: row.lapsed for _, row in await store.workers()} == told
    # A wall clock that is wrong convinces nobody of anything.
    clock = 0.0 if store.shared_by_hosts else NOW
    assert {r.id: is_gone(r, clock, 0.0) for r in await store.supervisors()} == lapsed


async def test_the_stores_clock_tells_the_time(store: Store, other: Store) -> None:
    before = store.clock()
    assert abs(before - time.time()) < 60, "of this very machine, in the tests"
    await other.changed()
    assert before <= other.clock() + 1


async def test_leaving(store: Store) -> None:
    await hired(store, "sup", "w1", "w2")
    await hired(store, "stays")
    await store.deregister("sup")
    assert [row.id for row in await store.supervisors()] == ["stays"]
    assert [worker.id for worker, _ in await store.workers()] == ["stays-1"]
    await store.deregister("sup")  # leaving twice is no trouble


async def test_workers_as_they_are_shown(store: Store) -> None:
    row = supervisor("sup", detached=True)
    await store.register(row, [("sup-1", ()), ("sup-2", ("mail", "video"))], NOW)
    await store.enqueue([spec(id="a")], NOW)
    await claim(store, now=NOW + 1)
    await store.sample([("sup-1", 4321, 12.5, 1 << 20), ("sup-2", 1, 1.0, 1), ("gone", 1, 1.0, 1)])
    (busy, _), (idle, shown) = await store.workers()
    assert shown == await row_of(store, "sup")
    assert (busy.state, busy.job, busy.job_started_at) == ("busy", "a", NOW + 1)
    assert (busy.job_pid, busy.cpu_percent, busy.memory) == (4321, 12.5, 1 << 20)
    assert (busy.supervisor, busy.host, busy.pid) == ("sup", row.host, row.pid)
    assert (busy.detached, busy.started_at) == (True, NOW)
    assert busy.heartbeat_at == shown.heartbeat_at
    assert (idle.state, idle.job, idle.job_started_at) == ("idle", None, None)
    assert idle.queues == ("mail", "video")
    assert (idle.job_pid, idle.cpu_percent, idle.memory) == (None,) * 3, "of a job now ended"


async def test_workers_count_what_they_did(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(max_retries=1) for _ in range(6)], NOW)
    for outcome in Outcome:
        [held] = await claim(store)
        await finish(store, "sup", ending(held, outcome))
        if outcome in (Outcome.INTERRUPTED, Outcome.CRASHED):
            await change(store, JobAction.CANCEL, [held.seq], NOW, strict=True)
    [(worker, _)] = await store.workers()
    assert (worker.done, worker.failed) == (1, 3)


async def test_asking_for_more_workers(store: Store) -> None:
    await hired(store, "sup", "w1")
    await store.add_workers("sup", [("w2", ("mail",)), ("w10", ())], NOW, up=False)
    assert set((await store.commands("sup")).workers) == {
        WorkerCommand("w1", (), None, up=True),
        WorkerCommand("w2", ("mail",), None, up=False),
        WorkerCommand("w10", (), None, up=False),
    }
    assert [(w.id, w.state) for w, _ in await store.workers()] == [
        ("w1", "idle"),
        ("w2", "starting"),
        ("w10", "starting"),
    ]
    await store.workers_up(["w2", "w10"])
    assert all(order.up for order in (await store.commands("sup")).workers)
    await store.workers_gone(["w1", "w2"])
    assert [order.id for order in (await store.commands("sup")).workers] == ["w10"]
    with pytest.raises(NotFound, match="gone"):
        await store.add_workers("gone", [("w3", ())], NOW, up=False)


async def test_commands_to_stop(store: Store) -> None:
    await hired(store, "sup", "w1", "w2", "w3")
    await store.stop_workers(["w1", "nobody"], False)
    await store.stop_workers(["w2"], True)
    commands = {order.id: order.stop for order in (await store.commands("sup")).workers}
    assert commands == {"w1": "drain", "w2": "now", "w3": None}
    assert [w.state for w, _ in await store.workers()] == ["stopping", "stopping", "idle"]
    await store.stop_workers(["w1", "w2"], True)
    await store.stop_workers(["w1", "w2"], False)  # `now` is not taken back
    commands = {order.id: order.stop for order in (await store.commands("sup")).workers}
    assert commands == {"w1": "now", "w2": "now", "w3": None}


async def test_commands_are_for_one_supervisor(store: Store) -> None:
    await hired(store, "one")
    await hired(store, "two")
    await store.enqueue([spec(id="a"), spec(id="b")], NOW)
    [first] = await claim(store, "one")
    [second] = await claim(store, "two")
    await change(store, JobAction.CANCEL, [first.seq], NOW, strict=True)
    await store.stop_workers(["two-1"], False)
    one, two = await store.commands("one"), await store.commands("two")
    assert (one.known, one.workers[0].stop) == (True, None)
    assert one.cancels == {first.seq}
    assert (two.known, two.cancels, two.workers[0].stop) == (True, frozenset(), "drain")
    assert second.id == "b"
    assert not (await store.commands("three")).known


# -- claimed in advance -----------------------------------------------------------------


async def test_a_job_can_be_prefetched(store: Store) -> None:
    await hired(store, "sup", "w1")
    [job] = await store.enqueue([spec()], NOW)
    [held] = (await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("")], NOW))).claimed
    assert (held.state, held.owner, held.worker) == (State.PROCESSING, "sup", None)
    begun = AttemptStarted(held.seq, held.runs, "w1", NOW + 2)
    await store.settle_and_claim(ClaimRequest("sup", [], [], NOW + 3, started=[begun]))
    found = await now_of(store, job)
    assert (found.worker, found.started_at) == ("w1", NOW + 2)
    stale = [
        AttemptStarted(held.seq, held.runs + 1, "w2", NOW + 9),
        begun._replace(started_at=NOW + 9),
    ]
    await store.settle_and_claim(ClaimRequest("sup", [], [], NOW + 4, started=stale[:1]))
    await store.settle_and_claim(ClaimRequest("other", [], [], NOW + 4, started=stale[1:]))
    assert await now_of(store, job) == found


async def test_a_result_names_the_worker_of_a_prefetched_job(store: Store) -> None:
    await hired(store, "sup", "w1")
    [job] = await store.enqueue([spec()], NOW)
    [held] = (await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("")], NOW))).claimed
    ran = held._replace(worker="w1", started_at=NOW + 1)
    await store.settle_and_claim(ClaimRequest("sup", [ending(ran, now=NOW + 2)], [], NOW + 2))
    found = await now_of(store, job)
    assert (found.state, found.worker, found.started_at) == (State.COMPLETED, "w1", NOW + 1)


async def test_a_job_that_was_not_started_goes_back_as_it_was(store: Store) -> None:
    await hired(store, "sup", "w1")
    [job] = await store.enqueue([spec()], NOW)
    [held] = (
        await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("")], NOW + 1))
    ).claimed
    await store.settle_and_claim(ClaimRequest("other", [], [], NOW + 2, released=[held]))
    assert (await now_of(store, job)).state is State.PROCESSING, "only its owner gives it back"
    await store.settle_and_claim(ClaimRequest("sup", [], [], NOW + 2, released=[held]))
    assert await now_of(store, job) == job._replace(updated_at=NOW + 2)
    assert await store.attempts(job.seq) == []
    assert await real_counts(store) == await store.counts()
    assert ids(await claim(store)) == [job.id]


async def test_a_job_that_was_not_started_and_is_not_wanted_is_cancelled(store: Store) -> None:
    await hired(store, "sup", "w1")
    [job] = await store.enqueue([spec()], NOW)
    [held] = (await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("")], NOW))).claimed
    await change(store, JobAction.CANCEL, [job.seq], NOW + 1, strict=True)
    await store.settle_and_claim(ClaimRequest("sup", [], [], NOW + 2, released=[held]))
    found = await now_of(store, job)
    assert (found.state, found.owner, found.finished_at) == (State.CANCELLED, None, NOW + 2)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.INTERRUPTED, Outcome.CRASHED])
async def test_a_job_that_is_not_wanted_is_not_put_back(store: Store, outcome: Outcome) -> None:
    """Cancelled while it ran, it ended otherwise first: it must not run again."""
    await hired(store)
    await store.enqueue([spec()], NOW)
    [held] = await claim(store)
    await change(store, JobAction.CANCEL, [held.seq], NOW + 1, strict=True)
    await store.settle_and_claim(ClaimRequest("sup", [ending(held, outcome)], [], NOW + 2))
    found = await now_of(store, held)
    assert found.state is State.CANCELLED
    assert await claim(store) == []
    assert await real_counts(store) == await store.counts()


async def test_a_job_that_is_not_wanted_but_completed_is_completed(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec()], NOW)
    [held] = await claim(store)
    await change(store, JobAction.CANCEL, [held.seq], NOW + 1, strict=True)
    await store.settle_and_claim(ClaimRequest("sup", [ending(held)], [], NOW + 2))
    assert (await now_of(store, held)).state is State.COMPLETED


async def test_a_worker_is_added_once(store: Store) -> None:
    await hired(store)
    with pytest.raises(Conflict):
        await store.add_workers("sup", [("sup-2", ()), ("sup-1", ())], NOW, up=False)
    assert [worker.id for worker, _ in await store.workers()] == ["sup-1"], "all or none"
