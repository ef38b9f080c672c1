"""How long attempts took, and when they are due again, whatever somebody does to the clock."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from queuectl_core.domain.model import Outcome, State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.runner import UNSIGNALLED, lease_clock
from queuectl_core.runner.events import Exit, Started
from queuectl_core.runner.journal_reader import JournalReader
from queuectl_core.supervisor import attempt as attempt_module
from queuectl_core.supervisor.attempt import ActiveAttempt, StopReason, no_kill
from queuectl_core.supervisor.maintenance.output_limit import Capture
from queuectl_core.supervisor.result import outcome_of
from queuectl_core.supervisor.supervisor import Supervisor

from .test_attempt_states import job_of


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 0.0])
@pytest.mark.parametrize("prefetch", [False, True])
async def test_a_clock_that_jumps_during_an_attempt_changes_neither(
    queue: Queue, jump: float, prefetch: bool
) -> None:
    """It took 0 s or an hour, and "again in 1h" stood for 2 s."""
    offset = 0.0

    def clock() -> float:
        return time.time() + offset

    count = 6 if prefetch else 1
    command = "sleep 0.4; exit 1"
    jobs = await queue.enqueue([{"command": command, "max_retries": 3}] * count)
    ended: list[Notice] = []

    def on_notice(event: Notice) -> None:
        nonlocal offset
        if event.kind is NoticeKind.STARTED:
            offset = jump
        if event.kind is NoticeKind.ENDED:
            ended.append(event)
            due = event.retry_at
            assert due is not None
            assert 0.5 < due - clock() <= 2.1
            if len(ended) == count:
                supervisor.stop(now=True)

    supervisor = Supervisor(queue.store, {}, on_notice=on_notice, clock=clock)
    await supervisor.run(count, ())
    for job in jobs:
        found = await queue.find(job.id)
        assert found.state is State.FAILED
        (attempt,) = await queue.attempts(found)
        assert attempt.outcome is Outcome.FAILED
        assert attempt.finished_at is not None
        assert 0.3 < attempt.finished_at - attempt.started_at < 5
        assert abs(attempt.finished_at - clock()) < 30
        assert found.started_at == attempt.started_at


@pytest.mark.parametrize(("spent", "left"), [(0.0, 1000.0), (900.0, 100.0), (5000.0, 0.0)])
@pytest.mark.parametrize("adopted", [False, True])
async def test_a_timeout_counts_from_the_start_of_the_process(
    spent: float, left: float, adopted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However many supervisors it has had meanwhile."""
    monkeypatch.setattr(attempt_module, "lease_clock", lambda: 7000.0)
    delays: list[float] = []
    monkeypatch.setattr(ActiveAttempt, "_later", lambda _, seconds, call: delays.append(seconds))
    job = job_of(1)._replace(timeout_seconds=1000.0)
    one = ActiveAttempt(job, "w", Capture("x", 1), 1.0, no_kill, None, inherited=adopted)
    started = Started("1.1", 99, 1.0, 2.0, 7000.0 - spent)
    if adopted:
        one.adopted("w", started, JournalReader(tmp_path, "s"))
    else:
        one.begun(started.pid, started.at)
    assert delays == [left]
    assert one.since == started.at


def test_a_journal_of_before_is_read_with_its_wall_clock(tmp_path: Path) -> None:
    """A shim of the version before may still run when workers are upgraded."""
    wall = time.time()
    lines = [
        ["H", 12],
        ["S", "1.1", 70, 5.0, 5.1, wall - 60, "w1"],
        ["X", "1.1", 0, None, 0.1, 5, wall - 20, False],
    ]
    (tmp_path / "s.journal").write_bytes(b"".join(json.dumps(x).encode() + b"\n" for x in lines))
    journal = JournalReader(tmp_path, "s")
    assert journal.refresh()
    exit_ = journal.exits["1.1"]
    assert exit_.began is not None
    assert exit_.at - exit_.began == pytest.approx(40, abs=1)
    assert lease_clock() - exit_.at == pytest.approx(20, abs=1)


@pytest.mark.parametrize("why", [None, StopReason.TIMEOUT])
async def test_a_job_that_could_not_be_signalled_says_so(
    queue: Queue, why: StopReason | None
) -> None:
    (job,) = await queue.enqueue([{"command": "true", "timeout": 5}])
    running = ActiveAttempt(job, "w", Capture("none", 1), 1.0, no_kill, 0.0, stop_reason=why)
    event = ["X", "1.1", 6, None, 0.1, 5, 9.0, False, UNSIGNALLED]
    outcome, reason = outcome_of(running, Exit.of(event), b"")
    assert outcome is (Outcome.TIMEOUT if why else Outcome.FAILED)
    said = "timed out after 5.0s" if why else "exit 6"
    assert reason == f"{said} (it ran as another user, and could not be signalled)"
    ended_well = Exit.of(["X", "1.1", 0, None, 0.1, 5, 9.0, False, UNSIGNALLED])
    assert outcome_of(running, ended_well, b"") == (Outcome.COMPLETED, None)
