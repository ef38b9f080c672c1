"""A plain model of what decides which jobs run: a dictionary of jobs, and the rules of
:mod:`queuectl_core.domain.admission`, asked for each job every time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from queuectl_core.domain import lifecycle
from queuectl_core.domain.admission import (
    Start,
    Verdict,
    kept_start,
    key_room,
    room,
    started_at,
    verdict,
)
from queuectl_core.domain.claims import AttemptResult
from queuectl_core.domain.lifecycle import FINAL, NOT_STARTED
from queuectl_core.domain.model import Filter, Job, JobSpec, QueueSettings, Rate, State
from queuectl_core.store.protocol import ALLOWED, JobAction, Store

from ..support import NOW

EVERY = 1_000_000
"""More jobs than any test has."""


@dataclass
class Plain:
    """One job as the model has it."""

    seq: int
    id: str
    queue: str
    key: str | None
    priority: int
    run_at: float
    parents: tuple[tuple[str, int], ...] = ()
    """(kind, seq) of each parent."""
    on_parent_failure: str = "cancel"
    state: State = State.PENDING
    held: bool = False
    """A person holds it."""
    cause: int | None = None
    owner: str | None = None
    claimed_at: float = 0.0
    began_at: float = 0.0
    """When it was started, as far as the store knows."""
    cancelling: bool = False
    """Somebody wants the running attempt cancelled."""
    waived: set[tuple[str, int]] = field(default_factory=set)

    @property
    def place(self) -> tuple[int, float, int]:
        return -self.priority, self.run_at, self.seq


@dataclass
class Model:
    """What the store should hold, and which jobs may start."""

    jobs: dict[int, Plain] = field(default_factory=dict)
    now: float = NOW
    settings: dict[str, QueueSettings] = field(default_factory=dict)
    starts: dict[str, list[Start]] = field(default_factory=dict)
    starting: dict[int, Start] = field(default_factory=dict)
    """By seq: attempts in queues with a rate that were claimed, and may have started."""
    hosts: dict[str, str] = field(default_factory=dict)
    """The host of each supervisor."""

    def arrived(self, given: Iterable[JobSpec], made: Sequence[Job]) -> None:
        """Jobs were enqueued."""
        seqs = {one.id: one.seq for one in self.jobs.values()} | {job.id: job.seq for job in made}
        for spec, job in zip(given, made, strict=True):
            parents = tuple(
                (kind, seqs[name]) for kind, names in spec.parents.items() for name in names
            )
            waits = State.WAITING if spec.hold or parents else State.PENDING
            self.jobs[job.seq] = Plain(
                *(job.seq, job.id, spec.queue, spec.key, spec.priority, spec.run_at, parents),
                spec.on_parent_failure,
                waits,
                spec.hold,
            )
            self.names[job.seq] = job.id
        self.judge()

    # -- dependencies -----------------------------------------------------------------

    def verdicts(self, one: Plain) -> list[tuple[int, Verdict]]:
        """What each parent means for a job."""
        found = []
        for kind, seq in one.parents:
            parent = self.jobs.get(seq)
            state = None if parent is None else parent.state
            found.append((seq, verdict(kind, state, waived=(kind, seq) in one.waived)))
        return found

    def impossible(self, one: Plain) -> set[int]:
        """The parents because of which it cannot run."""
        return {seq for seq, what in self.verdicts(one) if what is Verdict.IMPOSSIBLE}

    def judge(self) -> None:
        """Do to each job what its parents mean, until nothing changes any more.

        Jobs are revived first. So a job that is retried together with the cause of its parent's
        end waits for the parent, which runs again."""
        while sum(self._revive(one) for one in self.jobs.values()) or sum(
            self._judge(one) for one in self.jobs.values()
        ):
            pass

    def _revive(self, one: Plain) -> bool:
        """The parent that ended a job, or holds it, runs again."""
        again = one.cause in self.jobs and one.cause not in self.impossible(one)
        if again and one.state in (State.WAITING, State.CANCELLED):
            one.state, one.cause = State.WAITING, None
            return True
        return False

    def _judge(self, one: Plain) -> bool:
        before = one.state, one.cause
        bad = self.impossible(one)
        if one.state is State.WAITING and one.cause is None and bad:
            one.cause = min(bad)
            if one.on_parent_failure == "cancel":
                one.state = State.CANCELLED
        free = all(what is Verdict.MET for _, what in self.verdicts(one))
        if one.state is State.WAITING and one.cause is None and not one.held and free:
            one.state, one.run_at = State.PENDING, max(one.run_at, self.now)
        return before != (one.state, one.cause)

    # -- changes ------------------------------------------------------------------------

    def retry(self, ones: Iterable[Plain]) -> None:
        """Those that would be cancelled or held again stay as they were."""
        chosen = list(ones)
        before = {seq: replace(one) for seq, one in self.jobs.items()}
        while True:
            for one in chosen:
                one.state = State.WAITING if one.parents else State.PENDING
                one.run_at, one.cause, one.held = self.now, None, False
            self.judge()
            again = [one.seq for one in chosen if one.cause is not None]
            if not again:
                return
            for seq, one in self.jobs.items():
                vars(one).update(vars(before[seq]))
            chosen = [one for one in chosen if one.seq not in again]

    def cancel(self, ones: Iterable[Plain]) -> None:
        for one in ones:
            if one.state is State.PROCESSING:
                one.cancelling = True
            else:
                one.state, one.cause = State.CANCELLED, None
        self.judge()

    def hold(self, ones: Iterable[Plain]) -> None:
        for one in ones:
            one.state, one.held = State.WAITING, True
        self.judge()

    def release(self, ones: Iterable[Plain]) -> None:
        for one in ones:
            bad = self.impossible(one)
            one.waived |= {pair for pair in one.parents if pair[1] in bad}
            one.held, one.cause = False, None
        self.judge()

    def change(self, action: JobAction, ones: Iterable[Plain]) -> None:
        """Do any of these, or remove the jobs."""
        getattr(self, action.value)(ones)

    def allowed(self, action: JobAction, ones: Iterable[Plain]) -> list[Plain]:
        """The jobs of these whose state allows the action."""
        found = [one for one in ones if one.state in ALLOWED[action]]
        if action is JobAction.RELEASE:
            found = [one for one in found if one.held or one.cause is not None]
        return found

    def remove(self, ones: Iterable[Plain]) -> None:
        for one in list(ones):
            del self.jobs[one.seq]
        self.judge()

    def waited_for(self, ones: Iterable[Plain]) -> list[Plain]:
        """The jobs of these that others wait for, which are not among them."""
        seqs = {one.seq for one in ones}
        wanted = {
            parent
            for child in self.jobs.values()
            if child.state is State.WAITING and child.seq not in seqs
            for _, parent in child.parents
        }
        return [self.jobs[seq] for seq in sorted(seqs & wanted)]

    def started(self, job: Job) -> None:
        """A claim took it."""
        one = self.jobs[job.seq]
        one.state, one.owner = State.PROCESSING, job.owner
        one.claimed_at = one.began_at = self.now
        if self.rate(one.queue) is not None:
            self.starting[one.seq] = Start(self.now, known=False)

    def rate(self, queue: str) -> Rate | None:
        settings = self.settings.get(queue)
        return None if settings is None else settings.rate

    def set_queue(self, settings: QueueSettings) -> None:
        """A queue has other settings. If it has a rate now, the attempts that run count."""
        if settings.rate is not None and self.rate(settings.name) is None:
            for one in self.running(settings.name):
                self.starting[one.seq] = Start(one.began_at, known=False)
        self.settings[settings.name] = settings

    def was_started(self, seq: int, at: float) -> None:
        """The store is told when an attempt was started."""
        one = self.jobs[seq]
        one.began_at = at
        rate = self.rate(one.queue)
        if self.starting.pop(seq, None) is not None and rate is not None:
            self.starts.setdefault(one.queue, []).append(Start(kept_start(rate, at)))

    def counted(self, queue: str) -> list[Start]:
        """The starts that may count for the rate of a queue."""
        if self.rate(queue) is None:
            return []
        open_ones = [one for seq, one in self.starting.items() if self.jobs[seq].queue == queue]
        return sorted([*self.starts.get(queue, ()), *open_ones])

    def ended(self, result: AttemptResult) -> None:
        """An attempt ended."""
        self.was_started(result.seq, started_at(result.attempt))
        one, after = self.jobs[result.seq], result.transition
        waits = after.state in lifecycle.WAITING
        one.state = State.CANCELLED if waits and one.cancelling else after.state
        one.run_at = one.run_at if after.run_at is None else after.run_at
        one.owner, one.cancelling = None, False
        self.judge()

    # -- who may start ------------------------------------------------------------------

    def running(self, queue: str, key: str | None = None) -> list[Plain]:
        return [
            one
            for one in self.jobs.values()
            if one.state is State.PROCESSING
            and one.queue == queue
            and (key is None or one.key == key)
        ]

    def refusal(self, one: Plain, owner: str) -> str:
        """Why ``owner`` must not start this job now; empty: it may."""
        settings = self.settings.get(one.queue) or QueueSettings(one.queue)
        running = self.running(one.queue)
        here = [job for job in running if self.hosts[job.owner or ""] == self.hosts[owner]]
        found = room(settings, len(running), len(here), self.counted(one.queue), self.now)
        if one.state not in lifecycle.WAITING:
            return f"it is {one.state}"
        if one.run_at > self.now:
            return "it is not due"
        if found.free == 0:
            return f"its queue has no room: {settings}, {len(running)} run, {len(here)} here"
        if one.key is not None and not key_room(settings, len(self.running(one.queue, one.key))):
            return f"key {one.key} is taken"
        return ""

    def ready(self, owner: str, queues: Sequence[str] = ()) -> list[Plain]:
        """The jobs that ``owner`` may start now, in the order in which they start."""
        found = [
            one
            for one in self.jobs.values()
            if (not queues or one.queue in queues) and not self.refusal(one, owner)
        ]
        return sorted(found, key=lambda one: one.place)

    # -- comparing ----------------------------------------------------------------------

    async def compare(self, store: Store) -> None:
        """The store has the same jobs in the same states. Where several parents made a job
        impossible, any of them may be the cause."""
        found = {job.seq: job for job in await store.scan(Filter(), EVERY)}
        assert found.keys() == self.jobs.keys()
        for seq, one in self.jobs.items():
            job = found[seq]
            if one.cause is not None and job.cause is not None:
                gone = {seq for _, seq in one.parents if seq not in self.jobs}
                causes = {self.names[seq]: seq for seq in self.impossible(one) | gone}
                one.cause = causes.get(job.cause, one.cause)
            cause = self.name_of(one)
            seen = (job.id, job.queue, job.key, job.priority)
            assert seen == (one.id, one.queue, one.key, one.priority), job
            # A job may be revived and cancelled again in one step: then its run_at may have moved.
            assert job.run_at == one.run_at or job.state is State.CANCELLED, job
            held = job.held_at is not None
            assert (job.state, held, job.cause) == (one.state, one.held, cause), job
            assert (job.owner, job.cancel_requested) == (one.owner, one.cancelling), job

    def name_of(self, one: Plain) -> str | None:
        """The id of the parent that cancelled or holds it. It may have been removed since."""
        if one.cause is None:
            return None
        return self.names[one.cause]

    names: dict[int, str] = field(default_factory=dict)
    """The ids of all jobs that there ever were, by seq."""

    def stuck(self) -> list[Plain]:
        """Jobs that have not ended although nothing that they wait for is left to run."""
        open_ones = [one for one in self.jobs.values() if one.state in NOT_STARTED]
        return [
            one
            for one in open_ones
            if one.state is State.WAITING
            and not one.held
            and one.cause is None
            and all(self.ended_parent(seq) for _, seq in one.parents)
        ]

    def ended_parent(self, seq: int) -> bool:
        parent = self.jobs.get(seq)
        return parent is None or parent.state in FINAL
