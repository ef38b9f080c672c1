"""The chaos campaign in short, and proof that it finds bugs. The long one: ``make chaos``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest

from chaos.campaign import Campaign
from chaos.mutations import BREAKS, MUTATIONS
from chaos.plant import ROOT, TOKEN
from chaos.run import Options
from chaos.trials import TRIALS, run_trial

from ..support import eventually


def run(**options: Any) -> Campaign:
    campaign = Campaign(Options(**{"jobs": 40, "kills": 8, "longest": 0.4} | options))
    campaign.run()
    return campaign


def test_killed_supervisors_lose_nothing_and_no_result() -> None:
    campaign = run(faults=("kill",), actors=())
    assert campaign.broken == []
    assert campaign.figures["supervisors killed"] >= 8
    assert campaign.figures["crashes counted"] == 0


def test_every_fault_at_once() -> None:
    campaign = run(seed=2, actors=())
    assert campaign.broken == []
    assert campaign.figures["completed"] + campaign.figures["dead"] >= 40
    assert campaign.figures["reboots"] == campaign.figures["pids reused"] == 1


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_every_actor_at_once(store: str) -> None:
    campaign = run(seed=1, store=store, faults=("kill", "stop"), jobs=12, kills=3, acts=1)
    assert campaign.broken == []
    for actor in ("verb", "console", "program", "dashboard", "tool"):
        assert campaign.figures[f"{actor}: acts"] > 0, actor
    assert campaign.figures["supervisors killed"] > 0


@pytest.mark.parametrize("bug", sorted(MUTATIONS))
def test_a_bug_put_in_on_purpose_is_found(bug: str) -> None:
    breaks = BREAKS[bug]
    if isinstance(breaks, str):
        rounds = 1 if breaks == "limits" else 3  # more jobs run than may from the first second on
        assert run_trial(breaks, seed=1, rounds=rounds, mutate=bug).broken
    else:  # some need a moment that does not come in each campaign
        assert any(run(mutate=bug, seed=seed, **breaks).broken for seed in (1, 2, 3))


def test_every_bug_has_what_shows_it() -> None:
    assert BREAKS.keys() == MUTATIONS.keys()


@pytest.mark.parametrize("name", sorted(TRIALS))
def test_a_trial(name: str) -> None:
    # In one round each does all that it can do. More of them: make chaos.
    trial = run_trial(name, seed=1, rounds=1)
    if trial.skipped:
        pytest.skip(trial.skipped)
    assert trial.broken == []


# -- however it ends, nothing is left ---------------------------------------------------

ENDS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"]


def _of(tmp: Path) -> list[psutil.Process]:
    """Every process whose campaign keeps its files in ``tmp``."""
    found = []
    for process in psutil.process_iter():
        try:
            env = process.environ()
            if env.get("CHAOS_TEST") == str(tmp) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.mark.parametrize("name", ENDS)
def test_an_interrupted_campaign_leaves_no_process(name: str, tmp_path: Path) -> None:
    words = ["--store", "sqlite", "--faults", "kill", "--actors", "verb", "--jobs", "150"]
    process = subprocess.Popen(
        [sys.executable, "-m", "chaos", *words],
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        env=os.environ | {"CHAOS_TEST": str(tmp_path), "TMPDIR": str(tmp_path)},
    )

    def jobs_run() -> bool:
        return any("job.sh" in " ".join(_known(one.cmdline)) for one in _of(tmp_path))

    eventually(jobs_run)
    process.send_signal(getattr(signal, name))
    process.wait(60)
    eventually(lambda: not _of(tmp_path))
    if name != "SIGKILL":
        assert process.returncode == 128 + getattr(signal, name)
        assert list(tmp_path.iterdir()) == []


def _known(read: Callable[[], Iterable[str]]) -> Iterable[str]:
    """What is known of a process; nothing if it has ended since it was found."""
    try:
        return read()
    except psutil.Error:
        return ()


def test_a_campaign_ends_with_make(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, os\n"
        "os.environ['MAKELEVEL'] = '1'\n"
        "words = ['--store', 'sqlite', '--faults', 'kill', '--actors', 'none', '--jobs', '150']\n"
        "subprocess.run([sys.executable, '-m', 'chaos', *words], stdout=subprocess.DEVNULL)\n"
    )
    make = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"CHAOS_TEST": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    eventually(lambda: any(TOKEN in _known(one.environ) for one in _of(tmp_path)))
    make.kill()
    make.wait()
    eventually(lambda: not _of(tmp_path))


def test_minutes_bound_a_campaign() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "chaos", "--store", "sqlite", "--faults", "kill"),
            *("--actors", "none", "--jobs", "5000", "--kills", "500", "--minutes", "0.4"),
        ],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout
    assert "the time is over" in done.stdout
    assert time.monotonic() - began < 24 + 30
