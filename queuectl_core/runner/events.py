"""What a shim tells its supervisor, as typed events. The lines are described in the package."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..domain.model import Outcome
from . import FENCED, SIGNALLED, UNSIGNALLED, lease_clock


class Started(NamedTuple):
    """An ``S`` line: the process of a job runs."""

    token: str
    pid: int
    after: float
    before: float
    """It was started between these moments of the host's clock."""
    at: float
    """On ``lease_clock``."""
    worker: str = ""

    @classmethod
    def of(cls, event: list[Any]) -> Started:
        """The start in an ``S`` event."""
        return cls(*event[1:7])


class Exit(NamedTuple):
    """An ``X`` or ``F`` line: how a job ended, or why it could not be started."""

    code: int | None
    signal: int | None
    cpu_seconds: float | None
    peak_memory: int | None
    at: float
    """On ``lease_clock``."""
    leftover: bool
    """Processes of its group were left when its leader ended."""
    reason: str | None = None
    """Why it could not be started, or was ended at the deadline."""
    signalled: bool = False
    """Its shim had been asked to signal it, and had done so, before it ended."""
    unsignalled: bool = False
    """Its shim was asked to signal it, and was not permitted to: it ran as another user."""
    began: float | None = None
    """When it was started, on ``lease_clock``, as far as its journal says."""
    outcome: Outcome | None = None
    """Known without looking further: it was not started, or how it ended will never be known."""
    written: int | None = None
    """Bytes of output, those dropped included; None: not known."""

    @property
    def fenced(self) -> bool:
        """It was ended, or not started, because its supervisor's lease had run out."""
        return self.reason == FENCED

    @classmethod
    def unknown(cls, outcome: Outcome, reason: str, written: int | None = None) -> Exit:
        """It is not known how the attempt ended. It counts as ``outcome``, with its end now."""
        now = lease_clock()
        return cls(None, None, None, None, now, False, reason, outcome=outcome, written=written)

    @classmethod
    def of(cls, event: list[Any]) -> Exit:
        """The exit in an ``X``, ``F`` or ``N`` event."""
        if event[0] == "N":
            _, _, reason, at, *_ = event
            return cls(None, None, None, None, at, False, reason, outcome=Outcome.INTERRUPTED)
        if event[0] == "F":
            _, _, code, reason, at, *_ = event
            return cls(code, None, None, None, at, False, reason, written=0)
        _, _, code, number, cpu, rss, at, leftover, *notes = event
        reason = FENCED if FENCED in notes else None
        told = SIGNALLED in notes, UNSIGNALLED in notes
        written = next((note for note in notes if type(note) is int), None)
        return cls(code, number, cpu, rss, at, leftover, reason, *told, written=written)


class Exited(NamedTuple):
    """A job's process has ended, or the job itself is why it could not be started."""

    token: str
    exit: Exit
    worker: str
    """Empty: a :class:`Started` came before."""


class NotStarted(NamedTuple):
    """A job was not started: the host lacks something."""

    token: str
    lacking: str


class Recalled(NamedTuple):
    """The shim gave these jobs back. It holds nothing any more."""

    tokens: list[str]


class Revoked(NamedTuple):
    """The shim may start nothing more: somebody took over the jobs of its supervisor."""


class Trouble(NamedTuple):
    """Something is wrong with the shim, or with one of its jobs."""

    token: str | None
    text: str


class Pong(NamedTuple):
    """The shim is able to run."""


RunnerEvent = Started | Exited | NotStarted | Recalled | Revoked | Trouble | Pong


def parse_event(event: list[Any]) -> RunnerEvent:
    """The event in one line from a shim."""
    kind, subject = event[:2]
    match kind:
        case "S":
            return Started.of(event)
        case "X":
            return Exited(subject, Exit.of(event), "")
        case "F":
            return Exited(subject, Exit.of(event), event[-1])
        case "N":
            return NotStarted(subject, event[2])
        case "W":
            return Recalled(subject)
        case "R":
            return Revoked()
        case "T":
            return Trouble(subject, event[2])
    return Pong()
