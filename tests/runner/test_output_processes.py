"""What jobs write, with real processes: supervisors are killed, daemons stay, disks are full."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from queuectl_core.supervisor.shim_client import SHIM
from tests.support import Cli, eventually, marked

from .test_hung_mounts import mount, unmount
from .test_shim import Driver

MARK = re.compile(rb"\n\[queuectl: (\d+) bytes dropped here, output-limit is (\d+)\]\n")
MIB = 1 << 20
ROOT = os.geteuid() == 0
linux = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


def add(cli: Cli, ref: str, command: str, *options: str) -> None:
    cli("enqueue", json.dumps({"id": ref, "command": command}), *options)


def drain(cli: Cli, count: int = 1) -> None:
    """Workers in the foreground until the queue is empty."""
    cli("worker", "start", "--count", str(count), "--until-empty")


def attempt(cli: Cli, ref: str) -> dict[str, Any]:
    """A job's last attempt."""
    found: dict[str, Any] = cli.json("show", ref)["history"][-1]
    return found


def state(cli: Cli, ref: str) -> str:
    found: str = cli.json("show", ref)["state"]
    return found


def output_file(cli: Cli, number: int = 1) -> Path:
    """The file of the first attempt of the job ``number``."""
    return cli.directory / f"logs/0/{number}.1.log"


def shims(cli: Cli) -> list[psutil.Process]:
    """Shims of this test's supervisors."""
    found = []
    for process in marked(cli.token):
        try:
            if str(SHIM) in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def grows(path: Path) -> None:
    """Something is added to this file."""
    size = path.stat().st_size
    eventually(lambda: path.stat().st_size > size)


def gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def waits_for(name: str) -> str:
    """Shell words that wait until a file is there."""
    return f"until [ -e {name} ]; do sleep 0.02; done"


def test_a_killed_supervisor_loses_no_output(cli: Cli) -> None:
    """Its shim goes on reading; the next supervisor finds all of it, in order."""
    command = f"seq 1 9000; touch begun; {waits_for('go')}; seq 9001 20000"
    add(cli, "a", command, "--output-limit", "1M")
    worker = cli.start("worker", "start")
    eventually((cli.cwd / "begun").exists)
    (shim,) = shims(cli)
    worker.kill()
    worker.wait()
    (cli.cwd / "go").touch()
    eventually(lambda: gone(shim))
    drain(cli)
    written = "".join(f"{n}\n" for n in range(1, 20_001)).encode()
    found = attempt(cli, "a")
    assert (found["attempt"], found["outcome"]) == (1, "completed")
    assert found["output_bytes"] == len(written)
    assert output_file(cli).read_bytes() == written


@pytest.fixture
def daemon(cli: Cli) -> Iterator[str]:
    """The command of a job that leaves a process behind, which writes a line each 20 ms until the
    file ``stop`` is there. Its pid is in the file ``pid``."""
    script = cli.cwd / "daemon"
    script.write_text(
        "#!/bin/sh\nn=0\n"
        "while [ ! -e stop ]; do n=$((n + 1)); echo late $n || exit; sleep 0.02; done\n"
    )
    script.chmod(0o755)
    yield "echo started; setsid ./daemon & echo $! > pid"
    (cli.cwd / "stop").touch()


def held_files(process: psutil.Process) -> list[str]:
    """The files that a process has open."""
    folder = Path(f"/proc/{process.pid}/fd")
    return [os.readlink(entry) for entry in folder.iterdir() if entry.is_symlink()]


@linux
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_daemon_of_a_job_writes_on_when_the_supervisor_is_gone(
    cli: Cli, daemon: str, how: str
) -> None:
    """Its shim stays, for that alone: nobody waits for it, and it does nothing but read."""
    add(cli, "a", daemon)
    worker = cli.start("worker", "start")
    eventually(lambda: state(cli, "a") == "completed")
    left = psutil.Process(int((cli.cwd / "pid").read_text()))
    grows(output_file(cli))
    (shim,) = shims(cli)
    worker.send_signal(signal.SIGTERM if how == "stop" else signal.SIGKILL)
    worker.wait(10)
    eventually(lambda: not [f for f in held_files(shim) if f.endswith((".alive", ".journal"))])
    before = sum(shim.cpu_times()[:2]), time.monotonic()
    for _ in range(5):
        grows(output_file(cli))
    used, passed = sum(shim.cpu_times()[:2]) - before[0], time.monotonic() - before[1]
    assert used < 0.03 + passed / 4  # it does not spin
    add(cli, "b", "echo b")
    drain(cli)
    assert cli("logs", "b").out == "b\n"
    assert (state(cli, "a"), attempt(cli, "a")["attempt"]) == ("completed", 1)
    assert left.is_running()
    if how == "stop":
        shim.terminate()
    else:
        (cli.cwd / "stop").touch()
    eventually(lambda: gone(shim))


def test_a_logs_directory_that_disappears_loses_only_what_was_in_it(cli: Cli) -> None:
    command = f"echo before; touch begun; {waits_for('go')}; echo after; sleep 0.1; echo end"
    add(cli, "a", command)
    worker = cli.start("worker", "start", "--until-empty")
    eventually((cli.cwd / "begun").exists)
    eventually(lambda: output_file(cli).exists())
    shutil.rmtree(cli.directory / "logs")
    (cli.cwd / "go").touch()
    assert worker.wait(30) == 0
    found = attempt(cli, "a")
    assert (found["outcome"], found["output_bytes"]) == ("completed", 17)
    kept = re.compile(r"\n\[queuectl: \d+ bytes lost here, .*\]\n(after\n)?end\n")
    assert kept.fullmatch(cli("logs", "a").out)
    add(cli, "b", "echo b")
    drain(cli)
    assert cli("logs", "b").out == "b\n"


