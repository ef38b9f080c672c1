"""The console shows the truth, or says how old it is."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl_core.domain.claims import AttemptResult, ClaimRequest, ClaimSlot
from queuectl_core.domain.lifecycle import settle
from queuectl_core.domain.model import Attempt, Job, Outcome, SupervisorRow
from queuectl_core.queue import Queue
from queuectl_core.system.clocks import monotonic
from queuectl_core.system.host import host_key, process_start
from queuectl_tui.console import app as console_module
from queuectl_tui.console.widgets import table
from queuectl_tui.presentation.monitor import Monitor

from ..store.stores import PostgresPlace
from ..support import spec
from .scenes import NOW, POLICY, SUPERVISOR, opened, settled, text_of, typed, until

SIZE = (120, 40)


@pytest.fixture
def supervisor() -> Iterator[tuple[SupervisorRow, subprocess.Popen[bytes]]]:
    """A process on this host, and its row as a supervisor."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = process_start(process.pid)
    assert started is not None
    row = SUPERVISOR._replace(
        id="here",
        host_key=host_key(),
        pid=process.pid,
        pid_start=started,
        heartbeat_at=NOW,
        lease_mono=monotonic() + 1e6,
    )
    with process:
        yield row, process
        process.kill()


async def end(queue: Queue, owner: str, job: Job, worker: str, at: float) -> None:
    """Let an attempt of ``job`` complete."""
    after = settle(Outcome.COMPLETED, None, attempts=0, crashes=0, max_retries=3, backoff_base=2,
                   policy=POLICY, now=at)  # fmt: skip
    attempt = Attempt(
        number=job.runs, started_at=at, finished_at=at, outcome=Outcome.COMPLETED, exit_code=0,
        signal=None, reason=None, worker=worker, host="alpha", peak_memory=1, cpu_seconds=0.0,
        output_bytes=0, waited=0.0,
    )  # fmt: skip
    await queue.store.settle_and_claim(
        ClaimRequest(owner, [AttemptResult(job.seq, job.runs, attempt, after)], [], at)
    )


async def test_a_supervisor_that_is_killed_is_lost_without_a_key(
    home: Path, supervisor: tuple[SupervisorRow, subprocess.Popen[bytes]]
) -> None:
    row, process = supervisor
    async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW) as queue:
        await queue.store.register(row, [("here-1", ()), ("here-2", ())], NOW)
        await queue.store.settle_and_claim(
            ClaimRequest(row.id, [], [ClaimSlot("here-1")], NOW - 30)
        )
        await queue.store.sample([("here-1", 1, 55.0, 777 << 20)])
    async with opened(home, SIZE) as (console, pilot):
        text = await until(console, pilot, "here-2 ")
        assert "here-1   busy" in text
        assert "777M" in text
        process.kill()
        process.wait()
        text = await until(console, pilot, "here-1   lost")
        assert "here-2   lost" in text
        assert "2 lost" in text
        assert "777M" not in text, "nobody measures it any more"
        assert len(console.overview.live_workers) == 3


async def test_lost_workers_do_not_keep_quiet_that_no_worker_runs(
    tmp_path: Path, supervisor: tuple[SupervisorRow, subprocess.Popen[bytes]]
) -> None:
    row, process = supervisor
    async with Queue.open(str(tmp_path / "queue.db"), env={}, clock=lambda: NOW) as queue:
        await queue.store.register(row, [("here-1", ())], NOW)
        # It becomes due later. No claim has marked it as ready.
        await queue.enqueue([{"command": "true", "run_at": NOW + 10}])
    async with Queue.open(str(tmp_path / "queue.db"), env={}, clock=lambda: NOW + 100) as queue:
        assert (await queue.status()).oldest_due_at == NOW + 10
    async with opened(tmp_path, SIZE) as (console, pilot):
        await settled(console, pilot)
        assert "no worker runs" not in text_of(console)
        console.connections._now = console.connections.reader.clock = lambda: NOW + 100
        process.kill()
        process.wait()
        await until(console, pilot, "jobs have waited 1m30s and no worker runs")


