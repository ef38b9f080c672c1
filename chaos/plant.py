"""Where a campaign takes place: a store, jobs that keep a log, supervisors as processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from queuectl_core.runner.journal_reader import JournalReader

from .book import SECRET
from .database import Database, Rows, SqliteDatabase

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
JOB = Path(__file__).with_name("job.sh")
TOKEN = "CHAOS_TOKEN"
"""An environment variable by which the campaign's processes, and theirs, are found."""
PATIENCE = 30.0


def until(condition: Callable[[], T], seconds: float = PATIENCE, every: float = 0.02) -> T | None:
    """The first true answer of ``condition``; None when there was none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            return None
        time.sleep(every)


@dataclass
class Supervisor:
    """One ``queuectl worker start`` and what it said."""

    process: subprocess.Popen[bytes]
    said: Path
    stopped_until: float = 0.0
    """It was sent SIGSTOP and is to be continued then; 0: it runs."""

    @property
    def alive(self) -> bool:
        """Not ended, whether or not it is stopped."""
        return self.process.poll() is None


@dataclass
class Plant:
    """Everything of one campaign. ``place``: the jobs' log and locks; ``home``: the store's."""

    place: Path
    home: Path
    workers: int = 2
    """Of each supervisor."""
    mutate: str = ""
    supervisors: list[Supervisor] = field(default_factory=list)
    gone: list[Supervisor] = field(default_factory=list)
    """Supervisors that ended or were killed."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    database: Database = field(init=False)
    """An SQLite store in ``home`` unless another one is put here before anything starts."""
    gate: threading.RLock = field(default_factory=threading.RLock)
    """Held while a process is started, and by a power cut: nothing starts in the middle of it."""

    def __post_init__(self) -> None:
        self.database = SqliteDatabase(self.home / "queue.db")
        (self.place / "locks").mkdir(parents=True, exist_ok=True)
        (self.place / "said").mkdir(exist_ok=True)
        (self.place / "log").touch()
        shutil.copy(JOB, self.place / JOB.name)
        (self.place / "secret").write_text(f"{SECRET}\n", "ascii")
        self.clock = self.place / "clock"
        self.clock.write_text("0", "ascii")

    @property
    def store(self) -> Path:
        """The store's file."""
        return self.home / "queue.db"

    @property
    def run(self) -> Path:
        """Where shims and supervisors keep journals."""
        if self.database.kind == "sqlite":
            return self.home / "queue.db.d" / "run"
        found = [path for path in self.home.glob("queuectl/postgresql/*") if path.is_dir()]
        return (found[0] if found else self.home / "none") / "run"

    def environment(self) -> dict[str, str]:
        """Of every process of the campaign."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("QUEUECTL")}
        return clean | {
            "QUEUECTL_STORE": self.database.url,
            "XDG_DATA_HOME": str(self.home),
            "CHAOS_PLACE": str(self.place),
            "CHAOS_CLOCK": str(self.clock),
            "CHAOS_MUTATE": self.mutate,
            TOKEN: self.token,
            "PYTHONPATH": str(ROOT),
        }

    # -- queuectl -----------------------------------------------------------------------

    def spawn(self, argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """A process of the campaign, in ``place``."""
        options.setdefault("env", self.environment())
        with self.gate:
            return subprocess.Popen(argv, cwd=self.place, **options)

    def start_cli(self, *args: str, stdin: bytes | None = None) -> subprocess.Popen[bytes]:
        """A verb of queuectl as a process, with its output piped."""
        process = self.spawn(
            [sys.executable, "-m", "chaos.agent", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if process.stdin is not None:
            try:
                process.stdin.write(stdin or b"")
                process.stdin.close()
            except BrokenPipeError:
                pass
            process.stdin = None  # communicate() must not flush what is closed
        return process

    def cli(self, *args: str, stdin: bytes | None = None) -> tuple[int, str, str]:
        """Run a verb to its end: exit code, stdout, stderr."""
        out, err = (process := self.start_cli(*args, stdin=stdin)).communicate(timeout=120)
        return process.returncode, out.decode(), err.decode()

    def start(self, workers: int | None = None) -> Supervisor:
        """Another supervisor; does not wait until it is up."""
        count = len(self.supervisors) + len(self.gone)
        said = self.place / "said" / f"{count}.txt"
        with said.open("wb") as file:
            process = self.spawn(
                [
                    *(sys.executable, "-m", "chaos.agent", "worker", "start"),
                    *("--count", str(workers or self.workers)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        supervisor = Supervisor(process, said)
        self.supervisors.append(supervisor)
        return supervisor

    def is_up(self, supervisor: Supervisor) -> bool:
        """Whether its workers have started."""
        return b" up: " in supervisor.said.read_bytes()

    def kill(self, supervisor: Supervisor) -> None:
        """kill -9; its jobs and their shim go on."""
        supervisor.process.kill()
        supervisor.process.wait()
        self.supervisors.remove(supervisor)
        self.gone.append(supervisor)

    def stop_all(self, seconds: float = PATIENCE) -> list[Supervisor]:
        """SIGTERM to all, and wait; those that did not leave."""
        for supervisor in self.supervisors:
            supervisor.process.send_signal(signal.SIGCONT)
            supervisor.process.send_signal(signal.SIGTERM)
        until(lambda: not any(one.alive for one in self.supervisors), seconds)
        left = [one for one in self.supervisors if one.alive]
        self.gone += [one for one in self.supervisors if not one.alive]
        self.supervisors = left
        return left

    # -- what runs ----------------------------------------------------------------------

    def shims(self) -> dict[str, int]:
        """Journal name -> pid of the shims that live."""
        found = {}
        for path in self.run.glob("*.journal"):
            journal = JournalReader(self.run, path.stem)
            journal.refresh()
            if journal.shim_pid is not None and journal.shim_alive():
                found[path.stem] = journal.shim_pid
        return found

    def detached(self) -> list[psutil.Process]:
        """Supervisors in the background, which consoles and verbs started."""
        return [one for one in self.processes() if _program_of(one).endswith("background.py")]

    def jobs_running(self) -> list[int]:
        """Pids of the leaders of running jobs, as the shims know them."""
        pids = []
        for name in self.shims():
            journal = JournalReader(self.run, name)
            journal.refresh()
            pids += [s.pid for token, s in journal.started.items() if token not in journal.exits]
        return pids

    def processes(self) -> list[psutil.Process]:
        """Every live process of the campaign, jobs and what they started included."""
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get(TOKEN) == self.token
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue  # gone meanwhile, or somebody else's
        return found

    def kill_everything(self) -> None:
        """Kill everything, as a power cut does."""
        for supervisor in list(self.supervisors):
            self.kill(supervisor)

        def none_left() -> bool:
            left = self.processes()
            for process in left:
                try:
                    process.kill()
                except psutil.Error:
                    pass
            return not left

        until(none_left, every=0.005)

    # -- what is written ----------------------------------------------------------------

    def log(self) -> list[list[str]]:
        """What the jobs wrote, in order."""
        lines = (self.place / "log").read_text("utf-8").splitlines()
        return [line.split() for line in lines]

    def count_log(self, kind: bytes) -> int:
        """How many lines of a kind there are."""
        content = b"\n" + (self.place / "log").read_bytes()
        return content.count(b"\n" + kind + b" ")

    def log_size(self) -> int:
        """Bytes that the jobs wrote."""
        return (self.place / "log").stat().st_size

    def sql(self, statement: str, *args: object) -> Rows:
        """Straight to the database: to change what only a catastrophe changes, while every
        queuectl is dead, and to read what no verb shows."""
        return self.database.sql(statement, *args)

    def say(self, name: str, text: str) -> None:
        """Keep the output of a process, for the oracle."""
        if text:
            with (self.place / "said" / f"{name}.txt").open("a", encoding="utf-8") as file:
                file.write(text if text.endswith("\n") else f"{text}\n")

    def said(self) -> Iterator[tuple[str, str]]:
        """(file, line) of everything that the campaign's processes said."""
        background = self.run.with_name("supervisor.log")
        kept = [background] if background.exists() else []
        for path in [*sorted((self.place / "said").iterdir()), *kept]:
            for line in path.read_text("utf-8", "replace").splitlines():
                yield path.name, line

    def close(self) -> None:
        """End and remove everything."""
        with self.gate:
            self.kill_everything()
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.place, ignore_errors=True)


def _program_of(process: psutil.Process) -> str:
    """The Python file that a process runs; empty: none."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return ""
    return next((word for word in words[1:] if word.endswith(".py")), "")
