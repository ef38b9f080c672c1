"""Between the fork and the program: what the shim's child is told meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queuectl_core.runner import spawn
from queuectl_core.runner.spawn import TOO_LARGE, Program, Spawner, read_secret


@pytest.fixture
def ignoring() -> Iterator[None]:
    """As the shim does."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGTERM, before)


def test_a_signal_that_comes_before_the_child_resets_them_is_not_lost(
    ignoring: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, told = os.pipe()
    wait, release = os.pipe()
    reset = signal.signal

    def late(number: Any, handler: Any) -> Any:
        if number == spawn.RESET[0]:  # the first thing that the child does
            os.write(told, b".")
            os.read(wait, 1)
        return reset(number, handler)

    program = Program(["/bin/sleep", "30"], None, "/", {}, 1, [0, 0, 1000])
    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", late)
        pid, pipe = Spawner().start(program)
    assert pipe is not None
    os.read(here, 1)
    os.kill(pid, signal.SIGTERM)
    os.write(release, b".")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
    for descriptor in (here, told, wait, release, pipe):
        os.close(descriptor)


def test_reading_a_secret_leaves_no_file_open(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"12345\n")
    before = len(os.listdir("/dev/fd"))
    assert read_secret(os.fsencode(secret), 5) == b"12345"
    with pytest.raises(OSError, match=str(TOO_LARGE)):
        read_secret(os.fsencode(secret), 4)
    assert len(os.listdir("/dev/fd")) == before


class OneForeignMount:
    """Below it everything may take long."""

    foreign = True

    def __init__(self, place: Path) -> None:
        self.place = os.fsencode(place)

    def is_local(self, path: bytes) -> bool:
        return not path.startswith(self.place)


@pytest.mark.parametrize(
    ("name", "folders", "careful"),
    [
        ("true", ["/usr/bin", "foreign"], False),
        ("true", ["none", "/usr/bin"], False),
        ("true", ["none", "foreign", "/usr/bin"], True),
        ("true", ["foreign"], True),
        ("local", ["scripts"], False),
        ("far", ["scripts"], True),
        ("twice", ["scripts"], True),
        ("text", ["scripts", "/usr/bin", "foreign"], True),
    ],
)
def test_a_child_looks_for_a_program_that_may_be_on_a_foreign_mount(
    tmp_path: Path, name: str, folders: list[str], careful: bool
) -> None:
    """What the shim itself waits for, every job waits for."""
    foreign, scripts = tmp_path / "foreign", tmp_path / "scripts"
    scripts.mkdir()
    for script, text in (
        ("local", "#!/bin/sh"),
        ("far", f"#!{foreign}/sh"),
        ("twice", f"#!{scripts}/far"),
    ):
        (scripts / script).write_text(f"{text}\n")
        (scripts / script).chmod(0o755)
    (scripts / "text").write_text("not executable\n")
    path = os.pathsep.join(str(tmp_path / folder) for folder in folders)
    with open(os.devnull, "wb") as nowhere:
        program = Program([name], None, "/", {b"PATH": path.encode()}, nowhere.fileno(), None)
        spawner = Spawner(OneForeignMount(foreign))  # type: ignore[arg-type]
        pid, pipe = spawner.start(program)
    os.waitpid(pid, 0)
    assert (pipe is not None) == careful
    if pipe is not None:
        os.close(pipe)
    os.close(spawner.null)
