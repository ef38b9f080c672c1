"""What README and docs say about speed comes from what was measured, and from nowhere else."""

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
        "postgres_peers": {
            "jobs": 400,
            "workers": 4,
            "rounds": 3,
            "postgres": "18.6",
            "queuectl": {"running": figure(295.0), "whole": figure(290.0), "keeps": kept},
            "peers": {
                "oban": {
                    "running": figure(84.0),
                    "whole": figure(80.0),
                    "ours to theirs": figure(3.51),
                    "keeps": kept,
                }
            },
            "left_out": {"pgqueuer": "not installed"},
            "on": "2026-11-28",
        },
        "admission": {"sqlite": {"why": {"slowest": figure(0.64, bar=50.0, ok=True)}}},
        "core": {"pick_up_ms": {"median": figure(4.93)}},
        "fleet": {"up before": {"ratio": figure(0.9321, bar=0.9, ok=True)}},
    }


def test_the_pages_say_what_was_measured() -> None:
    done = report("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_report_is_written_and_a_figure_by_hand_is_noticed(tmp_path: Path) -> None:
    names = ("r.json", "README.md", "performance.md", "drain.svg")
    results, readme, page, picture = (tmp_path / name for name in names)
    results.write_text(json.dumps(measured()))
    shutil.copy(ROOT / "README.md", readme)
    shutil.copy(ROOT / "docs/performance.md", page)
    where = ("--results", results, "--readme", readme, "--page", page, "--picture", picture)
    assert report(*where, "--check").returncode == 1
    assert report(*where).returncode == 0
    summary, text = readme.read_text("utf-8"), page.read_text("utf-8")
    for said in ("4 workers run 1,313 jobs", "starts 4.9 ms after", "](benchmarks/drain.svg)"):
        assert said in summary
    for said in (
        "1,313",
        "0.88, bar 0.9: **missed**",
        "0.93",
        "2 of 3 bars are met",
        "nq: left out",
        "| oban | 84 (76 to 92) | 80 (72 to 88) | 3.51 |",
        "pgqueuer: left out",
        "| SQLite, `why` in a million jobs | 0.6 ms | bar 50 |",
        "](../benchmarks/drain.svg)",
    ):
        assert said in text
    assert "xargs &lt;-P4&gt;" in picture.read_text("utf-8")
    assert report(*where, "--check").returncode == 0
    for changed, right in ((readme, summary), (page, text)):
        changed.write_text(right.replace("1,313", "1,999"), "utf-8")
        assert report(*where, "--check").returncode == 1
        assert report(*where).returncode == 0
        assert changed.read_text("utf-8") == right
