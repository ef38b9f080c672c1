"""One run of a campaign: what a fault may look at, change and note."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from .book import Book, Planned
from .plant import Plant, Supervisor


@dataclass(frozen=True, slots=True)
class Options:
    """What to do. ``kills``: supervisors to kill -9; the other faults come beside them."""

    seed: int = 1
    store: str = "sqlite"
    jobs: int = 2000
    kills: int = 100
    faults: tuple[str, ...] | None = None
    """None: all there are."""
    actors: tuple[str, ...] | None = None
    """None: all there are."""
    supervisors: int = 4
    workers: int = 2
    longest: float = 0.6
    """Seconds a job takes at most."""
    mutate: str = ""
    keep: bool = False
    """Leave everything where it is when something is broken."""
    patience: float = 60.0
    """Seconds without any progress until the campaign counts as stuck."""
    acts: int = 6
    """How often each actor acts at least, unless the time is over."""
    seconds: float = 0.0
    """It ends then, and what was done so far is judged; 0: when all is done."""


@dataclass
class Run:
    """What is attacked, and what came of it. ``broken`` and ``figures`` are the result."""

    options: Options
    broken: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    book: Book = field(default_factory=Book)
    plant: Plant = field(init=False)
    rng: Random = field(init=False)
    lossy: bool = False
    leaders: bool = False
    strangers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """Processes that have nothing to do with any of this."""
    _later: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = Random(self.options.seed)

    def plan(self, rng: Random) -> Planned:
        """Another job."""
        return self.book.plan(rng)

    def job(self, job: Planned, rng: Random) -> dict[str, object]:
        """As ``enqueue`` takes it."""
        return job.source(round(rng.uniform(0.0, self.options.longest), 2))

    def kill(self, victim: Supervisor) -> None:
        """kill -9 of a supervisor; another is started in its place, at once or soon."""
        self.plant.kill(victim)
        self.figures["supervisors killed"] += 1
        self.later(self.rng.choice((0.0, 0.0, 0.3)), self.plant.start)

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        """Schedule something for later; the campaign goes on meanwhile."""
        self._later.append((time.monotonic() + seconds, do))

    def do_what_is_due(self, now: float) -> None:
        """Do what was scheduled until ``now`` (monotonic)."""
        due = [do for moment, do in self._later if moment <= now]
        self._later = [(moment, do) for moment, do in self._later if moment > now]
        for do in due:
            do()

    def stranger(self) -> int:
        """The pid of a process that has nothing to do with any of this."""
        process = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(3600)"],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        self.strangers.append(process)
        return process.pid
