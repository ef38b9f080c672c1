"""Other programs on the store: the ``sqlite3`` shell, readers that take long, VACUUM, a backup
that is stopped again and again, ``doctor``, ``store copy``."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import ClassVar

from ..database import SqliteDatabase
from ..plant import until
from . import Actor

SHELL = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
for statement in sys.argv[2:]:
    if statement.startswith("sleep "):
        time.sleep(float(statement[6:]))
    else:
        print(connection.execute(statement).fetchall())
"""
"""The ``sqlite3`` shell where there is none, and where one has to wait between statements."""

QUIET = "PRAGMA wal_autocheckpoint = 0"
"""A passive checkpoint without the writer lock can lose commits in SQLite before 3.51.3. That is
SQLite's own fault (sqlite.org/wal.html#walresetbug), and not what a campaign looks for."""


class Tools(Actor):
    """See above."""

    name: ClassVar[str] = "tool"

    def act(self) -> None:
        choices: list[Callable[[], None]] = [self.doctor, self.copy, self.read_for_long]
        if self.plant.database.kind == "sqlite":
            choices += [self.shell, self.vacuum, self.checkpoint, *(self.slow_backup,) * 2]
        self.rng.choice(choices)()

    # -- other programs -----------------------------------------------------------------

    def _tool(self, argv: list[str]) -> None:
        process = self.plant.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out = process.communicate(timeout=120)[0].decode("utf-8", "replace")
        if process.returncode > 0:
            self.broken.append(f"{' '.join(argv[3:] or argv)[-200:]}: {out[-300:]}")

    def _sqlite(self, *statements: str) -> None:
        self._tool([sys.executable, "-c", SHELL, self.plant.database.url, QUIET, *statements])

    def shell(self) -> None:
        program = shutil.which("sqlite3")
        if program is None:
            self._sqlite("PRAGMA integrity_check", "SELECT count(*) FROM jobs")
            return
        self._tool(
            [
                *(program, "-batch", "-cmd", ".timeout 10000", "-cmd", QUIET),
                self.plant.database.url,
                "PRAGMA integrity_check; SELECT state, count(*) FROM jobs GROUP BY state;",
            ]
        )

    def read_for_long(self) -> None:
        """A snapshot is held for seconds."""
        seconds = self.rng.uniform(0.5, 4.0)
        self.figures["long readers"] += 1
        if self.plant.database.kind == "sqlite":
            read = "SELECT count(*) FROM attempts"
            self._sqlite("BEGIN", read, f"sleep {seconds:.2f}", read, "COMMIT")
        else:
            self.plant.sql(
                "SELECT count(*), (SELECT 1 FROM pg_sleep(?::float8)) FROM jobs", seconds
            )

    def vacuum(self) -> None:
        self._sqlite("VACUUM")
        self.figures["VACUUM"] += 1

    def checkpoint(self) -> None:
        # This kind takes the writer lock.
        self._sqlite("PRAGMA wal_checkpoint(TRUNCATE)")

    # -- queuectl's own -----------------------------------------------------------------

    def _verb(self, *words: str, codes: tuple[int, ...], slowly: bool = False) -> int:
        """A verb to its end. ``slowly``: stopped for most of the time, up to some seconds."""
        process = self.plant.start_cli(*words)
        if slowly:
            end = time.monotonic() + self.rng.uniform(1.0, 5.0)
            self.rest(self.rng.uniform(0.2, 0.6))
            while process.poll() is None and time.monotonic() < end and not self.stopping:
                process.send_signal(signal.SIGSTOP)
                self.rest(self.rng.uniform(0.2, 1.0))
                process.send_signal(signal.SIGCONT)
                self.rest(0.02)
        err = process.communicate(timeout=120)[1].decode("utf-8", "replace")
        self.plant.say("tools", err)
        away = (5,) if self.plant.database.kind == "postgres" else ()
        if process.returncode >= 0 and process.returncode not in (*codes, *away):
            self.broken.append(f"{' '.join(words)}: exit {process.returncode}: {err[-300:]}")
        return process.returncode

    def doctor(self) -> None:
        self._verb("doctor", codes=(0, 1))

    def copy(self) -> None:
        """The verb may report that the copy differs, because workers run at the same time."""
        target = self.plant.place / "copy.db"
        self._verb("store", "copy", "--to", str(target), codes=(0, 1, 4), slowly=True)
        self._forget(target.name)

    def slow_backup(self) -> None:
        target = self.plant.place / "backup.db"
        if self._verb("backup", str(target), codes=(0,), slowly=True) == 0:
            faults = SqliteDatabase(target).faults()
            self.broken += [f"a backup that was acknowledged: {fault}" for fault in faults]
            self.figures["slow backups"] += 1
        self._forget(target.name)

    def _forget(self, name: str) -> None:
        def gone() -> bool:
            for path in self.plant.place.glob(f"{name}*"):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            return not list(self.plant.place.glob(f"{name}*"))

        until(gone, 5.0)
