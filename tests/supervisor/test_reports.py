"""What jobs get and report, with real processes."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.domain.model import Job, Outcome, State
from queuectl_core.domain.notices import Notice, NoticeKind
from queuectl_core.queue import Queue
from queuectl_core.runner import lease_clock
from queuectl_core.supervisor import reports
from queuectl_core.supervisor.commands import CommandReader
from queuectl_core.supervisor.maintenance import lost_attempts, services
from queuectl_core.supervisor.reports import MAX_RESULT, cut, parse_progress, read_progress
from queuectl_tui.cli.progress import _write

from ..support import NOW, eventually_async
from .conftest import Run
from .test_triage import Supervisors, until_output
from .test_triage import supervisors as supervisors  # noqa: PLC0414 - a fixture

MIB = 1 << 20


async def output_of(queue: Queue, job: Job) -> bytes:
    return (await queue.output(job)).read(0, 2 * MIB)


async def whole(queue: Queue, job: Job) -> Job:
    [found] = await queue.with_texts([await queue.find(job.id)])
    return found


def left(queue: Queue) -> list[str]:
    """Files of attempts that are there."""
    return sorted(os.listdir(queue.directory / "run" / "attempts"))


async def one(queue: Queue, run: Run, command: str | list[str], **fields: Any) -> Job:
    """A job after its only attempt."""
    [job] = await queue.enqueue([{"command": command, "max_retries": 1, **fields}])
    await run()
    assert left(queue) == []
    return await whole(queue, job)


# -- standard input ---------------------------------------------------------------------------


async def test_every_way_to_start_a_job_gives_it_its_standard_input(queue: Queue, run: Run) -> None:
    """Directly, by the shell, forked because of limits, half read and not read at all."""
    text = "a\0b\nü" + "x" * (MIB - 6)
    jobs = await queue.enqueue(
        [
            {"command": "cat", "stdin": "direct"},
            {"command": ["cat"], "stdin": "argv"},
            {"command": "wc -c; wc -c", "stdin": text},
            {"command": "cat", "stdin": "nice", "nice": 1},
            {"command": "head -c 3", "stdin": text},
            {"command": "true", "stdin": text},
            {"command": "cat", "stdin": ""},
            {"command": "cat; echo nothing"},
            {
                "command": "sleep 0.3; dd bs=1k count=3 2>&1 | wc -c; sleep 0.1; cat | wc -c",
                "stdin": text,
            },
        ]
    )
    await run(3)
    written = [await output_of(queue, await queue.find(job.id)) for job in jobs]
    wanted = [b"direct", b"argv", b"1048576\n0\n", b"nice", b"a\0b", b"", b"", b"nothing\n"]
    assert written[:-1] == wanted
    assert written[-1].split()[-1] == str(MIB - 3072).encode()
    assert {(await queue.find(job.id)).state for job in jobs} == {State.COMPLETED}
    assert left(queue) == []


async def test_each_attempt_reads_all_of_it(queue: Queue, run: Run) -> None:
    [job] = await queue.enqueue(
        [{"command": "cat; exit 1", "stdin": "again", "max_retries": 2, "backoff_base": 0}]
    )
    await run()
    job = await queue.find(job.id)
    assert [(await queue.output(job, n)).read(0, 99) for n in (1, 2)] == [b"again", b"again"]


async def test_a_full_disk_for_standard_input_is_no_fault_of_the_job(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = reports.write_inputs, [True]

    def fails(run_directory: Path, inputs: Mapping[str, bytes]) -> None:
        write(run_directory, inputs)
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(reports, "write_inputs", fails)
    [job] = await queue.enqueue([{"command": "cat", "stdin": "later"}])
    told: list[Notice] = []

    def hear(notice: Notice) -> None:
        told.append(notice)
        full[0] = full[0] and notice.kind is not NoticeKind.TROUBLE

    await queue.run_workers(1, until_empty=True, on_notice=hear)
    found = await queue.find(job.id)
    assert (found.state, found.attempts, found.runs) == (State.COMPLETED, 1, 1)
    assert await output_of(queue, found) == b"later"
    assert any("standard input" in notice.message for notice in told)
    assert left(queue) == []


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Standard input is being written; and it may be written."""
    write, begun, go = reports.write_inputs, threading.Event(), threading.Event()

    def slow(run_directory: Path, inputs: Mapping[str, bytes]) -> None:
        begun.set()
        assert go.wait(60)
        write(run_directory, inputs)

    monkeypatch.setattr(reports, "write_inputs", slow)
    yield begun, go
    go.set()


