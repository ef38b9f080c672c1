"""The shim as a process of its own: its protocol, its journal, and who may start jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from queuectl_core.queue import Queue
from queuectl_core.runner.journal import COMPACT_AT
from queuectl_core.runner.journal_reader import JournalReader, abandoned, make_first, sweep
from queuectl_core.supervisor.processes import Processes, was_started_between
from queuectl_core.supervisor.shim_client import command_line
from queuectl_core.supervisor.triage import triage
from tests.support import eventually

LIMIT = 1 << 20


class Driver:
    """A shim and the test in its supervisor's place. ``made``: a supervisor made its journal."""

    def __init__(
        self,
        run: Path,
        deadline: Sequence[str] = (),
        words: Sequence[str] = (),
        made: bool = True,
        **options: Any,
    ) -> None:
        self.run = run
        if made and not (run / "s.journal").exists():
            make_first(run / "s.journal")
        self.process = subprocess.Popen(
            words or command_line(run, "s", deadline),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=False,  # as the launcher does it
            **options,
        )

    def output(self, token: str) -> tuple[str, int]:
        """Where a job's output goes, and its limit. The file is for the shim to make: never name
        one that is there."""
        return str(self.run.parent / "logs" / f"{token}.log"), LIMIT

    def send(self, *requests: list[Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(b"".join(json.dumps(r).encode() + b"\n" for r in requests))
        self.process.stdin.flush()

    def start(self, token: str, command: str, cwd: str = "/") -> None:
        output = self.output(token)
        argv = ["/bin/sh", "-c", command]
        self.send(["start", token, "w1", "", argv, None, cwd, {"T": token}, output, None])

    def hold(self, token: str, command: str, lane: str = "") -> None:
        output = self.output(token)
        argv = ["/bin/sh", "-c", command]
        self.send(["hold", token, lane, argv, None, "/", {"T": token}, output, None])

    def hear(self) -> list[Any]:
        assert self.process.stdout
        event: list[Any] = json.loads(self.process.stdout.readline())
        return event

    def leave(self) -> None:
        """What the death of a supervisor looks like to the shim."""
        assert self.process.stdin
        self.process.stdin.close()

    def close(self) -> None:
        if self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()
        self.process.wait()

    @property
    def journal(self) -> JournalReader:
        found = JournalReader(self.run, "s")
        found.refresh()
        return found


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Driver]:
    run = tmp_path / "run"
    run.mkdir()
    driver = Driver(run)
    yield driver
    driver.close()


def test_a_job_is_started_and_its_exit_told_and_journalled(shim: Driver) -> None:
    shim.start("1.1", "echo $T; exit 5")
    kind, token, pid, after, before, _, worker = shim.hear()
    assert worker == "w1"
    assert (kind, token) == ("S", "1.1")
    assert after <= before
    event = shim.hear()
    assert event[:4] == ["X", "1.1", 5, None]
    assert (shim.run.parent / "logs" / "1.1.log").read_bytes() == b"1.1\n"
    eventually(lambda: "1.1" in shim.journal.exits)
    journal = shim.journal
    assert journal.exits["1.1"].code == 5
    assert journal.started["1.1"].pid == pid
    assert journal.shim_pid == shim.process.pid
    assert journal.shim_alive()


def test_a_start_does_nothing_to_files_for_reports(shim: Driver, tmp_path: Path) -> None:
    """Two system calls for each job; the supervisor has looked before it started us."""
    report = tmp_path / "1.1.result"
    report.touch()
    argv, variables = ["/bin/true"], {"T": "1.1", "QUEUECTL_RESULT": str(report)}
    shim.send(["start", "1.1", "w1", "", argv, None, "/", variables, shim.output("1.1"), None])
    assert [shim.hear()[0], shim.hear()[0]] == ["S", "X"]
    assert report.exists()


def test_a_job_finds_in_the_journal_that_it_was_about_to_be_started(shim: Driver) -> None:
    """So that one that ran, and died with its shim at once, is not taken for never started."""
    shim.start("1.1", f"cat {shim.run}/s.journal")
    assert [shim.hear()[0], shim.hear()[0]] == ["S", "X"]
    assert b'["B", "1.1"]' in (shim.run.parent / "logs" / "1.1.log").read_bytes()
    assert shim.journal.begun == {"1.1"}


async def test_what_was_about_to_be_started_may_have_run(queue: Queue, tmp_path: Path) -> None:
    (job,) = await queue.enqueue(["true"])
    (tmp_path / "s.journal").write_bytes(f'["H", 1]\n["B", "{job.seq}.0"]\n'.encode())
    assert (await triage([job], tmp_path, Processes(), shim="s")).crashed == [job]
    (tmp_path / "s.journal").write_bytes(b'["H", 1]\n')
    assert (await triage([job], tmp_path, Processes(), shim="s")).unstarted == [job]


def test_the_journal_names_the_very_process(shim: Driver) -> None:
    shim.start("1.1", "exec sleep 300")
    shim.hear()
    eventually(lambda: "1.1" in shim.journal.started)
    started = shim.journal.started["1.1"]
    assert was_started_between(started.pid, started.after, started.before)
    shim.send(["kill", "1.1", signal.SIGKILL])
    assert shim.hear()[:4] == ["X", "1.1", None, signal.SIGKILL]
    assert not was_started_between(started.pid, started.after, started.before)


def test_jobs_outlive_the_supervisor_and_their_exits_are_kept(shim: Driver) -> None:
    shim.start("1.1", "sleep 0.3; echo done; exit 4")
    assert shim.hear()[0] == "S"
    shim.leave()
    assert shim.process.wait(30) == 0  # it leaves after its last job
    journal = shim.journal
    assert journal.exits["1.1"].code == 4
    assert not journal.shim_alive()
    assert (shim.run.parent / "logs" / "1.1.log").read_bytes() == b"done\n"


def test_a_shim_does_not_stop_for_signals_meant_for_others(shim: Driver) -> None:
    shim.start("1.1", "sleep 0.3")
    shim.hear()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        shim.process.send_signal(number)
    assert shim.hear()[:3] == ["X", "1.1", 0]


def test_a_shim_keeps_no_directory_in_use(shim: Driver) -> None:
    """A disk on which it was started, or on which its job ran, can be taken away."""
    process = psutil.Process(shim.process.pid)
    eventually(lambda: process.cwd() == "/")
    shim.start("1.1", "true", cwd=str(shim.run))
    assert [shim.hear()[0], shim.hear()[0]] == ["S", "X"]
    assert process.cwd() == "/"


async def test_a_revoked_shim_starts_nothing(shim: Driver, tmp_path: Path) -> None:
    shim.start("1.1", "true")
    shim.hear()
    shim.hear()
    await JournalReader(shim.run, "s").revoke()
    shim.start("2.1", f"touch {tmp_path}/started")
    assert shim.hear() == ["R", "2.1"]
    assert not (tmp_path / "started").exists()
    assert "2.1" not in shim.journal.started


async def test_a_shim_revoked_before_it_began_starts_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    await JournalReader(run, "s").revoke()
    driver = Driver(run)
    try:
        driver.start("1.1", "true")
        assert driver.hear() == ["R", "1.1"]
    finally:
        driver.close()


async def test_a_shim_whose_journal_was_swept_starts_nothing(tmp_path: Path) -> None:
    """It began late, on a busy host. Its supervisor had been killed meanwhile, and a successor had
    settled its jobs as never started and removed its files. They ran beside their next attempts."""
    run = tmp_path / "run"
    make_first(run / "s.journal")
    await JournalReader(run, "s").revoke()
    sweep(abandoned(run), set())
    assert not (run / "s.journal").exists()
    driver = Driver(run, made=False)
    try:
        driver.start("1.1", f"touch {tmp_path}/started")
        assert driver.hear() == ["R", "1.1"]
        assert not (tmp_path / "started").exists()
    finally:
        driver.close()


async def test_revoking_waits_for_no_stopped_shim(shim: Driver) -> None:
    """A shim stopped in the middle of a start holds the lock: it is killed, not waited for."""
    shim.start("1.1", "exec sleep 300")
    pid = shim.hear()[2]
    eventually(lambda: shim.journal.shim_pid)
    holder = os.open(shim.run / "s.journal", os.O_RDWR)  # stands in for the shim's own lock
    import fcntl

    fcntl.flock(holder, fcntl.LOCK_EX)
    shim.process.send_signal(signal.SIGSTOP)
    journal = JournalReader(shim.run, "s")

    def release_when_killed(*_: object) -> None:
        shim.process.wait()
        os.close(holder)

    import threading

    watcher = threading.Thread(target=release_when_killed)
    watcher.start()
    await journal.revoke()
    watcher.join()
    assert shim.process.returncode == -signal.SIGKILL
    os.kill(pid, signal.SIGKILL)


def test_what_cannot_be_started_is_told_with_its_reason(shim: Driver) -> None:
    shim.start("1.1", "true", cwd="/no/such")
    assert shim.hear()[:4] == [
        "F",
        "1.1",
        None,
        "cannot use cwd /no/such: No such file or directory",
    ]
    out = str(shim.run.parent / "logs" / "x.log")
    shim.send(["start", "2.1", "w1", "", ["/no/such/tool"], None, "/", {}, [out, LIMIT], None])
    assert shim.hear()[:4] == ["F", "2.1", 127, "command not found: /no/such/tool"]


def test_an_output_path_that_is_a_link_is_not_followed(shim: Driver, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "1.1.log").symlink_to(tmp_path / "precious")
    shim.start("1.1", "echo written")
    assert [shim.hear()[0], shim.hear()[2]] == ["S", 0]
    assert not (tmp_path / "precious").exists()
    assert not (tmp_path / "logs" / "1.1.log").is_symlink()


# -- what it holds ----------------------------------------------------------------------


def test_a_held_job_follows_the_one_that_ended_on_its_worker(shim: Driver) -> None:
    shim.hold("2.1", "echo $QUEUECTL_WORKER")
    shim.start("1.1", "exit 3")
    heard = [shim.hear() for _ in range(4)]
    assert [event[:2] for event in heard] == [
        ["S", "1.1"],
        ["X", "1.1"],
        ["S", "2.1"],
        ["X", "2.1"],
    ]
    assert heard[2][-1] == "w1"
    assert (shim.run.parent / "logs" / "2.1.log").read_bytes() == b"w1\n"
    assert list(shim.journal.started) == ["1.1", "2.1"]


def test_a_held_job_starts_at_once_where_a_worker_is_idle(shim: Driver) -> None:
    shim.send(["use", "w7", "mail"])
    shim.hold("1.1", "true", lane="video")
    shim.hold("2.1", "true", lane="mail")
    assert [shim.hear()[:2], shim.hear()[:2]] == [["S", "2.1"], ["X", "2.1"]]
    shim.send(["use", "w8", "video"])
    event = shim.hear()
    assert (event[:2], event[-1]) == (["S", "1.1"], "w8")


def test_one_that_cannot_be_started_leaves_its_worker_to_the_next(shim: Driver) -> None:
    bad = [
        ["/no/such/tool"],
        None,
        "/",
        {},
        [str(shim.run.parent / "logs" / "1.1.log"), LIMIT],
        None,
    ]
    shim.send(["hold", "1.1", "", *bad])
    shim.hold("2.1", "true")
    shim.send(["use", "w1", ""])
    heard = [shim.hear(), shim.hear(), shim.hear()]
    assert [event[:2] for event in heard] == [["F", "1.1"], ["S", "2.1"], ["X", "2.1"]]
    assert heard[0][-1] == heard[1][-1] == "w1"


def test_a_worker_told_to_stop_with_its_last_job_starts_no_other(
    shim: Driver, tmp_path: Path
) -> None:
    """The job and the withdrawal come in one reading; then there is a job to hold."""

    def how(token: str, command: str) -> list[Any]:
        return [
            ["/bin/sh", "-c", command],
            None,
            "/",
            {},
            [str(tmp_path / f"{token}.log"), LIMIT],
            None,
        ]

    shim.send(
        ["start", "1.1", "w1", "", *how("1.1", "true")],
        ["recall", ["w1"]],
        ["hold", "2.1", "", *how("2.1", "true")],
    )
    heard = [shim.hear() for _ in range(3)]
    assert sorted(event[0] for event in heard) == ["S", "W", "X"]
    shim.send(["recall", []])
    assert shim.hear() == ["W", ["2.1"]]  # it waited for another worker


def test_an_idle_worker_that_is_told_to_stop_starts_no_job(shim: Driver) -> None:
    shim.send(["use", "w1", ""], ["use", "w2", "other"], ["recall", ["w1", "w2"]])
    assert shim.hear() == ["W", []]
    shim.hold("1.1", "true")
    shim.hold("2.1", "true", lane="other")
    shim.send(["recall", []])
    assert shim.hear() == ["W", ["1.1", "2.1"]]
    assert not shim.journal.begun


def test_what_is_withdrawn_is_not_started_and_forgotten_workers_are_not_used(
    shim: Driver, tmp_path: Path
) -> None:
    shim.start("1.1", f"until test -e {tmp_path}/go; do sleep 0.02; done")
    assert shim.hear()[0] == "S"
    shim.hold("2.1", "true")
    shim.hold("3.1", "true", lane="other")
    shim.send(["recall", ["w1"]])
    assert shim.hear() == ["W", ["2.1", "3.1"]]
    shim.hold("4.1", "true")
    (tmp_path / "go").touch()
    assert shim.hear()[:2] == ["X", "1.1"]
    shim.send(["recall", []])
    assert shim.hear() == ["W", ["4.1"]]  # w1 was idle, and not used
    assert list(shim.journal.started) == ["1.1"]


async def test_what_a_revoked_shim_holds_is_refused(shim: Driver, tmp_path: Path) -> None:
    shim.start("1.1", f"until test -e {tmp_path}/go; do sleep 0.02; done")
    assert shim.hear()[0] == "S"
    shim.hold("2.1", "true")
    shim.send(["kill", "none", 0])
    await JournalReader(shim.run, "s").revoke()
    (tmp_path / "go").touch()
    assert [shim.hear()[:2], shim.hear()] == [["X", "1.1"], ["R", "2.1"]]


def test_what_an_orphaned_shim_holds_is_never_started(shim: Driver, tmp_path: Path) -> None:
    shim.start("1.1", f"until test -e {tmp_path}/go; do sleep 0.02; done")
    assert shim.hear()[0] == "S"
    shim.hold("2.1", f"touch {tmp_path}/started")
    shim.leave()
    eventually(lambda: b'["E"]' in (shim.run / "s.journal").read_bytes())
    (tmp_path / "go").touch()
    assert shim.process.wait(30) == 0
    assert list(shim.journal.started) == ["1.1"]
    assert not (tmp_path / "started").exists()


def test_many_that_end_are_told_at_once_while_there_is_more_to_do(shim: Driver) -> None:
    """The supervisor is woken by lots, and always hears of everything in the end."""
    for number in range(40):
        shim.hold(f"{number}.1", "true")
    shim.send(["use", "w1", ""])
    assert shim.process.stdout
    lots, text = 0, b""
    while text.count(b'"X"') < 40:
        text += os.read(shim.process.stdout.fileno(), 1 << 16)
        lots += 1
    assert lots < 40
    started = [json.loads(line)[1] for line in text.splitlines() if line.startswith(b'["S"')]
    assert started == [f"{number}.1" for number in range(40)]


def test_leftovers_of_a_group_are_told(shim: Driver) -> None:
    shim.start("1.1", "sleep 300 & exit 1")
    shim.hear()
    assert shim.hear()[7] is True
    shim.start("2.1", "exit 1")
    shim.hear()
    assert shim.hear()[7] is False


def test_leftovers_are_not_listened_to_while_the_supervisor_may_write(
    shim: Driver, tmp_path: Path
) -> None:
    """It may write the output file anew for a second after the end of a job."""
    shim.start("1.1", f"(sleep 0.1; echo late) & touch {tmp_path}/ended")
    log = shim.run.parent / "logs" / "1.1.log"
    eventually(lambda: log.exists() and b"late" in log.read_bytes())
    assert log.stat().st_mtime >= (tmp_path / "ended").stat().st_mtime + 1


def test_a_job_that_was_sent_a_signal_is_told_from_one_that_was_not(shim: Driver) -> None:
    for number in (1, 2):
        shim.start(f"{number}.1", "exec sleep 300")
        _, _, pid, *_ = shim.hear()
        if number == 1:
            shim.send(["kill", "1.1", signal.SIGTERM])
        else:
            os.kill(pid, signal.SIGTERM)  # by somebody else
        shim.hear()
    assert [shim.journal.exits[f"{number}.1"].signalled for number in (1, 2)] == [True, False]


def fail_to_start(shim: Driver, token: str, cwd: str) -> None:
    how = [["true"], None, cwd, {}, shim.output(token), None]
    shim.send(["start", token, "w1", "", *how])
    assert shim.hear()[:2] == ["F", token]


def test_the_journal_does_not_grow_for_ever(shim: Driver) -> None:
    """While its supervisor settles what ends. It is never cut: a new one takes its place."""
    shim.start("running", "exec sleep 300")
    assert shim.hear()[0] == "S"
    path = shim.run / "s.journal"
    bad = f"/no/{'x' * 400}"  # a start that fails at once, and takes half a kilobyte to say so
    shim.send(["settled", []])
    inodes: set[int] = set()
    old = path.open("rb")
    count = 0
    while len(inodes) < 3:
        for _ in range(200):
            fail_to_start(shim, f"{count}.1", bad)
            shim.send(["settled", [f"{count}.1"]])
            count += 1
        inodes.add(path.stat().st_ino)
        assert path.stat().st_size < 2 * COMPACT_AT
    fail_to_start(shim, "last.1", bad)
    journal = shim.journal
    assert "running" in journal.started
    assert "last.1" in journal.exits
    assert journal.shim_pid == shim.process.pid
    with old:  # as a reader had it open
        assert len(old.read()) > COMPACT_AT


def test_no_end_is_dropped_from_the_journal_before_it_is_settled(shim: Driver) -> None:
    """However many there are: its supervisor reads slowly, and is killed then."""
    bad = f"/no/{'x' * 400}"
    tokens = [f"{number}.1" for number in range(6000)]
    for begin in range(0, len(tokens), 200):
        how = [["true"], None, bad, {}, shim.output("x"), None]
        some = tokens[begin : begin + 200]
        shim.send(*(["start", token, "w1", "", *how] for token in some))
        for token in some:
            assert shim.hear()[:2] == ["F", token]
    shim.start("real", "exit 4")
    assert [shim.hear()[0], shim.hear()[0]] == ["S", "X"]
    for number in range(100):  # the last of them make it compact once more
        fail_to_start(shim, f"more{number}.1", bad)
    journal = shim.journal
    assert journal.exits.keys() >= {*tokens, "real"}
    assert journal.exits["real"].code == 4
    assert journal.exits["real"].began is not None


def test_sweeping_spares_what_is_in_use_or_alive(shim: Driver, tmp_path: Path) -> None:
    eventually(lambda: shim.journal.shim_pid)
    for name in ("used", "dead"):
        (shim.run / f"{name}.journal").touch()
    (shim.run / "dead.bell").touch()
    sweep(abandoned(shim.run), {"used"})
    assert sorted(path.name for path in shim.run.glob("*.journal")) == ["s.journal", "used.journal"]
    assert not (shim.run / "dead.bell").exists()


def test_a_torn_journal_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "s.journal").write_bytes(
        b'["H", 12]\n["X", "1.1", 0, null, 0.1, 5, 9.0, false]\n\x00\x00\n{}\n["X"]\n["S", "2.1", 7'
    )
    journal = JournalReader(tmp_path, "s")
    assert journal.refresh()
    assert journal.shim_pid == 12
    assert list(journal.exits) == ["1.1"]
    assert not journal.started
    assert not journal.refresh()
