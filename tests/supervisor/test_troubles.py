"""What the chaos campaign found: deleted directories, a full disk, clocks, leftovers."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.domain.claims import ClaimResult
from queuectl_core.domain.errors import StoreDamaged, StoreUnreachable
from queuectl_core.domain.model import Job, Outcome, State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.runner import journal_reader as journals
from queuectl_core.runner.events import Exited, RunnerEvent, Started
from queuectl_core.runner.journal_reader import JournalReader
from queuectl_core.supervisor.attempt import ActiveAttempt, no_kill
from queuectl_core.supervisor.maintenance.output_limit import Capture
from queuectl_core.supervisor.processes import Processes
from queuectl_core.supervisor.shim_client import ShimClient
from queuectl_core.supervisor.supervisor import Supervisor
from queuectl_core.supervisor.triage import triage
from queuectl_core.supervisor.workers import Slot
from queuectl_core.system.host import hostname
from tests.support import eventually, eventually_async, supervisor

from ..runner.test_shim import Driver
from ..runner.test_shim import shim as shim  # noqa: PLC0414 - a fixture
from .test_triage import Supervisors, alive, finish, run_elsewhere, until_output
from .test_triage import supervisors as supervisors  # noqa: PLC0414 - a fixture

# -- the run directory is deleted -------------------------------------------------------


def test_a_deleted_journal_is_written_anew(shim: Driver, tmp_path: Path) -> None:
    shim.start("1.1", f"until test -e {tmp_path}/go; do sleep 0.02; done; exit 4")
    assert shim.hear()[:2] == ["S", "1.1"]
    shutil.rmtree(shim.run)
    assert not shim.journal.shim_alive()
    shim.leave()
    eventually(lambda: shim.journal.shim_alive() and "1.1" in shim.journal.started)
    (tmp_path / "go").touch()
    eventually(lambda: shim.journal.exits["1.1"].code == 4 if shim.journal.exits else False)


async def test_a_shim_heeds_who_revoked_it_in_a_journal_that_was_deleted(shim: Driver) -> None:
    shim.start("1.1", "true")
    assert [shim.hear()[0], shim.hear()[0]] == ["S", "X"]
    shutil.rmtree(shim.run)
    heir = JournalReader(shim.run, "s")
    await heir.revoke()
    assert heir.lost
    shim.start("2.1", "true")
    assert shim.hear() == ["R", "2.1"]


async def test_what_a_deleted_journal_said_is_unknown_not_never_started(
    queue: Queue, supervisors: Supervisors, tmp_path: Path
) -> None:
    command = f"echo $$; echo x >> {tmp_path}/ran; until test -e {tmp_path}/go; do sleep 0.05; done"
    job, victim, pid, shim = await run_elsewhere(queue, supervisors, command)
    supervisors.kill(victim)
    shim.kill()
    os.killpg(pid, signal.SIGKILL)
    shutil.rmtree(queue.directory)
    (tmp_path / "go").touch()
    await finish(queue)
    found = await queue.find(job.id)
    assert (found.state, found.crashes, found.attempts) == (State.COMPLETED, 1, 1)
    first, _ = await queue.attempts(found)
    assert first.outcome is Outcome.CRASHED


@pytest.mark.parametrize("deleted", [True, False], ids=["deleted", "kept"])
async def test_what_was_lost_stays_unknown_however_many_successors_die(
    queue: Queue, supervisors: Supervisors, tmp_path: Path, deleted: bool
) -> None:
    """Each of them revokes the journal, which makes a deleted one anew, and dies before it has
    settled what it took over."""
    command = f"echo $$; echo x >> {tmp_path}/ran; until test -e {tmp_path}/go; do sleep 0.05; done"
    job, victim, pid, shim = await run_elsewhere(queue, supervisors, command)
    supervisors.kill(victim)
    shim.kill()
    os.killpg(pid, signal.SIGKILL)
    if deleted:
        shutil.rmtree(queue.directory)
    named = (await queue.find(job.id)).shim
    assert named
    for _ in range(2):
        await JournalReader(queue.directory / "run", named).revoke()
    (tmp_path / "go").touch()
    await finish(queue)
    found = await queue.find(job.id)
    assert (found.state, found.crashes, found.attempts) == (State.COMPLETED, 1, 1)
    assert not list((queue.directory / "run").glob("*.journal"))


async def test_what_another_shim_of_that_name_did_is_unknown(tmp_path: Path) -> None:
    """It died, and its journal was deleted, before its supervisor started another."""
    journals.make_first(tmp_path / "s.journal")
    first = Driver(tmp_path)
    try:
        eventually(lambda: first.journal.shim_pid)
        assert not first.journal.lost
    finally:
        first.close()
    (tmp_path / "s.journal").unlink()
    second = Driver(tmp_path, made=False)
    try:
        eventually(lambda: second.journal.shim_pid)
        assert second.journal.lost
        shutil.rmtree(tmp_path)
        second.leave()
        eventually(lambda: second.process.poll() is not None)
    finally:
        second.close()


async def test_what_an_earlier_shim_started_is_not_adopted_from_a_later_one(
    queue: Queue, tmp_path: Path
) -> None:
    (job,) = await queue.enqueue(["true"])
    token = f"{job.seq}.0"
    journals.make_first(tmp_path / "s.journal")
    with (tmp_path / "s.journal").open("a") as file:
        file.write(f'["H", 1, 2]\n["B", "{token}"]\n["S", "{token}", 999999999, 1, 2, 3.0, "w"]\n')
    later = Driver(tmp_path)
    try:
        eventually(lambda: later.journal.shim_pid == later.process.pid)
        assert (await triage([job], tmp_path, Processes(), shim="s")).crashed == [job]
    finally:
        later.close()


async def test_files_of_a_supervisor_that_is_not_registered_yet_are_not_swept(
    queue: Queue, tmp_path: Path
) -> None:
    """It has its bell and its journal, and its shim has not begun."""
    notifier = queue.store.notifier("new")
    try:
        run = queue.directory / "run"
        journals.make_first(run / "new.journal")
        journals.make_first(run / "dead.journal")
        assert [path.name for path in journals.abandoned(run)] == ["dead.journal"]
    finally:
        notifier.close()


# -- a full disk ------------------------------------------------------------------------


async def test_a_full_disk_does_not_keep_an_heir_from_revoking(
    shim: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim.start("1.1", "read x </dev/tty || sleep 0.1; exit 4")
    assert shim.hear()[:2] == ["S", "1.1"]

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    heir = shim.journal
    with monkeypatch.context() as patched:
        patched.setattr(journals.os, "write", full)
        await heir.revoke()
    shim.start("2.1", "true")
    while (event := shim.hear())[0] == "X":
        pass
    assert event == ["R", "2.1"]
    eventually(lambda: "1.1" in shim.journal.exits)  # what follows the hole can be read
    assert shim.journal.exits["1.1"].code == 4


@pytest.mark.parametrize("up", [True, False], ids=["running", "starting"])
async def test_an_heir_that_cannot_look_tries_again(
    queue: Queue,
    supervisors: Supervisors,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    up: bool,
) -> None:
    """The other supervisor dies while it is running, or before it starts."""
    command = f"echo $$; until test -e {tmp_path}/go; do sleep 0.05; done"
    (job,) = await queue.enqueue([command])
    victim = await supervisors.start(1)
    await until_output(queue, job)
    revoke = JournalReader.revoke
    failures = iter([True, True])

    async def sometimes(self: JournalReader) -> None:
        if next(failures, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        (tmp_path / "go").touch()
        await revoke(self)

    monkeypatch.setattr(JournalReader, "revoke", sometimes)
    heard: list[Notice] = []

    async def is_up() -> bool:
        return any(event.kind is NoticeKind.UP for event in heard)

    if not up:
        supervisors.kill(victim)
    heir = asyncio.create_task(queue.run_workers(2, until_empty=True, on_notice=heard.append))
    if up:
        await eventually_async(is_up)
        supervisors.kill(victim)
    await heir
    assert not next(failures, False)
    assert [event.kind for event in heard].count(NoticeKind.TROUBLE) == 1
    found = await queue.find(job.id)
    assert (found.state, found.attempts, found.crashes) == (State.COMPLETED, 1, 0)


async def test_an_heir_that_loses_its_own_lease_meanwhile_starts_over(
    queue: Queue, supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody takes it over between taking jobs over and making room for them, and dies."""
    command = f"echo $$; until test -e {tmp_path}/go; do sleep 0.05; done"
    jobs = await queue.enqueue([command] * 2)
    store, victim = queue.store, await supervisors.start(2)
    await until_output(queue, *jobs)
    supervisors.kill(victim)
    add_workers = store.add_workers
    once = iter([True])

    async def too_late(identity: str, *args: Any, **options: Any) -> None:
        if next(once, False):
            row = supervisor("x", host=hostname(), host_key=store.host_identity(), pid=victim.pid)
            await store.register(row, [], queue.clock())
            (ours,) = [row for row in await store.supervisors() if row.id == identity]
            await store.take_over(ours, "x", queue.clock())
            (tmp_path / "go").touch()
        await add_workers(identity, *args, **options)

    monkeypatch.setattr(store, "add_workers", too_late)
    heard: list[Notice] = []
    await queue.run_workers(1, until_empty=True, on_notice=heard.append)
    assert not next(once, False)
    assert NoticeKind.TROUBLE in [event.kind for event in heard]
    found = [await queue.find(job.id) for job in jobs]
    assert [(job.state, job.attempts, job.crashes) for job in found] == [
        (State.COMPLETED, 1, 0)
    ] * 2


