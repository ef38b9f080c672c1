"""Jobs that wait for other jobs: exactly those run that the rules allow, and none is stuck."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from queuectl_core import queue as facade
from queuectl_core.domain import lifecycle
from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.errors import BatchRejected, Conflict, InvalidInput, NotFound
from queuectl_core.domain.model import Filter, Job, JobSpec, Outcome, State
from queuectl_core.operations.queries import amend
from queuectl_core.queue import Queue
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, ending, spec
from .plain import EVERY, Model, Plain
from .stores import PLACES, Place, SqlitePlace
from .tools import change, claim, finish, hired, run

KINDS = ("after", "after", "after", "after_any", "after_failed")
SLOTS = 8

# -- random graphs ----------------------------------------------------------------------


def graph(rng: Random, size: int) -> list[JobSpec]:
    """Jobs in any order, so that many wait for one that comes later in the batch. Some have many
    parents, and some have many children."""
    hubs = rng.sample(range(size), min(size, 3))
    jobs = []
    for number in range(size):
        wide = rng.random() < 0.1
        before = (
            rng.choices(range(number), k=rng.choice((0, 1, 1, 2, 12 if wide else 3)))
            if (number)
            else []
        )
        before += [hub for hub in hubs if hub < number and rng.random() < 0.2]
        parents: dict[str, list[str]] = {}
        for one in dict.fromkeys(before):
            parents.setdefault(rng.choice(KINDS), []).append(f"j{one}")
        jobs.append(
            spec(
                id=f"j{number}",
                max_retries=rng.choice((1, 1, 2)),
                backoff_base=0.0,
                on_parent_failure=rng.choice(("cancel", "cancel", "hold")),
                hold=rng.random() < 0.03,
                priority=rng.choice((0, 0, 1)),
                **{kind: tuple(names) for kind, names in parents.items()},
            )
        )
    rng.shuffle(jobs)
    return jobs


class Play:
    """A store and the model, side by side."""

    def __init__(self, store: Store, rng: Random) -> None:
        self.store = store
        self.rng = rng
        self.model = Model(hosts={"sup": "here"})
        self.queue = Queue(store, {}, clock=lambda: self.model.now)
        self.calm = False
        """Nobody disturbs any more."""

    async def enqueue(self, given: list[JobSpec]) -> None:
        if self.rng.random() < 0.5:
            made = await self.store.enqueue(given, self.model.now)
        else:
            async with self.store.batch() as batch:
                await batch.add(list(enumerate(given, 1)))
                first, count = await batch.commit(self.model.now)
            made = await self.store.scan(Filter(), count, low=first, up=True)
        self.model.arrived(given, made)

    async def settled(self) -> None:
        while await self.store.judge_marked(self.model.now):
            pass

    async def step(self) -> bool:
        """Claim what may run, and end it in any way. False: nothing could be claimed."""
        model = self.model
        await self.settled()
        wanted = [one.seq for one in model.ready("sup")[:SLOTS]]
        slots = [ClaimSlot(f"sup-{number}") for number in range(SLOTS)]
        result = await self.store.settle_and_claim(ClaimRequest("sup", [], slots, model.now))
        assert [job.seq for job in result.claimed] == wanted
        for job in result.claimed:
            model.started(job)
        if not self.calm and self.rng.random() < 0.3:
            await self.disturb()
        ends = []
        for seq in wanted:
            running = await self.store.by_seq(seq)
            assert running is not None
            outcome = self.rng.choice([Outcome.COMPLETED] * 3 + [Outcome.FAILED, Outcome.CRASHED])
            if running.cancel_requested:
                outcome = Outcome.CANCELLED
            ends.append(ending(running, outcome, now=model.now))
        assert not (await finish(self.store, "sup", *ends, now=model.now)).refused
        for end in ends:
            model.ended(end)
        await self.settled()
        return bool(wanted)

    async def disturb(self) -> None:
        """What people do meanwhile."""
        rng, model = self.rng, self.model
        jobs = sorted(model.jobs.values(), key=lambda one: one.seq)
        chosen = rng.sample(jobs, min(len(jobs), rng.choice((1, 1, 4))))
        action = rng.choice(list(JobAction))
        seen = [seen for one in chosen if (seen := await self.store.by_seq(one.seq)) is not None]
        if action is JobAction.REMOVE:
            await self.remove(chosen[:1], seen[:1])
            return
        await self.store.change(action, seen, model.now, strict=False)
        model.change(action, model.allowed(action, chosen))
        await self.settled()
        await model.compare(self.store)

    async def remove(self, chosen: list[Plain], seen: list[Job]) -> None:
        """With the jobs that wait for it."""
        if chosen[0].state is State.PROCESSING:
            return
        below = self.below(chosen)
        if below - {chosen[0].seq}:
            with pytest.raises(Conflict, match="waits for job"):
                await self.queue.remove(seen)
        assert await self.queue.remove(seen, cascade=True) == len(below)
        self.model.remove([self.model.jobs[seq] for seq in below])

    def below(self, ones: list[Plain]) -> set[int]:
        """These jobs, and what waits for them directly or through others."""
        found = {one.seq for one in ones}
        while True:
            more = {
                child.seq
                for child in self.model.jobs.values()
                if child.state is State.WAITING and found & {seq for _, seq in child.parents}
            }
            if more <= found:
                return found
            found |= more


async def play(place: Place, seed: int, size: int) -> None:
    rng, store = Random(seed), await place.open()
    await hired(store, "sup", *(f"sup-{number}" for number in range(SLOTS)))
    game = Play(store, rng)
    await game.enqueue(graph(rng, size))
    await game.model.compare(store)
    for number in range(10 * size + 20):
        game.calm = number > size
        game.model.now += 1.0
        if not await game.step() and game.calm:
            # What somebody holds is let go, and everything that can run ends.
            held = [one for one in game.model.jobs.values() if one.held and one.cause is None]
            held = [one for one in held if one.state is State.WAITING]
            if not held:
                break
            seen = [await store.by_seq(one.seq) for one in held]
            await store.change(
                JobAction.RELEASE, [one for one in seen if one], game.model.now, strict=False
            )
            game.model.release(held)
            await game.settled()
    await game.model.compare(store)
    left = [one for one in game.model.jobs.values() if one.state not in lifecycle.FINAL]
    # Only those are left that are held because of a parent, and what waits for them.
    roots = [one for one in left if one.cause is not None]
    assert {one.seq for one in left} <= game.below(roots), left
    assert not game.model.stuck()
    assert await store.misadmitted() == 0


@pytest.mark.parametrize("name", sorted(PLACES))
def test_exactly_the_jobs_run_that_the_rules_allow(name: str) -> None:
    @settings(max_examples=12, phases=(Phase.reuse, Phase.generate))
    @given(seed=st.integers(0, 1 << 32), size=st.integers(1, 60))
    def check(seed: int, size: int) -> None:
        once(name, seed, size)

    check()


@pytest.mark.parametrize("name", sorted(PLACES))
def test_a_graph_of_two_hundred_jobs(name: str) -> None:
    once(name, 1, 200)


def once(name: str, seed: int, size: int) -> None:
    async def run_it(folder: Path) -> None:
        place = PLACES[name].take(folder)
        try:
            await play(place, seed, size)
        finally:
            await place.give_back()

    with tempfile.TemporaryDirectory(prefix="queuectl-graph-") as folder:
        asyncio.run(run_it(Path(folder)))


# -- single cases -----------------------------------------------------------------------


@pytest.fixture
async def queue(store: Store) -> Queue:
    """A queue whose clock stands still, with a supervisor."""
    await hired(store)
    return Queue(store, {}, clock=lambda: NOW)


async def job(queue: Queue, name: str) -> Job:
    """The job as it is now."""
    found = await queue.find(name)
    assert found.id == name
    return found


async def state(queue: Queue, name: str) -> State:
    return (await job(queue, name)).state


async def states(queue: Queue, *names: str) -> list[str]:
    return [(await job(queue, name)).state.value for name in names]


async def end(queue: Queue, name: str, outcome: Outcome = Outcome.COMPLETED) -> None:
    """Run a job, which must be the next."""
    await run(queue.store, await job(queue, name), outcome)
    while await queue.store.judge_marked(NOW):
        pass


DEAD = Outcome.FAILED
"""Of a job that has a single attempt."""


@pytest.mark.parametrize(
    ("kind", "outcome", "expected"),
    [
        ("after", Outcome.COMPLETED, "pending"),
        ("after", DEAD, "cancelled"),
        ("after_any", Outcome.COMPLETED, "pending"),
        ("after_any", DEAD, "pending"),
        ("after_any", Outcome.CANCELLED, "pending"),
        ("after_failed", Outcome.COMPLETED, "cancelled"),
        ("after_failed", DEAD, "pending"),
        ("after_failed", Outcome.CANCELLED, "pending"),
        ("after", Outcome.CANCELLED, "cancelled"),
        ("after", Outcome.CRASHED, "waiting"),
        ("after_failed", Outcome.CRASHED, "waiting"),
    ],
)
@pytest.mark.parametrize("before", [True, False])
async def test_what_the_end_of_a_parent_does(
    queue: Queue, kind: str, outcome: Outcome, expected: str, before: bool
) -> None:
    """Whether it ended before the child was enqueued, or after it."""
    await queue.enqueue_specs([spec(id="p", max_retries=1)])
    child = spec(id="c", **{kind: ("p",)})
    if not before:
        [made] = await queue.enqueue_specs([child])
        assert made.state is State.WAITING
    await end(queue, "p", outcome)
    if before:
        [made] = await queue.enqueue_specs([child])
        assert made.state == expected
    found = await job(queue, "c")
    assert found.state == expected
    assert found.cause == ("p" if expected == "cancelled" else None)
    assert (found.finished_at is None) == (expected != "cancelled")


async def test_a_failed_attempt_with_retries_left_changes_nothing(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="p", max_retries=2), spec(id="c", after=("p",))])
    await end(queue, "p", Outcome.FAILED)
    assert await states(queue, "p", "c") == ["failed", "waiting"]


async def test_a_child_of_a_failed_parent_is_held_if_it_says_so(queue: Queue) -> None:
    child = spec(id="c", after=("p",), on_parent_failure="hold")
    await queue.enqueue_specs([spec(id="p", max_retries=1), child])
    await end(queue, "p", DEAD)
    found = await job(queue, "c")
    assert (found.state, found.held, found.cause) == (State.WAITING, True, "p")
    assert found.held_at is None
    # Whoever releases it lets it run in spite of the parent.
    assert await queue.release([found]) == 1
    assert await state(queue, "c") is State.PENDING
    await end(queue, "c")


async def test_a_release_does_not_end_the_waiting_for_other_parents(queue: Queue) -> None:
    child = spec(id="c", after=("p", "q"), on_parent_failure="hold")
    await queue.enqueue_specs([spec(id="p", max_retries=1), spec(id="q"), child])
    await end(queue, "p", DEAD)
    await queue.release([await job(queue, "c")])
    found = await job(queue, "c")
    assert (found.state, found.held, found.cause) == (State.WAITING, False, None)
    await end(queue, "q")
    assert await state(queue, "c") is State.PENDING


async def test_failure_goes_down_in_one_commit(queue: Queue) -> None:
    chain = [spec(id=f"c{n}", after=(f"c{n - 1}" if n else "p",)) for n in range(20)]
    await queue.enqueue_specs([spec(id="p", max_retries=1), *chain])
    await run(queue.store, await job(queue, "p"), DEAD)
    jobs = [await job(queue, f"c{n}") for n in range(20)]
    assert {one.state for one in jobs} == {State.CANCELLED}
    assert [one.cause for one in jobs] == ["p", *(f"c{n}" for n in range(19))]


async def test_a_retry_revives_exactly_the_jobs_with_that_cause(queue: Queue) -> None:
    await queue.enqueue_specs(
        [
            spec(id="p", max_retries=1),
            spec(id="q", max_retries=1),
            spec(id="c", after=("p",)),
            spec(id="grandchild", after=("c",)),
            spec(id="of-q", after=("q",)),
            spec(id="by-hand", after=("p",)),
            spec(id="other", hold=True),
        ]
    )
    await queue.cancel([await job(queue, "by-hand"), await job(queue, "other")])
    await end(queue, "p", DEAD)
    await end(queue, "q", DEAD)
    assert (await job(queue, "of-q")).cause == "q"
    assert await queue.retry([await job(queue, "p")]) == 1
    names = ("p", "c", "grandchild", "of-q", "by-hand", "other")
    left = ["pending", "waiting", "waiting", "cancelled", "cancelled", "cancelled"]
    assert await states(queue, *names) == left
    assert (await job(queue, "c")).cause is None
    await end(queue, "p")
    await end(queue, "c")
    await end(queue, "grandchild")


async def test_two_failed_parents_and_a_retry_of_one(queue: Queue) -> None:
    """The job is not revived while the other makes it impossible, whichever came first."""
    await queue.enqueue_specs(
        [
            spec(id="p", max_retries=1),
            spec(id="q", max_retries=1),
            spec(id="c", after=("p", "q")),
            spec(id="h", after=("p", "q"), on_parent_failure="hold"),
        ]
    )
    await end(queue, "p", DEAD)
    await end(queue, "q", DEAD)
    assert (await job(queue, "c")).cause == (await job(queue, "h")).cause == "p"
    await queue.retry([await job(queue, "p")])
    for name, expected in (("c", State.CANCELLED), ("h", State.WAITING)):
        found = await job(queue, name)
        assert (found.state, found.cause) == (expected, "q")
    await queue.retry([await job(queue, "q")])
    for name in "ch":
        found = await job(queue, name)
        assert (found.state, found.held, found.cause) == (State.WAITING, False, None)
    await end(queue, "p")
    await end(queue, "q")
    assert await states(queue, "c", "h") == ["pending", "pending"]


async def test_a_persons_hold_survives_the_cancel_and_the_retry_of_a_parent(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="p", max_retries=1), spec(id="c", after=("p",))])
    await queue.hold([await job(queue, "c")])
    await end(queue, "p", DEAD)
    assert await state(queue, "c") is State.CANCELLED
    await queue.retry([await job(queue, "p")])
    await end(queue, "p")
    found = await job(queue, "c")
    assert (found.state, found.held, found.held_by) == (State.WAITING, True, queue.actor)
    await queue.release([found])
    assert await state(queue, "c") is State.PENDING


async def test_a_held_job_that_waits_too(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="p"), spec(id="c", after=("p",), hold=True)])
    await queue.release([await job(queue, "c")])
    found = await job(queue, "c")
    assert (found.state, found.held) == (State.WAITING, False)
    with pytest.raises(Conflict, match="not held; it waits for other jobs"):
        await queue.release([found])


async def test_a_retry_that_cannot_help(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="p", max_retries=1), spec(id="c", after=("p",))])
    await end(queue, "p", DEAD)
    with pytest.raises(Conflict, match="cannot run: its parent 'p' is dead"):
        await queue.retry([await job(queue, "c")])
    found = await job(queue, "c")
    assert (found.state, found.cause) == (State.CANCELLED, "p")
    assert await queue.retry_all(Filter(states=(State.CANCELLED,))) == 0
    found = await job(queue, "c")
    assert (found.state, found.cause) == (State.CANCELLED, "p")
    # With the parent it can.
    assert await queue.retry([found, await job(queue, "p")]) == 2
    assert await states(queue, "p", "c") == ["pending", "waiting"]


async def test_a_bulk_retry_leaves_what_cannot_run_as_it_was(queue: Queue) -> None:
    """Also a job whose parent would have to run in the same call, and cannot."""
    await queue.enqueue_specs(
        [
            spec(id="p", max_retries=1),
            spec(id="c", after_any=("p",), max_retries=1),
            spec(id="d", after=("p",)),
            spec(id="e", after=("d",)),
            spec(id="free", max_retries=1),
        ]
    )
    for name in ("p", "c", "free"):
        await end(queue, name, DEAD)
    # It ran when its parent had completed, which was retried since and failed.
    async with queue.batch() as bulk:
        await bulk.add([(1, spec(id="q")), (2, spec(id="x", after=("q",), max_retries=1))])
        await bulk.commit(NOW)
    await end(queue, "q")
    await end(queue, "x", DEAD)
    await queue.retry([await job(queue, "q")])
    await queue.cancel([await job(queue, "q")])
    before = {one.id: one for one in await queue.scan()}
    assert (before["x"].state, before["x"].attempts) == (State.DEAD, 1)
    some = [before[name] for name in ("d", "e", "free", "x")]
    assert await queue.retry(some, strict=False) == 1
    after = {one.id: one for one in await queue.scan()}
    changed = after.pop("free")
    assert changed.state is State.PENDING
    del before["free"]
    assert after == before
    chosen = tuple(one.seq for one in some)
    assert await queue.retry_all(Filter(seqs=chosen)) == 0
    assert {one.id: one for one in await queue.scan() if one.id != "free"} == before


PAGES = [1, 2, 3, 100]


@pytest.mark.parametrize("size", PAGES)
async def test_the_pages_of_a_bulk_remove_do_not_matter(
    queue: Queue, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facade, "BULK", size)
    up = [spec(id=f"u{n}", after=(f"u{n - 1}",) if n else ()) for n in range(5)]
    down = [spec(id=f"d{n}", after=(f"d{n + 1}",) if n < 4 else ()) for n in range(5)]
    kept = [spec(id="k0"), spec(id="k1", after=("k0",)), spec(id="k2", after=("k1",), queue="k")]
    await queue.enqueue_specs([*down, *up, *kept])
    assert await queue.remove_all(Filter(queues=("default",))) == 10
    assert sorted(one.id for one in await queue.scan()) == ["k0", "k1", "k2"]


@pytest.mark.parametrize("size", PAGES)
async def test_the_pages_of_marked_jobs_do_not_matter(
    queue: Queue, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facade, "BULK", size)
    jobs = [spec(id=f"u{n}", after=(f"u{n - 1}",) if n else ()) for n in range(5)]
    made = await queue.enqueue_specs(jobs)
    assert await queue.remove(made, strict=False) == 5
    assert await queue.scan() == []


@pytest.mark.parametrize("size", PAGES)
async def test_the_pages_of_a_bulk_retry_do_not_matter(
    queue: Queue, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if the parents were enqueued after the child, and no child starts before them."""
    monkeypatch.setattr(facade, "BULK", size)
    await queue.enqueue_specs(
        [
            spec(id="c", after=("done",), after_any=("dead",), max_retries=1),
            spec(id="d", after=("dead",)),
            spec(id="done", after=("first",)),
            spec(id="dead", max_retries=1),
            spec(id="first", priority=1),
        ]
    )
    await end(queue, "first")
    await end(queue, "done")
    await end(queue, "dead", DEAD)
    await end(queue, "c", DEAD)
    claimed: list[str] = []

    async def between(seconds: float) -> None:
        claimed.extend(one.id for one in await claim(queue.store, count=9))

    monkeypatch.setattr(queue.store, "give_way", between)
    # A job that its parent has revived before is not counted.
    assert await queue.retry_all(Filter()) == (5 if size == 100 else 4)
    await between(0.0)
    assert sorted(claimed) == ["dead", "first"]
    assert await states(queue, "c", "d", "done") == ["waiting"] * 3


