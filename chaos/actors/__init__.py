"""Actors use the store during a campaign, beside its supervisors; each has a file of its own.

An actor has a thread of its own, in which it acts again and again until it is stopped. What it
asks for, and what queuectl acknowledged, goes to the campaign's book.
"""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from random import Random
from typing import ClassVar

from ..book import PLAY, Answer, Book, Planned
from ..plant import Plant


class Actor:
    """The interface, and the thread."""

    name: ClassVar[str]
    stores: ClassVar[tuple[str, ...]] = ("sqlite", "postgres")
    """The stores that it can act on."""
    pause: ClassVar[float] = 0.3
    """Seconds between two acts, at the most."""

    def __init__(self, plant: Plant, book: Book, seed: int) -> None:
        self.plant = plant
        self.book = book
        self.rng = Random(f"{seed}.{self.name}")
        self.figures: Counter[str] = Counter()
        self.broken: list[str] = []
        self.acts = 0
        self._count = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def act(self) -> None:
        """One thing that it does. What is wrong goes to ``broken``."""
        raise NotImplementedError

    def rest(self, seconds: float) -> None:
        """Called between two acts."""
        self._stopping.wait(seconds)

    def finish(self) -> None:
        """The last act: end what is still open."""

    # -- the thread ---------------------------------------------------------------------

    def start(self) -> None:
        """Act from now on."""
        self._thread.start()

    def tell_to_stop(self) -> None:
        """No further act."""
        self._stopping.set()

    def stop(self, seconds: float = 120.0) -> None:
        """Wait until the last act is done."""
        self.tell_to_stop()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self.broken.append(f"{self.name}: did not come to an end in {seconds:g} s")

    @property
    def started(self) -> bool:
        """Whether its thread was ever started."""
        return self._thread.ident is not None

    @property
    def stopping(self) -> bool:
        """Whether this act is the last one."""
        return self._stopping.is_set()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self.act()
                self.acts += 1
                self.rest(self.rng.uniform(0.0, self.pause))
            self.finish()
        except Exception:
            said = traceback.format_exc()
            self.broken.append(f"the harness's own actor {self.name} failed: {said}")

    # -- what actors share --------------------------------------------------------------

    def new_job(self) -> Planned:
        """Another job of this actor, not enqueued yet. Some die at once."""
        job = Planned(f"{self.name}{self._count:05}", self.rng.choice((0, 0, 0, 5)), 1, PLAY)
        self._count += 1
        self.book.add(job)
        return job

    def seconds(self) -> float:
        """How long a job of an actor takes."""
        return round(self.rng.choice((0.0, 0.0, 0.1, 0.6)), 2)

    def some_job(self, *states: str) -> tuple[str, str] | None:
        """(name, id) of a job of some actor in one of these states; None: there is none."""
        from ..book import name_in

        marks = ", ".join("?" for _ in states)
        rows = self.plant.sql(
            f"SELECT command, id FROM jobs WHERE queue = ? AND state IN ({marks})"
            " ORDER BY seq DESC LIMIT 50",
            PLAY,
            *states,
        )
        if not rows:
            return None
        command, job_id = self.rng.choice(rows)
        return name_in(str(command)), str(job_id)

    def ask(self, what: str, name: str, answer: Answer) -> None:
        """Write down how a request ended."""
        self.book.ask(what, [name], answer, self.plant.log_size())
