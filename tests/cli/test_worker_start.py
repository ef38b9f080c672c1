"""The messages of ``worker start``, if the host lacks something, and if there are workers
already."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from queuectl_core.domain.model import State
from queuectl_core.queue import Queue
from queuectl_tui.presentation.jobs import tries

from ..support import Cli
from .test_globals import one_line


@pytest.mark.parametrize(("limit", "words"), [(12, ""), (10, " -d")])
def test_too_few_open_files(cli: Cli, limit: int, words: str) -> None:
    cli("enqueue", "true")
    said = cli.shell(
        f"ulimit -n {limit}; queuectl worker start{words or ' --until-empty'}", code=5
    ).err
    assert "Too many open files; see ulimit -n" in one_line(said)


def test_workers_that_are_added_to_others(cli: Cli) -> None:
    first = cli("worker", "start", "-d", "--count", "2")
    assert "2 workers up; stop:" in one_line(first.err)
    more = cli("worker", "start", "-d", "--count", "1")
    assert "added 1 worker; 3 now in the background; stop:" in one_line(more.err)
    cli("worker", "stop")
    assert "adds --count workers to those" in " ".join(cli("worker", "start", "--help").out.split())


async def test_tries_count_the_attempt_that_runs(tmp_path: Path) -> None:
    async with Queue.open(str(tmp_path / "queue.db"), env=dict(os.environ)) as queue:
        (job,) = await queue.enqueue([{"command": "true", "max_retries": 3}])
    assert tries(job, 0.0)[0] == "0/3"
    runs = job._replace(state=State.PROCESSING)
    assert tries(runs, 0.0)[0] == "1/3"
    assert runs.to_json()["attempts"] == 0
