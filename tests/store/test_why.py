"""Why a job does not run: each case is constructed, and the answer names exactly what blocks it.
Then what each reason says is done, and it must be gone."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from queuectl_core import queue
from queuectl_core.domain.admission import Reason
from queuectl_core.domain.claims import AttemptStarted, ClaimRequest, ClaimSlot
from queuectl_core.domain.figures import WaitGroup
from queuectl_core.domain.model import Filter, Job, Outcome, State
from queuectl_core.queue import Queue
from queuectl_core.store.protocol import Store
from queuectl_core.system.clocks import monotonic
from queuectl_core.system.host import process_start

from ..support import NOW, ending, spec, supervisor
from .tools import claim, hired

HELD, WAITS, DUE, BACKOFF = Reason.HELD, Reason.WAITING_FOR, Reason.NOT_DUE, Reason.BACKOFF
PAUSED, LIMIT, HOST, KEY = (
    *(Reason.QUEUE_PAUSED, Reason.QUEUE_LIMIT, Reason.HOST_LIMIT, Reason.KEY_LIMIT),
)
RATE, NOBODY, BUSY, UNCERTAIN = (
    *(Reason.RATE_LIMIT, Reason.NO_WORKER, Reason.ALL_BUSY, Reason.UNCERTAIN),
)
HOUR = 3600.0


class Bench:
    """A store in which a case is constructed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = NOW
        self.queue = Queue(store, {}, clock=lambda: self.now)
        self.free: dict[str, list[str]] = {}
        """The idle workers of each supervisor."""
        self.hired = 0

    async def hire(
        self, count: int = 1, queues: tuple[str, ...] = (), *, host: str = "here", live: bool = True
    ) -> str:
        """A supervisor with so many workers. ``live``: its process is there."""
        self.hired += 1
        self.store.directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # as a supervisor does
        name = f"sup{self.hired}"
        row = supervisor(
            name,
            host=host,
            host_key=self.store.host_identity(),
            pid_start=process_start(os.getpid()) if live else 1.0,
            lease_mono=monotonic() + HOUR,
            lease_until=NOW + HOUR,
        )
        self.free[name] = [f"{name}-{number}" for number in range(1, count + 1)]
        workers = [(worker, queues) for worker in self.free[name]]
        await self.store.register(row, workers, self.now)
        await self.store.workers_up(self.free[name])
        return name

    async def add(self, name: str = "j", **fields: Any) -> str:
        """A job."""
        await self.queue.enqueue_specs([spec(id=name, **fields)])
        return name

    async def start(self, owner: str = "sup1", queue: str = "default") -> Job:
        """Start the next job on an idle worker."""
        slot = ClaimSlot(self.free[owner].pop(), (queue,))
        request = ClaimRequest(owner, [], [slot], self.now)
        [job] = (await self.store.settle_and_claim(request)).claimed
        return job

    async def end(self, job: Job, outcome: Outcome = Outcome.COMPLETED) -> None:
        """End its attempt."""
        assert job.owner is not None
        assert job.worker is not None
        self.free[job.owner].append(job.worker)
        result = ending(job, outcome, now=self.now)
        await self.store.settle_and_claim(ClaimRequest(job.owner, [result], [], self.now))

    async def busy(self, count: int = 1, **fields: Any) -> str:
        """A supervisor that runs so many jobs, and has no other workers."""
        owner = await self.hire(count)
        for number in range(count):
            await self.add(f"{owner}-job{number}", **fields)
            await self.start(owner, fields.get("queue", "default"))
        return owner

    async def job(self, name: str) -> Job:
        found = await self.queue.find(name)
        assert found.id == name
        return found

    async def hold(self, name: str = "j") -> None:
        await self.queue.hold([await self.job(name)])

    async def set(self, queue: str = "default", **settings: Any) -> None:
        await self.queue.set_queue(queue, settings)

    async def reasons(self, name: str = "j") -> list[Reason]:
        return [one.reason for one in (await self.queue.why(await self.job(name))).blockers]

    async def obey(self, command: tuple[str, ...]) -> None:
        """What the command line does."""
        match command:
            case ("release", name):
                await self.queue.release([await self.job(name)])
            case ("edit", name, "--run-at", "now"):
                await self.queue.edit(await self.job(name), {"run_at": "now"})
            case ("retry", name):
                await self.queue.retry([await self.job(name)])
            case ("queue", "resume", name):
                await self.queue.resume_queue(name)
            case ("queue", "set", name, option, value):
                await self.queue.set_queue(name, {option.removeprefix("--"): value})
            case ("worker", "start", "--detach", "--queue", name):
                await self.hire(1, (name,))
            case _:
                raise AssertionError(f"what is {command}?")


