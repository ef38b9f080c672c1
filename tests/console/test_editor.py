"""``^e`` in a field for a command: $EDITOR gets the terminal, then the console has it again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..support import Cli
from .test_terminal import Terminal


@pytest.fixture
def start(cli: Cli, store_path: Path) -> Iterator[Callable[[str], Terminal]]:
    """Starts a console with this $EDITOR, and opens the form for a new job."""
    cli("enqueue", "--id", "first", "true")
    found: list[Terminal] = []

    def begin(editor: str) -> Terminal:
        env = cli.environment() | {"TERM": "xterm-256color", "EDITOR": editor}
        argv = [sys.executable, "-m", "queuectl_tui", "--store", str(store_path), "tui"]
        found.append(Terminal(argv, env))
        found[-1].until("first")
        found[-1].press("e")
        found[-1].until("enqueue a job")
        return found[-1]

    yield begin
    for terminal in found:
        terminal.close()


def test_a_command_of_several_lines_comes_from_the_editor(
    start: Callable[[str], Terminal], cli: Cli, tmp_path: Path
) -> None:
    """While the editor has the terminal, the console draws nothing on it."""
    editor, go = tmp_path / "edit", tmp_path / "go"
    editor.write_text(
        '#!/bin/sh\ngrep -qx "echo draft" "$1" || exit 1\necho now it is mine\n'
        f"while [ ! -e '{go}' ]; do sleep 0.05; done\n"
        'printf "echo one\\necho two\\n" >"$1"\n'
    )
    editor.chmod(0o755)
    terminal = start(f"'{editor}'")
    terminal.press("echo draft\x05")
    terminal.until("now it is mine")
    written = len(terminal.raw)
    cli("enqueue", "--id", "meanwhile", "true")
    until = time.monotonic() + 2  # two readings of the store
    while time.monotonic() < until:
        terminal.read(0.1)
    assert len(terminal.raw) == written
    go.touch()
    terminal.until("echo one⏎echo two")
    terminal.until("meanwhile")
    terminal.press("\tedited\r")
    terminal.until("✓ enqueued edited")
    terminal.press("q")
    assert terminal.ended() == 0
    terminal.check_restored()
    assert json.loads(cli("show", "edited", "--json").out)["command"] == "echo one\necho two"


def test_an_editor_that_is_not_there_is_named(start: Callable[[str], Terminal]) -> None:
    terminal = start("no-such-editor")
    terminal.press("echo draft\x05")
    terminal.until("cannot edit with 'no-such-editor'")
    terminal.press("\x1b")
    terminal.until("3 dlq", without="enqueue a job")
    terminal.press("q")
    assert terminal.ended() == 0
    terminal.check_restored()
