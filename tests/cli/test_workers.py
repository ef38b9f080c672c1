"""``worker``, ``doctor``, ``demo``, ``completion`` and ``tui``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from chaos.disk import Disk, Unavailable
from queuectl_core.operations import doctor
from queuectl_core.queue import Queue
from queuectl_core.system import file_systems
from queuectl_core.system.host import process_start

from ..support import Cli, eventually, supervisor
from .conftest import Here, Terminal
from .test_globals import one_line


def test_start_until_empty_tells_what_happens(cli: Cli) -> None:
    cli("enqueue", "echo [/x]", "--id", "good")
    cli(
        "enqueue",
        "echo why >&2; exit 4",
        "--id",
        "bad",
        "--max-retries",
        "2",
        "--backoff-base",
        "0",
    )
    shown = cli("worker", "start", "-c", "2", "--until-empty")
    assert not shown.out
    said = "\n".join(line.partition(" ")[2] for line in shown.err.splitlines())
    assert "good started on " in said
    assert ": echo [/x]" in said
    assert "good completed in " in said
    assert "exit 4: why (try 1 of 2); again in" in said
    assert "exit 4: why; now in the DLQ" in said
    assert "1 done, 2 failed" in said
    assert cli("worker", "start", "--until-empty", "-q").err == ""
    assert cli.json("worker", "start", "--until-empty")["done"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-c", "0"), "cannot start 0 workers"),
        (("-c", "100000"), "cannot start 100000 workers"),
        (("-c", "two"), "--count: 'two' is not a valid integer"),
        (("--queue", "a b"), "queue 'a b' is not allowed; use 1 to 128 of"),
        (("-d", "--until-empty"), "--until-empty is for workers in the foreground"),
    ],
)
def test_bad_starts(here: Here, words: tuple[str, ...], message: str) -> None:
    assert message in one_line(here("worker", "start", *words, code=2).err)


def test_ctrl_c_finishes_the_running_job(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "touch up; until [ -e go ]; do sleep 0.02; done; touch done", "--id", "x")
    worker = cli.start("worker:start")
    eventually((tmp_path / "up").exists)
    worker.send_signal(signal.SIGINT)
    assert worker.stderr is not None
    said = ""
    while "running job" not in said:
        said = worker.stderr.readline()
    (tmp_path / "go").touch()
    _, err = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert (tmp_path / "done").exists()
    assert "1 done, 0 failed" in err


def test_detached_workers_from_start_to_stop(cli: Cli, tmp_path: Path) -> None:
    started = cli("worker", "start", "-d", "-c", "2")
    ids = started.out.split()
    assert len(ids) == 2
    assert "2 workers up" in one_line(started.err)
    listed = cli.json("worker", "list")
    assert sorted(worker["id"] for worker in listed) == sorted(ids)
    assert {worker["detached"] for worker in listed} == {True}
    header, *rows = cli("worker", "list").out.splitlines()
    assert len(rows) == 2
    assert len(rows[0].split("\t")) == len(header.split("\t"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert cli("worker", "stop", ids[0], cwd=elsewhere).out.split() == [ids[0]]
    assert [worker["id"] for worker in cli.json("worker", "list")] == [ids[1]]
    assert [worker["id"] for worker in cli.json("worker", "stop")] == [ids[1]]
    assert "nothing to stop" in one_line(cli("worker", "stop").err)
    assert "no such worker: 'nope'" in one_line(cli("worker", "stop", "nope", code=3).err)


def test_stop_waits_says_for_what_and_gives_up_in_time(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "touch up; sleep 600", "--id", "long")
    cli("worker", "start", "--detach")
    eventually((tmp_path / "up").exists)
    eventually(lambda: cli.json("worker", "list")[0]["job"] == "long")
    shown = cli("worker", "stop", "--timeout", "100ms", code=124)
    assert "1 of 1 workers still run after 100ms: long for " in one_line(shown.err)
    assert cli.json("worker", "list")[0]["state"] == "stopping"
    cli("worker", "stop", "--now")
    assert cli.json("worker", "list") == []
    job = cli.json("show", "long")
    assert (job["state"], job["attempts"]) == ("pending", 0)


@pytest.mark.parametrize("now", [(), ("--now",)])
def test_workers_that_do_not_answer_are_not_said_to_have_stopped(
    cli: Cli, now: tuple[str, ...]
) -> None:
    """The lease of a stopped supervisor (SIGSTOP) runs out, but its process still exists."""
    worker = cli.start("worker", "start", env={"QUEUECTL_LEASE": "2"})
    eventually(lambda: cli.json("worker", "list"))
    worker.send_signal(signal.SIGSTOP)
    eventually(lambda: cli.json("worker", "list")[0]["state"] == "lost")
    stopped = cli("worker", "stop", *now, "--timeout", "1", "--json", code=124)
    assert stopped.json == []
    assert "1 of 1 workers still run" in stopped.err
    assert ("--now ends it" in stopped.err) == (not now)
    worker.kill()
    worker.wait()
    # There is nobody left to stop.
    assert "nothing to stop" in cli("worker", "stop", *now).err


def test_a_worker_that_is_killed_while_it_stops_is_said_to_be_lost(
    cli: Cli, tmp_path: Path
) -> None:
    cli("enqueue", "touch up; sleep 300")
    worker = cli.start("worker", "start")
    eventually((tmp_path / "up").exists)
    stop = cli.start("worker", "stop")
    eventually(lambda: cli.json("worker", "list")[0]["state"] == "stopping")
    worker.kill()
    out, err = stop.communicate(timeout=60)
    assert (stop.returncode, out) == (1, "")
    assert "1 of 1 workers were lost before they stopped" in err


def test_a_job_that_calls_queuectl_means_the_store_it_came_from(cli: Cli, tmp_path: Path) -> None:
    """``--store`` and the directory of the job do not matter. A value in ``--env``
    wins."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    queuectl = f"{sys.executable} -m queuectl_tui"
    named = {"QUEUECTL_STORE": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    inside = f"{queuectl} enqueue --id child true"
    cli("--store", "named.db", "enqueue", inside, "--cwd", elsewhere, env=named)
    own = ("--env", f"QUEUECTL_STORE={tmp_path}/own.db")
    cli("--store", "named.db", "enqueue", inside, "--cwd", elsewhere, *own, env=named)
    cli("--store", "named.db", "worker", "start", "--until-empty", env=named)
    assert cli.json("--store", "named.db", "show", "child", env=named)["state"] == "completed"
    assert cli.json("--store", "own.db", "show", "child", env=named)["state"] == "pending"
    assert list(elsewhere.iterdir()) == []


@pytest.mark.skipif(
    shutil.which("unshare") is None or os.geteuid() != 0, reason="only root may make namespaces"
)
def test_as_pid_1_it_reaps_what_jobs_leave(cli: Cli, tmp_path: Path) -> None:
    """A daemon of a job ends long after the job. Nobody else would wait for it."""
    daemon = f"sleep 0.2; touch {tmp_path}/gone"
    cli("enqueue", f"setsid sh -c 'setsid sh -c \"{daemon}\" &' ; true")
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-m"]
    process = subprocess.Popen(
        [*command, "queuectl_tui", "worker", "start"],
        env=cli.environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually((tmp_path / "gone").exists)
        (worker,) = psutil.Process(process.pid).children()

        def none_left() -> bool:
            left = [child.status() for child in worker.children()]
            return len(left) == 1 and psutil.STATUS_ZOMBIE not in left  # the shim

        eventually(none_left)
        worker.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_job_ended_with_its_worker_is_told_as_such(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "touch up; sleep 600", "--id", "long")
    worker = cli.start("worker", "start")
    eventually((tmp_path / "up").exists)
    cli("worker", "stop", "--now")
    _, err = worker.communicate(timeout=60)
    assert "long back to pending after " in err


async def test_how_to_stop_names_this_host_where_there_are_others(cli: Cli, tmp_path: Path) -> None:
    async with Queue.open(str(cli.store), env={"HOME": str(tmp_path)}) as queue:
        now = time.time()
        other = supervisor(
            "far", host="far", host_key="far:1", heartbeat_at=now, lease_until=now + 1e6
        )
        await queue.store.register(other, [("far-1", ())], now)
    started = cli("worker", "start", "-d", env={"QUEUECTL_HOST": "near"})
    assert one_line(started.err).endswith("stop: queuectl worker stop --host near")
    cli("worker", "stop", "--host", "near")


def test_a_lost_worker_is_shown_as_lost(cli: Cli) -> None:
    worker = cli.start("worker", "start")
    eventually(lambda: cli.json("worker", "list"))
    worker.kill()
    worker.wait(60)
    assert cli.json("worker", "list")[0]["state"] == "lost"
    assert cli.json("status")["workers"] == []
    assert "nothing to stop" in one_line(cli("worker", "stop").err)
    found = {row["check"]: row for row in cli.json("doctor", code=None)}
    assert found["workers"]["level"] == "warn"


def test_worker_tables_at_a_terminal(terminal: Terminal) -> None:
    shown = terminal("worker", "start", "--detach")
    assert "HEARTBEAT" in shown
    assert "1 worker up" in shown
    shown = terminal("worker", "list")
    assert "idle" in shown
    assert "QUEUES" in shown
    assert "all" in shown
    assert "stopped" in terminal("worker", "stop")
    assert "no workers" in terminal("worker", "list")


def test_jobs_of_a_queue_that_no_worker_serves_are_told(cli: Cli, terminal: Terminal) -> None:
    """``status``, ``doctor``, ``wait`` and ``logs -f`` name such a queue."""
    cli("worker", "start", "--detach", "--queue", "mail")
    cli("enqueue", "true", "--id", "a", "--queue", "mial")
    said = "no worker serves queue mial"
    assert said in cli("wait", "a", "--timeout", "100ms", code=124).err
    assert said in cli("wait", "--all", "--timeout", "100ms", code=124).err
    follower = cli.start("logs", "a", "-f")
    assert follower.stderr is not None
    assert "waiting for the job to start" in follower.stderr.readline()
    assert said in follower.stderr.readline()
    follower.kill()
    follower.wait()
    assert "none serves queue mial" in cli("doctor").out
    assert said in " ".join(terminal("status").split())
    shown = terminal("worker", "list")
    assert "QUEUES" in shown
    assert " mail" in shown
    cli("worker", "start", "--detach")
    assert cli("wait", "a").err == ""
    assert "serves" not in cli("doctor").out + terminal("status")
    cli("worker", "stop")


def test_doctor_on_a_healthy_store(here: Here, store_path: Path) -> None:
    here("enqueue", "x")
    found = {row["check"]: row for row in here("doctor", "--json").json}
    # There are no schedules and no hooks to be looked at.
    order = tuple(name for name in doctor.ORDER if name not in ("schedules", "hooks"))
    assert tuple(found) == order
    assert {row["level"] for row in found.values()} <= {"ok", "warn"}
    assert len(here("doctor", "-q").out.splitlines()) == len(order)


def test_doctor_on_a_store_that_is_not_there(
    here: Here, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first job makes the default store. If a given path does not exist, it is a mistake."""
    store_path.unlink()
    nowhere = tmp_path / "no" / "x.db"
    wanted = {store_path: "is not there", nowhere: f"directory {nowhere.parent} does not exist"}
    for path, said in wanted.items():
        row = here("doctor", "--store", path, "--json", code=1).json[0]
        assert (row["check"], row["level"]) == ("store", "bad")
        assert said in row["message"]
    assert "is not there" in here("doctor", code=1).out, "QUEUECTL_STORE gives a path, too"
    monkeypatch.delenv("QUEUECTL_STORE")
    assert "does not exist yet" in here("doctor").out
    assert not store_path.exists()


def test_doctor_finds_trouble(here: Here, store_path: Path) -> None:
    here("enqueue", "x", "--id", "x")
    store_path.chmod(0o644)
    found = {row["check"]: row for row in here("doctor", "--json", code=1).json}
    assert found["modes"]["level"] == "bad"
    assert "(chmod 600)" in found["modes"]["hint"]
    store_path.write_bytes(b"not a database, and never was one\n" * 100)
    store_path.chmod(0o600)
    found = {row["check"]: row for row in here("doctor", "--json", code=1).json}
    assert found["store"]["level"] == "bad"
    assert "damaged" in found["store"]["message"]


def test_doctor_at_a_terminal(terminal: Terminal) -> None:
    terminal.cli("enqueue", "x")
    assert "quick_check" in terminal("doctor")


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ((3, 40, 1), "warn"),
        ((3, 44, 5), "warn"),
        ((3, 44, 6), "ok"),
        ((3, 45, 0), "warn"),
        ((3, 50, 7), "ok"),
        ((3, 51, 2), "warn"),
        ((3, 51, 3), "ok"),
        ((4, 0, 0), "ok"),
    ],
)
def test_doctor_knows_the_wal_bug(version: tuple[int, ...], level: str) -> None:
    assert doctor.sqlite_version(version).level == level


def test_doctor_reads_clocks() -> None:
    now = doctor.EARLIEST + 1e7
    assert doctor.clock([now - 60, now + 1], now).level == "ok"
    assert doctor.clock([now + 60], now).level == "bad"
    assert doctor.clock([], 0).level == "bad"


def test_doctor_names_network_file_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bad = (
        "afpfs afs beegfs ceph cifs fuse.glusterfs fuse.sshfs gfs2 glusterfs lustre ncpfs nfs nfs4 "
        "ocfs2 smb2 smb3 smbfs webdav"
    )
    doubtful = "9p drvfs fuse.grpcfuse fuse.osxfs vboxsf virtiofs"
    levels = dict.fromkeys(bad.split(), "bad") | dict.fromkeys(doubtful.split(), "warn")
    for kind, level in (levels | {"ext4": "ok"}).items():
        mounts = [("/", "ext4"), (str(tmp_path), kind), (f"{tmp_path}-other", "nfs")]
        monkeypatch.setattr(file_systems, "_mounts", lambda mounts=mounts: mounts)
        assert doctor.file_system(tmp_path).level == level


def test_demo(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    shown = cli("demo", env={"TMPDIR": str(folder)})
    rows = [line.split("\t") for line in shown.out.splitlines()]
    assert [row[1] for row in rows[1:]] == ["completed"] * 4 + ["dead"]
    assert "dlq retry" in shown.err
    (store,) = folder.glob("*/demo.db")
    assert str(store) in shown.err
    assert cli.json("--store", store, "status")["dlq"] == 1
    assert not Path(cli.store).exists(), "the user's own queue was not touched"


def test_demo_as_json(cli: Cli, tmp_path: Path) -> None:
    found = cli.json("demo", env={"TMPDIR": str(tmp_path)})
    assert len(found["jobs"]) == 5
    assert Path(found["store"]).exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(cli: Cli, shell: str) -> None:
    script = cli("completion", shell).out
    assert "_QUEUECTL_COMPLETE" in script
    assert cli.json("completion", shell)["shell"] == shell
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=script, text=True, check=True)


def test_an_unknown_shell(here: Here) -> None:
    assert "'tcsh'" in one_line(here("completion", "tcsh", code=2).err)


def suggestions(cli: Cli, *words: str) -> list[str]:
    """What bash suggests after these words. The last one is not complete."""
    env = {
        "_QUEUECTL_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["queuectl", *words]),
        "COMP_CWORD": str(len(words)),
    }
    return [line.partition(",")[2] for line in cli(env=env).out.split()]


def test_what_is_completed(cli: Cli) -> None:
    cli("enqueue", "x", "--id", "backup-1")
    assert suggestions(cli, "wor") == ["worker"]
    assert suggestions(cli, "worker", "st") == ["start", "stop"]
    assert suggestions(cli, "show", "ba") == ["backup-1"]
    assert suggestions(cli, "list", "--state", "c") == ["completed", "cancelled"]
    assert suggestions(cli, "config", "get", "max") == ["max-retries", "max-crashes"]
    assert "--until-empty" in suggestions(cli, "worker", "start", "--u")
    assert suggestions(cli, "completion", "z") == ["zsh"]


def test_the_console_needs_a_terminal(here: Here) -> None:
    assert "needs a terminal" in one_line(here("tui", code=2).err)
    assert "--json" in one_line(here("tui", "--json", code=2).err)


def test_the_installed_command(cli: Cli) -> None:
    program = Path(sys.executable).with_name("queuectl")
    if not program.exists():
        pytest.skip("not installed as a command here")
    done = subprocess.run(
        [program, "enqueue", "x", "--json"], env=cli.environment(), capture_output=True, check=True
    )
    assert json.loads(done.stdout)["command"] == "x"
    assert os.access(program, os.X_OK)


def test_stop_on_a_disk_that_a_job_filled(tmp_path: Path) -> None:
    """If the store cannot be written, the FIFO of the supervisor receives the command."""
    try:
        with Disk(tmp_path / "disk") as disk:
            cli = Cli(disk.path / "queue.db", tmp_path)
            try:
                cli("config", "set", "lease", "3")
                cli("worker", "start", "-d", "--count", "2")
                cli("enqueue", "--id", "slow", "sleep 1000")
                eventually(lambda: cli.json("show", "slow")["state"] == "processing")
                disk.fill()
                for _ in range(200):  # fill the free space in the log
                    if cli("enqueue", "x" * 2000, "--delay", "1h", code=None).code == 5:
                        break
                first, second = cli.json("worker", "list")
                said = cli("worker", "stop", first["id"], "--now", code=5).err
                assert "no space left" in said
                assert f"or stop all workers of {first['id'].partition('-')[0]}" in said
                assert psutil.pid_exists(first["pid"])
                said = cli("worker", "stop", "--now", code=1, timeout=60).err
                assert "workers were lost before they stopped" in said, "that was not written"
                assert process_start(second["pid"]) is None
                disk.free()
                cli("cancel", "slow")
                cli("worker", "start", "--until-empty")
                assert cli.json("show", "slow")["state"] == "cancelled"
            finally:
                cli.close()
    except Unavailable as error:
        pytest.skip(str(error))
