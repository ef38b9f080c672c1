"""Limits of what is shown and done at once, each exactly at its edge."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from queuectl_core.domain.errors import Conflict, JobChanged
from queuectl_core.domain.model import Filter, State
from queuectl_core.domain.schedule import Schedule
from queuectl_core.operations import doctor, maintenance, restore
from queuectl_core.operations.attempt_output import log_path
from queuectl_core.queue import Queue
from queuectl_core.runner.output_file import HEADER, STAMP
from queuectl_tui.cli import demo, helppage
from queuectl_tui.cli.diagnostics import Stderr, one_line
from queuectl_tui.cli.output import Stdout
from queuectl_tui.cli.worker_stop import _running

from ..presentation.samples import worker
from ..support import NOW, make_store
from .conftest import Here
from .test_transcript import seed_one


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs of this process answer as at a terminal."""
    monkeypatch.setattr(Stdout, "terminal", True)
    monkeypatch.setattr(Stderr, "terminal", True)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "100")


def jobs_of(count: int, **fields: Any) -> str:
    return json.dumps([{"command": "true", "id": f"j{n}", **fields} for n in range(count)])


def test_twenty_directories_are_looked_at(here: Here) -> None:
    jobs = [{"command": "true", "cwd": f"/none/{number}"} for number in range(21)]
    assert here("enqueue", json.dumps(jobs)).err.count("there is no directory") == 20


