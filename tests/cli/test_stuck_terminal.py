"""Workers in the foreground, when nobody reads their terminal or pipe."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ..support import Cli, eventually

JOBS = 150
"""The lines about them are much longer than :data:`ROOM`."""
ROOM = 8192
"""Bytes that a terminal or pipe still takes at the start, or somewhat more."""


@dataclass
class Stuck:
    """A supervisor whose output nobody reads."""

    process: subprocess.Popen[bytes]
    reader: int
    writer: int


def fill(writer: int) -> None:
    """Write until nothing more can be written."""
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"." * 512)
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)


def is_full(writer: int) -> bool:
    return not select.select([], [writer], [], 0)[1]


@pytest.fixture(params=["pipe", "terminal"])
def stuck(request: pytest.FixtureRequest, cli: Cli) -> Iterator[Stuck]:
    reader, writer = pty.openpty() if request.param == "terminal" else os.pipe()
    fill(writer)
    for _ in range(ROOM // 1024):
        os.read(reader, 1024)
    process = subprocess.Popen(
        [sys.executable, "-m", "queuectl_tui", "worker", "start", "--count", "2"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writer,
        env=cli.environment({"QUEUECTL_LEASE": "5"}),
        start_new_session=True,
    )
    yield Stuck(process, reader, writer)
    os.close(writer)
    os.close(reader)
    if process.poll() is None:
        process.kill()
    process.wait()


def test_jobs_go_on_time_out_and_the_supervisor_leaves(stuck: Stuck, cli: Cli) -> None:
    cli("enqueue", "-", stdin="".join(f'{{"command": "true {n:0100}"}}\n' for n in range(JOBS)))

    def completed() -> bool:
        return bool(cli.json("status")["jobs"]["completed"] == JOBS)

    eventually(completed, 60)
    assert is_full(stuck.writer)
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
