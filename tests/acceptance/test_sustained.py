"""Some seconds of everything at once. The long form, with latencies: ``benchmarks/soak.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ..support import Cli

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.parametrize("cli", ["sqlite"], indirect=True)  # it makes a store of its own
def test_mixed_load_loses_nothing_and_nothing_grows(cli: Cli) -> None:
    done = subprocess.run(
        [sys.executable, SOAK, "--minutes", "0.1", "--json"],
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    # Its exit code also speaks of latencies, which say nothing on a loaded machine.
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["errors"]["found"] == []
    assert found["lost"]["found"] == []
    assert found["ran too often"]["ok"]
    assert found["jobs"] > 40
    # Of ten jobs one fails once, and one twice, which is its death, and works once retried.
    assert found["failed"] > found["died"] > 0
    assert found["attempts"] == found["jobs"] + found["failed"]
    assert found["wal_mb"]["ok"], found["wal_mb"]
    assert found["more_fds"]["ok"], found["more_fds"]
