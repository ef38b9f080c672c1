"""Pytest's side: which tests run, in which order, and what became of them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

PLAN = json.loads(Path(os.environ["MUTANTS_PLAN"]).read_text("utf-8"))
"""``only``: the tests to run, in this order, or None. ``without``: those that do not run."""
RESULTS = Path(os.environ["MUTANTS_RESULTS"])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave those of the plan."""
    without = set(PLAN["without"])
    if PLAN["only"] is None:
        items[:] = [item for item in items if item.nodeid not in without]
    else:
        found = {item.nodeid: item for item in items}
        items[:] = [found[name] for name in PLAN["only"] if name in found and name not in without]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """What runs from now on runs for this test."""
    tracer: Any = getattr(sys, "mutants_tracer", None)
    if tracer is not None:
        tracer.begin(item.nodeid)


class Recorder:
    """Writes down what became of each test."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test."""
        line = json.dumps([report.nodeid, report.outcome, report.duration])
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def pytest_configure(config: pytest.Config) -> None:
    """Workers of xdist tell the process that started them."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder())
