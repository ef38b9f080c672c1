"""The same steps on a dictionary and on the store: everything visible must agree.

The model is the plainest thing that can be right: a dict of jobs, and the lifecycle rules.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from queuectl_core.domain import lifecycle
from queuectl_core.domain.claims import ClaimRequest, ClaimSlot
from queuectl_core.domain.errors import BatchRejected, Conflict
from queuectl_core.domain.model import Attempt, Filter, Job, JobSpec, Outcome, State
from queuectl_core.store.protocol import JobAction, Store

from ..support import NOW, ending, spec, supervisor
from .stores import PLACES, Place
from .tools import change, real_counts

OWNERS = ("one", "two")
QUEUES = ("default", "mail")
ALLOWED = {
    JobAction.RETRY: lifecycle.RETRYABLE,
    JobAction.CANCEL: lifecycle.CANCELLABLE,
    JobAction.REMOVE: lifecycle.REMOVABLE,
}

ids = st.none() | st.sampled_from(["a", "b", "c", "d"])
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
lanes = st.sampled_from([(), (), ("mail",), ("default", "mail")])


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
    seqs = Bundle("seqs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="queuectl-model-"))
        self.runner = asyncio.Runner()
        self.model = Model()
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

    @initialize()
    def supervisors(self) -> None:
        for owner in OWNERS:
            self.hire(owner)

    def hire(self, owner: str) -> None:
        self.do(self.store.register(supervisor(owner), [(f"{owner}-1", ())], self.model.now))
        self.model.known.add(owner)

    # -- steps ------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 1, 2, 4, 60]))
    def time_goes_by(self, seconds: float) -> None:
        self.model.now += seconds

    @rule(target=seqs, given=st.lists(specs, max_size=4))
    def enqueue(self, given: list[JobSpec]) -> Any:
        names = [one.id for one in given if one.id is not None]
        if self.model.taken(list(names)) or len(set(names)) < len(names):
            with pytest.raises(Conflict):
                self.do(self.store.enqueue(given, self.model.now))
            return multiple()
        made = self.do(self.store.enqueue(given, self.model.now))
        return multiple(*self.arrived(given, made))

    @rule(target=seqs, given=st.lists(specs, max_size=4))
    def enqueue_in_bulk(self, given: list[JobSpec]) -> Any:
        async def bulk() -> tuple[int, int]:
            async with self.other.batch() as batch:
                await batch.add(list(enumerate(given, 1)))
                return await batch.commit(self.model.now)

        names = [one.id for one in given if one.id is not None]
        if len(set(names)) < len(names):
            with pytest.raises((BatchRejected, Conflict)):
                self.do(bulk())
            return multiple()
        if self.model.taken(list(names)):
            with pytest.raises(Conflict):
                self.do(bulk())
            return multiple()
        first, count = self.do(bulk())
        assert count == len(given)
        made = [self.do(self.store.by_seq(seq)) for seq in range(first, first + count)]
        return multiple(*self.arrived(given, made))

    def arrived(self, given: list[JobSpec], made: list[Job]) -> list[int]:
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
        return [job.seq for job in made]

    @rule(owner=st.sampled_from(OWNERS), count=st.integers(1, 3), queues=lanes)
    def claim(self, owner: str, count: int, queues: tuple[str, ...]) -> None:
        openings = [ClaimSlot(f"{owner}-{n}", queues) for n in range(count)]
        turn = self.do(
            self.store.settle_and_claim(ClaimRequest(owner, [], openings, self.model.now))
        )
        due = self.model.claimable(queues)[:count] if owner in self.model.known else []
        expected = [
            job._replace(
                state=State.PROCESSING,
                owner=owner,
                shim=owner,
                worker=opening.worker,
                runs=job.runs + 1,
                started_at=self.model.now,
                finished_at=None,
                updated_at=self.model.now,
                cancel_requested=False,
            )
            for job, opening in zip(due, openings, strict=False)
        ]
        assert list(turn.claimed) == expected
        self.model.jobs |= {job.seq: job for job in expected}

    @rule(
        data=st.data(),
        owner=st.sampled_from(OWNERS),
        outcome=st.sampled_from(Outcome),
        tail=st.sampled_from([b"", b"out"]),
        stale=st.booleans(),
    )
    def finish(
        self, data: st.DataObject, owner: str, outcome: Outcome, tail: bytes, stale: bool
    ) -> None:
        started = [job for job in self.model.jobs.values() if job.started_at is not None]
        if not started:
            return
        job = data.draw(st.sampled_from(sorted(started, key=lambda job: job.seq)))
        mine = job.state is State.PROCESSING and job.owner == owner
        told = job._replace(runs=job.runs - 1) if stale and job.runs > 1 else job
        end = ending(told, outcome, now=self.model.now, reason=f"{outcome}!", tail=tail)
        turn = self.do(self.store.settle_and_claim(ClaimRequest(owner, [end], [], self.model.now)))
        if not mine or told is not job:
            assert turn.refused == {(end.seq, end.run)}
            return
        assert not turn.refused
        after = end.transition
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
        self.model.attempts[job.seq].append((end.attempt, tail))

    @rule(
        chosen=st.lists(seqs, max_size=4, unique=True),
        action=st.sampled_from(list(ALLOWED)),  # test_admission.py has the others
        strict=st.booleans(),
    )
    def change(self, chosen: list[int], action: JobAction, strict: bool) -> None:
        good = [
            seq
            for seq in chosen
            if seq in self.model.jobs and self.model.jobs[seq].state in ALLOWED[action]
        ]
        if strict and len(good) < len(chosen):
            with pytest.raises(Conflict):
                self.do(change(self.store, action, chosen, self.model.now, True))
            return
        assert self.do(change(self.store, action, chosen, self.model.now, strict)) == len(good)
        for seq in good:
            self.changed(seq, action)

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

    @rule(dead=st.sampled_from(OWNERS))
    def take_over(self, dead: str) -> None:
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

    @rule()
    def somebody_comes_back(self) -> None:
        for owner in OWNERS:
            if owner not in self.model.known:
                self.hire(owner)

    @rule()
    def checkpoint(self) -> None:
        self.do(self.store.checkpoint())

    # -- what must hold after each ----------------------------------------------------

    @invariant()
    def the_jobs_agree(self) -> None:
        jobs = self.do(self.other.scan(Filter(), 10_000))
        assert jobs == sorted(self.model.jobs.values(), key=lambda job: -job.seq)

    @invariant()
    def the_counts_agree(self) -> None:
        expected = Counter((job.state, job.queue) for job in self.model.jobs.values())
        assert self.do(self.store.counts()) == expected
        assert self.do(real_counts(self.store)) == expected

    @invariant()
    def the_history_agrees(self) -> None:
        for seq, history in self.model.attempts.items():
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
    case.settings = settings(max_examples=60, stateful_step_count=30)
    case().runTest()
