"""A copy of the tree, in which mutants are planted and tests run."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from .mutant import Mutant

ROOT = Path(__file__).parents[1]
TOKEN = "MUTANTS_TOKEN"  # noqa: S105 - no secret
"""A variable by which the processes of a run of tests, and theirs, are found and ended."""

_times = itertools.count(1_000_000_000)


class Stopped(Exception):
    """Somebody interrupts the whole run."""


@dataclass(slots=True)
class Run:
    """How tests ended: pytest's exit code, None if they took too long; and per test how it ended
    and how many seconds it took."""

    code: int | None
    outcomes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    output: str = ""

    @property
    def failed(self) -> list[str]:
        """The tests that failed."""
        return [name for name, outcome in self.outcomes.items() if outcome == "failed"]


class Tree:
    """One copy, in ``home``, and its processes."""

    def __init__(self, home: Path, stop: threading.Event, postgres: str) -> None:
        self.path = home / "tree"
        self._scratch = home / "t"  # short: sockets are made below it
        self._plan = home / "plan"
        self._results = home / "results"
        self._stop = stop
        self._postgres = postgres
        for name in tracked_files():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
        # Some tests ask git which files it ignores.
        subprocess.run(["git", "init", "--quiet", str(self.path)], check=True)

    def write(self, path: str, text: str) -> None:
        """Change a file. Python compares the time of a file, in seconds, with the one that it was
        compiled from, so every change has a time of its own."""
        target = self.path / path
        target.write_text(text, "utf-8")
        moment = next(_times)
        os.utime(target, (moment, moment))

    @contextmanager
    def planted(self, mutant: Mutant) -> Iterator[None]:
        """The mutant is in the tree."""
        self.write(mutant.path, mutant.after)
        try:
            yield
        finally:
            self.write(mutant.path, mutant.before)

    def run(
        self,
        paths: Sequence[str],
        limit: float,
        *,
        only: Sequence[str] | None = None,
        without: Sequence[str] = (),
        options: Sequence[str] = ("-x",),
        env: dict[str, str] | None = None,
        test_limit: float = 120.0,
    ) -> Run:
        """Run tests: of those in ``paths`` ``only`` these, in this order, ``without`` those. All of
        them may take ``limit`` seconds, each ``test_limit``. Raises Stopped."""
        self._plan.write_text(json.dumps({"only": only, "without": list(without)}), "utf-8")
        self._results.write_text("", "utf-8")
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(mode=0o711, exist_ok=True)
        token = uuid.uuid4().hex
        words = [sys.executable, "-m", "pytest", "--quiet", "--tb=no", "-p", "mutants.plugin"]
        words += ["-p", "no:cacheprovider", f"--basetemp={self._scratch / 'b'}", *options, *paths]
        output = self._scratch / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                words,
                cwd=self.path,
                env=self._environment(token, test_limit) | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = self._wait(process, limit)
            finally:
                end(process, token)
                unmount(self._scratch)
        return self._ended(code, output)

    def _environment(self, token: str, test_limit: float) -> dict[str, str]:
        mine = ("QUEUECTL_", "PYTHON", "PYTEST_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
        return {
            **kept,
            TOKEN: token,
            "MUTANTS_PLAN": str(self._plan),
            "MUTANTS_RESULTS": str(self._results),
            # Before the installed package, which is the working tree.
            "PYTHONPATH": str(self.path),
            "TMPDIR": str(self._scratch),
            "TEST_TIME_LIMIT": str(round(test_limit)),
            "QUEUECTL_TEST_POSTGRES": self._postgres,
            "CI": "true",  # the same examples each time
        }

    def _wait(self, process: subprocess.Popen[bytes], limit: float) -> int | None:
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self._stop.is_set():
                raise Stopped
            try:
                return process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        return None

    def _ended(self, code: int | None, output: Path) -> Run:
        run = Run(code, output=output.read_text("utf-8", "replace"))
        for line in self._results.read_text("utf-8").splitlines():
            name, outcome, seconds = json.loads(line)
            if run.outcomes.get(name) != "failed":
                run.outcomes[name] = outcome
            run.seconds[name] = run.seconds.get(name, 0.0) + seconds
        return run


def end(process: subprocess.Popen[bytes], token: str) -> None:
    """End a run of tests, and every process that has its token."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for _ in range(5):  # one that was just started may not be seen at first
        found = [one for one in psutil.process_iter() if _has(one, token)]
        for one in found:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                pass
        if not found:
            return
        psutil.wait_procs(found, timeout=5)


def unmount(folder: Path) -> None:
    """Take away what a test that was killed has left mounted in a folder (as root on Linux)."""
    for disk in reversed(psutil.disk_partitions(all=True)):
        if Path(disk.mountpoint).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", disk.mountpoint], check=False)


def _has(process: psutil.Process, token: str) -> bool:
    try:
        return process.environ().get(TOKEN) == token
    except (psutil.Error, OSError):
        return False


def tracked_files() -> list[str]:
    """The files of the working tree, as they are now, that git does not ignore."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    names = sorted(set(done.stdout.decode().split("\0")) - {""})
    return [name for name in names if (ROOT / name).is_file()]