@linux
@pytest.mark.skipif(not ROOT, reason="it mounts a file system")
def test_a_disk_that_is_full_costs_output_and_no_job(cli: Cli) -> None:
    """The job goes on, what was lost is counted, and a job that prints nothing is not affected."""
    cli("enqueue", "true")  # makes the store's directory
    drain(cli)
    logs = cli.directory / "logs"
    logs.mkdir(exist_ok=True)
    try:
        mount("none", logs, "tmpfs", "size=256k,mode=700")
    except OSError as error:
        pytest.skip(f"cannot mount: {error}")
    try:
        command = (
            f"head -c 100000 /dev/zero; touch begun; {waits_for('go')}; head -c 300000 /dev/zero"
        )
        add(cli, "a", f"{command}; touch done; rm -f {logs}/filler; echo end")
        worker = cli.start("worker", "start", "--until-empty")
        eventually((cli.cwd / "begun").exists)
        filler = logs / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(b"x" * 1_000_000)
        (cli.cwd / "go").touch()
        assert worker.wait(30) == 0
        found = attempt(cli, "a")
        assert (found["outcome"], found["output_bytes"]) == ("completed", 400_004)
        kept = output_file(cli, 2).read_bytes()
        (mark,) = re.finditer(rb"\n\[queuectl: (\d+) bytes lost here, .*\]\n", kept)
        assert len(kept) - len(mark[0]) + int(mark[1]) == 400_004
    finally:
        unmount(logs, 2)


def test_one_job_that_prints_without_end_does_not_hold_up_others(cli: Cli) -> None:
    """`yes` prints gigabytes; its shim takes a piece, and looks after the others then."""
    add(cli, "loud", "exec yes", "--output-limit", "64K")
    cli("enqueue", "-", stdin='{"command": "echo said"}\n' * 20)
    worker = cli.start("worker", "start", "--count", "2")
    eventually(lambda: cli.json("status")["jobs"]["completed"] == 20)
    assert state(cli, "loud") == "processing"
    cli("cancel", "loud")
    eventually(lambda: state(cli, "loud") == "cancelled")
    assert output_file(cli, 1).stat().st_size <= 1 << 16
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0


@linux
def test_512_jobs_print_with_1024_descriptors(tmp_path: Path) -> None:
    """That is the usual limit."""
    run = tmp_path / "run"
    run.mkdir()
    os.mkfifo(tmp_path / "gate")
    gate = os.open(tmp_path / "gate", os.O_RDWR)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most[1]))
    try:
        driver = Driver(run)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    try:
        command = f"echo begun; read word < {tmp_path}/gate; echo over"
        for number in range(512):
            driver.start(f"{number}.1", command)
        assert [driver.hear()[0] for _ in range(512)] == ["S"] * 512
        logs = tmp_path / "logs"
        eventually(lambda: len(list(logs.glob("*.log"))) == 512)
        assert psutil.Process(driver.process.pid).num_fds() < 512 + 200
        os.write(gate, b"\n" * 512)
        assert {driver.hear()[0] for _ in range(512)} == {"X"}
        assert {path.read_bytes() for path in logs.glob("*.log")} == {b"begun\nover\n"}
    finally:
        driver.close()
        os.close(gate)


def test_200_mb_within_the_limit_are_all_there(cli: Cli) -> None:
    words = "seq 1 30000000 | head -c 200000000"
    add(cli, "a", words, "--output-limit", "300M")
    drain(cli)
    assert attempt(cli, "a")["output_bytes"] == 200_000_000
    path = output_file(cli)
    with path.open("rb") as kept:
        found = hashlib.file_digest(kept, "sha256").hexdigest()
    path.unlink()
    said = subprocess.run(
        ["/bin/sh", "-c", f"{words} | sha256sum"], check=True, capture_output=True, text=True
    )
    assert said.stdout.split()[0] == found


def test_5_gb_on_a_limit_of_1_mib(cli: Cli) -> None:
    """The job itself looks, between its gigabytes, how much space its output takes."""
    gigabyte = f"head -c 1G /dev/zero; stat -c %b {output_file(cli)} >> blocks"
    add(cli, "a", f"echo begin; for i in 1 2 3 4 5; do {gigabyte}; done; echo; echo end",
        "--output-limit", "1M")  # fmt: skip
    drain(cli)
    blocks = [int(line) for line in (cli.cwd / "blocks").read_text().split()]
    assert len(blocks) == 5
    assert 0 < max(blocks) * 512 <= 4 * MIB
    total = len("begin\n") + (5 << 30) + len("\nend\n")
    assert attempt(cli, "a")["output_bytes"] == total
    kept = output_file(cli).read_bytes()
    assert len(kept) <= MIB
    assert kept.startswith(b"begin\n\0")
    assert kept.endswith(b"\0\nend\n")
    (mark,) = MARK.finditer(kept)
    assert int(mark[1]) + len(kept) - len(mark[0]) == total
    assert int(mark[2]) == MIB