async def test_a_bulk_remove_keeps_what_a_job_waits_for_that_matches_no_more(
    queue: Queue,
) -> None:
    """The jobs were read before, and one has changed since."""
    await queue.enqueue_specs(
        [
            spec(id="p"),
            spec(id="c", after=("p",)),
            spec(id="d", after=("c",), queue="other"),
            spec(id="free"),
        ]
    )
    names = "pcd"
    seqs = [(await job(queue, name)).seq for name in (*names, "free")]
    changed = await queue.store.change_matching(
        JobAction.REMOVE, Filter(queues=("default",)), seqs, NOW
    )
    assert [seq for seq, _ in changed.done] == seqs[-1:]
    assert changed.left == seqs[:2]
    assert await states(queue, *names) == ["pending", "waiting", "waiting"]


async def test_a_job_that_was_released_keeps_that_when_it_is_retried(queue: Queue) -> None:
    child = spec(id="c", after=("p",), on_parent_failure="hold", max_retries=1)
    await queue.enqueue_specs([spec(id="p", max_retries=1), child])
    await end(queue, "p", DEAD)
    await queue.release([await job(queue, "c")])
    await end(queue, "c", DEAD)
    assert await queue.retry([await job(queue, "c")]) == 1
    await end(queue, "c")


async def test_a_job_is_due_when_its_parents_are_done(store: Store) -> None:
    """Not at the time when it was enqueued: otherwise it would go before jobs that are due since
    then. A later run_at stays."""
    await hired(store)
    await store.enqueue(
        [spec(id="p"), spec(id="c", after=("p",)), spec(id="l", after=("p",), run_at=NOW + 99)], NOW
    )
    [parent] = await claim(store)
    await finish(store, "sup", ending(parent, now=NOW + 5), now=NOW + 5)
    [child] = await store.by_id("c")
    [later] = await store.by_id("l")
    assert (child.run_at, later.run_at) == (NOW + 5, NOW + 99)
    assert child.state is later.state is State.PENDING
    assert [one.id for one in await claim(store, count=2, now=NOW + 98)] == ["c"]