Case = Callable[[Bench], Awaitable[object]]
CASES: list[tuple[str, tuple[Reason, ...], Case]] = []


def case(*expected: Reason) -> Callable[[Case], Case]:
    """The job ``j`` of this case is blocked by exactly these."""

    def add(made: Case) -> Case:
        CASES.append((made.__name__, expected, made))
        return made

    return add


# -- one reason -------------------------------------------------------------------------


@case()
async def nothing(b: Bench) -> None:
    await b.hire()
    await b.add()


@case(NOBODY)
async def no_worker_at_all(b: Bench) -> None:
    await b.add()


@case(NOBODY)
async def workers_of_another_queue(b: Bench) -> None:
    await b.hire(2, ("mail", "print"))
    await b.add()


@case(NOBODY)
async def a_dead_supervisor(b: Bench) -> None:
    await b.hire(live=False)
    await b.add()


@case(NOBODY)
async def workers_that_are_stopping(b: Bench) -> None:
    await b.hire(2)
    await b.store.stop_workers(["sup1-1", "sup1-2"], False)
    await b.add()


@case()
async def one_of_two_is_stopping(b: Bench) -> None:
    await b.hire(2)
    await b.store.stop_workers(["sup1-1"], False)
    await b.add()


@case()
async def a_worker_that_serves_it_by_name(b: Bench) -> None:
    await b.hire(1, ("mail",))
    await b.add(queue="mail")


@case(BUSY)
async def the_only_worker_is_busy(b: Bench) -> None:
    await b.busy()
    await b.add()


@case(BUSY)
async def all_workers_are_busy(b: Bench) -> None:
    await b.busy(3)
    await b.add()


@case()
async def one_of_two_is_idle(b: Bench) -> None:
    await b.busy()
    await b.hire()
    await b.add()


@case(BUSY)
async def the_idle_one_serves_another_queue(b: Bench) -> None:
    await b.busy()
    await b.hire(1, ("mail",))
    await b.add()


@case(HELD)
async def held_by_a_person(b: Bench) -> None:
    await b.hire()
    await b.add()
    await b.hold()


@case(HELD)
async def enqueued_on_hold(b: Bench) -> None:
    await b.hire()
    await b.add(hold=True)


@case(HELD)
async def held_because_its_parent_failed(b: Bench) -> None:
    await b.hire()
    await b.add("p", max_retries=1)
    await b.add(after=("p",), on_parent_failure="hold")
    await b.end(await b.start(), Outcome.FAILED)


@case(HELD)
async def held_because_its_parent_did_not_fail(b: Bench) -> None:
    await b.hire()
    await b.add("p")
    await b.add(after_failed=("p",), on_parent_failure="hold")
    await b.end(await b.start())


@case(WAITS)
async def waits_for_a_job_that_waits(b: Bench) -> None:
    await b.hire()
    await b.add("p")
    await b.add(after=("p",))


@case(WAITS)
async def waits_for_a_job_that_runs(b: Bench) -> None:
    await b.hire(2)
    await b.add("p")
    await b.add(after_any=("p",))
    await b.start()


@case(WAITS)
async def waits_for_one_of_two(b: Bench) -> None:
    await b.hire()
    await b.add("p")
    await b.add("q")
    await b.add(after=("p", "q"))
    await b.end(await b.start())


@case(WAITS)
async def waits_for_a_retry_of_its_parent(b: Bench) -> None:
    await b.hire()
    await b.add("p", max_retries=2)
    await b.add(after_failed=("p",))
    await b.end(await b.start(), Outcome.FAILED)


@case(WAITS)
async def its_parent_was_retried(b: Bench) -> None:
    await b.hire()
    await b.add("p", max_retries=1)
    await b.add(after=("p",))
    await b.end(await b.start(), Outcome.FAILED)
    await b.queue.retry([await b.job("p")])


@case()
async def its_parents_are_done(b: Bench) -> None:
    await b.hire()
    await b.add("p")
    await b.add(after=("p",))
    await b.end(await b.start())


@case(DUE)
async def not_due(b: Bench) -> None:
    await b.hire()
    await b.add(run_at=NOW + HOUR)


@case()
async def due_since_a_moment(b: Bench) -> None:
    await b.hire()
    await b.add(run_at=NOW + 5)
    b.now = NOW + 6


@case(BACKOFF)
async def between_two_attempts(b: Bench) -> None:
    await b.hire()
    await b.add()
    await b.end(await b.start(), Outcome.FAILED)


