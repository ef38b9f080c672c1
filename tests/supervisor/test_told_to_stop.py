"""What a supervisor does when it is told to stop, or to cancel, just as jobs start.

Its parts run here with a shim and a store that only note what they are asked.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from queuectl_core.domain.claims import ClaimRequest, ClaimResult, Commands, WorkerCommand
from queuectl_core.domain.config import settings
from queuectl_core.domain.errors import StoreGone, StoreUnreachable
from queuectl_core.domain.model import Job, Outcome
from queuectl_core.runner.events import Exited, NotStarted, Started
from queuectl_core.runner.journal_reader import JournalReader
from queuectl_core.supervisor import dispatcher as dispatcher_module
from queuectl_core.supervisor import recovery as recovery_module
from queuectl_core.supervisor.attempt import ActiveAttempt, StopReason, journal_name
from queuectl_core.supervisor.attempt_states import AttemptEvent, AttemptState
from queuectl_core.supervisor.commands import CommandReader
from queuectl_core.supervisor.dispatcher import Dispatcher
from queuectl_core.supervisor.heartbeat import Heartbeat
from queuectl_core.supervisor.recovery import Recovery
from queuectl_core.supervisor.supervisor import Supervisor
from queuectl_core.supervisor.triage import RecoveryPlan
from queuectl_core.system.host import host_key

from ..support import PATIENCE, supervisor
from .test_attempt_states import EXIT, commit, executor_of, job_of


class Noted:
    """Takes every call, and notes it. ``answers``: what coroutines of these names return."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        async def answer() -> Any:
            return self.answers[name]

        def call(*args: Any, **_: Any) -> Any:
            self.calls.append((name, *args))
            return answer() if name in self.answers else None

        return call

    def called(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


class Parts:
    """A supervisor with so many workers, without its loop."""

    def __init__(self, directory: Path, workers: int = 1) -> None:
        self.executor, self.context, _ = executor_of(directory)
        self.context.become("sup", [()] * workers)
        answers = dict.fromkeys(("stop_workers", "add_workers", "assign", "workers_up"))
        self.store = Noted(commands=Commands(True), config={}, **answers)
        self.context.store = self.store  # type: ignore[assignment]
        self.shim = Noted()
        self.executor.shims._shared = self.executor.shims._informed = self.shim  # type: ignore[assignment]
        self.heartbeat = Heartbeat(self.context)
        self.dispatcher = Dispatcher(self.context, self.heartbeat, self.executor)
        self.commands = CommandReader(self.context, self.heartbeat, self.executor)
        self.recovery = Recovery(self.context, self.heartbeat, self.executor, self.commands)
        self.slot = self.context.slots["sup-1"]

    def start(self, seq: int, worker: str = "") -> ActiveAttempt:
        """A job that was claimed: for a worker, or to be prefetched."""
        self.dispatcher._start(job_of(seq)._replace(worker=worker or None))
        attempt = self.executor.attempts.get(f"{seq}.1")
        assert attempt is not None
        return attempt

    def run(self, seq: int, worker: str = "") -> ActiveAttempt:
        attempt = self.start(seq, worker)
        self.hear_start(seq, worker)
        return attempt

    async def settle(self) -> None:
        """Wait for what was begun in the background."""
        for task in list(self.context.background._tasks):
            await task

    def hear_start(self, seq: int, worker: str) -> None:
        self.executor._on_event(Started(f"{seq}.1", 100 + seq, 1.0, 2.0, 3.0, worker))


@pytest.fixture
async def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


# -- stopping -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["drain", "now"])
async def test_what_was_claimed_for_a_worker_that_is_to_stop_is_given_back(
    parts: Parts, mode: str
) -> None:
    """The claim is sent. Then the worker is told to stop."""
    parts.slot.ask_to_stop(mode)
    assert parts.dispatcher._slots() == []
    attempts = [parts.start(1, "sup-1"), parts.start(2)]
    assert [one.state for one in attempts] == [AttemptState.RETURNED] * 2
    assert not parts.shim.calls


async def test_what_is_prefetched_is_held_for_a_worker_that_goes_on(tmp_path: Path) -> None:
    parts = Parts(tmp_path, workers=2)
    parts.slot.ask_to_stop("drain")
    assert [slot.worker for slot in parts.dispatcher._slots()] == ["sup-2"]
    assert parts.start(1).state is AttemptState.PREFETCHED


async def test_who_stops_at_once_does_not_go_back_to_waiting(parts: Parts) -> None:
    attempt = parts.run(1, "sup-1")
    parts.dispatcher.stop(now=True)
    parts.dispatcher.stop(now=False)
    parts.slot.ask_to_stop("drain")
    assert (parts.context.stopping, parts.slot.stop) == ("now", "now")
    assert attempt.stop_reason is StopReason.NOW


async def test_a_worker_that_comes_while_all_stop_stops_too(parts: Parts) -> None:
    parts.dispatcher.stop(now=False)
    assert parts.context.new_slot((), "sup-7").stop == "drain"
    assert parts.context.new_slot(()).id == "sup-8", "no two have one name"


async def test_all_that_is_held_is_recalled_at_once_when_all_stop(tmp_path: Path) -> None:
    parts = Parts(tmp_path, workers=2)
    parts.heartbeat.registered = True
    parts.start(1)
    parts.dispatcher.stop(now=False)
    assert parts.shim.called("recall") == [(["sup-1", "sup-2"],)]
    assert parts.store.called("stop_workers") == [(["sup-1", "sup-2"], False)]


@pytest.mark.parametrize("first", ["answered", "settled"])
async def test_a_worker_leaves_when_nothing_can_start_on_it_and_nothing_is_to_be_written(
    tmp_path: Path, first: str
) -> None:
    """The shim has answered the recall, and the store knows how its job ended."""
    parts = Parts(tmp_path, workers=2)
    parts.store.answers["workers_gone"] = None
    parts.run(1, "sup-1")
    parts.executor.prefetch.give_back(["sup-1"])
    parts.slot.ask_to_stop("drain")
    parts.executor._on_event(Exited("1.1", EXIT, "sup-1"))
    parts.dispatcher.retire()
    for what in ("answered", "settled") if first == "answered" else ("settled", "answered"):
        assert list(parts.context.slots) == ["sup-1", "sup-2"]
        if what == "answered":
            parts.executor.prefetch.recalled()
        else:
            assert list(commit(parts.executor, parts.dispatcher)) == ["completed"]
        parts.dispatcher.retire()
    assert list(parts.context.slots) == ["sup-2"]
    assert parts.store.called("workers_gone") == [(["sup-1"],)]


async def test_who_starts_over_takes_no_worker_along_that_was_to_stop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = SimpleNamespace(directory=tmp_path, url="none", clock=lambda: 1.0)
    boss = Supervisor(store, {})  # type: ignore[arg-type]
    boss.context.become("old", [("mail",), ("film",)])
    boss.context.slots["old-1"].ask_to_stop("drain")
    served: list[Any] = []

    async def begin(given: Any, *, patient: bool) -> None:
        served.extend(given)

    monkeypatch.setattr(boss, "_begin", begin)
    await boss._start_over("why")
    assert served == [("film",)]
    boss.context.become("new", [()])
    boss.context.slots["new-1"].ask_to_stop("drain")
    await boss._start_over("why")
    assert served == [("film",)]
    assert boss.context.slots == {}, "nothing is left to do"


@pytest.mark.parametrize(
    ("stopping", "waited", "runs", "leaves"),
    [
        (None, 1e6, False, False),
        ("drain", 1.0, False, False),
        ("drain", 29.0, False, False),
        ("drain", 31.0, False, True),
        ("drain", 31.0, True, False),
        ("now", 0.0, False, True),
        ("now", 31.0, True, False),
    ],
)
async def test_who_cannot_tell_the_store_how_jobs_ended_waits_as_long_as_a_lease(
    parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
    stopping: str | None,
    waited: float,
    runs: bool,
    leaves: bool,
) -> None:
    """Then the next supervisor finds it in the journal. Nobody leaves while a job runs."""
    said: list[str] = []
    parts.context.tell = lambda notice: said.append(notice.message)
    moments = [1000.0]
    monkeypatch.setattr(dispatcher_module, "monotonic", lambda: moments[-1])
    assert parts.context.settings.lease == 30
    if runs:
        parts.run(1, "sup-1")
        said.clear()

    async def trouble() -> None:
        parts.context.told.set()  # no pause
        await parts.dispatcher.trouble(StoreUnreachable("it is locked"))

    parts.dispatcher._untroubled()
    await trouble()
    moments.append(1000.0 + waited)
    parts.context.stopping = stopping
    if leaves:
        with pytest.raises(StoreUnreachable):
            await trouble()
    else:
        await trouble()
    assert said == ["it is locked; trying again"], "once"
    parts.context.stopping = "drain"
    parts.dispatcher._untroubled()
    await trouble()  # that counts from now
    assert parts.dispatcher.troubled


@pytest.mark.parametrize("why", ["looked into", "stuck", "now", "gone"])
async def test_who_took_jobs_over_stays_until_it_knows_what_became_of_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str
) -> None:
    """It has no worker any more. It leaves if that cannot be found out now, or if it must."""
    store = SimpleNamespace(directory=tmp_path, url="none", clock=lambda: 1.0)
    boss = Supervisor(store, {})  # type: ignore[arg-type]
    boss.context.settings = settings({}, {})
    boss.context.become("sup", [])
    boss.executor.claim(job_of(1), inherited=True)
    steps: list[str] = []

    async def step() -> None:
        steps.append(why)
        boss.executor.attempts.clear()

    monkeypatch.setattr(boss.dispatcher, "step", step)
    boss.recovery.stuck = why == "stuck"
    boss.context.stopping = "now" if why == "now" else "drain"
    boss.context.gone = StoreGone("it is gone") if why == "gone" else None
    await asyncio.wait_for(boss._work(), PATIENCE)
    assert steps == (["looked into"] if why == "looked into" else [])