async def test_a_job_whose_input_is_written_slowly_runs_once_and_delays_no_other(
    queue: Queue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slow_disk: tuple[threading.Event, threading.Event],
) -> None:
    monkeypatch.setattr(services, "TICK", 0.01)
    monkeypatch.setattr(lost_attempts, "EVERY", 0.0)
    looks, held = [0], queue.store.held

    async def looked(owner: str) -> list[Job]:
        found = await held(owner)
        looks[0] += slow_disk[0].is_set()
        return found

    monkeypatch.setattr(queue.store, "held", looked)
    [job, other] = await queue.enqueue(
        [{"command": "cat", "stdin": "once"}, "touch other; until test -e go; do sleep 0.02; done"]
    )
    told: list[Notice] = []
    working = asyncio.create_task(queue.run_workers(2, until_empty=True, on_notice=told.append))

    async def seen() -> bool:
        return looks[0] >= 4 and (tmp_path / "other").exists()

    await eventually_async(seen)
    assert (await queue.find(job.id)).state is State.PROCESSING
    slow_disk[1].set()
    (tmp_path / "go").touch()
    await working
    assert [notice.job for notice in told if notice.kind is NoticeKind.RECOVERED] == []
    assert [one.outcome for one in await queue.attempts(job)] == [Outcome.COMPLETED]
    assert [one.outcome for one in await queue.attempts(other)] == [Outcome.COMPLETED]
    assert await output_of(queue, await queue.find(job.id)) == b"once"


@pytest.mark.parametrize("ending", ["cancel", "stop", "stop now"])
async def test_a_job_whose_input_is_being_written_can_be_ended(
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    slow_disk: tuple[threading.Event, threading.Event],
    ending: str,
) -> None:
    monkeypatch.setattr(services, "TICK", 0.01)
    applied, apply = asyncio.Event(), CommandReader.apply

    async def seen(self: CommandReader) -> None:
        is_after = ended
        await apply(self)
        if is_after:
            applied.set()

    monkeypatch.setattr(CommandReader, "apply", seen)
    ended = False
    [job] = await queue.enqueue([{"command": "exec sleep 300", "stdin": "x"}])
    working = asyncio.create_task(queue.run_workers(1, until_empty=True))
    await asyncio.to_thread(slow_disk[0].wait, 60)
    if ending == "cancel":
        await queue.cancel([await queue.find(job.id)])
    else:
        await queue.stop_workers(await queue.workers(), now=ending == "stop now")
    ended = True
    await queue.store.set_config("max-crashes", "5")  # so that commands are read once more
    await asyncio.wait_for(applied.wait(), 60)
    slow_disk[1].set()
    await working
    found = await queue.find(job.id)
    assert found.state is (State.CANCELLED if ending == "cancel" else State.PENDING)
    assert found.attempts == 0
    assert left(queue) == []


async def test_a_lost_input_file_fails_the_attempt(
    queue: Queue, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "write_inputs", lambda *_: None)
    job = await one(queue, run, "cat", stdin="gone")
    assert job.last_error == "cannot open its standard input: No such file or directory"


# -- secrets ----------------------------------------------------------------------------------


async def test_secrets_are_read_when_the_attempt_starts(
    queue: Queue, run: Run, tmp_path: Path
) -> None:
    place = tmp_path / "a secret"
    (tmp_path / "link").symlink_to(place)
    place.write_bytes(b"old\n")
    [job] = await queue.enqueue(
        [
            {
                "command": 'printf %s "$A" | od -An -c; test "$B" = "$A"',
                "secrets": {"A": "file:a secret", "B": "file:link"},
                "env": {"QUEUECTL_JOB_ID": "evil"},
            }
        ]
    )
    assert job.secrets == {"A": f"file:{place}", "B": f"file:{tmp_path}/link"}
    place.write_bytes(b"v\xff\n\n")
    await run()
    found = await queue.find(job.id)
    assert found.state is State.COMPLETED, found.last_error
    assert (await output_of(queue, found)).split() == [b"v", b"377", b"\\n"], "one newline less"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        ("true", "No such file or directory"),
        ("mkdir s", "it is not a regular file"),
        ("mkfifo s", "it is not a regular file"),
        ("ln -s /dev/zero s", "it is not a regular file"),
        ("ln -s s s", "Too many levels of symbolic links"),
        ("printf 'a\\000b' > s", "it holds a NUL byte"),
        ("truncate -s 1G s", "it is too large for a variable"),
        ("head -c 131068 /dev/zero | tr '\\0' x > s", "exit 3"),
        ("head -c 131070 /dev/zero | tr '\\0' x > s", "it is too large for a variable"),
    ],
)
async def test_a_secret_that_cannot_be_read_fails_the_attempt(
    queue: Queue, run: Run, tmp_path: Path, make: str, why: str
) -> None:
    subprocess.run(["/bin/sh", "-c", make], cwd=tmp_path, check=True)
    job = await one(queue, run, "exit 3", secrets={"S": f"file:{tmp_path}/s"})
    assert (job.state, job.attempts) == (State.DEAD, 1)
    assert job.last_error is not None
    assert job.last_error.endswith(why)
    assert why == "exit 3" or "cannot read the secret S from" in job.last_error