async def test_a_job_with_another_command_waits_for_its_parents_again(queue: Queue) -> None:
    jobs = [spec(id="p", max_retries=1), spec(id="c", after_any=("p",), max_retries=1)]
    await queue.enqueue_specs([*jobs, spec(id="d", after=("c",))])
    await end(queue, "p")
    await end(queue, "c", DEAD)
    await queue.retry([await job(queue, "p")])
    amended = await amend(queue, await job(queue, "c"), "echo")
    assert (amended.command, amended.state, amended.attempts) == ("echo", State.WAITING, 0)
    assert amended == await job(queue, "c")
    assert await state(queue, "d") is State.WAITING
    for name in "pcd":
        await end(queue, name)


async def test_a_job_that_cannot_run_gets_no_other_command(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="p", max_retries=1), spec(id="c", after=("p",))])
    await end(queue, "p", DEAD)
    before = await job(queue, "c")
    with pytest.raises(Conflict, match="cannot run: its parent 'p' is dead"):
        await amend(queue, before, "echo")
    assert await job(queue, "c") == before


# -- what is refused --------------------------------------------------------------------


async def batch(queue: Queue, specs: list[JobSpec]) -> None:
    async with queue.batch() as bulk:
        await bulk.add(list(enumerate(specs, 1)))
        await bulk.commit(NOW)


