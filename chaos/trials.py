"""Single attacks with a promise of their own, each on a plant of its own."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

from tests.pgserver import SETTINGS, Server

from .database import PostgresDatabase
from .disk import Disk, Unavailable
from .leaving import leaving
from .limits import limits
from .plant import JOB, Plant, until
from .schedules import schedules
from .trial import Trial


@contextmanager
def plant(
    *, workers: int = 2, disk: bool = False, mutate: str = ""
) -> Iterator[tuple[Plant, Disk]]:
    """A plant; with ``disk`` its store is on one that can be filled. Raises Unavailable."""
    base = Path(tempfile.mkdtemp(prefix="chaos-"))
    small = Disk(base / "home")
    made = Plant(base / "place", base / "home", workers, mutate)
    try:
        if disk:
            with small:
                yield made, small
                made.kill_everything()
        else:
            small.path.mkdir(mode=0o700)
            yield made, small
    finally:
        made.close()
        shutil.rmtree(base, ignore_errors=True)


def gated(made: Plant, names: list[str], code: int = 0) -> bytes:
    """Jobs for ``enqueue -`` that run until the file ``go`` is there."""
    command = f"exec sh {JOB} %s {code} 0 {made.place}/go"
    jobs = [{"id": name, "command": command % name, "max_retries": 1} for name in names]
    return "\n".join(map(json.dumps, jobs)).encode()


def states(made: Plant) -> dict[str, tuple[object, ...]]:
    """State and exit code of each job."""
    rows = made.sql("SELECT id, state, exit_code, crashes FROM jobs")
    return {str(name): tuple(rest) for name, *rest in rows}


def full_disk(trial: Trial, rng: Random) -> None:
    """Nothing accepted is lost; what runs ends, and is recorded when there is space again."""
    with plant(workers=4, disk=True) as (made, disk):
        running = [f"run{number}" for number in range(4)]
        waiting = [f"wait{number}" for number in range(6)]
        made.cli("enqueue", "-", stdin=gated(made, running, 3))
        supervisor = made.start()
        until(lambda: made.count_log(b"S") == 4)
        made.cli("enqueue", "-", stdin=gated(made, waiting))
        disk.fill()
        accepted = set(running + waiting)
        refusals = 0
        for number in range(6):
            result = made.cli("enqueue", "--id", f"late{number}", "true")
            if result[0] == 0:
                accepted.add(f"late{number}")
                disk.fill()
            else:
                refusals += 1
                trial.refused("enqueue on a full disk", result, "no space left")
        trial.check(refusals, "a full disk refused nothing")
        code, out, err = made.cli("status", "--json")
        trial.check(code == 0 and json.loads(out), f"status on a full disk: exit {code}, {err!r}")
        (made.place / "go").touch()
        trial.check(until(lambda: made.count_log(b"E") >= 4), "running jobs did not end")
        troubled = until(lambda: b"no space left" in supervisor.said.read_bytes())
        trial.check(troubled, "the supervisor does not say that the disk is full")
        trial.refused("worker start on a full disk", made.cli("worker", "start"), "no space left")
        if rng.random() < 0.5:  # then the results are in its journal, or nowhere
            made.kill(supervisor)
        disk.free()
        if supervisor not in made.supervisors:
            made.start()
        began = time.monotonic()

        def ended() -> bool:
            return {row[0] for row in states(made).values()} <= {"completed", "dead"}

        trial.check(until(ended), f"not all ended when space was back: {states(made)}")
        trial.figures["full disk: seconds until all is recorded"] = time.monotonic() - began
        found = states(made)
        trial.figures["full disk: lost"] = len(accepted - found.keys())
        trial.check(accepted == found.keys(), f"accepted {accepted}, found {found.keys()}")
        wrong = [name for name in running if found.get(name) != ("dead", 3, 0)]
        trial.check(not wrong, f"not their true result: {[(n, found.get(n)) for n in wrong]}")
        said = [line for _, line in made.said() if "no space left" in line and "trying" in line]
        trial.figures["full disk: messages"] = len(said)
        trial.check(len(said) == 1, f"said {len(said)} times that the disk is full: {said}")
        trial.check(not made.stop_all(), "a supervisor did not leave on SIGTERM")
        disk.fill()  # and nobody is there who has the store open
        for verb in (["status"], ["enqueue", "true"]):
            trial.refused(" ".join(verb), made.cli(*verb), "no space left")
        for file, line in made.said():
            trial.check("Traceback" not in line, f"supervisor {file} said: {line}")


def read_only_store(trial: Trial, rng: Random) -> None:
    """Verbs that change something report it; everything works again when it can be written."""
    with plant(disk=True) as (made, disk):
        made.cli("enqueue", "-", stdin=gated(made, [f"job{number}" for number in range(6)]))
        supervisor = made.start()
        until(lambda: made.count_log(b"S") == 2)
        made.kill(supervisor)
        (made.place / "go").touch()
        trial.check(until(lambda: disk.read_only(True)), "the shim keeps files open for ever")
        for verb in (["enqueue", "true"], ["worker", "start"], ["retry", "job0"]):
            trial.refused(" ".join(verb), made.cli(*verb), "read-only")
        trial.check(made.cli("status")[0] == 0, "status cannot read")
        trial.check(disk.read_only(False), "cannot be made writable again")
        trial.check(made.cli("worker", "start", "--until-empty")[0] == 0, "workers do not start")
        found = states(made)
        trial.check(len(found) == 6, f"lost: {found}")
        trial.check(set(found.values()) == {("completed", 0, 0)}, f"not all completed: {found}")


def _flip(path: Path, rng: Random) -> None:
    with path.open("r+b") as file:
        for _ in range(40):
            file.seek(rng.randrange(path.stat().st_size))
            file.write(rng.randbytes(16))


def _cut(path: Path, rng: Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def _zero(path: Path, rng: Random) -> None:
    size = path.stat().st_size
    begin = rng.randrange(size)
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(bytes(min(20_000, size - begin)))


DAMAGE: dict[str, Callable[[Path, Random], None]] = {"flipped": _flip, "cut": _cut, "zeroed": _zero}
VERBS = (["status"], ["list", "--json"], ["enqueue", "true"], ["show", "job1"], ["doctor"])


def damaged_store(trial: Trial, rng: Random) -> None:
    """Files overwritten or cut short: a clear message, exit 5, never a traceback."""
    with plant() as (made, _):
        made.cli("enqueue", "-", stdin=gated(made, [f"job{n}" for n in range(60)]))
        supervisor = made.start()
        until(lambda: made.count_log(b"S") == 2)
        made.kill(supervisor)  # with its WAL not yet moved into the database
        made.kill_everything()
        shutil.rmtree(made.run.parent)  # what is in there is not the store
        # Most is in the WAL of the one, and in the database of the other.
        copies = {"-wal": made.place / "fresh", "": made.place / "settled"}
        shutil.copytree(made.home, copies["-wal"])
        made.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copytree(made.home, copies[""])
        noticed = 0
        for number in range(trial.rounds):
            name, how = rng.choice(sorted(DAMAGE.items()))
            suffix = rng.choice(("", "", "-wal"))
            shutil.rmtree(made.home)
            shutil.copytree(copies[suffix], made.home)
            victim = made.store.with_name(made.store.name + suffix)
            how(victim, rng)
            label = f"round {number}, {victim.name} {name}"
            noticed += _try_verbs(trial, made, label)
        trial.figures["damaged stores: opened"] = trial.rounds
        trial.figures["damaged stores: noticed"] = noticed


def _try_verbs(trial: Trial, made: Plant, label: str) -> bool:
    """Whether any verb reported the damage."""
    noticed = False
    (made.place / "go").touch()
    for verb in VERBS:
        code, out, err = made.cli(*verb)
        told = f"{label}: {' '.join(verb)}: exit {code}: {err.strip()[-300:]}"
        trial.check("Traceback" not in err + out, told)
        trial.check("internal error" not in err, told)
        allowed = (0, 1, 5) if verb[0] == "doctor" else (0, 3, 5)
        trial.check(code in allowed, told)
        noticed = noticed or (verb[0] == "doctor" and code == 1)
        if code == 5:
            noticed = True
            trial.check(len(err.strip().splitlines()) == 1, told)
    supervisor = made.start()
    until(lambda: not supervisor.alive, 2.0)  # or it met no damage, and works
    said = supervisor.said.read_text("utf-8", "replace")
    if "damaged" in said:
        left = until(lambda: not supervisor.alive, 10.0)
        trial.check(left, f"{label}: workers stay on a store that is damaged: {said[-300:]}")
        trial.check(supervisor.process.poll() == 5, f"{label}: workers: {said[-300:]}")
        noticed = True
    trial.check("Traceback" not in said, f"{label}: workers: {said[-1000:]}")
    trial.check("internal error" not in said, f"{label}: workers: {said[-300:]}")
    made.kill_everything()
    return noticed


LEASE = 30.0
"""Seconds: the default of ``lease``."""


def hand_over(trial: Trial, rng: Random) -> None:
    """kill -9 and a new supervisor, on default settings: it has the jobs at once, and does not wait
    for the lease. (How quick it is: benchmarks/recovery.py.)"""
    slowest = 0.0
    with plant(workers=4) as (made, _):
        names = [f"job{number}" for number in range(4)]
        made.cli("enqueue", "-", stdin=gated(made, names))
        supervisor = made.start()
        until(lambda: made.count_log(b"S") == 4)
        for _ in range(trial.rounds):
            made.kill(supervisor)
            began = time.monotonic()
            supervisor = made.start()
            pid = supervisor.process.pid

            def in_hand(pid: int = pid) -> bool:
                held = (
                    "SELECT count(*) FROM jobs j JOIN supervisors s ON s.id = j.owner"
                    " JOIN workers w ON w.id = j.worker AND w.supervisor = s.id"
                    " WHERE j.state = 'processing' AND s.pid = ?"
                )
                return made.sql(held, pid) == [(4,)]

            trial.check(until(in_hand, every=0.005), "the jobs were not taken over")
            slowest = max(slowest, time.monotonic() - began)
        (made.place / "go").touch()
        ended = until(lambda: set(states(made).values()) == {("completed", 0, 0)})
        trial.check(ended, f"taken over {trial.rounds} times, and not completed: {states(made)}")
        trial.check(made.count_log(b"S") == 4, "a job was started again")
        made.stop_all()
    trial.figures["taken over after kill -9: slowest, s"] = slowest
    trial.check(slowest < LEASE / 3, f"{slowest:.2f} s until the jobs were in hand")


def supervisors_leave(trial: Trial, rng: Random) -> None:
    """See ``leaving``."""
    with plant(workers=2) as (made, _):
        leaving(trial, made, rng)


SNAPSHOT = 6.0
"""Seconds that the slow reader holds each of its snapshots."""
DUE = 10
"""Jobs of each thousand that are run; the others only have to be written."""
LONGEST_WAIT = 2.5
"""Seconds to wait for the writer lock, on a machine that is busy: no transaction takes so long."""

READER = f"""
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
while True:
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM jobs").fetchone()
    time.sleep({SNAPSHOT})
    connection.execute("COMMIT")
