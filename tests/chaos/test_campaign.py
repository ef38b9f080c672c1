"""The chaos campaign in short, and proof that it finds bugs. The long one: ``make chaos``."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.campaign import Campaign, Options
from chaos.mutations import MUTATIONS
from chaos.trials import run_trial


def run(**options: Any) -> Campaign:
    campaign = Campaign(Options(**{"jobs": 40, "kills": 8, "longest": 0.4} | options))
    campaign.run()
    return campaign


def test_killed_supervisors_lose_nothing_and_no_result() -> None:
    campaign = run(faults=("kill",))
    assert campaign.broken == []
    assert campaign.figures["supervisors killed"] >= 8
    assert campaign.figures["crashes counted"] == 0


def test_every_fault_at_once() -> None:
    campaign = run(seed=2)
    assert campaign.broken == []
    assert campaign.figures["completed"] + campaign.figures["dead"] >= 40
    assert campaign.figures["reboots"] == campaign.figures["pids reused"] == 1


BREAKS: dict[str, dict[str, Any]] = {
    # Jobs must still run when the lease of a stopped supervisor is over, or when an heir comes.
    "no-fencing": {"faults": ("stop",), "kills": 60, "longest": 4.0},
    "no-group-kill": {"faults": ("shim",), "kills": 36, "longest": 4.0},
    "no-start-check": {"faults": ("reuse",), "kills": 24},
}
"""What it takes to see each bug."""


@pytest.mark.parametrize("bug", sorted(MUTATIONS))
def test_a_bug_put_in_on_purpose_is_found(bug: str) -> None:
    campaign = run(mutate=bug, jobs=16, patience=20.0, **BREAKS[bug])
    assert campaign.broken


@pytest.mark.parametrize("name", ["full", "readonly", "damage", "handover", "leaving"])
def test_a_trial(name: str) -> None:
    trial = run_trial(name, seed=1)
    if trial.skipped:
        pytest.skip(trial.skipped)
    assert trial.broken == []


def test_every_bug_has_faults_that_show_it() -> None:
    assert BREAKS.keys() == MUTATIONS.keys()
