"""What tests of every folder share: waiting for conditions, values to put in, processes.

Nothing here sleeps for a fixed time and hopes: :func:`eventually` polls until a condition
holds, and says what it saw last when it never does.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import psutil

from queuectl_core.domain.claims import AttemptResult
from queuectl_core.domain.config import settings
from queuectl_core.domain.jobspec import Defaults
from queuectl_core.domain.lifecycle import Policy, settle
from queuectl_core.domain.model import Attempt, Job, JobSpec, Outcome, SupervisorRow
from queuectl_core.system.host import host_key, hostname

from . import forked

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds until a condition that should hold soon is given up: long, since a loaded machine
is slow; a test that passes never waits for it."""

NOW = 1_790_000_000.0
"""A moment for tests that need one (2026-09-21), so that nothing depends on the clock."""


def eventually(condition: Callable[[], T], timeout: float = PATIENCE, *, every: float = 0.02) -> T:
    """The first true answer of ``condition``; AssertionError when there is none in time.

    An AssertionError raised by the condition counts as "not yet" and is shown at the end. To ask
    takes at most half of the time, because what is waited for needs the processor too: many a
    condition starts a process.
    """
    deadline = time.monotonic() + timeout
    while True:
        began = time.monotonic()
        try:
            answer = condition()
            trouble: object = f"last answer: {answer!r}"
            if answer:
                return answer
        except AssertionError as error:
            trouble = error
        if (now := time.monotonic()) > deadline:
            raise AssertionError(f"not within {timeout:g} s: {trouble}")
        time.sleep(max(every, now - began))


async def eventually_async(
    condition: Callable[[], Awaitable[T]], timeout: float = PATIENCE, *, every: float = 0.02
) -> T:
    """:func:`eventually` for a condition that must be awaited."""
    deadline = time.monotonic() + timeout
    while True:
        began = time.monotonic()
        try:
            answer = await condition()
            trouble: object = f"last answer: {answer!r}"
            if answer:
                return answer
        except AssertionError as error:
            trouble = error
        if (now := time.monotonic()) > deadline:
            raise AssertionError(f"not within {timeout:g} s: {trouble}")
        await asyncio.sleep(max(every, now - began))


# -- values ---------------------------------------------------------------------------


def spec(command: str | tuple[str, ...] = "true", **fields: Any) -> JobSpec:
    """A job to enqueue: what matters to the test is given, the rest is unremarkable."""
    values: dict[str, Any] = {
        "id": None,
        "max_retries": 3,
        "backoff_base": 2.0,
        "priority": 0,
        "run_at": NOW,
        "timeout_seconds": 0.0,
        "cwd": "/",
        "env": {},
        "queue": "default",
    }
    return JobSpec(command=command, **(values | fields))


def defaults(now: float = NOW, cwd: str = "/place", **stored: str) -> Defaults:
    """What fills the fields a job does not give; ``stored`` is configuration."""
    named = {key.replace("_", "-"): value for key, value in stored.items()}
    return Defaults(settings(named, {}), cwd, now)


def supervisor(name: str = "sup", **fields: Any) -> SupervisorRow:
    """A supervisor's row: this very process, on this host, unless the test says otherwise."""
    values: dict[str, Any] = {
        "host": hostname(),
        "host_key": host_key(),
        "pid": os.getpid(),
        "pid_start": 1.0,
        "detached": False,
        "heartbeat_at": NOW,
        "lease_until": NOW + 30,
        "lease_mono": 30.0,
    }
    return SupervisorRow(id=name, **(values | fields))


POLICY = Policy(backoff_max=3600.0, backoff_jitter=0.0, max_crashes=3)


def ending(
    job: Job,
    outcome: Outcome = Outcome.COMPLETED,
    *,
    now: float = NOW,
    reason: str | None = None,
    tail: bytes = b"",
    policy: Policy = POLICY,
    **fields: Any,
) -> AttemptResult:
    """What a supervisor would write down for a claimed ``job`` that ended with ``outcome``."""
    assert job.started_at is not None
    codes = {Outcome.COMPLETED: 0, Outcome.FAILED: 1}
    values: dict[str, Any] = {
        "number": job.runs,
        "started_at": job.started_at,
        "finished_at": now,
        "outcome": outcome,
        "exit_code": codes.get(outcome),
        "signal": None,
        "reason": reason,
        "worker": job.worker,
        "host": hostname(),
        "peak_memory": 1 << 20,
        "cpu_seconds": 0.25,
        "output_bytes": len(tail),
        "waited": max(0.0, job.started_at - job.waits_from),
    }
    transition = settle(
        outcome,
        reason,
        attempts=job.attempts,
        crashes=job.crashes,
        max_retries=job.max_retries,
        backoff_base=job.backoff_base,
        policy=policy,
        now=now,
    )
    attempt = Attempt(**(values | fields))
    return AttemptResult(job.seq, job.runs, attempt, transition, tail, job.queue)


# -- stores ---------------------------------------------------------------------------


