from __future__ import annotations

from pathlib import Path

from queuectl_core.logs import Output
from queuectl_tui.widgets.slice import KEEP, LONGEST, Slice


def opened(path: Path, *, running: bool = False, height: int = 20) -> Slice:
    held = Slice(Output(1, path, b"", running, 0))
    held.height = height
    held.go_first()
    return held


def test_shows_the_beginning_and_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {n}\n" for n in range(1, 100_001)))
    held = opened(path)
    assert held.rows()[0] == "line 1"
    held.go_last()
    assert held.rows()[-1] == "line 100000"
    assert len(held.rows()) == 20
    assert held.at_end


def test_every_line_is_passed_once_going_down_and_up(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"{n} {'x' * (n % 300)}\n" for n in range(1, 20_001)))
    held = opened(path)
    seen = list(held.rows())
    while not held.at_end:
        held.move(20)
        rows = held.rows()
        fresh = [row for row in rows if int(row.split()[0]) > int(seen[-1].split()[0])]
        seen += fresh
    assert [int(row.split()[0]) for row in seen] == list(range(1, 20_001))
    while held.lines[held.top].offset:
        held.move(-20)
    assert held.rows()[0].startswith("1 ")


def test_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(b"first\n")
        file.truncate(1 << 30)
        file.seek((1 << 30) - 6)
        file.write(b"\nlast\n")
    held = opened(path)
    assert held.rows()[0] == "first"
    held.go_last()
    assert held.rows()[-1] == "last"
    held.move(-200)
    assert held.end - held.start <= 2 * KEEP


def test_one_endless_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 3_000_000)
    held = opened(path)
    assert {len(row) for row in held.rows()} == {LONGEST}
    held.go_last()
    assert held.at_end
    assert held.end == 3_000_000


def test_takes_in_what_is_written_later(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\ntw")
    held = opened(path, running=True)
    assert held.rows() == ["one", "tw"]
    assert not held.grown()
    with path.open("a") as file:
        file.write("o\nthree\n")
    assert held.grown()
    assert held.rows() == ["one", "two", "three"]
    path.write_text("anew\n")
    assert held.grown()
    assert held.rows() == ["anew"]


def test_wraps_long_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("abcdefghij\nk\n")
    held = opened(path, height=3)
    held.width, held.wrap = 4, True
    assert held.rows() == ["abcd", "efgh", "ij"]
    held.go_last()
    assert held.rows()[-1] == "k"


def test_escapes_and_wide_characters_are_shown_as_text(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\x1b]52;c;aGk=\x07 [/red] \xff\t|\rafter\n")
    (row,) = opened(path).rows()
    assert "\x1b" not in row
    assert "\\x1b]52;c;aGk=\\x07 [/red] \\xff" in row
    assert "⏎after" in row


def test_nothing_written_is_nothing_shown(tmp_path: Path) -> None:
    held = opened(tmp_path / "not-there", running=True)
    assert held.rows() == []
    held.go_last()
    held.move(5)
    assert held.at_end
    assert held.fraction() == 0.0