@case()
async def the_backoff_is_over(b: Bench) -> None:
    await b.hire()
    await b.add()
    await b.end(await b.start(), Outcome.FAILED)
    b.now = NOW + HOUR


@case(PAUSED)
async def its_queue_is_paused(b: Bench) -> None:
    await b.hire()
    await b.add()
    await b.queue.pause_queue("default", reason="upgrade")


@case(PAUSED)
async def its_queue_is_paused_for_a_while(b: Bench) -> None:
    await b.hire()
    await b.add()
    await b.queue.pause_queue("default", seconds=60)


@case()
async def the_pause_is_over(b: Bench) -> None:
    await b.hire()
    await b.add()
    await b.queue.pause_queue("default", seconds=60)
    b.now = NOW + 60


@case()
async def another_queue_is_paused(b: Bench) -> None:
    await b.hire()
    await b.add()
    await b.queue.pause_queue("mail")


@case(LIMIT)
async def as_many_run_as_may(b: Bench) -> None:
    await b.busy(2)
    await b.hire()
    await b.set(limit=2)
    await b.add()


@case(LIMIT)
async def more_run_than_may(b: Bench) -> None:
    await b.busy(3)
    await b.hire()
    await b.set(limit=1)
    await b.add()


@case(LIMIT)
async def nothing_may_run(b: Bench) -> None:
    await b.hire()
    await b.set(limit=0)
    await b.add()


@case()
async def less_run_than_may(b: Bench) -> None:
    await b.busy(2)
    await b.hire()
    await b.set(limit=3)
    await b.add()


@case()
async def as_many_run_in_another_queue(b: Bench) -> None:
    await b.busy(2, queue="mail")
    await b.hire()
    await b.set(limit=2)
    await b.add()


@case(HOST)
async def as_many_run_on_the_only_host(b: Bench) -> None:
    await b.busy()
    await b.hire()
    await b.set(per_host=1)
    await b.add()


@case()
async def another_host_has_room(b: Bench) -> None:
    await b.busy()
    await b.hire(host="there")
    await b.set(per_host=1)
    await b.add()


@case(KEY)
async def its_key_is_taken(b: Bench) -> None:
    await b.busy(key="k")
    await b.hire()
    await b.add(key="k")


@case(KEY)
async def its_key_is_taken_twice(b: Bench) -> None:
    await b.set(per_key=2)
    await b.busy(2, key="k")
    await b.hire()
    await b.add(key="k")


@case()
async def its_key_is_taken_once_of_twice(b: Bench) -> None:
    await b.set(per_key=2)
    await b.busy(key="k")
    await b.hire()
    await b.add(key="k")


@case()
async def another_key_is_taken(b: Bench) -> None:
    await b.busy(key="k")
    await b.hire()
    await b.add(key="l")


@case()
async def its_key_is_taken_in_another_queue(b: Bench) -> None:
    await b.busy(key="k", queue="mail")
    await b.hire()
    await b.add(key="k")


@case(RATE)
async def the_rate_is_used_up(b: Bench) -> None:
    await b.set(rate="1/1h")
    await b.busy()
    await b.hire()
    await b.add()


@case()
async def the_rate_allows_another(b: Bench) -> None:
    await b.set(rate="2/1h")
    await b.busy()
    await b.hire()
    await b.add()


@case()
async def the_period_of_the_rate_is_over(b: Bench) -> None:
    await b.set(rate="1/1m")
    owner = await b.busy()
    await b.hire()
    await b.add()
    [job] = await b.store.held(owner)
    began = AttemptStarted(job.seq, job.runs, job.worker or "", NOW)
    await b.store.settle_and_claim(ClaimRequest(owner, [], [], b.now, [began]))
    b.now = NOW + 61


@case(RATE)
async def it_is_not_known_when_the_last_attempt_started(b: Bench) -> None:
    await b.set(rate="1/1m")
    await b.busy()
    await b.hire()
    await b.add()
    b.now = NOW + 61


# -- several ----------------------------------------------------------------------------


@case(HELD, WAITS)
async def held_and_waiting(b: Bench) -> None:
    await b.hire()
    await b.add("p")
    await b.add(after=("p",), hold=True)


@case(HELD, DUE)
async def held_before_it_is_due(b: Bench) -> None:
    await b.hire()
    await b.add(run_at=NOW + HOUR, hold=True)


@case(HELD, DUE)
async def held_between_two_attempts(b: Bench) -> None:
    await b.hire()
    await b.add()
    await b.end(await b.start(), Outcome.FAILED)
    await b.hold()


