"""Output comes through a pipe into a file that stays within its limit."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl_core.operations.attempt_output import AttemptOutput as Shown
from queuectl_core.operations.attempt_output import OutputTimes
from queuectl_core.runner import output as shim_output
from queuectl_core.runner.output import Folders, Output
from queuectl_core.store.protocol import TAIL_BYTES
from queuectl_core.supervisor.maintenance.output_limit import Capture, last_line

LIMIT = 1 << 20
MARK = re.compile(rb"\n\[queuectl: (\d+) bytes dropped here, output-limit is (\d+)\]\n")


def lines(count: int, start: int = 0) -> bytes:
    return b"".join(b"%015d\n" % number for number in range(start, start + count))


def check_kept(path: Path, written: bytes) -> None:
    """Head, mark and tail of ``written``, within the limit, with a true count."""
    kept = path.read_bytes()
    assert len(kept) <= LIMIT
    (mark,) = MARK.finditer(kept)
    head, tail = kept[: mark.start()], kept[mark.end() :]
    assert written.startswith(head)
    assert written.endswith(tail)
    assert len(head) > LIMIT // 4
    assert len(tail) > LIMIT // 4
    assert int(mark[1]) == len(written) - len(head) - len(tail)


def test_a_small_output_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\xff\nb")
    assert Capture(path, LIMIT).finish() == (4, b"a\xff\nb")
    assert path.read_bytes() == b"a\xff\nb"


def test_an_empty_or_missing_output_counts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    assert Capture(path, LIMIT).finish() == (0, b"")
    path.unlink()
    assert Capture(path, LIMIT).finish() == (0, b"")


def test_exactly_the_limit_is_kept_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * LIMIT)
    assert Capture(path, LIMIT).finish()[0] == LIMIT
    assert path.read_bytes() == b"x" * LIMIT


def test_too_much_is_cut_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written = lines(200_000)
    path.write_bytes(written)
    size, tail = Capture(path, LIMIT).finish()
    assert size == len(written)
    assert tail == written[-TAIL_BYTES:]
    check_kept(path, written)


class Job:
    """Somebody who writes to the pipe of an output that is drained here."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self.output = Output(str(path), limit)
        self.end = os.dup(self.output.write_end)
        self.output.started()

    def write(self, data: bytes) -> None:
        """Write ``data``, which is drained meanwhile."""
        for start in range(0, len(data), 60_000):
            os.write(self.end, data[start : start + 60_000])
            assert not self.output.drain()

    def finish(self) -> bool:
        os.close(self.end)
        return self.output.finish()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    made = Job(tmp_path / "1.1.log")
    yield made
    made.output.close()


def test_a_large_output_is_kept_within_its_limit_while_it_is_written(
    job: Job, tmp_path: Path
) -> None:
    path = tmp_path / "1.1.log"
    written = b""
    for round_ in range(40):
        chunk = lines(16_384, round_ * 16_384)
        job.write(chunk)
        written += chunk
        assert path.stat().st_blocks * 512 <= LIMIT + 4 * shim_output.BLOCK
    assert path.stat().st_size == len(written)  # a reader's offsets stay true
    assert b"bytes dropped here" in path.read_bytes()  # while it is written
    assert job.finish()
    assert job.output.received == len(written)
    assert Capture(path, LIMIT).finish(job.output.received)[0] == len(written)
    check_kept(path, written)


def test_where_no_holes_can_be_made_the_end_follows_the_head(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shim_output, "punch", lambda *_: False)
    path = tmp_path / "1.1.log"
    written = b""
    for round_ in range(20):
        chunk = lines(16_384, round_ * 16_384)
        job.write(chunk)
        written += chunk
        assert path.stat().st_size <= 2 * LIMIT
    assert job.finish()
    size, tail = Capture(path, LIMIT).finish(job.output.received)
    assert size == len(written)
    assert tail == written[-TAIL_BYTES:]
    check_kept(path, written)