def test_output_that_cannot_be_cut_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "1.1.log"
    path.write_bytes(b"a" * 10_000 + b"the end")

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    size, tail = Capture(path, 4096).finish()
    assert size == 10_007
    assert tail.endswith(b"the end")
    assert list(tmp_path.iterdir()) == [path]


# -- shims ------------------------------------------------------------------------------


async def test_a_shim_that_is_killed_leaves_no_error_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    died = asyncio.Event()
    shim = ShimClient(lambda event: None, died.set, pytest.fail)
    with caplog.at_level(logging.ERROR, "asyncio"):
        await shim.start(tmp_path, "s", os.environ)
        assert shim._process
        shim._process.kill()
        await died.wait()
        for _ in range(10):
            await asyncio.sleep(0)
    assert not caplog.records


async def test_what_is_asked_of_a_shim_before_it_has_started_is_done(
    queue: Queue, tmp_path: Path
) -> None:
    (job,) = await queue.enqueue(["exit 5"])
    capture = Capture(tmp_path / "out", 4096)
    heard: list[RunnerEvent] = []
    shim = ShimClient(heard.append, lambda: None, pytest.fail)
    shim.launch(ActiveAttempt(job, "w1", capture, 1.0, no_kill, None), Slot("w1", ()), "/bin/sh")
    await asyncio.sleep(0)
    journals.make_first(tmp_path / "s.journal")
    await shim.start(tmp_path, "s", os.environ)

    async def ended() -> bool:
        return [type(event) for event in heard] == [Started, Exited]

    await eventually_async(ended)
    await shim.close()