CIRCLES = [
    [("a", "a")],
    [("a", "b"), ("b", "a")],
    [("a", "c"), ("b", "a"), ("c", "b"), ("free", "")],
    [("x", "p"), ("a", "b"), ("b", "a")],
]


@pytest.mark.parametrize("circle", CIRCLES)
@pytest.mark.parametrize("bulk", [True, False])
async def test_a_circle_refuses_the_whole_batch(
    queue: Queue, circle: list[tuple[str, str]], bulk: bool
) -> None:
    await queue.enqueue_specs([spec(id="p")])
    jobs = [spec(id=name, after=(parent,) if parent else ()) for name, parent in circle]
    with pytest.raises(InvalidInput, match=r"circle|itself") as caught:
        await (batch(queue, jobs) if bulk else queue.enqueue_specs(jobs))
    assert caught.value.exit_code == 2
    assert [one.id for one in await queue.scan()] == ["p"]


@pytest.mark.parametrize("bulk", [True, False])
async def test_an_unknown_parent_refuses_the_whole_batch(queue: Queue, bulk: bool) -> None:
    jobs = [spec(id="a"), spec(id="b", after=("a",), after_any=("nobody",))]
    with pytest.raises(NotFound, match="'b' waits for 'nobody'") as caught:
        await (batch(queue, jobs) if bulk else queue.enqueue_specs(jobs))
    assert caught.value.exit_code == 3
    assert ("line 2" in caught.value.message) == bulk
    assert await queue.scan() == []
    assert await queue.store.counts() == {}


