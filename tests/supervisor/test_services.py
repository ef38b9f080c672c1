"""When the services of a supervisor do their work, by clocks that the test sets."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.config import settings
from queuectl_core.domain.errors import StoreDamaged, StoreUnreachable
from queuectl_core.domain.model import Job, SupervisorRow
from queuectl_core.supervisor import heartbeat as heartbeat_module
from queuectl_core.supervisor.context import Context
from queuectl_core.supervisor.dispatcher import Dispatcher
from queuectl_core.supervisor.heartbeat import Heartbeat
from queuectl_core.supervisor.maintenance import hooks, lost_attempts, schedules, services
from queuectl_core.supervisor.maintenance.hooks import FROM_TIME_TO_TIME, HookService
from queuectl_core.supervisor.maintenance.liveness import Liveness
from queuectl_core.supervisor.maintenance.lost_attempts import REASON, LostAttempts
from queuectl_core.supervisor.maintenance.schedules import (
    LONGEST_SLEEP,
    STORE_FAILED,
    TRY_AGAIN,
    ScheduleTimer,
)
from queuectl_core.supervisor.maintenance.services import Services

from ..support import PATIENCE, supervisor
from .test_attempt_states import executor_of, job_of


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Store:
    """Answers what the test says, and notes what it was asked."""

    url = "none"
    shared_by_hosts = False

    def __init__(self, directory: Path, **answers: Any) -> None:
        self.directory = directory
        self.answers = answers
        self.asked: list[str] = []

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        async def answer(*_: Any) -> Any:
            self.asked.append(verb)
            found = self.answers.get(verb)
            found = found.pop(0) if isinstance(found, list) and found else found
            if isinstance(found, Exception):
                raise found
            return found

        return answer

    def told(self) -> list[str]:
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Both the store's clock and the monotonic one."""
    clock = Clock()
    for module in (hooks, lost_attempts):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


def context_of(store: Store, clock: Clock) -> Context:
    context = Context(store, {}, clock, lambda notice: None)  # type: ignore[arg-type]
    context.become("sup", [()])
    return context


# -- hooks ----------------------------------------------------------------------------


async def test_hooks_are_looked_at_when_there_may_be_work(clock: Clock, tmp_path: Path) -> None:
    store = Store(tmp_path, hook_work=(False, None))
    part = HookService(context_of(store, clock))
    await part.look(changed=False, settled=0)
    assert store.told() == ["hook_work"]
    await part.look(changed=False, settled=0)
    assert store.told() == []
    await part.look(changed=True, settled=0)
    assert store.told() == ["hook_work"], "others have committed something"
    await part.look(changed=False, settled=1)
    assert store.told() == ["hook_work"], "we have"
    await part.look(changed=False, settled=1)
    assert store.told() == []
    clock.now += FROM_TIME_TO_TIME
    await part.look(changed=False, settled=1)
    assert store.told() == ["hook_work"], "in any case, from time to time"


async def test_a_digest_is_delivered_when_it_is_due(clock: Clock, tmp_path: Path) -> None:
    due = clock.now + 5
    store = Store(tmp_path, hook_work=(False, due), deliver_hooks=[True, False])
    context = context_of(store, clock)
    part = HookService(context)
    await part.look(changed=False, settled=0)
    clock.now += 4
    await part.look(changed=False, settled=0)
    assert store.told() == ["hook_work"]
    clock.now += 1
    context.claimable = False
    await part.look(changed=False, settled=0)
    assert store.told() == ["hook_work", "deliver_hooks", "deliver_hooks"], "until all are"
    assert context.claimable, "a delivery is a job"
    store.answers["hook_work"] = (False, None)
    await part.look(changed=False, settled=0)
    assert store.told() == ["hook_work"], "at the next tick"
    await part.look(changed=False, settled=0)
    assert store.told() == []


async def test_after_a_delivery_there_may_be_more_at_the_next_tick(
    clock: Clock, tmp_path: Path
) -> None:
    store = Store(tmp_path, hook_work=(True, None), deliver_hooks=False)
    part = HookService(context_of(store, clock))
    await part.look(changed=True, settled=0)
    assert store.told() == ["hook_work", "deliver_hooks"]
    store.answers["hook_work"] = (False, None)
    await part.look(changed=False, settled=0)
    await part.look(changed=False, settled=0)
    assert store.told() == ["hook_work"]