async def test_what_the_previous_job_used_is_not_shown_for_the_next(home: Path) -> None:
    async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW) as queue:
        report = await queue.find("report-q3")
        before = {worker.id: worker for worker in await queue.workers()}
        assert before["w3kd-1"].memory == 412 << 20
        await end(queue, SUPERVISOR.id, report, "w3kd-1", NOW)
        await queue.store.settle_and_claim(
            ClaimRequest(SUPERVISOR.id, [], [ClaimSlot("w3kd-1")], NOW - 60)
        )
        after = {worker.id: worker for worker in await queue.workers()}
        assert after["w3kd-1"].job not in (None, "report-q3")
        assert after["w3kd-1"].memory is None
        assert after["w3kd-1"].cpu_percent is None
    async with opened(home, SIZE) as (console, pilot):
        text = await until(console, pilot, "w3kd-1   busy")
        assert "412M" not in text


async def test_workers_on_a_server_are_read_without_a_key(tmp_path: Path) -> None:
    place = PostgresPlace(tmp_path)
    store = await place.open()
    try:
        async with opened(tmp_path, SIZE, url=place.url) as (console, pilot):
            await settled(console, pilot)
            row = SUPERVISOR._replace(id="late", lease_until=store.clock() + 1e6)
            await store.register(row, [("late-1", ())], store.clock())
            await until(console, pilot, "late-1")
            await store.enqueue([spec("sleep 60", run_at=NOW - 40)], NOW - 40)
            await store.settle_and_claim(ClaimRequest(row.id, [], [ClaimSlot("late-1")], NOW - 30))
            await until(console, pilot, " busy ")
            await pilot.pause(2.5)  # the change by the claim was read twice
            await store.sample([("late-1", 1, 55.0, 777 << 20)])
            await until(console, pilot, "777M")
    finally:
        await store.close()
        await place.clear()


async def test_an_output_that_ended_is_not_followed(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("slash", *typed("report"), "enter", "l")
        await until(console, pilot, "running  following")
        async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW) as queue:
            job = await queue.find("report-q3")
            await end(queue, SUPERVISOR.id, job, "w3kd-1", NOW)
        await until(console, pilot, " completed ")
        await settled(console, pilot)
        title = text_of(console).splitlines()[1]
        assert "running" not in title
        assert "following" not in title


async def test_a_reading_that_hangs_is_not_live(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_module, "PATIENCE", 0.3)
    async with opened(home, SIZE) as (console, pilot):
        assert "● live 1s" in await settled(console, pilot)
        held = asyncio.Event()

        async def hangs(self: Monitor) -> bool:
            await held.wait()
            return False

        monkeypatch.setattr(Monitor, "changed", hangs)
        text = await until(console, pilot, "▲ lost")
        assert "● live" not in text
        shown = console.clock()
        console.connections._now = lambda: NOW + 500
        assert console.clock() == shown, "ages stand still while nothing is read"
        held.set()
        console.connections._now = lambda: NOW
        await until(console, pilot, "● live 1s")


async def test_a_fault_in_reading_is_said_and_tried_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        changed = Monitor.changed

        async def broken(self: Monitor) -> bool:
            raise ValueError("a fault of ours")

        monkeypatch.setattr(Monitor, "changed", broken)
        await until(console, pilot, "▲ lost")
        await until(console, pilot, "a fault of ours")  # maybe one frame later
        monkeypatch.setattr(Monitor, "changed", changed)
        await until(console, pilot, "● live 1s")


async def test_a_paused_screen_stands_still_and_says_since_when(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("p")
        await until(console, pilot, "‖ paused")
        console.connections._now = lambda: NOW + 600
        await pilot.press("j", "2", "4")
        text = await settled(console, pilot)
        assert "1m15s" in text, "as it was when it was read"
        await pilot.press("p")
        await until(console, pilot, "11m")


async def test_a_job_that_was_deleted_is_not_shown_as_if_it_were_there(home: Path) -> None:
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        await pilot.press("slash", *typed("sync-1"), "enter", "enter")
        await until(console, pilot, "output of attempt 1")
        async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW) as queue:
            await queue.remove([await queue.find("sync-1")])
        await until(console, pilot, " sync-1  deleted ")


async def test_rows_that_wait_to_be_read_again_say_how_old_they_are(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "OLD", 0.05)
    async with opened(home, SIZE) as (console, pilot):
        await settled(console, pilot)
        jobs = console.main.jobs
        jobs._read_again_at = asyncio.get_running_loop().time() + 1e6  # as after a slow reading
        async with Queue.open(str(home / "queue.db"), env={}, clock=lambda: NOW) as queue:
            await queue.enqueue(["true"])
        await until(console, pilot, "s old")
