"""Workers in the foreground, when nobody reads their terminal or pipe."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ..support import Cli, eventually

LINES = 1500
"""So many jobs that the lines about them fill the buffer of every terminal or pipe."""


@dataclass
class Stuck:
    """A supervisor whose output nobody reads."""

    process: subprocess.Popen[bytes]
    reader: int


@pytest.fixture(params=["pipe", "terminal"])
def stuck(request: pytest.FixtureRequest, cli: Cli) -> Iterator[Stuck]:
    reader, writer = pty.openpty() if request.param == "terminal" else os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "queuectl_tui", "worker", "start", "--count", "2"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writer,
        env=cli.environment({"QUEUECTL_LEASE": "5"}),
        start_new_session=True,
    )
    os.close(writer)
    yield Stuck(process, reader)
    os.close(reader)
    if process.poll() is None:
        process.kill()
    process.wait()


def test_jobs_go_on_time_out_and_the_supervisor_leaves(stuck: Stuck, cli: Cli) -> None:
    cli("enqueue", "-", stdin="".join(f'{{"command": "true {n:0100}"}}\n' for n in range(LINES)))

    def completed() -> bool:
        return bool(cli.json("status")["jobs"]["completed"] == LINES)

    eventually(completed, 60)
    cli("enqueue", "sleep 300", "--id", "late", "--timeout", "1", "--max-retries", "1")
    eventually(lambda: cli.json("show", "late")["state"] == "dead")
    late = cli.json("show", "late")
    assert late["last_error"] == "timed out after 1.0s"
    assert late["crashes"] == 0
    eventually(lambda: {row["state"] for row in cli.json("worker", "list")} == {"idle"})
    began = time.monotonic()
    stuck.process.send_signal(signal.SIGTERM)
    assert stuck.process.wait(30) == 0
    assert time.monotonic() - began < 10
    assert cli.json("worker", "list") == []
