from __future__ import annotations

import tempfile
from pathlib import Path

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from queuectl_core.domain.text import clean_bytes
from queuectl_core.operations.attempt_output import AttemptOutput
from queuectl_core.runner.output import punch
from queuectl_tui.console.widgets import output_viewport as slice_module
from queuectl_tui.console.widgets.output import nothing
from queuectl_tui.console.widgets.output_viewport import KEEP, LONGEST, OutputViewport, overwritten


def opened(path: Path, *, running: bool = False, height: int = 20) -> OutputViewport:
    held = OutputViewport(AttemptOutput(1, path, b"", running, 0))
    held.height = height
    held.go_first()
    return held


def texts(held: OutputViewport) -> list[str]:
    """The texts of the rows on the screen."""
    return [row.text for row in held.visible()]


def test_shows_the_beginning_and_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {n}\n" for n in range(1, 100_001)))
    held = opened(path)
    assert texts(held)[0] == "line 1"
    held.go_last()
    assert texts(held)[-1] == "line 100000"
    assert len(texts(held)) == 20
    assert held.at_end


def test_every_line_is_passed_once_going_down_and_up(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"{n} {'x' * (n % 300)}\n" for n in range(1, 20_001)))
    held = opened(path)
    seen = list(texts(held))
    while not held.at_end:
        held.move(20)
        rows = texts(held)
        fresh = [row for row in rows if int(row.split()[0]) > int(seen[-1].split()[0])]
        seen += fresh
    assert [int(row.split()[0]) for row in seen] == list(range(1, 20_001))
    while held.lines[held.top].offset:
        held.move(-20)
    assert texts(held)[0].startswith("1 ")


def test_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(b"first\n")
        file.truncate(1 << 30)
        file.seek((1 << 30) - 6)
        file.write(b"\nlast\n")
    held = opened(path)
    assert texts(held)[0] == "first"
    held.go_last()
    assert texts(held)[-1] == "last"
    held.move(-200)
    assert held.end - held.start - held.dropped <= 2 * KEEP
    assert held.dropped > 1 << 29


def test_one_endless_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 3_000_000)
    held = opened(path)
    assert {len(row) for row in texts(held)} == {LONGEST}
    held.go_last()
    assert held.at_end
    assert held.end == 3_000_000
    path.write_bytes("漢".encode() * 100_000)
    assert not any("\\x" in row for row in texts(opened(path)))


def test_takes_in_what_is_written_later(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\ntw")
    held = opened(path, running=True)
    assert texts(held) == ["one", "tw"]
    assert not held.grown()
    with path.open("a") as file:
        file.write("o\nthree\n")
    assert held.grown()
    assert texts(held) == ["one", "two", "three"]
    path.write_text("anew\n")
    assert held.grown()
    assert texts(held) == ["anew"]


def test_wraps_long_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("abcdefghij\nk\n")
    held = opened(path, height=3)
    held.width = 4
    held.rewrap(wrap=True)
    assert texts(held) == ["abcd", "efgh", "ij"]
    held.go_last()
    assert texts(held)[-1] == "k"


def test_escapes_and_wide_characters_are_shown_as_text(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\x1b]52;c;aGk=\x07 [/red] \xff\t|\rafter\n")
    (row,) = texts(opened(path))
    assert "\x1b" not in row
    assert "52;c;aGk=\\x07 [/red] \\xff" in row
    assert row.startswith("after52;c;aGk")


def test_nothing_written_is_nothing_shown(tmp_path: Path) -> None:
    held = opened(tmp_path / "not-there", running=True)
    assert texts(held) == []
    held.go_last()
    held.move(5)
    assert held.at_end
    assert held.fraction() == 0.0


def test_an_output_that_is_not_there_yet_is_not_said_to_be_elsewhere() -> None:
    assert nothing(AttemptOutput(0, None, b"", True, 0)) == "it has not run yet"
    assert nothing(AttemptOutput(0, None, b"", False, 0)) == "it never ran"


def down(held: OutputViewport) -> str:
    """All rows that a user sees when scrolling down row by row."""
    held.go_first()
    seen = list(texts(held))
    while not held.at_end:
        before = (held.place, held.top, held.sub)
        held.move(1)
        assert (held.place, held.top, held.sub) != before, "it is stuck"
        seen.append(texts(held)[-1])
    return "".join(seen)


def up(held: OutputViewport) -> str:
    """The same, scrolling up from the end."""
    held.go_last()
    seen = list(texts(held))
    while held.start or held.top or held.sub:
        held.move(-1)
        seen.insert(0, texts(held)[0])
    return "".join(seen)


CHUNKS = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [b"\n", b"\n\n", b"\t", b"x" * 90, "漢字".encode() * 30, "e\u0301".encode() * 20]
    ),
)