@pytest.mark.parametrize("bulk", [True, False])
async def test_a_batch_refers_to_its_own_ids_in_any_order(queue: Queue, bulk: bool) -> None:
    jobs = [spec(id="c", after=("b",)), spec(id="b", after=("a",)), spec(id="a")]
    await (batch(queue, jobs) if bulk else queue.enqueue_specs(jobs))
    for name in "abc":
        await end(queue, name)


async def test_a_prefix_is_not_a_parent(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="parent")])
    with pytest.raises(NotFound):
        await queue.enqueue_specs([spec(after=("par",))])


async def test_a_taken_id_is_still_refused(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="a")])
    with pytest.raises(Conflict):
        await queue.enqueue_specs([spec(id="b"), spec(id="a", after=("b",))])
    with pytest.raises(BatchRejected):
        await batch(queue, [spec(id="x"), spec(id="y", after=("x",)), spec(id="x")])


# -- removing and pruning ---------------------------------------------------------------


async def test_a_job_that_others_wait_for_is_not_removed(queue: Queue) -> None:
    await queue.enqueue_specs(
        [
            spec(id="p"),
            spec(id="c", after=("p",)),
            spec(id="d", after_any=("c",)),
            spec(id="free"),
        ]
    )
    with pytest.raises(Conflict, match="'c' waits for job 'p'; nothing was removed") as caught:
        await queue.remove([await job(queue, "free"), await job(queue, "p")])
    assert "--cascade" in caught.value.hint
    assert len(await queue.scan()) == 4
    assert await queue.remove([await job(queue, "p")], cascade=True) == 3
    assert [one.id for one in await queue.scan()] == ["free"]