"""


class LockWaits(threading.Thread):
    """Asks for the writer lock again and again; ``longest``: seconds that it ever waited."""

    def __init__(self, store: Path) -> None:
        super().__init__(daemon=True)
        self._store = store
        self._ending = threading.Event()
        self.longest = 0.0

    def run(self) -> None:
        with closing(sqlite3.connect(self._store, timeout=30, isolation_level=None)) as connection:
            while not self._ending.wait(0.05):
                began = time.monotonic()
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
                self.longest = max(self.longest, time.monotonic() - began)

    def end(self) -> None:
        """No further question."""
        self._ending.set()
        self.join()


def slow_reader(trial: Trial, rng: Random) -> None:
    """A reader holds a snapshot for seconds, again and again: nobody waits for it."""
    with plant(workers=4, mutate=trial.mutate) as (made, _):
        due = {"command": "true", "env": {"TEXT": "x" * 2000}, "max_retries": 1}
        later = due | {"run_at": "+1d"}  # these only have to be written
        batch = "\n".join(map(json.dumps, [due] * DUE + [later] * (1000 - DUE))).encode()
        made.cli("enqueue", "-", stdin=batch)
        reader = made.spawn([sys.executable, "-c", READER, str(made.store)])
        waits = LockWaits(made.store)
        waits.start()
        try:
            supervisor = made.start()
            until(lambda: made.is_up(supervisor))
            total = DUE
            for _ in range(4 * trial.rounds):
                code, _, err = made.cli("enqueue", "-", stdin=batch)
                trial.check(code == 0, f"enqueue beside a reader: exit {code}: {err[-300:]}")
                total += DUE
                if trial.broken or waits.longest > LONGEST_WAIT:
                    break
        finally:
            waits.end()
            reader.kill()
            reader.wait()
        trial.figures["slow reader: longest wait for the writer lock, s"] = waits.longest
        waited = f"{waits.longest:.1f} s until the writer lock was free, beside a slow reader"
        trial.check(waits.longest < LONGEST_WAIT, waited)
        if trial.broken:
            return
        done = "SELECT count(*) FROM jobs WHERE state = 'completed'"
        trial.check(
            until(lambda: made.sql(done) == [(total,)], 60.0, every=0.2),
            f"{made.sql(done)[0][0]} of {total} jobs were done",
        )
        trial.check(not made.stop_all(), "a supervisor did not leave on SIGTERM")
        for _, line in made.said():
            trial.check("lease" not in line, f"the supervisor said: {line}")
        trial.broken += made.database.faults()


def limits_on_sqlite(trial: Trial, rng: Random) -> None:
    """See ``limits``."""
    with plant(mutate=trial.mutate) as (made, _):
        limits(trial, made, rng)


def schedules_on_sqlite(trial: Trial, rng: Random) -> None:
    """See ``schedules``."""
    with plant(mutate=trial.mutate) as (made, _):
        schedules(trial, made, rng)


def limits_on_postgres(trial: Trial, rng: Random) -> None:
    """See ``limits``."""
    _on_postgres(trial, rng, limits)


def schedules_on_postgres(trial: Trial, rng: Random) -> None:
    """See ``schedules``."""
    _on_postgres(trial, rng, schedules)


def _on_postgres(trial: Trial, rng: Random, run: Callable[[Trial, Plant, Random], None]) -> None:
    """A trial on a server of its own."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-pg-"))
    folder.chmod(0o711)  # as root it runs as another user
    try:
        with (folder / "log").open("w") as log, plant(mutate=trial.mutate) as (made, _):
            server = Server(folder, SETTINGS, log)
            url = server.start()
            try:
                made.database = PostgresDatabase(url, url)
                run(trial, made, rng)
                made.kill_everything()
            finally:
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


TRIALS: dict[str, Callable[[Trial, Random], None]] = {
    "full": full_disk,
    "readonly": read_only_store,
    "damage": damaged_store,
    "handover": hand_over,
    "leaving": supervisors_leave,
    "reader": slow_reader,
    "limits": limits_on_sqlite,
    "limits-postgres": limits_on_postgres,
    "schedules": schedules_on_sqlite,
    "schedules-postgres": schedules_on_postgres,
}


def run_trial(name: str, seed: int, rounds: int = 3, mutate: str = "") -> Trial:
    """Do one."""
    trial = Trial(name, rounds, mutate=mutate)
    try:
        TRIALS[name](trial, Random(f"{seed}.{name}"))
    except Unavailable as error:
        trial.skipped = str(error)
    return trial
