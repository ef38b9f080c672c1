"""The fence: jobs that end because their supervisor's lease does, as their shim does it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from queuectl_core.runner import FENCED, lease_clock
from queuectl_core.runner.events import Exit
from queuectl_core.runner.journal_reader import JournalReader, make_first
from queuectl_core.supervisor.deadline import DeadlineWriter
from queuectl_core.supervisor.shim_client import command_line

from ..support import eventually
from .test_triage import alive


@dataclass
class Served:
    """A shim that is spoken to by its pipes."""

    run: Path
    process: subprocess.Popen[bytes]

    def start(self, token: str, script: str) -> None:
        how = [
            ["/bin/sh", "-c", script],
            None,
            "/",
            {},
            [str(self.run / f"{token}.log"), 1 << 20],
            None,
        ]
        request = json.dumps(["start", token, "w-1", "", *how])
        assert self.process.stdin is not None
        os.write(self.process.stdin.fileno(), request.encode() + b"\n")

    def journal(self) -> JournalReader:
        found = JournalReader(self.run, "s")
        found.refresh()
        return found

    def exit(self, token: str) -> Exit:
        return eventually(lambda: self.journal().exits.get(token))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """With a lease that is long enough for every test, until it is written anew."""
    words = DeadlineWriter(tmp_path, 1000.0).words
    make_first(tmp_path / "s.journal")
    process = subprocess.Popen(
        command_line(tmp_path, "s", words),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    yield Served(tmp_path, process)
    process.kill()
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def deadline(served: Served, since: float) -> DeadlineWriter:
    """A lease of 1000 seconds that was got so many seconds ago, written down."""
    made = DeadlineWriter(served.run, 1000.0)
    made.extend(lease_clock() - since, 1000.0)
    made.keep(["s"])
    made.write()
    return made


def test_a_job_that_obeys_ends_at_the_first_moment(served: Served) -> None:
    served.start("1.1", "exec sleep 1000")
    eventually(lambda: "1.1" in served.journal().started)
    deadline(served, since=700.0)  # SIGTERM is due, SIGKILL is not
    found = served.exit("1.1")
    assert (found.signal, found.fenced) == (15, True)


def test_one_that_does_not_at_the_second(served: Served) -> None:
    served.start("1.1", "trap '' TERM; echo; while :; do sleep 0.05; done")
    eventually(lambda: (served.run / "1.1.log").exists() and (served.run / "1.1.log").read_text())
    deadline(served, since=900.0)
    found = served.exit("1.1")
    assert (found.signal, found.fenced) == (9, True)


def test_what_a_job_that_obeys_leaves_running_is_ended_at_once(served: Served) -> None:
    """Its supervisor may be gone, and nobody else looks for it on this host."""
    child = "trap '' TERM; echo $$; while :; do sleep 0.05; done"
    served.start("1.1", f'sh -c "{child.replace("$", chr(92) + "$")}" & wait')
    log = served.run / "1.1.log"
    pid = int(eventually(lambda: log.exists() and log.read_text()))
    deadline(served, since=700.0)
    try:
        assert served.exit("1.1").signal == 15
        eventually(lambda: not alive(pid))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_nothing_starts_until_there_is_a_lease_again(served: Served) -> None:
    served.start("1.1", "exec sleep 1000")
    eventually(lambda: "1.1" in served.journal().started)
    deadline(served, since=900.0)
    served.exit("1.1")
    served.start("2.1", "exit 0")
    found = served.exit("2.1")
    assert (found.code, found.reason) == (None, FENCED)
    deadline(served, since=0.0)
    served.start("3.1", "exit 0")
    found = served.exit("3.1")
    assert (found.code, found.fenced) == (0, False)


def test_an_orphaned_shim_keeps_to_it_too(served: Served) -> None:
    served.start("1.1", "exec sleep 1000")
    eventually(lambda: "1.1" in served.journal().started)
    assert served.process.stdin is not None
    served.process.stdin.close()
    deadline(served, since=900.0)
    assert served.exit("1.1").fenced
    served.process.wait(timeout=30)


def test_who_lost_the_lease_lets_others_renew_first(tmp_path: Path) -> None:
    made = DeadlineWriter(tmp_path, 1000.0)
    assert made.steady
    assert not made.passed
    made.extend(lease_clock() - 900.0, 1000.0)
    assert made.passed
    assert not made.steady
    made.extend(lease_clock(), 1000.0)
    assert not made.passed
    assert not made.steady