async def test_a_job_is_removed_with_all_that_wait_for_it(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="p"), spec(id="c", after=("p",))])
    assert await queue.remove([await job(queue, "p"), await job(queue, "c")]) == 2


async def test_a_bulk_remove_leaves_what_others_wait_for(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="p", queue="q"), spec(id="c", after=("p",)), spec(id="x")])
    assert await queue.remove_all(Filter(queues=("q",))) == 0
    assert await queue.remove_all(Filter()) == 3
    assert await queue.store.counts() == {}


async def test_a_parent_whose_children_have_ended_can_be_removed(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="p"), spec(id="c", after=("p",))])
    await end(queue, "p")
    assert await state(queue, "c") is State.PENDING
    assert await queue.remove([await job(queue, "p")]) == 1
    assert (await queue.tree(await job(queue, "c"))).parents[0].parent_state is None
    await end(queue, "c", DEAD)
    assert await queue.retry([await job(queue, "c")]) == 1
    assert await state(queue, "c") is State.PENDING


async def test_the_cause_outlives_the_parent(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="p", max_retries=1), spec(id="c", after=("p",))])
    await end(queue, "p", DEAD)
    await queue.remove([await job(queue, "p")])
    assert (await job(queue, "c")).cause == "p"
    # Another job with this id is not its parent.
    await queue.enqueue_specs([spec(id="p")])
    await end(queue, "p")
    assert await state(queue, "c") is State.CANCELLED


async def test_prune_keeps_a_job_while_others_wait_for_it(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="p"), spec(id="q"), spec(id="c", after=("p", "q"))])
    await end(queue, "p")
    seq = (await job(queue, "p")).seq
    assert (await queue.store.prune([seq], State.COMPLETED, NOW + 9)).done == []
    old = Queue(queue.store, {}, clock=lambda: NOW + 999)
    assert await old.prune(10.0) == 0
    assert await state(queue, "p") is State.COMPLETED
    await end(queue, "q")
    await end(queue, "c")
    assert await old.prune(10.0) == 3