@case(HELD, WAITS)
async def one_parent_failed_and_one_runs(b: Bench) -> None:
    await b.hire(2)
    await b.add("p", max_retries=1)
    await b.add("q")
    await b.add(after=("p", "q"), on_parent_failure="hold")
    first = await b.start()
    await b.start()
    await b.end(first, Outcome.FAILED)


@case(DUE, PAUSED, NOBODY)
async def later_in_a_paused_queue(b: Bench) -> None:
    await b.add(run_at=NOW + HOUR)
    await b.queue.pause_queue("default")


@case(BACKOFF, PAUSED)
async def between_two_attempts_in_a_paused_queue(b: Bench) -> None:
    await b.hire()
    await b.add()
    await b.end(await b.start(), Outcome.FAILED)
    await b.queue.pause_queue("default")


@case(PAUSED, LIMIT, BUSY)
async def paused_full_and_busy(b: Bench) -> None:
    await b.busy()
    await b.set(limit=1)
    await b.queue.pause_queue("default")
    await b.add()


@case(LIMIT, HOST, KEY, RATE, BUSY)
async def every_limit_of_a_queue(b: Bench) -> None:
    await b.set(rate="1/1h")
    await b.busy(key="k")
    await b.set(limit=1, per_host=1)
    await b.add(key="k")


@case(HELD, WAITS, DUE, PAUSED, LIMIT, HOST, KEY, RATE, BUSY)
async def everything(b: Bench) -> None:
    await b.set(rate="1/1h")
    await b.busy(key="k")
    await b.set(limit=1, per_host=1)
    await b.queue.pause_queue("default")
    await b.add("p", queue="mail")
    await b.add(key="k", run_at=NOW + HOUR, hold=True, after=("p",))


@case(HELD, WAITS, DUE, PAUSED, LIMIT, KEY, RATE, NOBODY)
async def everything_without_a_worker(b: Bench) -> None:
    await b.set(rate="1/1h")
    owner = await b.busy(key="k")
    await b.store.stop_workers([f"{owner}-1"], False)
    await b.set(limit=1)
    await b.queue.pause_queue("default")
    await b.add("p", queue="mail")
    await b.add(key="k", run_at=NOW + HOUR, hold=True, after=("p",))


# -- jobs that run or have ended --------------------------------------------------------


@case()
async def it_runs(b: Bench) -> None:
    await b.hire()
    await b.add()
    await b.start()


@case(UNCERTAIN)
async def its_owner_is_gone(b: Bench) -> None:
    await b.hire(live=False)
    await b.add()
    await b.start()


@case()
async def it_was_completed(b: Bench) -> None:
    await b.hire()
    await b.add()
    await b.end(await b.start())


@case()
async def it_was_cancelled(b: Bench) -> None:
    await b.add(run_at=NOW + HOUR, hold=True, key="k")
    await b.queue.pause_queue("default")
    await b.queue.cancel([await b.job("j")])


# -- the tests --------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _nobody_starts_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here no process tells that a claimed job has started, so a pause waits for it in vain."""
    monkeypatch.setattr(queue, "PAUSE_PATIENCE", 0.0)


TABLE = [pytest.param(expected, made, id=name) for name, expected, made in CASES]


def test_there_are_at_least_forty_cases_and_every_reason_has_one() -> None:
    assert len(CASES) >= 40
    assert {reason for _, expected, _ in CASES for reason in expected} == set(Reason)
    assert {expected[0] for _, expected, _ in CASES if len(expected) == 1} == set(Reason)


@pytest.mark.parametrize(("expected", "made"), TABLE)
async def test_why(store: Store, expected: tuple[Reason, ...], made: Case) -> None:
    bench = Bench(store)
    await made(bench)
    job = await bench.job("j")
    answer = await bench.queue.why(job)
    assert tuple(one.reason for one in answer.blockers) == expected
    waits = job.state in (State.PENDING, State.WAITING, State.FAILED)
    assert answer.ready == (waits and not expected)
    for one in answer.blockers:
        assert one.detail
        assert one.until is None or one.until > bench.now
        assert one.since is None or one.since <= bench.now
    # The other answers to the same question agree with this one.
    first = await bench.queue.waits([job])
    assert first == ({job.seq: expected[0]} if expected else {})
    # Each reason goes when one does what its command says, and only that one.
    left = list(expected)
    for one in answer.blockers:
        if one.command is None or one.command[0] == "why":
            continue
        await bench.obey(one.command)
        left.remove(one.reason)
        found = await bench.reasons()
        assert found == [reason for reason in left if reason in found]
        # A new worker is idle, and on this host.
        gone = {BUSY, NOBODY} if one.reason in (BUSY, NOBODY) else set()
        assert set(left) - set(found) <= gone
    if waits and not set(left) & {WAITS, UNCERTAIN}:
        assert (await bench.queue.why(await bench.job("j"))).ready


