"""What README says about speed comes from what was measured, and from nowhere else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "benchmarks" / "report.py"


def report(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPORT, *args], capture_output=True, text=True, check=False
    )


def figure(value: float, **more: Any) -> dict[str, Any]:
    return {"value": value, "spread": [value * 0.9, value * 1.1], **more}


def measured() -> dict[str, Any]:
    kept = dict.fromkeys(("queue", "output", "exit codes", "retries", "after kill -9"), "none")
    peer = {
        "running": figure(1500.0),
        "whole": figure(1500.0),
        "ours to theirs": figure(0.876, bar=0.9, ok=False),
        "whole to whole": figure(0.8),
        "keeps": kept,
        "note": "a <note> & more",
    }
    return {
        "drain": {
            "jobs": 3000,
            "workers": 4,
            "rounds": 5,
            "queuectl": {"running": figure(1313.0), "whole": figure(1200.0)},
            "peers": {"xargs <-P4>": peer},
            "left_out": {"nq": "not installed"},
            "machine": {
                "cores": 2,
                "memory_gb": 24,
                "python": "3.11.7",
                "sqlite": "3.40.1",
                "system": "Linux 6.1",
            },
        },
        "fleet": {"up before": {"ratio": figure(0.9321, bar=0.9, ok=True)}},
    }


def test_readme_says_what_was_measured() -> None:
    done = report("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_report_is_written_and_a_figure_by_hand_is_noticed(tmp_path: Path) -> None:
    results, readme, picture = (tmp_path / name for name in ("r.json", "README.md", "drain.svg"))
    results.write_text(json.dumps(measured()))
    shutil.copy(ROOT / "README.md", readme)
    where = ("--results", results, "--readme", readme, "--picture", picture)
    assert report(*where, "--check").returncode == 1
    assert report(*where).returncode == 0
    text = readme.read_text("utf-8")
    for said in (
        "1,313",
        "0.88, bar 0.9: **missed**",
        "0.93",
        "1 of 2 bars are met",
        "nq: left out",
    ):
        assert said in text
    assert "xargs &lt;-P4&gt;" in picture.read_text("utf-8")
    assert report(*where, "--check").returncode == 0
    readme.write_text(text.replace("1,313", "1,999"), "utf-8")
    assert report(*where, "--check").returncode == 1
    assert report(*where).returncode == 0
    assert readme.read_text("utf-8") == text