# -- schedules ------------------------------------------------------------------------


class Timer:
    """A schedule timer, with what it fires."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: Clock, store: Store) -> None:
        self.context = context_of(store, clock)
        self.said: list[str] = []
        self.context.tell = lambda notice: self.said.append(notice.message)
        self.heartbeat = Heartbeat(self.context)
        self.heartbeat.registered = True
        self.context.settings = None  # type: ignore[assignment]
        self.fired = 0
        self.done: list[str] = ["one"]
        self.problems: dict[str, str] = {}
        self.next: float | None = None
        monkeypatch.setattr(schedules, "fire_due", self.fire_due)
        monkeypatch.setattr(schedules, "next_due", self.next_due)
        self.timer = ScheduleTimer(self.context, None, self.heartbeat)  # type: ignore[arg-type]

    async def fire_due(self, store: Any, now: float, defaults: Any, told: Any) -> list[str]:
        self.fired += 1
        for name, problem in self.problems.items():
            told(name, problem)
        return self.done

    async def next_due(self, store: Any, now: float, cannot: Any) -> float | None:
        return self.next

    async def turn(self) -> None:
        """Wake it, and wait until it sleeps again."""
        self.context.rescheduled.set()
        slept = asyncio.Event()
        sleep = self.timer._sleep

        async def twice() -> None:
            if not self.context.rescheduled.is_set():
                slept.set()
            await sleep()

        self.timer._sleep = twice  # type: ignore[method-assign]
        task = asyncio.create_task(self.timer.watch())
        await asyncio.wait_for(slept.wait(), PATIENCE)
        task.cancel()
        self.timer._sleep = sleep  # type: ignore[method-assign]

    def is_woken_at(self, now: float, clock: Clock) -> bool:
        """Whether the tick finds at this time that something is due."""
        self.context.rescheduled.clear()
        clock.now = now
        self.timer.look_if_due()
        return self.context.rescheduled.is_set()


async def test_a_schedule_fires_when_the_clock_says_so(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, tmp_path: Path
) -> None:
    """Somebody may set the clock, or the host may have been suspended: then the tick sees it."""
    store = Store(tmp_path, next_schedule=[500.0, 500.0, 500.0])
    timer = Timer(monkeypatch, clock, store)
    await timer.turn()
    assert timer.fired == 0
    assert not timer.is_woken_at(499.0, clock)
    assert timer.is_woken_at(500.0, clock)
    timer.next = 900.0
    await timer.turn()
    assert timer.fired == 1
    assert [timer.is_woken_at(at, clock) for at in (501.0, 899.0, 900.0)] == [False, False, True]


async def test_nothing_fires_while_a_supervisor_stops_or_is_not_registered(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, tmp_path: Path
) -> None:
    timer = Timer(monkeypatch, clock, Store(tmp_path, next_schedule=1.0))
    timer.heartbeat.registered = False
    await timer.turn()
    timer.heartbeat.registered = True
    timer.context.stopping = "drain"
    await timer.turn()
    assert timer.fired == 0
    timer.context.stopping = None
    await timer.turn()
    assert timer.fired == 1


async def test_a_store_that_fails_is_asked_for_schedules_again(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, tmp_path: Path
) -> None:
    failed = StoreUnreachable("it is locked")
    timer = Timer(monkeypatch, clock, Store(tmp_path, next_schedule=[failed, None]))
    await timer.turn()
    assert timer.is_woken_at(100.0 + STORE_FAILED, clock)
    await timer.turn()
    assert not timer.is_woken_at(100.0 + 2 * LONGEST_SLEEP, clock), "there is no schedule"


async def test_a_schedule_that_cannot_fire_here_is_told_of_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, tmp_path: Path
) -> None:
    timer = Timer(monkeypatch, clock, Store(tmp_path, next_schedule=1.0))
    timer.problems, timer.done = {"s": "no such zone"}, []
    await timer.turn()
    assert not timer.is_woken_at(100.0 + TRY_AGAIN - 1, clock)
    assert timer.is_woken_at(100.0 + TRY_AGAIN, clock)
    await timer.turn()
    assert (timer.said, timer.fired) == (["no such zone"], 2)


async def test_a_schedule_that_cannot_be_read_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, tmp_path: Path
) -> None:
    """Nobody else reads the schedules while jobs run."""
    damaged = StoreDamaged("it is damaged")
    timer = Timer(monkeypatch, clock, Store(tmp_path, next_schedule=[damaged, damaged]))
    for _ in range(2):
        await timer.turn()
    assert timer.said == ["no schedule fires: it is damaged"]
    assert timer.is_woken_at(100.0 + TRY_AGAIN, clock)


async def test_another_supervisor_that_fires_the_same_is_given_time(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, tmp_path: Path
) -> None:
    """It is still due, and we fired nothing: it is looked at again, but not at once."""
    timer = Timer(monkeypatch, clock, Store(tmp_path, next_schedule=1.0))
    timer.done, timer.next = [], 1.0
    await timer.turn()
    assert not timer.is_woken_at(100.0, clock)
    assert timer.is_woken_at(100.0 + schedules.OTHERS_FIRE, clock)


# -- the lease ------------------------------------------------------------------------


@pytest.mark.parametrize("started_over", [False, True])
async def test_the_answer_to_a_heartbeat_is_for_whom_it_was_sent(
    clock: Clock, tmp_path: Path, started_over: bool
) -> None:
    """A supervisor that has started over meanwhile has another lease."""
    context = context_of(Store(tmp_path), clock)
    context.settings = settings({}, {})
    heartbeat = Heartbeat(context)
    heartbeat.row = supervisor("sup")
    context.woken.clear()

    async def unknown(row: SupervisorRow) -> bool:
        assert row.lease_until == clock.now + context.settings.lease
        if started_over:
            context.id = "new"
        return False

    context.store.heartbeat = unknown  # type: ignore[method-assign]
    await heartbeat.renew()
    assert heartbeat.lost is not started_over
    assert context.woken.is_set() is not started_over, "somebody must do something about it"


@pytest.mark.parametrize("known", [True, False])
async def test_a_lease_that_may_have_run_out_is_renewed_before_a_claim(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, tmp_path: Path, known: bool
) -> None:
    """It counts from when it was asked for: the store may have taken long to answer."""
    monkeypatch.setattr(heartbeat_module, "lease_clock", clock)
    context = context_of(Store(tmp_path), clock)
    context.settings = settings({}, {})
    called: list[str] = []
    extended: list[tuple[float, float]] = []
    deadline: Any = Part("deadline", called, passed=False)
    deadline.__dict__["extend"] = lambda *lease: extended.append(lease)
    context.deadline = deadline
    heartbeat = Heartbeat(context)
    heartbeat.row = supervisor("sup")
    asked = 0

    async def slow(row: SupervisorRow) -> bool:
        nonlocal asked
        asked += 1
        clock.now += 7
        return known

    context.store.heartbeat = slow  # type: ignore[method-assign]
    assert await heartbeat.holds()
    assert asked == 0, "there is a lease"
    deadline.__dict__["passed"] = True
    assert await heartbeat.holds() is known
    assert asked == 1
    assert extended == ([(100.0, 30.0)] if known else [])
    if heartbeat._telling is not None:
        await heartbeat._telling
    assert called == (["deadline.write"] if known else []), "the shims hear of it"


# -- jobs that the store says are ours ------------------------------------------------


class Ours:
    """A supervisor that looks for jobs it does not know."""

    def __init__(self, clock: Clock, directory: Path, jobs: list[Job]) -> None:
        self.clock = clock
        self.executor, self.context, _ = executor_of(directory)
        self.context.store = Store(directory, held=jobs)  # type: ignore[assignment]
        self.dispatcher = Dispatcher(self.context, Heartbeat(self.context), self.executor)
        self.part = LostAttempts(self.context, self.executor, self.dispatcher)

    async def look(self, seconds: float = lost_attempts.EVERY) -> list[str | None]:
        """What is put back by a look after so many seconds."""
        self.clock.now += seconds
        await self.part.look()
        results, self.executor.attempts.results = self.executor.attempts.results, []
        return [result.attempt.reason for result in results]


async def test_only_a_job_that_is_unknown_twice_is_lost(clock: Clock, tmp_path: Path) -> None:
    """One that is being settled is unknown for a moment."""
    ours = Ours(clock, tmp_path, [])
    ours.context.store.answers["held"] = lost = (job_of(1),)  # type: ignore[attr-defined]
    assert await ours.look() == []
    assert await ours.look(lost_attempts.EVERY - 1) == [], "it is not time yet"
    ours.context.store.answers["held"] = ()  # type: ignore[attr-defined]
    assert await ours.look(1) == [], "it was settled"
    ours.context.store.answers["held"] = lost  # type: ignore[attr-defined]
    assert [await ours.look(), await ours.look()] == [[], [REASON]]


async def test_a_job_that_is_being_claimed_or_runs_is_not_lost(
    clock: Clock, tmp_path: Path
) -> None:
    ours = Ours(clock, tmp_path, [])
    ours.context.store.answers["held"] = (job_of(1),)  # type: ignore[attr-defined]
    ours.dispatcher.in_turn = True
    assert [await ours.look(), await ours.look()] == [[], []]
    ours.dispatcher.in_turn = False
    ours.executor.claim(job_of(1))
    assert [await ours.look(), await ours.look()] == [[], []]


async def test_jobs_of_a_supervisor_that_started_over_are_not_lost(
    clock: Clock, tmp_path: Path
) -> None:
    """It lost its lease while it read: the jobs have another owner."""
    ours = Ours(clock, tmp_path, [])

    class Moved(Store):
        async def held(self, owner: str) -> tuple[Job, ...]:
            ours.context.id += "x"
            return (job_of(1),)

    ours.context.store = Moved(tmp_path)  # type: ignore[assignment]
    assert [await ours.look(), await ours.look()] == [[], []]


# -- shims that do not run --------------------------------------------------------------

CONT, KILL = signal.SIGCONT, signal.SIGKILL


@pytest.mark.parametrize(
    ("states", "urgent", "signals"),
    [
        ("TTTTT", False, {0: CONT, 1: CONT, 2: CONT, 3: CONT, 4: KILL}),
        ("TSTSTSTST", False, {0: CONT, 2: CONT, 4: CONT, 6: CONT, 8: KILL}),
        ("S" * 30, False, {}),
        ("S" * 62, False, {30: KILL, 61: KILL}),
        ("D" * 100, False, {}),
        ("D" * 31, True, {30: KILL}),
        ("D" * 50 + "S" * 31, False, {80: KILL}),
        ("S" * 30 + "D" + "S" * 30, False, {}),
    ],
    ids=["stopped", "now and then", "silent", "long", "disk", "urgent", "after a disk", "between"],
)
def test_when_a_shim_is_woken_and_when_it_is_given_up(
    states: str, urgent: bool, signals: dict[int, int]
) -> None:
    said: list[str] = []
    liveness = Liveness(said.append)
    sent = {number: liveness.look(state, urgent=urgent) for number, state in enumerate(states)}
    assert {number: what for number, what in sent.items() if what} == signals
    assert len(said) == len(signals)


def test_a_shim_that_is_seldom_stopped_and_answers_is_kept() -> None:
    liveness = Liveness(lambda _: None)
    for number in range(500):
        state = "T" if number % 11 == 0 else "S"
        assert liveness.look(state, urgent=False) != KILL
        if number % 25 == 0:
            liveness.heard()


def test_a_shim_is_asked_for_a_word_after_it_was_silent() -> None:
    liveness = Liveness(lambda _: None)
    asked = []
    for number in range(1, 13):
        liveness.look("S", urgent=False)
        if liveness.ping_is_due:
            asked.append(number)
        if number == 7:
            liveness.heard()
    assert asked == [5, 12]


# -- the tick -------------------------------------------------------------------------


class Part:
    """Notes which of its methods are called."""

    def __init__(self, name: str, called: list[str], **values: Any) -> None:
        self.__dict__.update(values, name=name, called=called)

    def __getattr__(self, method: str) -> Any:
        def noted(*args: Any, **options: Any) -> Any:
            self.called.append(" ".join([f"{self.name}.{method}", *map(str, options.items())]))
            try:
                done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            except RuntimeError:
                return None  # in a thread
            done.set_result(True)
            return done

        return noted


def services_of(clock: Clock, directory: Path) -> tuple[Services, Context, list[str]]:
    called: list[str] = []
    context = context_of(Store(directory, changed=True), clock)
    context.settings = Part("settings", called, keep_completed=1.0, keep_events=1.0)  # type: ignore[assignment]
    parts: Any = {
        name: Part(name, called) for name in ("executor", "dispatcher", "commands", "recovery")
    }
    parts["dispatcher"].__dict__.update(done=3, failed=4)
    parts["recovery"].__dict__.update(files_left=False)
    heartbeat = Heartbeat(context)
    made = Services(context, heartbeat=heartbeat, **parts)
    for name in ("_retention", "_lost_attempts", "_orphans", "_wake_ups", "_hooks", "_schedules"):
        setattr(made, name, Part(name[1:], called))
    made._progress = Part("progress", called)  # type: ignore[assignment]
    return made, context, called


async def test_a_tick_does_all_its_steps(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, tmp_path: Path
) -> None:
    monkeypatch.setattr(services, "TICK", 0.0)
    made, _, called = services_of(clock, tmp_path)

    async def until(step: str) -> list[str]:
        called.clear()
        task = asyncio.create_task(made._tick())
        async with asyncio.timeout(PATIENCE):
            while step not in called:
                await asyncio.sleep(0)
        task.cancel()
        return called

    before = await until("schedules.look_if_due")
    assert before == ["dispatcher.look_if_due", "schedules.look_if_due"], "it has no lease yet"
    made._heartbeat.registered = True
    steps = await until("orphans.turn")
    assert steps == [
        "dispatcher.look_if_due",
        "schedules.look_if_due",
        "commands.apply",
        "wake_ups.look",
        "recovery.look",
        "lost_attempts.look",
        "progress.look",
        "hooks.look ('changed', True) ('settled', 7)",
        "retention.turn",
        "retention.forget_events",
        "orphans.turn",
    ]


async def test_who_may_not_undo_what_a_job_did_to_its_limits_stops_once(
    clock: Clock, tmp_path: Path
) -> None:
    """Not at each look: the second time would be the answer to somebody's first SIGTERM."""
    made, context, called = services_of(clock, tmp_path)
    said: list[str] = []
    context.tell = lambda notice: said.append(notice.message)

    class Limits:
        def restore(self, pid: int) -> bool:
            raise PermissionError

    made._limits = Limits()  # type: ignore[assignment]
    made._keep_limits()
    made._keep_limits()
    assert called == ["dispatcher.stop ('now', False)"]
    assert len(said) == 1
    assert said[0].endswith("stopping after the running jobs")