@pytest.mark.parametrize("what", ["nothing", "taken over", "runs"])
async def test_who_leaves_with_jobs_leaves_them_to_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    """Also those of which it does not know what became of them: it stays on the list."""
    store = Noted(deregister=None)
    vars(store).update(directory=tmp_path, url="none", clock=lambda: 1.0)
    boss = Supervisor(store, {})  # type: ignore[arg-type]
    boss.context.settings = settings({}, {})
    boss.context.become("sup", [])
    if what != "nothing":
        boss.executor.claim(job_of(1), inherited=what == "taken over")
    shims = Noted(close=None)
    monkeypatch.setattr(boss.executor, "shims", shims)
    await boss._leave()
    left = [("abandon",)] if what != "nothing" else [("close",)]
    assert shims.calls == left
    assert store.called("deregister") == ([("sup",)] if what == "nothing" else [])


# -- a start that is heard late -------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("goes on", None),
        ("drain", None),
        ("now", StopReason.NOW),
        ("gone", StopReason.NOW),
        ("cancelled", StopReason.CANCEL),
    ],
)
async def test_a_prefetched_job_that_started_meanwhile(
    parts: Parts, what: str, reason: StopReason | None
) -> None:
    """The shim starts the job. Then its worker is told to stop, or the job is cancelled."""
    attempt = parts.start(1)
    assert attempt.state is AttemptState.PREFETCHED
    if what in ("drain", "now"):
        parts.slot.ask_to_stop(what)
    elif what == "gone":
        parts.context.slots.clear()
    elif what == "cancelled":
        parts.context.cancels = frozenset([1])
    parts.hear_start(1, "sup-1")
    assert attempt.stop_reason is reason
    attempt.disarm()


