"""Any sequence of steps: no attempt starts that admission refuses, and no job that may start waits
while a worker that serves it is idle."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from queuectl_core.domain import lifecycle
from queuectl_core.domain.admission import rate_window, room
from queuectl_core.domain.claims import AttemptStarted, ClaimRequest, ClaimSlot
from queuectl_core.domain.errors import Conflict
from queuectl_core.domain.model import Job, JobSpec, Outcome, QueueSettings, Rate, State
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, ending, spec, supervisor
from .plain import Model, Plain
from .stores import PLACES, Place
from .tools import change, claim, finish, hired, run

HOSTS = {"one": "here", "two": "here", "three": "there"}
"""The host of each supervisor."""
QUEUES = ("default", "mail")
NO_LIMITS = {"limit": None, "per_host": None, "per_key": None, "rate": None}

lanes = st.sampled_from([(), (), (), ("mail",), ("default", "mail")])
slots = st.lists(st.tuples(st.sampled_from([True, True, False]), lanes), min_size=2, max_size=5)
"""For each slot: whether it has a worker, and the queues that it serves."""
fields = st.fixed_dictionaries(
    {
        "queue": st.sampled_from(QUEUES),
        "key": st.sampled_from([None, "k", "l"]),
        "priority": st.integers(-1, 1),
        "max_retries": st.integers(0, 2),
        "backoff_base": st.sampled_from([0.0, 2.0]),
        "run_at": st.sampled_from([NOW - 5, NOW, NOW, NOW + 3]),
        "hold": st.sampled_from([False] * 5 + [True]),
        "on_parent_failure": st.sampled_from(["cancel", "hold"]),
    }
)
kinds = st.sampled_from(["after", "after_any", "after_failed"])
rates = st.builds(Rate, st.integers(1, 3), st.sampled_from([1.0, 8.0]))
limits = st.sampled_from(["limit", "per_host", "per_key", "rate"]).flatmap(
    lambda name: st.fixed_dictionaries(
        {name: rates if name == "rate" else st.integers(0 if name != "per_key" else 1, 3)}
    )
)
"""One limit of a queue: several at a time hide each other."""


class Steps(RuleBasedStateMachine):
    """Random steps; subclasses name the store."""

    place_type: type[Place]
    seqs = Bundle("seqs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="queuectl-admission-"))
        self.runner = asyncio.Runner()
        self.model = Model(hosts=dict(HOSTS))
        self.place = self.place_type.take(self.folder)
        self.store: Store = self.do(self.place.open())
        self.other: Store = self.do(self.place.open())

    def do(self, coroutine: Any) -> Any:
        # Runner.run would set a signal handler each time, which takes longer than many a step.
        return self.runner.get_loop().run_until_complete(coroutine)

    def teardown(self) -> None:
        self.do(self.place.give_back())
        self.runner.close()
        shutil.rmtree(self.folder)

    @initialize(target=seqs, some=st.lists(fields, min_size=8, max_size=16), changes=limits)
    def begin(self, some: list[dict[str, Any]], changes: dict[str, Any]) -> Any:
        for owner in HOSTS:
            self.hire(owner)
        self.set_limits("default", changes)
        return self.arrive([spec(**values) for values in some], bulk=False)

    def hire(self, owner: str) -> None:
        row = supervisor(owner, host=HOSTS[owner])
        self.do(self.store.register(row, [(f"{owner}-1", ())], self.model.now))

    def job(self, seq: int) -> Job:
        found: Job = self.do(self.store.by_seq(seq))
        return found

    # -- steps ------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.3, 1, 2, 10, 3600]))
    def time_goes_by(self, seconds: float) -> None:
        self.model.now += seconds

    @rule(
        target=seqs,
        data=st.data(),
        bulk=st.booleans(),
        several=st.lists(fields, min_size=1, max_size=5),
    )
    def enqueue(self, data: st.DataObject, bulk: bool, several: list[dict[str, Any]]) -> Any:
        known = [one.id for one in self.model.jobs.values()]
        given: list[JobSpec] = []
        for values in several:
            parents: dict[str, tuple[str, ...]] = {}
            if known and data.draw(st.integers(0, 3)) == 0:
                chosen = data.draw(st.lists(st.sampled_from(known), max_size=2, unique=True))
                parents = {data.draw(kinds): tuple(chosen)} if chosen else {}
            given.append(spec(**values, **parents))
        return self.arrive(given, bulk=bulk)

    def arrive(self, given: list[JobSpec], *, bulk: bool) -> Any:
        if bulk:
            made = self.do(self.bulk(given))
        else:
            made = self.do(self.store.enqueue(given, self.model.now))
        self.model.arrived(given, made)
        return multiple(*(job.seq for job in made))

    async def bulk(self, given: list[JobSpec]) -> list[Job]:
        async with self.other.batch() as batch:
            await batch.add(list(enumerate(given, 1)))
            first, count = await batch.commit(self.model.now)
        found = [await self.store.by_seq(seq) for seq in range(first, first + count)]
        return [job for job in found if job is not None]

    @rule(name=st.sampled_from(QUEUES), changes=limits)
    def set_limits(self, name: str, changes: dict[str, Any]) -> None:
        self.settle(name, self.do(self.store.set_queue(name, changes)), changes)

    @rule(name=st.sampled_from(QUEUES), seconds=st.sampled_from([0, None, 2.0, 100.0]))
    def pause(self, name: str, seconds: float | None) -> None:
        """0 seconds: resume it."""
        now = self.model.now
        until = now + seconds if seconds else None
        changes = {"paused_at": None if seconds == 0 else now, "paused_until": until}
        self.settle(name, self.do(self.store.set_queue(name, changes)), changes)

    @rule(name=st.sampled_from(QUEUES))
    def lift_all_limits(self, name: str) -> None:
        self.set_limits(name, NO_LIMITS)

    def settle(self, name: str, found: QueueSettings, changes: dict[str, Any]) -> None:
        before = self.model.settings.get(name) or QueueSettings(name)
        assert found == before._replace(**changes)
        self.model.set_queue(found)

    @rule(name=st.sampled_from(QUEUES))
    def remove_queue(self, name: str) -> None:
        if name in self.model.settings and any(
            one.queue == name and one.state not in lifecycle.FINAL
            for one in self.model.jobs.values()
        ):
            with pytest.raises(Conflict, match="not ended"):
                self.do(self.store.remove_queue(name))
            return
        assert self.do(self.store.remove_queue(name)) == (name in self.model.settings)
        self.model.settings.pop(name, None)
        self.model.starts.pop(name, None)

    @rule(owner=st.sampled_from(sorted(HOSTS)), wanted=slots)
    def claim(self, owner: str, wanted: list[tuple[bool, tuple[str, ...]]]) -> None:
        model = self.model
        openings = [
            ClaimSlot(f"{owner}-{number}" if real else "", queues)
            for number, (real, queues) in enumerate(wanted)
        ]
        request = ClaimRequest(owner, [], openings, model.now)
        result = self.do(self.store.settle_and_claim(request))
        for job in result.claimed:
            one = model.jobs[job.seq]
            reason = model.refusal(one, owner)
            assert not reason, f"{job.id} was started although {reason}"
            settings = model.settings.get(one.queue)
            if job.worker is None:
                assert settings is None or settings.rate is None, "prefetched in spite of a rate"
            else:
                slot = openings[int(job.worker.rpartition("-")[2])]
                assert not slot.queues or one.queue in slot.queues
                if one.key is None and all(real and not queues for real, queues in wanted):
                    assert model.ready(owner)[0] is one, "it was not the next"
            model.started(job)
            assert (one.queue in result.rated) == (model.rate(one.queue) is not None)
        busy = {job.worker for job in result.claimed}
        for slot in openings:
            if slot.worker and slot.worker not in busy:
                left = model.ready(owner, slot.queues)
                assert not left, f"{left[0]} waits, and {slot} is idle"
                self.wakes_in_time(owner, slot.queues, result.next_due)

    @rule(owner=st.sampled_from(sorted(HOSTS)), count=st.integers(1, 4))
    def claim_again(self, owner: str, count: int) -> None:
        """The same with workers of all queues, which happens most."""
        self.claim(owner, [(True, ())] * count)

    @rule(data=st.data(), ago=st.sampled_from([0.0, 0.2, 1.5]))
    def announce(self, data: st.DataObject, ago: float) -> None:
        """A supervisor tells when an attempt was started."""
        running = [one for one in self.model.jobs.values() if one.state is State.PROCESSING]
        if not running:
            return
        one = data.draw(st.sampled_from(running))
        at = max(one.claimed_at, self.model.now - ago)
        told = AttemptStarted(one.seq, self.job(one.seq).runs, f"{one.owner}-1", at)
        request = ClaimRequest(one.owner or "", [], [], self.model.now, [told])
        assert not self.do(self.store.settle_and_claim(request)).claimed
        self.model.was_started(one.seq, at)

    def wakes_in_time(self, owner: str, queues: tuple[str, ...], next_due: float | None) -> None:
        """The supervisor looks again when a job may start although no attempt ends."""
        model = self.model
        for one in model.jobs.values():
            if one.state not in lifecycle.WAITING or (queues and one.queue not in queues):
                continue
            if one.run_at > model.now:
                assert next_due is not None
                assert next_due <= one.run_at
                continue
            known = model.settings.get(one.queue) or QueueSettings(one.queue)
            again = room(known, 0, 0, model.counted(one.queue), model.now).next_at
            if again is not None:
                assert next_due is not None
                assert next_due <= again

    @rule(data=st.data(), outcome=st.sampled_from(Outcome), count=st.integers(1, 3))
    def finish(self, data: st.DataObject, outcome: Outcome, count: int) -> None:
        running = [one for one in self.model.jobs.values() if one.state is State.PROCESSING]
        if not running:
            return
        chosen = data.draw(st.lists(st.sampled_from(running), min_size=1, max_size=count))
        owner = chosen[0].owner
        mine = {one.seq: one for one in chosen if one.owner == owner}
        ends = [ending(self.job(seq), outcome, now=self.model.now) for seq in mine]
        request = ClaimRequest(owner or "", ends, [], self.model.now)
        assert not self.do(self.store.settle_and_claim(request)).refused
        for end in ends:
            self.model.ended(end)

    @rule(owner=st.sampled_from(sorted(HOSTS)))
    def give_back(self, owner: str) -> None:
        """Prefetched jobs are not started."""
        held = [job for job in self.do(self.store.held(owner)) if job.worker is None]
        request = ClaimRequest(owner, [], [], self.model.now, released=held)
        self.do(self.store.settle_and_claim(request))
        for job in held:
            one = self.model.jobs[job.seq]
            self.model.starting.pop(one.seq, None)
            one.state = State.CANCELLED if one.cancelling else State.PENDING
            one.owner, one.cancelling = None, False
        self.model.judge()

    @rule(dead=st.sampled_from(["one", "two"]))
    def take_over(self, dead: str) -> None:
        heir = {"one": "two", "two": "one"}[dead]
        [row] = [row for row in self.do(self.store.supervisors()) if row.id == dead]
        taken = self.do(self.other.take_over(row, heir, self.model.now))
        assert {job.seq for job in taken} == {
            one.seq for one in self.model.jobs.values() if one.owner == dead
        }
        for job in taken:
            self.model.jobs[job.seq].owner = heir
        self.hire(dead)

    @rule(chosen=st.lists(seqs, max_size=4, unique=True), action=st.sampled_from(JobAction))
    def change(self, chosen: list[int], action: JobAction) -> None:
        """In bulk, so that jobs in other states are left out."""
        model = self.model
        there = [model.jobs[seq] for seq in chosen if seq in model.jobs]
        good = model.allowed(action, there)
        seen = [self.job(one.seq) for one in there]
        changed = self.do(self.store.change(action, seen, model.now, strict=False))
        done = {seq for seq, _ in changed}
        if action is JobAction.REMOVE:
            self.removed(good, done)
            return
        model.change(action, good)
        if action is not JobAction.RETRY:
            assert done == {one.seq for one in good}

    def removed(self, good: list[Plain], done: set[int]) -> None:
        gone = [one for one in good if one.seq in done]
        assert {one.seq for one in gone} == done
        assert not self.model.waited_for(gone), "a job waits for one that was removed"
        self.model.remove(gone)

    @rule(
        seq=seqs,
        changes=st.fixed_dictionaries(
            {},
            optional={
                "queue": st.sampled_from(QUEUES),
                "key": st.sampled_from([None, "k", "l"]),
                "priority": st.integers(-1, 1),
                "run_at": st.sampled_from([-9.0, 0.0, 2.0, 30.0]),
            },
        ),
    )
    def edit(self, seq: int, changes: dict[str, Any]) -> None:
        one = self.model.jobs.get(seq)
        if one is None or one.state is State.PROCESSING:
            return
        if "run_at" in changes:
            changes = changes | {"run_at": self.model.now + changes["run_at"]}
        job = self.do(self.store.edit(self.job(seq), changes, self.model.now))
        for name, value in changes.items():
            setattr(one, name, value)
            assert getattr(job, name) == value

    # -- what must hold after each ----------------------------------------------------

    @invariant()
    def the_jobs_agree(self) -> None:
        while self.do(self.store.judge_marked(self.model.now)):
            pass
        self.do(self.model.compare(self.other))

    @invariant()
    def nothing_is_stuck(self) -> None:
        assert not self.model.stuck()
        assert self.do(self.store.misadmitted()) == 0

    @invariant()
    def the_counts_agree(self) -> None:
        # Those of the model are those in the store, as the_jobs_agree has seen.
        jobs = self.model.jobs.values()
        assert self.do(self.store.counts()) == Counter((one.state, one.queue) for one in jobs)


@pytest.mark.parametrize("name", sorted(PLACES))
def test_no_start_is_refused_and_no_ready_job_waits(name: str) -> None:
    machine = type("Machine", (Steps,), {"place_type": PLACES[name]})
    case = machine.TestCase  # type: ignore[attr-defined]
    # Shrinking takes longer than a test may. To see a short example: add Phase.shrink, and raise
    # TEST_TIME_LIMIT.
    phases = (Phase.reuse, Phase.generate)
    case.settings = settings(max_examples=25, stateful_step_count=25, phases=phases)
    case().runTest()


# -- single cases -----------------------------------------------------------------------


async def look(store: Store) -> None:
    """A claim that chooses the next job of each key, and starts a job without one."""
    [first] = await store.enqueue([spec(priority=1000)], NOW)
    [claimed] = await claim(store)
    assert claimed.seq == first.seq
    await finish(store, "sup", ending(claimed))


async def test_an_edit_keeps_the_place_of_the_next_job_of_its_key(store: Store) -> None:
    await hired(store)
    [job] = await store.enqueue([spec(key="k")], NOW)
    await look(store)
    await store.edit(job, {"command": "echo"}, NOW + 1)
    assert [one.id for one in await claim(store, now=NOW + 1)] == [job.id]


async def test_a_retry_at_the_moment_at_which_it_failed(store: Store) -> None:
    await hired(store)
    [job] = await store.enqueue([spec(key="k", backoff_base=0.0)], NOW)
    await run(store, job, Outcome.FAILED)
    await look(store)
    assert await change(store, JobAction.RETRY, [job.seq], NOW, True) == 1
    assert [one.id for one in await claim(store)] == [job.id]


async def test_an_idle_worker_is_told_when_the_rate_allows_the_next_start(store: Store) -> None:
    """Also if the start that used the rate up was in the same claim."""
    await hired(store)
    await store.set_queue("default", {"rate": Rate(1, 60.0)})
    await store.enqueue([spec(), spec()], NOW)
    slots = [ClaimSlot("sup-1"), ClaimSlot("sup-2")]
    result = await store.settle_and_claim(ClaimRequest("sup", [], slots, NOW))
    assert len(result.claimed) == 1
    assert result.next_due is not None
    assert NOW < result.next_due <= NOW + rate_window(QueueSettings("q", rate=Rate(1, 60.0)))
    assert result.delayed


async def test_only_a_job_that_waits_is_delayed_by_a_rate(store: Store) -> None:
    """Otherwise ``--until-empty`` would not end before the rate allows another start."""
    await hired(store)
    await store.set_queue("default", {"rate": Rate(1, 60.0)})
    [job] = await store.enqueue([spec()], NOW)
    slots = [ClaimSlot("sup-1", ("default",)), ClaimSlot("sup-2", ("default",))]
    result = await store.settle_and_claim(ClaimRequest("sup", [], slots, NOW))
    assert not result.delayed
    done = [ending(one) for one in result.claimed]
    assert not (await store.settle_and_claim(ClaimRequest("sup", done, slots, NOW))).delayed
    await store.enqueue([spec()], NOW)
    assert (await store.settle_and_claim(ClaimRequest("sup", [], slots, NOW))).delayed
    assert job.seq == done[0].seq


async def test_fewer_jobs_of_a_key_than_before_with_many_keys(store: Store) -> None:
    """More keys than one claim looks at: what was visible before must not be claimed."""
    await store.set_queue("default", {"per_key": 2})
    await store.enqueue(
        [spec(key=f"k{n:04}", priority=n) for n in range(600) for _ in range(2)], NOW
    )
    await hired(store)
    for _ in range(2):
        await claim(store, "sup", 1)
    before = await store.held("sup")
    await store.set_queue("default", {"per_key": 1})
    running = [job.key for job in (*before, *await claim(store, "sup", 6))]
    new = running[len(before) :]
    taken = {job.key for job in before}
    assert len(set(new)) == len(new), "one of each key"
    assert not taken & set(new), "these run already"


async def rated(store: Store, count: int, rate: Rate) -> Job:
    """A queue with a rate, and so many jobs in it; the first is claimed."""
    for owner in ("sup", "other"):
        await hired(store, owner)
    await store.enqueue([spec() for _ in range(count)], NOW)
    await store.set_queue("default", {"rate": rate})
    [job] = await claim(store, "sup", 1)
    return job


async def test_who_has_lost_an_attempt_says_nothing_about_its_start(store: Store) -> None:
    """A supervisor repeats what it told when it does not know whether that was committed."""
    job = await rated(store, 2, Rate(1, 60.0))
    back = ClaimRequest("sup", [], [], NOW, released=[job])
    await store.settle_and_claim(back)
    [again] = await claim(store, "other", 1)
    assert (again.seq, again.runs) == (job.seq, job.runs)
    await store.settle_and_claim(back)
    began = AttemptStarted(job.seq, job.runs, "sup-1", NOW - 3600)
    await store.settle_and_claim(ClaimRequest("sup", [], [], NOW, [began]))
    assert await claim(store, "other", 1) == []


async def test_a_rate_counts_the_attempts_that_run_when_it_is_set(store: Store) -> None:
    await hired(store)
    await store.enqueue([spec(), spec(), spec()], NOW)
    [job] = await claim(store, "sup", 1)
    await store.set_queue("default", {"rate": Rate(1, 60.0)})
    assert await claim(store, "sup", 1, now=NOW + 1) == []
    began = AttemptStarted(job.seq, job.runs, "sup-1", NOW)
    await store.settle_and_claim(ClaimRequest("sup", [], [], NOW + 1, [began]))
    assert await claim(store, "sup", 1, now=NOW + 59) == []
    assert len(await claim(store, "sup", 2, now=NOW + 61)) == 1


async def test_nothing_is_prefetched_that_comes_after_a_job_with_a_rate(store: Store) -> None:
    """Otherwise no worker would ever become idle for it."""
    await hired(store)
    await store.set_queue("mail", {"rate": Rate(9, 60.0)})
    names = ("default", "mail", "default", "default", "mail", "default", "default")
    jobs = await store.enqueue([spec(queue=name) for name in names], NOW)
    slots = [ClaimSlot("sup-1"), *[ClaimSlot("")] * 8]
    result = await store.settle_and_claim(ClaimRequest("sup", [], slots, NOW))
    assert [job.seq for job in result.claimed] == [jobs[0].seq]
    result = await store.settle_and_claim(ClaimRequest("sup", [], [ClaimSlot("")] * 8, NOW))
    assert result.claimed == ()
    result = await store.settle_and_claim(ClaimRequest("sup", [], slots, NOW))
    assert [job.seq for job in result.claimed] == [jobs[1].seq, jobs[2].seq]


@pytest.mark.parametrize("old", ["a", "z"])
async def test_a_job_with_a_key_starts_in_the_queue_to_which_it_was_moved(
    store: Store, old: str
) -> None:
    new = "z" if old == "a" else "a"
    await hired(store)
    first, job = await store.enqueue([spec(queue=old, key="k"), spec(queue=old, key="k")], NOW)
    assert [one.seq for one in await claim(store)] == [first.seq]
    job = (await store.by_id(job.id))[0]
    await store.edit(job, {"queue": new}, NOW)
    assert [one.seq for one in await claim(store, count=2)] == [job.seq]
    [third] = await store.enqueue([spec(queue=new, key="other")], NOW)
    await store.edit(third, {"key": "k"}, NOW)
    assert await claim(store, count=3) == []


async def test_a_job_that_is_retried_waits_for_its_turn_among_those_with_its_key(
    store: Store,
) -> None:
    await hired(store)
    [first] = await store.enqueue([spec(key="k", max_retries=1)], NOW)
    await run(store, first, Outcome.FAILED)
    second, _ = await store.enqueue([spec(key="k"), spec(key="l")], NOW)
    await look(store)  # the second is the next of its key
    await change(store, JobAction.RETRY, [first.seq], NOW + 1, strict=True)
    started = await claim(store, count=3, now=NOW + 1)
    assert [one.key for one in started] == ["k", "l"]
    assert started[0].id == second.id


@pytest.mark.parametrize(
    "moved", [{"key": "a"}, {"key": "z"}, {"queue": "a"}, {"queue": "z"}], ids=str
)
async def test_when_the_next_job_of_a_key_is_moved_another_takes_its_place(
    store: Store, moved: dict[str, str]
) -> None:
    await hired(store)
    first, second = await store.enqueue([spec(key="k"), spec(key="k")], NOW)
    await look(store)
    first = (await store.by_id(first.id))[0]
    await store.edit(first, moved, NOW)
    started = await claim(store, count=2)
    assert sorted(one.seq for one in started) == [first.seq, second.seq]