async def test_a_change_whose_notification_was_lost_wakes_all_whom_it_may_concern(
    clock: Clock, tmp_path: Path
) -> None:
    made, context, called = services_of(clock, tmp_path)
    await made._deliver()
    context.claimable = False
    await made._read_commands()
    assert context.rescheduled.is_set()
    assert context.claimable
    called_before = list(called)
    await made._deliver()
    await made._deliver()
    assert called_before[-1] == "commands.apply"
    changed = [f"hooks.look ('changed', {what}) ('settled', 7)" for what in (True, False)]
    assert called[len(called_before) :] == changed
    context.store.answers["changed"] = False  # type: ignore[attr-defined]
    context.rescheduled.clear()
    await made._read_commands()
    assert not context.rescheduled.is_set()


async def test_samples_are_of_the_job_that_was_measured(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, tmp_path: Path
) -> None:
    """One has ended meanwhile, and its worker runs another."""
    made, context, _ = services_of(clock, tmp_path)
    executor, _, _ = executor_of(tmp_path)
    attempts = [executor.claim(job_of(seq)) for seq in (1, 2)]
    for number, attempt in enumerate(attempts):
        attempt.worker, attempt.pid, attempt.since = f"w{number}", 10 + number, 1.0
    monkeypatch.setattr(services, "lease_clock", lambda: 1000.0)
    monkeypatch.setattr(services, "monotonic", lambda: 1000.0)
    made._executor = executor
    written: list[Any] = []

    class Sampler:
        def take(self, jobs: dict[str, int]) -> list[tuple[str, int, None, int]]:
            attempts[1].pid = 99
            return [(worker, pid, None, 5) for worker, pid in jobs.items()]

    async def sample(samples: list[Any]) -> None:
        written.extend(samples)

    made._sampler = Sampler()  # type: ignore[assignment]
    context.store.sample = sample  # type: ignore[method-assign]
    await made._sample()
    assert written == [("w0", 10, None, 5)]
