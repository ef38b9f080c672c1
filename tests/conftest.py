"""Fixtures for every folder, an environment of its own for each test, and a time limit."""

from __future__ import annotations

import gc
import itertools
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import hypothesis
import pytest

from .support import Cli

TIME_LIMIT = int(os.environ.get("TEST_TIME_LIMIT", "120"))
"""Seconds one phase of one test may take; many times what the slowest needs. The long form of
the fuzzing takes longer."""

# No deadline for single examples: a loaded machine is no bug. In CI the same examples each
# time, so that a red run is the change's fault; at a desk new ones, so that more is found.
hypothesis.settings.register_profile(
    "queuectl", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True
)
hypothesis.settings.load_profile("queuectl")


def pytest_collection_finish() -> None:
    """All modules are loaded and stay. To look through them for garbage again and again took a
    tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _limited(item: pytest.Item) -> Iterator[None]:
    def expire(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"{item.nodeid} took longer than {TIME_LIMIT} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    return (yield from _limited(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    return (yield from _limited(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    return (yield from _limited(item))


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A supervisor that was told to stop leaves these ignored: its process is about to end. Here
    the process goes on, with the next test.

    If they were ignored when the tests began (``nohup make test &`` in a script), every process of
    a test would ignore them too. A handler that does nothing has the same effect here, and is not
    inherited.
    """
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        if handler is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


_numbers = itertools.count()


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pytest's own, which reads the names of all folders that there are to find the next
    number: with thousands of tests this takes longer than most of them."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    folder = tmp_path_factory.getbasetemp() / f"{name}{next(_numbers)}"
    folder.mkdir(0o700)
    return folder


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and none of the caller's settings; returns the home."""
    home = tmp_path_factory.getbasetemp() / f"home{next(_numbers)}"
    home.mkdir(0o700)
    for name in list(os.environ):
        if name.startswith(("QUEUECTL_", "XDG_", "FORCE_COLOR", "CLICOLOR")):
            monkeypatch.delenv(name)
    for name in ("NO_COLOR", "COLUMNS", "LINES", "PYTHONWARNINGS", "NOTIFY_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    # Every process would compile our modules again, which takes as long as most verbs.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    # The server of the tests has no TLS: each connection would ask for it, and be made twice.
    monkeypatch.setenv("PGSSLMODE", "disable")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    return home


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Where a store may be made; nothing is there yet."""
    return tmp_path / "queue.db"


@pytest.fixture
def cli(store_path: Path, tmp_path: Path) -> Iterator[Cli]:
    """``queuectl`` as real processes: ``cli("enqueue", "true")``, ``cli.start("worker", …)``."""
    runner = Cli(store_path, tmp_path)
    yield runner
    runner.close()
