"""``queuectl metrics``, read with the parser of Prometheus's library."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ..support import Cli, eventually
from .conftest import Here
from .test_globals import one_line

MONITORING = Path(__file__).parents[2] / "docs/monitoring"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool")

Numbers = dict[tuple[str, ...], float]


def read(text: str) -> Numbers:
    """Every sample, by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def promtool(*words: str | Path, text: str = "") -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *words], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done


def test_the_text_is_what_prometheus_reads(here: Here) -> None:
    here("enqueue", "true", "--queue", "mail")
    found = read(here("metrics").out)
    assert found["queuectl_jobs", "mail", "pending"] == 1
    assert found["queuectl_queue_oldest_ready_seconds", "mail"] >= 0
    assert found["queuectl_queue_paused", "mail"] == 0
    assert found["queuectl_attempts_total", "completed", "mail"] == 0
    assert found["queuectl_wait_seconds_bucket", "+Inf"] == 0
    assert [name for name, *_ in found if name == "queuectl_build_info"]


def test_numbers_of_jobs_that_ran(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "secretid")
    cli("enqueue", "exit 3", "--max-retries", "1")
    cli("worker", "start", "--until-empty")
    before = read(cli("metrics").out)
    assert before["queuectl_attempts_total", "completed", "default"] == 1
    assert before["queuectl_attempts_total", "dead", "default"] == 1
    assert before["queuectl_attempt_duration_seconds_count",] == 2
    assert before["queuectl_attempt_duration_seconds_sum",] > 0
    cli("prune", "--older-than", "0")
    cli("dlq", "purge", "--all", "-y")
    after = read(cli("metrics").out)
    kept = ("queuectl_attempts_total", "queuectl_attempt_duration", "queuectl_wait")
    assert all(after[where] == before[where] for where in before if where[0].startswith(kept))
    assert "secretid" not in cli("metrics").out


def test_hostile_hosts_are_escaped(cli: Cli) -> None:
    cli("enqueue", "true")
    host = 'a"b\\c{}\u202e=,'
    worker = cli.start("worker", "start", env={"QUEUECTL_HOST": host})
    shown = ("queuectl_workers", 'a"b\\c{}\\u202e=,', "idle")
    eventually(lambda: read(cli("metrics").out).get(shown) == 1)
    worker.terminate()
    worker.wait(30)


@needs_promtool
def test_promtool_finds_nothing_to_say(here: Here) -> None:
    here("enqueue", "true")
    promtool("check", "metrics", text=here("metrics").out)


def test_json_has_the_same_numbers(here: Here) -> None:
    here("enqueue", "true")
    found = {one["name"]: one for one in here("metrics", "--json").json}
    [pending] = [
        one["value"]
        for one in found["queuectl_jobs"]["metrics"]
        if one["labels"]["state"] == "pending"
    ]
    assert pending == 1
    [wait] = found["queuectl_wait_seconds"]["metrics"]
    assert wait["count"] == wait["buckets"]["+Inf"] == 0
    names = set(re.findall(r"^# TYPE (\S+)", here("metrics").out, re.MULTILINE))
    assert set(found) == names


def test_the_file_is_whole_and_for_everybody(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "queue.prom"
    file.write_text("old")
    file.chmod(0o600)
    before = file.stat().st_ino
    there = set(os.listdir(tmp_path))
    old = os.umask(0o077)
    try:
        done = here("metrics", "--textfile", file)
    finally:
        os.umask(old)
    assert (done.out, done.err) == ("", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.stat().st_ino != before, "it was replaced, not written over"
    assert set(os.listdir(tmp_path)) == there
    assert read(file.read_text())["queuectl_wait_seconds_count",] == 0
    monkeypatch.chdir(tmp_path)
    shown = here("metrics", "--textfile", "queue.prom", "--json").json
    assert shown == {"file": str(file), "bytes": file.stat().st_size}


def test_a_name_that_is_not_read_is_told(here: Here, tmp_path: Path) -> None:
    done = here("metrics", "--textfile", tmp_path / "queue.txt")
    assert "reads only files that end in .prom" in one_line(done.err)
    assert (tmp_path / "queue.txt").exists()


def test_what_cannot_be_written_is_said(here: Here, tmp_path: Path) -> None:
    (tmp_path / "folder.prom").mkdir()
    for name, words in (
        ("/dev/null", "/dev/null is not a file"),
        (tmp_path / "folder.prom", "is not a file"),
        (tmp_path / "nowhere" / "a.prom", "No such file or directory"),
        ("", "the name is empty"),
    ):
        assert words in one_line(here("metrics", "--textfile", name, code=2).err)


def test_the_store_is_not_replaced(here: Here, store_path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.prom"
    link.symlink_to(store_path)
    for name in (store_path, link):
        words = one_line(here("metrics", "--textfile", name, code=2).err)
        assert "is part of the store itself" in words
    assert here("status", "--json").json["total"] == 0


def test_a_store_that_is_not_there_is_not_made(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "a.prom"
    file.write_text("old")
    done = cli("--store", tmp_path / "no.db", "metrics", "--textfile", file, code=5)
    assert "is not there" in one_line(done.err)
    assert file.read_text() == "old"
    assert not (tmp_path / "no.db").exists()


def test_without_the_extra_one_line_says_what_to_install(cli: Cli, tmp_path: Path) -> None:
    cli("enqueue", "true")
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from queuectl_tui.__main__ import main\nsys.exit(main())"
    )
    environment = cli.environment()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", code, "metrics", *words]
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)

    done = run()
    assert done.returncode == 1
    assert "metrics need the package prometheus_client" in one_line(done.stderr)
    assert "[metrics]" in done.stderr
    assert json.loads(run("--json").stdout), "JSON needs no library"


# -- the examples of the documentation ------------------------------------------------------


def metric_names() -> set[str]:
    text = "\n".join(path.read_text("utf-8") for path in MONITORING.iterdir())
    return set(re.findall(r"\bqueuectl_(?!token)[a-z_]+", text))


def test_the_examples_use_metrics_that_exist(here: Here) -> None:
    here("enqueue", "true")
    out = here("metrics").out
    names = set(re.findall(r"^# TYPE (\S+)", out, re.MULTILINE))
    names |= {where[0] for where in read(out)}
    assert len(metric_names()) >= 7
    assert metric_names() <= names


def test_the_dashboard_for_grafana_is_json() -> None:
    shown = json.loads((MONITORING / "grafana.json").read_text("utf-8"))
    assert len({panel["id"] for panel in shown["panels"]}) == len(shown["panels"]) >= 6
    assert all(target["expr"] for panel in shown["panels"] for target in panel["targets"])


@needs_promtool
def test_the_rules_are_sound() -> None:
    promtool("check", "rules", MONITORING / "alerts.yml")
