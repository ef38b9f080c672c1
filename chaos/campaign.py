"""A campaign: jobs run, faults happen, and at the end every promise is looked at.

The seed decides which faults happen, in which order, and after how many ended jobs each; what
the operating system makes of it differs from run to run, as it does in life.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from .faults import FAULTS, LEASE
from .oracle import UNEXPECTED, Oracle, Planned
from .plant import JOB, Plant, Supervisor

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What to do. ``kills``: supervisors to kill -9; the other faults come beside them."""

    seed: int = 1
    jobs: int = 2000
    kills: int = 100
    faults: tuple[str, ...] = tuple(FAULTS)
    supervisors: int = 4
    workers: int = 2
    longest: float = 0.6
    """Seconds a job takes at most."""
    mutate: str = ""
    keep: bool = False
    """Leave everything where it is when something is broken."""
    patience: float = 60.0
    """Seconds without any progress until the campaign counts as stuck."""


@dataclass
class Campaign:
    """One run of it. ``broken`` and ``figures`` are the result."""

    options: Options
    say: Say = lambda text: None
    broken: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    accepted: set[str] = field(default_factory=set)
    lossy: bool = False
    leaders: bool = False
    _planned: list[Planned] = field(default_factory=list)
    _strangers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _later: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    # -- what faults use ----------------------------------------------------------------

    def plan(self, rng: Random) -> Planned:
        """Another job."""
        code = rng.choice((0, 0, 0, 0, 3, 77))
        job = Planned(f"j{len(self._planned):05}", code, 2)
        self._planned.append(job)
        return job

    def job(self, job: Planned, rng: Random) -> dict[str, object]:
        """As ``enqueue`` takes it."""
        seconds = round(rng.uniform(0.0, self.options.longest), 2)
        return {
            "id": job.name,
            "command": f"exec sh {JOB} {job.name} {job.code} {seconds}",
            "max_retries": job.max_retries,
            "backoff_base": 0,
        }

    def kill(self, victim: Supervisor) -> None:
        """kill -9 of a supervisor; another is started in its place, at once or soon."""
        self.plant.kill(victim)
        self.figures["supervisors killed"] += 1
        self.later(self._rng.choice((0.0, 0.0, 0.3)), self.plant.start)

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something in a while, while the campaign goes on."""
        self._later.append((time.monotonic() + seconds, do))

    def stranger(self) -> int:
        """The pid of a process that has nothing to do with any of this."""
        process = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(3600)"],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        self._strangers.append(process)
        return process.pid

    # -- the run ------------------------------------------------------------------------

    def run(self) -> None:
        """Do it all."""
        self._rng = Random(self.options.seed)
        began = time.monotonic()
        base = Path(tempfile.mkdtemp(prefix="chaos-"))
        home = base / "home"
        home.mkdir(mode=0o700)
        self.plant = Plant(base / "place", home, self.options.workers, self.options.mutate)
        try:
            self._prepare()
            self._attack()
            self._drain()
            self._conclude()
        finally:
            for process in self._strangers:
                process.kill()
                process.wait()
            if self.broken and self.options.keep:
                self.plant.kill_everything()
                self.say(f"kept for a look: {base}")
            else:
                self.plant.close()
                base.rmdir()
        self.figures["seconds"] = round(time.monotonic() - began)

    def _prepare(self) -> None:
        for key, value in (("lease", LEASE), ("max-crashes", 50)):
            self._must(self.plant.cli("config", "set", key, f"{value:g}"))
        jobs = [self.plan(self._rng) for _ in range(self.options.jobs)]
        lines = "\n".join(json.dumps(self.job(job, self._rng)) for job in jobs)
        self._must(self.plant.cli("enqueue", "-", stdin=lines.encode()))
        self.accepted = {job.name for job in jobs}
        for _ in range(self.options.supervisors):
            self.plant.start()

    def _must(self, result: tuple[int, str, str]) -> None:
        code, _, err = result
        if code:
            raise RuntimeError(f"queuectl: exit {code}: {err}")

    def _schedule(self) -> list[str]:
        """Faults in order: kills until there are enough, others strewn among them."""
        others = [name for name in self.options.faults if name != "kill"]
        names = ["kill"] * max(1, self.options.kills // 2) if "kill" in self.options.faults else []
        for name in others:
            names += [name] * max(1, self.options.kills // 12)
        self._rng.shuffle(names)
        return names

    def _attack(self) -> None:
        names = self._schedule()
        total = sum(job.attempts for job in self._planned)
        for number, name in enumerate(names):
            if not self._until_ended(int(total * (0.05 + 0.85 * number / len(names)))):
                return
            rng = Random(f"{self.options.seed}.{number}")
            self.say(f"{self.plant.count_log(b'E'):6} ended  {FAULTS[name](self, rng)}")
        while self.figures["supervisors killed"] < self.options.kills and "kill" in names:
            ended = self.plant.count_log(b"E")
            if not self._until_ended(min(ended + 2, total)):
                return
            self.say(f"{ended:6} ended  {FAULTS['kill'](self, self._rng)}")

    def _until_ended(self, wanted: int) -> bool:
        """Wait until so many attempts ended; False when nothing moves any more."""
        return self._while_moving(lambda: self.plant.count_log(b"E") >= wanted)

    def _drain(self) -> None:
        if self.broken:
            return
        final = "SELECT count(*) FROM jobs WHERE state NOT IN ('completed', 'dead')"
        if self._while_moving(lambda: self.plant.sql(final) == [(0,)], every=0.2):
            self.say("all jobs ended")

    def _while_moving(self, done: Callable[[], bool], every: float = 0.02) -> bool:
        size, moved = -1, time.monotonic()
        while not done():
            self._tend()
            now = (self.plant.place / "log").stat().st_size
            if now != size:
                size, moved = now, time.monotonic()
            if time.monotonic() - moved > self.options.patience:
                self.broken.append(f"nothing moved for {self.options.patience:g} s")
                return False
            if self.broken:
                return False
            time.sleep(every)
        return True

    def _tend(self) -> None:
        """Continue what was stopped for long enough, start what is due, look who left."""
        now = time.monotonic()
        if self.options.mutate and self._caught():
            self.broken.append(f"{self.options.mutate} was noticed")
        for one in list(self.plant.supervisors):
            if one.stopped_until and now >= one.stopped_until:
                one.process.send_signal(signal.SIGCONT)
                one.stopped_until = 0.0
            if not one.alive:
                said = one.said.read_text("utf-8", "replace").splitlines()[-1:]
                code = one.process.returncode
                self.broken.append(f"a supervisor left by itself, exit {code}: {said}")
                self.kill(one)
        due = [do for moment, do in self._later if moment <= now]
        self._later = [(moment, do) for moment, do in self._later if moment > now]
        for do in due:
            do()

    def _caught(self) -> bool:
        """Whether a bug put in on purpose shows already: then all the rest can be left out."""
        return (
            self.plant.count_log(b"O") > 0
            or any(process.poll() is not None for process in self._strangers)
            or any(word in line for _, line in self.plant.said() for word in UNEXPECTED)
        )

    # -- the end ------------------------------------------------------------------------

    def _conclude(self) -> None:
        if not self.broken:
            self._leave()
        dead = [process.pid for process in self._strangers if process.poll() is not None]
        if dead:
            self.broken.append(f"{len(dead)} processes of strangers were ended")
        oracle = Oracle(self.plant, self._planned, self.accepted, lossy=self.lossy)
        oracle.judge(leaders=self.leaders)
        self.broken += oracle.broken
        self.figures.update(oracle.figures)

    def _leave(self) -> None:
        """All supervisors leave when asked to, and nothing stays behind."""
        for one in self.plant.stop_all():
            self.broken.append(f"supervisor {one.process.pid} did not leave on SIGTERM")
        for one in self.plant.gone:
            if one.process.returncode not in (0, -signal.SIGKILL):
                self.broken.append(f"a supervisor ended with exit {one.process.returncode}")
        _, left = psutil.wait_procs(self.plant.processes(), timeout=10)
        if left:
            names = ", ".join(f"{process.pid} {process.name()}" for process in left)
            self.broken.append(f"left behind: {names}")