@pytest.mark.parametrize("wrap", [True, False])
@settings(max_examples=60)
@given(
    data=st.lists(CHUNKS, max_size=7).map(b"".join),
    width=st.integers(40, 130),
    height=st.integers(1, 12),
)
def test_any_bytes_can_be_reached_once(data: bytes, width: int, height: int, wrap: bool) -> None:
    data = data.replace(b"\r", b"")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name, size in (("READ", 64), ("LONGEST", 16), ("KEEP", 1024)):
            patch.setattr(slice_module, name, size)
        path = Path(folder) / "log"
        path.write_bytes(data)
        held = OutputViewport(AttemptOutput(1, path, b"", False, len(data)))
        held.width, held.height, held.wrap = width, height, wrap
        wanted = clean_bytes(data).translate(str.maketrans("", "", "\n\t "))
        assert down(held).replace(" ", "") == wanted
        assert up(held).replace(" ", "") == wanted
        if wrap:
            assert all(cell_len(row) <= width for row in texts(held))


@pytest.mark.parametrize("width", [40, 80, 100])
@pytest.mark.parametrize("size", [1_600, 9_000, 300_000])
def test_lines_longer_than_the_screen_are_wrapped_and_seen(
    tmp_path: Path, width: int, size: int
) -> None:
    path = tmp_path / "log"
    data = ("".join(f"{n}," for n in range(size))[:size] + "\n") * 2
    path.write_text(data)
    held = opened(path, height=10)
    held.width = width
    held.rewrap(wrap=True)
    assert down(held) == data.replace("\n", "")
    held.go_last()
    assert len(texts(held)) == 10


@given(
    st.lists(st.text(st.characters(codec="latin-1", categories=["L", "N", "P"]), max_size=30),
             min_size=1, max_size=8),
)  # fmt: skip
def test_progress_is_what_a_terminal_shows(pieces: list[str]) -> None:
    line = "\r".join(pieces)
    screen = pyte.Screen(200, 1)
    pyte.Stream(screen).feed(line)
    assert overwritten(line.encode()).rstrip() == screen.display[0].rstrip()


def test_progress_is_one_line_and_its_last_state(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(
        b"start\n" + b"".join(b"\r%d %% of it" % n for n in range(100)) + b"\rdone\nend\n"
    )
    assert texts(opened(path)) == ["start", "done of it", "end"]
    path.write_bytes("a\r漢字\rx漢".encode())
    assert texts(opened(path)) == ["x漢 "]


def test_progress_that_goes_on_for_long_costs_little(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"start\n")
    held = opened(path, running=True)
    with path.open("ab") as file:
        for step in range(60):
            file.write(b"".join(b"\r%3d.%03d %%" % (step, n) for n in range(1000)))
            file.flush()
            assert held.grown()
            held.go_last()
            assert texts(held)[-1] == f"{step:3}.999 %"
    assert held.end - held.start <= KEEP + slice_module.READ


def test_what_was_dropped_is_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "log"
    mark = b"\n[queuectl: bytes dropped here, output-limit is 10]\n"
    with path.open("wb") as file:
        file.write((b"head\n" * 2000)[: 8192 - len(mark)] + mark)
        file.seek(1 << 20)
        file.write(b"tail\n" * 10)
    for running in (True, False):  # if the supervisor was killed, the hole stays after the attempt
        held = opened(path, running=running, height=5)
        text = down(held)
        assert "\\x00" not in text
        assert text.count("── 1016K dropped here, to keep within output-limit ──") == 1
        assert "[queuectl" not in text
        assert "tail" in text
        assert up(held) == text
    assert "[queuectl: 5 bytes dropped here, x]" in shown_of(
        tmp_path, b"[queuectl: 5 bytes dropped here, x]\n", 36
    )
    lost = b"a\n[queuectl: 5 bytes lost here, they could not be written]\nb"
    said = "── 5 bytes lost here, they could not be written ──"
    assert shown_of(tmp_path, lost, 99) == ["a", said, "b"]


def shown_of(folder: Path, data: bytes, total: int) -> list[str]:
    """The rows of the output of an ended attempt."""
    path = folder / "ended"
    path.write_bytes(data)
    held = OutputViewport(AttemptOutput(1, path, b"", False, total))
    held.height = 5
    held.go_first()
    return list(texts(held))


def test_a_hole_that_comes_while_one_looks_is_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"%7d\n" % n for n in range(100_000)))
    held = opened(path, running=True, height=5)
    held.go_to(400_000)
    assert texts(held)[0] == "  50000"
    with path.open("r+b") as file:
        if not punch(file.fileno(), 65536, 131072):
            pytest.skip("a file system without holes")
    assert held.grown()
    assert texts(held)[0] == "  50000"
    with path.open("r+b") as file:
        punch(file.fileno(), 65536, 65536 * 10)
    assert held.grown()
    held.move(-3)
    assert "── 640K dropped here, to keep within output-limit ──" in texts(held)
    assert "\\x00" not in down(held)