@pytest.mark.parametrize(("expected", "made"), TABLE)
async def test_the_claim_agrees(store: Store, expected: tuple[Reason, ...], made: Case) -> None:
    """A job without a reason is claimed by an idle worker that serves it, and no other one is."""
    bench = Bench(store)
    await made(bench)
    job = await bench.job("j")
    if job.state not in (State.PENDING, State.WAITING, State.FAILED):
        return
    if {BUSY, NOBODY} & set(expected):
        await bench.hire()
    # Other jobs must not take the worker.
    others = [one for one in await bench.queue.scan() if one.id != "j"]
    await bench.queue.cancel([one for one in others if one.state in ("pending", "failed")]) if (
        not job.parents
    ) else None
    owner = next(name for name in reversed(bench.free) if bench.free[name])
    slots = [ClaimSlot(worker) for worker in bench.free[owner]]
    slots += [ClaimSlot(f"{owner}-more{number}") for number in range(5)]
    result = await store.settle_and_claim(ClaimRequest(owner, [], slots, bench.now))
    started = "j" in [one.id for one in result.claimed]
    assert started == (not set(expected) - {BUSY, NOBODY})


async def test_the_summary_counts_first_reasons(store: Store) -> None:
    bench = Bench(store)
    await bench.busy()
    for number in range(3):
        await bench.add(f"held{number}", hold=True)
    await bench.add("later", run_at=NOW + HOUR)
    await bench.add("w", after=("held0",))
    await bench.add("paused", queue="mail")
    await bench.queue.pause_queue("mail")
    await bench.add("j")
    assert await bench.queue.wait_summary() == {HELD: 3, WAITS: 1, DUE: 1, PAUSED: 1, BUSY: 1}
    assert list(await bench.queue.wait_summary()) == [HELD, WAITS, DUE, PAUSED, BUSY]
    jobs = await bench.queue.scan(Filter(states=(State.PENDING, State.WAITING)))
    firsts = await bench.queue.waits(jobs)
    assert sorted(firsts.values()) == sorted([HELD] * 3 + [WAITS, DUE, PAUSED, BUSY])


async def test_how_many_are_ahead(store: Store) -> None:
    bench = Bench(store)
    await bench.busy()
    await bench.add("later", priority=-1)
    await bench.add("first", priority=1)
    await bench.add("second", run_at=NOW - 5)
    await bench.add("mail", priority=5, queue="mail")
    await bench.add("j")
    [one] = (await bench.queue.why(await bench.job("j"))).blockers
    assert one.detail == "the only worker is busy; 2 jobs ahead of it"


async def test_jobs_with_a_key_are_counted_by_what_really_blocks_them(store: Store) -> None:
    bench = Bench(store)
    for key in "aab":
        await bench.queue.enqueue_specs([spec(key=key)])
    assert await bench.queue.wait_summary() == {Reason.NO_WORKER: 3}
    owner = await bench.hire()
    await bench.start(owner)
    assert await bench.queue.wait_summary() == {Reason.KEY_LIMIT: 1, Reason.ALL_BUSY: 1}
    await bench.set(per_key="2")
    assert await bench.queue.wait_summary() == {Reason.ALL_BUSY: 2}


async def test_each_job_is_in_one_group_by_the_limits_of_its_own_queue(store: Store) -> None:
    for queue_name, per_key in (("a", 2), ("b", None), ("c", 5)):
        await store.set_queue(queue_name, {"per_key": per_key})
    await hired(store, "sup", *(f"sup-{number}" for number in range(1, 6)))
    jobs = [spec(queue=name, key="k") for name in "aaabbc"]
    jobs += [spec(queue="a", key="l"), spec(queue="a"), spec(queue="a", run_at=NOW + 9)]
    jobs += [spec(queue="c", hold=True), spec(queue="d", key="k")]
    await store.enqueue(jobs, NOW)
    assert len(await claim(store, count=2, queues=("a",))) == 2
    assert len(await claim(store, count=1, queues=("b",))) == 1
    pending, waiting = State.PENDING, State.WAITING
    assert sorted(await store.wait_groups(NOW)) == [
        WaitGroup("a", pending, False, False, False, 2),
        WaitGroup("a", pending, False, False, True, 1),
        WaitGroup("a", pending, True, False, False, 1),
        WaitGroup("b", pending, False, False, True, 1),
        WaitGroup("c", pending, False, False, False, 1),
        WaitGroup("c", waiting, False, True, False, 1),
        WaitGroup("d", pending, False, False, False, 1),
    ]
