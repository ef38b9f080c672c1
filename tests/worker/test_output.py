"""Keeping an output file within its limit, from outside, while somebody writes to it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from queuectl_core.store.base import TAIL_BYTES
from queuectl_core.worker import output
from queuectl_core.worker.output import Capture, last_line

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
    assert not path.exists()
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


def test_the_guard_gives_space_back_and_loses_nothing_of_the_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    capture = Capture(path, LIMIT)
    written = b""
    with path.open("ab", buffering=0) as job:
        for round_ in range(40):
            chunk = lines(16_384, round_ * 16_384)
            job.write(chunk)
            written += chunk
            assert capture.guard()
            os.fsync(job.fileno())
            assert path.stat().st_blocks * 512 <= 3 * LIMIT
    assert path.stat().st_size == len(written)  # a reader's offsets stay true
    assert capture.finish()[0] == len(written)
    check_kept(path, written)


def test_where_no_holes_can_be_made_the_count_is_still_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_punch", lambda *_: False)
    path = tmp_path / "log"
    capture = Capture(path, LIMIT)
    written = b""
    with path.open("ab", buffering=0) as job:
        for round_ in range(9):
            chunk = lines(16_384, round_ * 16_384)
            job.write(chunk)
            written += chunk
            capture.guard()
            assert path.stat().st_size <= 2 * LIMIT
        last = lines(100, 9 * 16_384)
        job.write(last)
        written += last
    size, tail = capture.finish()
    assert size == len(written)
    assert tail.endswith(last)
    kept = path.read_bytes()
    (mark,) = MARK.finditer(kept)
    assert len(kept) <= LIMIT
    assert int(mark[1]) == len(written) - (len(kept) - len(mark[0]))
    assert written.startswith(kept[: mark.start()])
    assert written.endswith(kept[mark.end() :])


def test_the_guard_says_whether_to_look_often(tmp_path: Path) -> None:
    path = tmp_path / "log"
    capture = Capture(path, LIMIT)
    assert not capture.guard()
    path.write_bytes(b"x")
    assert capture.guard()


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