def make_store(path: Path) -> None:
    """An empty SQLite store at ``path``. It is a copy of the first one, since the disk takes much
    longer to make one. A store does not say where it was made."""
    shutil.copy(_empty_store(), path)


@cache
def _empty_store() -> Path:
    from queuectl_core.store.sqlite.store import SqliteStore

    folder = tempfile.TemporaryDirectory(prefix="queuectl-empty-")
    atexit.register(folder.cleanup)
    path = Path(folder.name, "queue.db")

    async def make() -> None:
        await (await SqliteStore.open(path)).close()

    # In a thread of its own, since the one that asks may have a loop that runs.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, make()).result()
    assert os.listdir(folder.name) == ["queue.db"]
    return path


# -- processes ------------------------------------------------------------------------

TOKEN = "TEST_TOKEN"
"""An environment variable by which a test's processes, and theirs, are found and ended."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished ``queuectl`` left."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, which must be one JSON document and nothing else."""
        return json.loads(self.out)


def _run(
    words: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: Path, timeout: float
) -> tuple[int, bytes, bytes]:
    """As :func:`forked.run`, in a process from the start of Python on."""
    done = subprocess.run(
        [sys.executable, "-m", "queuectl_tui", *words],
        input=stdin,
        capture_output=True,
        env=env,
        cwd=cwd,
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@dataclass(slots=True)
class Cli:
    """Runs ``python -m queuectl_tui`` as real processes on a store of the test's own.

    Whatever is still alive when the test ends (detached supervisors and their jobs too) is
    killed: they all inherit the same token.
    """

    store: Path | str
    cwd: Path
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    env: dict[str, str] = field(default_factory=dict)
    """Added to the environment of every process."""
    _started: list[subprocess.Popen[str]] = field(default_factory=list)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment processes get."""
        given = {**os.environ, "QUEUECTL_STORE": str(self.store), TOKEN: self.token}
        return given | self.env | dict(extra or {})

    def __call__(
        self,
        *args: str | Path,
        stdin: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        code: int | None = 0,
        timeout: float = 60.0,
    ) -> Result:
        """Run to the end. ``code``: the exit code it must have (None: any)."""
        words = tuple(str(arg) for arg in args)
        raw = stdin.encode() if isinstance(stdin, str) else stdin
        # No input is an empty input: never the terminal the suite is run from.
        run = forked.run if forked.can_fork(words, given := self.environment(env)) else _run
        exit_code, out, err = run(
            words, stdin=raw or b"", env=given, cwd=cwd or self.cwd, timeout=timeout
        )
        result = Result(words, exit_code, out.decode(), err.decode())
        if code is not None:
            assert result.code == code, (
                f"queuectl {' '.join(words)}: exit {result.code}, not {code}\n"
                f"stdout: {result.out}\nstderr: {result.err}"
            )
        return result

    def json(self, *args: str | Path, **options: Any) -> Any:
        """Run with ``--json``; the document it prints."""
        return self(*args, "--json", **options).json

    def shell(self, line: str, *, code: int) -> Result:
        """Run a line of the shell in which ``queuectl`` is ours, to the end."""
        script = f'queuectl() {{ exec "$0" -m queuectl_tui "$@"; }}; {line}'
        done = subprocess.run(
            ["/bin/sh", "-c", script, sys.executable],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment(),
            cwd=self.cwd,
            check=False,
        )
        assert done.returncode == code, f"{line}: exit {done.returncode}\n{done.stderr}"
        return Result((line,), done.returncode, done.stdout, done.stderr)

    def start(
        self, *args: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        """Start and leave running, in a session of its own, with stdout and stderr piped."""
        process = subprocess.Popen(
            [sys.executable, "-m", "queuectl_tui", *(str(arg) for arg in args)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=self.environment(env),
            cwd=cwd or self.cwd,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    @property
    def directory(self) -> Path:
        """Where this host keeps what belongs to the store."""
        if isinstance(self.store, Path):
            return self.store.with_name(self.store.name + ".d")
        (found,) = (Path(self.environment()["XDG_DATA_HOME"]) / "queuectl/postgresql").iterdir()
        return found

    def close(self) -> None:
        """Kill what the test left running."""
        kill_marked(self.token)
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@contextmanager
def local_zone(name: str) -> Iterator[None]:
    """The local time zone of this process is another one."""
    try:
        with patch.dict(os.environ, {"TZ": name}):
            time.tzset()
            yield
    finally:
        time.tzset()


@contextmanager
def held_open(code: str, *args: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Another Python process that runs ``code`` up to where it prints a line and reads standard
    input, and stays there meanwhile."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.communicate()


def kill_marked(token: str) -> None:
    """Kill every process that inherited ``token``, again until none is born any more."""

    def none_left() -> bool:
        found = marked(token)
        for process in found:
            try:
                process.kill()
            except psutil.Error:
                pass
        return not found

    eventually(none_left, every=0.005)


def marked(token: str) -> list[psutil.Process]:
    """Live processes whose environment holds ``token``."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get(TOKEN) == token
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or somebody else's
    return found