async def test_a_cancel_that_was_read_before_the_claim_was_answered(parts: Parts) -> None:
    """The commands are read again: then the attempt is in the table."""
    parts.context.cancels = frozenset([2])
    job = job_of(1)._replace(worker="sup-1")
    await parts.dispatcher._start_all(ClaimResult(frozenset(), (job,), None))
    assert not parts.context.commanded.is_set()
    await parts.dispatcher._start_all(ClaimResult(frozenset(), (job_of(2),), None))
    assert parts.context.commanded.is_set()


async def test_commands_reach_the_jobs_they_are_for(tmp_path: Path) -> None:
    parts = Parts(tmp_path, workers=2)
    mine, other = parts.run(1, "sup-1"), parts.run(2, "sup-2")
    stop = WorkerCommand("sup-2", (), "drain", up=True)
    new = WorkerCommand("sup-3", ("mail",), None, up=False)
    parts.store.answers["commands"] = Commands(True, (stop, new), frozenset([1]))
    await parts.commands.apply()
    assert (mine.stop_reason, other.stop_reason) == (StopReason.CANCEL, None)
    assert [slot.stop for slot in parts.context.slots.values()] == [None, "drain", None]
    assert parts.shim.called("recall") == [(["sup-2"],)]
    assert parts.shim.called("use") == [("sup-3", "mail")]
    assert parts.store.called("workers_up") == [(["sup-3"],)]
    await parts.commands.apply()
    assert parts.shim.called("recall") == [(["sup-2"],)], "once"
    mine.disarm()