async def test_jobs_that_others_wait_for_are_not_in_the_way_of_prune(queue: Queue) -> None:
    """They come first, and as many as are read at a time."""
    parents = [spec(id=f"p{n}") for n in range(3)]
    free = [spec(id=f"f{n}") for n in range(3)]
    child = spec(id="c", after=(*(one.id or "" for one in parents), "last"))
    await queue.enqueue_specs([*parents, *free, spec(id="last", run_at=NOW + 99), child])
    for one in (*parents, *free):
        await end(queue, one.id or "")
    wanted = [(await job(queue, one.id or "")).seq for one in free]
    store = queue.store
    assert sorted(await store.expired(0.0, NOW + 9, 3)) == wanted
    assert await store.ended(State.COMPLETED, NOW + 9, 0, 3) == wanted
    old = Queue(store, {}, clock=lambda: NOW + 999)
    assert await old.prune(10.0, dry_run=True) == 3
    assert await old.prune(10.0) == 3


# -- the tree ---------------------------------------------------------------------------


async def test_the_tree_of_a_job(queue: Queue) -> None:
    await queue.enqueue_specs(
        [
            spec(id="a"),
            spec(id="b", after=("a",)),
            spec(id="c", after_any=("b",), after=("a",)),
            spec(id="d", after_failed=("c",)),
        ]
    )
    tree = await queue.tree(await job(queue, "b"))
    assert [(one.parent, one.kind, one.child) for one in tree.parents] == [("a", "after", "b")]
    assert [(one.parent, one.kind, one.child) for one in tree.children] == [
        ("b", "after_any", "c"),
        ("c", "after_failed", "d"),
    ]
    assert tree.complete
    cut = await queue.tree(await job(queue, "a"), limit=2)
    assert len(cut.children) == 2
    assert not cut.complete


# -- many children ----------------------------------------------------------------------

CHILDREN = 10_000


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, DEAD])
async def test_a_parent_with_very_many_children_is_settled_in_several_commits(
    store: Store, outcome: Outcome
) -> None:
    await hired(store)
    async with store.batch() as bulk:
        await bulk.add([(0, spec(id="p", max_retries=1))])
        await bulk.add([(n, spec(id=f"c{n}", after=("p",))) for n in range(1, CHILDREN + 1)])
        await bulk.commit(NOW)
    wanted = State.PENDING if outcome is Outcome.COMPLETED else State.CANCELLED
    [parent] = await store.by_id("p")
    await run(store, parent, outcome)
    judged, commits = await count_of(store, wanted), 0
    assert 0 < judged <= 2000
    while await store.judge_marked(NOW):
        now = await count_of(store, wanted)
        assert now - judged <= 2000
        judged, commits = now, commits + 1
    assert commits >= 3
    assert await count_of(store, wanted) == CHILDREN
    assert await store.misadmitted() == 0


async def count_of(store: Store, wanted: State) -> int:
    return sum(number for (one, _), number in (await store.counts()).items() if one is wanted)


async def test_an_enqueue_judges_its_own_jobs_only(queue: Queue, place: Place) -> None:
    """Others may have marked a parent with very many children: the enqueue must not take long."""
    store = queue.store
    async with store.batch() as bulk:
        await bulk.add([(0, spec(id="p", max_retries=1)), (1, spec(id="q", max_retries=1))])
        await bulk.add([(n, spec(id=f"c{n}", after=("p",))) for n in range(2, 3002)])
        await bulk.commit(NOW)
    await run(store, await job(queue, "p"), DEAD)
    judged = await count_of(store, State.CANCELLED)
    new = [spec(id="y", after=("x",)), spec(id="x", after=("p",)), spec(id="z", after=("q",))]
    await store.enqueue(new, NOW)
    assert await states(queue, "x", "y", "z") == ["cancelled", "cancelled", "waiting"]
    if isinstance(place, SqlitePlace):  # where others cannot write meanwhile
        assert await count_of(store, State.CANCELLED) == judged + 2
    while await store.judge_marked(NOW):
        pass
    assert await count_of(store, State.CANCELLED) == 3002


async def test_a_change_by_hand_judges_all_children(queue: Queue) -> None:
    """The verb has done everything when it returns."""
    async with queue.batch() as bulk:
        await bulk.add([(0, spec(id="p"))])
        await bulk.add([(n, spec(after=("p",))) for n in range(1, 2501)])
        await bulk.commit(NOW)
    await queue.cancel([await job(queue, "p")])
    assert await count_of(queue.store, State.CANCELLED) == 2501
    await queue.retry([await job(queue, "p")])
    assert await count_of(queue.store, State.WAITING) == 2500
    assert len(await queue.scan(limit=EVERY)) == 2501