# -- leftovers --------------------------------------------------------------------------


async def test_what_a_failed_job_left_while_nobody_watched_is_ended(
    queue: Queue, supervisors: Supervisors, tmp_path: Path
) -> None:
    (job,) = await queue.enqueue(
        [
            {
                "command": f"sleep 300 & echo $! > {tmp_path}/left; echo $$; sleep 0.5; exit 1",
                "max_retries": 1,
            }
        ]
    )
    victim = await supervisors.start(1)
    (text,) = await until_output(queue, job)
    supervisors.kill(victim)
    eventually(lambda: not alive(int(text)))
    left = int((tmp_path / "left").read_text())
    assert alive(left)
    await finish(queue)
    assert not alive(left)
    assert (await queue.find(job.id)).exit_code == 1


# -- clocks -----------------------------------------------------------------------------


async def until_empty(supervisor: Supervisor) -> None:
    await supervisor.run(1, ())


async def test_an_adopted_job_has_its_timeout_whatever_the_wall_clock_says(
    queue: Queue, supervisors: Supervisors, tmp_path: Path
) -> None:
    command = f"echo $$; until test -e {tmp_path}/go; do sleep 0.05; done"
    (job,) = await queue.enqueue([{"command": command, "timeout_seconds": 3600}])
    victim = await supervisors.start(1)
    await until_output(queue, job)
    supervisors.kill(victim)

    def on_notice(event: Notice) -> None:
        if event.kind is NoticeKind.ADOPTED:
            (tmp_path / "go").touch()

    heir = Supervisor(
        queue.store,
        queue.env,
        on_notice=on_notice,
        until_empty=True,
        clock=lambda: time.time() + 86400,
    )
    await until_empty(heir)
    found = await queue.find(job.id)
    assert (found.state, found.last_error) == (State.COMPLETED, None)


async def test_a_job_is_claimed_when_the_clock_is_set_to_its_time(queue: Queue) -> None:
    (job,) = await queue.enqueue([{"command": "true", "run_at": "+2h"}])
    assert await queue.store.changed()  # the first time, always: nobody is to look for that
    offset = 0.0
    supervisor = Supervisor(queue.store, queue.env, clock=lambda: time.time() + offset)
    task = asyncio.create_task(until_empty(supervisor))

    async def up() -> bool:
        return [worker.state for worker in await queue.workers()] == ["idle"]

    await eventually_async(up)
    offset = 7201.0

    async def completed() -> Job | None:
        found = await queue.find(job.id)
        return found if found.state is State.COMPLETED else None

    await eventually_async(completed)
    supervisor.stop(now=False)
    await task


async def test_a_clock_that_was_wrong_for_a_moment_delays_nothing(queue: Queue) -> None:
    """Wrong when the wait for the next job was reckoned, and right again at the next look."""
    (job,) = await queue.enqueue([{"command": "true", "run_at": "+1s"}])
    assert await queue.store.changed()  # the first time, always: nobody is to look for that
    offset = -86400.0
    supervisor = Supervisor(queue.store, queue.env, clock=lambda: time.time() + offset)
    task = asyncio.create_task(until_empty(supervisor))

    async def waits() -> bool:
        return supervisor.dispatcher.next_due is not None

    await eventually_async(waits)
    offset = 0.0

    async def completed() -> bool:
        return (await queue.find(job.id)).state is State.COMPLETED

    await eventually_async(completed)
    supervisor.stop(now=False)
    await task


# -- the store --------------------------------------------------------------------------


async def test_workers_leave_a_damaged_store(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting does not mend it; whatever runs goes on, for the next supervisor to find."""

    async def damaged(*args: object, **options: object) -> ClaimResult:
        raise StoreDamaged("store is damaged", "restore a backup")

    monkeypatch.setattr(queue.store, "settle_and_claim", damaged)
    with pytest.raises(StoreDamaged):
        await finish(queue)


async def test_workers_that_have_no_place_for_their_files_say_so(queue: Queue) -> None:
    queue.directory.write_text("in the way")
    with pytest.raises(StoreUnreachable):
        await finish(queue)
