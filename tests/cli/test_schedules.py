"""``queuectl schedule``: what it says, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from queuectl_core.domain.times import format_time
from queuectl_core.operations.schedules import make
from queuectl_tui.cli.output import PrettyListing, Stdout
from queuectl_tui.cli.schedule import SCHEDULES
from queuectl_tui.presentation.schedules import next_words, schedule_fields

from ..support import NOW, Cli, defaults
from .conftest import Here

CRONTAB = r"""# comment
SHELL=/bin/bash
PATH = "/usr/bin:/bin"
MAILTO=root
*/5 * * * * /opt/backup.sh --x >/dev/null
0 9 * * mon echo 50\% | mail%line one%line two
@reboot /usr/bin/foo
61 * * * * bad
* * * *
CRON_TZ=Europe/Berlin
@daily cd /tmp && ./run.py
CRON_TZ=Mars
"""


def test_add_show_and_the_rest(cli: Cli) -> None:
    cli(
        "schedule",
        "add",
        "n",
        "--cron",
        "30  2 * * 1-5",
        "--tz",
        "Europe/Berlin",
        "-p",
        "3",
        "true",
    )
    shown = cli.json("schedule", "show", "n")
    assert (shown["cron"], shown["tz"], shown["missed"]) == (
        "30 2 * * 1-5",
        "Europe/Berlin",
        "once",
    )
    assert shown["job"] == {"command": "true", "priority": 3, "cwd": str(cli.cwd)}
    assert len(shown["next_times"]) == 5
    assert all("02:30 CE" in one["local"] for one in shown["next_times"])
    cli("schedule", "edit", "n", "--every", "90s", "--unset", "priority", "--", "echo", "a b")
    shown = cli.json("schedule", "show", "n")
    assert (shown["cron"], shown["every"]) == (None, 90)
    assert shown["job"] == {"command": ["echo", "a b"], "cwd": str(cli.cwd)}
    text = cli("schedule", "show", "n").out
    assert "every 1m30s" in text
    assert "Next times:" in text
    job = cli("schedule", "run", "n").out.strip()
    assert cli.json("show", job)["schedule"] == "n"
    cli("schedule", "pause", "n", "--reason", "why\x1b[2J")
    assert "\x1b" not in cli("schedule", "show", "n").out
    [line] = cli("schedule", "list", "--quiet").out.splitlines()
    assert line.startswith("n\tpaused\tevery 1m30s")
    cli("schedule", "remove", "n")
    assert cli.json("schedule", "list") == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("add", "a b", "--every", "1m", "true"), 2, "schedule 'a b' is not allowed"),
        (("add", "../x", "--every", "1m", "true"), 2, "is not allowed"),
        (("add", "n", "true"), 2, "give --cron or --every"),
        (("add", "n", "--every", "1m"), 2, "COMMAND"),
        (("add", "n", "--every", "1m", "--cron", "@daily", "true"), 2, "exclude each other"),
        (("add", "n", "--cron", "* * *", "true"), 2, "has 3 fields"),
        (("add", "n", "--every", "1m", "echo", "hi"), 2, "quote"),
        (("add", "n", "--every", "1m", '{"command": "x", "id": "y"}'), 2, "cannot set id"),
        (("add", "n", "--every", "1m", '{"comand": "x"}'), 2, "unknown field"),
        (("add", "there", "--every", "1m", "true"), 4, "schedule 'there' exists"),
        (("show", "nobody"), 3, "no such schedule"),
        (("pause", "nobody"), 3, "no such schedule"),
        (("run", "nobody"), 3, "no such schedule"),
        (("remove", "\x1b[2J"), 3, "no such schedule"),
        (("edit", "there"), 2, "say what to change"),
        (("edit", "there", "--unset", "command"), 2, "cannot be taken away"),
        (("import", "/nowhere"), 2, "cannot read /nowhere"),
        (("import", "/dev/null", "--tz", "Europ/Berlin"), 2, "error: no such time zone"),
    ],
)
def test_what_is_refused(cli: Cli, words: tuple[str, ...], code: int, said: str) -> None:
    cli("schedule", "add", "there", "--every", "1h", "true")
    found = cli("schedule", *words, code=code)
    assert said in found.err
    assert "\x1b" not in found.err
    assert [one["name"] for one in cli.json("schedule", "list")] == ["there"]


def test_a_job_is_shown_in_plain_words(here: Here, tmp_path: Path) -> None:
    job = {"command": "x", "env": {"A": "hush"}, "secrets": {"T": "file:/t"}, "after": ["r", "s"]}
    here("schedule", "add", "n", "--every", "1h", "--timeout", "1m", json.dumps(job))
    shown = here("schedule", "show", "n").out
    for words in ("env: A=***;", "secrets: T=file:/t;", "after: r, s;", "timeout_seconds: 60;"):
        assert words in f"{shown};".replace("\n", ";"), shown
    assert "env: A=hush" in here("schedule", "show", "n", "--show-env").out
    here("schedule", "pause", "n")
    assert "none" not in here("events", "n").out


def test_a_run_is_answered_with_its_stdin(cli: Cli) -> None:
    cli("schedule", "add", "n", "--every", "1h", '{"command": "cat", "stdin": "hello"}')
    assert cli.json("schedule", "run", "n")["stdin"] == "hello"


def test_the_table_cuts_the_command_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    info, _ = make("nightly", {"every": "12h"}, "true " * 30, defaults=defaults(), env={"TZ": ""})
    reason = "the previous run runs still: nightly@2026-11-28T09:30Z"
    one = info.schedule._replace(skipped_at=NOW - 25000, skipped_reason=reason)
    out = Stdout()
    shown = PrettyListing(out, SCHEDULES, lambda: NOW + 60, header=True)
    shown.add(info._replace(schedule=one))
    shown.add(info._replace(schedule=one._replace(due_at=NOW - 60)))
    shown.end()
    text = "".join(out._pending)
    assert f": {reason}" in text
    assert "in 11h59m" in text
    assert "overdue" in text
    assert "…" in text


def test_next_is_when_it_is_enqueued_and_not_its_nominal_time() -> None:
    rule = {"every": "12h", "jitter": "1h"}
    info, _ = make("nightly", rule, "true", defaults=defaults(), env={"TZ": ""})
    one = info.schedule._replace(next_at=NOW, due_at=NOW + 600)
    fields = {name: text for name, text, _ in schedule_fields(info._replace(schedule=one), NOW)}
    assert fields["next"].startswith(f"{format_time(NOW + 600)} (in 10m00s)")
    assert fields["next"].endswith(f", for the time {format_time(NOW)}")
    late = {name: text for name, text, _ in schedule_fields(info._replace(schedule=one), NOW + 602)}
    assert "(2.0s ago)" in late["next"]
    row = {c.name: c.value(info._replace(schedule=one), NOW) for c in SCHEDULES.pipe}
    assert (row["next_at"], row["due_at"]) == (format_time(NOW), format_time(NOW + 600))
    paused = one._replace(paused_at=NOW)
    assert next_words(paused, NOW) == ""


def test_warnings(cli: Cli) -> None:
    found = cli("schedule", "add", "never", "--cron", "0 0 30 2 *", "true")
    assert "never fires" in found.err
    found = cli("schedule", "add", "gap", "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "true")
    assert "02:30 does not exist in Europe/Berlin" in found.err
    assert "warning" not in cli("schedule", "add", "fine", "--cron", "@hourly", "true").err


def test_a_crontab_is_imported_line_by_line(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text(CRONTAB)
    found = cli("schedule", "import", file, "--tz", "UTC", "--json", code=1)
    said = json.loads(found.out)
    assert [one["line"] for one in said["problems"]] == [4, 7, 8, 9, 12]
    for number in (4, 7, 8, 9, 12):
        assert f"line {number}: " in found.err
    by_name = {one["name"]: one for one in said["added"]}
    assert sorted(by_name) == ["backup.sh", "echo", "tmp"]
    home = os.path.expanduser("~") if "HOME" not in cli.env else cli.env["HOME"]
    mail = cli.json("schedule", "show", "echo", "--show-env")["job"]
    assert mail["command"] == ["/bin/bash", "-c", "echo 50% | mail"]
    assert mail["stdin"] == "line one\nline two\n"
    assert mail["env"] == {"PATH": "/usr/bin:/bin"}
    assert mail["cwd"] == home
    assert by_name["tmp"]["tz"] == "Europe/Berlin"
    again = json.loads(cli("schedule", "import", file, "--tz", "UTC", "--json", code=1).out)
    assert (again["added"], sorted(again["existing"])) == ([], ["backup.sh", "echo", "tmp"])


def test_equal_lines_make_one_schedule(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text("*/5 * * * * ping example.org\n" * 3)
    here("schedule", "import", file, "--json")
    again = here("schedule", "import", file, "--json").json
    assert (again["added"], again["existing"]) == ([], ["ping"])
    assert [one["name"] for one in here("schedule", "list", "--json").json] == ["ping"]


def test_lines_after_an_unknown_zone_are_not_added(here: Here, tmp_path: Path) -> None:
    """They would run at the times of another zone."""
    file = tmp_path / "crontab"
    file.write_text("@daily one\nCRON_TZ=Mars\n@daily two\nCRON_TZ=UTC\n@daily three\n")
    found = here("schedule", "import", file, "--json", code=1).json
    assert [one["name"] for one in found["added"]] == ["one", "three"]
    assert [one["line"] for one in found["problems"]] == [2, 3]


def test_only_a_newline_ends_a_line(here: Here, tmp_path: Path) -> None:
    """As in cron: otherwise a part of the command would run."""
    file = tmp_path / "crontab"
    file.write_text("@daily printf 'a\x0cb\u2028c'\n")
    [added] = here("schedule", "import", file, "--json").json["added"]
    assert added["job"]["command"] == "printf 'a\x0cb\u2028c'"


def test_strict_and_dry_run_add_nothing(cli: Cli) -> None:
    cli("enqueue", "true")
    cli("schedule", "import", "-", "--strict", stdin=CRONTAB, code=2)
    assert cli.json("schedule", "list") == []
    found = cli("schedule", "import", "-", "--strict", stdin="@daily true\n@daily a\0b\n", code=2)
    assert "line 2: command contains a NUL byte" in found.err
    assert "nothing added: 1 line cannot be added" in found.err
    assert cli.json("schedule", "list") == []
    cli("schedule", "import", "-", "--dry-run", stdin="@daily true\n")
    assert cli.json("schedule", "list") == []


def test_a_run_gets_its_time(cli: Cli) -> None:
    cli(
        "schedule",
        "add",
        "s",
        "--every",
        "1s",
        "--overlap",
        "allow",
        'echo "$QUEUECTL_SCHEDULED_AT"',
    )
    process = cli.start("worker", "start")
    from ..support import eventually

    def done() -> list[dict[str, object]]:
        jobs: list[dict[str, object]] = cli.json("list", "--state", "completed")
        return jobs

    [job, *_] = eventually(done)
    process.terminate()
    process.wait()
    assert cli("logs", str(job["id"])).out.strip() == job["scheduled_at"]


def test_the_doctor_looks_at_them(cli: Cli) -> None:
    cli("schedule", "add", "s", "--every", "1h", "true")
    [found] = [one for one in cli.json("doctor") if one["check"] == "schedules"]
    assert (found["level"], found["hint"]) == ("warn", "run: queuectl worker start")


def test_what_somebody_wrote_into_the_store_is_one_clean_line_in_a_pipe() -> None:
    info, _ = make("n", {"every": "1m"}, {"command": "x"}, defaults=defaults(), env={})
    hostile = "\x1b[31m\n\u202e"
    schedule = info.schedule._replace(
        name=hostile, tz=hostile, skipped_at=NOW, skipped_reason=hostile, job={"command": hostile}
    )
    info = info._replace(schedule=schedule)
    cells = [column.value(info, NOW) for column in SCHEDULES.pipe]
    assert all(cell.isprintable() for cell in cells), cells
