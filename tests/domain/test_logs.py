"""Reading an attempt's output without loading it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl_core.operations.attempt_output import AttemptOutput, log_path, remove_logs


def stored(tail: bytes, total: int | None = None) -> AttemptOutput:
    return AttemptOutput(1, None, tail, False, len(tail) if total is None else total)


@given(st.lists(st.sampled_from([b"a", b"\n", b"bc\n", b"\n\n", b"\r"])).map(b"".join))
def test_the_last_lines_are_the_last_lines(raw: bytes) -> None:
    output = stored(raw)
    lines = raw.split(b"\n")
    lines = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    for wanted in range(len(lines) + 2):
        last = b"".join(lines[len(lines) - wanted :]) if wanted < len(lines) else raw
        assert output.read(output.tail_offset(wanted), 1 << 20) == last


def test_looking_back_no_further_than_the_window() -> None:
    output = stored(b"x" * 5000 + b"\nlast\n")
    assert output.tail_offset(1, window=100) == 5001
    assert output.tail_offset(2, window=100) == output.size() - 100


def test_a_file_is_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "1.1.log"
    path.write_bytes(b"one\ntwo\n\xff\x00\n")
    output = AttemptOutput(1, path, b"not looked at", True, 0)
    assert output.complete
    assert output.size() == 11
    assert output.read(4, 4) == b"two\n"
    assert output.read(11, 10) == b""
    assert output.read(output.tail_offset(1), 99) == b"\xff\x00\n"
    with path.open("ab") as file:
        file.write(b"more")
    assert output.read(11, 10) == b"more"


def test_a_file_that_went_away_is_empty(tmp_path: Path) -> None:
    output = AttemptOutput(1, tmp_path / "gone", b"", False, 5)
    assert (output.size(), output.read(0, 10), output.tail_offset(3)) == (0, b"", 0)


def test_only_the_end_is_left_when_the_file_is_on_another_host() -> None:
    assert stored(b"end", total=3).complete
    assert not stored(b"end", total=100_000).complete


@pytest.mark.parametrize(("seq", "folder"), [(1, "0"), (999, "0"), (1000, "1"), (123_456, "123")])
def test_a_folder_holds_a_thousand_jobs(seq: int, folder: str) -> None:
    assert log_path(Path("/d"), seq, 2) == Path(f"/d/logs/{folder}/{seq}.2.log")


def test_removing_takes_this_jobs_files_only(tmp_path: Path) -> None:
    for seq, number in ((1, 1), (1, 2), (1, 3), (11, 1), (2, 1)):
        path = log_path(tmp_path, seq, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    log_path(tmp_path, 1, 2).unlink()  # one was never made
    remove_logs(tmp_path, 1, 3)
    assert sorted(path.name for path in tmp_path.rglob("*.log")) == ["11.1.log", "2.1.log"]


# -- reading on while the middle is dropped -------------------------------------------


def test_a_hole_is_skipped_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "1.1.log"
    with path.open("wb") as file:
        file.write(b"h" * 65_536)
        file.seek(1 << 20)
        file.write(b"t" * 65_536)
    output = AttemptOutput(1, path, b"", True, 0)
    assert output.after(100) == 100
    assert output.after(output.size()) == output.size()
    for offset in (65_535, 65_536, 500_000, (1 << 20) - 1, 1 << 20):
        there = output.after(offset)
        assert there >= offset
        assert not output.read(offset, there - offset).strip(b"\0")


def test_the_last_lines_are_behind_the_hole(tmp_path: Path) -> None:
    """``--tail 1`` of a running job past its limit gave all that is behind it."""
    path = tmp_path / "1.1.log"
    with path.open("wb") as file:
        file.write(b"h" * 65_536)
        file.seek(1 << 20)
        file.write(b"".join(b"%07d\n" % number for number in range(10_000)))
    output = AttemptOutput(1, path, b"", True, 0)
    for lines in (1, 2, 9_999):
        assert output.read(output.tail_offset(lines), 1 << 20).count(b"\n") == lines
    assert output.tail_offset(20_000) == 1 << 20


@given(st.integers(2, 1000), st.integers(0, 5000), st.data())
def test_after_the_end_a_reader_goes_on_where_it_was(
    size: int, dropped: int, data: st.DataObject
) -> None:
    """What is left is the head and the tail of ``size + dropped`` bytes."""
    total = size + dropped
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(size)
        output = AttemptOutput(1, Path(file.name), b"", False, total)
        offsets = sorted(data.draw(st.lists(st.integers(0, total), min_size=2, max_size=10)))
        there = [output.after(offset) for offset in offsets]
        assert there == sorted(there), "never back"
        assert all(0 <= at <= size for at in there) or not dropped
        assert output.after(0) == 0
        assert output.after(total) == size


def test_an_output_that_went_away_is_read_on_where_it_was(tmp_path: Path) -> None:
    assert AttemptOutput(1, None, b"tail", False, 100).after(3) == 3
    assert AttemptOutput(1, tmp_path / "gone", b"", True, 0).after(3) == 3
