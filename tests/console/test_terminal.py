"""The console on a pseudo-terminal, with real workers, and the state of the terminal afterwards."""

from __future__ import annotations

import os
import pty
import signal
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support import PATIENCE, Cli
from .terminal import Terminal


@pytest.fixture
def shell() -> bool:
    """Whether the console has a shell that can continue it."""
    return False


@pytest.fixture
def terminal(cli: Cli, store_path: Path, shell: bool) -> Iterator[Terminal]:
    cli("enqueue", "--id", "doomed", "--max-retries", "1", "echo no luck; exit 7")
    env = cli.environment() | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    argv = [sys.executable, "-m", "queuectl_tui", "--store", str(store_path), "tui"]
    found = Terminal(argv, env, shell=shell)
    yield found
    found.close()


def test_a_whole_session(terminal: Terminal, cli: Cli) -> None:
    terminal.until("doomed")
    terminal.press("e")
    terminal.until("enqueue a job")
    terminal.press("echo good morning\r")
    terminal.until("✓ enqueued")
    terminal.press("s")
    terminal.until("how many workers")
    terminal.press("\r")
    terminal.until("1 worker up")
    terminal.until("exit 7: no luck")
    terminal.press("g")
    terminal.press("l")
    terminal.until("output of attempt 1", without="3 dlq")
    terminal.press("\x1b")
    terminal.until("3 dlq 1")
    terminal.press("3")
    terminal.press("r")
    terminal.until("Retry 1 dead job?")
    terminal.press("y")
    terminal.until("queuectl dlq retry --all")
    terminal.press("q")
    assert terminal.ended() == 0
    terminal.check_restored()
    cli("worker", "stop", "--now")


def test_a_shell_beside_it_loses_nothing(terminal: Terminal, cli: Cli) -> None:
    terminal.until("doomed")
    for name in ("AAA", "BBB"):
        terminal.press("e")
        terminal.until("enqueue a job")
        terminal.press(f"echo {name}\r")
        terminal.until(f"echo {name}", without="enqueue a job")
        assert f"echo {name}" in cli("list").out
    for name in ("CCC", "DDD"):
        cli("enqueue", f"echo {name}")
    terminal.until("echo DDD")
    terminal.press("q")
    assert terminal.ended() == 0
    listed = cli("list").out
    assert all(f"echo {name * 3}" in listed for name in "ABCD")


def test_a_console_whose_store_was_replaced_says_so(
    terminal: Terminal, cli: Cli, store_path: Path, tmp_path: Path
) -> None:
    """Another file gets its name. Then the screen shows a store that no longer exists."""
    terminal.until("doomed")
    other = tmp_path / "other.db"
    cli("--store", other, "enqueue", "true", "--id", "of-the-other")
    os.replace(other, store_path)
    began = time.monotonic()
    terminal.until("of-the-other")
    # A frame may be gone before a slow machine has looked at it.
    assert "▲ lost" in terminal.raw.decode(errors="replace")
    assert b"replaced" in terminal.raw
    assert time.monotonic() - began < PATIENCE / 2, "two readings of the store, on an idle machine"
    terminal.press("q")
    assert terminal.ended() == 0
    terminal.check_restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(terminal: Terminal, number: int) -> None:
    terminal.until("doomed")
    terminal.process.send_signal(number)
    assert terminal.ended() == 128 + number
    terminal.check_restored()


@pytest.mark.skipif(sys.platform != "linux", reason="only there can a hang-up be waited for")
def test_a_terminal_that_is_gone_without_a_signal_ends_the_console(terminal: Terminal) -> None:
    """The terminal does not control the process, so no signal comes. In the past the console read
    the end of the file for ever."""
    terminal.until("doomed")
    os.close(terminal.inside)
    os.close(terminal.fd)
    try:
        assert terminal.process.wait(PATIENCE) == 128 + signal.SIGHUP
    finally:
        terminal.fd, terminal.inside = pty.openpty()  # for close()


