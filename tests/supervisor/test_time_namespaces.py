"""Processes of one store in different time namespaces: their clocks differ by more than a day."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from queuectl_core.runner import lease_clock
from queuectl_core.system.clocks import boot_clock, monotonic
from queuectl_core.system.host import process_start

from ..support import Cli, eventually

UNSHARE = ["unshare", "--time", "--monotonic", "100000", "--boottime", "200000"]


def _can_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not _can_unshare(), reason="cannot make a time namespace")


def test_moments_are_the_same_in_every_time_namespace() -> None:
    code = (
        "import json, os, time\n"
        "from queuectl_core.system.clocks import boot_clock, monotonic\n"
        "from queuectl_core.system.host import process_start\n"
        "from queuectl_core.runner import lease_clock\n"
        "print(json.dumps([monotonic(), boot_clock(), lease_clock(), process_start(os.getppid()),"
        " time.monotonic()]))"
    )
    # Exec, so that the parent is this process.
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    *clocks, start, raw = json.loads(done.stdout)
    assert clocks == pytest.approx([monotonic(), boot_clock(), lease_clock()], abs=5)
    assert raw == pytest.approx(monotonic() + 100000, abs=5)
    assert start == pytest.approx(process_start(os.getpid()), abs=0.001)


@pytest.mark.parametrize("inside", ["the dead", "the successor"])
def test_a_take_over_between_time_namespaces(cli: Cli, tmp_path: Path, inside: str) -> None:
    """The living supervisor's job is left alone; the dead one's goes on, and took seconds."""
    first, second = (UNSHARE, []) if inside == "the dead" else ([], UNSHARE)
    command = "echo x >> ran; until test -e go; do sleep 0.05; done; exit 1"
    cli("enqueue", command, "--id", "a", "--backoff-base", "60")
    queuectl = [sys.executable, "-m", "queuectl_tui"]

    def start(namespace: list[str], *options: str) -> subprocess.Popen[bytes]:
        words = [*namespace, *queuectl, "worker", "start", *options]
        env, errors = cli.environment(), subprocess.DEVNULL
        return subprocess.Popen(words, env=env, cwd=tmp_path, stderr=errors)

    victim = start(first)
    eventually((tmp_path / "ran").exists)
    heir = start(second)
    eventually(lambda: len(cli.json("worker", "list")) == 2)
    owners = {one["pid"] for one in cli.json("worker", "list") if one["job"] == "a"}
    assert owners == {victim.pid}
    victim.kill()
    victim.wait()
    busy = [heir.pid]
    eventually(lambda: [w["pid"] for w in cli.json("worker", "list") if w["job"]] == busy)
    (tmp_path / "go").touch()
    eventually(lambda: cli.json("show", "a")["state"] == "failed")
    job = cli.json("show", "a")
    assert (job["attempts"], job["crashes"], (tmp_path / "ran").read_text()) == (1, 0, "x\n")
    (attempt,) = job["history"]
    moments = (attempt["started_at"], attempt["finished_at"], job["run_at"])
    began, ended, due = map(datetime.fromisoformat, moments)
    assert 0 <= (ended - began).total_seconds() < 60
    assert (due - ended).total_seconds() == pytest.approx(60, abs=0.01)
    assert abs((datetime.now(UTC) - ended).total_seconds()) < 60
    heir.send_signal(signal.SIGINT)
    heir.wait()
