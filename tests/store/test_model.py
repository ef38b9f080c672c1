"""The same steps on a dictionary and on the store: everything visible must agree.

The model is the plainest thing that can be right: a dict of jobs, and the lifecycle rules.

Each example begins with jobs that have had several attempts, and a step is a whole turn of a
supervisor. So few steps reach jobs that died of crashes and were retried, that were cancelled while
a supervisor died, or that came back from it after their last attempt.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from queuectl_core.domain import lifecycle
from queuectl_core.domain.claims import AttemptResult, ClaimRequest, ClaimSlot
from queuectl_core.domain.errors import BatchRejected, Conflict
from queuectl_core.domain.model import Attempt, Filter, Job, JobSpec, Outcome, State
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, ending, spec, supervisor
from .stores import PLACES, Place
from .tools import change

OWNERS = ("one", "two")
QUEUES = ("default", "mail")
TAILS = (b"", b"out")
ALLOWED = {
    JobAction.RETRY: lifecycle.RETRYABLE,
    JobAction.CANCEL: lifecycle.CANCELLABLE,
    JobAction.REMOVE: lifecycle.REMOVABLE,
}

HISTORY = 8
"""Jobs at the beginning of an example."""

ids = st.none() | st.sampled_from(["a", "b", "c", "d"])
outcomes = st.sampled_from([*Outcome, Outcome.CRASHED, Outcome.FAILED])
specs = st.builds(
    spec,
    id=ids,
    priority=st.integers(-1, 1),
    queue=st.sampled_from(QUEUES),
    max_retries=st.integers(0, 3),
    backoff_base=st.sampled_from([0.0, 1.0, 2.0]),
    run_at=st.sampled_from([NOW - 5, NOW, NOW + 3, NOW + 50]),
    nice=st.integers(0, 19),
    memory_limit=st.sampled_from([0, 1 << 20, 1 << 50]),
    cpu_seconds=st.sampled_from([0, 90]),
    output_limit=st.sampled_from([0, 4096]),
)
begins = st.lists(specs.map(lambda one: one._replace(id=None)), min_size=4, max_size=HISTORY)
lives = st.lists(st.lists(outcomes, min_size=HISTORY, max_size=HISTORY), min_size=2, max_size=4)
lanes = st.sampled_from([(), (), ("mail",), ("default", "mail")])
numbers = st.integers(0, 99)
"""Each stands for one of the jobs that a step may choose from."""


@dataclass
class Model:
    """What the store should hold."""

    jobs: dict[int, Job] = field(default_factory=dict)
    attempts: dict[int, list[tuple[Attempt, bytes]]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    """Supervisors."""
    now: float = NOW

    def claimable(self, queues: tuple[str, ...]) -> list[Job]:
        due = [
            job
            for job in self.jobs.values()
            if job.state in lifecycle.WAITING
            and job.run_at <= self.now
            and (not queues or job.queue in queues)
        ]
        return sorted(due, key=lambda job: (-job.priority, job.run_at, job.seq))

    def taken(self, wanted: list[str | None]) -> bool:
        here = {job.id for job in self.jobs.values()}
        return any(name in here for name in wanted)


class Steps(RuleBasedStateMachine):
    """Random steps; subclasses name the store."""

    place_type: type[Place]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="queuectl-model-"))
        self.runner = asyncio.Runner()
        self.model = Model()
        self.touched: set[int] = set()
        """Jobs whose attempts have not been compared since something was done to them."""
        self.place = self.place_type.take(self.folder)
        self.store: Store = self.do(self.place.open())
        self.other: Store = self.do(self.place.open())

    def do(self, coroutine: Any) -> Any:
        # Runner.run would set a signal handler each time, which takes longer than many a step.
        return self.runner.get_loop().run_until_complete(coroutine)

    def teardown(self) -> None:
        self.touched = set(self.model.jobs)
        self.the_history_agrees()
        self.do(self.place.give_back())
        self.runner.close()
        shutil.rmtree(self.folder)

    @initialize(given=begins, past=lives)
    def jobs_with_a_past(self, given: list[JobSpec], past: list[list[Outcome]]) -> None:
        """Several lives of all jobs. Some are cancelled while they run, and those that are dead or
        cancelled are retried once."""
        for owner in OWNERS:
            self.hire(owner)
        self.arrived(given, self.do(self.store.enqueue(given, self.model.now)))
        owner = OWNERS[0]
        for number, ends in enumerate(past):
            self.model.now += 60
            self.turn(owner, [], (), len(ends))
            running = [job.seq for job in self.jobs_in(State.PROCESSING)]
            self.act(JobAction.CANCEL, running[number::3], strict=True)
            self.turn(owner, ends, (), 0)
            if number == 1:
                over = [job.seq for job in self.jobs_in(State.DEAD, State.CANCELLED)]
                self.act(JobAction.RETRY, over, strict=True)

    def hire(self, owner: str) -> None:
        self.do(self.store.register(supervisor(owner), [(f"{owner}-1", ())], self.model.now))
        self.model.known.add(owner)

    def jobs_in(self, *states: State) -> list[Job]:
        found = [job for job in self.model.jobs.values() if job.state in states]
        return sorted(found, key=lambda job: job.seq)

    # -- steps ------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 1, 2, 4, 60]))
    def time_goes_by(self, seconds: float) -> None:
        self.model.now += seconds
        self.do(self.store.checkpoint())

    @rule(given=st.lists(specs, max_size=4))
    def enqueue(self, given: list[JobSpec]) -> None:
        names = [one.id for one in given if one.id is not None]
        if self.model.taken(list(names)) or len(set(names)) < len(names):
            with pytest.raises(Conflict):
                self.do(self.store.enqueue(given, self.model.now))
            return
        self.arrived(given, self.do(self.store.enqueue(given, self.model.now)))

    @rule(given=st.lists(specs, max_size=4))
    def enqueue_in_bulk(self, given: list[JobSpec]) -> None:
        async def bulk() -> tuple[int, int]:
            async with self.other.batch() as batch:
                await batch.add(list(enumerate(given, 1)))
                return await batch.commit(self.model.now)

        names = [one.id for one in given if one.id is not None]
        if len(set(names)) < len(names):
            with pytest.raises((BatchRejected, Conflict)):
                self.do(bulk())
            return
        if self.model.taken(list(names)):
            with pytest.raises(Conflict):
                self.do(bulk())
            return
        first, count = self.do(bulk())
        assert count == len(given)
        self.arrived(given, [self.do(self.store.by_seq(first + n)) for n in range(count)])

    def arrived(self, given: list[JobSpec], made: list[Job]) -> None:
        last = max(self.model.jobs, default=0)
        for one, job in zip(given, made, strict=True):
            assert job.seq > last
            last = job.seq
            expected = Job(
                seq=job.seq,
                id=one.id or job.id,
                command=one.command,
                max_retries=one.max_retries,
                backoff_base=one.backoff_base,
                priority=one.priority,
                run_at=one.run_at,
                timeout_seconds=one.timeout_seconds,
                cwd=one.cwd,
                env=one.env,
                queue=one.queue,
                state=State.PENDING,
                attempts=0,
                crashes=0,
                runs=0,
                created_at=self.model.now,
                updated_at=self.model.now,
                started_at=None,
                finished_at=None,
                exit_code=None,
                last_error=None,
                worker=None,
                nice=one.nice,
                memory_limit=one.memory_limit,
                cpu_seconds=one.cpu_seconds,
                output_limit=one.output_limit,
            )
            assert job == expected
            self.model.jobs[job.seq] = expected
            self.model.attempts[job.seq] = []

    @rule(
        owner=st.sampled_from(OWNERS),
        ends=st.lists(outcomes, max_size=4),
        queues=lanes,
        count=st.integers(0, 4),
        suspects=st.booleans(),
        back=st.sets(numbers, max_size=2),
    )
    def a_turn(
        self,
        owner: str,
        ends: list[Outcome],
        queues: tuple[str, ...],
        count: int,
        suspects: bool,
        back: set[int],
    ) -> None:
        self.turn(owner, ends, queues, count, suspects, back)

    def turn(
        self,
        owner: str,
        ends: list[Outcome],
        queues: tuple[str, ...],
        count: int,
        suspects: bool = True,
        back: Collection[int] = (),
    ) -> None:
        """One commit of a supervisor: its jobs end so, it gives some back, and claims others."""
        mine = [job for job in self.jobs_in(State.PROCESSING) if job.owner == owner]
        returned = [mine.pop(number % len(mine)) for number in sorted(back) if mine]
        results = [
            ending(job, end, now=self.model.now, reason=f"{end}!", tail=TAILS[job.seq % 2])
            for job, end in zip(mine, ends, strict=False)
        ]
        slots = [ClaimSlot(f"{owner}-{n}", queues) for n in range(count)]
        request = ClaimRequest(
            owner, results, slots, self.model.now, released=returned, suspects=suspects
        )
        answer = self.do(self.store.settle_and_claim(request))
        assert not answer.refused
        for result in results:
            self.ended(result)
        for job in returned:
            self.model.jobs[job.seq] = job._replace(
                state=State.CANCELLED if job.cancel_requested else State.PENDING,
                finished_at=self.model.now if job.cancel_requested else None,
                started_at=None,
                runs=job.runs - 1,
                owner=None,
                shim=None,
                cancel_requested=False,
                updated_at=self.model.now,
            )
        due = self.model.claimable(queues) if owner in self.model.known else []
        due = [job for job in due if suspects or not job.crashes]
        expected = [
            job._replace(
                state=State.PROCESSING,
                owner=owner,
                shim=owner,
                worker=slot.worker,
                runs=job.runs + 1,
                started_at=self.model.now,
                finished_at=None,
                updated_at=self.model.now,
                cancel_requested=False,
            )
            for job, slot in zip(due, slots, strict=False)
        ]
        assert list(answer.claimed) == expected
        self.model.jobs |= {job.seq: job for job in expected}

    def ended(self, end: AttemptResult) -> None:
        """The store took this result."""
        job, after = self.model.jobs[end.seq], end.transition
        waits = after.state in (State.PENDING, State.FAILED)
        self.model.jobs[job.seq] = job._replace(
            # Not to run again, if somebody wanted it cancelled.
            state=State.CANCELLED if waits and job.cancel_requested else after.state,
            attempts=after.attempts,
            crashes=after.crashes,
            run_at=job.run_at if after.run_at is None else after.run_at,
            last_error=after.last_error,
            exit_code=end.attempt.exit_code,
            finished_at=self.model.now,
            updated_at=self.model.now,
            owner=None,
            shim=None,
            cancel_requested=False,
        )
        self.model.attempts[job.seq].append((end.attempt, end.tail))
        self.touched.add(job.seq)

    @rule(number=numbers, owner=st.sampled_from((*OWNERS, "nobody")), late=st.integers(0, 2))
    def a_result_that_nobody_wants(self, number: int, owner: str, late: int) -> None:
        """From another supervisor, of an earlier attempt, or of one that has ended."""
        started = [job for job in self.model.jobs.values() if job.started_at is not None]
        if not started:
            return
        job = started[number % len(started)]
        if job.owner == owner and not late:
            return
        end = ending(job._replace(runs=job.runs - late), now=self.model.now)
        request = ClaimRequest(owner, [end], [], self.model.now)
        assert self.do(self.store.settle_and_claim(request)).refused == {(end.seq, end.run)}
        self.touched.add(job.seq)

    @rule(
        chosen=st.sets(numbers, max_size=3),
        action=st.sampled_from(list(ALLOWED)),  # test_admission.py has the others
        strict=st.booleans(),
        others=st.booleans(),
    )
    def change(self, chosen: set[int], action: JobAction, strict: bool, others: bool) -> None:
        """``others``: jobs that are not in a state for it, too."""
        pool = self.jobs_in(*(State if others else ALLOWED[action]))
        seqs = [pool[number % len(pool)].seq for number in sorted(chosen) if pool]
        self.act(action, list(dict.fromkeys(seqs)), strict)

    def act(self, action: JobAction, chosen: list[int], strict: bool) -> None:
        good = [seq for seq in chosen if self.model.jobs[seq].state in ALLOWED[action]]
        if strict and len(good) < len(chosen):
            with pytest.raises(Conflict):
                self.do(change(self.store, action, chosen, self.model.now, True))
            return
        assert self.do(change(self.store, action, chosen, self.model.now, strict)) == len(good)
        for seq in good:
            self.changed(seq, action)
        self.touched |= set(good) & self.model.jobs.keys()

    def changed(self, seq: int, action: JobAction) -> None:
        job = self.model.jobs[seq]._replace(updated_at=self.model.now)
        if action is JobAction.REMOVE:
            del self.model.jobs[seq], self.model.attempts[seq]
            return
        if action is JobAction.RETRY:
            job = job._replace(state=State.PENDING, attempts=0, crashes=0, run_at=self.model.now)
        elif job.state is State.PROCESSING:
            job = job._replace(cancel_requested=True)
        else:
            job = job._replace(state=State.CANCELLED, finished_at=self.model.now)
        self.model.jobs[seq] = job

    @rule(dead=st.sampled_from(OWNERS), ends=st.lists(outcomes, max_size=3))
    def take_over(self, dead: str, ends: list[Outcome]) -> None:
        """The successor finds out how some of the jobs ended."""
        heir = OWNERS[1 - OWNERS.index(dead)]
        rows = {row.id: row for row in self.do(self.store.supervisors())}
        assert rows.keys() == self.model.known
        row = rows.get(dead, supervisor(dead))
        taken = self.do(self.other.take_over(row, heir, self.model.now))
        if not self.model.known >= {dead, heir}:
            assert taken is None
            return
        held = [
            job._replace(owner=heir, updated_at=self.model.now)
            for job in self.model.jobs.values()
            if job.owner == dead
        ]
        assert sorted(taken, key=lambda job: job.seq) == sorted(held, key=lambda job: job.seq)
        self.model.jobs |= {job.seq: job for job in held}
        self.model.known.remove(dead)
        self.turn(heir, ends, (), 0)

    @rule()
    def somebody_comes_back(self) -> None:
        for owner in OWNERS:
            if owner not in self.model.known:
                self.hire(owner)

    # -- what must hold after each ----------------------------------------------------

    @invariant()
    def the_jobs_agree(self) -> None:
        jobs = self.do(self.other.scan(Filter(), 10_000))
        assert jobs == sorted(self.model.jobs.values(), key=lambda job: -job.seq)

    @invariant()
    def the_counts_agree(self) -> None:
        # Those of the model are those in the store, as the_jobs_agree has seen.
        expected = Counter((job.state, job.queue) for job in self.model.jobs.values())
        assert self.do(self.store.counts()) == expected

    @invariant()
    def the_history_agrees(self) -> None:
        seqs, self.touched = self.touched, set()
        for seq in seqs & self.model.jobs.keys():
            history = self.model.attempts[seq]
            assert self.do(self.other.attempts(seq)) == [attempt for attempt, _ in history]
            for attempt, tail in history:
                assert self.do(self.other.tail(seq, attempt.number)) == (tail or None)

    @invariant()
    def the_orders_agree(self) -> None:
        for owner in OWNERS:
            commands = self.do(self.store.commands(owner))
            assert commands.known == (owner in self.model.known)
            if commands.known:
                assert commands.cancels == {
                    job.seq
                    for job in self.model.jobs.values()
                    if job.owner == owner and job.cancel_requested
                }

    @invariant()
    def the_oldest_that_waits_agrees(self) -> None:
        found = self.do(self.store.oldest_due(self.model.now))
        waits_from = [max(job.created_at, job.run_at) for job in self.model.claimable(())]
        assert found == min(waits_from, default=None)


@pytest.mark.parametrize("name", sorted(PLACES))
def test_the_store_does_what_a_dictionary_would(name: str) -> None:
    machine = type("Machine", (Steps,), {"place_type": PLACES[name]})
    case = machine.TestCase  # type: ignore[attr-defined]
    # Shrinking takes longer than a test may. To see a short example: add Phase.shrink, and raise
    # TEST_TIME_LIMIT.
    phases = (Phase.reuse, Phase.generate)
    case.settings = settings(max_examples=12, stateful_step_count=25, phases=phases)
    case().runTest()