def test_a_job_that_prints_nothing_has_no_file(job: Job, tmp_path: Path) -> None:
    assert job.finish()
    assert job.output.received == 0
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_an_earlier_attempt_with_this_number_is_gone(tmp_path: Path) -> None:
    """After a backup was restored, numbers are given again."""
    path = tmp_path / "1.1.log"
    path.write_bytes(b"another job's\n")
    path.chmod(0o666)
    path.with_suffix(".times").write_bytes(b"x" * 24)
    job = Job(path)
    assert list(tmp_path.iterdir()) == []
    job.write(b"mine\n")
    job.finish()
    job.output.close()
    assert path.read_bytes() == b"mine\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_disk_that_is_full_for_a_while_loses_output_and_says_so(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job never waits for it, and what comes later is kept."""
    full = False

    def write(fd: int, data: bytes, offset: int) -> int:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data, offset)

    def splice(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(shim_output, "_SPLICE", splice)
    job.write(b"before\n")
    full = True
    job.write(b"x" * 200_000)
    full = False
    job.write(b"after\n")
    job.finish()
    kept = (tmp_path / "1.1.log").read_bytes()
    mark = b"\n[queuectl: 200000 bytes lost here, they could not be written]\n"
    assert kept == b"before\n" + mark + b"after\n"
    assert job.output.received == 200_000 + 13


def test_what_a_job_leaves_running_is_added_up_to_the_limit(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "1.1.log"
    job.write(b"the job\n")
    daemon = os.dup(job.end)
    assert not job.finish()
    assert path.read_bytes() == b"the job\n"
    job.output.rested()
    for _ in range(60):
        os.write(daemon, b"d" * 60_000)
        assert not job.output.drain()
    assert len(path.read_bytes()) < LIMIT + 200
    assert path.read_bytes().endswith(b"output-limit is 1048576]\n")
    path.unlink()  # its job was removed: nobody will ever read it
    os.write(daemon, b"more")
    assert not job.output.drain()
    os.close(daemon)
    assert job.output.drain()
    assert not path.exists()


def test_a_folder_is_probed_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when jobs of several folders start in turn: a probe costs more than a start's half."""
    probes: list[str] = []
    real = Folders._open

    def probe(path: str) -> int:
        probes.append(path)
        return real(path)

    monkeypatch.setattr(Folders, "REMEMBER", 1000.0)
    monkeypatch.setattr(Folders, "_open", staticmethod(probe))
    for folder in ("0", "1"):
        (tmp_path / folder).mkdir()
    folders = Folders()
    for number in range(20):
        folders.prepare(f"{tmp_path}/{number % 2}/{number}.1.log")
    assert len(probes) == 2


@pytest.mark.parametrize("removed", [False, True])
def test_late_output_does_not_get_into_the_file_of_another_job(
    job: Job, tmp_path: Path, removed: bool
) -> None:
    """A backup was restored, so a new job has the number of the old one, whose process lives.
    ``removed``: some file systems give the new file the inode of the old one."""
    path = tmp_path / "1.1.log"
    job.write(b"old\n")
    daemon = os.dup(job.end)
    assert not job.finish()
    job.output.rested()
    kept = path.rename(tmp_path / "kept.log")
    if removed:
        kept.unlink()
    new = Job(path)
    new.write(b"new\n")
    os.write(daemon, b"late and long\n")
    assert not job.output.drain()
    new.write(b"new too\n")
    assert new.finish()
    new.output.close()
    os.close(daemon)
    assert path.read_bytes() == b"new\nnew too\n"
    assert removed or kept.read_bytes() == b"old\n"


def test_late_output_makes_no_file_where_another_job_has_one(job: Job, tmp_path: Path) -> None:
    """The same, of a job that had printed nothing while it ran."""
    path = tmp_path / "1.1.log"
    daemon = os.dup(job.end)
    assert not job.finish()
    job.output.rested()
    path.write_bytes(b"new\n")
    os.write(daemon, b"late and long\n")
    assert not job.output.drain()
    os.close(daemon)
    assert path.read_bytes() == b"new\n"


def test_moments_without_output_are_removed_before_an_attempt(tmp_path: Path) -> None:
    """Or its own would be added to them, and every line would have a wrong time."""
    (tmp_path / "1.1.times").write_bytes(b"x" * 24)
    job = Job(tmp_path / "1.1.log")
    assert list(tmp_path.iterdir()) == []
    job.finish()
    job.output.close()


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), ImportError("no ctypes")])
def test_the_end_is_noticed_though_nothing_can_be_dropped(
    job: Job, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Else the poller reports it again at once, and the shim takes a whole CPU."""

    def fail(*_: object) -> bool:
        raise error

    monkeypatch.setattr(shim_output, "punch", fail)
    job.write(b"x" * (3 * LIMIT))
    os.close(job.end)
    assert job.output.drain()


def test_it_is_known_when_the_lines_came(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "1.1.log"
    for number, seconds in enumerate((1.0, 1.001, 5.0, 9.0)):
        moment = job.output.began + seconds
        monkeypatch.setattr(shim_output, "lease_clock", lambda moment=moment: moment)
        job.write(b"line %d\n" % number)
    job.finish()
    shown = Shown(1, path, b"", False, job.output.received, started_at=100.0, finished_at=110.0)
    times = OutputTimes(shown)
    assert [round(times.at(7 * n) or 0, 3) for n in range(4)] == [101.0, 101.0, 105.0, 109.0]


@pytest.mark.parametrize(
    ("tail", "line"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"one\ntwo\n\n", "two"),
        (b"a\xff\n", "a\\xff"),
        (b"x" * 500, "x" * 200),
    ],
)
def test_the_last_line_with_anything_on_it(tail: bytes, line: str) -> None:
    assert last_line(tail) == line


def test_a_full_disk_is_marked_in_place_of_the_last_bytes(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be added to the file, but what is there can be written anew."""
    room = 4096
    write, splice = os.pwrite, getattr(os, "splice", None)

    def full_write(fd: int, data: bytes, offset: int) -> int:
        if offset >= room:
            raise OSError(errno.ENOSPC, "full")
        return write(fd, data[: room - offset], offset)

    job.write(b"x" * room)
    monkeypatch.setattr(os, "pwrite", full_write)
    if splice is not None:
        monkeypatch.setattr(shim_output, "_SPLICE", None)
    job.write(b"y" * 100_000)
    assert job.finish()
    kept = (tmp_path / "1.1.log").read_bytes()
    found = re.fullmatch(rb"(x+)\n\[queuectl: (\d+) bytes lost here, .*\]\n", kept)
    assert found is not None
    assert len(found[1]) + int(found[2]) == job.output.received == room + 100_000


def test_a_file_that_is_removed_is_begun_again(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "1.1.log"
    job.write(b"before\n")
    path.unlink()
    job.write(b"after\n")
    assert job.finish()
    assert path.read_bytes() == (
        b"\n[queuectl: 7 bytes lost here, they could not be written]\nafter\n"
    )
    assert job.output.received == 13


def test_what_was_dropped_is_not_read_as_zeros(job: Job, tmp_path: Path) -> None:
    """The middle is a hole while the job runs; the console and `logs` pass over it."""
    from queuectl_tui.console.widgets.output_viewport import OutputViewport

    written = lines(400_000)
    job.write(written)
    output = Shown(1, tmp_path / "1.1.log", b"", running=True, total=0)
    begin, end = output.hole()
    assert 0 < begin < end < len(written)
    assert b"\0" not in output.read(begin - 100, 1000)
    assert output.read(begin, 1000) == b""
    assert output.after(begin) == end
    slice_ = OutputViewport(output)
    slice_.height = 20
    slice_.go_first()
    seen = list(slice_.lines)
    while slice_.end < len(written):
        slice_.move(len(slice_.lines))
        seen += slice_.lines
    assert any("dropped here" in line.text and line.mark for line in seen)
    assert not any("\\x00" in line.text for line in seen)
    assert slice_.lines[-1].text == f"{399_999:015}"
    while slice_.start > 0:
        slice_.move(-len(slice_.lines))
        seen += slice_.lines
    assert slice_.lines[0].text == f"{0:015}"
    assert not any("^@" in line.text or "\0" in line.text for line in seen)


def test_who_follows_past_the_limit_sees_the_mark(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "1.1.log"
    written = lines(400_000)
    job.write(written)
    job.finish()
    Capture(path, LIMIT).finish(len(written))
    output = Shown(1, path, b"", running=False, total=len(written))
    kept = path.read_bytes()
    assert kept[output.after(LIMIT * 2) :].startswith(b"\n[queuectl: ")
    assert kept[output.after(len(written) - 160) :] == written[-160:]


def test_a_close_that_fails_frees_the_number(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS and quotas may refuse at close. The number may be another file's at once, and nothing of
    this job may get into that."""
    job.write(b"a\n" * 10)
    number, close = job.output.file, os.close

    def refuse(fd: int) -> None:
        close(fd)
        if fd == number:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    daemon = os.dup(job.end)
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", refuse)
        assert not job.finish()
    assert (job.output.file, job.output.ended) == (-1, True)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    job.output.rested()
    os.write(daemon, b"late\n")
    job.output.drain()
    os.close(daemon)
    assert os.pread(other, 100, 0) == b""
    os.close(other)


def test_a_hole_begins_where_the_one_before_ended(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each turn gives back again what was given back, and a long output takes ever longer."""
    holes = []
    punch = shim_output.punch

    def noted(fd: int, offset: int, length: int) -> bool:
        holes.append((offset, offset + length))
        return punch(fd, offset, length)

    monkeypatch.setattr(shim_output, "punch", noted)
    job.write(b"x" * (3 * LIMIT))
    job.finish()
    if not job.output.holes:
        pytest.skip("this file system makes no holes")
    assert len(holes) > 1
    assert [begin for begin, _ in holes[1:]] == [end for _, end in holes[:-1]]


@pytest.mark.parametrize(("most", "stays"), [(0, False), (1000, True)])
def test_files_stay_open_unless_there_are_many(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, stays: bool
) -> None:
    monkeypatch.setattr(shim_output, "MOST_FILES", most)
    job.write(b"one\n")
    assert (job.output.file >= 0) == stays
    job.write(b"two\n")
    job.output.close()
    assert job.output.file < 0
    os.close(job.end)
    assert (tmp_path / "1.1.log").read_bytes() == b"one\ntwo\n"