def test_twenty_bad_lines_are_shown(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "jobs"
    for count in (20, 21, 22):
        file.write_text("{}\n" * count)
        said = here("enqueue", "--file", file, code=2).err
        assert said.count("error: line ") == 20
        found = re.search(r"(\d+) more bad line(s?)$", said, re.M)
        assert (found and found.groups()) == {20: None, 21: ("1", ""), 22: ("2", "s")}[count]


@pytest.mark.usefixtures("at_terminal")
def test_twenty_jobs_of_a_file_are_shown_to_a_person(here: Here, tmp_path: Path) -> None:
    for count, shown in ((20, 21), (21, 0)):
        file = tmp_path / str(count)
        file.write_text('{"command": "true"}\n' * count)
        said = here("enqueue", "--file", file)
        assert len(said.out.splitlines()) == shown
        assert f"{count} jobs enqueued in" in said.err


def test_five_jobs_that_exist_are_named(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "jobs"
    file.write_text(
        "".join(f'{{"command": "x", "id": "u{n}", "unique": "{n}"}}\n' for n in "123456")
    )
    here("enqueue", "--file", file)
    said = here("enqueue", "--file", file).err
    assert "6 jobs exist and hold the unique values (u1, u2, u3, u4, u5 …); nothing was" in said
    five = file.with_name("five")
    five.write_text("".join(file.read_text().splitlines(keepends=True)[:5]))
    said = here("enqueue", "--file", five).err
    assert "5 jobs exist and hold the unique values (u1, u2, u3, u4, u5); nothing was" in said


@pytest.mark.usefixtures("at_terminal")
def test_fifty_jobs_and_events_are_listed_for_a_person(here: Here) -> None:
    here("enqueue", "-q", jobs_of(50))
    said = here("list")
    assert (len(said.out.splitlines()), said.err) == (51, "")
    here("enqueue", "-q", "--id", "one-more", "true")
    said = here("list")
    assert len(said.out.splitlines()) == 51
    assert "queuectl: 1 more; --limit N shows N" in said.err
    said = here("events")
    assert len(said.out.splitlines()) == 51
    assert "queuectl: 1 more; --limit N shows N" in said.err
    here("enqueue", "-q", json.dumps([{"command": "true"}] * 998))
    assert "queuectl: 999 more; " in here("events").err
    here("enqueue", "-q", "--id", "last", "true")
    assert "queuectl: at least 1,000 more; " in here("events").err


def test_ten_queues_and_three_reasons_are_named(here: Here) -> None:
    for number in range(10):
        here("enqueue", "--queue", f"q{number}", "true")
    assert "; queues with jobs: q0, q1" in here("list", "--queue", "nobody").err
    here("enqueue", "--queue", "q10", "true")
    assert here("list", "--queue", "nobody").err == "queuectl: no job is in queue 'nobody'\n"


def test_a_long_message_is_cut() -> None:
    assert one_line("x" * 2000) == "x" * 2000
    cut = one_line("x" * 1000 + "y" * 501 + "z" * 500)
    assert cut == "x" * 1000 + " … " + "z" * 500


def test_three_workers_are_named() -> None:
    names = [worker("a"), worker("b", job="j" * 41, job_started_at=NOW - 5), worker("c" * 41)]
    assert _running(names, NOW) == f"a, {'j' * 39}… for 5.0s, {'c' * 39}…"
    assert _running([*names, worker("d")], NOW).endswith("… and 1 more")


def test_the_width_of_help(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, width in (("39", 40), ("40", 40), ("90", 90), ("91", 90), ("100000", 80), ("x", 80)):
        monkeypatch.setenv("COLUMNS", given)
        assert helppage.width() == width
    rows = [("x" * 26, "fits"), ("y" * 27, "next line")]
    assert helppage.terms(rows, 60) == ["x" * 26 + "  fits", "y" * 27, " " * 28 + "next line"]
    assert helppage.terms([("a", "b c" * 10), ("long", "d")], 9) == [
        *("a     b cb cb cb cb cb cb", "      cb cb cb c", "long  d"),
    ]
    assert helppage.wrap("aa bb cc ddddd", 5) == ["aa bb", "cc", "ddddd"]
    assert helppage.paragraphs("a\nb\n\n  kept  \nc", 5) == ["a b", "", "  kept", "c"]


def test_a_progress_bar(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Stderr, "animated", True)
    err = Stderr()
    err.color = False
    err.bar("copying", 1, 2, "pages")
    err.bar("copying", 1, 2, "too soon")
    err.bar("copying", 2000, 2000)
    err.note("told")
    err.clear()
    err.bar("none", 0, 0)
    shown = capfd.readouterr().err
    full = "━" * 24
    on, off = "\r\x1b[K\x1b[?7l", "\x1b[?7h"
    last = f"{on}copying {full} 2,000/2,000 {off}"
    assert shown == (
        f"{on}copying {full} 1/2 pages{off}{last}\r\x1b[Kqueuectl: told\n{last}\r\x1b[K"
        f"{on}none {full} 0/0 {off}"
    )


def test_what_moves_is_shown_at_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stderr, "terminal", True)
    err = Stderr()
    for term, animated in (("xterm", True), ("dumb", False), ("", True)):
        monkeypatch.setenv("TERM", term)
        assert err.animated == animated
    monkeypatch.setenv("TERM", "xterm")
    err.quiet = True
    assert not err.animated
    err.quiet = False
    monkeypatch.setattr(Stderr, "terminal", False)
    assert not err.animated
    monkeypatch.setattr(Stderr, "terminal", True)
    monkeypatch.delenv("TERM")
    assert not err.animated


def test_all_or_none_of_more_jobs_than_one_page(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act() -> None:
        async with Queue.open(str(store_path)) as queue:
            await queue.enqueue([{"command": "true"} for _ in range(501)])
            jobs = await queue.scan(Filter(), 501)
            await queue.cancel(jobs[-1:])
            with pytest.raises((JobChanged, Conflict)):
                await queue.cancel(jobs)
            assert await queue.count_range(Filter((State.CANCELLED,))) == 1
            parts = []
            change = queue.store.change

            def counted(action: Any, part: Any, *rest: Any, **more: Any) -> Any:
                parts.append(len(part))
                return change(action, part, *rest, **more)

            monkeypatch.setattr(queue.store, "change", counted)
            assert await queue.cancel(jobs, strict=False) == 500
            assert parts == [500, 1], "others who write wait for a part only"

    make_store(store_path)
    asyncio.run(act())


def test_where_output_is(tmp_path: Path) -> None:
    assert log_path(tmp_path, 999, 1) == tmp_path / "logs/0/999.1.log"
    assert log_path(tmp_path, 1000, 12) == tmp_path / "logs/1/1000.12.log"


def test_each_line_of_output_has_its_time(here: Here, store_path: Path) -> None:
    async def act() -> None:
        async with Queue.open(str(store_path)) as queue:
            job = await seed_one(queue)
            path = log_path(queue.directory, job.seq, 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"a\nbb\nccc\n")
            stamps = ((0, 50.0), (2, 51.0), (5, 52.0))
            times = HEADER.pack(50.0) + b"".join(STAMP.pack(*stamp) for stamp in stamps)
            path.with_suffix(".times").write_bytes(times)

    asyncio.run(act())
    lines = here("logs", "one", "--timestamps").out.splitlines()
    assert [line.split("T")[1] for line in lines] == [
        *("14:10:00.000Z a", "14:10:01.000Z bb", "14:10:02.000Z ccc"),
    ]


# -- doctor ------------------------------------------------------------------------------


@pytest.mark.parametrize(("took", "level"), [(1.0, "ok"), (1.01, "warn")])
def test_a_slow_store(
    store_path: Path, monkeypatch: pytest.MonkeyPatch, took: float, level: str
) -> None:
    async def act() -> doctor.Finding:
        async with Queue.open(str(store_path), read_only=True) as queue:
            moments = iter((5.0, 5.0 + took))
            monkeypatch.setattr(doctor, "time", SimpleNamespace(monotonic=lambda: next(moments)))
            return await anext(doctor._examine_store(queue))

    make_store(store_path)
    assert asyncio.run(act()).level == level


@pytest.mark.parametrize(("late", "level"), [(60.0, "ok"), (60.5, "bad")])
def test_a_schedule_is_overdue_after_a_minute(late: float, level: str) -> None:
    times = {"since": 0.0, "next_at": NOW - late, "due_at": NOW - late}
    one = Schedule("s", None, 7200.0, "UTC", "once", 0.0, "skip", 0.0, {}, **times)

    async def schedules() -> list[Any]:
        return [SimpleNamespace(schedule=one)]

    queue: Any = SimpleNamespace(schedules=schedules, clock=lambda: NOW)
    [found] = asyncio.run(doctor.schedules(queue, 1))
    assert found.level == level


# -- what fails is not told as done ----------------------------------------------------------


def test_a_backup_that_fails_while_it_is_watched_fails() -> None:
    async def fail(tell: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        asyncio.run(maintenance._told(fail, lambda done, total: None))


def test_a_new_store_that_cannot_be_put_in_its_place(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    here("backup", tmp_path / "b.db")
    monkeypatch.setattr(restore, "publish", fail)
    new = tmp_path / "new.db"
    said = here("--store", new, "restore", tmp_path / "b.db", code=None)
    assert said.code == 5
    assert f"no space left for {new}" in said.err
    assert not said.out
    assert not new.exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="there is no /proc")
def test_tests_of_hooks_leave_no_file_open(here: Here) -> None:
    here("hook", "add", "say", "--on", "dead", "--", "true")
    here("hook", "test", "say")
    before = len(os.listdir("/proc/self/fd"))
    here("hook", "test", "say")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_hook_that_takes_too_long(here: Here) -> None:
    here("hook", "add", "slow", "--on", "dead", "--timeout", "0.05", "--", "sleep", "60")
    assert here("hook", "test", "slow", "--json", code=1).json == {
        "name": "slow",
        "accepted": False,
        "said": "timed out after 50ms",
        "output": "",
        "status": None,
        "exit_code": 137,
    }


def test_a_hook_that_ends_by_a_signal(here: Here) -> None:
    here("hook", "add", "ill", "--on", "dead", "--", "sh", "-c", "echo x; kill -TERM $$")
    found = here("hook", "test", "ill", "--json", code=1).json
    assert (found["said"], found["exit_code"]) == ("killed by SIGTERM", 143)


def test_the_jobs_of_the_demo_are_those_that_it_speaks_of(here: Here, store_path: Path) -> None:
    async def act() -> None:
        async with Queue.open(str(store_path)) as queue:
            await queue.enqueue(demo.DEMO_JOBS)

    asyncio.run(act())
    found = {job["id"]: job for job in here("list", "--json").json}
    assert [*found] == ["flaky", "later", "argv", "count", "hello"]
    assert len(found) == demo.TOTAL
    assert found["flaky"]["max_retries"] == 3
    assert found["flaky"]["backoff_base"] == 1.4
    assert found["hello"]["priority"] == 5
    assert found["later"]["run_at"] > found["later"]["created_at"]
    assert found["argv"]["command"][0] == "printf"
    for _, line in demo.NEXT:
        if not line.startswith(("worker", "tui", "dlq")):
            here(*shlex.split(line))
