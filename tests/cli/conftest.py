"""Running the command line in this process, and at a terminal of its own."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from queuectl_tui.cli.main import run

from ..store.stores import PLACES
from ..support import Cli, Result, make_store

Here = Callable[..., Result]


@pytest.fixture
def inside(capfd: pytest.CaptureFixture[str]) -> Here:
    """``inside("list", code=0)``: runs a command line in this process, which is quicker."""

    def call(*args: str | Path, code: int | None = 0) -> Result:
        words = tuple(str(arg) for arg in args)
        capfd.readouterr()
        found = run(words)
        out, err = capfd.readouterr()
        assert code is None or found == code, f"{words}: exit {found}, not {code}\n{out}\n{err}"
        return Result(words, found, out, err)

    return call


@pytest.fixture
def here(store_path: Path, monkeypatch: pytest.MonkeyPatch, inside: Here) -> Here:
    """:func:`inside`, on an empty store. It exists, because reading a store that does not exist is
    an error."""
    make_store(store_path)
    monkeypatch.setenv("QUEUECTL_STORE", str(store_path))
    return inside


@dataclass(slots=True, kw_only=True)
class Near(Cli):
    """Runs verbs in this process, except those that need one of their own: workers, and what reads
    standard input or has another environment. The store and the directory must be set in this
    process."""

    inside: Here

    def __call__(self, *args: str | Path, code: int | None = 0, **options: Any) -> Result:
        if options or args[0] == "worker":
            return Cli.__call__(self, *args, code=code, **options)
        return self.inside(*args, code=code)


@pytest.fixture(params=sorted(PLACES))
def on_each_store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inside: Here,
) -> Iterator[Near]:
    """The command line on each store."""
    (tmp_path / "store").mkdir()
    place = PLACES[request.param].take(tmp_path / "store")
    monkeypatch.setenv("QUEUECTL_STORE", place.url)
    monkeypatch.chdir(tmp_path)
    made = Near(place.url, tmp_path, inside=inside)
    yield made
    made.close()
    asyncio.run(place.give_back())


@dataclass(slots=True)
class Terminal:
    """Runs ``queuectl`` with standard input, output and error on one pseudo-terminal."""

    cli: Cli
    _open: list[int] = field(default_factory=list)

    def start(self, *args: str | Path, columns: int = 100) -> tuple[subprocess.Popen[bytes], int]:
        """A running process, and our side of its terminal."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-m", "queuectl_tui", *map(str, args)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=self.cli.environment({"TERM": "xterm-256color"}),
            cwd=self.cli.cwd,
            start_new_session=True,
        )
        os.close(theirs)
        self._open.append(ours)
        return process, ours

    def __call__(
        self, *args: str | Path, typed: str = "", code: int = 0, columns: int = 100
    ) -> str:
        """Run to the end. ``typed``: what the user types. Returns everything that was shown."""
        process, ours = self.start(*args, columns=columns)
        os.write(ours, typed.encode())
        shown = self.read(ours)
        assert process.wait(60) == code, shown
        return shown

    @staticmethod
    def read(ours: int) -> str:
        """Everything that is shown until the process has ended."""
        chunks = []
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
        return b"".join(chunks).decode().replace("\r\n", "\n")

    def close(self) -> None:
        """Hang up."""
        for ours in self._open:
            os.close(ours)


@pytest.fixture
def terminal(cli: Cli, store_path: Path) -> Iterator[Terminal]:
    """``terminal("list")``: what a person would see. The store is empty."""
    make_store(store_path)
    made = Terminal(cli)
    yield made
    made.close()