def test_bytes_that_are_not_text_are_left_out(terminal: Terminal) -> None:
    terminal.until("doomed")
    os.write(terminal.fd, b"\xe9j")
    terminal.until("not UTF-8")
    os.write(terminal.fd, b"\x1b[M xD\x1b[M \xc8\xe9")  # mouse reports in the old form
    terminal.press("?")
    terminal.until("this screen")
    terminal.press("\x1b")
    terminal.until("3 dlq")
    terminal.press("q")
    assert terminal.ended() == 0
    terminal.check_restored()


def test_a_sequence_in_pieces_is_no_letters(terminal: Terminal) -> None:
    terminal.until("doomed")
    for piece in (b"\x1b", b"[", b"1;", b"5", b"D"):
        os.write(terminal.fd, piece)
        terminal.read(0.05)
    terminal.press("/proxy\r")
    terminal.until("/proxy")
    terminal.until("no job matches")
    assert "paused" not in terminal.text()
    terminal.press("q")
    assert terminal.ended() == 0


def test_ctrl_z_where_no_shell_could_continue_it(terminal: Terminal) -> None:
    """``ssh -t HOST queuectl tui``: in the past it stopped for ever."""
    terminal.until("doomed")
    terminal.press("\x1a")
    terminal.until("no shell is here")
    terminal.screen.reset()
    terminal.press("\x0c")
    terminal.until("doomed")
    terminal.press("q")
    assert terminal.ended() == 0
    terminal.check_restored()


@pytest.mark.parametrize("shell", [True])
def test_sigtstp_and_fg_and_ctrl_l_draw_the_screen_again(terminal: Terminal) -> None:
    terminal.until("doomed")
    terminal.process.send_signal(signal.SIGTSTP)
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{terminal.process.pid}/stat").read_text().split(") ")[1][0] != "T":
        assert time.monotonic() < deadline
        terminal.read(0.05)
    terminal.read(0.1)
    assert termios.tcgetattr(terminal.inside) == terminal.before
    terminal.screen.reset()
    terminal.process.send_signal(signal.SIGCONT)
    terminal.until("doomed")
    assert "no shell" not in terminal.text()
    terminal.screen.reset()
    terminal.press("\x0c")
    terminal.until("doomed")
    terminal.press("q")
    assert terminal.ended() == 0
    terminal.check_restored()


def test_refresh_nan_is_refused(cli: Cli) -> None:
    assert "--refresh" in cli("tui", "--refresh", "nan", code=2).err


def test_which_terminals_have_few_colours() -> None:
    from queuectl_tui.console.app import few_colors

    assert few_colors({"TERM": "dumb"})
    assert few_colors({"TERM": "xterm-256color", "NO_COLOR": "1"})
    assert not few_colors({"TERM": "xterm-256color", "NO_COLOR": ""})


def test_no_terminal_is_one_line_and_exit_2(cli: Cli) -> None:
    result = cli("tui", code=2)
    assert "needs a terminal" in result.err
    assert result.err.count("\n") == 1


def test_a_window_that_is_dragged_ends_with_its_last_size(terminal: Terminal) -> None:
    """Each step sends a signal. In the past a handler interrupted itself and reported an older size
    last."""
    terminal.until("● live")
    for _ in range(12):
        for step in range(60):
            terminal.resize(20 + step % 7, 5)
            if step % 10 == 0:
                terminal.read(0)
        terminal.resize(120, 40)
        terminal.until("states", without="too small")
    terminal.press("q")
    assert terminal.ended() == 0


def test_many_ids_that_were_copied_do_not_end_the_drawing(terminal: Terminal, cli: Cli) -> None:
    """In the past the console waited for ever for an answer, although it had not asked the terminal
    whether it had shown the ids."""
    cli("enqueue", "-", stdin='{"command": "true"}\n' * 200)
    terminal.until("s true ")
    terminal.press("4g GV")
    terminal.until("201 marked")
    terminal.press("y")
    terminal.until("and 200 more")
    terminal.press("q")
    assert terminal.ended() == 0
