"""``worker start --until-idle`` while other workers run, as cron starts it, on both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..store.stores import PLACES
from ..support import Cli, eventually


@pytest.fixture(params=sorted(PLACES))
async def shared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cli]:
    place = PLACES[request.param](tmp_path)
    cli = Cli(place.url, tmp_path)
    yield cli
    cli.close()
    await place.clear()


LONG = "touch up; until [ -e go ]; do sleep 0.02; done"


def test_a_long_job_of_another_supervisor_does_not_hold_it(shared: Cli, tmp_path: Path) -> None:
    cli = shared
    cli("enqueue", LONG, "--id", "long")
    first = cli.start("worker", "start", "--until-idle")
    eventually((tmp_path / "up").exists)
    # What cron starts meanwhile runs the due jobs, and ends.
    cli("enqueue", "true", "--id", "short")
    assert "1 done, 0 failed" in cli("worker", "start", "--until-idle").err
    assert "0 done, 0 failed" in cli("worker", "start", "--until-idle").err
    # --until-empty is for a script that must know that all jobs are done. So it still runs.
    waits = cli.start("worker", "start", "--until-empty")
    eventually(lambda: len(cli.json("worker", "list")) == 2)
    assert (first.poll(), waits.poll()) == (None, None)
    (tmp_path / "go").touch()
    assert (first.wait(60), waits.wait(60)) == (0, 0)


def test_a_job_that_lost_its_supervisor_is_taken_over_and_holds_it(
    shared: Cli, tmp_path: Path
) -> None:
    cli = shared
    cli("enqueue", LONG, "--id", "long")
    killed = cli.start("worker", "start", "--until-idle")
    eventually((tmp_path / "up").exists)
    eventually(lambda: cli.json("show", "long")["state"] == "processing")
    killed.kill()
    killed.wait(60)
    successor = cli.start("worker", "start", "--until-idle")

    def taken_over() -> bool:
        workers = [worker for worker in cli.json("worker", "list") if worker["state"] != "lost"]
        return [worker["job"] for worker in workers] == ["long"]

    eventually(taken_over)
    (tmp_path / "go").touch()
    assert successor.wait(60) == 0
    assert cli.json("show", "long")["state"] == "completed"


def test_a_job_that_failed_in_a_paused_queue_does_not_hold_it(shared: Cli) -> None:
    cli = shared
    cli("enqueue", "false", "--id", "fails", "--queue", "mail", "--max-retries", "5")
    cli("worker", "start", "--until-idle")
    assert cli.json("show", "fails")["state"] == "failed"
    cli("queue", "pause", "mail")
    assert "0 done, 0 failed" in cli("worker", "start", "--until-empty").err
    cli("queue", "resume", "mail")
    waits = cli.start("worker", "start", "--until-empty")
    eventually(lambda: cli.json("show", "fails")["attempts"] > 1)
    assert waits.poll() is None
    waits.terminate()
    assert waits.wait(60) == 0


def test_both_at_once_is_refused(cli: Cli) -> None:
    said = cli("worker", "start", "--until-idle", "--until-empty", code=2).err
    assert "--until-empty and --until-idle differ: give one of them" in said
