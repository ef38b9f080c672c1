"""What others write to a shim's journal, and who may start jobs after it was written anew."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from queuectl_core.domain.model import Outcome, State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.runner import FORMAT, REVOKED
from queuectl_core.runner.journal import JournalWriter
from queuectl_core.runner.journal_reader import JournalReader, make_first
from tests.support import eventually

from .test_shim import Driver, shim
from .test_shim_attacks import events_of

__all__ = ["shim"]  # the fixture


def writer(run: Path) -> JournalWriter:
    """The journal of a shim whose supervisor has made it."""
    make_first(run / "s.journal")
    return JournalWriter(str(run), "s")


FOREIGN = {
    "line": b"hello\n",
    "half a line": b"hello",
    "empty lines": b"\n\n\n",
    "half a word": b'["R"',
    "long": b"\xff" * 3_000_000,
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_a_line_that_is_not_ours_is_passed_over(shim: Driver, foreign: bytes) -> None:
    """It meant "revoked", and the job stayed in `processing` for ever."""
    shim.start("1.1", "true")
    assert [shim.hear()[0], shim.hear()[0]] == ["S", "X"]
    with (shim.run / "s.journal").open("ab") as file:
        file.write(foreign)
    for token in ("2.1", "3.1"):
        shim.start(token, "exit 5")
        assert events_of(shim, token)[-1][:3] == ["X", token, 5]
    journal = shim.journal
    assert journal.exits.keys() == {"1.1", "2.1", "3.1"}


REVOKING = {
    "word": REVOKED,
    "hole": b"\0",
    "hole within": b"hello\0\n",
    "far": b"x" * ((1 << 20) - 3) + REVOKED,
}


@pytest.mark.parametrize("word", REVOKING.values(), ids=REVOKING)
def test_what_revokes_it_is_found_wherever_it_stands(shim: Driver, word: bytes) -> None:
    shim.start("1.1", "sleep 0.2")
    assert shim.hear()[0] == "S"
    with (shim.run / "s.journal").open("ab") as file:
        file.write(word)
    assert shim.hear()[0] == "X"  # written behind it, without the lock
    shim.start("2.1", "true")
    assert shim.hear() == ["R", "2.1"]


def test_a_journal_that_was_cut_is_written_again(shim: Driver) -> None:
    shim.start("1.1", "exec sleep 300")
    assert shim.hear()[0] == "S"
    shim.start("2.1", "exit 4")
    assert events_of(shim, "2.1")[-1][0] == "X"
    eventually(lambda: "2.1" in shim.journal.exits)
    os.truncate(shim.run / "s.journal", 0)
    shim.start("3.1", "exit 5")
    assert events_of(shim, "3.1")[-1][0] == "X"
    eventually(lambda: "3.1" in shim.journal.exits)
    journal = shim.journal
    assert journal.exits["2.1"].code == 4
    assert "1.1" in journal.started
    assert journal.shim_pid == shim.process.pid


def test_who_waits_for_the_lock_of_a_journal_that_was_replaced_revokes_the_new_one(
    tmp_path: Path,
) -> None:
    journal = writer(tmp_path)
    journal.record(["H", os.getpid(), 2])
    assert journal.lock()
    before = (tmp_path / "s.journal").stat().st_ino
    thread = threading.Thread(target=lambda: asyncio.run(JournalReader(tmp_path, "s").revoke()))
    thread.start()
    eventually(lambda: waits(tmp_path / "s.journal"))
    journal.compact_at = 0
    journal.unlock()
    thread.join()
    assert (tmp_path / "s.journal").stat().st_ino != before
    assert not journal.lock()
    journal.unlock()


async def test_nothing_is_started_while_a_successor_has_a_journal_that_was_made_anew(
    tmp_path: Path,
) -> None:
    """Ours was deleted, and its lock is free: that says nothing."""
    journal = writer(tmp_path)
    path = tmp_path / "s.journal"
    path.unlink()
    fd = os.open(path, os.O_RDWR | os.O_CREAT)  # a successor, just before it writes
    assert locked(fd)
    with pytest.raises(BlockingIOError):
        journal.lock()
    journal.unlock()
    os.write(fd, REVOKED)
    os.close(fd)
    assert not journal.lock()
    journal.unlock()


def test_a_journal_that_cannot_be_locked_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A successor may be about to write into it that we are revoked."""
    journal = writer(tmp_path)
    path = tmp_path / "s.journal"
    before = path.stat().st_ino

    def refuse(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", refuse)
        journal.compact_at = -1
        with pytest.raises(OSError, match="no locks"):
            journal.lock()
        journal.unlock()
    assert path.stat().st_ino == before


def test_a_run_directory_that_is_made_again_is_for_its_user_only(tmp_path: Path) -> None:
    import shutil

    journal = writer(tmp_path)
    journal.path = f"{tmp_path}/queue.db.d/run/s"
    shutil.rmtree(tmp_path, ignore_errors=True)
    tmp_path.mkdir()
    assert journal.renew()
    for folder in (tmp_path / "queue.db.d", tmp_path / "queue.db.d/run"):
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of another process")
@pytest.mark.parametrize("known", [True, False])
def test_a_shim_stays_for_its_journal_only_while_it_matters(shim: Driver, known: bool) -> None:
    """A disk is full. What the supervisor has settled, nobody will look for in the journal."""
    import resource

    shim.start("1.1", f"until test -e {shim.run}/go; do sleep 0.02; done; exit 5")
    assert shim.hear()[0] == "S"
    eventually(lambda: shim.journal.started)
    full = (shim.run / "s.journal").stat().st_size
    unlimited = resource.prlimit(shim.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(shim.process.pid, resource.RLIMIT_FSIZE, (full, unlimited[1]))
    (shim.run / "go").touch()
    assert shim.hear()[:3] == ["X", "1.1", 5]
    if known:
        shim.send(["settled", ["1.1"]])
    shim.leave()
    if not known:
        with pytest.raises(subprocess.TimeoutExpired):
            shim.process.wait(0.2)
        resource.prlimit(shim.process.pid, resource.RLIMIT_FSIZE, unlimited)
    assert shim.process.wait(30) == 0
    assert ("1.1" in shim.journal.exits) is not known


def waits(path: Path) -> bool:
    """Whether somebody else of us has the file open."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{fd}") == str(path)
        except OSError:
            continue
    return found > 1


def test_a_locked_journal_delays_starts_and_nothing_else(shim: Driver) -> None:
    """Whoever has the lock may be stopped."""
    import fcntl

    shim.start("1.1", "sleep 0.1; exit 3")
    assert shim.hear()[0] == "S"
    fd = os.open(shim.run / "s.journal", os.O_RDWR)
    eventually(lambda: locked(fd))
    shim.start("2.1", "exit 4")
    assert shim.hear()[:3] == ["X", "1.1", 3]
    fcntl.flock(fd, fcntl.LOCK_UN)
    assert events_of(shim, "2.1")[-1][2] == 4
    os.close(fd)


def locked(fd: int) -> bool:
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def test_a_supervisor_whose_journal_is_revoked_by_nobody_goes_on(
    queue: Queue, tmp_path: Path
) -> None:
    """A host that crashed leaves NULs in files. Nobody took its jobs over: it does so itself."""
    (job,) = await queue.enqueue([f"until test -e {tmp_path}/go; do sleep 0.02; done; exit 0"])
    later = None
    events: list[Notice] = []

    def on_notice(event: Notice) -> None:
        events.append(event)
        if event.kind is NoticeKind.ADOPTED:
            (tmp_path / "go").touch()

    workers = asyncio.create_task(queue.run_workers(2, (), on_notice=on_notice, until_empty=True))
    run = queue.directory / "run"
    while not any(b'["S"' in path.read_bytes() for path in run.glob("*.journal")):
        await asyncio.sleep(0.02)
    (path,) = run.glob("*.journal")
    with path.open("ab") as file:
        file.write(b"\0\0\0")
    (later,) = await queue.enqueue(["true"])
    await workers
    for one in (job, later):
        found = await queue.find(one.id)
        assert (found.state, found.attempts, found.crashes) == (State.COMPLETED, 1, 0)
    assert any("says that this supervisor is no more" in event.message for event in events)


def test_reading_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    path.write_bytes(b'["H", 1, 2]\n["B", "1.1"]\n["S", "1.1", 7, 1, 2, 3.0, "w"]\n["X", "1.1"')
    journal = JournalReader(tmp_path, "s")
    assert journal.refresh()
    assert not journal.refresh()
    assert not journal.exits
    with path.open("ab") as file:
        file.write(b", 0, null, 0.1, 5, 9.0, false]\n")
    assert journal.refresh()
    assert (journal.exits["1.1"].at, journal.exits["1.1"].began) == (9.0, 3.0)
    new = tmp_path / "new"  # of the same size
    new.write_bytes(path.read_bytes().replace(b'"1.1"', b'"2.1"'))
    new.rename(path)
    assert journal.refresh()
    assert journal.exits.keys() == {"1.1", "2.1"}


def test_what_was_not_started_for_lack_of_something_never_ran(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    path.write_bytes(
        b'["H", 1, 2]\n["B", "1.1", "2.1"]\n["S", "1.1", 7, 1, 2, 3.0, "w"]\n'
        b'["N", "1.1", "no memory", 4.0, "w"]\n["N", "2.1", "no memory", 4.0, "w"]\n'
    )
    journal = JournalReader(tmp_path, "s")
    journal.refresh()
    assert not journal.begun
    assert not journal.started
    assert journal.exits.keys() == {"1.1"}  # whoever adopted it must hear of it
    assert journal.exits["1.1"].outcome is Outcome.INTERRUPTED
    with path.open("ab") as file:
        file.write(b'["B", "1.1"]\n')
    journal.refresh()
    assert not journal.exits
    assert journal.begun == {"1.1"}


# -- jobs that run as another user ------------------------------------------------------

CAP_KILL = 5


def without_cap_kill() -> None:
    ctypes.CDLL(None).prctl(24, CAP_KILL, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root can")
def test_that_a_job_cannot_be_signalled_is_told_once_and_kept(tmp_path: Path) -> None:
    """It changed its user: a timeout could not end it, and nothing said so."""
    driver = Driver(tmp_path, preexec_fn=without_cap_kill)
    try:
        code = (
            f"import os, time; place = os.open('{tmp_path}', os.O_RDONLY); os.setuid(54321)\n"
            "while 'go' not in os.listdir(place): time.sleep(0.02)\nos._exit(6)"
        )
        os.chmod(tmp_path, 0o755)
        driver.send(
            [
                "start",
                "1.1",
                "w1",
                "",
                [sys.executable, "-c", code],
                None,
                "/",
                {},
                driver.output("1.1"),
                None,
            ]
        )
        pid = driver.hear()[2]
        eventually(lambda: os.stat(f"/proc/{pid}").st_uid == 54321)
        for _ in range(3):
            driver.send(["kill", "1.1", signal.SIGTERM])
        assert driver.hear() == ["T", "1.1", "cannot signal it: it runs as another user"]
        (tmp_path / "go").touch()
        assert driver.hear()[:3] == ["X", "1.1", 6]
        exit_ = driver.journal.exits["1.1"]
        assert exit_.unsignalled
        assert not exit_.signalled
    finally:
        driver.close()


@pytest.mark.parametrize("how", ["compacted", "cut", "deleted"])
def test_a_journal_that_is_written_anew_has_all_that_a_successor_must_know(
    tmp_path: Path, how: str
) -> None:
    """What may run, what runs, and what ended and is not settled; of each, what is said last."""
    make_first(tmp_path / "s.journal")
    writer = JournalWriter(str(tmp_path), "s")
    writer.record(["H", os.getpid(), FORMAT])
    assert writer.lock()
    assert writer.begin([f"{number}.1" for number in range(1, 7)])
    for token in ("2.1", "3.1", "4.1", "5.1"):
        writer.record(["S", token, 77, 1.0, 2.0, 3.0, "w1"])
    for token in ("3.1", "4.1"):
        writer.record(["X", token, 3, None, 0.1, 5, 9.0, False, 0])
    writer.record(["N", "5.1", "too many processes", 9.0, "w1"])
    writer.record(["F", "6.1", 127, "not found", 9.0, "w1"])
    writer.settled(["4.1"])
    if how == "compacted":
        writer.compact_at = 0
    writer.unlock()
    if how == "cut":
        os.truncate(tmp_path / "s.journal", 0)
        assert writer.lock()
        writer.unlock()
    elif how == "deleted":
        (tmp_path / "s.journal").unlink()
        assert writer.renew()
        writer.flush()
    writer.close()
    found = JournalReader(tmp_path, "s")
    found.refresh()
    assert (found.shim_pid, found.lost) == (os.getpid(), False)
    assert found.begun == {"1.1"}
    assert found.started.keys() == {"2.1", "3.1"}
    assert {token: exit_.code for token, exit_ in found.exits.items()} == {"3.1": 3, "6.1": 127}
    assert found.exits["3.1"].began == 3.0


@pytest.mark.parametrize("room", [0, 100])
def test_a_disk_that_is_full_while_it_is_compacted_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    make_first(tmp_path / "s.journal")
    writer = JournalWriter(str(tmp_path), "s")
    writer.record(["H", os.getpid(), FORMAT])
    tokens = [f"{number}.1" for number in range(1, 7)]
    assert writer.lock()
    assert writer.begin(tokens)
    for token in tokens:
        writer.record(["F", token, 127, "not found", 9.0, "w1"])
    writer.flush()
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".new"):
            if not room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[:room]
        return write(fd, data)

    writer.compact_at = 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        writer.unlock()
    found = JournalReader(tmp_path, "s")
    found.refresh()
    assert found.exits.keys() == set(tokens)
    assert writer.lock()
    assert writer.begin(["7.1"])
    writer.unlock()  # now there is room
    writer.close()
    found.refresh()
    assert (found.exits.keys(), found.begun) == (set(tokens), {*tokens, "7.1"})
    assert not found.path.with_suffix(".journal.new").exists()


def test_a_reader_follows_a_journal_that_was_written_anew(tmp_path: Path) -> None:
    """In the same file, and in another one; and a token that is used again is another attempt."""
    path = tmp_path / "s.journal"
    end = b'["X", "1.1", 3, null, 0.1, 5, 9.0, false, 0]\n'
    path.write_bytes(b'["H", 12, 2]\n["S", "1.1", 7, 1.0, 2.0, 3.0]\n' + end + b"\n" * 99)
    found = JournalReader(tmp_path, "s")
    assert found.refresh()
    assert not found.refresh()
    path.write_bytes(b'["H", 12, 2]\n["F", "2.1", null, "no", 9.0, ""]\n')
    assert found.refresh()
    assert found.exits.keys() == {"1.1", "2.1"}
    with path.open("ab") as file:
        file.write(b'["B", "1.1"]\n["S", "1')
    assert found.refresh()
    assert (found.exits.keys(), found.started, found.begun) == ({"2.1"}, {}, {"1.1"})
    with path.open("ab") as file:
        file.write(b'.1", 8, 1.0, 2.0, 3.0]\n')
    assert found.refresh()
    assert found.started["1.1"].pid == 8
    fresh = tmp_path / "s.journal.new"
    fresh.write_bytes(b'["H", 12, 2]\n' + end + b"\n" * 999)
    fresh.rename(path)
    assert found.refresh()
    assert found.exits["1.1"].code == 3
    with path.open("ab") as file:
        file.write(b'["H", 13, 2]\n["B", "4.1"]\n')
    assert found.refresh()
    assert (found.shim_pid, found.earlier) == (13, {"1.1"}), "what another shim had"
