"""The requests to queuectl, and its answers: the oracle compares the store with them.

A job has a *name*, the first word after ``job.sh`` in its command. Its id may be generated, so a
job that was put in twice under one acknowledgement shows as two rows with one name.

Jobs of actors are in the queue ``play``; bulk verbs act on that queue only. So the jobs of the
campaign itself keep their exact expectations.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random

PLAY = "play"
"""The queue of the actors' jobs."""

SECRET = "not-stored"
"""What the file ``secret`` holds, to which jobs refer."""

MAY_HAVE = ("may have", "not known whether", "unknown whether", "cannot be told whether")
"""Words in a refusal which say that the change may have been made nevertheless."""


class Answer(Enum):
    """How a request ended."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    """It said that the change was not made, so it must not have been made."""
    IN_DOUBT = "in doubt"
    """It was killed before it answered, or it said that the change may have been made."""


def answer_of(code: int, said: str, *, killed: bool = False) -> Answer:
    """What an exit code and its message mean."""
    if code == 0:
        return Answer.ACKNOWLEDGED
    if killed or code < 0 or any(words in said for words in MAY_HAVE):
        return Answer.IN_DOUBT
    return Answer.REFUSED


@dataclass(slots=True)
class Planned:
    """A job of the campaign. ``code``: how each of its attempts ends if it is let."""

    name: str
    code: int
    max_retries: int
    queue: str = "default"
    answer: Answer = Answer.IN_DOUBT
    gets: bool = False
    """It has a standard input and a secret."""

    @property
    def attempts(self) -> int:
        """How many attempts it takes if nothing else goes wrong."""
        return 1 if self.code == 0 else self.max_retries

    def result(self, attempt: int) -> str:
        """What an attempt writes as its result."""
        got = f"in-{self.name} {SECRET}" if self.gets else "- -"
        return f"{self.name} {attempt} {got}\n"

    def source(self, seconds: float, *, with_id: bool = True) -> dict[str, object]:
        """As ``enqueue`` takes it. ``seconds``: how long an attempt takes."""
        job = {
            "command": self.command(seconds),
            "max_retries": self.max_retries,
            "backoff_base": 0,
            "queue": self.queue,
        }
        return job | ({"id": self.name} if with_id else {})

    def command(self, seconds: float) -> str:
        """What it runs; ``job.sh`` lies in the directory that processes of a campaign are in."""
        return f"exec sh job.sh {self.name} {self.code} {seconds:g}"


def name_in(command: str) -> str:
    """The name of the job with this command; empty if it is not a job of a campaign."""
    words = command.split()
    place = words.index("job.sh") + 1 if "job.sh" in words else len(words)
    return words[place] if place < len(words) else ""


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asked for a change of a job that is there. ``at``: bytes of the jobs' log then."""

    what: str
    answer: Answer
    at: int


@dataclass
class Book:
    """Everything that was asked. Actors write from their own threads."""

    jobs: dict[str, Planned] = field(default_factory=dict)
    requests: dict[str, list[Request]] = field(default_factory=dict)
    bulk: set[str] = field(default_factory=set)
    """Bulk verbs that were asked for: any job of the queue ``play`` may have been meant."""
    config: dict[str, list[tuple[str, Answer]]] = field(default_factory=dict)
    """What was stored for a key, in order: each key has one writer."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def plan(self, rng: Random) -> Planned:
        """Another job of the campaign itself."""
        with self._lock:
            job = Planned(f"j{len(self.jobs):05}", rng.choice((0, 0, 0, 0, 3, 77)), 2)
            self.jobs[job.name] = job
            return job

    def add(self, job: Planned) -> None:
        """A job that an actor has asked for, or is about to."""
        with self._lock:
            if job.name in self.jobs:
                raise ValueError(f"{job.name} was planned before")
            self.jobs[job.name] = job

    def answered(self, jobs: Iterable[Planned], answer: Answer) -> None:
        """How the enqueue of these jobs ended."""
        for job in jobs:
            job.answer = answer

    def ask(self, what: str, names: Sequence[str], answer: Answer, at: int) -> None:
        """How a request to retry, cancel or remove these jobs ended."""
        with self._lock:
            for name in names:
                self.requests.setdefault(name, []).append(Request(what, answer, at))

    def asked(self, name: str, what: str) -> list[Request]:
        """Every request of this kind for a job, that may have been done or was refused."""
        return [one for one in self.requests.get(name, []) if one.what == what]

    def may_have(self, name: str, what: str) -> bool:
        """Whether such a request was acknowledged or is in doubt."""
        return any(one.answer is not Answer.REFUSED for one in self.asked(name, what))

    @property
    def accepted(self) -> set[str]:
        """Names of the jobs whose enqueue was acknowledged."""
        return {name for name, job in self.jobs.items() if job.answer is Answer.ACKNOWLEDGED}