async def test_doctor_finds_and_mends_what_was_not_judged(queue: Queue, place: Place) -> None:
    await queue.enqueue_specs([spec(id="p"), spec(id="c", after=("p",)), spec(id="k", key="k")])
    await place.execute("UPDATE jobs SET state = 'waiting', ready = NULL WHERE id = 'p'")
    assert await queue.store.misadmitted() >= 1
    await queue.store.readmit(NOW)
    assert await queue.store.misadmitted() == 0
    await end(queue, "p")
    await end(queue, "c")
    await end(queue, "k")


async def test_nobody_can_change_a_job_before_its_parents_by_a_race(
    queue: Queue, other: Store
) -> None:
    """The parent ends while a child is enqueued: it is judged in one of the two commits."""
    await queue.enqueue_specs([spec(id="p")])
    [running] = await claim(queue.store)

    async def children() -> None:
        for number in range(20):
            await queue.store.enqueue([spec(id=f"c{number}", after=("p",))], NOW)

    await asyncio.gather(children(), finish(other, "sup", ending(running)))
    while await queue.store.judge_marked(NOW):
        pass
    assert await count_of(queue.store, State.PENDING) == 20


async def test_changing_the_seen_jobs_only(queue: Queue) -> None:
    await queue.enqueue_specs([spec(id="p"), spec(id="c", after=("p",))])
    child = await job(queue, "c")
    await end(queue, "p")
    assert await change(queue.store, JobAction.CANCEL, [child.seq], NOW, True) == 1
    with pytest.raises(Conflict):
        await queue.cancel([child])


async def test_a_retry_of_a_job_and_of_its_grandparent(queue: Queue) -> None:
    """The parent between them is revived first: so the job does not run beside it."""
    await queue.enqueue_specs(
        [
            spec(id="g"),
            spec(id="p", after_failed=("g",)),
            spec(id="c", after_failed=("p",), max_retries=1),
        ]
    )
    await end(queue, "g")
    assert await state(queue, "p") is State.CANCELLED
    await end(queue, "c", DEAD)
    assert await queue.retry([await job(queue, "c"), await job(queue, "g")]) == 2
    assert await states(queue, "g", "p", "c") == ["pending", "waiting", "waiting"]


async def test_children_that_one_commit_leaves_to_judge_are_looked_at_soon(store: Store) -> None:
    """An idle supervisor does not wait until something else happens."""
    await hired(store)
    await store.enqueue([spec(id="p", max_retries=1)], NOW)
    async with store.batch() as batch:
        await batch.add([(n, spec(after=("p",))) for n in range(1, 451)])
        await batch.commit(NOW)
    [held] = await claim(store)
    results = [ending(held, Outcome.FAILED)]
    turns = 0
    while True:
        request = ClaimRequest("sup", results, [ClaimSlot("sup-1", ("none",))], NOW)
        answer = await store.settle_and_claim(request)
        if not answer.delayed:
            break
        assert answer.next_due is not None
        assert answer.next_due <= NOW + 1
        turns, results = turns + 1, []
    assert turns > 0
    assert answer.next_due is None
    assert await store.counts() == {(State.DEAD, "default"): 1, (State.CANCELLED, "default"): 450}


async def test_doctor_counts_the_jobs_that_nobody_would_look_at(queue: Queue, place: Place) -> None:
    """Beside jobs of the same kinds that wait rightly."""
    store = queue.store
    await queue.enqueue_specs([spec(id="p"), spec(id="q"), spec(id="unmet", after=("q",))])
    await queue.enqueue_specs([spec(id="met", after=("p",)), spec(id="impossible", after=("p",))])
    await run(store, await job(queue, "p"))
    keyed = [spec(id="one", key="k"), spec(id="two", key="k"), spec(key="l"), spec(key="l")]
    await queue.enqueue_specs(keyed)
    assert await store.misadmitted() == 0
    await place.execute("UPDATE jobs SET state = 'waiting', ready = NULL WHERE id = 'met'")
    await place.execute("DELETE FROM parent_marks")
    assert await store.misadmitted() == 1
    await place.execute("UPDATE jobs SET ready = 2 WHERE key = 'k'")
    await place.execute("DELETE FROM key_marks WHERE key = 'k'")
    assert await store.misadmitted() == 2
    await store.readmit(NOW)
    assert await store.misadmitted() == 0
    assert await states(queue, "met", "unmet", "one", "two") == [
        *("pending", "waiting", "pending", "pending")
    ]