async def test_a_prefetched_job_that_is_cancelled_is_recalled(parts: Parts) -> None:
    attempt = parts.start(1)
    parts.store.answers["commands"] = Commands(True, (), frozenset([1]))
    await parts.commands.apply()
    assert parts.shim.called("recall") == [([],)]
    assert attempt.stop_reason is None, "the store cancels it"


# -- suspects -------------------------------------------------------------------------


async def test_a_suspect_is_not_prefetched_and_what_is_held_makes_way_for_it(
    parts: Parts,
) -> None:
    """The next worker that comes free is idle then, and the suspect is claimed for it."""
    parts.run(1, "sup-1")
    suspect = job_of(2)._replace(crashes=1)
    parts.dispatcher._start(suspect)
    assert list(parts.executor.attempts.returned) == ["2.1"]
    assert parts.shim.called("recall") == [([],)]
    assert parts.shim.called("hold") == []


async def test_a_suspect_that_was_not_started_leaves_no_shim_behind(parts: Parts) -> None:
    """There may be only so many."""
    job = job_of(1)._replace(crashes=1)
    shims, name, own = parts.executor.shims, journal_name(job, "sup"), Noted(close=False)
    shims._name, shims._own = "sup", {name: own}  # type: ignore[dict-item]
    attempt = parts.executor.claim(job)
    room = shims.room_for_suspects
    parts.executor._on_event(NotStarted(attempt.token, "no processes"))
    assert shims.room_for_suspects == room + 1
    await parts.settle()
    assert own.called("close") == [()]
    assert attempt.state is AttemptState.RETURNED
    parts.dispatcher.close()


# -- results --------------------------------------------------------------------------


