"""``queuectl events``."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from queuectl_core.domain.events import Event, EventKind
from queuectl_tui.cli.events import EVENTS
from queuectl_tui.cli.output import PrettyListing, Stdout
from queuectl_tui.presentation.events import event_words, subject

from ..support import NOW, Cli, eventually


def test_who_did_what_is_listed(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "a")
    cli("config", "set", "lease", "20")
    cli("cancel", "a")
    cli("remove", "a")
    found = cli.json("events")
    assert [one["kind"] for one in found] == [
        *("job.removed", "job.cancelled", "config.changed", "job.enqueued")
    ]
    assert {one["via"] for one in found} == {"cli"}
    assert all("@" in one["actor"] for one in found)
    lines = cli("events", "a", "--kind", "job.removed,config").out.splitlines()
    assert len(lines) == 2, "a header and the event of a removed job"
    assert lines[1].split("\t")[1:3] == ["job.removed", "a"]
    assert len(cli.json("events", "--limit", "2")) == 2
    assert cli.json("events", "--since", "1h") == found


def test_a_name_finds_events_if_no_job_has_it(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "mail-1")
    cli("enqueue", "true", "--id", "mail-2")
    cli("queue", "pause", "mail")
    assert [one["kind"] for one in cli.json("events", "mail")] == ["queue.paused"]
    cli("enqueue", "true", "--id", "mail")
    assert [one["job"] for one in cli.json("events", "mail")] == ["mail"]
    assert "several" in cli("events", "mail-", code=4).err
    assert cli.json("events", "lease") == [], "a setting without events"


def test_what_is_asked_wrongly_is_refused(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "a")
    assert "no such job" in cli("events", "nobody", code=3).err
    assert "job.dead" in cli("events", "--kind", "job.ded", code=2).err
    assert "give 1d" in cli("events", "--since", "yesterday", code=2).err
    assert "of what?" in cli("events", "--since", "30", code=2).err
    assert "since" in cli("events", "--since", "yesterdy", code=2).err


def test_events_are_followed_as_json_lines(cli: Cli) -> None:
    cli("enqueue", "true", "--id", "a")
    command = [sys.executable, "-m", "queuectl_tui", "--store", str(cli.store)]
    command += ["events", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=cli.environment()) as follower:
        try:
            assert follower.stdout is not None
            assert json.loads(follower.stdout.readline())["kind"] == "job.enqueued"
            cli("cancel", "a")
            assert json.loads(follower.stdout.readline())["kind"] == "job.cancelled"
        finally:
            follower.terminate()
    assert eventually(lambda: follower.returncode is not None)


def test_missed_runs_are_about_their_schedule() -> None:
    detail = {"first": "a", "last": "b", "complete": True, "missed": "skip"}
    event = Event("schedule.missed", 0.0, name="nightly", count=6, detail=detail)
    assert subject(event) == "nightly"
    assert event_words(event) == "6 runs, first a, last b, missed skip"
    event = Event("schedule.missed", 0.0, name="n", count=5000, detail={"complete": False})
    assert event_words(event) == "more than 5,000 runs"


def test_the_help_of_prune_names_keep_events(cli: Cli) -> None:
    assert "keep-events" in cli("prune", "--help").out


def test_a_setting_without_a_value_has_its_default(cli: Cli) -> None:
    cli("config", "set", "lease", "20")
    assert "default → 20" in cli("events").out


def test_a_pause_without_a_reason_names_none() -> None:
    detail = {"action": "paused", "reason": None}
    event = Event(EventKind.SCHEDULE_CHANGED, 0.0, name="nightly", detail=detail)
    assert event_words(event) == "action paused"


def test_a_narrow_table_wraps_what_events_are_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = Stdout()
    shown = PrettyListing(out, EVENTS, lambda: NOW, header=True)
    name = "a-schedule-with-a-long-name"
    shown.add(Event(EventKind.SCHEDULE_CHANGED, NOW, name=name))
    shown.end()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", "".join(out._pending)).splitlines()[1:]
    assert "".join(line.split()[-1] for line in lines) == name