async def test_the_value_of_a_secret_is_nowhere_but_in_the_job(
    queue: Queue, supervisors: Supervisors, tmp_path: Path
) -> None:
    value = "v" + os.urandom(8).hex()
    (tmp_path / "s").write_text(value)
    [job] = await queue.enqueue(
        [{"command": "echo $$; exec sleep 300", "secrets": {"S": f"file:{tmp_path}/s"}}]
    )
    process = await supervisors.start(1)
    [text] = await until_output(queue, job)
    pid = int(text)
    with open(f"/proc/{pid}/environ", "rb") as environ:
        assert value.encode() in environ.read()
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    for other in (process.pid, parent):
        for part in ("cmdline", "environ"):
            assert value.encode() not in Path(f"/proc/{other}/{part}").read_bytes()
        assert not in_memory(other, value.encode())
    for path in Path(queue.store.url).parent.rglob("*"):
        if path.is_file() and path != tmp_path / "s":
            assert value.encode() not in path.read_bytes(), path
    await queue.cancel([await queue.find(job.id)])


def in_memory(pid: int, text: bytes) -> bool:
    """Whether a process has this text in its memory."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            words = line.split()
            if words[1].startswith("rw") and (len(words) < 6 or not words[5].startswith("/")):
                begin, end = (int(word, 16) for word in words[0].split("-"))
                memory.seek(begin)
                if text in memory.read(end - begin):
                    return True
    return False


# -- progress ---------------------------------------------------------------------------------


async def test_progress_is_seen_while_the_job_runs_and_its_last_value_stays(
    queue: Queue, tmp_path: Path
) -> None:
    program = f"{sys.executable} -m queuectl_tui progress"
    [job] = await queue.enqueue(
        [
            "echo '40 half of it' > $QUEUECTL_PROGRESS; until test -e go; do sleep 0.02; done;"
            f"{program} 90.5% the 'end'; echo done > $QUEUECTL_RESULT"
        ]
    )
    working = asyncio.create_task(queue.run_workers(1, until_empty=True))

    async def seen() -> bool:
        found = await queue.find(job.id)
        return (found.progress, found.progress_text) == (40, "half of it")

    await eventually_async(seen)
    [worker] = await queue.workers()
    assert (worker.progress, worker.progress_text) == (40, "half of it")
    (tmp_path / "go").touch()
    await working
    found = await whole(queue, job)
    assert (found.state, found.progress, found.progress_text) == (State.COMPLETED, 90.5, "the end")
    assert found.result == "done\n"
    assert left(queue) == []


async def test_a_job_that_writes_all_the_time_costs_one_write_a_second(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "busy.py").write_text(
        "import os\nn = 0\nwhile not os.path.exists('go'):\n"
        "    n += 1\n"
        "    path = os.environ['QUEUECTL_PROGRESS']\n"
        "    with open(path + '.new', 'w') as f: f.write(f'{n % 99} {n}')\n"
        "    os.replace(path + '.new', path)\n"
    )
    calls: list[int] = []
    report = type(queue.store).report_progress

    async def counted(self: Any, owner: str, found: Any) -> None:
        calls.append(len(found))
        if len([n for n in calls if n]) == 2:
            (tmp_path / "go").touch()
        await report(self, owner, found)

    monkeypatch.setattr(type(queue.store), "report_progress", counted)
    [job] = await queue.enqueue([f"{sys.executable} busy.py"])
    await queue.run_workers(1, until_empty=True)
    found = await queue.find(job.id)
    assert found.started_at is not None
    assert found.finished_at is not None
    assert sum(calls) <= found.finished_at - found.started_at + 1
    assert found.progress is not None


HOSTILE = {
    "ln -sf /etc/passwd {}": "a link",
    "mkfifo {}": "a FIFO",
    "truncate -s 1G {}": "no text",
    "mkdir {}": "a directory",
    "printf '150 too much' > {}": "beyond 100",
    "printf 'abc' > {}": "no number",
    "printf '\\377\\376' > {}": "no UTF-8",
    "printf '' > {}": "empty",
    "ln -s {} {}": "a circle",
}


async def test_hostile_reports_are_ignored_and_leave_nothing(
    queue: Queue, run: Run, tmp_path: Path
) -> None:
    commands = [
        make.replace("{}", '"$QUEUECTL_PROGRESS"', 1).replace("{}", '"$QUEUECTL_PROGRESS"')
        + "; sleep 1.2"
        for make in HOSTILE
    ]
    jobs = await queue.enqueue(commands)
    results = await queue.enqueue(
        [
            "ln -s /etc/passwd $QUEUECTL_RESULT",
            "mkfifo $QUEUECTL_RESULT",
            "truncate -s 1G $QUEUECTL_RESULT",
            "mkdir -p $QUEUECTL_RESULT/x",
            "printf '\\377\\033]0;x\\007[b]<i>\\000' > $QUEUECTL_RESULT",
        ]
    )
    await run(len(jobs))
    # By itself, because it takes the reports of all others away.
    results += await queue.enqueue(["rm -rf $(dirname $QUEUECTL_RESULT)", "true"])
    await run(1)
    for job, what in zip(jobs, HOSTILE.values(), strict=True):
        found = await queue.find(job.id)
        assert (found.state, found.progress) == (State.COMPLETED, None), what
    found = [await whole(queue, job) for job in results]
    assert {job.state for job in found} == {State.COMPLETED}
    assert [found[0].result, found[1].result, found[3].result, found[5].result] == [None] * 4
    assert found[2].result is not None
    assert len(found[2].result) == MAX_RESULT
    assert found[2].result.endswith("\n[cut: the result has 1.0G bytes, the limit is 64.0K]")
    assert found[4].result == "\ufffd\x1b]0;x\x07[b]<i>\0"
    assert Path("/etc/passwd").exists()


async def test_reports_survive_a_supervisor_that_is_killed(
    queue: Queue, supervisors: Supervisors, tmp_path: Path
) -> None:
    """One job goes on and is adopted; another ends while nobody looks."""
    body = "echo $$; echo {} > $QUEUECTL_PROGRESS; until test -e {}; do sleep 0.02; done;"
    body += "echo {} > $QUEUECTL_PROGRESS; echo {} > $QUEUECTL_RESULT; until test -e {}; do"
    body += " sleep 0.02; done; false"
    jobs = await queue.enqueue(
        [
            {"command": body.format("10 a", "one", "20 b", "first", "go"), "max_retries": 1},
            {"command": body.format("30 c", "go", "40 d", "second", "two"), "max_retries": 1},
        ]
    )
    victim = await supervisors.start(2)
    await until_output(queue, *jobs)

    def values(*wanted: float | None) -> Any:
        async def there() -> bool:
            return tuple([(await queue.find(job.id)).progress for job in jobs]) == wanted

        return there

    await eventually_async(values(10, 30))
    supervisors.kill(victim)
    for name in ("one", "go"):
        (tmp_path / name).touch()
    assert len(left(queue)) >= 2
    working = asyncio.create_task(queue.run_workers(2, until_empty=True))
    await eventually_async(values(20, 40))
    (tmp_path / "two").touch()
    await working
    found = [await whole(queue, job) for job in jobs]
    assert [(job.state, job.result, job.progress_text) for job in found] == [
        (State.DEAD, "first\n", "b"),
        (State.DEAD, "second\n", "d"),
    ]
    assert [job.crashes for job in found] == [0, 0]
    assert left(queue) == []


async def test_files_that_nobody_needs_are_removed(queue: Queue, run: Run) -> None:
    await one(queue, run, "true")
    folder = queue.directory / "run" / "attempts"
    for name in ("1.1.result", "1.1.progress.77.tmp", "999.3.stdin", "strange"):
        (folder / name).write_text("x")
    await one_more(queue, run)
    assert left(queue) == ["strange"], "what we did not make stays"


async def one_more(queue: Queue, run: Run) -> None:
    await queue.enqueue(["true"])
    await run()


async def test_an_attempt_begins_without_reports_of_an_earlier_store(
    queue: Queue, run: Run
) -> None:
    folder = queue.directory / "run" / "attempts"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "1.1.result").write_text("of another job")
    (folder / "1.1.progress").write_text("99")
    (folder / "2.1.result").write_text("of a job that is not there yet")
    job = await one(queue, run, "ls $(dirname $QUEUECTL_RESULT)")
    assert (job.seq, job.result, job.progress) == (1, None, None)
    assert await output_of(queue, job) == b""


# -- reading, without processes ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("40", (40, None)),
        (" 40.5%  a  b \nnext", (40.5, "a  b")),
        ("100%", (100, None)),
        (f"{100 / 3} x", (100 / 3, "x")),  # as programs print a fraction
        ("100.1", None),
        ("-1", None),
        ("nan", None),
        ("1e1", None),
        ("٤٠", None),
        ("40x", None),
        ("7 \x1b[31mred\u202e", (7, "\\x1b[31mred\\u202e")),
        ("7 " + "y" * 900, (7, "y" * 199 + "…")),
        ("", None),
    ],
)
def test_what_is_a_progress(text: str, wanted: tuple[float, str | None] | None) -> None:
    assert parse_progress(text) == wanted


@given(st.text(max_size=300))
def test_any_text_is_a_progress_or_none(text: str) -> None:
    found = parse_progress(text)
    if found is not None:
        assert 0 <= found[0] <= 100
        assert found[1] is None or (len(found[1]) <= 200 and found[1].isprintable())


@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), st.integers(4, 30))
def test_a_text_is_cut_between_characters(raw: bytes, most: int) -> None:
    found = cut(raw, most)
    assert len(found) <= most
    assert raw.startswith(found)
    try:
        raw.decode()
    except UnicodeDecodeError:
        return
    assert found.decode() in raw.decode()
    assert len(found) > min(most, len(raw)) - 4


def test_a_progress_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert read_progress(str(tmp_path)) is None
    assert read_progress(str(tmp_path / "nothing")) is None


def test_one_look_at_the_folder_serves_all_attempts_that_had_ended(tmp_path: Path) -> None:
    reports.make_folder(tmp_path)
    where = tmp_path / reports.FOLDER
    os.utime(where, (NOW, NOW))  # long ago: a change of now is certainly seen
    folder = reports.Folder(str(tmp_path))
    first, second = (reports.base_name(str(tmp_path), token) for token in ("1.1", "2.1"))
    assert not folder.any_reported(first, lease_clock())
    Path(f"{second}.{reports.RESULT}").touch()
    assert folder.any_reported(second, lease_clock())
    assert not folder.any_reported(first, lease_clock())
    Path(f"{second}.{reports.RESULT}").unlink()
    os.utime(where, (NOW + 5, NOW + 5))
    Path(f"{first}.{reports.PROGRESS}").touch()
    os.utime(where, (NOW + 9, NOW + 9))
    assert folder.any_reported(first, lease_clock()), "it is listed again after each change"


def test_what_a_killed_progress_left_goes_with_its_attempt(tmp_path: Path) -> None:
    """Or no supervisor would see the folder empty again."""
    reports.make_folder(tmp_path)
    base = reports.base_name(str(tmp_path), "1.1")
    killed = "import os, signal\nfrom queuectl_tui.cli import progress\n"
    killed += "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    killed += f"progress._write({base + '.progress'!r}, '40')\n"
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -9
    assert len(os.listdir(tmp_path / reports.FOLDER)) == 1
    assert reports.Folder(str(tmp_path)).any_reported(base, lease_clock())
    reports.remove(base)
    assert os.listdir(tmp_path / reports.FOLDER) == []


def test_progress_that_is_written_many_times_at_once_is_one_of_them(tmp_path: Path) -> None:
    path = str(tmp_path / "1.1.progress")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: _write(path, f"{number}\n"), range(100)))
    assert read_progress(path) is not None
    assert os.listdir(tmp_path) == ["1.1.progress"]


def test_a_folder_that_changed_just_now_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    reports.make_folder(tmp_path)
    folder = reports.Folder(str(tmp_path))
    base = reports.base_name(str(tmp_path), "1.1")
    assert not folder.any_reported(base, lease_clock())
    where = tmp_path / reports.FOLDER
    now = where.stat()
    Path(f"{base}.{reports.RESULT}").touch()
    os.utime(where, ns=(now.st_atime_ns, now.st_mtime_ns))  # as if in the same tick of the clock
    assert folder.any_reported(base, lease_clock())


def test_a_folder_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    folder = reports.Folder(str(tmp_path))
    assert not folder.any_reported(reports.base_name(str(tmp_path), "1.1"), lease_clock())