@pytest.mark.parametrize("refused", [False, True])
async def test_the_files_of_a_refused_result_are_left_to_its_owner(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(dispatcher_module.reports, "remove", removed.append)
    attempt = parts.run(1, "sup-1")
    parts.executor._on_event(Exited("1.1", EXIT, "sup-1"))
    attempt.has_reported = True
    (result,) = parts.executor.attempts.results
    parts.dispatcher._settled(result, refused=refused)
    await parts.settle()
    assert removed == ([] if refused else [attempt.files])
    assert parts.dispatcher.done == (0 if refused else 1)


@pytest.mark.parametrize("refused", [False, True])
async def test_a_refused_result_is_a_reason_to_ask_for_the_lease(
    parts: Parts, refused: bool
) -> None:
    parts.run(1, "sup-1")
    parts.executor._on_event(Exited("1.1", EXIT, "sup-1"))
    answer = ClaimResult(frozenset([(1, 1)] if refused else []), (), None)
    parts.store.answers["settle_and_claim"] = answer
    await parts.dispatcher.step()
    assert parts.heartbeat.lost is refused
    assert list(parts.executor.attempts) == []


async def test_results_that_could_not_be_written_are_in_the_next_commit(tmp_path: Path) -> None:
    """Before those that came later, and what was given back, too."""
    parts = Parts(tmp_path, workers=2)
    requests: list[ClaimRequest] = []

    async def settle_and_claim(request: ClaimRequest) -> ClaimResult:
        requests.append(request)
        if len(requests) == 1:
            parts.run(2, "sup-2")
            parts.executor._on_event(Exited("2.1", EXIT, "sup-2"))
            raise StoreUnreachable("it is locked")
        return ClaimResult(frozenset(), (), None)

    parts.store.settle_and_claim = settle_and_claim
    parts.run(1, "sup-1")
    parts.executor._on_event(Exited("1.1", EXIT, "sup-1"))
    parts.executor.attempts.move(parts.executor.claim(job_of(3)), AttemptEvent.GIVEN_BACK)
    for _ in range(2):
        parts.context.told.set()  # no pause
        await parts.dispatcher.step()
    first, second = requests
    assert [one.seq for one in first.results] == [1]
    assert [one.seq for one in second.results] == [1, 2]
    assert [job.seq for job in first.released] == [job.seq for job in second.released] == [3]
    assert list(parts.executor.attempts) == []
    parts.dispatcher.close()


@pytest.mark.parametrize("told", [False, True])
async def test_a_start_that_the_shim_told_of_and_could_not_write_down_was_one(
    parts: Parts, told: bool
) -> None:
    """The shim was killed while its disk was full: the journal knows nothing of the job."""
    attempt = parts.run(1, "sup-1") if told else parts.start(1, "sup-1")
    parts.executor.resolve([attempt], RecoveryPlan(unstarted=[attempt.job]), "killed")
    (result,) = parts.executor.attempts.results
    assert result.attempt.outcome is (Outcome.CRASHED if told else Outcome.INTERRUPTED)


# -- adoption -------------------------------------------------------------------------


async def adopt(parts: Parts, tmp_path: Path, *seqs: int) -> list[ActiveAttempt]:
    """Take over jobs that run."""
    plan, attempts = RecoveryPlan(), {}
    for seq in seqs:
        job: Job = job_of(seq)._replace(worker=f"old-{seq}", shim="old")
        attempt = parts.executor.claim(job, inherited=True)
        attempts[attempt.token] = attempt
        started = Started(attempt.token, 100 + seq, 1.0, 2.0, 3.0, "old-1")
        plan.adopted.append((job, started, JournalReader(tmp_path, "old")))
    await parts.recovery._adopt(attempts, plan)
    return list(attempts.values())


@pytest.mark.parametrize("steady", [None, True, False])
async def test_who_could_not_reach_the_store_itself_takes_nothing_over_from_other_hosts(
    parts: Parts, steady: bool | None
) -> None:
    """They could not either, and are about to renew their leases."""
    parts.context.deadline = None if steady is None else SimpleNamespace(steady=steady)  # type: ignore[assignment]
    parts.store.host_identity = host_key
    parts.store.answers["take_over"] = None
    parts.store.answers["supervisors"] = [
        supervisor("sup", lease_mono=-1.0),
        supervisor("here", lease_mono=-1.0),
        supervisor("far", host="far", host_key="other:1", lapsed=True),
        supervisor("lives", host="far", host_key="other:1", lapsed=False),
    ]
    await parts.recovery.look()
    taken = [row.id for row, *_ in parts.store.called("take_over")]
    assert taken == (["here"] if steady is False else ["here", "far"])
    assert parts.recovery.files_left


async def test_adopted_jobs_go_to_idle_workers_and_to_extra_ones(
    parts: Parts, tmp_path: Path
) -> None:
    first, second = await adopt(parts, tmp_path, 1, 2)
    assert (first.worker, second.worker) == ("sup-1", "sup-2")
    assert parts.shim.called("recall") == [(["sup-1"],)], "or the shim starts a job on it, too"
    assert [slot.stop for slot in parts.context.slots.values()] == [None, "drain"]
    assert parts.store.called("stop_workers") == [(["sup-2"], False)]
    assert parts.store.called("assign") == [("sup", {1: "sup-1", 2: "sup-2"})]
    assert list(parts.executor.attempts.unannounced) == ["1.1", "2.1"], "a queue may have a rate"
    assert parts.dispatcher._slots() == []
    for one in (first, second):
        parts.executor._on_event(Exited(one.token, EXIT, one.worker))
    assert parts.shim.called("use") == [("sup-1", "")], "the shim may start jobs on it again"
    assert [slot.worker for slot in parts.dispatcher._slots()] == ["sup-1"]


async def test_no_job_is_adopted_by_a_worker_on_which_the_shim_may_start_another(
    parts: Parts, tmp_path: Path
) -> None:
    assert parts.start(9).state is AttemptState.PREFETCHED
    (adopted,) = await adopt(parts, tmp_path, 1)
    assert adopted.worker == "sup-2"
    assert parts.shim.called("recall") == []


async def test_a_cancel_during_the_takeover_reaches_the_adopted_job(
    parts: Parts, tmp_path: Path
) -> None:
    parts.store.answers["commands"] = Commands(True, (), frozenset([1]))
    (attempt,) = await adopt(parts, tmp_path, 1)
    assert attempt.stop_reason is StopReason.CANCEL
    attempt.disarm()


async def test_the_end_of_an_adopted_job_is_believed_once(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the journal says counts, also of a shim that has died since. Those of which it does not
    tell are looked for."""
    ended, running, lost = await adopt(parts, tmp_path, 1, 2, 3)
    journals = [one.journal for one in (ended, running, lost)]
    assert all(journals)
    for journal, name in zip(journals, ("dead", "alive", "dead"), strict=True):
        assert journal is not None
        journal.name = name
    ended.journal.exits[ended.token] = EXIT._replace(code=3)  # type: ignore[union-attr]
    monkeypatch.setattr(recovery_module, "_refresh", lambda _: {"dead"})
    orphans: list[str] = []

    async def resolve(found: list[ActiveAttempt]) -> None:
        orphans.extend(one.token for one in found)

    monkeypatch.setattr(parts.executor, "resolve_orphans", resolve)
    for _ in range(2):
        await parts.recovery.watch()
    await parts.settle()
    assert orphans == [lost.token]
    assert [one.token for one, _ in parts.recovery.adopted] == [running.token]
    (result,) = parts.executor.attempts.results
    assert (result.seq, result.attempt.exit_code) == (1, 3)


async def test_an_adopted_job_that_was_cancelled_and_ends_well_was_cancelled(
    parts: Parts, tmp_path: Path
) -> None:
    """Whether the signal came before its end is not known. One on a shim of ours tells."""
    (adopted,) = await adopt(parts, tmp_path, 1)
    own = Parts(tmp_path).run(2, "sup-1")
    for attempt, completed in ((adopted, False), (own, True)):
        attempt.stop_reason = StopReason.CANCEL
        assert attempt.completed(EXIT) is completed
    assert not own.completed(EXIT._replace(signalled=True))
